//! What a replicated partition keeps beside the keys that clients see.

use std::collections::HashSet;

use coterie_protocol::{DatabaseId, Stamp, Version};

use super::digest::{BUCKETS, Sums, bucket_of, name_of};
use super::entry::Entry;
use super::keyspace::Keyspace;
use super::operations::Operations;
use super::state::{Context, KeyState, sums_of};

/// See the module.
pub(super) struct Replica {
    seed: u64,
    databases: Vec<Option<Box<Beside>>>,
    /// Of each bucket of keys the digests of those that clients see, combined with XOR.
    tree: Box<[u64; BUCKETS]>,
    /// Up to here everything is known to all replicas, and deletions are forgotten.
    horizon: Version,
    /// A horizon that waits until nobody holds the tombstones.
    due: Version,
    held: bool,
    /// By which its keys were changed lately.
    pub operations: Operations,
}

/// Of one database.
pub(super) struct Beside {
    /// Stamp of the latest `Clear`.
    pub floor: Stamp,
    /// Keys that clients do not see: deleted, or expired.
    pub remembered: Keyspace,
    /// Like the partition's.
    pub tree: Option<Box<[u64; BUCKETS]>>,
    /// Keys that clients see which may have deleted fields.
    pub thinned: HashSet<Box<[u8]>>,
}

impl Replica {
    pub fn new(seed: u64) -> Self {
        Replica {
            seed,
            databases: Vec::new(),
            tree: Box::new([0; BUCKETS]),
            horizon: Version::ZERO,
            due: Version::ZERO,
            held: false,
            operations: Operations::default(),
        }
    }

    pub fn tree(&self) -> &[u64; BUCKETS] {
        &self.tree
    }

    pub fn horizon(&self) -> Version {
        self.horizon.max(self.due)
    }

    /// Memory of what is remembered, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.databases
            .iter()
            .flatten()
            .map(|beside| beside.remembered.allocated_bytes())
            .sum()
    }

    pub fn databases(&self) -> impl Iterator<Item = DatabaseId> + use<> {
        (0..self.databases.len() as u32).map(|number| DatabaseId(number as u16))
    }

    pub fn get(&self, database: DatabaseId) -> Option<&Beside> {
        self.databases.get(database.index())?.as_deref()
    }

    pub fn get_mut(&mut self, database: DatabaseId) -> &mut Beside {
        if self.databases.len() <= database.index() {
            self.databases.resize_with(database.index() + 1, || None);
        }
        let seed = self.seed;
        self.databases[database.index()].get_or_insert_with(|| {
            Box::new(Beside {
                floor: Stamp::ZERO,
                remembered: Keyspace::new(seed),
                tree: None,
                thinned: HashSet::new(),
            })
        })
    }

    /// What decides how keys of a database merge.
    pub fn context(&self, database: DatabaseId) -> Context {
        Context {
            floor: self
                .get(database)
                .map_or(Stamp::ZERO, |beside| beside.floor),
            horizon: self.horizon,
            seed: self.seed,
        }
    }

    /// Sums of what is known of a key, given its entry and whether clients see it.
    pub fn sums(&self, database: DatabaseId, entry: Option<&Entry>, is_live: bool) -> Sums {
        sums_of(entry, is_live, self.context(database))
    }

    /// Follows a change of a key in the tree.
    pub fn change_tree(&mut self, database: DatabaseId, key: &[u8], before: Sums, after: Sums) {
        let name = name_of(database, key);
        let change = before.live_digest(name) ^ after.live_digest(name);
        if change != 0 {
            let bucket = bucket_of(name);
            self.tree[bucket] ^= change;
            let tree = &mut self.get_mut(database).tree;
            tree.get_or_insert_with(|| Box::new([0; BUCKETS]))[bucket] ^= change;
        }
    }

    /// Forgets all of a database that was before a `Clear` at this stamp; there is nothing after it.
    pub fn clear(&mut self, database: DatabaseId, floor: Stamp) -> Keyspace {
        let seed = self.seed;
        let beside = self.get_mut(database);
        beside.floor = floor;
        beside.thinned.clear();
        let tree = beside.tree.take();
        let old = std::mem::replace(&mut beside.remembered, Keyspace::new(seed));
        for (bucket, digest) in self
            .tree
            .iter_mut()
            .zip(tree.into_iter().flat_map(|tree| *tree))
        {
            *bucket ^= digest;
        }
        old
    }

    /// Remembers a key that expired, without its value if it is a string. Returns by how much memory grew.
    pub fn remember(&mut self, database: DatabaseId, hash: u64, entry: Entry) -> isize {
        let context = self.context(database);
        let key = entry.key().to_vec();
        let mut state = KeyState::of(entry, true);
        state.lapse();
        let before = self
            .get(database)
            .map_or(0, |beside| beside.remembered.allocated_bytes());
        let remembered = &mut self.get_mut(database).remembered;
        if let Some((entry, _)) = state.into_entry(&key, context) {
            remembered.insert(hash, entry);
        }
        remembered.allocated_bytes() as isize - before as isize
    }

    /// Takes note of a horizon. Returns whether tombstones may be collected up to it now.
    pub fn raise_horizon(&mut self, horizon: Version) -> bool {
        self.due = self.due.max(horizon);
        if self.held || self.due <= self.horizon {
            return false;
        }
        self.horizon = self.due;
        true
    }

    /// While tombstones are held, none is collected. Returns whether some may be now.
    pub fn hold(&mut self, held: bool) -> bool {
        self.held = held;
        self.raise_horizon(Version::ZERO)
    }
}
