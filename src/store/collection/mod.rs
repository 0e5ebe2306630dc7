//! The value of a key that is a hash, a set, a sorted set, a list or a stream.
//!
//! All are the same mechanism: elements with values, each an [`Entry`] of its own, in a container that suits the
//! kind; beside that an index where the kind has an order of its own, and in a replicated database a history. Commands
//! read a collection through the views of its kind.

mod elements;
mod expiry;
mod form;
mod groups;
mod history;
mod list;
mod small;
mod stream;
mod views;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{Actor, Version};

use self::elements::{Elements, order_of};
use self::expiry::Expiries;
use self::groups::Groups;
use self::history::History;
pub(super) use self::history::Trims;
use super::entry::{Entry, Parts};
use super::register::Register;
use super::size_class::size_class;
use crate::effect::{Kind, StringEncoding};

pub(super) use form::Form;
pub use groups::{Consumer, Group, Pending};
pub use list::{ListChange, ListView, Position, insert_changes};
pub(super) use small::{Small, can_be_small};
pub use stream::{
    Attribute, ConsumerState, GroupState, PendingState, StreamId, StreamMark, StreamView,
    decode_fields, encode_fields,
};
pub use views::{HashView, Score, SetView, SortedSetView};

/// See the module.
pub(super) struct Collection {
    kind: Kind,
    elements: Elements,
    /// Memory of the elements, without their container.
    element_bytes: usize,
    extent: Extent,
    seed: u64,
    /// Of a hash that has fields which expire: when.
    expiries: Option<Box<Expiries>>,
    /// Of attributes: what they tell of the groups.
    groups: Option<Box<Groups>>,
    /// What a stream has besides its entries: a hash of attributes.
    attributes: Option<Box<Collection>>,
    /// In a replicated database.
    pub(super) history: Option<Box<History>>,
}

/// What a collection has grown to since it was made or loaded: it decides what `OBJECT ENCODING` says.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    /// Most elements there ever were.
    pub peak_len: u32,
    /// The longest element or value of a hash, or element of another kind, in bytes.
    pub longest_bytes: u32,
    /// Whether a set ever had a member that is no integer.
    pub has_text: bool,
}

impl Extent {
    /// Counts in an element.
    fn note(&mut self, kind: Kind, element: &[u8], value: &[u8]) {
        let bytes = match kind {
            Kind::Hash => element.len().max(value.len()),
            _ => element.len(),
        };
        self.longest_bytes = self.longest_bytes.max(bytes as u32);
        if kind == Kind::Set && !self.has_text {
            self.has_text = element.len() > 20 || parse_i64(element).is_none();
        }
    }
}

impl Collection {
    /// An empty one. The seed decides the order of elements in hash tables.
    pub fn new(kind: Kind, seed: u64) -> Self {
        Collection {
            kind,
            elements: Elements::new(kind, seed),
            element_bytes: 0,
            extent: Extent::default(),
            seed,
            expiries: None,
            groups: None,
            attributes: None,
            history: None,
        }
    }

    /// The attributes of a stream.
    fn of_attributes(seed: u64) -> Self {
        Collection {
            groups: Some(Box::default()),
            ..Collection::new(Kind::Hash, seed)
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of elements that clients see.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether clients see nothing of it, so that the key is absent. Only a stream may be there without elements.
    pub fn is_empty(&self) -> bool {
        let attributes = self.attributes.as_ref();
        self.elements.len() == 0 && attributes.is_none_or(|attributes| attributes.is_empty())
    }

    /// About how many allocations it consists of.
    pub fn allocations(&self) -> usize {
        let attributes = self.attributes.as_ref();
        self.len() + attributes.map_or(0, |attributes| attributes.len())
    }

    /// See [`Extent`].
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The value of an element that clients see.
    pub fn get(&self, element: &[u8]) -> Option<&[u8]> {
        self.elements.find(element).map(Entry::value)
    }

    /// Elements with their values: of lists and streams in order, of others in none.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let elements = self.elements.iter();
        elements.map(|entry| (entry.key(), entry.value()))
    }

    /// Attributes of a stream with their values, in no order.
    pub fn iter_attributes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let attributes = self.attributes.iter();
        attributes.flat_map(|attributes| {
            let elements = attributes.elements.iter();
            elements.map(|entry| (entry.key(), entry.value()))
        })
    }

    /// Memory of it and all that it holds, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        let (groups, history) = (self.groups.as_ref(), self.history.as_ref());
        let attributes = self.attributes.as_ref();
        size_class(size_of::<Collection>())
            + self.elements.allocated_bytes()
            + self.element_bytes
            + self.expiry_bytes()
            + groups.map_or(0, |groups| {
                size_class(size_of::<Groups>()) + groups.allocated_bytes()
            })
            + attributes.map_or(0, |attributes| attributes.allocated_bytes())
            + history.map_or(0, |history| history.allocated_bytes())
    }

    /// Sets an element, in a database that is not replicated.
    pub fn set(&mut self, element: &[u8], value: &[u8]) {
        self.set_until(element, value, None);
    }

    /// The same of a field that expires, or does not.
    pub fn set_until(&mut self, element: &[u8], value: &[u8], expire_at: Option<u64>) {
        self.note(element, value);
        let replaced = self.elements.update(element, |entry| {
            let before = (entry.allocated_bytes(), entry.expire_at());
            entry.replace(value, StringEncoding::Raw, expire_at);
            (before, entry.allocated_bytes())
        });
        if let Some(((before, expired_at), after)) = replaced {
            self.element_bytes = self.element_bytes - before + after;
            self.forget_expiry(element, expired_at);
            self.note_expiry(element, expire_at);
            if let Some(groups) = &mut self.groups {
                groups.remove(element);
                groups.set(element, value);
            }
            return;
        }
        let entry = Entry::new(&Parts {
            key: element,
            value,
            encoding: StringEncoding::Raw,
            expire_at,
            version: Version::ZERO,
            actor: Actor::default(),
            access: 0,
        });
        self.insert(entry);
    }

    /// Removes an element, in a database that is not replicated.
    pub fn remove(&mut self, element: &[u8]) {
        self.take_entry(element);
    }

    /// Sets an attribute, in a database that is not replicated.
    pub fn set_attribute(&mut self, name: &[u8], value: &[u8]) {
        self.attributes_mut().set(name, value);
    }

    /// Removes an attribute, in a database that is not replicated.
    pub fn remove_attribute(&mut self, name: &[u8]) {
        if let Some(attributes) = &mut self.attributes {
            attributes.remove(name);
        }
    }

    /// Removes elements below this one, in a database that is not replicated.
    pub fn remove_below(&mut self, below: &[u8]) {
        if let Elements::Sequence(sequence) = &mut self.elements {
            let count = sequence.first_at(order_of(below));
            let bytes = sequence
                .drain_first(count)
                .map(|entry| entry.allocated_bytes());
            self.element_bytes -= bytes.sum::<usize>();
        }
    }

    fn attributes_mut(&mut self) -> &mut Collection {
        let seed = self.seed;
        let make = || Box::new(Collection::of_attributes(seed));
        self.attributes.get_or_insert_with(make)
    }

    fn note(&mut self, element: &[u8], value: &[u8]) {
        self.extent.note(self.kind, element, value);
    }

    /// Adds an element that is not there.
    fn insert(&mut self, entry: Entry) {
        self.element_bytes += entry.allocated_bytes();
        self.note(entry.key(), entry.value());
        self.note_expiry(entry.key(), entry.expire_at());
        if let Some(groups) = &mut self.groups {
            groups.set(entry.key(), entry.value());
        }
        self.elements.insert(entry);
        self.extent.peak_len = self.extent.peak_len.max(self.elements.len() as u32);
    }

    /// Takes an element out.
    fn take_entry(&mut self, element: &[u8]) -> Option<Entry> {
        let entry = self.elements.remove(element)?;
        self.element_bytes -= entry.allocated_bytes();
        self.forget_expiry(element, entry.expire_at());
        if let Some(groups) = &mut self.groups {
            groups.remove(element);
        }
        Some(entry)
    }

    /// Takes all elements out.
    fn take_entries(&mut self) -> impl Iterator<Item = Entry> + use<> {
        self.element_bytes = 0;
        self.expiries = None;
        self.groups = self.groups.as_ref().map(|_| Box::default());
        let empty = Elements::new(self.kind, self.seed);
        std::mem::replace(&mut self.elements, empty).into_entries()
    }

    /// A copy, element by element.
    pub fn duplicate(&self) -> Self {
        let mut copy = Collection::new(self.kind, self.seed);
        copy.groups = self.groups.as_ref().map(|_| Box::default());
        for entry in self.elements.iter() {
            copy.insert(entry.duplicate());
        }
        copy.extent = self.extent;
        let attributes = self.attributes.as_ref();
        copy.attributes = attributes.map(|attributes| Box::new(attributes.duplicate()));
        let history = self.history.as_ref();
        copy.history = history.map(|history| Box::new(history.duplicate()));
        copy
    }

    /// Puts back what was known of an element, and how far the collection had grown.
    pub fn put_back(&mut self, element: &[u8], register: Register, extent: Extent) {
        if self.history.is_some() {
            self.replace_register(element, register);
        } else {
            self.take_entry(element);
            if let Some(entry) = history::plain_entry_of(element, register) {
                self.insert(entry);
            }
        }
        self.extent = extent;
    }

    /// Puts back what was known of an attribute.
    pub fn put_attribute_back(&mut self, name: &[u8], register: Register) {
        let attributes = self.attributes_mut();
        let extent = attributes.extent;
        attributes.put_back(name, register, extent);
    }
}
