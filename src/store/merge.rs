//! Merging changes into a replicated partition.

use coterie_protocol::{Actor, DatabaseId, Stamp, Version};

use super::Merged;
use super::access::AccessClock;
use super::digest::Sums;
use super::entry::Entry;
use super::keyspace::Keyspace;
use super::partition::{ElementsBefore, Garbage, KeyBefore, Partition};
use super::replica::Replica;
use super::state::{KeyState, began_anew, latest_of, next_field_part, next_part};
use crate::effect::{Effect, Kind, StringEncoding};

impl Partition {
    /// Whether it is replicated.
    pub fn is_replicated(&self) -> bool {
        self.replica.is_some()
    }

    /// Lets it be replicated from now on, or not any more. What is there is walked once: what it has was changed
    /// by `Actor(0)`, and what is only remembered is forgotten when replication ends.
    pub fn set_replicated(&mut self, replicated: bool) {
        if replicated == self.is_replicated() {
            return;
        }
        let mut replica = Box::new(Replica::new(self.seed));
        for database in self.databases() {
            let Some(old) = self.take_keyspace(database) else {
                continue;
            };
            let context = replica.context(database);
            self.make_keyspace(database);
            for entry in old.into_entries() {
                let key = entry.key().to_vec();
                let hash = self.hash(&key);
                let entry = if replicated {
                    let state = KeyState::adopt(entry, Actor::default(), self.seed);
                    replica.change_tree(database, &key, Sums::default(), state.sums(context));
                    state.into_entry(&key, context).map(|(entry, _)| entry)
                } else {
                    KeyState::of(entry, true).into_plain(&key, self.context(database))
                };
                if let Some(entry) = entry {
                    self.change(database, |keyspace, _| keyspace.insert(hash, entry));
                }
            }
        }
        if let Some(old) = self.replica.take() {
            self.allocated_bytes -= old.allocated_bytes();
        }
        if replicated {
            self.allocated_bytes += replica.allocated_bytes();
            self.replica = Some(replica);
        }
        // A checkpoint must not hold both forms.
        self.swaps += 1;
    }

    /// Merges a change. The order in which changes come, and how often, makes no difference.
    pub fn merge(
        &mut self,
        database: DatabaseId,
        effect: &Effect<'_>,
        stamp: Stamp,
        access: &AccessClock,
    ) -> Merged {
        debug_assert!(self.is_replicated());
        let latest = self.clock.last();
        self.clock.observe(stamp.version);
        let key = match *effect {
            Effect::Clear => return self.merge_clear(database, stamp, latest),
            Effect::Swap { .. } => {
                debug_assert!(false, "refused in a cluster");
                return Merged::Known;
            }
            Effect::Operation { .. } => {
                let replica = self.replica.as_mut();
                return replica.map_or(Merged::Known, |replica| {
                    replica.operations.merge(database, effect, stamp)
                });
            }
            _ => effect.key().unwrap_or_default(),
        };
        self.make_keyspace(database);
        self.change_beside(database, |_| ());
        if let Effect::Put {
            value,
            encoding,
            expire_at,
            ..
        } = *effect
            && let Some(merged) =
                self.overwrite(database, key, (value, encoding, expire_at), stamp, access)
        {
            return merged;
        }
        let context = self.context(database);
        let hash = self.hash(key);
        let (mut state, before) = match self.take(database, key, hash) {
            Some((entry, is_live)) => {
                let state = KeyState::of(entry, is_live);
                let before = state.sums(context);
                (state, before)
            }
            None if stamp.version <= context.horizon => return Merged::Known,
            None => {
                let before = Sums::default();
                (KeyState::unknown(access.initial(), context), before)
            }
        };
        let was_dropped = state.is_dropped();
        let mut merged = state.merge(effect, stamp, context);
        let is_same = state.sums(context) == before && state.is_dropped() == was_dropped;
        if merged == Merged::New && is_same {
            merged = Merged::Known;
        }
        self.put_back(database, key, hash, state, before);
        merged
    }

    /// The common case, a string written over: `None` if this is another.
    fn overwrite(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        (value, encoding, expire_at): (&[u8], StringEncoding, Option<u64>),
        stamp: Stamp,
        access: &AccessClock,
    ) -> Option<Merged> {
        let hash = self.hash(key);
        let entry = self.keyspace(database)?.find(key, hash)?;
        let is_plain = entry.metadata().is_none() && entry.kind() == Kind::String;
        if !is_plain || entry.is_costly_to_free() {
            return None;
        }
        if entry.stamp() == stamp {
            return Some(Merged::Known);
        }
        if entry.stamp() > stamp {
            return Some(Merged::Superseded(entry.stamp()));
        }
        let replica = self.replica.as_ref()?;
        let before = replica.sums(database, Some(entry), true);
        let after = self.change(database, |keyspace, _| {
            keyspace.update(key, hash, |entry| {
                entry.replace(value, encoding, expire_at);
                entry.set_stamp(stamp);
                Keyspace::touch(entry, access);
            })?;
            keyspace.find(key, hash).map(Entry::stamp)
        })?;
        debug_assert_eq!(after, Some(stamp));
        let replica = self.replica.as_mut()?;
        let entry = self.databases.get(database.index())?.as_deref()?;
        let after = replica.sums(database, entry.find(key, hash), true);
        replica.change_tree(database, key, before, after);
        Some(Merged::New)
    }

    pub(super) fn take(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        hash: u64,
    ) -> Option<(Entry, bool)> {
        let live = self.change(database, |keyspace, _| keyspace.remove(key, hash));
        if let Some(entry) = live.flatten() {
            return Some((entry, true));
        }
        let entry = self.change_beside(database, |remembered| remembered.remove(key, hash))?;
        Some((entry, false))
    }

    fn change_beside<R>(
        &mut self,
        database: DatabaseId,
        change: impl FnOnce(&mut Keyspace) -> R,
    ) -> R {
        let seed = self.seed;
        let replica = self
            .replica
            .get_or_insert_with(|| Box::new(Replica::new(seed)));
        let before = replica
            .get(database)
            .map_or(0, |b| b.remembered.allocated_bytes());
        let remembered = &mut replica.get_mut(database).remembered;
        let result = change(remembered);
        self.allocated_bytes = self.allocated_bytes + remembered.allocated_bytes() - before;
        result
    }

    pub(super) fn put_back(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        hash: u64,
        state: KeyState,
        before: Sums,
    ) {
        let context = self.context(database);
        let after = state.sums(context);
        let is_thinned = state.has_hidden_elements();
        match state.into_entry(key, context) {
            Some((entry, true)) => {
                self.change(database, |keyspace, _| keyspace.insert(hash, entry));
            }
            Some((entry, false)) => {
                self.change_beside(database, |remembered| remembered.insert(hash, entry));
            }
            None => {}
        }
        if let Some(replica) = &mut self.replica {
            if is_thinned {
                let thinned = &mut replica.get_mut(database).thinned;
                if !thinned.contains(key) {
                    thinned.insert(key.into());
                }
            }
            replica.change_tree(database, key, before, after);
        }
    }

    /// Takes back merged changes of a key.
    pub(super) fn undo_merge(&mut self, database: DatabaseId, key: &[u8], before: KeyBefore) {
        let hash = self.hash(key);
        let changed = self.take(database, key, hash);
        let Some(replica) = &mut self.replica else {
            return;
        };
        let (entry, is_live) = changed.map_or((None, false), |(entry, live)| (Some(entry), live));
        let now = match &entry {
            Some(entry) => replica.sums(database, Some(entry), is_live),
            None => Sums::default(),
        };
        let (old, was_live) = match (&before.live, &before.remembered) {
            (Some(entry), _) => (Some(entry), true),
            (None, entry) => (entry.as_ref(), false),
        };
        let then = match old {
            Some(entry) => replica.sums(database, Some(entry), was_live),
            None => Sums::default(),
        };
        replica.change_tree(database, key, now, then);
        if let Some(entry) = before.live {
            self.change(database, |keyspace, _| keyspace.insert(hash, entry));
        }
        if let Some(entry) = before.remembered {
            self.change_beside(database, |remembered| remembered.insert(hash, entry));
        }
    }

    /// Takes back merged changes of elements.
    pub(super) fn undo_merged_elements(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        before: ElementsBefore,
    ) {
        let hash = self.hash(key);
        let Some((entry, is_live)) = self.take(database, key, hash) else {
            debug_assert!(false, "what has elements is known");
            return;
        };
        let mut state = KeyState::of(entry, is_live);
        let sums = state.sums(self.context(database));
        state.put_back(before);
        self.put_back(database, key, hash, state, sums);
    }

    fn merge_clear(&mut self, database: DatabaseId, stamp: Stamp, latest: Version) -> Merged {
        let Some(replica) = &mut self.replica else {
            return Merged::Known;
        };
        let floor = replica.context(database).floor;
        if stamp == floor {
            return Merged::Known;
        }
        if stamp < floor {
            return Merged::Superseded(floor);
        }
        let mut all = Vec::new();
        let total = replica.allocated_bytes();
        let remembered = replica.clear(database, stamp);
        self.allocated_bytes = self.allocated_bytes + replica.allocated_bytes() - total;
        let live = self.take_keyspace(database);
        if latest < stamp.version {
            // Nothing is later.
            self.garbage.push(Garbage::Keyspace(Box::new(remembered)));
            self.garbage.extend(live.map(Garbage::Keyspace));
            return Merged::New;
        }
        all.extend(remembered.into_entries().map(|entry| (entry, false)));
        if let Some(live) = live {
            all.extend(live.into_entries().map(|entry| (entry, true)));
        }
        self.make_keyspace(database);
        let context = self.context(database);
        let mut winner = None;
        for (entry, is_live) in all {
            let key = entry.key().to_vec();
            let highest = entry.stamp();
            let mut state = KeyState::of(entry, is_live);
            state.normalize(context);
            let hash = self.hash(&key);
            if state.sums(context).live != 0 {
                winner = winner.max(Some(highest));
            }
            self.put_back(database, &key, hash, state, Sums::default());
        }
        match winner {
            Some(winner) if winner > stamp => Merged::Superseded(winner),
            _ => Merged::New,
        }
    }

    /// If a key is absent only because it expired, what is known of it that is gone: all before this version. Writing to
    /// it takes an `Anew` first where what was there matters. So it does if nothing but the expiry is left.
    pub fn lapsed(&self, database: DatabaseId, key: &[u8], now_ms: u64) -> Option<Version> {
        let (entry, is_live) = self.known(database, key)?;
        let items = self.replica.as_ref()?.sums(database, Some(entry), false);
        let expiry = entry.metadata().and_then(|metadata| metadata.expiry);
        let is_over = expiry.is_some_and(|(_, at)| at.is_some_and(|at| at < now_ms));
        let is_lapsed = !is_live && (items.live != 0 || is_over);
        is_lapsed.then(|| latest_of(entry).successor())
    }

    /// The horizon, if what is known of a key that is not there came after it: writing to it takes an `Anew` first where
    /// what was there matters.
    pub fn begins_anew(&self, database: DatabaseId, key: &[u8]) -> Option<Version> {
        let horizon = self.stable_horizon();
        let is_new = match self.known(database, key) {
            Some((entry, is_live)) => !is_live && began_anew(entry),
            None => true,
        };
        (is_new && horizon > Version::ZERO).then_some(horizon)
    }

    /// The effect that an actor has to emit to add `delta` to a key.
    pub fn count<'k>(
        &self,
        database: DatabaseId,
        key: &'k [u8],
        actor: Actor,
        delta: i64,
    ) -> Effect<'k> {
        let known = self.known(database, key);
        let (base, total) = next_part(known, actor, delta, self.context(database));
        Effect::Count {
            key,
            base,
            total,
            delta,
        }
    }

    /// The effect that an actor has to emit to add `delta` to a field.
    pub fn count_field<'k>(
        &self,
        database: DatabaseId,
        key: &'k [u8],
        field: &'k [u8],
        actor: Actor,
        delta: i64,
    ) -> Effect<'k> {
        let known = self.known(database, key);
        let (base, total) = next_field_part(known, field, actor, delta, self.context(database));
        Effect::HashCount {
            key,
            field,
            base,
            total,
            delta,
        }
    }

    /// Sets the access bits of a key that clients see.
    pub fn set_access(&mut self, database: DatabaseId, key: &[u8], access: u32) {
        let hash = self.hash(key);
        self.change(database, |keyspace, _| {
            keyspace.update(key, hash, |entry| entry.set_access(access))
        });
    }

    /// Forgets everything: the partition has moved away.
    pub fn clear_all(&mut self) {
        for database in self.databases() {
            let keyspace = self.take_keyspace(database);
            self.garbage.extend(keyspace.map(Garbage::Keyspace));
        }
        if let Some(old) = self.replica.take() {
            self.allocated_bytes -= old.allocated_bytes();
            self.replica = Some(Box::new(Replica::new(self.seed)));
        }
        self.swaps += 1;
    }
}
