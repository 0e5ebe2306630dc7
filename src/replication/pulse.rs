//! Whether this node itself stands still, or stood still a moment ago: others may have gone on without it meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A node that has not noticed the time pass for so long may count as silent for others. They leave one out after three
/// to four ticks of 20 ms without an answer.
const STILL_AFTER: Duration = Duration::from_millis(50);

/// Beats every 20 ms as long as the node runs.
pub struct Pulse {
    origin: Instant,
    /// Milliseconds from there to the last beat.
    last_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse {
            origin: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Beats. Returns whether it was due long ago.
    pub fn beat(&self) -> bool {
        let was_still = self.is_still();
        self.last_ms.store(self.now_ms(), Ordering::Release);
        was_still
    }

    /// Whether it is due for long.
    pub fn is_still(&self) -> bool {
        let silence_ms = self
            .now_ms()
            .saturating_sub(self.last_ms.load(Ordering::Acquire));
        silence_ms > STILL_AFTER.as_millis() as u64
    }

    fn now_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }
}
