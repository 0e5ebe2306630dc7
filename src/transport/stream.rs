//! Reading and writing frames on a socket.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coterie_protocol::internal::{Frame, PREAMBLE, Reason, Refusal, Scan, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::error::Ended;
use super::output::Output;
use super::traffic::Traffic;

/// The least and the most room made for a read at once.
const ROOM: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 20;
/// How long a refused peer may take to read why.
const LINGER: Duration = Duration::from_millis(250);

/// How many ticks of a timer passed since something was heard. Ticks rather than a clock: a node that
/// was stopped itself for a while does not take its peers for silent.
#[derive(Debug, Default)]
pub(super) struct Silence(AtomicU32);

impl Silence {
    pub(super) fn heard(&self) {
        self.0.store(0, Relaxed);
    }

    /// Another tick passed; the ticks since something was heard.
    pub(super) fn tick(&self) -> u32 {
        self.0.fetch_add(1, Relaxed).saturating_add(1)
    }

    pub(super) fn ticks(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// The receiving half of a connection.
pub(super) struct FrameReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    /// The largest body that is taken.
    pub(super) body_limit: usize,
}

impl FrameReader {
    /// Starts with the limit of the handshake.
    pub(super) fn new(half: OwnedReadHalf) -> FrameReader {
        FrameReader {
            half,
            buffer: BytesMut::new(),
            body_limit: frame::HANDSHAKE_BODY_LIMIT,
        }
    }

    /// Waits for bytes; makes room for as many as are known to come, but never for more than have come
    /// so far and a little.
    async fn fill(
        &mut self,
        missing: usize,
        traffic: &Traffic,
        silence: &Silence,
    ) -> Result<(), Ended> {
        let trusted = self.buffer.len().clamp(*ROOM.start(), *ROOM.end());
        self.buffer.reserve(missing.clamp(*ROOM.start(), trusted));
        let count = self.half.read_buf(&mut self.buffer).await?;
        if count == 0 {
            return Err(Ended::ByPeer);
        }
        traffic.add_received(count);
        silence.heard();
        Ok(())
    }

    /// Takes the peer's preamble.
    pub(super) async fn preamble(
        &mut self,
        traffic: &Traffic,
        silence: &Silence,
    ) -> Result<(), Ended> {
        loop {
            let compared = self.buffer.len().min(PREAMBLE.len());
            if self.buffer[..compared] != PREAMBLE[..compared] {
                return Err(Ended::Refusing(Refusal::new(
                    Reason::Garbage,
                    "what arrived is not Coterie's internal protocol",
                )));
            }
            if compared == PREAMBLE.len() {
                let _ = self.buffer.split_to(compared);
                return Ok(());
            }
            self.fill(PREAMBLE.len() - compared, traffic, silence)
                .await?;
        }
    }

    /// The next frame and its body.
    pub(super) async fn next(
        &mut self,
        traffic: &Traffic,
        silence: &Silence,
    ) -> Result<(Frame, Bytes), Ended> {
        loop {
            match frame::scan(&self.buffer, self.body_limit)? {
                Scan::Complete(frame) => {
                    let body = self.buffer.split_to(frame.length).freeze();
                    return Ok((frame, body.slice(frame::HEADER..)));
                }
                Scan::Incomplete(missing) => self.fill(missing, traffic, silence).await?,
            }
        }
    }

    /// Reads what the peer still sends, so that it finds our last words before the connection is reset.
    pub(super) async fn linger(&mut self) {
        let mut discarded = [0; 4096];
        let drain =
            async { while !matches!(self.half.read(&mut discarded).await, Ok(0) | Err(_)) {} };
        let _ = timeout(LINGER, drain).await;
    }
}

/// Sends whatever is queued, all of it in one write, until the queue is closed and empty.
pub(super) async fn write_queued(
    output: &Output,
    half: &mut OwnedWriteHalf,
    traffic: &Traffic,
    stuck_after: Duration,
) -> Ended {
    let mut buffer = Vec::new();
    while output.take(&mut buffer).await {
        let mut sent = 0;
        while sent < buffer.len() {
            match timeout(stuck_after, half.write(&buffer[sent..])).await {
                Ok(Ok(0)) => return Ended::ByPeer,
                Ok(Ok(count)) => {
                    sent += count;
                    traffic.add_sent(count);
                    output.sent(count);
                }
                Ok(Err(error)) => return Ended::Io(error),
                Err(_) => return Ended::Stuck,
            }
        }
    }
    Ended::Here
}

/// Lets the writer finish, but not for long, and lets the peer read it.
pub(super) async fn farewell(
    output: &Output,
    writing: impl Future<Output = Ended>,
    reader: &mut FrameReader,
) {
    output.close();
    if matches!(timeout(LINGER, writing).await, Ok(Ended::Here)) {
        reader.linger().await;
    }
}
