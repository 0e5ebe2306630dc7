//! The keys of one database in one partition.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::access::AccessClock;
use super::entry::Entry;
use super::table::{Hashed, Table};

impl Hashed for Entry {
    fn hash_with(&self, seed: u64) -> u64 {
        xxh3_64_with_seed(self.key(), seed)
    }
}

/// Hash of a key that has an expiry. A set of these is what the active expiry cycle and the volatile
/// eviction policies sample; it is a hint, the entry itself tells the expiry.
struct Volatile(u64);

impl Hashed for Volatile {
    fn hash_with(&self, _seed: u64) -> u64 {
        self.0
    }
}

/// What a lookup found.
pub enum Lookup<'a> {
    /// An entry to work with.
    Live(&'a mut Entry),
    /// One whose time is over, taken out.
    Expired {
        /// The entry.
        entry: Entry,
        /// By how much the keyspace shrank, itself included. Merging segments may make it grow.
        freed_bytes: isize,
    },
}

/// See the module.
pub struct Keyspace {
    entries: Table<Entry>,
    volatile: Table<Volatile>,
    /// Hashes of the keys that have fields which expire.
    lapsing: BTreeSet<u64>,
    entry_bytes: usize,
    seed: u64,
}

impl Keyspace {
    /// An empty one, whose hashes use this seed.
    pub fn new(seed: u64) -> Self {
        Keyspace {
            entries: Table::new(seed),
            volatile: Table::new(seed),
            lapsing: BTreeSet::new(),
            entry_bytes: 0,
            seed,
        }
    }

    /// Number of keys, those counted too that expired and were not collected yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of keys with an expiry.
    pub fn volatile_len(&self) -> usize {
        self.volatile.len()
    }

    /// Memory of the table of entries, in bytes.
    pub fn table_bytes(&self) -> usize {
        self.entries.allocated_bytes()
    }

    /// Memory of the table of keys with an expiry, in bytes.
    pub fn volatile_table_bytes(&self) -> usize {
        self.volatile.allocated_bytes()
    }

    /// What one key adds to the tables on average, in bytes.
    pub fn table_share(&self, expires: bool) -> usize {
        let mut share = self.table_bytes() / self.len().max(1);
        if expires {
            share += self.volatile_table_bytes() / self.volatile_len().max(1);
        }
        share
    }

    /// Memory of entries and tables, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.entry_bytes + self.entries.allocated_bytes() + self.volatile.allocated_bytes()
    }

    /// The entry of a key, expired or not.
    #[inline]
    pub fn find(&self, key: &[u8], hash: u64) -> Option<&Entry> {
        self.entries.find(hash, |entry| entry.key() == key)
    }

    /// Brings near what a lookup of this hash will touch.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.entries.find(hash, |entry| {
            entry.prefetch();
            false
        });
    }

    /// The entry of a key; one that has expired is removed.
    #[inline]
    pub fn find_live(&mut self, key: &[u8], hash: u64, now_ms: u64) -> Option<Lookup<'_>> {
        let place = self.entries.locate(hash, |entry| entry.key() == key)?;
        if self.entries.at_mut(place)?.is_expired(now_ms) {
            let before = self.allocated_bytes();
            let entry = self.remove(key, hash)?;
            let freed_bytes = before as isize - self.allocated_bytes() as isize;
            return Some(Lookup::Expired { entry, freed_bytes });
        }
        self.entries.at_mut(place).map(Lookup::Live)
    }

    /// Adds an entry whose key is not there.
    pub fn insert(&mut self, hash: u64, entry: Entry) {
        self.entry_bytes += entry.allocated_bytes();
        if entry.expire_at().is_some() {
            self.note_volatile(hash);
        }
        if entry.has_expiries() {
            self.lapsing.insert(hash);
        }
        self.entries.insert(hash, entry);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &[u8], hash: u64) -> Option<Entry> {
        let entry = self.entries.remove(hash, |entry| entry.key() == key)?;
        self.entry_bytes -= entry.allocated_bytes();
        if entry.expire_at().is_some() {
            self.volatile.remove(hash, |volatile| volatile.0 == hash);
        }
        if entry.has_expiries() {
            self.lapsing.remove(&hash);
        }
        Some(entry)
    }

    /// Changes an entry and keeps the books. `None` if there is none.
    pub fn update<R>(
        &mut self,
        key: &[u8],
        hash: u64,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let entry = self.entries.find_mut(hash, |entry| entry.key() == key)?;
        let (bytes, expires) = (entry.allocated_bytes(), entry.expire_at().is_some());
        let lapsed = entry.has_expiries();
        let result = change(entry);
        self.entry_bytes = self.entry_bytes - bytes + entry.allocated_bytes();
        match (lapsed, entry.has_expiries()) {
            (false, true) => {
                self.lapsing.insert(hash);
            }
            (true, false) => {
                self.lapsing.remove(&hash);
            }
            _ => {}
        }
        match (expires, entry.expire_at().is_some()) {
            (false, true) => self.note_volatile(hash),
            (true, false) => {
                self.volatile.remove(hash, |volatile| volatile.0 == hash);
            }
            _ => {}
        }
        Some(result)
    }

    /// Whether any key has fields that expire.
    pub fn has_lapsing(&self) -> bool {
        !self.lapsing.is_empty()
    }

    /// The key from this hash on that has fields which expire, and the hash.
    pub fn next_lapsing(&self, from: u64) -> Option<(u64, &Entry)> {
        self.lapsing.range(from..).find_map(|&hash| {
            let is_it = |entry: &Entry| entry.has_expiries() && entry.hash_with(self.seed) == hash;
            Some((hash, self.entries.find(hash, is_it)?))
        })
    }

    fn note_volatile(&mut self, hash: u64) {
        if self
            .volatile
            .find(hash, |volatile| volatile.0 == hash)
            .is_none()
        {
            self.volatile.insert(hash, Volatile(hash));
        }
    }

    /// Walks in order of position; see `Table::scan`.
    pub fn scan(&self, from: u64, count: usize, visit: impl FnMut(&Entry)) -> Option<u64> {
        self.entries.scan(from, count, visit)
    }

    /// Walks in order of position until it is enough; see `Table::scan_until`.
    pub fn scan_until(&self, from: u64, visit: impl FnMut(&Entry) -> bool) -> Option<u64> {
        self.entries.scan_until(from, visit)
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Every entry, taken out, in no order.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_elements()
    }

    /// Removes keys that expired, from position `from` of the volatile keys on, looking at about `count` of
    /// them. Returns where to go on; `None` at the end.
    pub fn collect_expired(
        &mut self,
        from: u64,
        count: usize,
        now_ms: u64,
        collect: impl FnMut(Entry),
    ) -> Option<u64> {
        let mut due = Vec::new();
        let next = self
            .volatile
            .scan(from, count, |volatile| due.push(volatile.0));
        due.into_iter()
            .filter_map(|hash| self.remove_expired(hash, now_ms))
            .for_each(collect);
        next
    }

    fn remove_expired(&mut self, hash: u64, now_ms: u64) -> Option<Entry> {
        let seed = self.seed;
        let entry = self.entries.remove(hash, |entry| {
            // The table compares but a few bits of the hash.
            entry.is_expired(now_ms) && entry.hash_with(seed) == hash
        })?;
        self.entry_bytes -= entry.allocated_bytes();
        self.volatile.remove(hash, |volatile| volatile.0 == hash);
        if entry.has_expiries() {
            self.lapsing.remove(&hash);
        }
        Some(entry)
    }

    /// Looks at up to `count` entries near a random point, or of those with an expiry.
    pub fn sample(
        &self,
        random: u64,
        count: usize,
        volatile_only: bool,
        mut visit: impl FnMut(&Entry),
    ) {
        if !volatile_only {
            self.entries.sample(random, count, visit);
            return;
        }
        self.volatile.sample(random, count, |volatile| {
            if let Some(entry) = self
                .entries
                .find(volatile.0, |entry| entry.expire_at().is_some())
            {
                visit(entry);
            }
        });
    }

    /// Marks an entry as used.
    pub fn touch(entry: &mut Entry, clock: &AccessClock) {
        let before = entry.access();
        let after = clock.touched(before);
        // Spares the cache line a write when the second has not changed.
        if after != before {
            entry.set_access(after);
        }
    }
}
