//! One key with its value in one allocation, behind an 8-byte pointer.
//!
//! # Layout
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | version of the last change |
//! | 8..11 | access: 24 bits of LRU or LFU state |
//! | 11 | flags |
//! | 12.. | key length: 1 byte, or 4 when the flag `WIDE` is set |
//! | +2 | length of an inline value |
//! | +8 | expiry, Unix milliseconds, only with the flag `EXPIRES` |
//! | +2 | actor of the last change, only with the flag `ACTOR` |
//! | +8 | pointer to the metadata of a replicated key, only with the flag `METADATA` |
//! | … | the key |
//! | … | the value inline; with the flag `BOXED` a pointer to a growable buffer, and to an object with the encoding `OBJECT` |
//!
//! A small collection is no object of its own: with the flag `PACKED` it stands inline like a text.
//!
//! A 16-byte key with a 32-byte value takes 63 bytes: one 64-byte size class. A separate pointer for key
//! and value, or fixed fields for what most keys don't have, would cost a third more memory (measured:
//! 94 against 131 bytes a key), which is why this module is one of the few with `unsafe`. Everything
//! unsafe is private to it; the property test at its end drives it through random edits.

mod edit;
mod elements;
mod raw;
#[cfg(test)]
mod tests;

pub use self::elements::element_effect;
use std::ptr::NonNull;

use coterie_protocol::{Actor, Stamp, Version};

use self::raw::{
    ACCESS_AT, ACTOR, BOXED, ENCODING_MASK, EXPIRES, FLAGS_AT, Fields, KEY_LENGTH_AT, METADATA,
    OBJECT, PACKED, WIDE, allocate,
};
use super::collection::{Collection, Small};
use super::metadata::Metadata;
use super::size_class::size_class;
use crate::effect::StringEncoding;

/// Longest value held inline, in bytes; longer ones live in a buffer that can grow in place.
const INLINE_VALUE_BYTES_MAX: usize = 1024;

/// Strings and collections larger than this are freed by the reclaimer, not under the partition's lock: bytes of a
/// value, number of elements.
const FREE_BYTES_MAX: usize = 64 * 1024;
const FREE_ELEMENTS_MAX: usize = 64;

/// A key and all that belongs to it.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its allocation and the buffer it may point to, and shares nothing.
unsafe impl Send for Entry {}
// SAFETY: `&Entry` only reads.
unsafe impl Sync for Entry {}

/// What stands behind the key.
#[allow(clippy::box_collection)] // a thin pointer is the point
enum Tail<'a> {
    Inline(&'a [u8]),
    Packed(&'a [u8]),
    Buffer(Box<Vec<u8>>),
    Collection(Box<Collection>),
}

impl Tail<'_> {
    /// That of a text, which is copied where it is not inline.
    fn of(text: &[u8]) -> Tail<'_> {
        if text.len() > INLINE_VALUE_BYTES_MAX {
            Tail::Buffer(Box::new(text.to_vec()))
        } else {
            Tail::Inline(text)
        }
    }
}

/// What a new entry is made of.
pub struct Parts<'a> {
    /// The key; shorter than 4 GiB, as every request is.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// See [`StringEncoding`].
    pub encoding: StringEncoding,
    /// Unix milliseconds; `None` for never.
    pub expire_at: Option<u64>,
    /// Version of the change that makes it.
    pub version: Version,
    /// Who makes it; 0 in a database that is not replicated.
    pub actor: Actor,
    /// 24 bits of LRU or LFU state.
    pub access: u32,
}

impl Entry {
    /// Allocates an entry with a string.
    pub fn new(parts: &Parts<'_>) -> Self {
        Self::build(parts, Tail::of(parts.value), None)
    }

    /// The same with metadata, and the value of `text` rather than of the parts.
    pub(super) fn with_text(
        parts: &Parts<'_>,
        text: Vec<u8>,
        metadata: Option<Box<Metadata>>,
    ) -> Self {
        if text.len() > INLINE_VALUE_BYTES_MAX {
            Self::build(parts, Tail::Buffer(Box::new(text)), metadata)
        } else {
            Self::build(parts, Tail::Inline(&text), metadata)
        }
    }

    /// Allocates an entry with a collection; the value of the parts is not used.
    pub(super) fn with_collection(
        parts: &Parts<'_>,
        collection: Box<Collection>,
        metadata: Option<Box<Metadata>>,
    ) -> Self {
        Self::build(parts, Tail::Collection(collection), metadata)
    }

    fn build(parts: &Parts<'_>, tail: Tail<'_>, metadata: Option<Box<Metadata>>) -> Self {
        debug_assert!(u32::try_from(parts.key.len()).is_ok());
        let mut flags = match &tail {
            Tail::Inline(_) => parts.encoding as u8,
            Tail::Buffer(_) => parts.encoding as u8 | BOXED,
            Tail::Packed(_) => OBJECT | PACKED,
            Tail::Collection(_) => OBJECT,
        };
        if parts.expire_at.is_some() {
            flags |= EXPIRES;
        }
        if parts.key.len() > usize::from(u8::MAX) {
            flags |= WIDE;
        }
        if parts.actor != Actor::default() {
            flags |= ACTOR;
        }
        if metadata.is_some() {
            flags |= METADATA;
        }
        let fields = Fields::new(flags, parts.key.len());
        let (inline, pointer) = match tail {
            Tail::Inline(value) | Tail::Packed(value) => (value, None),
            Tail::Buffer(buffer) => (&[][..], Some(Box::into_raw(buffer) as usize)),
            Tail::Collection(collection) => (&[][..], Some(Box::into_raw(collection) as usize)),
        };
        let tail_bytes = pointer.map_or(inline.len(), |_| size_of::<usize>());
        let entry = Entry(allocate(fields.value_at() + tail_bytes));
        entry.write(0, &parts.version.to_bits().to_ne_bytes());
        entry.write(FLAGS_AT, &[flags]);
        if flags & WIDE != 0 {
            entry.write(KEY_LENGTH_AT, &(parts.key.len() as u32).to_ne_bytes());
        } else {
            entry.write(KEY_LENGTH_AT, &[parts.key.len() as u8]);
        }
        entry.write(fields.value_length_at, &(inline.len() as u16).to_ne_bytes());
        if let Some(at) = parts.expire_at {
            entry.write(fields.expiry_at, &at.to_ne_bytes());
        }
        if flags & ACTOR != 0 {
            entry.write(fields.actor_at, &parts.actor.0.to_ne_bytes());
        }
        if let Some(metadata) = metadata {
            let pointer = Box::into_raw(metadata) as usize;
            entry.write(fields.metadata_at, &pointer.to_ne_bytes());
        }
        entry.write(fields.key_at, parts.key);
        match pointer {
            Some(pointer) => entry.write(fields.value_at(), &pointer.to_ne_bytes()),
            None => entry.write(fields.value_at(), inline),
        }
        let mut entry = entry;
        entry.set_access(parts.access);
        entry
    }

    /// Asks the processor to bring the entry near, since it will be used soon. Of a pipeline's cost at random
    /// keys, a quarter was waiting for this memory.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = self.0.as_ptr().cast::<i8>();
            // SAFETY: a prefetch never faults, whatever the address, and changes nothing a program can see.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(start);
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(64));
                // The end of one of 112 bytes, which may be on a third line.
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(111));
            }
        }
    }

    /// A copy, of all that it owns too.
    pub(super) fn duplicate(&self) -> Self {
        let metadata = self
            .metadata()
            .map(|metadata| Box::new(metadata.duplicate()));
        let tail = match self.collection() {
            Some(collection) => Tail::Collection(Box::new(collection.duplicate())),
            None if self.is_packed() => self.inline_tail(),
            None => Tail::of(self.value()),
        };
        Self::build(&self.parts(), tail, metadata)
    }

    /// What it points to, if that is a collection.
    pub(super) fn collection(&self) -> Option<&Collection> {
        // SAFETY: the flags say that a live collection's pointer stands here; only `take_tail` gives it away.
        self.is_boxed_collection()
            .then(|| unsafe { &*self.collection_pointer() })
    }

    /// The same, to change it; who does accounts for the memory.
    pub(super) fn collection_mut(&mut self) -> Option<&mut Collection> {
        // SAFETY: as in `collection`; `&mut self` makes this the only reference.
        self.is_boxed_collection()
            .then(|| unsafe { &mut *self.collection_pointer() })
    }

    /// The collection that stands inline, if one does.
    pub(super) fn small(&self) -> Option<Small<'_>> {
        self.is_packed().then(|| Small::of(self.inline()))
    }

    /// What stands behind the key, taken for bytes.
    fn inline(&self) -> &[u8] {
        let fields = self.fields();
        self.slice(fields.value_at(), self.inline_length(&fields))
    }

    /// What stands inline, as it is.
    fn inline_tail(&self) -> Tail<'_> {
        if self.is_packed() {
            Tail::Packed(self.inline())
        } else {
            Tail::Inline(self.value())
        }
    }

    /// All it is made of, for a copy; not what a collection holds.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            key: self.key(),
            value: self.value(),
            encoding: self.encoding(),
            expire_at: self.expire_at(),
            version: self.version(),
            actor: self.actor(),
            access: self.access(),
        }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        let fields = self.fields();
        self.slice(fields.key_at, fields.key_length)
    }

    /// The value of a string; empty for anything else.
    pub fn value(&self) -> &[u8] {
        if self.is_object() {
            return &[];
        }
        if self.flags() & BOXED != 0 {
            // SAFETY: the flag says that a live buffer's pointer stands here; only `take_tail` gives it away.
            return unsafe { &*self.buffer() };
        }
        self.inline()
    }

    /// Version of the last change.
    pub fn version(&self) -> Version {
        Version::from_bits(u64::from_ne_bytes(self.read(0)))
    }

    /// Sets the version of the last change.
    pub fn set_version(&mut self, version: Version) {
        self.write(0, &version.to_bits().to_ne_bytes());
    }

    /// Who made the last change; 0 in a database that is not replicated.
    pub fn actor(&self) -> Actor {
        let flags = self.flags();
        if flags & ACTOR == 0 {
            return Actor::default();
        }
        Actor(u16::from_ne_bytes(
            self.read(Fields::new(flags, 0).actor_at),
        ))
    }

    /// Stamp of the last change: the highest of what is known of it.
    pub fn stamp(&self) -> Stamp {
        Stamp::new(self.version(), self.actor())
    }

    /// What is known of it beyond the value and one stamp.
    pub(super) fn metadata(&self) -> Option<&Metadata> {
        let pointer = (self.flags() & METADATA != 0).then(|| self.metadata_pointer())?;
        // SAFETY: live metadata, or null after `take_metadata` gave it away.
        unsafe { pointer.as_ref() }
    }

    /// Takes the metadata out; the entry is to be dropped or built anew then.
    pub(super) fn take_metadata(&mut self) -> Option<Box<Metadata>> {
        let pointer = (self.flags() & METADATA != 0).then(|| self.metadata_pointer())?;
        if pointer.is_null() {
            return None;
        }
        let metadata_at = self.fields().metadata_at;
        self.write(metadata_at, &0usize.to_ne_bytes());
        // SAFETY: made by Box::into_raw in `build`, and not reachable from the entry any more.
        Some(unsafe { Box::from_raw(pointer) })
    }

    /// Takes the text out, without a copy where it is large.
    pub(super) fn into_text(mut self) -> Vec<u8> {
        match self.take_tail() {
            Some(Tail::Buffer(buffer)) => *buffer,
            Some(_) => Vec::new(),
            None => self.value().to_vec(),
        }
    }

    /// Takes the collection out.
    pub(super) fn into_collection(mut self) -> Option<Box<Collection>> {
        match self.take_tail() {
            Some(Tail::Collection(collection)) => Some(collection),
            _ => None,
        }
    }

    /// 24 bits of LRU or LFU state.
    pub fn access(&self) -> u32 {
        let [a, b, c] = self.read::<3>(ACCESS_AT);
        u32::from_le_bytes([a, b, c, 0])
    }

    /// Sets the LRU or LFU state; only 24 bits are kept.
    pub fn set_access(&mut self, access: u32) {
        let [a, b, c, _] = access.to_le_bytes();
        self.write(ACCESS_AT, &[a, b, c]);
    }

    /// See [`StringEncoding`].
    pub fn encoding(&self) -> StringEncoding {
        StringEncoding::from_u8(self.flags() & ENCODING_MASK).unwrap_or(StringEncoding::Raw)
    }

    /// When the key expires, Unix milliseconds; `None` for never.
    pub fn expire_at(&self) -> Option<u64> {
        let flags = self.flags();
        if flags & EXPIRES == 0 {
            return None;
        }
        Some(u64::from_ne_bytes(
            self.read(Fields::new(flags, 0).expiry_at),
        ))
    }

    /// Whether the key is past its expiry; in the very millisecond it still lives, as in Redis.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expire_at().is_some_and(|at| at < now_ms)
    }

    /// Memory it takes from the allocator, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        let mut bytes = size_class(self.size());
        if self.flags() & BOXED != 0 {
            // SAFETY: as in `value`.
            let buffer = unsafe { &*self.buffer() };
            bytes += size_class(size_of::<Vec<u8>>()) + size_class(buffer.capacity());
        }
        if let Some(collection) = self.collection() {
            bytes += collection.allocated_bytes();
        }
        if let Some(metadata) = self.metadata() {
            bytes += metadata.allocated_bytes();
        }
        bytes
    }

    /// Whether freeing it takes so long that it is better done where nobody waits.
    pub(super) fn is_costly_to_free(&self) -> bool {
        match self.collection() {
            Some(collection) => collection.allocations() > FREE_ELEMENTS_MAX,
            None => self.value().len() > FREE_BYTES_MAX,
        }
    }
}
