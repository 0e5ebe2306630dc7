//! One connection to a node, shared by all tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::internal::{Kind, Reason, Refusal};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

use crate::error::ConnectError;
use crate::handshake::{FrameReader, Opened};
use crate::options::Options;
use crate::queue::{Answer, Lost, Queue};

/// See the module.
pub(crate) struct Connection {
    queue: Queue,
    /// Pings since something was heard. Ticks rather than a clock: a process that was stopped itself for a while does
    /// not take the node for silent.
    ticks: AtomicU32,
    silent: watch::Sender<bool>,
}

impl Connection {
    pub(crate) fn new(options: &Options) -> Arc<Connection> {
        Arc::new(Connection {
            queue: Queue::new(options.output_limit),
            ticks: AtomicU32::new(0),
            silent: watch::Sender::new(false),
        })
    }

    /// Queues a call once there is room.
    pub(crate) async fn call(&self, body: &[u8]) -> Result<Answer, Lost> {
        self.queue.call(body).await
    }

    /// Whether the node was heard lately.
    pub(crate) fn is_responsive(&self) -> bool {
        !self.queue.is_closed() && !*self.silent.borrow()
    }

    /// Until the node has not been heard for a while.
    pub(crate) async fn fallen_silent(&self) {
        let mut silent = self.silent.subscribe();
        // The sender is in here, so it is not gone.
        let _ = silent.wait_for(|silent| *silent).await;
    }

    /// Until the connection breaks; why it did. Then nobody waits for an answer any more.
    pub(crate) async fn run(&self, opened: Opened, options: &Options) -> ConnectError {
        let Opened {
            mut reader,
            mut writer,
            ..
        } = opened;
        let _closing = Closing(&self.queue);
        tokio::select! {
            ended = self.read(&mut reader) => ended,
            ended = self.write(&mut writer, options.broken_after) => ended,
            ended = self.ping(options) => ended,
        }
    }

    async fn read(&self, reader: &mut FrameReader) -> ConnectError {
        loop {
            let (frame, body) = match reader.next().await {
                Ok(next) => next,
                Err(error) => return error,
            };
            self.ticks.store(0, Relaxed);
            self.silent.send_if_modified(std::mem::take);
            match frame.kind {
                Kind::Reply => self.queue.answered(frame.call, body),
                Kind::Pong => {}
                kind => {
                    let detail = format!("a frame {kind:?} to a client");
                    return ConnectError::Refusing(Refusal::new(Reason::Garbage, detail));
                }
            }
        }
    }

    /// Sends whatever is queued, all of it in one write.
    async fn write(&self, writer: &mut OwnedWriteHalf, stuck_after: Duration) -> ConnectError {
        let mut buffer = Vec::new();
        while self.queue.take(&mut buffer).await {
            let mut rest = &buffer[..];
            while !rest.is_empty() {
                match timeout(stuck_after, writer.write(rest)).await {
                    Ok(Ok(count)) => rest = &rest[count..],
                    Ok(Err(error)) => return error.into(),
                    Err(_) => return ConnectError::Timeout,
                }
            }
        }
        ConnectError::Timeout
    }

    async fn ping(&self, options: &Options) -> ConnectError {
        let interval = options.ping_interval;
        let (silent, broken) = (
            ticks(options.silence, interval),
            ticks(options.broken_after, interval),
        );
        let mut timer = tokio::time::interval(interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            let missed = self.ticks.fetch_add(1, Relaxed).saturating_add(1);
            if missed > broken {
                return ConnectError::Timeout;
            }
            if missed > silent {
                self.silent
                    .send_if_modified(|silent| !std::mem::replace(silent, true));
            }
            self.queue.ping();
        }
    }

    /// One call on a connection that is not run yet, which ends with it.
    pub(crate) async fn call_once(
        opened: Opened,
        options: &Options,
        body: &[u8],
    ) -> Result<Bytes, ConnectError> {
        let connection = Connection::new(options);
        let answer = async {
            let answer = connection.call(body).await.ok()?;
            answer.await.ok()?.ok()
        };
        tokio::select! {
            answer = answer => answer.ok_or(ConnectError::Timeout),
            ended = connection.run(opened, options) => Err(ended),
        }
    }
}

/// Closes the queue however the connection ends.
struct Closing<'a>(&'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How many ticks fit into a time, at least one.
fn ticks(time: Duration, interval: Duration) -> u32 {
    let ticks = time.as_nanos() / interval.as_nanos().max(1);
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}
