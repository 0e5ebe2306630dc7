//! What is set aside before a change, to take it back.

use coterie_protocol::{DatabaseId, Stamp, Version};

use super::{Partition, discard};
use crate::effect::{Effect, Kind};
use crate::store::collection::{Collection, Extent, Trims};
use crate::store::entry::Entry;
use crate::store::register::Register;

/// State before a change. Of a collection only the elements that change are in it.
pub struct Aside(Before);

enum Before {
    Key(KeyBefore),
    Elements(Box<ElementsBefore>),
}

/// All of a key.
#[derive(Default)]
pub(in crate::store) struct KeyBefore {
    pub live: Option<Entry>,
    pub remembered: Option<Entry>,
}

/// Some elements or attributes of a collection.
pub(in crate::store) struct ElementsBefore {
    are_attributes: bool,
    registers: Vec<(Vec<u8>, Register)>,
    /// Before a trim: those there were, and what it is below of.
    trims: Option<(Trims, [u8; 16])>,
    extent: Extent,
    /// Of the entry.
    pub stamp: Stamp,
    /// Of the entry.
    pub access: u32,
    /// The latest write and the type it made the key, in a replicated partition.
    pub kind: Option<(Stamp, Kind)>,
}

impl ElementsBefore {
    fn of(entry: &Entry, effect: &Effect<'_>) -> Option<Self> {
        let collection = entry.collection()?;
        let element = |element: &[u8]| (element.to_vec(), collection.register(element));
        let attribute = |name: &[u8]| {
            let attributes = collection.attributes();
            let register = attributes.map(|attributes| attributes.register(name));
            (name.to_vec(), register.unwrap_or_default())
        };
        let (kind, registers) = match *effect {
            Effect::ElementSet {
                kind, element: e, ..
            }
            | Effect::ElementDelete {
                kind, element: e, ..
            } => (kind, vec![element(e)]),
            Effect::HashCount { field, .. } | Effect::FieldUntil { field, .. } => {
                (Kind::Hash, vec![element(field)])
            }
            Effect::AttributeSet { name, .. } | Effect::AttributeDelete { name, .. } => {
                (Kind::Stream, vec![attribute(name)])
            }
            Effect::StreamTrim { below, .. } => (Kind::Stream, collection.registers_below(&below)),
            _ => return None,
        };
        let takes = matches!(
            effect,
            Effect::ElementDelete { .. }
                | Effect::AttributeDelete { .. }
                | Effect::StreamTrim { .. }
        );
        if collection.kind() != kind || takes && collection.allocations() <= registers.len() {
            // The key is going to be replaced, or removed with the last element.
            return None;
        }
        let history = collection.history.as_ref();
        let written = history.map(|history| (history.written, collection.kind()));
        let metadata = entry.metadata().and_then(|metadata| metadata.kind);
        Some(ElementsBefore {
            are_attributes: matches!(
                effect,
                Effect::AttributeSet { .. } | Effect::AttributeDelete { .. }
            ),
            registers,
            trims: match *effect {
                Effect::StreamTrim { below, .. } => Some((collection.trims(), below)),
                _ => None,
            },
            extent: collection.extent(),
            stamp: entry.stamp(),
            access: entry.access(),
            kind: written
                .filter(|(stamp, _)| *stamp > Stamp::ZERO)
                .max(metadata),
        })
    }

    /// Puts everything back into the collection.
    pub fn put_back(&mut self, collection: &mut Collection) {
        if let Some((trims, below)) = &self.trims {
            collection.put_trims_back(trims, below);
        }
        for (name, register) in std::mem::take(&mut self.registers) {
            if self.are_attributes {
                collection.put_attribute_back(&name, register);
            } else {
                collection.put_back(&name, register, self.extent);
            }
        }
    }
}

impl Aside {
    /// Whether it is the state of the whole key, so that nothing more need be set aside before further changes of it.
    pub fn is_whole(&self) -> bool {
        matches!(self.0, Before::Key(_))
    }
}

impl Partition {
    /// What the key of a change holds, to be able to put it back; `version` is that of the change. Of a collection,
    /// what is known of the elements that change. Otherwise the entry itself where the change does not need it and
    /// copying it would take long, else a copy; always a copy in a replicated partition.
    pub fn set_aside(
        &mut self,
        database: DatabaseId,
        effect: &Effect<'_>,
        version: Version,
    ) -> Aside {
        let whole = |before| Aside(Before::Key(before));
        let Some(key) = effect.key() else {
            return whole(KeyBefore::default());
        };
        let hash = self.hash(key);
        let found = self.keyspace(database).and_then(|k| k.find(key, hash));
        // Fields whose time is over go with the change, and the key perhaps with them.
        let now_ms = version.millis();
        let found_unexpired =
            found.filter(|entry| !entry.is_expired(now_ms) && !entry.has_lapsed(now_ms));
        if let Some(before) = found_unexpired.and_then(|entry| ElementsBefore::of(entry, effect)) {
            return Aside(Before::Elements(Box::new(before)));
        }
        let beside = self.replica.as_ref().and_then(|r| r.get(database));
        let remembered = beside.and_then(|beside| beside.remembered.find(key, hash));
        let remembered = remembered.map(Entry::duplicate);
        let Some(entry) = found else {
            let live = None;
            return whole(KeyBefore { live, remembered });
        };
        let is_dispensable = match effect {
            _ if self.is_replicated() => false,
            Effect::Delete { .. } => true,
            Effect::Put { .. } | Effect::PutPadded { .. } => {
                entry.is_costly_to_free() || entry.kind() != Kind::String
            }
            // A key of another kind, which it replaces.
            Effect::ElementSet { kind, .. } => entry.kind() != *kind,
            Effect::FieldUntil { .. } => entry.kind() != Kind::Hash,
            Effect::AttributeSet { .. } => entry.kind() != Kind::Stream,
            _ => false,
        };
        let live = if is_dispensable {
            let removed = self.change(database, |keyspace, _| keyspace.remove(key, hash));
            removed.flatten()
        } else {
            Some(entry.duplicate())
        };
        whole(KeyBefore { live, remembered })
    }

    /// Takes back what was done to a key: `before` is what [`Partition::set_aside`] gave.
    pub fn undo(&mut self, database: DatabaseId, key: &[u8], before: Aside) {
        let hash = self.hash(key);
        let is_replicated = self.is_replicated();
        match before.0 {
            Before::Key(before) if is_replicated => self.undo_merge(database, key, before),
            Before::Key(before) => {
                self.change(database, |keyspace, _| {
                    keyspace.remove(key, hash);
                    if let Some(entry) = before.live {
                        keyspace.insert(hash, entry);
                    }
                });
            }
            Before::Elements(before) if is_replicated => {
                self.undo_merged_elements(database, key, *before);
            }
            Before::Elements(mut before) => {
                let found = self.change(database, |keyspace, _| {
                    keyspace.update(key, hash, |entry| {
                        if let Some(collection) = entry.collection_mut() {
                            before.put_back(collection);
                        }
                        entry.set_version(before.stamp.version);
                        entry.set_access(before.access);
                    })
                });
                debug_assert!(found.flatten().is_some());
            }
        }
    }

    /// Drops what was set aside and is not needed any more.
    pub fn discard(&mut self, aside: Aside) {
        if let Before::Key(before) = aside.0
            && let Some(entry) = before.live
        {
            discard(&mut self.garbage, entry);
        }
    }
}
