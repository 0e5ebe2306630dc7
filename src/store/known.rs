//! What a replicated partition knows, as it is told to others: states, digests, walks over all of it.

use coterie_protocol::{DatabaseId, Stamp};

use super::digest::{BUCKETS, bucket_of, name_of};
use super::entry::Entry;
use super::keyspace::Keyspace;
use super::operations::Known;
use super::partition::Partition;
use super::state::KeyState;
use super::table::position;
use crate::effect::OperationId;

static EMPTY_TREE: [u64; BUCKETS] = [0; BUCKETS];

impl Partition {
    /// The key's entry, and whether clients see it.
    pub(super) fn known(&self, database: DatabaseId, key: &[u8]) -> Option<(&Entry, bool)> {
        let hash = self.hash(key);
        let live = self.keyspace(database).and_then(|k| k.find(key, hash));
        if let Some(entry) = live {
            return Some((entry, true));
        }
        let beside = self.replica.as_ref()?.get(database)?;
        Some((beside.remembered.find(key, hash)?, false))
    }

    /// What is known of an operation.
    pub fn operation(&self, id: OperationId) -> Known {
        let replica = self.replica.as_ref();
        replica.map_or(Known::Unknown, |replica| replica.operations.find(id))
    }

    /// Whether the effect of an operation that is part of the state prevails is not known: what it answered is not to be
    /// told any more.
    pub fn doubt_operation(&mut self, id: OperationId) {
        if let Some(replica) = &mut self.replica {
            replica.operations.doubt(id);
        }
    }

    /// Appends the operations that the state of a key tells of. Returns whether there are any.
    pub fn encode_operations(&self, database: DatabaseId, key: &[u8], out: &mut Vec<u8>) -> bool {
        let replica = self.replica.as_ref();
        replica.is_some_and(|replica| replica.operations.encode(database, key, out) > 0)
    }

    /// Appends all that is known of a key as stamped effects, to be merged elsewhere; nothing if nothing is. The
    /// operations that made it come along.
    pub fn encode_state(&self, database: DatabaseId, key: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        let state = match self.known(database, key) {
            Some((entry, is_live)) => KeyState::of(entry.duplicate(), is_live),
            None => KeyState::new(0),
        };
        state.encode(database, key, self.context(database), out);
        if out.len() > before {
            self.encode_operations(database, key, out);
        }
    }

    /// Digest of all that is known of a key, of its deletion too; 0 for nothing.
    pub fn digest(&self, database: DatabaseId, key: &[u8]) -> u64 {
        let known = self.known(database, key);
        let Some(replica) = &self.replica else {
            return 0;
        };
        let entry = known.map(|(entry, _)| entry);
        let is_live = known.is_some_and(|(_, is_live)| is_live);
        replica
            .sums(database, entry, is_live)
            .digest(name_of(database, key))
    }

    /// Of each bucket of keys the digests of those that clients see, combined with XOR. Expired keys count until
    /// they are forgotten.
    pub fn tree(&self) -> &[u64; BUCKETS] {
        self.replica
            .as_ref()
            .map_or(&EMPTY_TREE, |replica| replica.tree())
    }

    /// Visits what is known of the keys of a bucket, of deleted ones too: database, key and digest.
    pub fn keys_of_bucket(&self, bucket: usize, mut visit: impl FnMut(DatabaseId, &[u8], u64)) {
        let Some(replica) = &self.replica else {
            return;
        };
        let mut visit_all = |database: DatabaseId, keyspace: &Keyspace, is_live: bool| {
            for entry in keyspace.iter() {
                let name = name_of(database, entry.key());
                if bucket_of(name) == bucket {
                    let sums = replica.sums(database, Some(entry), is_live);
                    visit(database, entry.key(), sums.digest(name));
                }
            }
        };
        for database in self.databases() {
            if let Some(keyspace) = self.keyspace(database) {
                visit_all(database, keyspace, true);
            }
        }
        for database in replica.databases() {
            if let Some(beside) = replica.get(database) {
                visit_all(database, &beside.remembered, false);
            }
        }
    }

    /// Stamps of the latest `Clear` of each database that had one.
    pub fn floors(&self) -> impl Iterator<Item = (DatabaseId, Stamp)> {
        let replica = self.replica.as_ref();
        replica.into_iter().flat_map(|replica| {
            replica
                .databases()
                .map(|database| (database, replica.context(database).floor))
                .filter(|(_, floor)| *floor > Stamp::ZERO)
        })
    }

    /// Walks all that is known in order of position, about `count` keys or `bytes` of them, and appends the
    /// state of each by `encode`. Returns where to go on; `None` at the end.
    pub fn scan_known(
        &self,
        database: DatabaseId,
        from: u64,
        (count, bytes): (usize, usize),
        mut visit: impl FnMut(&Entry, bool),
    ) -> Option<u64> {
        let beside = self.replica.as_ref().and_then(|r| r.get(database));
        let tables = [
            (self.keyspace(database), true),
            (beside.map(|beside| &beside.remembered), false),
        ];
        // A key changes from one table to the other at any time, but not its position: both are walked to the
        // same one.
        let next = tables.iter().filter_map(|(keyspace, _)| {
            let (mut left, mut seen) = (count, 0);
            (*keyspace)?.scan_until(from, |entry| {
                left = left.saturating_sub(1);
                seen += entry.allocated_bytes();
                left == 0 || seen > bytes
            })
        });
        let next = next.min();
        let end = next.unwrap_or(u64::MAX);
        for (keyspace, is_live) in tables {
            let Some(keyspace) = keyspace else { continue };
            keyspace.scan_until(from, |entry| {
                if position(self.hash(entry.key())) >= end {
                    return true;
                }
                visit(entry, is_live);
                false
            });
        }
        next
    }

    /// Appends what an entry tells as stamped effects; `is_live` if clients see it.
    pub fn encode_entry(
        &self,
        database: DatabaseId,
        entry: &Entry,
        is_live: bool,
        out: &mut Vec<u8>,
    ) {
        let state = KeyState::of(entry.duplicate(), is_live);
        state.encode(database, entry.key(), self.context(database), out);
    }
}
