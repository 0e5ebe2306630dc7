//! Between an entry and what it tells.

use coterie_protocol::{Actor, Stamp};

use super::{Context, KeyState};
use crate::effect::{Kind, StringEncoding};
use crate::store::entry::{Entry, Parts};
use crate::store::metadata::Metadata;
use crate::store::register::{Content, NOBODY, Register};

impl KeyState {
    /// What an entry tells; `is_live` if it is among those that clients see.
    pub fn of(mut entry: Entry, is_live: bool) -> Self {
        let mut state = KeyState::new(entry.access());
        let stamp = entry.stamp();
        state.highest = stamp;
        let metadata = entry.take_metadata();
        let plain_expiry = (stamp, entry.expire_at());
        if entry.kind() != Kind::String {
            let kind = entry.kind();
            state.collection = entry.into_collection();
            let collection = state.collection.as_ref();
            if let Some(history) = collection.and_then(|collection| collection.history.as_ref()) {
                state.mark = history.mark;
                if history.written > Stamp::ZERO {
                    state.kind = Some((history.written, kind));
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
                state.collection = metadata.shadow;
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
    pub fn adopt(mut entry: Entry, actor: Actor, seed: u64) -> Self {
        entry.unpack(seed);
        let stamp = Stamp::new(entry.version(), actor);
        let at = entry.expire_at();
        let mut state = KeyState::of(entry, true);
        state.highest = stamp;
        match &mut state.collection {
            Some(collection) => {
                collection.begin_history(stamp);
                state.kind = Some((stamp, collection.kind()));
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

    /// The entry that tells all this, and whether clients see it. `None` if nothing is known.
    pub fn into_entry(mut self, key: &[u8], context: Context) -> Option<(Entry, bool)> {
        let mark = self.mark(context);
        let (shown, register) = std::mem::take(&mut self.register).show(mark);
        let shows_collection = self.shows_collection();
        debug_assert!(!shows_collection || shown.is_none());
        let is_live = shown.is_some() || shows_collection;
        let is_marked = register.is_empty() && self.expiry.is_none() && self.kind.is_none();
        if !is_live && is_marked && self.collection.is_none() {
            let is_horizon = self.mark.actor == NOBODY && self.mark.version <= context.horizon;
            let tells = self.mark > Stamp::ZERO && !is_horizon;
            return tells.then(|| (self.mark_entry(key), false));
        }
        let expire_at = self.expiry.filter(|_| is_live).and_then(|(_, at)| at);
        let (text, encoding) = shown.unwrap_or((Vec::new(), StringEncoding::Raw));
        let written = register.stamp();
        let kind = self.kind.map(|(stamp, _)| stamp);
        let expiry = self.expiry.map(|(stamp, _)| stamp);
        let has_plain_text = matches!(register.last, Some((_, Content::Shown)))
            && register.parts.is_empty()
            && register.sketches.is_empty()
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
        if has_plain_text && self.collection.is_none() {
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
        match self.collection.take() {
            Some(mut collection) if !metadata.register.has_value() && text.is_empty() => {
                // Shared by the two, and kept by the collection.
                collection.raise(mark);
                let written = match self.kind {
                    Some((stamp, kind)) if kind == collection.kind() => stamp,
                    _ => Stamp::ZERO,
                };
                if let Some(history) = &mut collection.history {
                    history.written = written;
                }
                let is_plain = shows_collection
                    && written > Stamp::ZERO
                    && self.expiry.is_none()
                    && metadata.register.is_empty();
                let metadata = (!is_plain).then_some(metadata);
                let entry = Entry::with_collection(&parts, collection, metadata);
                Some((entry, is_live))
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
        match self.collection.take() {
            Some(mut collection) if !collection.is_empty() => {
                collection.end_history();
                Some(Entry::with_packed(&parts, collection))
            }
            _ => Some(Entry::with_text(&parts, text, None)),
        }
    }
}
