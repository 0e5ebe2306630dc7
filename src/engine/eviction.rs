//! Keeps memory under `maxmemory` by removing keys.
//!
//! Candidates are found as Redis finds them (<https://redis.io/docs/latest/develop/reference/eviction/>):
//! a few random keys are sampled, the coldest seen lately stay in a small pool, and the coldest of the pool
//! goes. An eviction is a change like any other: a `Delete` in the log.

use std::sync::atomic::{AtomicBool, Ordering};

use coterie_protocol::{DatabaseId, PartitionId};
use parking_lot::Mutex;

use super::{Engine, Moment, Scope};
use crate::config::MaxmemoryPolicy;
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::wal::LogOffset;

/// Candidates remembered between evictions.
const POOL_MAX: usize = 16;
/// Samples that may come up empty in a row before giving up.
const BARREN_SAMPLES_MAX: usize = 4;
/// Keys removed for one command at most, so that no command waits long for a lowered limit; the background
/// task removes the rest.
const EVICTIONS_PER_CALL: usize = 64;

/// Which keys may go, and which of them first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvictionPolicy(MaxmemoryPolicy);

impl EvictionPolicy {
    /// The policy of a setting.
    pub fn of(setting: MaxmemoryPolicy) -> Self {
        EvictionPolicy(setting)
    }

    /// Whether entries keep an access counter rather than a time.
    pub fn uses_frequency(self) -> bool {
        matches!(
            self.0,
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu
        )
    }

    fn volatile_only(self) -> bool {
        use MaxmemoryPolicy::*;
        matches!(
            self.0,
            VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl
        )
    }

    fn is_random(self) -> bool {
        matches!(
            self.0,
            MaxmemoryPolicy::AllkeysRandom | MaxmemoryPolicy::VolatileRandom
        )
    }
}

/// A memory limit and how it is kept.
#[derive(Clone, Copy, Debug)]
pub struct EvictionSettings {
    /// Bytes of keys, values and tables.
    pub limit_bytes: u64,
    /// See [`EvictionPolicy`].
    pub policy: EvictionPolicy,
    /// Keys sampled for each eviction.
    pub samples: usize,
}

/// Memory is over its limit and there is nothing to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

struct Candidate {
    coldness: u64,
    partition: PartitionId,
    database: DatabaseId,
    key: Vec<u8>,
}

/// The coldest keys seen lately, coldest last.
pub(super) struct Pool {
    coldest: Mutex<Vec<Candidate>>,
    /// By partition: whether this node decides what of it is evicted. Replicas follow.
    leads: Box<[AtomicBool]>,
}

impl Pool {
    /// An empty one; this node decides about all partitions.
    pub fn new(partitions: u16) -> Self {
        Pool {
            coldest: Mutex::default(),
            leads: (0..partitions).map(|_| AtomicBool::new(true)).collect(),
        }
    }

    pub fn leads(&self, partition: PartitionId) -> bool {
        self.leads[partition.index()].load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Says whether this node decides what is evicted from a partition, as the first of its replicas does.
    pub fn set_leading(&self, partition: PartitionId, leads: bool) {
        self.eviction.leads[partition.index()].store(leads, Ordering::Relaxed);
    }

    /// Removes keys until memory is under the limit, or a bounded number of them. Returns where their records end.
    #[inline]
    pub fn evict(
        &self,
        settings: &EvictionSettings,
        moment: Moment,
    ) -> Result<Vec<LogOffset>, OutOfMemory> {
        if !self.is_over(settings) {
            return Ok(Vec::new());
        }
        self.evict_some(settings, moment)
    }

    fn is_over(&self, settings: &EvictionSettings) -> bool {
        self.store.allocated_bytes() as u64 > settings.limit_bytes
    }

    fn evict_some(
        &self,
        settings: &EvictionSettings,
        moment: Moment,
    ) -> Result<Vec<LogOffset>, OutOfMemory> {
        if settings.policy.0 == MaxmemoryPolicy::Noeviction {
            return Err(OutOfMemory);
        }
        let mut evicted = Vec::new();
        let mut payload = Vec::new();
        while self.is_over(settings) && evicted.len() < EVICTIONS_PER_CALL {
            let Some(candidate) = self.next_candidate(settings, &moment) else {
                return if evicted.is_empty() {
                    Err(OutOfMemory)
                } else {
                    Ok(evicted)
                };
            };
            // Without room in the log nothing may change; the command itself will say so.
            if self
                .log
                .room(Effect::encoded_bytes_max(candidate.key.len(), 0))
                .is_err()
            {
                return Ok(evicted);
            }
            let quiet = Moment {
                touch: false,
                ..moment
            };
            let mut transaction = self.begin(Scope::Key(&candidate.key), quiet, &mut payload);
            let found = transaction.peek(candidate.database, &candidate.key);
            // It may have lost its expiry since it was sampled, or the policy may have changed.
            if found.is_some_and(|entry| {
                !settings.policy.volatile_only() || entry.expire_at().is_some()
            }) {
                transaction.apply(
                    candidate.database,
                    &Effect::Delete {
                        key: &candidate.key,
                    },
                );
                transaction.notify(
                    candidate.database,
                    EventClasses::EVICTED,
                    "evicted",
                    &candidate.key,
                );
            }
            evicted.extend(transaction.commit());
        }
        Ok(evicted)
    }

    fn next_candidate(&self, settings: &EvictionSettings, moment: &Moment) -> Option<Candidate> {
        let mut pool = self.eviction.coldest.lock();
        if settings.policy.is_random() {
            pool.clear();
        }
        for _ in 0..BARREN_SAMPLES_MAX {
            self.sample(settings, moment, &mut pool);
            while let Some(candidate) = pool.pop() {
                let partition = self.store.lock(candidate.partition);
                let there = partition
                    .version_of(candidate.database, &candidate.key)
                    .is_some();
                if there {
                    return Some(candidate);
                }
            }
        }
        None
    }

    /// Adds a few random keys of one partition to the pool; of the next one that has any, if need be.
    fn sample(&self, settings: &EvictionSettings, moment: &Moment, pool: &mut Vec<Candidate>) {
        let partitions = self.store.layout().count();
        let start = rand::random_range(0..partitions);
        for step in 0..partitions {
            let id = PartitionId((start + step) % partitions);
            if !self.eviction.leads(id) {
                continue;
            }
            let partition = self.store.lock(id);
            let mut found = false;
            for database in partition.databases() {
                let Some(keyspace) = partition.keyspace(database) else {
                    continue;
                };
                let volatile_only = settings.policy.volatile_only();
                keyspace.sample(rand::random(), settings.samples, volatile_only, |entry| {
                    found = true;
                    let coldness = match settings.policy.0 {
                        MaxmemoryPolicy::VolatileTtl => {
                            u64::MAX - entry.expire_at().unwrap_or(u64::MAX)
                        }
                        _ => moment.access.coldness(entry.access()),
                    };
                    offer(pool, coldness, id, database, entry.key());
                });
            }
            if found {
                return;
            }
        }
    }
}

/// Puts a key into the pool if it is colder than the warmest there, or there is space.
fn offer(
    pool: &mut Vec<Candidate>,
    coldness: u64,
    partition: PartitionId,
    database: DatabaseId,
    key: &[u8],
) {
    let known = pool
        .iter()
        .any(|candidate| candidate.database == database && candidate.key == key);
    if known || pool.len() == POOL_MAX && pool[0].coldness >= coldness {
        return;
    }
    if pool.len() == POOL_MAX {
        pool.remove(0);
    }
    let at = pool.partition_point(|candidate| candidate.coldness < coldness);
    pool.insert(
        at,
        Candidate {
            coldness,
            partition,
            database,
            key: key.to_vec(),
        },
    );
}
