//! What a replicated hash knows beyond its fields' values: their stamps, counters, and deleted fields.
//!
//! Each field is a [`Register`] of its own. A field that clients see is in the hash's own table, one that they
//! do not (deleted, or a counter that waits for its base) in the history's; an entry without metadata is a
//! plain value in the first and a deletion in the second.

use coterie_protocol::{Stamp, Version};

use super::Merged;
use super::digest::{Item, Sums, name_of_field, plain_item};
use super::entry::{Entry, Parts};
use super::hash::HashValue;
use super::metadata::Metadata;
use super::register::{Content, Register};
use super::size_class::size_class;
use super::table::Table;
use crate::effect::{Effect, StringEncoding, encode_stamp};

/// See the module.
pub(super) struct History {
    hidden: Table<Entry>,
    hidden_bytes: usize,
    sums: Sums,
    /// Everything at or below is gone.
    pub mark: Stamp,
    /// The latest write to any field; zero if there was none.
    pub written: Stamp,
}

impl History {
    pub fn new(seed: u64) -> Self {
        History {
            hidden: Table::new(seed),
            hidden_bytes: 0,
            sums: Sums::default(),
            mark: Stamp::ZERO,
            written: Stamp::ZERO,
        }
    }

    pub fn allocated_bytes(&self) -> usize {
        size_class(size_of::<History>()) + self.hidden.allocated_bytes() + self.hidden_bytes
    }

    pub fn duplicate(&self) -> Self {
        let mut copy = History {
            hidden: Table::new(self.hidden.seed()),
            ..*self
        };
        for entry in self.hidden.iter() {
            let hash = xxhash_rust::xxh3::xxh3_64_with_seed(entry.key(), self.hidden.seed());
            copy.hidden.insert(hash, entry.duplicate());
        }
        copy
    }
}

/// The register of a field's entry.
fn register_of(mut entry: Entry, is_hidden: bool) -> Register {
    match entry.take_metadata() {
        Some(metadata) => metadata.register.hide(entry),
        None if is_hidden => Register {
            last: Some((entry.stamp(), Content::Tombstone)),
            parts: Vec::new(),
        },
        None => {
            let (stamp, encoding) = (entry.stamp(), entry.encoding());
            Register::of_text(stamp, entry.into_text(), encoding)
        }
    }
}

/// The entry of a field's register, and whether clients see it.
fn entry_of(field: &[u8], register: Register, mark: Stamp) -> (Entry, bool) {
    let stamp = register.highest();
    let (shown, rest) = register.show(mark);
    let is_plain = rest.parts.is_empty()
        && matches!(rest.last, Some((_, Content::Shown | Content::Tombstone)));
    let metadata = (!is_plain).then(|| {
        Box::new(Metadata {
            register: rest,
            ..Metadata::default()
        })
    });
    let is_seen = shown.is_some();
    let (text, encoding) = shown.unwrap_or((Vec::new(), StringEncoding::Raw));
    let parts = Parts {
        key: field,
        value: &[],
        encoding,
        expire_at: None,
        version: stamp.version,
        actor: stamp.actor,
        access: 0,
    };
    (Entry::with_text(&parts, text, metadata), is_seen)
}

impl HashValue {
    /// Lets a hash that had none begin its history, with all fields written at this stamp.
    pub(super) fn begin_history(&mut self, stamp: Stamp) {
        let seed = self.fields.seed();
        let mut history = History::new(seed);
        history.written = stamp;
        let fields = std::mem::replace(&mut self.fields, Table::new(seed));
        self.entry_bytes = 0;
        for mut entry in fields.into_elements() {
            entry.set_stamp(stamp);
            let item = plain_item(Item::Register, name_of_field(entry.key()), stamp);
            history.sums.add_to(true, item);
            self.insert(self.hash_of(entry.key()), entry);
        }
        self.history = Some(Box::new(history));
    }

    /// Forgets the history: what remains is what clients see.
    pub(super) fn end_history(&mut self) {
        self.history = None;
        let seed = self.fields.seed();
        let fields = std::mem::replace(&mut self.fields, Table::new(seed));
        self.entry_bytes = 0;
        for entry in fields.into_elements() {
            self.set(entry.key(), entry.value());
        }
    }

    fn history_mut(&mut self) -> &mut History {
        let seed = self.fields.seed();
        self.history
            .get_or_insert_with(|| Box::new(History::new(seed)))
    }

    /// Sums of its items in digests.
    pub(super) fn sums(&self) -> Sums {
        self.history
            .as_ref()
            .map_or(Sums::default(), |history| history.sums)
    }

    /// Whether there is neither a field nor a deleted one.
    pub(super) fn is_forgotten(&self) -> bool {
        let hidden = self.history.as_ref();
        self.is_empty() && hidden.is_none_or(|history| history.hidden.is_empty())
    }

    /// Whether there are deleted fields.
    pub(super) fn has_hidden(&self) -> bool {
        let hidden = self.history.as_ref();
        hidden.is_some_and(|history| !history.hidden.is_empty())
    }

    /// Whether anything is known of a field.
    pub(super) fn knows(&self, field: &[u8]) -> bool {
        self.find(field).is_some() || self.find_hidden(field).is_some()
    }

    fn find_hidden(&self, field: &[u8]) -> Option<&Entry> {
        let hidden = &self.history.as_ref()?.hidden;
        hidden.find(self.hash_of(field), |entry| entry.key() == field)
    }

    /// Stamp of a field's value that clients see.
    pub(super) fn stamp_of(&self, field: &[u8]) -> Option<Stamp> {
        self.find(field).map(Entry::stamp)
    }

    fn take(&mut self, field: &[u8], hash: u64) -> Register {
        if let Some(entry) = self.fields.remove(hash, |entry| entry.key() == field) {
            self.entry_bytes -= entry.allocated_bytes();
            return register_of(entry, false);
        }
        let history = self.history_mut();
        match history.hidden.remove(hash, |entry| entry.key() == field) {
            Some(entry) => {
                history.hidden_bytes -= entry.allocated_bytes();
                register_of(entry, true)
            }
            None => Register::default(),
        }
    }

    /// Changes what is known of a field.
    pub(super) fn merge(
        &mut self,
        field: &[u8],
        change: impl FnOnce(&mut Register, Stamp) -> Merged,
    ) -> Merged {
        let (hash, name) = (self.hash_of(field), name_of_field(field));
        let mut register = self.take(field, hash);
        let history = self.history_mut();
        let mark = history.mark;
        history.sums.subtract(register.sums(name, mark));
        let merged = change(&mut register, mark);
        register.raise(mark);
        history.sums.add(register.sums(name, mark));
        self.put_back(field, hash, register, mark);
        merged
    }

    fn put_back(&mut self, field: &[u8], hash: u64, register: Register, mark: Stamp) {
        if register.is_empty() {
            return;
        }
        let (entry, is_seen) = entry_of(field, register, mark);
        if is_seen {
            self.note_length(field.len().max(entry.value().len()));
            self.insert(hash, entry);
        } else {
            let history = self.history_mut();
            history.hidden_bytes += entry.allocated_bytes();
            history.hidden.insert(hash, entry);
        }
    }

    /// Forgets what is at or below a mark.
    pub(super) fn raise(&mut self, mark: Stamp) {
        if self.history_mut().mark >= mark {
            return;
        }
        let seed = self.fields.seed();
        let mut history = History::new(seed);
        history.mark = mark;
        let old = self.history.replace(Box::new(history));
        let fields = std::mem::replace(&mut self.fields, Table::new(seed));
        self.entry_bytes = 0;
        let hidden = old.into_iter().flat_map(|old| {
            let History {
                hidden, written, ..
            } = *old;
            // The latest write stays known as long as it is above the mark.
            let written = if written > mark { written } else { Stamp::ZERO };
            self.history_mut().written = written;
            hidden.into_elements().collect::<Vec<_>>()
        });
        let hidden: Vec<_> = hidden.map(|entry| (entry, true)).collect();
        let fields = fields.into_elements().map(|entry| (entry, false));
        for (entry, is_hidden) in fields.chain(hidden) {
            let field = entry.key().to_vec();
            let mut register = register_of(entry, is_hidden);
            register.raise(mark);
            let sums = register.sums(name_of_field(&field), mark);
            self.history_mut().sums.add(sums);
            self.put_back(&field, self.hash_of(&field), register, mark);
        }
    }

    /// Forgets fields that were deleted at or before a version.
    pub(super) fn collect(&mut self, horizon: Version) {
        let Some(history) = &mut self.history else {
            return;
        };
        let seed = history.hidden.seed();
        let hidden = std::mem::replace(&mut history.hidden, Table::new(seed));
        history.hidden_bytes = 0;
        let mark = history.mark;
        for entry in hidden.into_elements() {
            if entry.version() <= horizon {
                let name = name_of_field(entry.key());
                let sums = register_of(entry, true).sums(name, mark);
                history.sums.subtract(sums);
            } else {
                let hash = xxhash_rust::xxh3::xxh3_64_with_seed(entry.key(), seed);
                history.hidden_bytes += entry.allocated_bytes();
                history.hidden.insert(hash, entry);
            }
        }
    }

    /// A copy of what is known of a field.
    pub(super) fn register(&self, field: &[u8]) -> Register {
        let found = self.find(field).map(|entry| (entry, false));
        match found.or_else(|| Some((self.find_hidden(field)?, true))) {
            Some((entry, is_hidden)) => register_of(entry.duplicate(), is_hidden),
            None => Register::default(),
        }
    }

    /// Appends the stamped effects that make its fields.
    pub(super) fn encode_state(&self, key: &[u8], out: &mut Vec<u8>) {
        let Some(history) = &self.history else {
            return;
        };
        let fields = self.fields.iter().map(|entry| (entry, false));
        for (entry, is_hidden) in fields.chain(history.hidden.iter().map(|entry| (entry, true))) {
            let field = entry.key();
            match entry.metadata() {
                Some(metadata) => {
                    let register = &metadata.register;
                    if let Some((stamp, content)) = &register.last {
                        let value = match content {
                            Content::Text(text, _) => Some(&text[..]),
                            Content::Shown => Some(entry.value()),
                            Content::Tombstone | Content::Dropped { .. } => None,
                        };
                        encode_field(key, field, value, *stamp, out);
                    }
                    for part in &register.parts {
                        encode_stamp(part.stamp, out);
                        let (base, total) = (part.base, part.total);
                        Effect::HashCount {
                            key,
                            field,
                            base,
                            total,
                            delta: 0,
                        }
                        .encode(out);
                    }
                }
                None => {
                    let value = (!is_hidden).then(|| entry.value());
                    encode_field(key, field, value, entry.stamp(), out);
                }
            }
        }
    }
}

fn encode_field(key: &[u8], field: &[u8], value: Option<&[u8]>, stamp: Stamp, out: &mut Vec<u8>) {
    encode_stamp(stamp, out);
    match value {
        Some(value) => Effect::HashSet { key, field, value }.encode(out),
        None => Effect::HashDelete { key, field }.encode(out),
    }
}
