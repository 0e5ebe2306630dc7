//! One atomic unit of reads and changes, over one partition or several.

use coterie_protocol::{DatabaseId, PartitionId, Version};
use smallvec::SmallVec;

use super::{Engine, Moment};
use crate::effect::{Effect, encode_database};
use crate::store::{Aside, Entry, PartitionGuard};
use crate::wal::{LogOffset, NoRoom, RecordHeader};

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

/// State before a change, to take it back.
struct Undo {
    guard: usize,
    database: DatabaseId,
    key: Vec<u8>,
    before: Aside,
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
    /// What the log has confirmed room for, in bytes.
    room: usize,
    /// `None` for a transaction over one key, which has nothing to take back.
    undo: Option<Vec<Undo>>,
    /// Lookups of keys that were there, and of those that were not.
    lookups: (u64, u64),
    counts_lookups: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(
        engine: &'a Engine,
        scope: Scope<'_, '_>,
        moment: Moment,
        payload: &'a mut Vec<u8>,
    ) -> Self {
        payload.clear();
        let mut guards = SmallVec::new();
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
        Transaction {
            engine,
            guards,
            moment,
            version: Version::ZERO,
            next: Version::ZERO,
            payload,
            record_database: DatabaseId(0),
            last_database: DatabaseId(0),
            room: 0,
            undo,
            lookups: (0, 0),
            counts_lookups: false,
        }
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

    /// The live entry of a key, which counts as used.
    #[inline]
    pub fn get(&mut self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        let touch = self.moment.touch;
        self.look_up(database, key, touch)
    }

    /// The live entry of a key, which does not count as used (`OBJECT`, `TTL`).
    pub fn peek(&mut self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        self.look_up(database, key, false)
    }

    /// Lets a key count as used, whatever the moment says of reading. Returns whether it is there.
    pub fn touch(&mut self, database: DatabaseId, key: &[u8]) -> bool {
        self.look_up(database, key, true).is_some()
    }

    #[inline]
    fn look_up(&mut self, database: DatabaseId, key: &[u8], touch: bool) -> Option<&Entry> {
        let index = self.guard(key);
        let clock = touch.then_some(&self.moment.access);
        let found = self.guards[index].get(database, key, self.moment.now_ms, clock);
        match found {
            Some(_) => self.lookups.0 += 1,
            None => self.lookups.1 += 1,
        }
        found
    }

    /// How many lookups found a key, and how many did not.
    pub fn lookups(&self) -> (u64, u64) {
        self.lookups
    }

    /// Lookups count as hits and misses although the command may write: it answers with the value, as
    /// `GETSET` does.
    pub fn count_lookups(&mut self) {
        self.counts_lookups = true;
    }

    /// See [`Transaction::count_lookups`].
    pub fn counts_lookups(&self) -> bool {
        self.counts_lookups
    }

    /// Makes sure that the log has room for changes of this many bytes in all. Asked before the first change
    /// by commands whose changes are larger than their arguments (copying a value, say).
    pub fn reserve(&mut self, bytes: usize) -> Result<(), NoRoom> {
        debug_assert!(self.payload.is_empty());
        if bytes > self.room {
            self.engine.log.room(bytes)?;
            self.room = bytes;
        }
        Ok(())
    }

    /// Makes a change to a key.
    #[inline]
    pub fn apply(&mut self, database: DatabaseId, effect: &Effect<'_>) {
        self.apply_all(database, std::slice::from_ref(effect));
    }

    /// Makes a change to a key that takes several effects: all of them are in the record before the first is made.
    pub fn apply_all(&mut self, database: DatabaseId, effects: &[Effect<'_>]) {
        let Some((first, key)) = effects
            .first()
            .and_then(|first| Some((first, first.key()?)))
        else {
            debug_assert!(false, "use apply_everywhere");
            return;
        };
        debug_assert!(effects.iter().all(|effect| effect.key() == Some(key)));
        let index = self.guard(key);
        if let Some(undo) = &mut self.undo {
            let before = self.guards[index].set_aside(database, first);
            undo.push(Undo {
                guard: index,
                database,
                key: key.to_vec(),
                before,
            });
        } else {
            debug_assert!(
                self.payload.is_empty(),
                "one change per single-key transaction"
            );
        }
        let mut version = self.record(database, first);
        for effect in &effects[1..] {
            self.record(database, effect);
        }
        for effect in effects {
            debug_assert!(
                version >= self.guards[index].version(),
                "versions of a partition never fall"
            );
            self.guards[index].apply(database, effect, version, &self.moment.access);
            version = version.successor();
        }
    }

    /// Makes a change to a whole database; the last one of a transaction over every partition.
    pub fn apply_everywhere(&mut self, database: DatabaseId, effect: &Effect<'_>) {
        debug_assert_eq!(
            self.guards.len(),
            usize::from(self.engine.store.layout().count())
        );
        let version = self.record(database, effect);
        for guard in &mut self.guards {
            guard.apply(database, effect, version, &self.moment.access);
        }
    }

    /// Adds an effect to the record; returns its version.
    fn record(&mut self, database: DatabaseId, effect: &Effect<'_>) -> Version {
        if self.version == Version::ZERO {
            let now_ms = self.moment.now_ms;
            let next = self
                .guards
                .iter_mut()
                .map(|guard| guard.clock().next(now_ms))
                .max();
            self.version = next.unwrap_or(Version::ZERO);
            self.next = self.version;
            self.record_database = database;
        } else if database != self.last_database {
            encode_database(database, self.payload);
        }
        self.last_database = database;
        effect.encode(self.payload);
        let version = self.next;
        self.next = version.successor();
        version
    }

    /// Whether anything was changed so far.
    pub fn has_changes(&self) -> bool {
        !self.payload.is_empty()
    }

    /// Visits every locked partition (`FLUSHALL`, eviction).
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionGuard<'a>> {
        self.guards.iter()
    }

    /// Appends the record, while the partitions are still locked. Returns where it ends; `None` when
    /// nothing was changed.
    pub fn commit(mut self) -> Option<LogOffset> {
        for change in self.undo.take().into_iter().flatten() {
            self.guards[change.guard].discard(change.before);
        }
        self.append()
    }

    fn append(&mut self) -> Option<LogOffset> {
        if self.payload.is_empty() {
            return None;
        }
        let partition = match &self.guards[..] {
            [only] => only.id(),
            _ => super::MANY,
        };
        let header = RecordHeader {
            version: self.version,
            partition,
            database: self.record_database,
            kind: super::EFFECTS,
        };
        let offset = self.engine.log.append(header, self.payload);
        self.payload.clear();
        Some(offset)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            for change in undo.into_iter().rev() {
                self.guards[change.guard].undo(change.database, &change.key, change.before);
            }
            self.payload.clear();
        }
        // A single change that was made but not committed is whole: memory and log must agree on it.
        self.append();
        for guard in self.guards.iter_mut().filter(|guard| guard.has_garbage()) {
            self.engine.reclaimer.free(guard.take_garbage());
        }
    }
}
