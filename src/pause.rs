//! `CLIENT PAUSE`: holds commands back until a deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

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
    /// Unix milliseconds, 0 when nothing is paused: lets commands pass without a lock. Changes under the lock of `mode`.
    until_ms: AtomicU64,
    mode: Mutex<Option<PauseMode>>,
    ended: Notify,
}

impl Pause {
    /// Starts or extends a pause. One under way is never shortened or weakened, as in Redis.
    pub fn start(&self, until_ms: u64, mode: PauseMode, now_ms: u64) {
        let mut current = self.mode.lock();
        let before_ms = self.until_ms.load(Ordering::Relaxed);
        let under_way = if before_ms > now_ms { *current } else { None };
        *current = under_way.max(Some(mode));
        self.until_ms
            .store(until_ms.max(before_ms), Ordering::Release);
    }

    /// Ends it.
    pub fn end(&self) {
        let mut current = self.mode.lock();
        *current = None;
        self.until_ms.store(0, Ordering::Release);
        drop(current);
        self.ended.notify_waiters();
    }

    /// Until when a command has to wait, in Unix milliseconds; `None` if it may go on.
    #[inline]
    pub fn holds(&self, may_write: bool, now_ms: u64) -> Option<u64> {
        // Nothing is paused, or it is over.
        if self.until_ms.load(Ordering::Acquire) <= now_ms {
            return None;
        }
        self.holds_now(may_write, now_ms)
    }

    #[cold]
    fn holds_now(&self, may_write: bool, now_ms: u64) -> Option<u64> {
        let mode = self.mode.lock();
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        let held = match *mode {
            None => false,
            Some(PauseMode::Writes) => may_write,
            Some(PauseMode::All) => true,
        };
        (held && until_ms > now_ms).then_some(until_ms)
    }

    /// Waits until a time that [`holds`](Pause::holds) has told, or until the pause is ended early. The command
    /// may have to wait again afterwards, for another pause.
    pub async fn wait(&self, until_ms: u64, now_ms: u64) {
        // Created before the look at the state: whoever ends the pause after that look wakes it.
        let ended = self.ended.notified();
        if self.until_ms.load(Ordering::Acquire) < until_ms {
            return;
        }
        let left = Duration::from_millis(until_ms.saturating_sub(now_ms));
        // Either way it is over.
        let _ = timeout(left, ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_extended_and_strengthened_but_never_the_opposite() {
        let pause = Pause::default();
        assert_eq!(pause.holds(true, 0), None);
        pause.start(100, PauseMode::Writes, 0);
        assert_eq!(pause.holds(false, 0), None);
        assert_eq!(pause.holds(true, 99), Some(100));
        pause.start(50, PauseMode::All, 10);
        assert_eq!(pause.holds(false, 99), Some(100));
        pause.start(200, PauseMode::Writes, 20);
        assert_eq!(pause.holds(false, 199), Some(200));
        assert_eq!(pause.holds(true, 200), None);
        // What is over does not strengthen the next one.
        pause.start(400, PauseMode::Writes, 300);
        assert_eq!(pause.holds(false, 300), None);
        assert_eq!(pause.holds(true, 300), Some(400));
        pause.end();
        assert_eq!(pause.holds(true, 300), None);
    }

    #[tokio::test]
    async fn an_end_between_the_check_and_the_wait_is_not_lost() {
        let pause = Pause::default();
        pause.start(u64::MAX, PauseMode::All, 0);
        let until_ms = pause.holds(true, 0).expect("paused");
        pause.end();
        // Would wait for ever if it relied on being woken.
        pause.wait(until_ms, 0).await;
    }

    #[tokio::test]
    async fn everyone_who_waits_is_woken() {
        let pause = Pause::default();
        pause.start(u64::MAX, PauseMode::All, 0);
        let end = async {
            tokio::task::yield_now().await;
            pause.end();
        };
        tokio::join!(
            pause.wait(u64::MAX, 0),
            pause.wait(u64::MAX, 0),
            pause.wait(u64::MAX, 0),
            end
        );
        assert_eq!(pause.holds(true, 0), None);
    }
}
