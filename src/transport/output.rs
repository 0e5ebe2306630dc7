//! What waits to be sent on a connection: bounded, filled from any thread, emptied by one writer.

use std::pin::pin;

use coterie_protocol::internal::{Kind, frame};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::error::SendError;

/// A buffer that grew past this is given back once it is sent.
const KEPT_CAPACITY: usize = 1 << 20;

/// The queue of one connection.
pub(super) struct Output {
    /// It takes no more once so many bytes wait; the last frame may go beyond.
    limit: usize,
    body_limit: usize,
    queue: Mutex<Queue>,
    /// Something to send, or closed. Only the writer waits.
    filled: Notify,
    /// Room, or closed.
    room: Notify,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Taken by the writer, not yet sent.
    in_flight: usize,
    /// Whether anything was queued lately, see [`Output::take_activity`].
    active: bool,
    closed: bool,
}

impl Queue {
    fn waiting(&self) -> usize {
        self.bytes.len() + self.in_flight
    }
}

impl Output {
    pub(super) fn new(limit: usize, body_limit: usize) -> Output {
        Output {
            limit,
            body_limit,
            queue: Mutex::default(),
            filled: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(super) fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// Queues a frame unless `limit` bytes wait already.
    pub(super) fn push(
        &self,
        kind: Kind,
        service: u8,
        call: u64,
        body: &[u8],
    ) -> Result<(), SendError> {
        if body.len() > self.body_limit {
            return Err(SendError::TooLarge);
        }
        self.append(Some(self.limit), kind, service, call, body)
    }

    /// Queues a small frame of the connection itself, even if it is full. The caller bounds their number.
    pub(super) fn push_control(&self, kind: Kind, call: u64, body: &[u8]) {
        // A closed connection needs none.
        let _ = self.append(None, kind, 0, call, body);
    }

    /// Whether anything but frames of the connection itself was queued since this was asked last.
    pub(super) fn take_activity(&self) -> bool {
        std::mem::take(&mut self.queue.lock().active)
    }

    fn append(
        &self,
        limit: Option<usize>,
        kind: Kind,
        service: u8,
        call: u64,
        body: &[u8],
    ) -> Result<(), SendError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(SendError::Down);
        }
        if let Some(limit) = limit {
            if queue.waiting() >= limit {
                return Err(SendError::Busy);
            }
            queue.active = true;
        }
        let was_empty = queue.bytes.is_empty();
        frame::encode(kind, service, call, body, &mut queue.bytes);
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Takes no more; what is queued may still be sent.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_one();
        self.room.notify_waiters();
    }

    /// Moves all that is queued into `buffer` (whose content was sent), waiting for something if there
    /// is nothing. False when closed and empty.
    pub(super) async fn take(&self, buffer: &mut Vec<u8>) -> bool {
        loop {
            {
                let mut queue = self.queue.lock();
                debug_assert_eq!(
                    queue.in_flight, 0,
                    "one writer, which sends before it takes"
                );
                if !queue.bytes.is_empty() {
                    buffer.clear();
                    if buffer.capacity() > KEPT_CAPACITY {
                        *buffer = Vec::new();
                    }
                    std::mem::swap(&mut queue.bytes, buffer);
                    queue.in_flight = buffer.len();
                    return true;
                }
                if queue.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// So many bytes of what was taken are sent.
    pub(super) fn sent(&self, count: usize) {
        let mut queue = self.queue.lock();
        let before = queue.waiting();
        queue.in_flight -= count;
        let room = before >= self.limit / 2 && queue.waiting() < self.limit / 2;
        drop(queue);
        if room {
            self.room.notify_waiters();
        }
    }

    /// Until less than half the limit waits, or it is closed.
    pub(super) async fn writable(&self) {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            {
                let queue = self.queue.lock();
                if queue.closed || queue.waiting() < self.limit.div_ceil(2) {
                    return;
                }
            }
            room.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_bounded_and_says_when_there_is_room() {
        let output = Output::new(100, 80);
        let push = |length: usize| output.push(Kind::Send, 5, 0, &vec![1; length]);
        assert_eq!(push(81), Err(SendError::TooLarge));
        push(80).unwrap();
        push(80).unwrap();
        assert_eq!(push(1), Err(SendError::Busy));
        output.push_control(Kind::Ping, 0, &[]);
        let mut buffer = Vec::new();
        assert!(output.take(&mut buffer).await);
        assert_eq!(buffer.len(), 98 + 98 + 18);
        // What is on its way counts as well.
        assert_eq!(push(1), Err(SendError::Busy));
        let wait = tokio::spawn({
            let output = std::sync::Arc::new(output);
            let writer = output.clone();
            async move {
                let writable = output.writable();
                let send = async {
                    for _ in 0..107 {
                        writer.sent(2);
                        tokio::task::yield_now().await;
                    }
                };
                tokio::join!(writable, send);
                output
            }
        });
        let output = wait.await.unwrap();
        output.push(Kind::Send, 5, 0, &[]).unwrap();
        output.close();
        assert_eq!(output.push(Kind::Send, 5, 0, &[]), Err(SendError::Down));
        assert!(
            output.take(&mut buffer).await,
            "what was queued still leaves"
        );
        output.sent(buffer.len());
        assert!(!output.take(&mut buffer).await);
        output.writable().await;
    }
}
