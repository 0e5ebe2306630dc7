//! Messages on their way to one client that none of its requests asked for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coterie_protocol::RespVersion;
use parking_lot::Mutex;

use crate::config::OutputBufferLimit;

/// See the module. Anyone may put messages in; the connection's task takes them out between replies.
///
/// The task is woken once when the outbox is no longer empty, however many messages follow. A client whose
/// messages exceed the limit is to be disconnected: see [`Outbox::push`].
#[derive(Default)]
pub struct Outbox {
    /// Bytes of all messages, changed under the lock.
    bytes: AtomicUsize,
    /// Whether the client speaks RESP3.
    resp3: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    waker: Option<Waker>,
    above_soft_since: Option<Instant>,
    /// The client is as good as gone.
    closed: bool,
}

/// A client does not read its messages fast enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooSlow;

impl Outbox {
    /// Adds a message, in the version of [`Outbox::version`].
    ///
    /// `unsent` is what the client has not read of its output beside, in bytes.
    ///
    /// # Errors
    /// The limit is exceeded: all messages are dropped, this one and those to come, and the client is to be
    /// disconnected. Told once.
    pub fn push(
        &self,
        message: &Bytes,
        limit: &OutputBufferLimit,
        unsent: usize,
    ) -> Result<(), TooSlow> {
        let waker = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Ok(());
            }
            let bytes = self.bytes.load(Ordering::Relaxed) + message.len();
            if queue.exceeds(limit, bytes + unsent) {
                self.close(&mut queue);
                return Err(TooSlow);
            }
            queue.messages.push_back(message.clone());
            self.bytes.store(bytes, Ordering::Relaxed);
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Adds a message that answers a request, whatever waits already.
    pub fn answer(&self, message: Bytes) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            self.bytes.fetch_add(message.len(), Ordering::Relaxed);
            queue.messages.push_back(message);
        }
    }

    /// Compares what waits with the limits, for a client that gets no more messages but does not read either.
    ///
    /// # Errors
    /// As for [`Outbox::push`].
    pub fn check(&self, limit: &OutputBufferLimit, unsent: usize) -> Result<(), TooSlow> {
        if !self.is_busy() {
            return Ok(());
        }
        let mut queue = self.queue.lock();
        let bytes = self.bytes.load(Ordering::Relaxed);
        if queue.closed || !queue.exceeds(limit, bytes + unsent) {
            return Ok(());
        }
        self.close(&mut queue);
        Err(TooSlow)
    }

    fn close(&self, queue: &mut Queue) {
        queue.closed = true;
        queue.messages = VecDeque::new();
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Whether there may be messages. Those of this thread are seen for certain.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.bytes() > 0
    }

    /// Bytes of all messages.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Moves messages to the end of `out`, the oldest first, until there are none or about `enough` bytes are moved.
    pub fn take(&self, out: &mut Vec<u8>, enough: usize) {
        let mut queue = self.queue.lock();
        let mut taken = 0;
        while taken < enough
            && let Some(message) = queue.messages.pop_front()
        {
            taken += message.len();
            out.extend_from_slice(&message);
        }
        self.bytes.fetch_sub(taken, Ordering::Relaxed);
        if queue.messages.is_empty() && queue.messages.capacity() > RETAINED_MESSAGES {
            queue.messages = VecDeque::new();
        }
    }

    /// Ready when there is a message. For one task at a time.
    pub fn poll_busy(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.lock();
        if !queue.messages.is_empty() {
            return Poll::Ready(());
        }
        let known = queue
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()));
        if !known {
            queue.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// The protocol version of messages to come.
    #[inline]
    pub fn version(&self) -> RespVersion {
        if self.resp3.load(Ordering::Relaxed) {
            RespVersion::Resp3
        } else {
            RespVersion::Resp2
        }
    }

    /// Sets the protocol version of messages to come.
    pub fn set_version(&self, version: RespVersion) {
        self.resp3
            .store(version == RespVersion::Resp3, Ordering::Relaxed);
    }
}

/// A queue with room for more messages is given back when it is empty.
const RETAINED_MESSAGES: usize = 256;

impl Queue {
    fn exceeds(&mut self, limit: &OutputBufferLimit, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if limit.hard > 0 && bytes > limit.hard {
            return true;
        }
        if limit.soft == 0 || bytes <= limit.soft {
            self.above_soft_since = None;
            return false;
        }
        let since = *self.above_soft_since.get_or_insert_with(Instant::now);
        since.elapsed() >= Duration::from_secs(limit.soft_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    const LIMIT: OutputBufferLimit = OutputBufferLimit {
        hard: 100,
        soft: 0,
        soft_seconds: 0,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_once_for_many_messages() {
        let (outbox, count) = (Outbox::default(), Arc::new(Count::default()));
        let waker = count.clone().into();
        let mut context = Context::from_waker(&waker);
        assert!(outbox.poll_busy(&mut context).is_pending());
        for _ in 0..10 {
            outbox
                .push(&Bytes::from_static(b"0123456789"), &LIMIT, 0)
                .unwrap();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(outbox.poll_busy(&mut context).is_ready());
        let mut out = Vec::new();
        outbox.take(&mut out, 15);
        assert_eq!((out.len(), outbox.bytes()), (20, 80));
        outbox.take(&mut out, usize::MAX);
        assert_eq!((out.len(), outbox.is_busy()), (100, false));
        assert!(outbox.poll_busy(&mut context).is_pending());
        outbox.push(&Bytes::from_static(b"x"), &LIMIT, 0).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_client_above_a_limit_is_given_up() {
        let outbox = Outbox::default();
        let message = Bytes::from(vec![0; 60]);
        assert_eq!(outbox.push(&message, &LIMIT, 41), Err(TooSlow));
        // From here on nothing is kept for it.
        assert_eq!(outbox.push(&message, &LIMIT, 0), Ok(()));
        assert_eq!(outbox.bytes(), 0);
        let soft = OutputBufferLimit {
            hard: 0,
            soft: 50,
            soft_seconds: 0,
        };
        let outbox = Outbox::default();
        assert_eq!(outbox.push(&message, &soft, 0), Err(TooSlow));
        let patient = OutputBufferLimit {
            soft_seconds: 1000,
            ..soft
        };
        let outbox = Outbox::default();
        assert_eq!(outbox.push(&message, &patient, 0), Ok(()));
        assert_eq!(outbox.check(&patient, 0), Ok(()));
        assert_eq!(outbox.check(&soft, 0), Err(TooSlow));
    }
}
