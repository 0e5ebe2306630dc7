//! Entries in order of their keys, found by key or by index, and quick at both ends.

use std::collections::VecDeque;
use std::ops::Range;

use crate::store::entry::Entry;
use crate::store::size_class::size_class;

/// See the module.
pub struct Sequence {
    entries: VecDeque<Entry>,
    seed: u64,
}

impl Sequence {
    /// An empty one; the seed is kept for whoever needs it.
    pub fn new(seed: u64) -> Self {
        let entries = VecDeque::new();
        Sequence { entries, seed }
    }

    /// What it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The index of a key, or else where it belongs.
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        match self.entries.back() {
            Some(last) if last.key() < key => Err(self.len()),
            Some(last) if last.key() == key => Ok(self.len() - 1),
            _ => self.entries.binary_search_by(|entry| entry.key().cmp(key)),
        }
    }

    /// The entry at an index.
    pub fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// The entry of a key, to change its value.
    pub fn find_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let index = self.find(key).ok()?;
        self.entries.get_mut(index)
    }

    /// Adds an entry whose key is not there.
    pub fn insert(&mut self, entry: Entry) {
        match self.find(entry.key()) {
            Err(index) => self.entries.insert(index, entry),
            Ok(_) => debug_assert!(false, "it is there"),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let index = self.find(key).ok()?;
        let entry = self.entries.remove(index);
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        entry
    }

    /// The entries of a range of indices, which must be within bounds.
    pub fn range(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(range)
    }

    /// All entries, in order.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }

    /// Memory of the container itself, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        size_class(self.entries.capacity() * size_of::<Entry>())
    }
}
