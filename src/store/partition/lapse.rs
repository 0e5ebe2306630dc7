//! Fields of hashes whose time is over.
//!
//! As with keys, that needs no log record: the time is in the field, so that every replica and every recovery comes to
//! the same. Whoever looks a hash up takes them out before; those of hashes that nobody asks for go in small steps.

use coterie_protocol::DatabaseId;

use super::Partition;
use crate::store::departed::Departure;
use crate::store::state::KeyState;

/// Fields taken out of one hash in a step.
const STEP: usize = 64;

impl Partition {
    /// Takes out the fields of a hash whose time is over, and the key with the last one.
    #[inline]
    pub(super) fn lapse_fields(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        hash: u64,
        now_ms: u64,
    ) {
        let keyspace = self.keyspace(database);
        if keyspace.is_some_and(|keyspace| keyspace.has_lapsing()) {
            self.lapse(database, key, hash, now_ms, usize::MAX);
        }
    }

    /// Takes out at most `max` of them. Returns how many.
    fn lapse(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        hash: u64,
        now_ms: u64,
        max: usize,
    ) -> usize {
        let found = self
            .keyspace(database)
            .and_then(|keyspace| keyspace.find(key, hash));
        // A key that expired as a whole is left to that.
        let is_due =
            found.is_some_and(|entry| entry.has_lapsed(now_ms) && !entry.is_expired(now_ms));
        if !is_due {
            return 0;
        }
        let count = if self.is_replicated() {
            self.hide_lapsed(database, key, hash, (now_ms, max))
        } else {
            let change = self.change(database, |keyspace, _| {
                let change = keyspace.update(key, hash, |entry| {
                    let collection = entry.collection_mut();
                    collection.map_or((0, false), |collection| {
                        (collection.lapse(now_ms, max), collection.is_empty())
                    })
                });
                if change.is_some_and(|(_, is_empty)| is_empty) {
                    keyspace.remove(key, hash);
                }
                change.map_or(0, |(count, _)| count)
            });
            change.unwrap_or(0)
        };
        if self.notes_departed && count > 0 {
            let found = self
                .keyspace(database)
                .and_then(|keyspace| keyspace.find(key, hash));
            let what = match found {
                Some(_) => Departure::Fields,
                None => Departure::LastField,
            };
            self.departed.push((database, key.into(), what));
        }
        count
    }

    /// Takes them out of a replicated hash, which remembers them.
    fn hide_lapsed(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        hash: u64,
        (now_ms, max): (u64, usize),
    ) -> usize {
        let Some((entry, is_live)) = self.take(database, key, hash) else {
            return 0;
        };
        let mut state = KeyState::of(entry, is_live);
        let before = state.sums(self.context(database));
        let count = state.lapse_fields(now_ms, max);
        debug_assert!(state.sums(self.context(database)) == before);
        self.put_back(database, key, hash, state, before);
        count
    }

    /// Looks at up to `count` hashes that have fields which expire, from one on, and takes out what is over, not all
    /// of it if it is much. Returns how many fields that were, and where to go on; `None` at the end.
    pub fn collect_lapsed(
        &mut self,
        database: DatabaseId,
        mut from: u64,
        count: usize,
        now_ms: u64,
    ) -> (usize, Option<u64>) {
        let mut removed = 0;
        for _ in 0..count {
            let next = self
                .keyspace(database)
                .and_then(|keyspace| keyspace.next_lapsing(from));
            let Some((hash, entry)) = next else {
                return (removed, None);
            };
            if entry.has_lapsed(now_ms) {
                let key = entry.key().to_vec();
                let some = self.lapse(database, &key, hash, now_ms, STEP);
                removed += some;
                if some == STEP {
                    return (removed, Some(hash));
                }
            }
            let Some(after) = hash.checked_add(1) else {
                return (removed, None);
            };
            from = after;
        }
        (removed, Some(from))
    }

    /// Takes out everything whose time is over.
    pub(in crate::store) fn take_out_expired(&mut self, database: DatabaseId, now_ms: u64) {
        let mut from = Some(0);
        while let Some(at) = from {
            (_, from) = self.collect_expired(database, at, usize::MAX, now_ms);
        }
        from = Some(0);
        while let Some(at) = from {
            (_, from) = self.collect_lapsed(database, at, usize::MAX, now_ms);
        }
    }

    /// Whether a field is absent only because it expired: who counts on it has to delete it first.
    pub fn is_field_lapsed(&self, database: DatabaseId, key: &[u8], field: &[u8]) -> bool {
        let known = self.known(database, key);
        let collection = known.and_then(|(entry, _)| entry.collection());
        collection.is_some_and(|collection| collection.remembers_lapsed(field))
    }
}
