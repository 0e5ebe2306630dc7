//! A run of slots with its data: the unit of locking, logging, checkpointing and, later, placement.

mod apply;
mod lapse;
mod undo;

use coterie_protocol::{DatabaseId, Epoch, HybridClock, PartitionId, Stamp, Version};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::access::AccessClock;
use super::departed::Departure;
use super::entry::Entry;
use super::keyspace::{Keyspace, Lookup};
use super::replica::Replica;
use super::state::Context;

pub use undo::Aside;
pub(super) use undo::{ElementsBefore, KeyBefore};

/// What is no longer reachable and takes long to free.
pub enum Garbage {
    /// A key with a large value, or a collection of many elements.
    Entry(Entry),
    /// All keys of a database.
    Keyspace(Box<Keyspace>),
}

/// See the module. State changes only by [`Partition::apply`], and by expiry.
pub struct Partition {
    id: PartitionId,
    pub(super) seed: u64,
    pub(super) clock: HybridClock,
    pub(super) databases: Vec<Option<Box<Keyspace>>>,
    /// How often databases were swapped; a checkpoint that walks the partition starts over when it changes.
    pub(super) swaps: u64,
    expired: u64,
    /// Whether keys that expire are noted.
    pub(super) notes_departed: bool,
    /// Those that did since it was locked.
    pub(super) departed: Vec<(DatabaseId, Box<[u8]>, Departure)>,
    /// Memory of all its databases.
    pub(super) allocated_bytes: usize,
    pub(super) garbage: Vec<Garbage>,
    /// What it keeps beside the keys when it is replicated.
    pub(super) replica: Option<Box<Replica>>,
    /// The epoch that it was joined with nothing in, if it moved here.
    joined: Epoch,
    /// Counts keys that came to be, by their hash: who has seen that one is absent notices that it was there since.
    births: [u32; BIRTH_COUNTERS],
}

/// More, and fewer keys are counted together.
const BIRTH_COUNTERS: usize = 256;

fn birth_counter(database: DatabaseId, hash: u64) -> usize {
    (hash as usize).wrapping_add(database.index()) % BIRTH_COUNTERS
}

impl Partition {
    /// An empty one.
    pub fn new(id: PartitionId, seed: u64) -> Self {
        Partition {
            id,
            seed,
            clock: HybridClock::default(),
            databases: Vec::new(),
            swaps: 0,
            expired: 0,
            notes_departed: false,
            departed: Vec::new(),
            allocated_bytes: 0,
            garbage: Vec::new(),
            replica: None,
            joined: Epoch::default(),
            births: [0; BIRTH_COUNTERS],
        }
    }

    /// How often a key came to be that counts together with this one.
    pub fn births(&self, database: DatabaseId, key: &[u8]) -> u32 {
        self.births[birth_counter(database, self.hash(key))]
    }

    fn count_birth(&mut self, database: DatabaseId, hash: u64) {
        let count = &mut self.births[birth_counter(database, hash)];
        *count = count.wrapping_add(1);
    }

    /// What its hashes are seeded with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Empties it of whatever it knows, to use another seed.
    pub fn reseed(&mut self, seed: u64) {
        let clock = std::mem::take(&mut self.clock);
        *self = Partition {
            clock,
            joined: self.joined,
            ..Partition::new(self.id, seed)
        };
    }

    /// Its number.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The epoch since when it moved here, having begun with nothing; 0 if it did not.
    pub fn joined(&self) -> Epoch {
        self.joined
    }

    /// See [`Partition::joined`].
    pub fn set_joined(&mut self, since: Epoch) {
        self.joined = since;
    }

    /// The version clock of its changes.
    pub fn clock(&mut self) -> &mut HybridClock {
        &mut self.clock
    }

    /// Version of its last change.
    pub fn version(&self) -> Version {
        self.clock.last()
    }

    /// See the field.
    pub fn swaps(&self) -> u64 {
        self.swaps
    }

    /// Keys that were found expired and removed since the start.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Memory of all its databases, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        debug_assert_eq!(
            self.allocated_bytes,
            self.databases
                .iter()
                .flatten()
                .map(|keyspace| keyspace.allocated_bytes())
                .sum::<usize>()
                + self.replica.as_ref().map_or(0, |r| r.allocated_bytes())
        );
        self.allocated_bytes
    }

    /// Numbers of the databases that may have keys.
    pub fn databases(&self) -> impl Iterator<Item = DatabaseId> + use<> {
        (0..self.databases.len() as u32).map(|number| DatabaseId(number as u16))
    }

    /// The keys of a database, if it ever had any.
    pub fn keyspace(&self, database: DatabaseId) -> Option<&Keyspace> {
        self.databases.get(database.index())?.as_deref()
    }

    /// Changes the keys of a database, if it has any, and keeps the memory account.
    pub(super) fn change<R>(
        &mut self,
        database: DatabaseId,
        change: impl FnOnce(&mut Keyspace, &mut Vec<Garbage>) -> R,
    ) -> Option<R> {
        let keyspace = self.databases.get_mut(database.index())?.as_deref_mut()?;
        let before = keyspace.allocated_bytes();
        let result = change(keyspace, &mut self.garbage);
        self.allocated_bytes = self.allocated_bytes + keyspace.allocated_bytes() - before;
        Some(result)
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    /// What decides how keys of a database merge.
    pub(super) fn context(&self, database: DatabaseId) -> Context {
        match &self.replica {
            Some(replica) => replica.context(database),
            None => Context {
                floor: Stamp::ZERO,
                horizon: Version::ZERO,
                seed: self.seed,
            },
        }
    }

    /// Takes a database out, and off the memory account.
    pub fn take_keyspace(&mut self, database: DatabaseId) -> Option<Box<Keyspace>> {
        let keyspace = self.databases.get_mut(database.index())?.take()?;
        self.allocated_bytes -= keyspace.allocated_bytes();
        Some(keyspace)
    }

    /// Puts back what [`Partition::take_keyspace`] has taken; what is there now is lost.
    pub fn put_keyspace(&mut self, database: DatabaseId, keyspace: Box<Keyspace>) {
        let now = self.take_keyspace(database);
        self.garbage.extend(now.map(Garbage::Keyspace));
        self.allocated_bytes += keyspace.allocated_bytes();
        self.make_database(database);
        self.databases[database.index()] = Some(keyspace);
    }

    /// Drops what [`Partition::take_keyspace`] has taken.
    pub fn discard_keyspace(&mut self, keyspace: Box<Keyspace>) {
        self.garbage.push(Garbage::Keyspace(keyspace));
    }

    /// Brings near what a command on this key will touch.
    #[inline]
    pub fn prefetch(&self, database: DatabaseId, key: &[u8]) {
        if let Some(keyspace) = self.keyspace(database) {
            keyspace.prefetch(self.hash(key));
        }
    }

    /// Version of a key's entry; `None` if there is none.
    pub fn version_of(&self, database: DatabaseId, key: &[u8]) -> Option<Version> {
        self.keyspace(database)?
            .find(key, self.hash(key))
            .map(Entry::version)
    }

    /// Version of a key's live entry; one that has expired stays.
    pub fn live_version(&self, database: DatabaseId, key: &[u8], now_ms: u64) -> Option<Version> {
        let entry = self.keyspace(database)?.find(key, self.hash(key))?;
        (!entry.is_expired(now_ms)).then(|| entry.version())
    }

    /// The live entry of a key, without side effects.
    pub fn find(&self, database: DatabaseId, key: &[u8], now_ms: u64) -> Option<&Entry> {
        let found = self.keyspace(database)?.find(key, self.hash(key));
        found.filter(|entry| !entry.is_expired(now_ms) && !entry.is_lapsed(now_ms))
    }

    /// The live entry of a key; an expired one is removed. With a clock the entry counts as used.
    #[inline]
    pub fn get(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        now_ms: u64,
        touch: Option<&AccessClock>,
    ) -> Option<&Entry> {
        let hash = self.hash(key);
        self.lapse_fields(database, key, hash, now_ms);
        // Split borrows: the entry that is returned borrows `databases` alone.
        let Partition {
            databases,
            expired,
            garbage,
            allocated_bytes,
            replica,
            notes_departed,
            departed,
            ..
        } = self;
        let keyspace = databases.get_mut(database.index())?.as_deref_mut()?;
        let entry = match keyspace.find_live(key, hash, now_ms)? {
            Lookup::Live(entry) => entry,
            Lookup::Expired { entry, freed_bytes } => {
                *expired += 1;
                if *notes_departed {
                    departed.push((database, key.into(), Departure::Key));
                }
                *allocated_bytes = allocated_bytes.wrapping_add_signed(-freed_bytes);
                match replica {
                    Some(replica) => {
                        let grown = replica.remember(database, hash, entry);
                        *allocated_bytes = allocated_bytes.wrapping_add_signed(grown);
                    }
                    None => discard(garbage, entry),
                }
                return None;
            }
        };
        if let Some(clock) = touch {
            Keyspace::touch(entry, clock);
        }
        Some(entry)
    }

    /// Lets two databases change places.
    pub fn swap(&mut self, one: DatabaseId, other: DatabaseId) {
        self.make_database(one.max(other));
        self.databases.swap(one.index(), other.index());
        self.swaps += 1;
    }

    fn make_database(&mut self, database: DatabaseId) {
        if self.databases.len() <= database.index() {
            self.databases.resize_with(database.index() + 1, || None);
        }
    }

    pub(super) fn make_keyspace(&mut self, database: DatabaseId) {
        self.make_database(database);
        let slot = &mut self.databases[database.index()];
        if slot.is_none() {
            let keyspace = slot.insert(Box::new(Keyspace::new(self.seed)));
            self.allocated_bytes += keyspace.allocated_bytes();
        }
    }

    /// Removes keys that expired; see [`Keyspace::collect_expired`].
    pub fn collect_expired(
        &mut self,
        database: DatabaseId,
        from: u64,
        count: usize,
        now_ms: u64,
    ) -> (usize, Option<u64>) {
        let mut collected = Vec::new();
        let next = self.change(database, |keyspace, _| {
            keyspace.collect_expired(from, count, now_ms, |entry| collected.push(entry))
        });
        let count = collected.len();
        self.expired += count as u64;
        for entry in collected {
            if self.notes_departed {
                self.departed
                    .push((database, entry.key().into(), Departure::Key));
            }
            match &mut self.replica {
                Some(replica) => {
                    let hash = xxh3_64_with_seed(entry.key(), self.seed);
                    let grown = replica.remember(database, hash, entry);
                    self.allocated_bytes = self.allocated_bytes.wrapping_add_signed(grown);
                }
                None => discard(&mut self.garbage, entry),
            }
        }
        (count, next.flatten())
    }

    /// Takes the keys that have expired since it was locked, if they are noted.
    pub fn take_departed(&mut self) -> Vec<(DatabaseId, Box<[u8]>, Departure)> {
        std::mem::take(&mut self.departed)
    }

    /// Whether any key has expired since it was locked, if that is noted.
    #[inline]
    pub fn has_departed(&self) -> bool {
        !self.departed.is_empty()
    }

    /// What is to be freed outside the lock.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        std::mem::take(&mut self.garbage)
    }

    /// Whether there is anything to be freed outside the lock.
    pub fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }
}

/// Leaves what takes long to free to who does that outside the lock.
pub(in crate::store) fn discard(garbage: &mut Vec<Garbage>, entry: Entry) {
    if entry.is_costly_to_free() {
        garbage.push(Garbage::Entry(entry));
    }
}
