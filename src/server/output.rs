//! Sends replies within `client-output-buffer-limit`.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::config::OutputBufferLimit;

/// What one connection's output does over time.
#[derive(Default)]
pub struct OutputLimit {
    stuck: bool,
}

impl OutputLimit {
    /// Sends all bytes, waiting for a slow client no longer than its limits allow. Other connections of the
    /// thread go on meanwhile, and this client's requests wait: its memory stays bounded by one batch.
    pub async fn write<S>(
        &mut self,
        stream: &mut S,
        bytes: &[u8],
        limit: &OutputBufferLimit,
    ) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        let unsent = bytes.len() as u64;
        self.stuck = true;
        // What fits the socket's own buffer is sent in any case, as Redis counts only what is left.
        let sent = if limit.hard > 0 && unsent > limit.hard {
            stream.write(bytes).await?
        } else {
            0
        };
        let unsent = unsent - sent as u64;
        if limit.hard > 0 && unsent > limit.hard {
            return Err(over_limit("hard"));
        }
        let rest = &bytes[sent..];
        if limit.soft > 0 && unsent > limit.soft {
            let deadline = Instant::now() + Duration::from_secs(limit.soft_seconds.into());
            timeout_at(deadline, stream.write_all(rest))
                .await
                .map_err(|_| over_limit("soft"))??;
        } else {
            stream.write_all(rest).await?;
        }
        self.stuck = false;
        Ok(())
    }

    /// Whether the last write did not finish.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }
}

fn over_limit(which: &str) -> io::Error {
    io::Error::other(format!(
        "unsent replies exceed the {which} client-output-buffer-limit"
    ))
}
