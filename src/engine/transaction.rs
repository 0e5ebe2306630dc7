//! One atomic unit of reads and changes, over one partition or several.

use coterie_protocol::{Actor, DatabaseId, PartitionId, Stamp, Version};
use smallvec::SmallVec;

use super::watch::{Notice, Wanted};
use super::{Engine, Moment};
use crate::effect::{
    Effect, Kind, OperationId, StringEncoding, encode_actor, encode_database, encode_stamp,
};
use crate::events::EventClasses;
use crate::store::{
    Aside, Entry, Keyspace, Known, Partition, PartitionGuard, View, element_effect,
};
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

/// How a change is taken back.
enum Undo {
    /// One to a key: its state before.
    Key {
        guard: usize,
        database: DatabaseId,
        key: Vec<u8>,
        before: Aside,
    },
    /// The end of all keys of a database, in one partition: those keys.
    Clear {
        guard: usize,
        database: DatabaseId,
        before: Box<Keyspace>,
    },
    /// Two databases that changed places, in every partition.
    Swap(DatabaseId, DatabaseId),
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

    /// Bytes of the changes so far.
    pub fn changed_bytes(&self) -> usize {
        self.payload.len()
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

    /// A number that stands for the state of a key: as long as it is the same, the key was not changed (`WATCH`).
    pub fn fingerprint(&mut self, database: DatabaseId, key: &[u8]) -> u64 {
        let now_ms = self.moment.now_ms;
        let index = self.guard(key);
        let guard = &mut self.guards[index];
        if self.actor.is_some() {
            let is_there = guard.get(database, key, now_ms, None).is_some();
            // All that is known of a key says the same on every replica, but not whether its time is over.
            return guard.digest(database, key) & !1 | u64::from(is_there);
        }
        match guard.live_version(database, key, now_ms) {
            Some(version) => version.0,
            // Far below any version.
            None => guard.births(database, key).into(),
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
        self.look_up(database, key, touch, self.counts_lookups)
    }

    /// The live entry of a key, which does not count as used (`OBJECT`, `TTL`).
    pub fn peek(&mut self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        self.look_up(database, key, false, self.counts_lookups)
    }

    /// Like [`Transaction::peek`], for commands that do not tell an event if the key is not there.
    pub fn peek_quietly(&mut self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        self.look_up(database, key, false, false)
    }

    /// The live entry of a key, for looking at several at once: it does not count as used.
    pub fn find(&self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        self.guards[self.guard(key)].find(database, key, self.moment.now_ms)
    }

    /// Lets a key count as used, whatever the moment says of reading. Returns whether it is there.
    pub fn touch(&mut self, database: DatabaseId, key: &[u8]) -> bool {
        self.look_up(database, key, true, self.counts_lookups)
            .is_some()
    }

    /// Lets a key have been used as these access bits say. That is no change, and not logged.
    pub fn set_access(&mut self, database: DatabaseId, key: &[u8], access: u32) {
        let index = self.guard(key);
        self.guards[index].set_access(database, key, access);
    }

    #[inline]
    fn look_up(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        touch: bool,
        tells_miss: bool,
    ) -> Option<&Entry> {
        let index = self.guard(key);
        if !self.wanted.is_nothing() {
            self.note_lookup(index, database, key, tells_miss);
        }
        let clock = touch.then_some(&self.moment.access);
        let found = self.guards[index].get(database, key, self.moment.now_ms, clock);
        match found {
            Some(_) => self.lookups.0 += 1,
            None => self.lookups.1 += 1,
        }
        found
    }

    /// Notes that a key has expired, or that one is looked up that is not there.
    fn note_lookup(&mut self, index: usize, database: DatabaseId, key: &[u8], tells_miss: bool) {
        let now_ms = self.moment.now_ms;
        let is_there = self.guards[index]
            .get(database, key, now_ms, None)
            .is_some();
        self.note_departed();
        if !is_there && tells_miss {
            self.notify(database, EventClasses::MISS, "keymiss", key);
        }
    }

    /// Notes which keys have expired.
    fn note_departed(&mut self) {
        for guard in self.guards.iter_mut().filter(|guard| guard.has_departed()) {
            let id = guard.id();
            for departed in guard.take_departed() {
                self.notices.push(self.engine.expired(id, departed));
            }
        }
    }

    /// Whether any events are told.
    #[inline]
    pub fn tells_events(&self) -> bool {
        !self.wanted.is_nothing()
    }

    /// Notes an event, which is told once the changes can be seen.
    #[inline]
    pub fn notify(
        &mut self,
        database: DatabaseId,
        class: EventClasses,
        name: &'static str,
        key: &[u8],
    ) {
        if self.wanted.wants(class) {
            self.notices.push(Notice::Event {
                class,
                name,
                database,
                key: key.into(),
            });
        }
    }

    /// Notes that a key is about to change, where the order of changes is not that in which it is told.
    pub fn note_change(&mut self, key: &[u8]) {
        if self.wanted.wants_changes() {
            self.notices.push(Notice::Changed { key: key.into() });
        }
    }

    /// Notes that databases are emptied, even if they are empty.
    pub fn note_cleared(&mut self) {
        if self.wanted.wants_changes() && self.notices.last() != Some(&Notice::Cleared) {
            self.notices.push(Notice::Cleared);
        }
    }

    /// What is noted of what happens.
    #[inline]
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Tells what happened so far, while the partitions are locked: of keys that were found expired, to who remembers
    /// in the same transaction what it has read.
    pub fn tell_now(&mut self) {
        self.note_departed();
        let notices = std::mem::take(&mut self.notices);
        self.engine.watch.tell(self.moment.client, notices);
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
        debug_assert!(self.payload.is_empty() || self.undo.is_some());
        let bytes = self.payload.len() + bytes + self.later_bytes;
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
        let Some(key) = effects.first().and_then(Effect::key) else {
            debug_assert!(false, "use apply_everywhere");
            return;
        };
        debug_assert!(effects.iter().all(|effect| effect.key() == Some(key)));
        let index = self.guard(key);
        debug_assert!(
            self.undo.is_some() || self.payload.is_empty(),
            "one change per single-key transaction"
        );
        self.is_whole_aside = false;
        let is_new = !self.wanted.is_nothing() && self.note_effects(index, database, key);
        if let Some(actor) = self.actor {
            self.merge_all(index, database, effects, actor);
        } else {
            self.change_all(index, database, effects);
        }
        if is_new {
            self.note_new(index, database, key);
        }
    }

    /// Notes that effects are about to be made on a key. Returns whether it is to be seen if that makes a new one.
    fn note_effects(&mut self, index: usize, database: DatabaseId, key: &[u8]) -> bool {
        let now_ms = self.moment.now_ms;
        let wants_new = self.wanted.wants(EventClasses::NEW);
        let is_there = wants_new
            && self.guards[index]
                .get(database, key, now_ms, None)
                .is_some();
        self.note_departed();
        self.note_change(key);
        wants_new && !is_there
    }

    /// Notes that a key that was not there is, if so.
    fn note_new(&mut self, index: usize, database: DatabaseId, key: &[u8]) {
        let now_ms = self.moment.now_ms;
        let guard = &mut self.guards[index];
        if guard.get(database, key, now_ms, None).is_some() {
            self.notify(database, EventClasses::NEW, "new", key);
        }
    }

    /// Makes changes to a key of a partition that is not replicated.
    fn change_all(&mut self, index: usize, database: DatabaseId, effects: &[Effect<'_>]) {
        let Some(first) = effects.first() else {
            return;
        };
        let mut version = self.record(database, first);
        for effect in &effects[1..] {
            self.record(database, effect);
        }
        for effect in effects {
            debug_assert!(
                version >= self.guards[index].version(),
                "versions of a partition never fall"
            );
            self.set_aside(index, database, effect, version);
            self.guards[index].apply(database, effect, version, &self.moment.access);
            version = version.successor();
        }
    }

    /// Notes what the next effect on a key changes, unless the change it is part of has replaced the whole key.
    #[inline]
    fn set_aside(
        &mut self,
        index: usize,
        database: DatabaseId,
        effect: &Effect<'_>,
        version: Version,
    ) {
        let Some(undo) = self.undo.as_mut().filter(|_| !self.is_whole_aside) else {
            return;
        };
        if matches!(effect, Effect::Operation { .. }) {
            // It is no change of the key.
            return;
        }
        let before = self.guards[index].set_aside(database, effect, version);
        self.is_whole_aside = before.is_whole();
        undo.push(Undo::Key {
            guard: index,
            database,
            key: effect.key().unwrap_or_default().to_vec(),
            before,
        });
    }

    /// Makes changes to a key of a replicated partition, one after another.
    fn merge_all(
        &mut self,
        index: usize,
        database: DatabaseId,
        effects: &[Effect<'_>],
        actor: Actor,
    ) {
        let now_ms = self.moment.now_ms;
        for effect in effects {
            let key = effect.key().unwrap_or_default();
            let guard = &mut self.guards[index];
            // What has expired is gone: who writes to it begins anew, and the replicas have to know.
            let is_there = guard.get(database, key, now_ms, None).is_some();
            let begins_anew = !matches!(effect, Effect::Put { .. } | Effect::Delete { .. });
            if !is_there && begins_anew && guard.is_lapsed(database, key) {
                self.merge(index, database, &Effect::Delete { key }, actor);
            } else if !is_there
                && makes_elements(effect)
                && let Some(settled) = guard.begins_anew(database, key)
            {
                self.merge(index, database, &Effect::Anew { key, settled }, actor);
            }
            match *effect {
                Effect::Splice { key, offset, bytes } => {
                    self.put_spliced(index, database, key, (offset, bytes), true, actor);
                }
                Effect::PutPadded { key, offset, bytes } => {
                    self.put_spliced(index, database, key, (offset, bytes), false, actor);
                }
                Effect::Count { key, delta, .. } => {
                    let count = self.guards[index].count(database, key, actor, delta);
                    self.merge(index, database, &count, actor);
                }
                Effect::Sketch { key, value, .. } => {
                    let sketch = self.guards[index].sketch(database, key, value);
                    self.merge(index, database, &sketch, actor);
                }
                Effect::HashCount {
                    key, field, delta, ..
                } => {
                    if self.guards[index].is_field_lapsed(database, key, field) {
                        let (kind, element) = (Kind::Hash, field);
                        let delete = Effect::ElementDelete { kind, key, element };
                        self.merge(index, database, &delete, actor);
                    }
                    let count = self.guards[index].count_field(database, key, field, actor, delta);
                    self.merge(index, database, &count, actor);
                }
                _ => self.merge(index, database, effect, actor),
            }
        }
    }

    fn merge(&mut self, index: usize, database: DatabaseId, effect: &Effect<'_>, actor: Actor) {
        let version = self.record(database, effect);
        self.set_aside(index, database, effect, version);
        let stamp = Stamp::new(version, actor);
        self.guards[index].merge(database, effect, stamp, &self.moment.access);
    }

    /// An edit in place can't be merged: it becomes a `Put` of the whole value.
    fn put_spliced(
        &mut self,
        index: usize,
        database: DatabaseId,
        key: &[u8],
        (offset, bytes): (u64, &[u8]),
        keep: bool,
        actor: Actor,
    ) {
        let now_ms = self.moment.now_ms;
        let old = self.guards[index].get(database, key, now_ms, None);
        let old = old.filter(|_| keep);
        let expire_at = old.and_then(Entry::expire_at);
        let mut value = old.map_or_else(Vec::new, |entry| entry.value().to_vec());
        let start = offset as usize;
        let end = start + bytes.len();
        if value.len() < end {
            value.resize(end, 0);
        }
        value[start..end].copy_from_slice(bytes);
        let put = Effect::Put {
            key,
            value: &value,
            encoding: StringEncoding::Raw,
            expire_at,
        };
        self.merge(index, database, &put, actor);
    }

    /// Whether changes are merged by replicas: who deletes tells it even of what is not here.
    pub fn is_replicated(&self) -> bool {
        self.actor.is_some()
    }

    /// Who makes the changes: what new elements of lists are given positions by. 0 on a single node.
    pub fn actor(&self) -> Actor {
        self.actor.unwrap_or_default()
    }

    /// Digest of all that is known of a key; 0 for nothing.
    pub fn digest(&self, database: DatabaseId, key: &[u8]) -> u64 {
        self.guards[self.guard(key)].digest(database, key)
    }

    /// What is known of an operation on a key.
    pub fn operation(&self, key: &[u8], id: OperationId) -> Known {
        self.guards[self.guard(key)].operation(id)
    }

    /// Notes by which operation the changes were made, an [`Effect::Operation`]: the last of them.
    pub fn note_operation(&mut self, database: DatabaseId, operation: &Effect<'_>) {
        debug_assert!(self.has_changes());
        if let (Some(actor), Some(key)) = (self.actor, operation.key()) {
            let index = self.guard(key);
            self.merge(index, database, operation, actor);
        }
    }

    /// Writes what is known of a key once more, of a hash only this field, so that whatever else was done to it
    /// elsewhere until now has no effect: parts of counters are on an old base, and the stamp is later than any that a
    /// node has given out whose clock is ahead by at most `drift_ms`. What is known of its operations goes before.
    /// For transactions over several keys; before the first change.
    ///
    /// # Errors
    /// The log has no room for it, in bytes.
    pub fn overwrite(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        field: Option<&[u8]>,
        drift_ms: u64,
    ) -> Result<(), (NoRoom, usize)> {
        debug_assert!(self.undo.is_some());
        let Some(actor) = self.actor else {
            return Ok(());
        };
        let index = self.guard(key);
        let now_ms = self.moment.now_ms;
        let guard = &mut self.guards[index];
        guard.clock().observe(Version::new(now_ms + drift_ms, 0));
        let found = guard.get(database, key, now_ms, None);
        let kind = found.map(Entry::kind);
        let expire_at = found.and_then(Entry::expire_at);
        let encoding = found.map_or(StringEncoding::Raw, Entry::encoding);
        let value = match (found, field) {
            (Some(entry), _) if kind == Some(Kind::String) => Some(entry.value().to_vec()),
            (Some(entry), Some(field)) => entry.hash().and_then(|h| h.get(field)).map(Vec::from),
            _ => None,
        };
        let field_until = found
            .and_then(Entry::hash)
            .zip(field)
            .and_then(|(hash, field)| hash.expire_at(field));
        let mut effects: SmallVec<[Effect<'_>; 2]> = SmallVec::new();
        match (kind, field, &value) {
            (None, ..) => effects.push(Effect::Delete { key }),
            (Some(Kind::String), _, value) => effects.push(Effect::Put {
                key,
                value: value.as_deref().unwrap_or_default(),
                encoding,
                expire_at,
            }),
            (Some(kind @ Kind::Hash), Some(element), Some(value)) => {
                effects.push(element_effect(kind, key, (element, value, field_until)));
            }
            (Some(kind @ Kind::Hash), Some(element), None) => {
                effects.push(Effect::ElementDelete { kind, key, element });
            }
            _ => {}
        }
        if !matches!(kind, None | Some(Kind::String)) {
            let at = expire_at;
            effects.push(Effect::ExpireAt { key, at });
        }
        let mut operations = Vec::new();
        guard.encode_operations(database, key, &mut operations);
        let bytes = value.as_ref().map_or(0, Vec::len) + operations.len();
        let bytes = Effect::encoded_bytes_max(2 * key.len() + 64, bytes);
        let bytes = bytes + self.room;
        self.engine.log.room(bytes).map_err(|none| (none, bytes))?;
        self.room = bytes;
        if !operations.is_empty() {
            self.begin_record(database);
            self.payload.extend_from_slice(&operations);
            encode_stamp(Stamp::new(self.next, actor), self.payload);
        }
        self.apply_all(database, &effects);
        Ok(())
    }

    /// Adds `delta` to the number a key holds, and keeps its expiry; `new` is what it comes to.
    pub fn count(&mut self, database: DatabaseId, key: &[u8], delta: i64, new: i64) {
        if self.is_replicated() {
            // Base and total are found when it is merged.
            let (base, total) = (Stamp::ZERO, 0);
            return self.apply(
                database,
                &Effect::Count {
                    key,
                    base,
                    total,
                    delta,
                },
            );
        }
        let index = self.guard(key);
        let found = self.guards[index].get(database, key, self.moment.now_ms, None);
        let expire_at = found.and_then(Entry::expire_at);
        let mut digits = itoa::Buffer::new();
        let put = Effect::Put {
            key,
            value: digits.format(new).as_bytes(),
            encoding: StringEncoding::Int,
            expire_at,
        };
        self.apply(database, &put);
    }

    /// Adds `delta` to the number a field of a hash holds; `new` is what it comes to.
    pub fn count_field(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        field: &[u8],
        delta: i64,
        new: i64,
    ) {
        if self.is_replicated() {
            let (base, total) = (Stamp::ZERO, 0);
            return self.apply(
                database,
                &Effect::HashCount {
                    key,
                    field,
                    base,
                    total,
                    delta,
                },
            );
        }
        let mut digits = itoa::Buffer::new();
        let value = digits.format(new).as_bytes();
        let expire_at = self.field_expiry(database, key, field);
        let set = element_effect(Kind::Hash, key, (field, value, expire_at));
        self.apply(database, &set);
    }

    /// When a field of a hash expires, which changes of its value keep.
    pub fn field_expiry(&self, database: DatabaseId, key: &[u8], field: &[u8]) -> Option<u64> {
        self.find(database, key)?.hash()?.expire_at(field)
    }

    /// Clears a database in the locked partitions (`FLUSHDB`).
    pub fn clear(&mut self, database: DatabaseId) {
        let version = self.record(database, &Effect::Clear);
        self.note_cleared();
        for (index, guard) in self.guards.iter_mut().enumerate() {
            if let Some(actor) = self.actor {
                debug_assert!(self.undo.is_none(), "refused in a cluster");
                let stamp = Stamp::new(version, actor);
                guard.merge(database, &Effect::Clear, stamp, &self.moment.access);
                continue;
            }
            if let Some(undo) = &mut self.undo
                && let Some(before) = guard.take_keyspace(database)
            {
                undo.push(Undo::Clear {
                    guard: index,
                    database,
                    before,
                });
            }
            guard.apply(database, &Effect::Clear, version, &self.moment.access);
        }
    }

    /// Clears every database in the locked partitions (`FLUSHALL`).
    pub fn clear_all(&mut self) {
        for number in 0..self.databases() {
            self.clear(DatabaseId(number as u16));
        }
    }

    /// Makes a change to a whole database, in a transaction over every partition.
    pub fn apply_everywhere(&mut self, database: DatabaseId, effect: &Effect<'_>) {
        debug_assert!(self.covers_everything());
        if let Effect::Clear = effect {
            return self.clear(database);
        }
        if self.is_replicated() {
            debug_assert!(false, "refused in a cluster");
            return;
        }
        if let (Some(undo), Effect::Swap { with }) = (&mut self.undo, effect) {
            undo.push(Undo::Swap(database, *with));
        }
        let version = self.record(database, effect);
        for guard in &mut self.guards {
            guard.apply(database, effect, version, &self.moment.access);
        }
    }

    /// Adds an effect to the record; returns its version.
    fn record(&mut self, database: DatabaseId, effect: &Effect<'_>) -> Version {
        self.begin_record(database);
        effect.encode(self.payload);
        let version = self.next;
        self.next = version.successor();
        version
    }

    /// What follows in the record is of this database.
    fn begin_record(&mut self, database: DatabaseId) {
        if self.version == Version::ZERO {
            let now_ms = self.moment.now_ms;
            let next = self
                .guards
                .iter_mut()
                .map(|guard| guard.clock().next(now_ms))
                .max();
            self.version = next.unwrap_or(Version::ZERO);
            self.next = self.version;
            if let Some(actor) = self.actor {
                encode_actor(actor, self.payload);
            }
            self.record_database = database;
        } else if database != self.last_database {
            encode_database(database, self.payload);
            self.mixed = true;
        }
        self.last_database = database;
    }

    /// Whether anything was changed so far.
    pub fn has_changes(&self) -> bool {
        !self.payload.is_empty()
    }

    /// Whether everything changed so far is in this database.
    pub fn changes_only(&self, database: DatabaseId) -> bool {
        !self.mixed && (self.record_database == database || !self.has_changes())
    }

    /// Visits every locked partition (`FLUSHALL`, eviction).
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionGuard<'a>> {
        self.guards.iter()
    }

    /// Appends the record, while the partitions are still locked. Returns where it ends; `None` when
    /// nothing was changed.
    pub fn commit(mut self) -> Option<LogOffset> {
        for change in self.undo.take().into_iter().flatten() {
            match change {
                Undo::Key { guard, before, .. } => self.guards[guard].discard(before),
                Undo::Clear { guard, before, .. } => self.guards[guard].discard_keyspace(before),
                Undo::Swap(..) => {}
            }
        }
        self.append()
    }

    /// Takes a change back.
    fn undo(&mut self, change: Undo) {
        match change {
            Undo::Key {
                guard,
                database,
                key,
                before,
            } => self.guards[guard].undo(database, &key, before),
            Undo::Clear {
                guard,
                database,
                before,
            } => self.guards[guard].put_keyspace(database, before),
            Undo::Swap(one, other) => {
                for guard in &mut self.guards {
                    guard.swap(one, other);
                }
            }
        }
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
            kind: match self.actor {
                Some(_) => super::COORDINATED,
                None => super::EFFECTS,
            },
        };
        if let Some((_, effects)) = super::effects_of(header.kind, self.payload) {
            self.engine.waiters.changed(self.record_database, effects);
        }
        let offset = self.engine.log.append(header, self.payload);
        self.payload.clear();
        Some(offset)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            for change in undo.into_iter().rev() {
                self.undo(change);
            }
            self.payload.clear();
            // Of what happened, this much remains.
            self.notices.retain(|notice| match notice {
                Notice::Expired { .. } => true,
                Notice::Event { class, .. } => *class == EventClasses::MISS,
                Notice::Changed { .. } | Notice::Cleared => false,
            });
        }
        // A single change that was made but not committed is whole: memory and log must agree on it.
        self.append();
        for guard in self.guards.iter_mut().filter(|guard| guard.has_garbage()) {
            self.engine.reclaimer.free(guard.take_garbage());
        }
        if !self.wanted.is_nothing() {
            self.note_departed();
            // Unlocked: what is told can be seen.
            self.guards.clear();
            let notices = std::mem::take(&mut self.notices);
            self.engine.watch.tell(self.moment.client, notices);
            self.engine.tell_departed();
        }
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

/// Whether it makes a collection of a key that is not there. Counters and sketches tell by their base that there was nothing.
fn makes_elements(effect: &Effect<'_>) -> bool {
    matches!(
        effect,
        Effect::ElementSet { .. }
            | Effect::FieldUntil { .. }
            | Effect::HashCount { .. }
            | Effect::AttributeSet { .. }
    )
}
