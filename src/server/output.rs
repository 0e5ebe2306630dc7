//! Replies on their way to one client, within `client-output-buffer-limit`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::config::OutputBufferLimit;

/// A buffer larger than this, in bytes, is given back when it is empty.
pub const RETAINED_BYTES: usize = 256 * 1024;

/// Encoded replies, the first of which may have been sent.
///
/// Without limits a client that does not read is not executed for: its replies stay within one batch. With
/// limits its requests are executed, as Redis does, until its unsent replies exceed one.
#[derive(Default)]
pub struct Output {
    /// Replies are appended here.
    pub bytes: Vec<u8>,
    sent: usize,
    above_soft_since: Option<Instant>,
}

impl Output {
    /// Number of bytes not yet sent.
    pub fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Sends as much as the socket takes. Ready when everything is sent.
    pub fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unsent() > 0 {
            let rest = &self.bytes[self.sent..];
            let sent = ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.sent = 0;
        self.above_soft_since = None;
        self.bytes.clear();
        if self.bytes.capacity() > RETAINED_BYTES {
            self.bytes = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Sends everything, or with a limit as much as the socket takes now. Others go on meanwhile.
    pub async fn send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        limit: &OutputBufferLimit,
    ) -> io::Result<()> {
        if limit.hard == 0 && limit.soft == 0 {
            return poll_fn(|context| self.poll_send(stream, context)).await;
        }
        let now = poll_fn(|context| Poll::Ready(self.poll_send(stream, context))).await;
        match now {
            Poll::Ready(result) => result,
            Poll::Pending => {
                // A client that is always a little behind never empties the buffer.
                if self.sent > self.unsent() {
                    self.bytes.drain(..self.sent);
                    self.sent = 0;
                }
                self.check(limit)
            }
        }
    }

    /// Compares what could not be sent with the limits.
    fn check(&mut self, limit: &OutputBufferLimit) -> io::Result<()> {
        let unsent = self.unsent() as u64;
        if limit.hard > 0 && unsent > limit.hard {
            return Err(over_limit("hard"));
        }
        if limit.soft == 0 || unsent <= limit.soft {
            self.above_soft_since = None;
            return Ok(());
        }
        let since = *self.above_soft_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= Duration::from_secs(limit.soft_seconds.into()) {
            return Err(over_limit("soft"));
        }
        Ok(())
    }

    /// When a client that reads nothing any more will have exceeded the soft limit.
    pub fn deadline(&self, limit: &OutputBufferLimit) -> Option<Instant> {
        Some(self.above_soft_since? + Duration::from_secs(limit.soft_seconds.into()))
    }
}

/// The error of a client that is cut off.
pub fn over_limit(which: &str) -> io::Error {
    io::Error::other(format!(
        "unsent replies exceed the {which} client-output-buffer-limit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn limits_cut_off_a_client_that_does_not_read() {
        let (mut server, mut client) = tokio::io::duplex(100);
        let limit = OutputBufferLimit {
            hard: 1000,
            soft: 0,
            soft_seconds: 0,
        };
        let mut output = Output::default();
        output.bytes.extend([b'x'; 600]);
        output.send(&mut server, &limit).await.unwrap();
        assert_eq!(output.unsent(), 500);
        output.bytes.extend([b'y'; 400]);
        output.send(&mut server, &limit).await.unwrap();
        output.bytes.extend([b'z'; 101]);
        assert!(output.send(&mut server, &limit).await.is_err());
        let mut read = [0; 100];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(read, [b'x'; 100]);
    }

    #[tokio::test]
    async fn what_was_sent_is_given_back_although_the_client_stays_behind() {
        let (mut server, mut client) = tokio::io::duplex(100);
        let limit = OutputBufferLimit {
            hard: 1000,
            soft: 0,
            soft_seconds: 0,
        };
        let mut output = Output::default();
        output.bytes.extend([b'x'; 200]);
        for _ in 0..1000 {
            output.bytes.extend([b'x'; 100]);
            output.send(&mut server, &limit).await.unwrap();
            client.read_exact(&mut [0; 100]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(output.bytes.len() < 2000, "{} bytes", output.bytes.len());
    }
}
