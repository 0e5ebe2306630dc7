//! Counters of what the server did, for `INFO`, `LATENCY` and the metrics to come.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::rates::Rates;

/// Counters of one command.
#[derive(Default)]
pub struct CommandCounters {
    /// Times it was executed.
    pub calls: AtomicU64,
    /// Nanoseconds spent in all those calls.
    pub nanoseconds: AtomicU64,
    /// Times it was refused before execution.
    pub rejected: AtomicU64,
    /// Times it answered with an error.
    pub failed: AtomicU64,
    /// Durations of the calls.
    pub durations: Histogram,
}

/// Durations in nanoseconds, in buckets an eighth of a doubling wide: percentiles are exact to 12 %.
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BUCKETS],
}

impl Histogram {
    const SUB_BITS: u32 = 3;
    /// Up to 2^36 ns, about a minute; what takes longer is counted there.
    const BUCKETS: usize = 34 << Self::SUB_BITS;

    /// Counts a duration.
    #[inline]
    pub fn record(&self, nanoseconds: u64) {
        self.buckets[Self::bucket(nanoseconds)].fetch_add(1, Relaxed);
    }

    fn bucket(nanoseconds: u64) -> usize {
        let value = nanoseconds.max(1 << Self::SUB_BITS);
        let exponent = value.ilog2();
        let sub = (value >> (exponent - Self::SUB_BITS)) as usize & ((1 << Self::SUB_BITS) - 1);
        ((((exponent - Self::SUB_BITS) as usize) << Self::SUB_BITS) + sub).min(Self::BUCKETS - 1)
    }

    /// Largest duration that falls in a bucket, in nanoseconds.
    fn upper_bound(bucket: usize) -> u64 {
        let exponent = (bucket >> Self::SUB_BITS) as u32;
        let sub = (bucket & ((1 << Self::SUB_BITS) - 1)) as u64;
        (((1 << Self::SUB_BITS) + sub + 1) << exponent) - 1
    }

    /// Non-empty buckets: the largest duration of each in nanoseconds, and how many fell in it.
    pub fn counts(&self) -> Vec<(u64, u64)> {
        let counts = self
            .buckets
            .iter()
            .enumerate()
            .map(|(bucket, n)| (Self::upper_bound(bucket), n.load(Relaxed)));
        counts.filter(|(_, n)| *n > 0).collect()
    }

    /// Duration in nanoseconds that `percent` of all durations do not exceed; 0 without any.
    pub fn percentile(&self, percent: f64) -> u64 {
        let counts = self.counts();
        let total: u64 = counts.iter().map(|(_, n)| n).sum();
        let rank = (total as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        counts
            .iter()
            .find(|(_, n)| {
                seen += n;
                seen >= rank
            })
            .map_or(0, |(bound, _)| *bound)
    }

    /// How many durations fall into doubling buckets: the bounds are 1024 ns times powers of two, the counts
    /// those of all durations below the bound. Bounds that add nothing to the one before are left out.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut doublings = Vec::new();
        let mut total = 0;
        for (bound, count) in self.counts() {
            total += count;
            let ceiling = (bound + 1).next_power_of_two().max(1024);
            match doublings.last_mut() {
                Some((last, seen)) if *last == ceiling => *seen = total,
                _ => doublings.push((ceiling, total)),
            }
        }
        doublings
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.buckets
            .iter()
            .for_each(|bucket| bucket.store(0, Relaxed));
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; Self::BUCKETS],
        }
    }
}

/// See the module. Connections count in a [`Tally`] of their own and add it here once a batch.
pub struct Statistics {
    commands: Box<[CommandCounters]>,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused for `maxclients`.
    pub rejected_connections: AtomicU64,
    /// Commands executed.
    pub commands_processed: AtomicU64,
    /// Bytes read from clients.
    pub input_bytes: AtomicU64,
    /// Bytes sent to clients.
    pub output_bytes: AtomicU64,
    /// Lookups of keys that were there.
    pub keyspace_hits: AtomicU64,
    /// Lookups of keys that were not.
    pub keyspace_misses: AtomicU64,
    /// Transactions that changed something since the start.
    pub changes: AtomicU64,
    /// What `changes` was when the last good checkpoint began.
    pub changes_saved: AtomicU64,
    /// Keys that had expired when the counters were reset; the partitions count on from the start.
    pub expired_before_reset: AtomicU64,
    /// Microseconds spent removing expired keys.
    pub expire_cycle_microseconds: AtomicU64,
    /// Keys evicted.
    pub evicted_keys: AtomicU64,
    /// Connections closed for `maxmemory-clients`.
    pub evicted_clients: AtomicU64,
    /// Error replies.
    pub error_replies: AtomicU64,
    /// Connections closed for protocol errors or exceeded query buffers.
    pub protocol_errors: AtomicU64,
    /// Error replies by their first word.
    pub errors: parking_lot::Mutex<std::collections::BTreeMap<String, u64>>,
    /// How fast some of these grow.
    pub rates: Rates,
}

impl Statistics {
    /// Zeroes, for this many commands.
    pub fn new(commands: usize) -> Self {
        let zero = || AtomicU64::new(0);
        Statistics {
            commands: (0..commands).map(|_| CommandCounters::default()).collect(),
            connections: zero(),
            rejected_connections: zero(),
            commands_processed: zero(),
            input_bytes: zero(),
            output_bytes: zero(),
            keyspace_hits: zero(),
            keyspace_misses: zero(),
            changes: zero(),
            changes_saved: zero(),
            expired_before_reset: zero(),
            expire_cycle_microseconds: zero(),
            evicted_keys: zero(),
            evicted_clients: zero(),
            error_replies: zero(),
            protocol_errors: zero(),
            errors: parking_lot::Mutex::default(),
            rates: Rates::default(),
        }
    }

    /// Counters of a command, by its index in the table.
    pub fn command(&self, index: usize) -> &CommandCounters {
        &self.commands[index]
    }

    /// Most different error codes that are told apart; scripts could make up any number.
    const ERROR_CODES_MAX: usize = 128;

    /// Longest error code, in bytes; a line without a space up to there has none.
    const ERROR_CODE_BYTES_MAX: usize = 31;

    /// Counts an error reply, by the first word of its line. One without a code counts as `ERR`, as in Redis.
    pub fn count_error(&self, line: &str) {
        self.error_replies.fetch_add(1, Relaxed);
        let code = match line.split_once(' ') {
            Some((code, _)) if code.len() <= Self::ERROR_CODE_BYTES_MAX => code,
            _ => "ERR",
        };
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < Self::ERROR_CODES_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// `CONFIG RESETSTAT`: as in Redis, of what happened, not of how things stand (peak memory, unsaved changes).
    /// `expired` is the number of keys that expired since the start.
    pub fn reset(&self, expired: u64) {
        for command in &self.commands {
            for counter in [
                &command.calls,
                &command.nanoseconds,
                &command.rejected,
                &command.failed,
            ] {
                counter.store(0, Relaxed);
            }
            command.durations.reset();
        }
        let all = [
            &self.connections,
            &self.rejected_connections,
            &self.commands_processed,
            &self.input_bytes,
            &self.output_bytes,
            &self.keyspace_hits,
            &self.keyspace_misses,
            &self.evicted_keys,
            &self.evicted_clients,
            &self.expire_cycle_microseconds,
            &self.error_replies,
            &self.protocol_errors,
        ];
        all.iter().for_each(|counter| counter.store(0, Relaxed));
        self.expired_before_reset.store(expired, Relaxed);
        self.errors.lock().clear();
        self.rates.reset();
    }
}

/// What one connection did in one batch.
#[derive(Default)]
pub struct Tally {
    command: usize,
    calls: u64,
    nanoseconds: u64,
    total: u64,
    /// Lookups of keys that were there.
    pub hits: u64,
    /// Lookups of keys that were not.
    pub misses: u64,
    /// Transactions that changed something.
    pub changes: u64,
}

impl Tally {
    /// Counts a call. Runs of the same command, the usual pipeline, cost plain additions.
    #[inline]
    pub fn call(&mut self, statistics: &Statistics, command: usize, nanoseconds: u64) {
        if self.command != command {
            self.add_command(statistics);
            self.command = command;
        }
        self.calls += 1;
        self.nanoseconds += nanoseconds;
    }

    /// Counts the lookups of a command that answers with what it finds.
    pub fn looked_up(&mut self, (hits, misses): (u64, u64)) {
        self.hits += hits;
        self.misses += misses;
    }

    fn add_command(&mut self, statistics: &Statistics) {
        if self.calls > 0 {
            let counters = statistics.command(self.command);
            counters.calls.fetch_add(self.calls, Relaxed);
            counters.nanoseconds.fetch_add(self.nanoseconds, Relaxed);
            self.total += self.calls;
            (self.calls, self.nanoseconds) = (0, 0);
        }
    }

    /// Adds everything to the server's counters.
    pub fn flush(&mut self, statistics: &Statistics) {
        self.add_command(statistics);
        let pairs = [
            (&mut self.total, &statistics.commands_processed),
            (&mut self.hits, &statistics.keyspace_hits),
            (&mut self.misses, &statistics.keyspace_misses),
            (&mut self.changes, &statistics.changes),
        ];
        for (count, counter) in pairs {
            if *count > 0 {
                counter.fetch_add(std::mem::take(count), Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket() {
        let histogram = Histogram::default();
        (1..=1000u64).for_each(|n| histogram.record(n * 1000));
        for (percent, exact) in [(50.0, 500_000.0), (99.0, 990_000.0), (100.0, 1_000_000.0)] {
            let told = histogram.percentile(percent) as f64;
            assert!(told >= exact && told <= exact * 1.13, "p{percent}: {told}");
        }
    }

    #[test]
    fn cumulative_counts_double() {
        let histogram = Histogram::default();
        for n in [10, 900, 1025, 1500, 3000, 5000] {
            histogram.record(n);
        }
        assert_eq!(
            histogram.cumulative(),
            [(1024, 2), (2048, 4), (4096, 5), (8192, 6)]
        );
    }

    #[test]
    fn every_duration_is_at_most_its_buckets_bound() {
        for n in (0..36).flat_map(|e| [1u64 << e, (1 << e) + 1, (1u64 << e) * 3 / 2]) {
            let bucket = Histogram::bucket(n);
            assert!(
                Histogram::upper_bound(bucket) >= n || bucket == Histogram::BUCKETS - 1,
                "{n}"
            );
        }
    }
}
