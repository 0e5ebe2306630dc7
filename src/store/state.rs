//! All that is known of a key of a replicated database, and how changes are merged into it.
//!
//! A product of join semilattices (Shapiro, Preguiça, Baquero and Zawirski, "Conflict-free Replicated Data
//! Types", 2011): a mark at or below which everything is gone, the latest write and its type, the string
//! as a [`Register`], the expiry, and the fields of a hash. Where writes of two types meet, the earlier of the
//! two raises the mark. What can have no effect any more is forgotten at once, so that the same changes leave
//! the same state in whatever order they came.

use coterie_protocol::{Actor, DatabaseId, Stamp, Version};

use super::Merged;
use super::digest::{Item, Sums, plain_item};
use super::entry::{Entry, Kind, Parts};
use super::hash::HashValue;
use super::metadata::{Expiry, Metadata};
use super::register::{ASSERTION, Content, Part, Register, before};
use crate::effect::{Effect, StringEncoding, encode_database, encode_stamp};

/// See the module.
pub(super) struct KeyState {
    mark: Stamp,
    kind: Option<(Stamp, Kind)>,
    register: Register,
    expiry: Option<Expiry>,
    hash: Option<Box<HashValue>>,
    /// The highest stamp of what took effect.
    highest: Stamp,
    access: u32,
}

/// What a partition knows beyond the key.
#[derive(Clone, Copy)]
pub(super) struct Context {
    /// Everything in the database at or below is gone.
    pub floor: Stamp,
    /// What comes late from at or before it, and is of something unknown, is discarded.
    pub horizon: Version,
    /// Seed of hashes.
    pub seed: u64,
}

impl KeyState {
    /// Nothing.
    pub fn new(access: u32) -> Self {
        KeyState {
            mark: Stamp::ZERO,
            kind: None,
            register: Register::default(),
            expiry: None,
            hash: None,
            highest: Stamp::ZERO,
            access,
        }
    }

    /// What an entry tells; `is_live` if it is among those that clients see.
    pub fn of(mut entry: Entry, is_live: bool) -> Self {
        let mut state = KeyState::new(entry.access());
        let stamp = entry.stamp();
        state.highest = stamp;
        let metadata = entry.take_metadata();
        let plain_expiry = (stamp, entry.expire_at());
        if entry.kind() == Kind::Hash {
            state.hash = entry.into_hash();
            if let Some(history) = state.hash.as_ref().and_then(|hash| hash.history.as_ref()) {
                state.mark = history.mark;
                if history.written > Stamp::ZERO {
                    state.kind = Some((history.written, Kind::Hash));
                }
            }
            if let Some(metadata) = metadata {
                state.mark = state.mark.max(metadata.mark);
                state.kind = metadata.kind.max(state.kind);
                state.register = metadata.register;
                state.expiry = metadata.expiry;
            }
            return state;
        }
        match metadata {
            Some(metadata) => {
                let metadata = *metadata;
                state.mark = metadata.mark;
                state.kind = metadata.kind;
                state.expiry = metadata.expiry;
                state.hash = metadata.shadow;
                state.register = metadata.register.hide(entry);
            }
            None if is_live => {
                let encoding = entry.encoding();
                state.kind = Some((stamp, Kind::String));
                state.expiry = Some(plain_expiry);
                state.register = Register::of_text(stamp, entry.into_text(), encoding);
            }
            None => state.mark = stamp,
        }
        state
    }

    /// What an entry tells that was made before the database was replicated.
    pub fn adopt(entry: Entry, actor: Actor) -> Self {
        let stamp = Stamp::new(entry.version(), actor);
        let at = entry.expire_at();
        let mut state = KeyState::of(entry, true);
        state.highest = stamp;
        match &mut state.hash {
            Some(hash) => {
                hash.begin_history(stamp);
                state.kind = Some((stamp, Kind::Hash));
                state.expiry = at.map(|at| (stamp, Some(at)));
            }
            None => {
                state.kind = Some((stamp, Kind::String));
                state.expiry = Some((stamp, at));
                if let Some((last, _)) = &mut state.register.last {
                    *last = stamp;
                }
            }
        }
        state
    }

    /// The mark in force.
    fn mark(&self, context: Context) -> Stamp {
        self.mark.max(context.floor)
    }

    /// Whether there is anything a client would see, were it not for the expiry.
    fn is_live(&self, mark: Stamp) -> bool {
        self.register.has_value()
            || self.register.sum(&[], mark).is_some()
            || self.hash.as_ref().is_some_and(|hash| !hash.is_empty())
    }

    /// Whether the value was dropped.
    pub fn is_dropped(&self) -> bool {
        matches!(self.register.last, Some((_, Content::Dropped { .. })))
    }

    /// Merges an effect on this key.
    pub fn merge(&mut self, effect: &Effect<'_>, stamp: Stamp, context: Context) -> Merged {
        let merged = match *effect {
            Effect::Put {
                value,
                encoding,
                expire_at,
                ..
            } => {
                let content = Content::Text(value.to_vec(), encoding);
                self.write(stamp, content, expire_at, context)
            }
            Effect::Lapsed { at, .. } => {
                let content = Content::Dropped { at };
                self.write(stamp, content, Some(at), context)
            }
            Effect::Count { base, total, .. } => match self.claim(stamp, Kind::String, context) {
                Ok(_) if base == ASSERTION => Merged::New,
                Ok(mark) => self.register.count(Part { base, stamp, total }, mark),
                Err(lost) => lost,
            },
            Effect::HashSet { field, value, .. } => {
                let content = Content::Text(value.to_vec(), StringEncoding::Raw);
                self.change_field(stamp, true, field, context, |register, mark| {
                    register.write(stamp, content, mark)
                })
            }
            Effect::HashDelete { field, .. } => {
                let merged = self.change_field(stamp, false, field, context, |register, mark| {
                    register.write(stamp, Content::Tombstone, mark)
                });
                let hash = self.hash.as_ref();
                let left = hash.and_then(|hash| hash.stamp_of(field));
                match left {
                    Some(left) if left > stamp => Merged::Superseded(left),
                    _ if matches!(merged, Merged::Superseded(_)) => Merged::Known,
                    _ => merged,
                }
            }
            Effect::HashCount { base, .. } if base == ASSERTION => {
                match self.claim(stamp, Kind::Hash, context) {
                    Ok(_) => Merged::New,
                    Err(lost) => lost,
                }
            }
            Effect::HashCount {
                field, base, total, ..
            } => self.change_field(stamp, true, field, context, |register, mark| {
                register.count(Part { base, stamp, total }, mark)
            }),
            Effect::ExpireAt { at, .. } => self.expire(stamp, at, context),
            Effect::Delete { .. } => self.delete(stamp, context),
            Effect::PutPadded { .. }
            | Effect::Splice { .. }
            | Effect::Operation { .. }
            | Effect::Clear
            | Effect::Swap { .. } => {
                debug_assert!(false, "not a change that can be merged into a key");
                Merged::Known
            }
        };
        if merged != Merged::Known {
            self.highest = self.highest.max(stamp);
        }
        self.normalize(context);
        merged
    }

    /// Notes a write of this type. Tells the mark in force, or that the write is lost.
    fn claim(&mut self, stamp: Stamp, kind: Kind, context: Context) -> Result<Stamp, Merged> {
        match self.kind {
            Some((present, other)) if other != kind => {
                self.mark = self.mark.max(present.min(stamp));
                self.kind = self.kind.max(Some((stamp, kind)));
            }
            present => self.kind = present.max(Some((stamp, kind))),
        }
        let mark = self.mark(context);
        if stamp <= mark {
            let winner = self.kind.map_or(mark, |(stamp, _)| stamp.max(mark));
            self.normalize(context);
            return Err(Merged::Superseded(winner));
        }
        self.register.raise(mark);
        Ok(mark)
    }

    fn write(
        &mut self,
        stamp: Stamp,
        content: Content,
        expire_at: Option<u64>,
        context: Context,
    ) -> Merged {
        let mark = match self.claim(stamp, Kind::String, context) {
            Ok(mark) => mark,
            Err(lost) => return lost,
        };
        let merged = self.register.write(stamp, content, mark);
        if self.expiry.is_none_or(|(present, _)| present < stamp) {
            self.expiry = Some((stamp, expire_at));
        }
        merged
    }

    fn change_field(
        &mut self,
        stamp: Stamp,
        is_write: bool,
        field: &[u8],
        context: Context,
        change: impl FnOnce(&mut Register, Stamp) -> Merged,
    ) -> Merged {
        let is_unknown = self.hash.as_ref().is_none_or(|hash| !hash.knows(field));
        if is_unknown && stamp.version <= context.horizon {
            return Merged::Known;
        }
        let mark = if is_write {
            match self.claim(stamp, Kind::Hash, context) {
                Ok(mark) => mark,
                Err(lost) => return lost,
            }
        } else {
            self.mark(context)
        };
        if stamp <= mark {
            return Merged::Superseded(mark);
        }
        let hash = self
            .hash
            .get_or_insert_with(|| Box::new(HashValue::new(context.seed)));
        hash.raise(mark);
        hash.merge(field, change)
    }

    fn expire(&mut self, stamp: Stamp, at: Option<u64>, context: Context) -> Merged {
        let mark = self.mark(context);
        if stamp <= mark {
            return Merged::Superseded(mark);
        }
        match self.expiry {
            Some((present, _)) if present > stamp => Merged::Superseded(present),
            Some((present, _)) if present == stamp => Merged::Known,
            _ => {
                self.expiry = Some((stamp, at));
                Merged::New
            }
        }
    }

    fn delete(&mut self, stamp: Stamp, context: Context) -> Merged {
        let is_new = stamp > self.mark(context);
        self.mark = self.mark.max(stamp);
        self.normalize(context);
        let mark = self.mark(context);
        if self.is_live(mark) {
            let kind = self.kind.map_or(Stamp::ZERO, |(stamp, _)| stamp);
            let winner = kind.max(self.register.highest());
            if winner > stamp {
                return Merged::Superseded(winner);
            }
        }
        if is_new { Merged::New } else { Merged::Known }
    }

    /// Forgets what can have no effect any more.
    pub fn normalize(&mut self, context: Context) {
        if let Some((stamp, Content::Dropped { at })) = self.register.last {
            let lives_longer = |(_, now): Expiry| now.is_none_or(|now| now > at);
            if self.expiry.is_some_and(lives_longer) {
                // The value is needed again, and some other replica has it: as if it had not come yet.
                self.register.last = None;
                self.mark = self.mark.max(before(stamp));
            }
        }
        let mark = self.mark(context);
        self.register.raise(mark);
        self.kind = self.kind.filter(|(stamp, _)| *stamp > mark);
        self.expiry = self.expiry.filter(|(stamp, _)| *stamp > mark);
        let mut field_mark = mark;
        if self.register.has_value() {
            // What the write replaced is gone like by a mark right before it.
            self.mark = Stamp::ZERO;
            field_mark = self.register.stamp();
        } else if self.mark <= context.floor {
            self.mark = Stamp::ZERO;
        }
        if let Some(hash) = &mut self.hash {
            hash.raise(field_mark);
        }
        self.hash.take_if(|hash| hash.is_forgotten());
    }

    /// Drops the value of a key that expired, if it is a string.
    pub fn lapse(&mut self) {
        let at = self.expiry.and_then(|(_, at)| at);
        if let (Some((_, content @ Content::Text(..))), Some(at)) = (&mut self.register.last, at) {
            *content = Content::Dropped { at };
        }
    }

    /// The entry that tells all this, and whether clients see it. `None` if nothing is known.
    pub fn into_entry(mut self, key: &[u8], context: Context) -> Option<(Entry, bool)> {
        let mark = self.mark(context);
        let (shown, register) = std::mem::take(&mut self.register).show(mark);
        let shows_hash = self.hash.as_ref().is_some_and(|hash| !hash.is_empty());
        debug_assert!(!shows_hash || shown.is_none());
        let is_live = shown.is_some() || shows_hash;
        let is_marked = register.is_empty() && self.expiry.is_none() && self.kind.is_none();
        if !is_live && is_marked && self.hash.is_none() {
            return (self.mark > Stamp::ZERO).then(|| (self.mark_entry(key), false));
        }
        let expire_at = self.expiry.filter(|_| is_live).and_then(|(_, at)| at);
        let (text, encoding) = shown.unwrap_or((Vec::new(), StringEncoding::Raw));
        let written = register.stamp();
        let kind = self.kind.map(|(stamp, _)| stamp);
        let expiry = self.expiry.map(|(stamp, _)| stamp);
        let has_plain_text = matches!(register.last, Some((_, Content::Shown)))
            && register.parts.is_empty()
            && (kind, expiry) == (Some(written), Some(written));
        let mut parts = Parts {
            key,
            value: &[],
            encoding,
            expire_at,
            version: self.highest.version,
            actor: self.highest.actor,
            access: self.access,
        };
        if has_plain_text && self.hash.is_none() {
            (parts.version, parts.actor) = (written.version, written.actor);
            return Some((Entry::with_text(&parts, text, None), true));
        }
        let mut metadata = Box::new(Metadata {
            mark: self.mark,
            kind: self.kind,
            register,
            expiry: self.expiry,
            shadow: None,
        });
        match self.hash.take() {
            Some(mut hash) if !metadata.register.has_value() && text.is_empty() => {
                // Shared by the two, and kept by the hash.
                hash.raise(mark);
                let written = match self.kind {
                    Some((stamp, Kind::Hash)) => stamp,
                    _ => Stamp::ZERO,
                };
                if let Some(history) = &mut hash.history {
                    history.written = written;
                }
                let is_plain = shows_hash
                    && written > Stamp::ZERO
                    && self.expiry.is_none()
                    && metadata.register.is_empty();
                let metadata = (!is_plain).then_some(metadata);
                Some((Entry::with_hash(&parts, hash, metadata), is_live))
            }
            shadow => {
                metadata.shadow = shadow;
                Some((Entry::with_text(&parts, text, Some(metadata)), is_live))
            }
        }
    }

    fn mark_entry(&self, key: &[u8]) -> Entry {
        Entry::new(&Parts {
            key,
            value: &[],
            encoding: StringEncoding::Raw,
            expire_at: None,
            version: self.mark.version,
            actor: self.mark.actor,
            access: 0,
        })
    }

    /// What remains in a database that is not replicated, if clients see anything.
    pub fn into_plain(mut self, key: &[u8], context: Context) -> Option<Entry> {
        let mark = self.mark(context);
        let (shown, _) = std::mem::take(&mut self.register).show(mark);
        let (text, encoding) = shown.unwrap_or((Vec::new(), StringEncoding::Raw));
        let parts = Parts {
            key,
            value: &[],
            encoding,
            expire_at: self.expiry.and_then(|(_, at)| at),
            version: self.highest.version,
            actor: Actor::default(),
            access: self.access,
        };
        match self.hash.take() {
            Some(mut hash) if !hash.is_empty() => {
                hash.end_history();
                Some(Entry::with_hash(&parts, hash, None))
            }
            _ => Some(Entry::with_text(&parts, text, None)),
        }
    }

    /// Forgets fields that were deleted at or before the horizon. Returns whether others remain.
    pub fn collect(&mut self, context: Context) -> bool {
        let Some(hash) = &mut self.hash else {
            return false;
        };
        hash.collect(context.horizon);
        let remain = hash.has_hidden();
        self.normalize(context);
        remain
    }

    /// Whether there are deleted fields.
    pub fn has_hidden_fields(&self) -> bool {
        self.hash.as_ref().is_some_and(|hash| hash.has_hidden())
    }

    /// Appends the stamped effects that make it, to be merged elsewhere.
    pub fn encode(&self, database: DatabaseId, key: &[u8], context: Context, out: &mut Vec<u8>) {
        let start = out.len();
        encode_database(database, out);
        let before = out.len();
        self.encode_effects(key, context, out);
        if out.len() == before {
            out.truncate(start);
        }
    }

    fn encode_effects(&self, key: &[u8], context: Context, out: &mut Vec<u8>) {
        let mark = self.mark(context);
        let mut add = |stamp, effect: Effect<'_>| {
            encode_stamp(stamp, out);
            effect.encode(out);
        };
        if mark > Stamp::ZERO && !self.register.has_value() {
            add(mark, Effect::Delete { key });
        }
        let written = self.register.stamp();
        if let Some((stamp, Kind::String)) = self.kind
            && stamp != written
        {
            add(stamp, count(key, ASSERTION, 0));
        }
        match &self.register.last {
            Some((stamp, Content::Text(value, encoding))) => add(
                *stamp,
                Effect::Put {
                    key,
                    value,
                    encoding: *encoding,
                    expire_at: self.expiry.filter(|(at, _)| at == stamp).and_then(|e| e.1),
                },
            ),
            Some((stamp, Content::Dropped { at })) => add(*stamp, Effect::Lapsed { key, at: *at }),
            _ => {}
        }
        for part in &self.register.parts {
            add(part.stamp, count(key, part.base, part.total));
        }
        if let Some((stamp, at)) = self.expiry.filter(|(stamp, _)| *stamp != written) {
            add(stamp, Effect::ExpireAt { key, at });
        }
        if let Some((stamp, Kind::Hash)) = self.kind {
            let assertion = Effect::HashCount {
                key,
                field: &[],
                base: ASSERTION,
                total: 0,
                delta: 0,
            };
            add(stamp, assertion);
        }
        if let Some(hash) = &self.hash {
            hash.encode_state(key, out);
        }
    }

    /// Sums of its items in digests.
    pub fn sums(&self, context: Context) -> Sums {
        let known = Known {
            mark: self.mark(context),
            kind: self.kind,
            register: &self.register,
            expiry: self.expiry,
            hash: self.hash.as_deref(),
        };
        known.sums(context)
    }
}

fn count(key: &[u8], base: Stamp, total: i64) -> Effect<'_> {
    Effect::Count {
        key,
        base,
        total,
        delta: 0,
    }
}

/// The same as [`KeyState`], but borrowed and without a value.
struct Known<'a> {
    mark: Stamp,
    kind: Option<(Stamp, Kind)>,
    register: &'a Register,
    expiry: Option<Expiry>,
    hash: Option<&'a HashValue>,
}

impl Known<'_> {
    fn sums(&self, context: Context) -> Sums {
        let mut sums = self.register.sums(0, self.mark);
        if let Some(hash) = self.hash {
            sums.add(hash.sums());
        }
        let written = self.register.stamp();
        if let Some((stamp, _)) = self.expiry.filter(|(stamp, _)| *stamp != written) {
            sums.add_to(sums.live != 0, plain_item(Item::Expiry, 0, stamp));
        }
        if let Some((stamp, kind)) = self.kind.filter(|(stamp, _)| *stamp != written) {
            sums.add_to(false, plain_item(Item::Kind, kind as u64, stamp));
        }
        if self.mark.version > context.horizon && !self.register.has_value() {
            sums.add_to(false, plain_item(Item::Mark, 0, self.mark));
        }
        sums
    }
}

/// Sums of the items in digests of a key; `None` for one of which nothing is known. See [`KeyState::of`].
pub(super) fn sums_of(entry: Option<&Entry>, is_live: bool, context: Context) -> Sums {
    let nothing = Register::default();
    let mut known = Known {
        mark: context.floor,
        kind: None,
        register: &nothing,
        expiry: None,
        hash: None,
    };
    let Some(entry) = entry else {
        return known.sums(context);
    };
    let metadata = entry.metadata();
    if let Some(metadata) = metadata {
        known.mark = known.mark.max(metadata.mark);
        known.kind = metadata.kind;
        known.register = &metadata.register;
        known.expiry = metadata.expiry;
        known.hash = metadata.shadow.as_deref();
    }
    let plain = Register {
        last: Some((entry.stamp(), Content::Shown)),
        parts: Vec::new(),
    };
    if let Some(hash) = entry.hash() {
        known.hash = Some(hash);
        if let Some(history) = &hash.history {
            known.mark = known.mark.max(history.mark);
            if history.written > Stamp::ZERO {
                known.kind = known.kind.max(Some((history.written, Kind::Hash)));
            }
        }
    } else if metadata.is_none() && is_live {
        known.register = &plain;
    } else if metadata.is_none() {
        known.mark = known.mark.max(entry.stamp());
    }
    known.sums(context)
}

/// The mark that will be in force for a write of this type: an earlier write of another type raises it.
fn mark_for(entry: Option<(&Entry, bool)>, kind: Kind, context: Context) -> Stamp {
    let Some((entry, is_live)) = entry else {
        return context.floor;
    };
    let metadata = entry.metadata();
    let mut mark = metadata.map_or(Stamp::ZERO, |metadata| metadata.mark);
    let mut last = metadata.and_then(|metadata| metadata.kind);
    match entry.hash() {
        Some(hash) => {
            if let Some(history) = &hash.history {
                mark = mark.max(history.mark);
                last = last.max(Some((history.written, Kind::Hash)));
            }
        }
        None if metadata.is_some() => {}
        None if is_live => last = Some((entry.stamp(), Kind::String)),
        None => mark = entry.stamp(),
    }
    if let Some((stamp, _)) = last.filter(|(_, other)| *other != kind) {
        mark = mark.max(stamp);
    }
    mark.max(context.floor)
}

/// The part of a counter that an actor has to emit to add `delta` to a key, given its entry: base and total.
pub(super) fn next_part(
    entry: Option<(&Entry, bool)>,
    actor: Actor,
    delta: i64,
    context: Context,
) -> (Stamp, i64) {
    let mark = mark_for(entry, Kind::String, context);
    let state = entry.map(|(entry, is_live)| KeyState::of(entry.duplicate(), is_live));
    let mut register = state.map_or_else(Register::default, |state| state.register);
    register.raise(mark);
    register.next_part(actor, delta, mark, context.horizon)
}

/// The same for a field of a hash.
pub(super) fn next_field_part(
    entry: Option<(&Entry, bool)>,
    field: &[u8],
    actor: Actor,
    delta: i64,
    context: Context,
) -> (Stamp, i64) {
    let mark = mark_for(entry, Kind::Hash, context);
    let hash = entry.and_then(|(entry, _)| {
        let shadow = entry.metadata().and_then(|m| m.shadow.as_deref());
        entry.hash().or(shadow)
    });
    let mut register = hash.map_or_else(Register::default, |hash| hash.register(field));
    register.raise(mark);
    register.next_part(actor, delta, mark, context.horizon)
}
