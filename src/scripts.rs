//! The scripts that a node knows by name, and the watch over those that run.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::scripting::Digest;

/// Scripts that are known because they were executed; more, and the oldest are forgotten. Those that were loaded stay.
const EXECUTED_MAX: usize = 500;
/// A script is stopped when it has run this many times as long as counts as too long.
const STOPPED_AFTER: u32 = 2;

/// See the module.
#[derive(Default)]
pub struct Scripts {
    known: Mutex<Known>,
    /// How many have run for too long.
    late: AtomicUsize,
    killed: AtomicBool,
}

#[derive(Default)]
struct Known {
    texts: HashMap<Digest, Arc<[u8]>>,
    /// Those that were not loaded, the oldest first.
    executed: VecDeque<Digest>,
    bytes: usize,
}

/// A script that runs. Dropped at its end.
pub struct Watched {
    scripts: Arc<Scripts>,
    limit: Duration,
    began: Instant,
    is_late: AtomicBool,
}

impl Scripts {
    /// The text of a script.
    pub fn get(&self, name: Digest) -> Option<Arc<[u8]>> {
        self.known.lock().texts.get(&name).cloned()
    }

    /// Keeps a script that is executed; `is_loaded` if it is to stay until all are forgotten.
    pub fn add(&self, name: Digest, text: &[u8], is_loaded: bool) -> Arc<[u8]> {
        let mut known = self.known.lock();
        let Known {
            texts,
            executed,
            bytes,
        } = &mut *known;
        if is_loaded {
            executed.retain(|other| *other != name);
        }
        if let Some(text) = texts.get(&name) {
            return text.clone();
        }
        let text: Arc<[u8]> = text.into();
        *bytes += text.len();
        texts.insert(name, text.clone());
        if !is_loaded {
            executed.push_back(name);
            if executed.len() > EXECUTED_MAX
                && let Some(text) = executed
                    .pop_front()
                    .and_then(|oldest| texts.remove(&oldest))
            {
                *bytes -= text.len();
            }
        }
        text
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        *self.known.lock() = Known::default();
    }

    /// Their number, and the bytes of their texts.
    pub fn usage(&self) -> (usize, usize) {
        let known = self.known.lock();
        (known.texts.len(), known.bytes)
    }

    /// Watches over a script that begins now, of which it is said that it runs too long after `limit`.
    pub fn watch(self: &Arc<Self>, limit: Duration) -> Watched {
        Watched {
            scripts: self.clone(),
            limit,
            began: Instant::now(),
            is_late: AtomicBool::new(false),
        }
    }

    /// Whether a script has run for too long, and still does.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.late.load(Ordering::Relaxed) > 0
    }

    /// Stops scripts that have run for too long. Returns whether there is any.
    pub fn kill(&self) -> bool {
        let is_busy = self.is_busy();
        if is_busy {
            self.killed.store(true, Ordering::Release);
        }
        is_busy
    }
}

impl Watched {
    /// Asks whether the script may go on; why not, if not.
    pub fn may_go_on(&self) -> Result<(), &'static str> {
        let elapsed = self.began.elapsed();
        if elapsed < self.limit {
            return Ok(());
        }
        if !self.is_late.swap(true, Ordering::Relaxed) {
            self.scripts.late.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                milliseconds = elapsed.as_millis() as u64,
                "a script runs for long: SCRIPT KILL stops it, and takes back what it has changed"
            );
        }
        if self.scripts.killed.load(Ordering::Acquire) {
            return Err(
                "ERR Script killed by user with SCRIPT KILL; what it had changed is taken back.",
            );
        }
        if elapsed > self.limit * STOPPED_AFTER {
            return Err(
                "ERR Script stopped: it ran more than twice as long as lua-time-limit; what it had changed is taken back.",
            );
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.is_late.load(Ordering::Relaxed)
            && self.scripts.late.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.scripts.killed.store(false, Ordering::Release);
        }
    }
}
