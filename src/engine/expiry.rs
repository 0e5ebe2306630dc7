//! Removes expired keys, and expired fields of hashes, that nobody asks for, a little at a time.

use coterie_protocol::{DatabaseId, PartitionId};

use super::Engine;

/// Keys looked at under one lock.
const SLICE: usize = 64;

/// Where the walk over all keys with an expiry has come to.
///
/// An expiry needs no log record: the time is in the entry, so every replica and every recovery sees the
/// same key as absent.
#[derive(Default)]
pub struct ExpiryCycle {
    partition: u16,
    database: u32,
    position: u64,
    /// Whether it is among the hashes with fields that expire, after the keys.
    is_in_hashes: bool,
}

impl ExpiryCycle {
    /// Goes on with the walk, looking at about `budget` keys and partitions, and not past a full round.
    /// Returns how many keys it removed.
    pub fn step(&mut self, engine: &Engine, budget: usize, now_ms: u64) -> usize {
        let partitions = engine.store.layout().count();
        let (mut removed, mut spent, mut visited) = (0, 0, 0);
        while spent < budget && visited <= partitions {
            let mut partition = engine.store.lock(PartitionId(self.partition));
            let databases = partition.databases().count() as u32;
            spent += 1;
            if self.database < databases {
                spent += SLICE;
                let database = DatabaseId(self.database as u16);
                let (some, next) = if self.is_in_hashes {
                    partition.collect_lapsed(database, self.position, SLICE, now_ms)
                } else {
                    partition.collect_expired(database, self.position, SLICE, now_ms)
                };
                removed += some;
                if partition.has_garbage() {
                    engine.reclaimer.free(partition.take_garbage());
                }
                self.position = next.unwrap_or(0);
                if next.is_none() {
                    let keyspace = partition.keyspace(database);
                    let has_lapsing = keyspace.is_some_and(|keyspace| keyspace.has_lapsing());
                    self.is_in_hashes = !self.is_in_hashes && has_lapsing;
                    self.database += u32::from(!self.is_in_hashes);
                }
            }
            if self.database >= databases {
                self.database = 0;
                self.position = 0;
                self.partition = (self.partition + 1) % partitions;
                visited += 1;
            }
        }
        engine.tell_departed();
        removed
    }
}
