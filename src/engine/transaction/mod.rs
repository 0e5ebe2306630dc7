//! One atomic unit of reads and changes, over one partition or several.

mod change;
mod lookup;
mod merge;
mod notices;
mod record;

use coterie_protocol::{Actor, DatabaseId, PartitionId, Version};
use smallvec::SmallVec;

use super::watch::{Notice, Wanted};
use super::{Engine, Moment};
use crate::store::{Partition, PartitionGuard, View};
use record::Undo;

/// What a transaction locks.
pub enum Scope<'i, 'k> {
    /// The partition of one key.
    Key(&'k [u8]),
    /// The partitions of several keys.
    Keys(&'i mut dyn Iterator<Item = &'k [u8]>),
    /// Every partition.
    All,
    /// One partition as a whole.
    Partition(PartitionId),
}

/// Locked partitions, what was changed in them, and the record that tells so.
///
/// Changes are made at once, so that what follows in the same transaction reads them. Nothing is logged
/// before [`Transaction::commit`]; a transaction over several keys that is dropped before (a panic, an
/// error) takes its changes back. One over a single key makes at most one change, which is whole by itself.
pub struct Transaction<'a> {
    engine: &'a Engine,
    guards: SmallVec<[PartitionGuard<'a>; 1]>,
    moment: Moment,
    /// Of the record and its first effect; zero until the first change.
    version: Version,
    /// Of the next effect: they are numbered consecutively.
    next: Version,
    payload: &'a mut Vec<u8>,
    /// Database of the record, and of the last effect in it.
    record_database: DatabaseId,
    last_database: DatabaseId,
    /// Whether the record is about several databases.
    mixed: bool,
    /// What the log has confirmed room for, in bytes.
    room: usize,
    /// Bytes that what comes after the present command may add.
    later_bytes: usize,
    /// `None` for a transaction over one key, which has nothing to take back.
    undo: Option<Vec<Undo>>,
    /// Whether the change of a key that is being made has set aside all of the key.
    is_whole_aside: bool,
    /// Lookups of keys that were there, and of those that were not.
    lookups: (u64, u64),
    counts_lookups: bool,
    /// Who makes the changes, if the partitions are replicated.
    actor: Option<Actor>,
    /// What is noted of what happens…
    wanted: Wanted,
    /// … and that, in order.
    notices: Vec<Notice>,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(
        engine: &'a Engine,
        scope: Scope<'_, '_>,
        moment: Moment,
        payload: &'a mut Vec<u8>,
    ) -> Self {
        payload.clear();
        let mut guards: SmallVec<[PartitionGuard<'a>; 1]> = SmallVec::new();
        let undo = matches!(scope, Scope::Keys(_)).then(Vec::new);
        match scope {
            Scope::Key(key) => guards.push(engine.store.lock(engine.store.partition_of(key))),
            Scope::Keys(keys) => {
                let mut ids: SmallVec<[PartitionId; 16]> =
                    keys.map(|key| engine.store.partition_of(key)).collect();
                ids.sort_unstable();
                ids.dedup();
                guards.extend(ids.into_iter().map(|id| engine.store.lock(id)));
            }
            Scope::Partition(id) => guards.push(engine.store.lock(id)),
            Scope::All => guards.extend(engine.store.ids().map(|id| engine.store.lock(id))),
        }
        // Only with a partition locked is it certain what it is.
        let mut actor = engine.store.actor();
        if actor.is_none() && guards.iter().any(|guard| guard.is_replicated()) {
            // Recovered as part of a cluster, which the node does not know yet.
            actor = Some(Actor::default());
        }
        if actor.is_some() {
            guards
                .iter_mut()
                .for_each(|guard: &mut PartitionGuard<'_>| guard.set_replicated(true));
        }
        Transaction {
            engine,
            guards,
            moment,
            version: Version::ZERO,
            next: Version::ZERO,
            payload,
            record_database: DatabaseId(0),
            last_database: DatabaseId(0),
            mixed: false,
            room: 0,
            later_bytes: 0,
            undo,
            is_whole_aside: false,
            lookups: (0, 0),
            counts_lookups: false,
            actor,
            wanted: engine.watch.wanted(),
            notices: Vec::new(),
        }
    }

    /// Lets it be the transaction of several commands: any number of changes, which can all be taken back.
    pub fn of_several(mut self) -> Self {
        self.undo.get_or_insert_default();
        self
    }

    /// See [`Transaction::of_several`].
    pub fn is_of_several(&self) -> bool {
        self.undo.is_some()
    }

    /// The next of several commands begins. Those after it may add `later_bytes` to the record.
    pub fn begin_command(&mut self, touch: bool, later_bytes: usize) {
        debug_assert!(self.undo.is_some());
        self.moment.touch = touch;
        self.later_bytes = later_bytes;
        self.lookups = (0, 0);
        self.counts_lookups = false;
    }

    /// Whether the partition of a key is locked.
    pub fn covers(&self, key: &[u8]) -> bool {
        let id = self.engine.store.partition_of(key);
        self.guards
            .binary_search_by_key(&id, |guard| guard.id())
            .is_ok()
    }

    /// Whether every partition is locked.
    pub fn covers_everything(&self) -> bool {
        self.guards.len() == usize::from(self.engine.store.layout().count())
    }

    /// The time all its commands see.
    pub fn now_ms(&self) -> u64 {
        self.moment.now_ms
    }

    /// The moment all its commands see.
    pub fn moment(&self) -> &Moment {
        &self.moment
    }

    /// Number of databases.
    pub fn databases(&self) -> u32 {
        self.engine.store.databases()
    }

    fn guard(&self, key: &[u8]) -> usize {
        if self.guards.len() == 1 {
            debug_assert_eq!(
                self.guards[0].id(),
                self.engine.store.partition_of(key),
                "key of an unlocked partition"
            );
            return 0;
        }
        let id = self.engine.store.partition_of(key);
        let found = self.guards.binary_search_by_key(&id, |guard| guard.id());
        debug_assert!(found.is_ok(), "key of an unlocked partition");
        found.unwrap_or(0)
    }

    /// Whether changes are merged by replicas: who deletes tells it even of what is not here.
    pub fn is_replicated(&self) -> bool {
        self.actor.is_some()
    }

    /// Who makes the changes: what new elements of lists are given positions by. 0 on a single node.
    pub fn actor(&self) -> Actor {
        self.actor.unwrap_or_default()
    }

    /// Visits every locked partition (`FLUSHALL`, eviction).
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionGuard<'a>> {
        self.guards.iter()
    }
}

impl View for Transaction<'_> {
    fn look(&self, id: PartitionId, visit: &mut dyn FnMut(&Partition)) {
        let found = self.guards.binary_search_by_key(&id, |guard| guard.id());
        debug_assert!(found.is_ok(), "an unlocked partition");
        if let Ok(index) = found {
            visit(&self.guards[index]);
        }
    }
}
