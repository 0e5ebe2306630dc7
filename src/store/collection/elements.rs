//! The container of a collection's elements: a hash table, or a sequence in order of the elements' bytes.
//!
//! This is the seam for other containers: nothing else knows which one there is.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sequence::Sequence;
use crate::effect::Kind;
use crate::store::entry::Entry;
use crate::store::size_class::size_class;
use crate::store::table::Table;

/// See the module.
pub enum Elements {
    /// Hashes, sets, sorted sets.
    Table(Box<Table<Entry>>),
    /// Lists, streams.
    Sequence(Box<Sequence>),
}

impl Elements {
    /// An empty one for a kind.
    pub fn new(kind: Kind, seed: u64) -> Self {
        match kind {
            Kind::List | Kind::Stream => Elements::Sequence(Box::new(Sequence::new(seed))),
            _ => Elements::Table(Box::new(Table::new(seed))),
        }
    }

    /// Seed of hash tables.
    pub fn seed(&self) -> u64 {
        match self {
            Elements::Table(table) => table.seed(),
            Elements::Sequence(sequence) => sequence.seed(),
        }
    }

    /// The table, if it is one.
    pub fn table(&self) -> Option<&Table<Entry>> {
        match self {
            Elements::Table(table) => Some(table),
            Elements::Sequence(_) => None,
        }
    }

    /// The sequence, if it is one.
    pub fn sequence(&self) -> Option<&Sequence> {
        match self {
            Elements::Table(_) => None,
            Elements::Sequence(sequence) => Some(sequence),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::Table(table) => table.len(),
            Elements::Sequence(sequence) => sequence.len(),
        }
    }

    /// The entry of an element.
    pub fn find(&self, element: &[u8]) -> Option<&Entry> {
        match self {
            Elements::Table(table) => {
                let hash = xxh3_64_with_seed(element, table.seed());
                table.find(hash, |entry| entry.key() == element)
            }
            Elements::Sequence(sequence) => sequence.get(sequence.find(element).ok()?),
        }
    }

    /// The same, to change its value.
    pub fn find_mut(&mut self, element: &[u8]) -> Option<&mut Entry> {
        match self {
            Elements::Table(table) => {
                let hash = xxh3_64_with_seed(element, table.seed());
                table.find_mut(hash, |entry| entry.key() == element)
            }
            Elements::Sequence(sequence) => sequence.find_mut(element),
        }
    }

    /// Adds an element that is not there.
    pub fn insert(&mut self, entry: Entry) {
        match self {
            Elements::Table(table) => {
                let hash = xxh3_64_with_seed(entry.key(), table.seed());
                table.insert(hash, entry);
            }
            Elements::Sequence(sequence) => sequence.insert(entry),
        }
    }

    /// Takes an element out.
    pub fn remove(&mut self, element: &[u8]) -> Option<Entry> {
        match self {
            Elements::Table(table) => {
                let hash = xxh3_64_with_seed(element, table.seed());
                table.remove(hash, |entry| entry.key() == element)
            }
            Elements::Sequence(sequence) => sequence.remove(element),
        }
    }

    /// All elements; those of a sequence in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let table = self.table().into_iter().flat_map(|table| table.iter());
        let sequence = self.sequence().into_iter();
        table.chain(sequence.flat_map(|sequence| sequence.range(0..sequence.len())))
    }

    /// All elements, taken out.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        let (table, sequence) = match self {
            Elements::Table(table) => (Some(table), None),
            Elements::Sequence(sequence) => (None, Some(sequence)),
        };
        let table = table.into_iter().flat_map(|table| table.into_elements());
        let sequence = sequence.into_iter();
        table.chain(sequence.flat_map(|sequence| sequence.into_entries()))
    }

    /// Memory of the container itself, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        match self {
            Elements::Table(table) => {
                size_class(size_of::<Table<Entry>>()) + table.allocated_bytes()
            }
            Elements::Sequence(sequence) => {
                size_class(size_of::<Sequence>()) + sequence.allocated_bytes()
            }
        }
    }
}
