//! `CLIENT PAUSE`: holds commands back until a deadline.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// What is held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum PauseMode {
    /// Commands that may write.
    Writes,
    /// Every command.
    All,
}

/// See the module.
#[derive(Default)]
pub struct Pause {
    /// Unix milliseconds, 0 when nothing is paused: lets commands pass without a lock.
    until_ms: AtomicU64,
    mode: Mutex<Option<PauseMode>>,
    ended: Notify,
}

impl Pause {
    /// Starts or extends a pause. A pause under way is never shortened or weakened, as in Redis.
    pub fn start(&self, until_ms: u64, mode: PauseMode) {
        let mut current = self.mode.lock();
        *current = (*current).max(Some(mode));
        self.until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    /// Ends it.
    pub fn end(&self) {
        let mut current = self.mode.lock();
        *current = None;
        self.until_ms.store(0, Ordering::Relaxed);
        drop(current);
        self.ended.notify_waiters();
    }

    /// Until when a command has to wait, in Unix milliseconds; `None` if it may go on.
    #[inline]
    pub fn holds(&self, may_write: bool, now_ms: u64) -> Option<u64> {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        if until_ms == 0 {
            return None;
        }
        if until_ms <= now_ms {
            self.end();
            return None;
        }
        let mode = *self.mode.lock();
        (mode == Some(PauseMode::All) || mode == Some(PauseMode::Writes) && may_write)
            .then_some(until_ms)
    }

    /// Resolves when the pause is ended early.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}
