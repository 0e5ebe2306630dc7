//! The container of a collection's elements: a hash table, one with an order of scores, or a sequence in order of the
//! elements' bytes.
//!
//! This is the seam for other containers: little else knows which one there is.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::views::Score;
use crate::effect::Kind;
use crate::store::containers::{Keyed, Scored, Sequence, SortedSet};
use crate::store::entry::Entry;
use crate::store::size_class::size_class;
use crate::store::table::Table;

/// See the module.
pub enum Elements {
    /// Hashes, sets.
    Table(Box<Table<Entry>>),
    /// Sorted sets.
    Sorted(Box<SortedSet<Entry>>),
    /// Lists, streams.
    Sequence(Box<Sequence<Entry>>),
}

/// Positions of lists and ids of streams are short enough to be a number.
impl Keyed for Entry {
    type Key = u128;

    fn key(&self) -> u128 {
        order_of(Entry::key(self))
    }
}

impl Scored for Entry {
    fn member(&self) -> &[u8] {
        self.key()
    }

    fn score(&self) -> f64 {
        Score::decode(self.value())
    }
}

/// The place of a position or id of at most 16 bytes in the order of the bytes.
pub fn order_of(element: &[u8]) -> u128 {
    debug_assert!(element.len() <= 16);
    let mut bytes = [0; 16];
    let length = element.len().min(16);
    bytes[..length].copy_from_slice(&element[..length]);
    u128::from_be_bytes(bytes)
}

/// The index of an element. Those of other kinds of collections are not there, though they may begin alike.
fn place_in(sequence: &Sequence<Entry>, element: &[u8]) -> Option<usize> {
    if element.len() > 16 {
        return None;
    }
    let index = sequence.search(order_of(element)).ok()?;
    let found = sequence.get(index);
    found
        .is_some_and(|entry| Entry::key(entry) == element)
        .then_some(index)
}

impl Elements {
    /// An empty one for a kind.
    pub fn new(kind: Kind, seed: u64) -> Self {
        match kind {
            Kind::List | Kind::Stream => Elements::Sequence(Box::default()),
            Kind::SortedSet => Elements::Sorted(Box::new(SortedSet::new(seed))),
            _ => Elements::Table(Box::new(Table::new(seed))),
        }
    }

    /// The sequence, if it is one.
    pub fn sequence(&self) -> Option<&Sequence<Entry>> {
        match self {
            Elements::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }

    /// The sorted set, if it is one.
    pub fn sorted(&self) -> Option<&SortedSet<Entry>> {
        match self {
            Elements::Sorted(sorted) => Some(sorted),
            _ => None,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::Table(table) => table.len(),
            Elements::Sorted(sorted) => sorted.len(),
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
            Elements::Sorted(sorted) => {
                sorted.find(xxh3_64_with_seed(element, sorted.seed()), element)
            }
            Elements::Sequence(sequence) => sequence.get(place_in(sequence, element)?),
        }
    }

    /// Changes the value of an element. `None` if it is not there.
    pub fn update<R>(&mut self, element: &[u8], change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        match self {
            Elements::Table(table) => {
                let hash = xxh3_64_with_seed(element, table.seed());
                table
                    .find_mut(hash, |entry| entry.key() == element)
                    .map(change)
            }
            Elements::Sorted(sorted) => {
                let hash = xxh3_64_with_seed(element, sorted.seed());
                sorted.update(hash, element, change)
            }
            Elements::Sequence(sequence) => {
                let index = place_in(sequence, element)?;
                sequence.get_mut(index).map(change)
            }
        }
    }

    /// Adds an element that is not there.
    pub fn insert(&mut self, entry: Entry) {
        match self {
            Elements::Table(table) => {
                let hash = xxh3_64_with_seed(entry.key(), table.seed());
                table.insert(hash, entry);
            }
            Elements::Sorted(sorted) => {
                let hash = xxh3_64_with_seed(entry.key(), sorted.seed());
                sorted.insert(hash, entry);
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
            Elements::Sorted(sorted) => {
                let hash = xxh3_64_with_seed(element, sorted.seed());
                sorted.remove(hash, element)
            }
            Elements::Sequence(sequence) => {
                let index = place_in(sequence, element)?;
                sequence.remove(index)
            }
        }
    }

    /// All elements; those of a sequence in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let (mut table, mut sorted, mut sequence) = (None, None, None);
        match self {
            Elements::Table(all) => table = Some(all.iter()),
            Elements::Sorted(all) => sorted = Some(all.iter()),
            Elements::Sequence(all) => sequence = Some(all.iter()),
        }
        let tables = table.into_iter().flatten();
        tables
            .chain(sorted.into_iter().flatten())
            .chain(sequence.into_iter().flatten())
    }

    /// All elements, taken out.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        let (mut table, mut sorted, mut sequence) = (None, None, None);
        match self {
            Elements::Table(all) => table = Some(all.into_elements()),
            Elements::Sorted(all) => sorted = Some(all.into_elements()),
            Elements::Sequence(all) => sequence = Some(all.into_elements()),
        }
        let tables = table.into_iter().flatten();
        tables
            .chain(sorted.into_iter().flatten())
            .chain(sequence.into_iter().flatten())
    }

    /// Walks a table in order of position; see `Table::scan`. A sequence has no such walk.
    pub fn scan(&self, from: u64, count: usize, visit: impl FnMut(&Entry)) -> Option<u64> {
        match self {
            Elements::Table(table) => table.scan(from, count, visit),
            Elements::Sorted(sorted) => sorted.scan(from, count, visit),
            Elements::Sequence(_) => None,
        }
    }

    /// Visits elements near a random point; see `Table::sample`. Nothing of a sequence.
    pub fn sample(&self, random: u64, count: usize, visit: impl FnMut(&Entry)) {
        match self {
            Elements::Table(table) => table.sample(random, count, visit),
            Elements::Sorted(sorted) => sorted.sample(random, count, visit),
            Elements::Sequence(_) => {}
        }
    }

    /// Memory of the container itself, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        match self {
            Elements::Table(table) => {
                size_class(size_of::<Table<Entry>>()) + table.allocated_bytes()
            }
            Elements::Sorted(sorted) => {
                size_class(size_of::<SortedSet<Entry>>()) + sorted.allocated_bytes()
            }
            Elements::Sequence(sequence) => {
                size_class(size_of::<Sequence<Entry>>()) + sequence.allocated_bytes()
            }
        }
    }
}
