//! Partitions, keys and values in memory. No I/O, no async, no knowledge of commands.

pub mod access;
mod collection;
pub mod containers;
#[cfg(test)]
pub mod contents;
mod departed;
mod digest;
mod entry;
mod horizon;
mod keyspace;
mod known;
mod merge;
#[cfg(test)]
mod merge_tests;
mod metadata;
mod operations;
mod partition;
mod register;
mod replica;
mod size_class;
mod sketch;
mod state;
mod table;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use coterie_protocol::{Actor, DatabaseId, PartitionId, Partitions, Slot, Stamp};
use parking_lot::{Mutex, MutexGuard};

pub use crate::effect::Kind;
pub use access::AccessClock;
pub use collection::{
    Attribute, Consumer, ConsumerState, Group, GroupState, HashView, ListChange, ListView, Pending,
    PendingState, Position, Score, SetView, SortedSetView, StreamId, StreamMark, StreamView,
    decode_fields, encode_fields, insert_changes,
};
pub use departed::{Departed, Departure};
pub use digest::BUCKETS;
pub use entry::{Entry, Parts, element_effect};
pub use keyspace::Keyspace;
pub use operations::Known;
pub use partition::{Aside, Garbage, Partition};
pub use table::{Hashed, POSITION_BITS, position};

/// What merging a change has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merged {
    /// It is part of the state now.
    New,
    /// The state had it already, or had come past it.
    Known,
    /// It lost to this higher stamp.
    Superseded(Stamp),
}

/// All partitions of a node, each behind its own lock.
pub struct Store {
    partitions: Box<[Padded]>,
    layout: Partitions,
    databases: u32,
    allocated: AtomicI64,
    /// The node's actor plus one; 0 when it is not part of a cluster.
    actor: AtomicU32,
    departed: Departed,
}

/// Partitions that can be looked into. Each is locked for as long as that takes, or all of them are already.
pub trait View {
    /// Looks into a partition.
    fn look(&self, id: PartitionId, visit: &mut dyn FnMut(&Partition));
}

impl<V: View + ?Sized> View for &V {
    fn look(&self, id: PartitionId, visit: &mut dyn FnMut(&Partition)) {
        (**self).look(id, visit);
    }
}

impl View for Store {
    fn look(&self, id: PartitionId, visit: &mut dyn FnMut(&Partition)) {
        visit(&self.lock(id));
    }
}

/// A lock that shares no cache line with its neighbours.
#[repr(align(128))]
struct Padded(Mutex<Partition>);

/// A locked partition, which on unlocking adds what it grew by to the store's memory account.
pub struct PartitionGuard<'a> {
    partition: MutexGuard<'a, Partition>,
    allocated: &'a AtomicI64,
    departed: &'a Departed,
    before: usize,
}

impl Store {
    /// An empty store. The seed of its hashes decides the order of `SCAN`, so it must stay while there are keys.
    pub fn new(layout: Partitions, databases: u32, seed: u64) -> Self {
        let partitions = (0..layout.count())
            .map(|id| Padded(Mutex::new(Partition::new(PartitionId(id), seed))))
            .collect();
        Store {
            partitions,
            layout,
            databases,
            allocated: AtomicI64::new(0),
            actor: AtomicU32::new(0),
            departed: Departed::default(),
        }
    }

    /// How slots map to partitions.
    pub fn layout(&self) -> Partitions {
        self.layout
    }

    /// Number of databases.
    pub fn databases(&self) -> u32 {
        self.databases
    }

    /// Seed of the key hashes.
    pub fn seed(&self) -> u64 {
        self.lock(PartitionId(0)).seed()
    }

    /// Gives the hashes another seed, which only an empty store may be given.
    pub fn reseed(&self, seed: u64) {
        debug_assert!(!self.has_keys());
        self.ids().for_each(|id| self.lock(id).reseed(seed));
    }

    /// The partition of a key.
    #[inline]
    pub fn partition_of(&self, key: &[u8]) -> PartitionId {
        self.layout.partition_of(Slot::of(key))
    }

    /// Locks a partition. Who locks several does so in ascending order.
    #[inline]
    pub fn lock(&self, id: PartitionId) -> PartitionGuard<'_> {
        let mut partition = self.partitions[usize::from(id.0)].0.lock();
        partition.notes_departed = self.departed.is_wanted();
        let before = partition.allocated_bytes();
        PartitionGuard {
            partition,
            allocated: &self.allocated,
            departed: &self.departed,
            before,
        }
    }

    /// Brings near what a command on this key will touch, unless its partition is in use.
    #[inline]
    pub fn prefetch(&self, database: DatabaseId, key: &[u8]) {
        if let Some(partition) = self.partitions[self.partition_of(key).index()].0.try_lock() {
            partition.prefetch(database, key);
        }
    }

    /// Who makes the changes that this node coordinates; `None` if it is not part of a cluster.
    pub fn actor(&self) -> Option<Actor> {
        let number = self.actor.load(Ordering::Acquire).checked_sub(1)?;
        Some(Actor(number as u16))
    }

    /// Makes the node part of a cluster, or not any more: every partition keeps from now on what replicas need.
    pub fn set_replicated(&self, actor: Option<Actor>) {
        let number = actor.map_or(0, |actor| u32::from(actor.0) + 1);
        self.actor.store(number, Ordering::Release);
        for id in self.ids() {
            self.lock(id).set_replicated(actor.is_some());
        }
    }

    /// Whether there is any key.
    pub fn has_keys(&self) -> bool {
        self.ids().any(|id| {
            let partition = self.lock(id);
            let mut databases = partition.databases();
            databases.any(|database| partition.keyspace(database).is_some_and(|k| !k.is_empty()))
        })
    }

    /// Numbers of all partitions.
    pub fn ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        self.layout.iter()
    }

    /// Keys that expired, until that is told.
    pub fn departed(&self) -> &Departed {
        &self.departed
    }

    /// Memory of all keys, values and tables, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated.load(Ordering::Relaxed).max(0) as usize
    }
}

impl std::ops::Deref for PartitionGuard<'_> {
    type Target = Partition;

    fn deref(&self) -> &Partition {
        &self.partition
    }
}

impl std::ops::DerefMut for PartitionGuard<'_> {
    fn deref_mut(&mut self) -> &mut Partition {
        &mut self.partition
    }
}

impl Drop for PartitionGuard<'_> {
    fn drop(&mut self) {
        if !self.partition.departed.is_empty() {
            let keys = std::mem::take(&mut self.partition.departed);
            self.departed.add(self.partition.id(), keys);
        }
        let after = self.partition.allocated_bytes();
        if after != self.before {
            self.allocated
                .fetch_add(after as i64 - self.before as i64, Ordering::Relaxed);
        }
    }
}
