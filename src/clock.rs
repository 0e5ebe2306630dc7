//! Wall-clock time behind a seam, so that tests and simulations choose it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of Unix time in milliseconds.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// The system's, this many milliseconds off.
    Offset(i64),
    /// One that stands still until it is set.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        match self {
            Clock::System | Clock::Offset(_) => self.now_micros() / 1000,
            Clock::Manual(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Microseconds since the Unix epoch.
    pub fn now_micros(&self) -> u64 {
        match self {
            Clock::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_micros() as u64),
            Clock::Offset(offset_ms) => Clock::System
                .now_micros()
                .saturating_add_signed(offset_ms.saturating_mul(1000)),
            Clock::Manual(now) => now.load(Ordering::Relaxed) * 1000,
        }
    }
}
