//! What a replica does with records: those that peers coordinated, and states that are sent from node to node.
//!
//! # Records
//! The payload of a [`COORDINATED`] record begins with the actor that made it, as a varint, and that of a
//! [`RECEIVED`] one with the origin's actor and, in 8 little-endian bytes, where the origin's record ends in the
//! origin's log. Stamped effects follow. That of a [`FORGET`] record is empty if its partition moved away, and if it is on its
//! way here, the epoch since when, in 8 little-endian bytes.

use std::collections::BTreeMap;

use coterie_protocol::{Actor, DatabaseId, Epoch, PartitionId, Stamp, Version};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{Engine, MANY, spread};
use crate::effect::{
    Effect, Effects, MalformedEffect, OperationId, Stamped, encode_actor, encode_database,
    is_state, split_actor,
};
use crate::store::{AccessClock, Merged, Partition, PartitionGuard};
use crate::wal::{LogOffset, RecordHeader};

/// Kind of a record that this node made as coordinator.
pub const COORDINATED: u8 = 3;
/// Kind of a record that came from another node.
pub const RECEIVED: u8 = 4;
/// Kind of a record that tells that nothing of a partition was here.
pub const FORGET: u8 = 5;

/// Up to where in the log of each actor everything for this node has been received.
#[derive(Default)]
pub(super) struct Marks(Mutex<BTreeMap<Actor, LogOffset>>);

impl Marks {
    pub fn raise(&self, actor: Actor, offset: LogOffset) {
        let mut marks = self.0.lock();
        let mark = marks.entry(actor).or_insert(LogOffset::ZERO);
        *mark = (*mark).max(offset);
    }

    fn get(&self, actor: Actor) -> LogOffset {
        let found = self.0.lock().get(&actor).copied();
        found.unwrap_or(LogOffset::ZERO)
    }

    pub fn all(&self) -> Vec<(Actor, LogOffset)> {
        let marks = self.0.lock();
        marks.iter().map(|(actor, at)| (*actor, *at)).collect()
    }
}

/// What taking in a peer's record has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Up to where this node's log has to be stored for the record to be.
    pub offset: LogOffset,
    /// A higher stamp that an effect lost to.
    pub superseded: Option<Stamp>,
}

/// What of a record is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// All of it that has lost.
    Everything,
    /// What takes nothing away from what it has lost to.
    Additions,
}

/// The effects of a [`COORDINATED`] record, if this actor made it.
pub fn coordinated_by(payload: &[u8], actor: Actor) -> Option<&[u8]> {
    let (by, effects) = split_actor(payload)?;
    (by == actor).then_some(effects)
}

/// By which operation the effects of a record were made, if by one: it is told last.
pub fn operation_of(database: DatabaseId, effects: &[u8]) -> Option<OperationId> {
    let last = Effects::new(database, effects).flatten().last();
    match last?.1 {
        Effect::Operation { id, .. } => Some(id),
        _ => None,
    }
}

/// Who made a record's effects, and the effects; `None` for a record that has none.
pub fn effects_of(kind: u8, payload: &[u8]) -> Option<(Actor, &[u8])> {
    match kind {
        super::EFFECTS => Some((Actor::default(), payload)),
        COORDINATED => split_actor(payload),
        RECEIVED => split_received(payload).map(|(actor, _, effects)| (actor, effects)),
        _ => None,
    }
}

/// The origin of a [`RECEIVED`] record, where its record ends there, and the effects.
pub(super) fn split_received(payload: &[u8]) -> Option<(Actor, LogOffset, &[u8])> {
    let (actor, rest) = split_actor(payload)?;
    let (offset, effects) = rest.split_first_chunk()?;
    Some((
        actor,
        LogOffset::from_u64(u64::from_le_bytes(*offset)),
        effects,
    ))
}

/// What merging several effects has come to.
#[derive(Default)]
struct Outcome {
    new: u64,
    superseded: Option<Stamp>,
}

impl Outcome {
    fn add(&mut self, merged: Merged, origin: Actor) {
        match merged {
            Merged::New => self.new += 1,
            Merged::Known => {}
            Merged::Superseded(by) if by.actor == origin => {}
            Merged::Superseded(by) => self.superseded = self.superseded.max(Some(by)),
        }
    }

    fn is_known(&self) -> bool {
        self.new == 0 && self.superseded.is_none()
    }
}

impl Engine {
    /// Up to where in the log of an actor everything for this node has been received.
    pub fn received(&self, origin: Actor) -> LogOffset {
        self.marks.get(origin)
    }

    /// Takes note that everything for this node up to there in the origin's log has been received.
    pub fn note_received(&self, origin: Actor, offset: LogOffset) {
        self.marks.raise(origin, offset);
    }

    /// Brings near what the first of these effects will touch, while others before them are merged.
    pub fn prefetch(&self, database: DatabaseId, effects: &[u8]) {
        let first = Effects::new(database, effects).next();
        if let Some(Ok((database, effect))) = first
            && let Some(key) = effect.key()
        {
            self.store.prefetch(database, key);
        }
    }

    /// Merges a record that a peer coordinated, and appends it to the log. `effects` is the payload without its
    /// actor, `origin_end` where the record ends in the peer's log. One that was received before may come again. What
    /// lost to a later write of its own coordinator is not told as superseded: it has come late, after an exchange of
    /// states, and repeating it would undo that write. The mark is moved by [`Engine::note_received`], once the record is
    /// stored. The log was asked for room.
    pub fn receive(
        &self,
        origin: Actor,
        origin_end: LogOffset,
        version: Version,
        partition: PartitionId,
        database: DatabaseId,
        effects: &[u8],
    ) -> Result<Received, MalformedEffect> {
        let stamp = Stamp::new(version, origin);
        let mut guards = self.lock_all_of(partition, database, effects)?;
        let effects_of_it = Stamped::new(database, stamp, effects);
        let outcome = self.merge_all(&mut guards, effects_of_it, origin, !is_state(effects))?;
        let offset = if outcome.is_known() {
            // It came by another way, which may not be stored yet.
            self.log.appended()
        } else {
            let header = RecordHeader {
                version,
                partition,
                database,
                kind: RECEIVED,
            };
            self.waiters.changed(database, effects);
            self.append_received(header, origin, origin_end, effects)
        };
        self.unlock(guards);
        self.tell_merged(database, effects);
        Ok(Received {
            offset,
            // A state says what was known, and claims nothing.
            superseded: outcome.superseded.filter(|_| !is_state(effects)),
        })
    }

    /// Merges the state of keys as another replica knows it: stamped effects, the first of database 0. Returns up
    /// to where the log has to be stored for it to be, and how many effects were new. The log was asked for room.
    pub fn merge_state(
        &self,
        partition: PartitionId,
        state: &[u8],
    ) -> Result<(LogOffset, u64), MalformedEffect> {
        let database = DatabaseId::DEFAULT;
        let mut guards = self.lock_all_of(partition, database, state)?;
        let effects = Stamped::new(database, Stamp::ZERO, state);
        let outcome = self.merge_all(&mut guards, effects, Actor::default(), false)?;
        let mut offset = self.log.appended();
        if !outcome.is_known() {
            let header = RecordHeader {
                version: guards
                    .first()
                    .map_or(Version::ZERO, |guard| guard.version()),
                partition,
                database,
                kind: RECEIVED,
            };
            offset = self.append_received(header, Actor::default(), LogOffset::ZERO, state);
            self.waiters.changed(database, state);
        }
        self.unlock(guards);
        self.tell_merged(database, state);
        Ok((offset, outcome.new))
    }

    /// Appends what is known of keys of one partition as a record of this node, so that it flows to the replicas.
    /// Returns where it ends; `None` when nothing is known, or the node is not part of a cluster.
    pub fn append_state<'k>(
        &self,
        partition: PartitionId,
        keys: impl Iterator<Item = (DatabaseId, &'k [u8])>,
    ) -> Option<LogOffset> {
        let mut payload = Vec::new();
        encode_actor(self.store.actor()?, &mut payload);
        let before = payload.len();
        let guard = self.store.lock(partition);
        for (database, key) in keys {
            guard.encode_state(database, key, &mut payload);
        }
        if payload.len() == before {
            return None;
        }
        let header = RecordHeader {
            version: guard.version(),
            partition,
            database: DatabaseId::DEFAULT,
            kind: COORDINATED,
        };
        Some(self.log.append(header, &payload))
    }

    /// Makes those effects of a record of this node again that have lost to something newer from elsewhere, with
    /// later versions than `past` and on what is known by now. `made` is the record's version. What this node itself
    /// has changed since stays. Counts are added to the value there is. Returns where the new record ends; `None` if
    /// there is nothing to repeat. The log was asked for room. Under the partition's lock it is decided what of the record
    /// is wanted.
    pub fn repeat(
        &self,
        partition: PartitionId,
        (database, effects): (DatabaseId, &[u8]),
        made: Version,
        past: Version,
        decide: impl FnOnce() -> Option<Repeat>,
    ) -> Result<Option<LogOffset>, MalformedEffect> {
        let Some(actor) = self.store.actor().filter(|_| !is_state(effects)) else {
            return Ok(None);
        };
        let mut guards = self.lock_all_of(partition, database, effects)?;
        let now_ms = crate::clock::Clock::System.now_ms();
        let Some(what) = decide() else {
            self.unlock(guards);
            return Ok(None);
        };
        for guard in &mut guards {
            guard.clock().observe(past);
        }
        let next = guards.iter_mut().map(|guard| guard.clock().next(now_ms));
        let version = next.max().unwrap_or(past.successor());
        let access = AccessClock::new(now_ms, None);
        let mut payload = Vec::new();
        encode_actor(actor, &mut payload);
        let mut stamp = Stamp::new(version, actor);
        let head = payload.len();
        let mut last = database;
        for effect in Stamped::new(database, Stamp::new(made, actor), effects) {
            let (database, effect, first) = effect?;
            if what == Repeat::Additions && !effect.is_addition() {
                continue;
            }
            let index = self.guard_of(&guards, &effect);
            let merged = match index {
                Some(index) => guards[index].merge(database, &effect, first, &access),
                None => Merged::Known,
            };
            // What is not superseded here has won; what this node superseded itself is not to come back.
            let is_lost = matches!(merged, Merged::Superseded(by) if by.actor != actor);
            // It tells of what was repeated before it.
            let tells = matches!(effect, Effect::Operation { .. }) && payload.len() > head;
            if !is_lost && !tells {
                continue;
            }
            if database != last {
                encode_database(database, &mut payload);
                last = database;
            }
            let effect = match (effect, index) {
                (Effect::Count { key, delta, .. }, Some(index)) => {
                    guards[index].count(database, key, actor, delta)
                }
                (Effect::Sketch { key, value, .. }, Some(index)) => {
                    guards[index].sketch(database, key, value)
                }
                (
                    Effect::HashCount {
                        key, field, delta, ..
                    },
                    Some(index),
                ) => guards[index].count_field(database, key, field, actor, delta),
                (effect, _) => effect,
            };
            effect.encode(&mut payload);
            let concerned = match index {
                Some(index) => &mut guards[index..=index],
                None => &mut guards[..],
            };
            for guard in concerned {
                guard.merge(database, &effect, stamp, &access);
            }
            stamp.version = stamp.version.successor();
        }
        if payload.len() == head {
            self.unlock(guards);
            return Ok(None);
        }
        let header = RecordHeader {
            version,
            partition,
            database,
            kind: COORDINATED,
        };
        let end = self.log.append(header, &payload);
        self.waiters.changed(database, &payload[head..]);
        self.unlock(guards);
        self.tell_merged(database, effects);
        Ok(Some(end))
    }

    /// Forgets all that a partition holds, which moved away by an epoch, unless it is on its way here again since.
    pub fn forget(&self, partition: PartitionId, left: Epoch) {
        let guard = self.store.lock(partition);
        if guard.joined() <= left {
            self.begin_anew(guard, &[]);
        }
    }

    /// Begins a partition that is on its way here since an epoch with nothing. What an earlier move left behind that was
    /// given up, others may have deleted since and forgotten that they did: it must not come back. Called again for the
    /// same move, also after a restart, it changes nothing.
    pub fn join(&self, partition: PartitionId, since: Epoch) {
        let mut guard = self.store.lock(partition);
        if guard.joined() != since {
            guard.set_joined(since);
            self.begin_anew(guard, &since.0.to_le_bytes());
        }
    }

    fn begin_anew(&self, mut guard: PartitionGuard<'_>, payload: &[u8]) {
        guard.clear_all();
        let header = RecordHeader {
            version: guard.version(),
            partition: guard.id(),
            database: DatabaseId::DEFAULT,
            kind: FORGET,
        };
        self.log.append(header, payload);
        self.unlock([guard]);
    }

    fn append_received(
        &self,
        header: RecordHeader,
        origin: Actor,
        origin_end: LogOffset,
        effects: &[u8],
    ) -> LogOffset {
        let mut payload = Vec::with_capacity(effects.len() + 16);
        encode_actor(origin, &mut payload);
        payload.extend_from_slice(&origin_end.to_u64().to_le_bytes());
        payload.extend_from_slice(effects);
        self.log.append(header, &payload)
    }

    /// Locks the partition of a record; of one that concerns many, those of its keys, or all if it changes whole
    /// databases. All that it holds was read once then, so that what is malformed changes nothing.
    fn lock_all_of(
        &self,
        partition: PartitionId,
        database: DatabaseId,
        effects: &[u8],
    ) -> Result<SmallVec<[PartitionGuard<'_>; 1]>, MalformedEffect> {
        if partition != MANY && partition.0 >= self.store.layout().count() {
            return Err(MalformedEffect { at: 0 });
        }
        let mut ids = SmallVec::<[PartitionId; 16]>::new();
        let mut everywhere = false;
        for effect in Effects::new(database, effects) {
            match effect?.1.key() {
                Some(key) => {
                    let id = self.store.partition_of(key);
                    if partition != MANY && id != partition {
                        return Err(MalformedEffect { at: 0 });
                    }
                    ids.push(id);
                }
                None => everywhere = true,
            }
        }
        if partition != MANY {
            ids.clear();
            ids.push(partition);
        } else if everywhere {
            ids = self.store.ids().collect();
        }
        ids.sort_unstable();
        ids.dedup();
        let mut guards: SmallVec<_> = ids.into_iter().map(|id| self.store.lock(id)).collect();
        guards
            .iter_mut()
            .for_each(|guard: &mut PartitionGuard<'_>| guard.set_replicated(true));
        Ok(guards)
    }

    fn guard_of(&self, guards: &[PartitionGuard<'_>], effect: &Effect<'_>) -> Option<usize> {
        let id = self.store.partition_of(effect.key()?);
        guards.iter().position(|guard| guard.id() == id)
    }

    fn merge_all(
        &self,
        guards: &mut [PartitionGuard<'_>],
        effects: Stamped<'_>,
        origin: Actor,
        is_record: bool,
    ) -> Result<Outcome, MalformedEffect> {
        let access = AccessClock::new(crate::clock::Clock::System.now_ms(), None);
        let mut outcome = Outcome::default();
        let mut spread: SmallVec<[u64; 4]> = SmallVec::new();
        for effect in effects {
            let (database, effect, stamp) = effect?;
            // An operation that has lost is not part of the state, until it is repeated.
            let is_operation = matches!(effect, Effect::Operation { .. });
            if is_operation && is_record && outcome.superseded.is_some() {
                continue;
            }
            let concerned = match self.guard_of(guards, &effect) {
                Some(index) => &mut guards[index..=index],
                None => &mut guards[..],
            };
            for guard in concerned {
                let merged = guard.merge(database, &effect, stamp, &access);
                let write = || spread::write_of(database, &effect, stamp);
                match merged {
                    Merged::New if !is_record => spread.push(write()),
                    Merged::Superseded(_) if is_record && self.spread.has(write()) => continue,
                    _ => {}
                }
                outcome.add(merged, origin);
            }
        }
        if !spread.is_empty() {
            self.spread.note(&spread);
        }
        Ok(outcome)
    }

    /// Puts a partition in order. What that throws away is not freed under its lock.
    pub fn tidy(&self, partition: PartitionId, work: impl FnOnce(&mut Partition)) {
        let mut guard = self.store.lock(partition);
        work(&mut guard);
        self.unlock([guard]);
    }

    fn unlock<'a>(&self, guards: impl IntoIterator<Item = PartitionGuard<'a>>) {
        for mut guard in guards {
            if guard.has_garbage() {
                let garbage = guard.take_garbage();
                drop(guard);
                self.reclaimer.free(garbage);
            }
        }
    }
}
