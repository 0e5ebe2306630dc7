//! A hash: fields and their values.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::entry::{Entry, Parts};
use super::hash_history::History;
use super::size_class::size_class;
use super::table::Table;
use crate::effect::StringEncoding;
use coterie_protocol::{Actor, Version};

/// The value of a key that is a hash. Every field is an [`Entry`] of its own, in a table as that of the keys:
/// it is found, walked, sampled and accounted for in the same way.
pub struct HashValue {
    pub(super) fields: Table<Entry>,
    pub(super) entry_bytes: usize,
    /// Most fields there ever were, and the longest field or value: they decide what `OBJECT ENCODING` says.
    peak_len: u32,
    longest_bytes: u32,
    /// In a replicated database.
    pub(super) history: Option<Box<History>>,
}

impl HashValue {
    /// An empty one; a key never holds such a hash. The seed decides the order of fields.
    pub(super) fn new(seed: u64) -> Self {
        HashValue {
            fields: Table::new(seed),
            entry_bytes: 0,
            peak_len: 0,
            longest_bytes: 0,
            history: None,
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Most fields there ever were since it was made or loaded.
    pub fn peak_len(&self) -> usize {
        self.peak_len as usize
    }

    /// Length of the longest field or value there ever was since it was made or loaded, in bytes.
    pub fn longest_bytes(&self) -> usize {
        self.longest_bytes as usize
    }

    pub(super) fn hash_of(&self, field: &[u8]) -> u64 {
        xxh3_64_with_seed(field, self.fields.seed())
    }

    pub(super) fn find(&self, field: &[u8]) -> Option<&Entry> {
        self.fields
            .find(self.hash_of(field), |entry| entry.key() == field)
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.find(field).map(Entry::value)
    }

    /// Fields and their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|entry| (entry.key(), entry.value()))
    }

    /// Visits fields in order of position from a cursor on (0 at first), until `count` were visited and
    /// every field at the last position too. Returns the cursor to go on with; `None` at the end. A field
    /// that is there during a whole walk is visited exactly once.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Option<u64> {
        self.fields
            .scan(cursor, count, |entry| visit(entry.key(), entry.value()))
    }

    /// Visits up to `count` fields near a random point; at least one if there is any.
    pub fn sample(&self, random: u64, count: usize, mut visit: impl FnMut(&[u8], &[u8])) {
        self.fields
            .sample(random, count, |entry| visit(entry.key(), entry.value()));
    }

    /// Memory of the hash with all that it holds, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        let history = self.history.as_ref();
        size_class(size_of::<HashValue>())
            + self.fields.allocated_bytes()
            + self.entry_bytes
            + history.map_or(0, |history| history.allocated_bytes())
    }

    /// Sets a field.
    pub(super) fn set(&mut self, field: &[u8], value: &[u8]) {
        let hash = self.hash_of(field);
        self.note_length(field.len().max(value.len()));
        if let Some(entry) = self.fields.find_mut(hash, |entry| entry.key() == field) {
            self.entry_bytes -= entry.allocated_bytes();
            entry.replace(value, StringEncoding::Raw, None);
            self.entry_bytes += entry.allocated_bytes();
            return;
        }
        let entry = Entry::new(&Parts {
            key: field,
            value,
            encoding: StringEncoding::Raw,
            expire_at: None,
            version: Version::ZERO,
            actor: Actor::default(),
            access: 0,
        });
        self.insert(hash, entry);
    }

    pub(super) fn insert(&mut self, hash: u64, entry: Entry) {
        self.entry_bytes += entry.allocated_bytes();
        self.fields.insert(hash, entry);
        self.peak_len = self.peak_len.max(self.fields.len() as u32);
    }

    pub(super) fn note_length(&mut self, bytes: usize) {
        self.longest_bytes = self.longest_bytes.max(bytes as u32);
    }

    /// Removes a field.
    pub(super) fn remove(&mut self, field: &[u8]) {
        let hash = self.hash_of(field);
        if let Some(entry) = self.fields.remove(hash, |entry| entry.key() == field) {
            self.entry_bytes -= entry.allocated_bytes();
        }
    }

    /// A copy, field by field.
    pub(super) fn duplicate(&self) -> Self {
        let mut copy = HashValue::new(self.fields.seed());
        for entry in self.fields.iter() {
            copy.insert(self.hash_of(entry.key()), entry.duplicate());
        }
        copy.peak_len = self.peak_len;
        copy.longest_bytes = self.longest_bytes;
        copy.history = self
            .history
            .as_ref()
            .map(|history| Box::new(history.duplicate()));
        copy
    }
}
