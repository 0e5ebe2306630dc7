//! What an entry tells of a replicated key, without taking it apart: digests, and the next part of a counter.

use coterie_protocol::{Actor, Stamp, Version};

use super::{Context, KeyState};
use crate::effect::Kind;
use crate::store::collection::Collection;
use crate::store::digest::{Item, Sums, plain_item};
use crate::store::entry::Entry;
use crate::store::metadata::Expiry;
use crate::store::register::{Content, NOBODY, Register};

/// The same as [`KeyState`], but borrowed and without a value.
pub(super) struct Known<'a> {
    pub mark: Stamp,
    pub kind: Option<(Stamp, Kind)>,
    pub register: &'a Register,
    pub expiry: Option<Expiry>,
    pub collection: Option<&'a Collection>,
}

impl Known<'_> {
    pub fn sums(&self, context: Context) -> Sums {
        let mut sums = self.register.sums(0, self.mark);
        if let Some(collection) = self.collection {
            sums.add(collection.sums());
        }
        let written = self.register.stamp();
        if let Some((stamp, _)) = self.expiry.filter(|(stamp, _)| *stamp != written) {
            sums.add_to(sums.live != 0, plain_item(Item::Expiry, 0, stamp));
        }
        if let Some((stamp, kind)) = self.kind.filter(|(stamp, _)| *stamp != written) {
            sums.add_to(false, plain_item(Item::Kind, kind as u64, stamp));
        }
        let is_horizon = self.mark.actor == NOBODY;
        if self.mark.version > context.horizon && !is_horizon && !self.register.has_value() {
            sums.add_to(false, plain_item(Item::Mark, 0, self.mark));
        }
        sums
    }
}

/// Sums of the items in digests of a key; `None` for one of which nothing is known. See [`KeyState::of`].
pub(in crate::store) fn sums_of(entry: Option<&Entry>, is_live: bool, context: Context) -> Sums {
    let nothing = Register::default();
    let mut known = Known {
        mark: context.floor,
        kind: None,
        register: &nothing,
        expiry: None,
        collection: None,
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
        known.collection = metadata.shadow.as_deref();
    }
    let plain = Register {
        last: Some((entry.stamp(), Content::Shown)),
        ..Register::default()
    };
    if let Some(collection) = entry.collection() {
        known.collection = Some(collection);
        if let Some(history) = &collection.history {
            known.mark = known.mark.max(history.mark);
            if history.written > Stamp::ZERO {
                known.kind = known.kind.max(Some((history.written, collection.kind())));
            }
        }
    } else if metadata.is_none() && is_live {
        known.register = &plain;
    } else if metadata.is_none() {
        known.mark = known.mark.max(entry.stamp());
    }
    known.sums(context)
}

/// The version of the latest change that is known of a key.
pub(in crate::store) fn latest_of(entry: &Entry) -> Version {
    let metadata = entry.metadata();
    let expiry = metadata.and_then(|metadata| metadata.expiry);
    let kind = metadata.and_then(|metadata| metadata.kind);
    let history = entry.collection().and_then(|all| all.history.as_ref());
    let stamps = [
        Some(entry.stamp()),
        metadata.map(|metadata| metadata.mark),
        metadata.map(|metadata| metadata.register.highest()),
        expiry.map(|(stamp, _)| stamp),
        kind.map(|(stamp, _)| stamp),
        history.map(|history| history.mark.max(history.written)),
    ];
    let latest = stamps.into_iter().flatten().max();
    latest.map_or(Version::ZERO, |stamp| stamp.version)
}

/// Whether nothing was known of a key when it became known again. See [`KeyState::unknown`].
pub(in crate::store) fn began_anew(entry: &Entry) -> bool {
    let metadata = entry.metadata().map(|metadata| metadata.mark);
    let collection = entry.collection();
    let history = collection.and_then(|collection| collection.history.as_ref());
    let mark = metadata.max(history.map(|history| history.mark));
    mark.is_some_and(|mark| mark.actor == NOBODY)
}

/// The mark that will be in force for a write of this type: an earlier write of another type raises it.
fn mark_for(entry: Option<(&Entry, bool)>, kind: Kind, context: Context) -> Stamp {
    let Some((entry, is_live)) = entry else {
        return context.floor;
    };
    let metadata = entry.metadata();
    let mut mark = metadata.map_or(Stamp::ZERO, |metadata| metadata.mark);
    let mut last = metadata.and_then(|metadata| metadata.kind);
    match entry.collection() {
        Some(collection) => {
            if let Some(history) = &collection.history {
                mark = mark.max(history.mark);
                last = last.max(Some((history.written, collection.kind())));
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
pub(in crate::store) fn next_part(
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

/// The base of a sketch that is made of what is at a key, given its entry.
pub(in crate::store) fn next_base(entry: Option<(&Entry, bool)>, context: Context) -> Stamp {
    let mark = mark_for(entry, Kind::String, context);
    let state = entry.map(|(entry, is_live)| KeyState::of(entry.duplicate(), is_live));
    let mut register = state.map_or_else(Register::default, |state| state.register);
    register.raise(mark);
    register.next_base(mark, context.horizon)
}

/// What [`next_part`] tells, for a field of a hash.
pub(in crate::store) fn next_field_part(
    entry: Option<(&Entry, bool)>,
    field: &[u8],
    actor: Actor,
    delta: i64,
    context: Context,
) -> (Stamp, i64) {
    let mark = mark_for(entry, Kind::Hash, context);
    let collection = entry.and_then(|(entry, _)| {
        let shadow = entry.metadata().and_then(|m| m.shadow.as_deref());
        entry.collection().or(shadow)
    });
    let mark = mark.max(collection.map_or(Stamp::ZERO, |all| all.mark_of(field)));
    let mut register = collection.map_or_else(Register::default, |all| all.register(field));
    register.raise(mark);
    register.next_part(actor, delta, mark, context.horizon)
}
