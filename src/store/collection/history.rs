//! What a replicated collection knows beyond its elements' values: their stamps, counters, and deleted elements.
//!
//! Each element is a [`Register`] of its own. One that clients see is in the collection's own container, one that they
//! do not (deleted, or a counter that waits for its base) in the history's table; an entry without metadata is a
//! plain value in the first and a deletion in the second.
//!
//! A field past its expiry is hidden with its value, and is counted in digests as if clients saw it: when it is found
//! expired differs from replica to replica. It can be forgotten when the horizon has come past the expiry, too.
//!
//! A trim of a stream is a mark for the elements below one: what was written to them before is gone. Of two trims
//! neither can be dropped for the other unless one is both the later and the higher.

use coterie_protocol::{Stamp, Version};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Collection;
use super::elements::order_of;
use crate::effect::{Effect, Kind, StringEncoding, encode_stamp};
use crate::store::Merged;
use crate::store::digest::{Item, Sums, name_of_element, plain_item};
use crate::store::entry::{Entry, Parts};
use crate::store::metadata::Metadata;
use crate::store::register::{Content, Register};
use crate::store::size_class::size_class;
use crate::store::table::Table;

/// See the module.
pub struct History {
    hidden: Table<Entry>,
    hidden_bytes: usize,
    trims: Vec<Trim>,
    sums: Sums,
    /// Everything at or below is gone.
    pub mark: Stamp,
    /// The latest write to any element or attribute; zero if there was none.
    pub written: Stamp,
}

/// What was written to elements below this one at or before this stamp is gone.
#[derive(Clone, Copy)]
struct Trim {
    stamp: Stamp,
    below: [u8; 16],
}

impl Trim {
    fn item(&self) -> u64 {
        plain_item(Item::Trim, name_of_element(&self.below), self.stamp)
    }
}

impl History {
    fn new(seed: u64) -> Self {
        History {
            hidden: Table::new(seed),
            hidden_bytes: 0,
            trims: Vec::new(),
            sums: Sums::default(),
            mark: Stamp::ZERO,
            written: Stamp::ZERO,
        }
    }

    pub fn allocated_bytes(&self) -> usize {
        size_class(size_of::<History>())
            + self.hidden.allocated_bytes()
            + self.hidden_bytes
            + size_class(self.trims.capacity() * size_of::<Trim>())
    }

    pub fn duplicate(&self) -> Self {
        let mut copy = History::new(self.hidden.seed());
        self.hidden
            .iter()
            .for_each(|entry| copy.hide(entry.duplicate()));
        copy.trims = self.trims.clone();
        (copy.sums, copy.mark, copy.written) = (self.sums, self.mark, self.written);
        copy
    }

    fn hash_of(&self, element: &[u8]) -> u64 {
        xxh3_64_with_seed(element, self.hidden.seed())
    }

    fn find(&self, element: &[u8]) -> Option<&Entry> {
        let hash = self.hash_of(element);
        self.hidden.find(hash, |entry| entry.key() == element)
    }

    pub fn hide(&mut self, entry: Entry) {
        self.hidden_bytes += entry.allocated_bytes();
        self.hidden.insert(self.hash_of(entry.key()), entry);
    }

    /// Whether a field is remembered that expired.
    pub fn has_lapsed(&self, element: &[u8]) -> bool {
        self.find(element)
            .is_some_and(|entry| entry.expire_at().is_some())
    }

    /// Whether all that expired has done so at a version on every replica.
    pub fn all_over(&self, horizon: Version) -> bool {
        self.hidden.iter().all(|entry| is_over(entry, horizon))
    }

    fn unhide(&mut self, element: &[u8]) -> Option<Entry> {
        let hash = self.hash_of(element);
        let entry = self.hidden.remove(hash, |entry| entry.key() == element)?;
        self.hidden_bytes -= entry.allocated_bytes();
        Some(entry)
    }

    /// Everything that is known of an element at or below this is gone.
    fn mark_of(&self, element: &[u8]) -> Stamp {
        let covering = self.trims.iter().filter(|trim| element < &trim.below[..]);
        covering.fold(self.mark, |mark, trim| mark.max(trim.stamp))
    }
}

/// Whether a field that expired has done so at this version on every replica. True for all others.
fn is_over(entry: &Entry, horizon: Version) -> bool {
    entry.expire_at().is_none_or(|at| at < horizon.millis())
}

/// The register of an element's entry.
fn register_of(mut entry: Entry, is_hidden: bool) -> Register {
    match entry.take_metadata() {
        Some(metadata) => metadata.register.hide(entry),
        None if is_hidden && entry.expire_at().is_none() => Register {
            last: Some((entry.stamp(), Content::Tombstone)),
            ..Register::default()
        },
        None => {
            let (stamp, encoding) = (entry.stamp(), entry.encoding());
            let expire_at = entry.expire_at();
            let register = Register::of_text(stamp, entry.into_text(), encoding);
            Register {
                expire_at,
                ..register
            }
        }
    }
}

/// The entry of an element's register, and whether clients see it.
fn entry_of(element: &[u8], register: Register, mark: Stamp) -> (Entry, bool) {
    let (stamp, expire_at) = (register.highest(), register.expire_at);
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
        key: element,
        value: &[],
        encoding,
        expire_at,
        version: stamp.version,
        actor: stamp.actor,
        access: 0,
    };
    (Entry::with_text(&parts, text, metadata), is_seen)
}

/// The entry of an element's register in a database that is not replicated; `None` if there is no value.
pub(super) fn plain_entry_of(element: &[u8], register: Register) -> Option<Entry> {
    if register.is_empty() {
        return None;
    }
    let (entry, is_seen) = entry_of(element, register, Stamp::ZERO);
    is_seen.then_some(entry)
}

impl Collection {
    /// Lets a collection that had none begin its history, with all elements written at this stamp.
    pub fn begin_history(&mut self, stamp: Stamp) {
        let mut history = History::new(self.seed);
        history.written = stamp;
        for mut entry in self.take_entries() {
            entry.set_stamp(stamp);
            let item = plain_item(Item::Register, name_of_element(entry.key()), stamp);
            history.sums.add_to(true, item);
            self.insert(entry);
        }
        self.history = Some(Box::new(history));
        if let Some(attributes) = &mut self.attributes {
            attributes.begin_history(stamp);
        }
    }

    /// Forgets the history: what remains is what clients see.
    pub fn end_history(&mut self) {
        self.history = None;
        for entry in self.take_entries() {
            self.set_until(entry.key(), entry.value(), entry.expire_at());
        }
        if let Some(attributes) = &mut self.attributes {
            attributes.end_history();
        }
    }

    fn history_mut(&mut self) -> &mut History {
        let seed = self.seed;
        self.history
            .get_or_insert_with(|| Box::new(History::new(seed)))
    }

    /// Makes it a collection of another kind; clients see nothing of it at that moment.
    pub fn convert(&mut self, kind: Kind) {
        if self.kind != kind {
            debug_assert!(self.is_empty());
            let new = Collection::new(kind, self.seed);
            let old = std::mem::replace(self, new);
            self.history = old.history;
            self.attributes = old.attributes;
        }
    }

    /// Sums of its items in digests.
    pub fn sums(&self) -> Sums {
        let history = self.history.as_ref();
        let mut sums = history.map_or(Sums::default(), |history| history.sums);
        if let Some(attributes) = &self.attributes {
            sums.add(attributes.sums());
        }
        sums
    }

    /// Whether nothing is known, of deleted elements neither.
    pub fn is_forgotten(&self) -> bool {
        self.is_empty() && !self.has_hidden()
    }

    /// Whether anything is known that clients do not see.
    pub fn has_hidden(&self) -> bool {
        let history = self.history.as_ref();
        let attributes = self.attributes.as_ref();
        history.is_some_and(|history| !history.hidden.is_empty() || !history.trims.is_empty())
            || attributes.is_some_and(|attributes| attributes.has_hidden())
    }

    /// Whether anything is known of an element.
    pub fn knows(&self, element: &[u8]) -> bool {
        let history = self.history.as_ref();
        self.elements.find(element).is_some()
            || history.is_some_and(|history| history.find(element).is_some())
    }

    /// Stamp of an element's value that clients see.
    pub fn stamp_of(&self, element: &[u8]) -> Option<Stamp> {
        self.elements.find(element).map(Entry::stamp)
    }

    /// The attributes of a stream; see [`Collection::merge`].
    pub fn attributes(&self) -> Option<&Collection> {
        self.attributes.as_deref()
    }

    /// The attributes of a stream, to merge changes into.
    pub fn attributes_to_merge(&mut self) -> &mut Collection {
        let mark = self.history_mut().mark;
        let attributes = self.attributes_mut();
        attributes.raise(mark);
        attributes
    }

    fn take(&mut self, element: &[u8]) -> Register {
        if let Some(entry) = self.take_entry(element) {
            return register_of(entry, false);
        }
        match self.history_mut().unhide(element) {
            Some(entry) => register_of(entry, true),
            None => Register::default(),
        }
    }

    /// Everything that is known of an element at or below this is gone.
    pub fn mark_of(&self, element: &[u8]) -> Stamp {
        let history = self.history.as_ref();
        history.map_or(Stamp::ZERO, |history| history.mark_of(element))
    }

    /// Makes a change of this stamp to what is known of an element.
    pub fn merge(
        &mut self,
        element: &[u8],
        stamp: Stamp,
        change: impl FnOnce(&mut Register, Stamp) -> Merged,
    ) -> Merged {
        let mark = self.history_mut().mark_of(element);
        if stamp <= mark {
            return Merged::Superseded(mark);
        }
        let mut register = self.take(element);
        self.subtract(element, &register);
        let merged = change(&mut register, mark);
        self.put_register(element, register);
        merged
    }

    /// Replaces all that is known of an element.
    pub(super) fn replace_register(&mut self, element: &[u8], register: Register) {
        let old = self.take(element);
        self.subtract(element, &old);
        self.put_register(element, register);
    }

    fn subtract(&mut self, element: &[u8], register: &Register) {
        let history = self.history_mut();
        let mark = history.mark_of(element);
        let sums = register.sums(name_of_element(element), mark);
        history.sums.subtract(sums);
    }

    /// Adds what is known of an element that was taken out.
    fn put_register(&mut self, element: &[u8], mut register: Register) {
        let history = self.history_mut();
        let mark = history.mark_of(element);
        register.raise(mark);
        if register.is_empty() {
            return;
        }
        let sums = register.sums(name_of_element(element), mark);
        history.sums.add(sums);
        match entry_of(element, register, mark) {
            (entry, true) => self.insert(entry),
            (entry, false) => self.history_mut().hide(entry),
        }
    }

    /// Merges a trim.
    pub fn trim(&mut self, stamp: Stamp, below: [u8; 16]) -> Merged {
        let trim = Trim { stamp, below };
        let includes = |a: &Trim, b: &Trim| a.stamp >= b.stamp && a.below >= b.below;
        let History {
            mark, ref trims, ..
        } = *self.history_mut();
        if stamp <= mark {
            return Merged::Superseded(mark);
        }
        if trims.iter().any(|other| includes(other, &trim)) {
            return Merged::Known;
        }
        let mut left = trims.clone();
        left.retain(|other| !includes(&trim, other));
        left.push(trim);
        left.sort_unstable_by_key(|trim| trim.stamp);
        self.set_trims(left, &below);
        Merged::New
    }

    /// Changes the trims, and with them the marks of elements below this one.
    fn set_trims(&mut self, trims: Vec<Trim>, below: &[u8; 16]) {
        let names = self
            .registers_below(below)
            .into_iter()
            .map(|(name, _)| name);
        let taken: Vec<_> = names
            .map(|name| {
                let register = self.take(&name);
                self.subtract(&name, &register);
                (name, register)
            })
            .collect();
        let history = self.history_mut();
        let sums = &mut history.sums;
        for trim in &history.trims {
            sums.subtract(Sums::of_hidden(trim.item()));
        }
        for trim in &trims {
            sums.add_to(false, trim.item());
        }
        history.trims = trims;
        for (name, register) in taken {
            self.put_register(&name, register);
        }
    }

    /// Elements that may be below this one.
    fn below(&self, below: &[u8]) -> impl Iterator<Item = &Entry> {
        let count = match self.elements.sequence() {
            Some(sequence) => sequence.first_at(order_of(below)),
            None => self.len(),
        };
        self.elements.iter().take(count)
    }

    /// What a trim will change: names and registers of elements below this one.
    pub fn registers_below(&self, below: &[u8; 16]) -> Vec<(Vec<u8>, Register)> {
        let history = self.history.iter();
        let hidden = history.flat_map(|history| history.hidden.iter());
        let visible = self.below(below).map(|entry| (entry, false));
        visible
            .chain(hidden.map(|entry| (entry, true)))
            .filter(|(entry, _)| entry.key() < &below[..])
            .map(|(entry, hidden)| (entry.key().to_vec(), register_of(entry.duplicate(), hidden)))
            .collect()
    }

    /// Puts the trims of a former state, after which elements below this one changed, in place of those there are.
    pub fn put_trims_back(&mut self, trims: &Trims, below: &[u8; 16]) {
        if self.history.is_some() {
            self.set_trims(trims.0.clone(), below);
        }
    }

    /// The trims that are remembered.
    pub fn trims(&self) -> Trims {
        let history = self.history.as_ref();
        Trims(history.map_or_else(Vec::new, |history| history.trims.clone()))
    }

    /// Forgets what is at or below a mark.
    pub fn raise(&mut self, mark: Stamp) {
        if let Some(attributes) = &mut self.attributes {
            attributes.raise(mark);
        }
        self.attributes
            .take_if(|attributes| attributes.is_forgotten());
        if self.history_mut().mark >= mark {
            return;
        }
        let mut history = History::new(self.seed);
        history.mark = mark;
        let mut hidden = Vec::new();
        if let Some(old) = self.history.take() {
            // The latest write stays known as long as it is above the mark.
            history.written = if old.written > mark {
                old.written
            } else {
                Stamp::ZERO
            };
            for trim in old.trims.iter().filter(|trim| trim.stamp > mark) {
                history.sums.add_to(false, trim.item());
                history.trims.push(*trim);
            }
            hidden.extend(old.hidden.into_elements().map(|entry| (entry, true)));
        }
        self.history = Some(Box::new(history));
        let visible = self.take_entries().map(|entry| (entry, false));
        for (entry, is_hidden) in visible.chain(hidden) {
            let element = entry.key().to_vec();
            self.put_register(&element, register_of(entry, is_hidden));
        }
    }

    /// Forgets what was deleted or trimmed at or before a version.
    pub fn collect(&mut self, horizon: Version) {
        if let Some(attributes) = &mut self.attributes {
            attributes.collect(horizon);
        }
        self.attributes
            .take_if(|attributes| attributes.is_forgotten());
        let Some(history) = &mut self.history else {
            return;
        };
        let seed = history.hidden.seed();
        let hidden = std::mem::replace(&mut history.hidden, Table::new(seed));
        history.hidden_bytes = 0;
        for entry in hidden.into_elements() {
            if entry.version() <= horizon && is_over(&entry, horizon) {
                let (name, mark) = (name_of_element(entry.key()), history.mark_of(entry.key()));
                let sums = register_of(entry, true).sums(name, mark);
                history.sums.subtract(sums);
            } else {
                history.hide(entry);
            }
        }
        // A counter that began from nothing behind a trim goes without what the trim took away. Streams have none.
        let may_count = self.kind == Kind::Hash && self.elements.len() > 0;
        let sums = &mut history.sums;
        history.trims.retain(|trim| {
            let stays = trim.stamp.version > horizon || may_count;
            if !stays {
                sums.subtract(Sums::of_hidden(trim.item()));
            }
            stays
        });
    }

    /// A copy of what is known of an element.
    pub fn register(&self, element: &[u8]) -> Register {
        if let Some(entry) = self.elements.find(element) {
            return register_of(entry.duplicate(), false);
        }
        let history = self.history.as_ref();
        match history.and_then(|history| history.find(element)) {
            Some(entry) => register_of(entry.duplicate(), true),
            None => Register::default(),
        }
    }

    /// Appends the stamped effects that make it.
    pub fn encode_state(&self, key: &[u8], out: &mut Vec<u8>) {
        let kind = self.kind;
        self.encode_registers(key, out, |element, value, at| match (value, at) {
            (Some(value), Some(at)) => Effect::FieldUntil {
                key,
                field: element,
                value,
                at,
            },
            (Some(value), None) => Effect::ElementSet {
                kind,
                key,
                element,
                value,
            },
            (None, _) => Effect::ElementDelete { kind, key, element },
        });
        for trim in self.history.iter().flat_map(|history| &history.trims) {
            let below = trim.below;
            encode_stamp(trim.stamp, out);
            Effect::StreamTrim { key, below }.encode(out);
        }
        if let Some(attributes) = &self.attributes {
            attributes.encode_registers(key, out, |name, value, _| match value {
                Some(value) => Effect::AttributeSet { key, name, value },
                None => Effect::AttributeDelete { key, name },
            });
        }
    }

    fn encode_registers<'a>(
        &'a self,
        key: &'a [u8],
        out: &mut Vec<u8>,
        effect: impl Fn(&'a [u8], Option<&'a [u8]>, Option<u64>) -> Effect<'a>,
    ) {
        let Some(history) = &self.history else {
            return;
        };
        let visible = self.elements.iter().map(|entry| (entry, false));
        let all = visible.chain(history.hidden.iter().map(|entry| (entry, true)));
        for (entry, is_hidden) in all {
            let element = entry.key();
            let mut write = |stamp, value| {
                encode_stamp(stamp, out);
                effect(element, value, entry.expire_at()).encode(out);
            };
            let Some(metadata) = entry.metadata() else {
                let has_value = !is_hidden || entry.expire_at().is_some();
                write(entry.stamp(), has_value.then(|| entry.value()));
                continue;
            };
            let register = &metadata.register;
            match &register.last {
                Some((stamp, Content::Text(text, _))) => write(*stamp, Some(text)),
                Some((stamp, Content::Shown)) => write(*stamp, Some(entry.value())),
                Some((stamp, Content::Tombstone | Content::Dropped { .. })) => write(*stamp, None),
                None => {}
            }
            for part in &register.parts {
                let (base, total) = (part.base, part.total);
                encode_stamp(part.stamp, out);
                let count = Effect::HashCount {
                    key,
                    field: element,
                    base,
                    total,
                    delta: 0,
                };
                count.encode(out);
            }
        }
    }
}

/// The trims of a collection at some time.
pub struct Trims(Vec<Trim>);
