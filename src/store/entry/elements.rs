//! Entries that are collections, in either form.

use super::{Entry, Parts, Tail};
use crate::effect::{Effect, Kind, StringEncoding};
use crate::store::collection::{
    Collection, Form, HashView, ListView, SetView, Small, SortedSetView, StreamView, can_be_small,
};

/// The effect that sets an element, which may be a field that expires.
pub fn element_effect<'a>(
    kind: Kind,
    key: &'a [u8],
    (element, value, at): (&'a [u8], &'a [u8], Option<u64>),
) -> Effect<'a> {
    match at {
        Some(at) => Effect::FieldUntil {
            key,
            field: element,
            value,
            at,
        },
        None => Effect::ElementSet {
            kind,
            key,
            element,
            value,
        },
    }
}

impl Entry {
    /// Allocates an entry with an empty collection; the value of the parts is not used.
    pub(in crate::store) fn with_nothing(parts: &Parts<'_>, kind: Kind, seed: u64) -> Self {
        if can_be_small(kind) {
            Self::build(parts, Tail::Packed(&Small::empty(kind)), None)
        } else {
            Self::with_collection(parts, Box::new(Collection::new(kind, seed)), None)
        }
    }

    /// Allocates an entry with a collection of a database that is not replicated, packed if it is small.
    pub(in crate::store) fn with_packed(parts: &Parts<'_>, collection: Box<Collection>) -> Self {
        match Small::pack(&collection) {
            Some(bytes) => Self::build(parts, Tail::Packed(&bytes), None),
            None => Self::with_collection(parts, collection, None),
        }
    }

    /// Makes a collection an object of its own.
    pub(in crate::store) fn unpack(&mut self, seed: u64) {
        if let Some(small) = self.small() {
            let collection = Box::new(small.unpack(seed));
            self.rebuild(
                StringEncoding::Raw,
                self.expire_at(),
                Some(Tail::Collection(collection)),
            );
        }
    }

    /// Puts another packed collection in the place of the one that stands inline.
    fn replace_packed(&mut self, bytes: &[u8]) {
        let fields = self.fields();
        if self.inline_length(&fields) == bytes.len() {
            self.write(fields.value_at(), bytes);
        } else {
            *self = Self::build(&self.parts(), Tail::Packed(bytes), None);
        }
    }

    /// Sets an element of a collection, in a database that is not replicated; who does accounts for the memory.
    pub(in crate::store) fn set_element(&mut self, element: &[u8], value: &[u8], seed: u64) {
        if let Some(small) = self.small() {
            if let Some(bytes) = small.with(element, value) {
                return self.replace_packed(&bytes);
            }
            self.unpack(seed);
        }
        if let Some(collection) = self.collection_mut() {
            collection.set(element, value);
        }
    }

    /// Sets a field of a hash that expires, in a database that is not replicated.
    pub(in crate::store) fn set_field(&mut self, field: &[u8], value: &[u8], at: u64, seed: u64) {
        self.unpack(seed);
        if let Some(collection) = self.collection_mut() {
            collection.set_until(field, value, Some(at));
        }
    }

    /// Whether it is a hash that has fields which expire.
    pub(in crate::store) fn has_expiries(&self) -> bool {
        self.collection().is_some_and(Collection::expires)
    }

    /// Whether it is a hash of which a field's time is over.
    pub(in crate::store) fn has_lapsed(&self, now_ms: u64) -> bool {
        let collection = self.collection();
        collection.is_some_and(|collection| collection.has_lapsed(now_ms))
    }

    /// Whether it is a hash of which every field's time is over.
    pub fn is_lapsed(&self, now_ms: u64) -> bool {
        let collection = self.collection();
        collection.is_some_and(|collection| collection.is_lapsed(now_ms))
    }

    /// Removes an element of a collection, in a database that is not replicated.
    pub(in crate::store) fn remove_element(&mut self, element: &[u8]) {
        if let Some(bytes) = self.small().map(|small| small.without(element)) {
            bytes.iter().for_each(|bytes| self.replace_packed(bytes));
        } else if let Some(collection) = self.collection_mut() {
            collection.remove(element);
        }
    }

    /// Whether it is a collection of which clients see nothing.
    pub(in crate::store) fn is_empty_collection(&self) -> bool {
        match self.form() {
            Some(Form::Small(small)) => small.len() == 0,
            Some(Form::Object(collection)) => collection.is_empty(),
            None => false,
        }
    }

    /// Appends the effects that make it, but for version and access.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let key = self.key();
        let Some(form) = self.form() else {
            let put = Effect::Put {
                key,
                value: self.value(),
                encoding: self.encoding(),
                expire_at: self.expire_at(),
            };
            return put.encode(out);
        };
        let kind = form.kind();
        for (element, value, at) in self.elements_until() {
            element_effect(kind, key, (element, value, at)).encode(out);
        }
        for (name, value) in self.attributes() {
            Effect::AttributeSet { key, name, value }.encode(out);
        }
        if let at @ Some(_) = self.expire_at() {
            Effect::ExpireAt { key, at }.encode(out);
        }
    }

    /// What type the value is of.
    pub fn kind(&self) -> Kind {
        self.form().map_or(Kind::String, Form::kind)
    }

    /// The hash, if it is one.
    pub fn hash(&self) -> Option<HashView<'_>> {
        self.form_of(Kind::Hash).map(HashView)
    }

    /// The set, if it is one.
    pub fn set(&self) -> Option<SetView<'_>> {
        self.form_of(Kind::Set).map(SetView)
    }

    /// The sorted set, if it is one.
    pub fn sorted_set(&self) -> Option<SortedSetView<'_>> {
        self.form_of(Kind::SortedSet).map(SortedSetView)
    }

    /// The list, if it is one.
    pub fn list(&self) -> Option<ListView<'_>> {
        self.form_of(Kind::List).map(ListView)
    }

    /// The stream, if it is one.
    pub fn stream(&self) -> Option<StreamView<'_>> {
        let object = self.form_of(Kind::Stream)?.object();
        object.map(StreamView)
    }

    /// Where its value is, for `DEBUG OBJECT`.
    pub fn address(&self) -> *const u8 {
        match self.collection() {
            Some(collection) => std::ptr::from_ref(collection).cast(),
            None if self.is_packed() => self.inline().as_ptr(),
            None => self.value().as_ptr(),
        }
    }

    /// Elements of any collection, as effects name them, with their values; nothing for a string.
    pub fn elements(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.form().into_iter().flat_map(Form::iter)
    }

    /// The same, and when a field of a hash expires.
    pub fn elements_until(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<u64>)> {
        let small = self.small().into_iter().flat_map(Small::iter);
        let object = self.collection().into_iter();
        let small = small.map(|(element, value)| (element, value, None));
        small.chain(object.flat_map(Collection::iter_until))
    }

    /// Attributes of a stream, as effects name them, with their values; nothing for anything else.
    pub fn attributes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let collection = self.collection().into_iter();
        collection.flat_map(Collection::iter_attributes)
    }

    fn form_of(&self, kind: Kind) -> Option<Form<'_>> {
        self.form().filter(|form| form.kind() == kind)
    }

    /// What it holds, if that is no string.
    fn form(&self) -> Option<Form<'_>> {
        let small = self.small().map(Form::Small);
        small.or_else(|| self.collection().map(Form::Object))
    }
}
