//! Merging changes into a replicated partition, and telling what it knows.

use coterie_protocol::{Actor, DatabaseId, Stamp, Version};

use super::Merged;
use super::access::AccessClock;
use super::digest::{BUCKETS, Sums, bucket_of, name_of};
use super::entry::Entry;
use super::keyspace::Keyspace;
use super::operations::Known;
use super::partition::{ElementsBefore, Garbage, KeyBefore, Partition};
use super::replica::Replica;
use super::state::{KeyState, began_anew, next_field_part, next_part};
use super::table::position;
use crate::effect::{Effect, Kind, OperationId, StringEncoding};

static EMPTY_TREE: [u64; BUCKETS] = [0; BUCKETS];

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

    /// The key's entry, and whether clients see it.
    pub(super) fn known(&self, database: DatabaseId, key: &[u8]) -> Option<(&Entry, bool)> {
        let hash = self.hash(key);
        let live = self.keyspace(database).and_then(|k| k.find(key, hash));
        if let Some(entry) = live {
            return Some((entry, true));
        }
        let beside = self.replica.as_ref()?.get(database)?;
        Some((beside.remembered.find(key, hash)?, false))
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

    /// Whether a key is absent only because it expired, or has an expiry though nothing else is left of it: writing to
    /// it takes a `Delete` first where what was there matters.
    pub fn is_lapsed(&self, database: DatabaseId, key: &[u8]) -> bool {
        let known = self.known(database, key);
        known.is_some_and(|(entry, is_live)| {
            let replica = self.replica.as_ref();
            let has_items = replica.map(|it| it.sums(database, Some(entry), false).live != 0);
            let expiry = entry.metadata().and_then(|metadata| metadata.expiry);
            let expires = expiry.is_some_and(|(_, at)| at.is_some());
            !is_live && (has_items == Some(true) || expires)
        })
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

    /// What is known of an operation.
    pub fn operation(&self, id: OperationId) -> Known {
        let replica = self.replica.as_ref();
        replica.map_or(Known::Unknown, |replica| replica.operations.find(id))
    }

    /// Appends the operations that the state of a key tells of. Returns whether there are any.
    pub fn encode_operations(&self, database: DatabaseId, key: &[u8], out: &mut Vec<u8>) -> bool {
        let replica = self.replica.as_ref();
        replica.is_some_and(|replica| replica.operations.encode(database, key, out) > 0)
    }

    /// Appends all that is known of a key as stamped effects, to be merged elsewhere; nothing if nothing is. The
    /// operations that made it come along.
    pub fn encode_state(&self, database: DatabaseId, key: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        let state = match self.known(database, key) {
            Some((entry, is_live)) => KeyState::of(entry.duplicate(), is_live),
            None => KeyState::new(0),
        };
        state.encode(database, key, self.context(database), out);
        if out.len() > before {
            self.encode_operations(database, key, out);
        }
    }

    /// Digest of all that is known of a key, of its deletion too; 0 for nothing.
    pub fn digest(&self, database: DatabaseId, key: &[u8]) -> u64 {
        let known = self.known(database, key);
        let Some(replica) = &self.replica else {
            return 0;
        };
        let entry = known.map(|(entry, _)| entry);
        let is_live = known.is_some_and(|(_, is_live)| is_live);
        replica
            .sums(database, entry, is_live)
            .digest(name_of(database, key))
    }

    /// Of each bucket of keys the digests of those that clients see, combined with XOR. Expired keys count until
    /// they are forgotten.
    pub fn tree(&self) -> &[u64; BUCKETS] {
        self.replica
            .as_ref()
            .map_or(&EMPTY_TREE, |replica| replica.tree())
    }

    /// Visits what is known of the keys of a bucket, of deleted ones too: database, key and digest.
    pub fn keys_of_bucket(&self, bucket: usize, mut visit: impl FnMut(DatabaseId, &[u8], u64)) {
        let Some(replica) = &self.replica else {
            return;
        };
        let mut visit_all = |database: DatabaseId, keyspace: &Keyspace, is_live: bool| {
            for entry in keyspace.iter() {
                let name = name_of(database, entry.key());
                if bucket_of(name) == bucket {
                    let sums = replica.sums(database, Some(entry), is_live);
                    visit(database, entry.key(), sums.digest(name));
                }
            }
        };
        for database in self.databases() {
            if let Some(keyspace) = self.keyspace(database) {
                visit_all(database, keyspace, true);
            }
        }
        for database in replica.databases() {
            if let Some(beside) = replica.get(database) {
                visit_all(database, &beside.remembered, false);
            }
        }
    }

    /// The version up to which all replicas are known to have everything.
    pub fn stable_horizon(&self) -> Version {
        self.replica
            .as_ref()
            .map_or(Version::ZERO, |replica| replica.horizon())
    }

    /// Raises the horizon. Deletions at or before it are forgotten; what comes late from at or before it, and is
    /// of something unknown, is discarded by then. Nothing is stamped at or before it here from then on; a replica
    /// that may still do so must not exist, so a horizon is at most the earliest of the replicas' clocks.
    pub fn set_stable_horizon(&mut self, horizon: Version) {
        self.clock.observe(horizon);
        if let Some(replica) = &mut self.replica
            && replica.raise_horizon(horizon)
        {
            self.collect();
        }
    }

    /// While tombstones are held, as a checkpoint does that walks the partition, the horizon waits.
    pub fn hold_tombstones(&mut self, held: bool) {
        if let Some(replica) = &mut self.replica
            && replica.hold(held)
        {
            self.collect();
        }
    }

    fn collect(&mut self) {
        let Some(replica) = &self.replica else {
            return;
        };
        // Whether somebody has looked for what expired before the horizon makes no difference: all replicas forget the
        // same.
        let expired_by = replica.horizon().millis().saturating_sub(1);
        for database in self.databases() {
            self.take_out_expired(database, expired_by);
        }
        let Some(replica) = &self.replica else {
            return;
        };
        for database in replica.databases() {
            let context = self.context(database);
            let is_over = |entry: &Entry| {
                let fields_are = entry
                    .collection()
                    .is_none_or(|collection| collection.is_over(context.horizon));
                entry.version() <= context.horizon && fields_are && {
                    let expiry = entry.metadata().and_then(|metadata| metadata.expiry);
                    let at = expiry.and_then(|(_, at)| at);
                    at.is_none_or(|at| at < context.horizon.millis())
                }
            };
            let beside = self.replica.as_ref().and_then(|r| r.get(database));
            let Some(beside) = beside else { continue };
            let over = beside.remembered.iter().filter(|entry| is_over(entry));
            let over: Vec<Vec<u8>> = over.map(|entry| entry.key().to_vec()).collect();
            let thinned: Vec<_> = beside.thinned.iter().cloned().collect();
            for key in over {
                let hash = self.hash(&key);
                if let Some((entry, is_live)) = self.take(database, &key, hash)
                    && let Some(replica) = &mut self.replica
                {
                    let before = replica.sums(database, Some(&entry), is_live);
                    replica.change_tree(database, &key, before, Sums::default());
                }
            }
            for key in thinned {
                let hash = self.hash(&key);
                let mut remain = false;
                if let Some((entry, is_live)) = self.take(database, &key, hash) {
                    let mut state = KeyState::of(entry, is_live);
                    let before = state.sums(context);
                    remain = state.collect(context);
                    self.put_back(database, &key, hash, state, before);
                }
                if !remain && let Some(replica) = &mut self.replica {
                    replica.get_mut(database).thinned.remove(&key);
                }
            }
        }
    }

    /// Stamps of the latest `Clear` of each database that had one.
    pub fn floors(&self) -> impl Iterator<Item = (DatabaseId, Stamp)> {
        let replica = self.replica.as_ref();
        replica.into_iter().flat_map(|replica| {
            replica
                .databases()
                .map(|database| (database, replica.context(database).floor))
                .filter(|(_, floor)| *floor > Stamp::ZERO)
        })
    }

    /// Walks all that is known in order of position, about `count` keys or `bytes` of them, and appends the
    /// state of each by `encode`. Returns where to go on; `None` at the end.
    pub fn scan_known(
        &self,
        database: DatabaseId,
        from: u64,
        (count, bytes): (usize, usize),
        mut visit: impl FnMut(&Entry, bool),
    ) -> Option<u64> {
        let beside = self.replica.as_ref().and_then(|r| r.get(database));
        let tables = [
            (self.keyspace(database), true),
            (beside.map(|beside| &beside.remembered), false),
        ];
        // A key changes from one table to the other at any time, but not its position: both are walked to the
        // same one.
        let next = tables.iter().filter_map(|(keyspace, _)| {
            let (mut left, mut seen) = (count, 0);
            (*keyspace)?.scan_until(from, |entry| {
                left = left.saturating_sub(1);
                seen += entry.allocated_bytes();
                left == 0 || seen > bytes
            })
        });
        let next = next.min();
        let end = next.unwrap_or(u64::MAX);
        for (keyspace, is_live) in tables {
            let Some(keyspace) = keyspace else { continue };
            keyspace.scan_until(from, |entry| {
                if position(self.hash(entry.key())) >= end {
                    return true;
                }
                visit(entry, is_live);
                false
            });
        }
        next
    }

    /// Appends what an entry tells as stamped effects; `is_live` if clients see it.
    pub fn encode_entry(
        &self,
        database: DatabaseId,
        entry: &Entry,
        is_live: bool,
        out: &mut Vec<u8>,
    ) {
        let state = KeyState::of(entry.duplicate(), is_live);
        state.encode(database, entry.key(), self.context(database), out);
    }

    /// Sets the access bits of a key that clients see.
    pub fn set_access(&mut self, database: DatabaseId, key: &[u8], access: u32) {
        let hash = self.hash(key);
        self.change(database, |keyspace, _| {
            keyspace.update(key, hash, |entry| entry.set_access(access))
        });
    }

    /// Number of keys that are remembered though clients do not see them, or may have elements that are.
    pub fn tombstones(&self) -> usize {
        let Some(replica) = &self.replica else {
            return 0;
        };
        let besides = replica
            .databases()
            .filter_map(|database| replica.get(database));
        besides
            .map(|beside| beside.remembered.len() + beside.thinned.len())
            .sum()
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
