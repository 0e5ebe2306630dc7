//! What waits to be sent on a connection, and who waits for an answer on it. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use coterie_protocol::internal::{Kind, Service, frame};
use tokio::sync::{Notify, oneshot};

/// Calls that wait for an answer; more wait to be queued.
const CALLS_MAX: usize = 16_384;
/// A buffer that grew past this is given back once it is sent.
const KEPT_CAPACITY: usize = 1 << 20;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// No byte of it was sent.
    NotSent,
    /// It may have arrived.
    Broken,
}

/// The answer to a call, to come.
pub(crate) type Answer = oneshot::Receiver<Result<Bytes, Lost>>;

/// Of one connection. Filled by any task, emptied by one.
pub(crate) struct Queue {
    limit: usize,
    state: Mutex<State>,
    /// Something to send, or closed. Only the writer waits.
    filled: Notify,
    /// Room, or closed.
    room: Notify,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    last: u64,
    /// The last call that the writer has taken.
    taken: u64,
    calls: HashMap<u64, oneshot::Sender<Result<Bytes, Lost>>>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Queue {
        Queue {
            limit,
            state: Mutex::default(),
            filled: Notify::new(),
            room: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call once there is room.
    pub(crate) async fn call(&self, body: &[u8]) -> Result<Answer, Lost> {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if let Some(queued) = self.try_call(body) {
                return queued;
            }
            room.await;
        }
    }

    /// Queues a call; `None` if there is no room.
    fn try_call(&self, body: &[u8]) -> Option<Result<Answer, Lost>> {
        let mut state = self.state();
        if state.closed {
            return Some(Err(Lost::NotSent));
        }
        if state.bytes.len() >= self.limit || state.calls.len() >= CALLS_MAX {
            return None;
        }
        state.last += 1;
        let call = state.last;
        let (sender, answer) = oneshot::channel();
        state.calls.insert(call, sender);
        frame::encode(
            Kind::Call,
            Service::Client as u8,
            call,
            body,
            &mut state.bytes,
        );
        drop(state);
        self.filled.notify_one();
        Some(Ok(answer))
    }

    /// Queues a ping.
    pub(crate) fn ping(&self) {
        let mut state = self.state();
        frame::encode(Kind::Ping, 0, 0, &[], &mut state.bytes);
        drop(state);
        self.filled.notify_one();
    }

    /// Hands an answer to who waits for it; nobody may.
    pub(crate) fn answered(&self, call: u64, body: Bytes) {
        let mut state = self.state();
        let caller = state.calls.remove(&call);
        let room = state.calls.len() == CALLS_MAX / 2;
        drop(state);
        if room {
            self.room.notify_waiters();
        }
        if let Some(caller) = caller {
            // A caller that is gone needs none.
            let _ = caller.send(Ok(body));
        }
    }

    /// Moves all that is queued into `buffer`, whose content was sent, waiting for something if there is nothing.
    /// False when closed.
    pub(crate) async fn take(&self, buffer: &mut Vec<u8>) -> bool {
        loop {
            {
                let mut state = self.state();
                if state.closed {
                    return false;
                }
                if !state.bytes.is_empty() {
                    buffer.clear();
                    if buffer.capacity() > KEPT_CAPACITY {
                        *buffer = Vec::new();
                    }
                    std::mem::swap(&mut state.bytes, buffer);
                    state.taken = state.last;
                    drop(state);
                    self.room.notify_waiters();
                    return true;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Takes no more, and tells everybody who waits.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.bytes = Vec::new();
        let (calls, taken) = (std::mem::take(&mut state.calls), state.taken);
        drop(state);
        for (call, caller) in calls {
            let lost = if call > taken {
                Lost::NotSent
            } else {
                Lost::Broken
            };
            let _ = caller.send(Err(lost));
        }
        self.filled.notify_one();
        self.room.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_taken_was_not_sent() {
        let queue = Queue::new(1000);
        let first = queue.call(b"a").await.unwrap();
        let answered = queue.call(b"b").await.unwrap();
        let mut buffer = Vec::new();
        assert!(queue.take(&mut buffer).await);
        assert_eq!(buffer.len(), 2 * (frame::HEADER + 1), "in one write");
        queue.answered(2, Bytes::from_static(b"reply"));
        queue.answered(77, Bytes::new());
        let later = queue.call(b"c").await.unwrap();
        queue.close();
        assert_eq!(first.await.unwrap(), Err(Lost::Broken));
        assert_eq!(answered.await.unwrap(), Ok(Bytes::from_static(b"reply")));
        assert_eq!(later.await.unwrap(), Err(Lost::NotSent));
        assert_eq!(queue.call(b"d").await.unwrap_err(), Lost::NotSent);
        assert!(!queue.take(&mut buffer).await && queue.is_closed());
    }

    #[tokio::test]
    async fn a_full_queue_makes_callers_wait() {
        let queue = Queue::new(10);
        let _first = queue.call(b"a").await.unwrap();
        assert!(queue.try_call(b"b").is_none());
        let mut buffer = Vec::new();
        let (second, taken) = tokio::join!(queue.call(b"b"), queue.take(&mut buffer));
        assert!(second.is_ok() && taken);
    }
}
