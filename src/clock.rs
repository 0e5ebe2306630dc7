//! Wall-clock time behind a seam, so that tests and simulations choose it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::MissedTickBehavior;

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

/// Ticks with this period, at the same moments as all others of that period: a thread that has many wakes up once for
/// them. Ticks that were missed are left out.
pub fn ticks(period: Duration) -> tokio::time::Interval {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let passed = START.elapsed().as_nanos() / period.as_nanos().max(1);
    let first = *START + period * u32::try_from(passed + 1).unwrap_or(u32::MAX);
    let mut ticks = tokio::time::interval_at(first.into(), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
