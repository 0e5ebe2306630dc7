//! All that is known of a key of a replicated database, and how changes are merged into it.
//!
//! A product of join semilattices (Shapiro, Preguiça, Baquero and Zawirski, "Conflict-free Replicated Data
//! Types", 2011): a mark at or below which everything is gone, the latest write and its type, the string
//! as a [`Register`], the expiry, and the elements of a collection. Where writes of two types meet, the earlier of the
//! two raises the mark. What can have no effect any more is forgotten at once, so that the same changes leave
//! the same state in whatever order they came.

mod encode;
mod form;
mod known;

use coterie_protocol::{Stamp, Version};

use self::known::Known;
pub(super) use self::known::{
    began_anew, latest_of, next_base, next_field_part, next_part, sums_of,
};
use super::Merged;
use super::collection::Collection;
use super::digest::Sums;
use super::metadata::Expiry;
use super::partition::ElementsBefore;
use super::register::{Content, NOBODY, Part, Register, before, behind};
use crate::effect::{Effect, Kind, StringEncoding};

/// See the module.
pub(super) struct KeyState {
    mark: Stamp,
    kind: Option<(Stamp, Kind)>,
    register: Register,
    expiry: Option<Expiry>,
    collection: Option<Box<Collection>>,
    /// The highest stamp of what took effect.
    highest: Stamp,
    access: u32,
}

/// What of a collection an effect changes.
#[derive(Clone, Copy)]
enum Name<'a> {
    Element(&'a [u8]),
    Attribute(&'a [u8]),
}

impl Name<'_> {
    /// Asks the elements or the attributes of a collection, if there are any.
    fn of<R>(
        self,
        collection: Option<&Collection>,
        ask: impl FnOnce(&Collection, &[u8]) -> R,
    ) -> Option<R> {
        match self {
            Name::Element(element) => Some(ask(collection?, element)),
            Name::Attribute(name) => Some(ask(collection?.attributes()?, name)),
        }
    }
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
            collection: None,
            highest: Stamp::ZERO,
            access,
        }
    }

    /// Nothing is known, so whatever is from before the horizon is gone.
    pub fn unknown(access: u32, context: Context) -> Self {
        KeyState {
            mark: match context.horizon {
                Version::ZERO => Stamp::ZERO,
                horizon => behind(horizon),
            },
            ..KeyState::new(access)
        }
    }

    /// The mark in force.
    fn mark(&self, context: Context) -> Stamp {
        self.mark.max(context.floor)
    }

    /// Whether there is anything a client would see, were it not for the expiry.
    fn is_live(&self, mark: Stamp) -> bool {
        self.register.has_value()
            || self.register.sum(&[], mark).is_some()
            || self.register.sketched(mark).is_some()
            || self.shows_collection()
    }

    fn shows_collection(&self) -> bool {
        let collection = self.collection.as_ref();
        collection.is_some_and(|collection| !collection.is_empty())
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
            Effect::Count { base, total, .. } => {
                self.begin_at(base);
                match self.claim(stamp, Kind::String, context) {
                    Ok(mark) => self.register.count(Part { base, stamp, total }, mark),
                    Err(lost) => lost,
                }
            }
            Effect::Sketch { base, value, .. } => {
                self.begin_at(base);
                match self.claim(stamp, Kind::String, context) {
                    Ok(mark) => self.register.sketch(base, stamp, value, mark),
                    Err(lost) => lost,
                }
            }
            Effect::Anew { settled, .. } => {
                let before = self.mark(context);
                self.mark = self.mark.max(behind(settled));
                match self.mark > before {
                    true => Merged::New,
                    false => Merged::Known,
                }
            }
            Effect::Assertion { kind, .. } => match self.claim(stamp, kind, context) {
                Ok(_) => Merged::New,
                Err(lost) => lost,
            },
            Effect::ElementSet {
                kind,
                element,
                value,
                ..
            } => {
                let content = Content::Text(value.to_vec(), StringEncoding::Raw);
                self.change(
                    stamp,
                    Some(kind),
                    Name::Element(element),
                    context,
                    |register, mark| register.write(stamp, content, mark),
                )
            }
            Effect::FieldUntil {
                field, value, at, ..
            } => {
                let (kind, name) = (Some(Kind::Hash), Name::Element(field));
                let content = Content::Text(value.to_vec(), StringEncoding::Raw);
                self.change(stamp, kind, name, context, |register, mark| {
                    register.write_until(stamp, content, Some(at), mark)
                })
            }
            Effect::AttributeSet { name, value, .. } => {
                let (kind, name) = (Some(Kind::Stream), Name::Attribute(name));
                let content = Content::Text(value.to_vec(), StringEncoding::Raw);
                self.change(stamp, kind, name, context, |register, mark| {
                    register.write(stamp, content, mark)
                })
            }
            Effect::HashCount {
                field, base, total, ..
            } => {
                let (kind, name) = (Some(Kind::Hash), Name::Element(field));
                self.change(stamp, kind, name, context, |register, mark| {
                    register.count(Part { base, stamp, total }, mark)
                })
            }
            Effect::ElementDelete { element, .. } => {
                self.delete_one(stamp, Name::Element(element), context)
            }
            Effect::AttributeDelete { name, .. } => {
                self.delete_one(stamp, Name::Attribute(name), context)
            }
            Effect::StreamTrim { below, .. } => self.trim(stamp, below, context),
            Effect::ExpireAt { at, .. } => self.expire(stamp, at, context),
            Effect::Delete { .. } => self.delete(stamp, context),
            Effect::PutPadded { .. }
            | Effect::Splice { .. }
            | Effect::Clear
            | Effect::Operation { .. }
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

    /// Something was added to this base. Where there was nothing, whatever is older is gone.
    fn begin_at(&mut self, base: Stamp) {
        if base.actor == NOBODY {
            self.mark = self.mark.max(behind(base.version));
        }
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
        if kind != Kind::String
            && let Some(collection) = &mut self.collection
            && collection.kind() != kind
        {
            // What it was is gone; of what was deleted this is still known.
            collection.raise(mark);
            collection.convert(kind);
        }
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

    /// Changes what is known of an element or attribute. A write says of which kind it makes the key.
    fn change(
        &mut self,
        stamp: Stamp,
        kind: Option<Kind>,
        name: Name<'_>,
        context: Context,
        change: impl FnOnce(&mut Register, Stamp) -> Merged,
    ) -> Merged {
        let is_known = name.of(self.collection.as_deref(), Collection::knows);
        if is_known != Some(true) && stamp.version <= context.horizon {
            return Merged::Known;
        }
        let mark = match kind {
            Some(kind) => match self.claim(stamp, kind, context) {
                Ok(mark) => mark,
                Err(lost) => return lost,
            },
            None => self.mark(context),
        };
        if stamp <= mark {
            return Merged::Superseded(mark);
        }
        let collection = self.collection_mut(mark, context);
        match name {
            Name::Element(element) => collection.merge(element, stamp, change),
            Name::Attribute(name) => {
                let attributes = collection.attributes_to_merge();
                attributes.merge(name, stamp, change)
            }
        }
    }

    /// The collection, which knows of the mark in force.
    fn collection_mut(&mut self, mark: Stamp, context: Context) -> &mut Collection {
        let kind = self.kind.map(|(_, kind)| kind);
        let kind = kind.filter(|kind| *kind != Kind::String);
        let make = || Box::new(Collection::new(kind.unwrap_or(Kind::Hash), context.seed));
        let collection = self.collection.get_or_insert_with(make);
        collection.raise(mark);
        collection
    }

    /// Deletes an element or attribute, whatever the key is by now: of what kind it was makes no difference.
    fn delete_one(&mut self, stamp: Stamp, name: Name<'_>, context: Context) -> Merged {
        let merged = self.change(stamp, None, name, context, |register, mark| {
            register.write(stamp, Content::Tombstone, mark)
        });
        let left = name.of(self.collection.as_deref(), Collection::stamp_of);
        match left.flatten() {
            Some(left) if left > stamp => Merged::Superseded(left),
            _ if matches!(merged, Merged::Superseded(_)) => Merged::Known,
            _ => merged,
        }
    }

    fn trim(&mut self, stamp: Stamp, below: [u8; 16], context: Context) -> Merged {
        let mark = self.mark(context);
        if stamp <= mark {
            return Merged::Superseded(mark);
        }
        if stamp.version <= context.horizon {
            return Merged::Known;
        }
        self.collection_mut(mark, context).trim(stamp, below)
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

    /// Takes back changes of elements.
    pub fn put_back(&mut self, mut before: ElementsBefore) {
        if let Some(collection) = &mut self.collection {
            before.put_back(collection);
        }
        (self.kind, self.highest, self.access) = (before.kind, before.stamp, before.access);
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
        let mut element_mark = mark;
        if self.register.has_value() {
            // What the write replaced is gone like by a mark right before it.
            self.mark = Stamp::ZERO;
            element_mark = self.register.stamp();
        } else if self.mark <= context.floor {
            self.mark = Stamp::ZERO;
        }
        if let Some(collection) = &mut self.collection {
            collection.raise(element_mark);
        }
        self.collection
            .take_if(|collection| collection.is_forgotten());
    }

    /// Drops the value of a key that expired, if it is a string.
    pub fn lapse(&mut self) {
        let at = self.expiry.and_then(|(_, at)| at);
        if let (Some((_, content @ Content::Text(..))), Some(at)) = (&mut self.register.last, at) {
            *content = Content::Dropped { at };
        }
    }

    /// Hides at most so many fields whose time is over. Returns how many.
    pub fn lapse_fields(&mut self, now_ms: u64, max: usize) -> usize {
        let collection = self.collection.as_mut();
        collection.map_or(0, |collection| collection.lapse(now_ms, max))
    }

    /// Forgets elements that were deleted at or before the horizon. Returns whether others remain.
    pub fn collect(&mut self, context: Context) -> bool {
        let Some(collection) = &mut self.collection else {
            return false;
        };
        collection.collect(context.horizon);
        let remain = collection.has_hidden();
        self.normalize(context);
        remain
    }

    /// Whether there are deleted elements.
    pub fn has_hidden_elements(&self) -> bool {
        let collection = self.collection.as_ref();
        collection.is_some_and(|collection| collection.has_hidden())
    }

    /// Sums of its items in digests.
    pub fn sums(&self, context: Context) -> Sums {
        let known = Known {
            mark: self.mark(context),
            kind: self.kind,
            register: &self.register,
            expiry: self.expiry,
            collection: self.collection.as_deref(),
        };
        known.sums(context)
    }
}
