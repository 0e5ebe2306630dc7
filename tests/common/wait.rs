//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for anything before it gives up. Generous: it only bounds failures.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Polls `condition` until it holds; panics with `what` when [`DEADLINE`] has passed.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "gave up waiting for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
