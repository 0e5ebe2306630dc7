//! How fast counters grow, as `INFO`'s `instantaneous_*` fields tell it.

use std::time::Duration;

use parking_lot::Mutex;

/// Samples that are averaged; Redis keeps as many.
const SAMPLES: usize = 16;

/// How often a counter is to be sampled, so that a rate covers about 1.6 seconds.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// Growth of one counter: the mean of its last samples.
#[derive(Default)]
pub struct Rate(Mutex<State>);

#[derive(Default)]
struct State {
    count: u64,
    samples: [u64; SAMPLES],
    next: usize,
}

impl Rate {
    /// Adds a sample: what the counter shows, `elapsed` after the sample before. A counter that fell was
    /// reset, and did not grow.
    pub fn sample(&self, count: u64, elapsed: Duration) {
        let state = &mut *self.0.lock();
        let grown = u128::from(count.saturating_sub(state.count));
        state.count = count;
        let per_second = grown * 1_000_000 / elapsed.as_micros().max(1);
        state.samples[state.next] = u64::try_from(per_second).unwrap_or(u64::MAX);
        state.next = (state.next + 1) % SAMPLES;
    }

    /// Growth in counts a second.
    pub fn per_second(&self) -> u64 {
        let sum: u128 = self.0.lock().samples.iter().copied().map(u128::from).sum();
        (sum / SAMPLES as u128) as u64
    }

    /// Forgets the samples.
    pub fn reset(&self) {
        self.0.lock().samples = [0; SAMPLES];
    }
}

/// The rates that `INFO` shows.
#[derive(Default)]
pub struct Rates {
    /// Commands.
    pub commands: Rate,
    /// Bytes read from clients.
    pub input_bytes: Rate,
    /// Bytes sent to clients.
    pub output_bytes: Rate,
}

impl Rates {
    /// Forgets the samples of all.
    pub fn reset(&self) {
        [&self.commands, &self.input_bytes, &self.output_bytes]
            .iter()
            .for_each(|rate| rate.reset());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_its_samples() {
        let rate = Rate::default();
        for second in 1..=SAMPLES as u64 {
            rate.sample(second * 500, Duration::from_millis(500));
        }
        assert_eq!(rate.per_second(), 1000);
        rate.sample(0, Duration::from_millis(500));
        assert_eq!(
            rate.per_second(),
            1000 * (SAMPLES as u64 - 1) / SAMPLES as u64
        );
    }
}
