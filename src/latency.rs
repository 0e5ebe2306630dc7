//! The latency monitor: when and how long something took longer than `latency-monitor-threshold`.
//!
//! Events have Redis' names (<https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/>):
//! `command` and `fast-command` for commands, `expire-cycle` for the removal of expired keys.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

/// Samples kept of each event, one a second at most.
const SAMPLES_MAX: usize = 160;

/// A command that should take long at times.
pub const COMMAND: &str = "command";
/// A command of constant or logarithmic time.
pub const FAST_COMMAND: &str = "fast-command";
/// One run of the task that removes expired keys.
pub const EXPIRE_CYCLE: &str = "expire-cycle";

/// The longest that an event took within one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spike {
    /// Unix seconds.
    pub at: u64,
    /// Milliseconds.
    pub latency_ms: u64,
}

/// What is known of one event.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Oldest first; never empty.
    pub spikes: VecDeque<Spike>,
    /// The longest since the event was reset, in milliseconds.
    pub max_ms: u64,
}

/// See the module.
#[derive(Default)]
pub struct LatencyMonitor(Mutex<BTreeMap<&'static str, Event>>);

impl LatencyMonitor {
    /// Notes that an event took long.
    pub fn note(&self, event: &'static str, now_ms: u64, latency_ms: u64) {
        let mut events = self.0.lock();
        let event = events.entry(event).or_default();
        event.max_ms = event.max_ms.max(latency_ms);
        let at = now_ms / 1000;
        match event.spikes.back_mut() {
            Some(last) if last.at == at => last.latency_ms = last.latency_ms.max(latency_ms),
            _ => {
                if event.spikes.len() == SAMPLES_MAX {
                    event.spikes.pop_front();
                }
                event.spikes.push_back(Spike { at, latency_ms });
            }
        }
    }

    /// Every event that took long, by name.
    pub fn events(&self) -> BTreeMap<&'static str, Event> {
        self.0.lock().clone()
    }

    /// What is known of one event.
    pub fn event(&self, name: &[u8]) -> Option<Event> {
        let name = str::from_utf8(name).ok()?;
        self.0.lock().get(name).cloned()
    }

    /// Forgets an event. Returns whether there was one.
    pub fn reset(&self, name: &[u8]) -> bool {
        str::from_utf8(name).is_ok_and(|name| self.0.lock().remove(name).is_some())
    }

    /// Forgets every event. Returns how many there were.
    pub fn reset_all(&self) -> usize {
        std::mem::take(&mut *self.0.lock()).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spike_a_second_and_a_bounded_history() {
        let monitor = LatencyMonitor::default();
        for second in 0..200 {
            monitor.note(COMMAND, second * 1000, 10);
            monitor.note(COMMAND, second * 1000 + 900, 20 + second);
            monitor.note(COMMAND, second * 1000 + 950, 5);
        }
        let event = monitor.event(b"command").unwrap();
        assert_eq!(event.spikes.len(), SAMPLES_MAX);
        assert_eq!(event.max_ms, 219);
        assert_eq!(event.spikes.front().map(|spike| spike.at), Some(40));
        let last = event.spikes.back().copied();
        assert_eq!(
            last,
            Some(Spike {
                at: 199,
                latency_ms: 219
            })
        );
        assert!(monitor.reset(b"command") && !monitor.reset(b"command"));
    }
}
