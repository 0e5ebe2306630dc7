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
//! A 16-byte key with a 32-byte value takes 63 bytes: one 64-byte size class. A separate pointer for key
//! and value, or fixed fields for what most keys don't have, would cost a third more memory (measured:
//! 94 against 131 bytes a key), which is why this module is one of the few with `unsafe`. Everything
//! unsafe is private to it; the property test at its end drives it through random edits.

#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use coterie_protocol::{Actor, Stamp, Version};

use super::hash::HashValue;
use super::metadata::Metadata;
use super::size_class::size_class;
use crate::effect::{Effect, StringEncoding};

/// Longest value held inline, in bytes; longer ones live in a buffer that can grow in place.
const INLINE_VALUE_BYTES_MAX: usize = 1024;

/// Strings and hashes larger than this are freed by the reclaimer, not under the partition's lock: bytes of a
/// value, number of fields.
const FREE_BYTES_MAX: usize = 64 * 1024;
const FREE_FIELDS_MAX: usize = 64;

const ENCODING_MASK: u8 = 0b11;
/// In place of a string's encoding: the value is no string.
const OBJECT: u8 = 0b11;
const EXPIRES: u8 = 1 << 2;
const WIDE: u8 = 1 << 3;
const BOXED: u8 = 1 << 4;
const ACTOR: u8 = 1 << 5;
const METADATA: u8 = 1 << 6;

const ACCESS_AT: usize = 8;
const FLAGS_AT: usize = 11;
const KEY_LENGTH_AT: usize = 12;

/// A key and all that belongs to it.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its allocation and the buffer it may point to, and shares nothing.
unsafe impl Send for Entry {}
// SAFETY: `&Entry` only reads.
unsafe impl Sync for Entry {}

/// What type a key's value is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A string.
    String = 0,
    /// A hash.
    Hash = 1,
}

/// What stands behind the key.
#[allow(clippy::box_collection)] // a thin pointer is the point
enum Tail<'a> {
    Inline(&'a [u8]),
    Buffer(Box<Vec<u8>>),
    Hash(Box<HashValue>),
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

/// Where the fields of an entry with these flags and this key length are.
struct Fields {
    value_length_at: usize,
    expiry_at: usize,
    actor_at: usize,
    metadata_at: usize,
    key_at: usize,
    key_length: usize,
}

impl Fields {
    fn new(flags: u8, key_length: usize) -> Self {
        let value_length_at = KEY_LENGTH_AT + if flags & WIDE != 0 { 4 } else { 1 };
        let expiry_at = value_length_at + 2;
        let actor_at = expiry_at + if flags & EXPIRES != 0 { 8 } else { 0 };
        let metadata_at = actor_at + if flags & ACTOR != 0 { 2 } else { 0 };
        let key_at = metadata_at + if flags & METADATA != 0 { 8 } else { 0 };
        Fields {
            value_length_at,
            expiry_at,
            actor_at,
            metadata_at,
            key_at,
            key_length,
        }
    }

    fn value_at(&self) -> usize {
        self.key_at + self.key_length
    }
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

    /// Allocates an entry with a hash; the value of the parts is not used.
    pub(super) fn with_hash(
        parts: &Parts<'_>,
        hash: Box<HashValue>,
        metadata: Option<Box<Metadata>>,
    ) -> Self {
        Self::build(parts, Tail::Hash(hash), metadata)
    }

    fn build(parts: &Parts<'_>, tail: Tail<'_>, metadata: Option<Box<Metadata>>) -> Self {
        debug_assert!(u32::try_from(parts.key.len()).is_ok());
        let mut flags = match &tail {
            Tail::Inline(_) => parts.encoding as u8,
            Tail::Buffer(_) => parts.encoding as u8 | BOXED,
            Tail::Hash(_) => OBJECT,
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
            Tail::Inline(value) => (value, None),
            Tail::Buffer(buffer) => (&[][..], Some(Box::into_raw(buffer) as usize)),
            Tail::Hash(hash) => (&[][..], Some(Box::into_raw(hash) as usize)),
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
        let tail = match self.hash() {
            Some(hash) => Tail::Hash(Box::new(hash.duplicate())),
            None => Tail::of(self.value()),
        };
        Self::build(&self.parts(), tail, metadata)
    }

    /// Appends the effects that make it, but for version and access.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let key = self.key();
        let Some(hash) = self.hash() else {
            let put = Effect::Put {
                key,
                value: self.value(),
                encoding: self.encoding(),
                expire_at: self.expire_at(),
            };
            return put.encode(out);
        };
        for (field, value) in hash.iter() {
            Effect::HashSet { key, field, value }.encode(out);
        }
        if let at @ Some(_) = self.expire_at() {
            Effect::ExpireAt { key, at }.encode(out);
        }
    }

    /// What type the value is of.
    pub fn kind(&self) -> Kind {
        if self.is_object() {
            Kind::Hash
        } else {
            Kind::String
        }
    }

    /// The hash, if it is one.
    pub fn hash(&self) -> Option<&HashValue> {
        // SAFETY: the encoding says that a live hash's pointer stands here; only `take_tail` gives it away.
        self.is_object().then(|| unsafe { &*self.hash_pointer() })
    }

    /// The hash, to change it; who does accounts for the memory.
    pub(super) fn hash_mut(&mut self) -> Option<&mut HashValue> {
        // SAFETY: as in `hash`; `&mut self` makes this the only reference.
        self.is_object()
            .then(|| unsafe { &mut *self.hash_pointer() })
    }

    /// All it is made of, for a copy; not the hash of one that holds a hash.
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
        let fields = self.fields();
        self.slice(fields.value_at(), self.inline_length(&fields))
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

    /// Sets the stamp of the last change.
    pub(super) fn set_stamp(&mut self, stamp: Stamp) {
        self.set_version(stamp.version);
        if self.actor() == stamp.actor {
            return;
        }
        if self.flags() & ACTOR != 0 {
            let actor_at = self.fields().actor_at;
            self.write(actor_at, &stamp.actor.0.to_ne_bytes());
            return;
        }
        let (encoding, actor) = (self.encoding(), stamp.actor);
        let (tail, metadata) = (self.take_tail(), self.take_metadata());
        let new = Entry::build(
            &Parts {
                encoding,
                actor,
                ..self.parts()
            },
            tail.unwrap_or(Tail::Inline(self.value())),
            metadata,
        );
        *self = new;
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

    /// Takes the hash out.
    pub(super) fn into_hash(mut self) -> Option<Box<HashValue>> {
        match self.take_tail() {
            Some(Tail::Hash(hash)) => Some(hash),
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
        if let Some(hash) = self.hash() {
            bytes += hash.allocated_bytes();
        }
        if let Some(metadata) = self.metadata() {
            bytes += metadata.allocated_bytes();
        }
        bytes
    }

    /// Whether freeing it takes so long that it is better done where nobody waits.
    pub(super) fn is_costly_to_free(&self) -> bool {
        match self.hash() {
            Some(hash) => hash.len() > FREE_FIELDS_MAX,
            None => self.value().len() > FREE_BYTES_MAX,
        }
    }

    /// Makes it a hash without expiry, whatever it was.
    pub(super) fn set_hash(&mut self, hash: HashValue) {
        let parts = Parts {
            expire_at: None,
            ..self.parts()
        };
        *self = Entry::with_hash(&parts, Box::new(hash), None);
    }

    /// Replaces value and expiry of an entry without metadata; in place where the allocation has the same shape.
    pub fn replace(&mut self, value: &[u8], encoding: StringEncoding, expire_at: Option<u64>) {
        let flags = self.flags();
        let fields = self.fields();
        let same_shape = flags & BOXED == 0
            && !self.is_object()
            && (flags & EXPIRES != 0) == expire_at.is_some()
            && self.inline_length(&fields) == value.len();
        if same_shape {
            self.write(fields.value_at(), value);
            if let Some(at) = expire_at {
                self.write(fields.expiry_at, &at.to_ne_bytes());
            }
            self.set_encoding(encoding);
            return;
        }
        *self = Entry::new(&Parts {
            value,
            encoding,
            expire_at,
            ..self.parts()
        });
    }

    /// Sets or removes the expiry; the value is not copied when it is large.
    pub fn set_expire_at(&mut self, expire_at: Option<u64>) {
        if let (Some(_), Some(at)) = (self.expire_at(), expire_at) {
            let expiry_at = self.fields().expiry_at;
            self.write(expiry_at, &at.to_ne_bytes());
        } else if self.expire_at() != expire_at {
            let encoding = self.encoding();
            let tail = self.take_tail();
            self.rebuild(encoding, expire_at, tail);
        }
    }

    /// Overwrites bytes from `offset` on, growing the value as needed; a gap is filled with zeros.
    pub fn splice(&mut self, offset: usize, bytes: &[u8]) {
        debug_assert_eq!(self.kind(), Kind::String);
        if self.is_object() {
            return;
        }
        let end = offset + bytes.len();
        if self.flags() & BOXED == 0 {
            let fields = self.fields();
            if end <= self.inline_length(&fields) {
                self.write(fields.value_at() + offset, bytes);
                self.set_encoding(StringEncoding::Raw);
                return;
            }
            let length = self.value().len();
            if end <= INLINE_VALUE_BYTES_MAX {
                let mut value = [0; INLINE_VALUE_BYTES_MAX];
                value[..length].copy_from_slice(self.value());
                value[offset..end].copy_from_slice(bytes);
                let expire_at = self.expire_at();
                self.replace(&value[..end], StringEncoding::Raw, expire_at);
                return;
            }
            let mut buffer = Vec::with_capacity(end);
            buffer.extend_from_slice(self.value());
            let expire_at = self.expire_at();
            let tail = Some(Tail::Buffer(Box::new(buffer)));
            self.rebuild(StringEncoding::Raw, expire_at, tail);
        }
        // SAFETY: the flag BOXED is set on both paths to here; `&mut self` makes this the only reference.
        let buffer = unsafe { &mut *self.buffer() };
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        buffer[offset..end].copy_from_slice(bytes);
        self.set_encoding(StringEncoding::Raw);
    }

    /// Allocates it anew, with this tail or else with the inline value it has.
    fn rebuild(
        &mut self,
        encoding: StringEncoding,
        expire_at: Option<u64>,
        tail: Option<Tail<'static>>,
    ) {
        debug_assert!(self.metadata().is_none());
        let tail = tail.unwrap_or(Tail::Inline(self.value()));
        let parts = Parts {
            value: &[],
            encoding,
            expire_at,
            ..self.parts()
        };
        let new = Entry::build(&parts, tail, None);
        *self = new;
    }

    /// Takes out what the entry points to, leaving one with an empty inline value; `None` if it is inline.
    fn take_tail(&mut self) -> Option<Tail<'static>> {
        let pointed = self.is_object() || self.flags() & BOXED != 0;
        if !pointed {
            return None;
        }
        let tail = if self.is_object() {
            // SAFETY: made by Box::into_raw in `build`, and not reachable from the entry once the flags say so.
            Tail::Hash(unsafe { Box::from_raw(self.hash_pointer()) })
        } else {
            // SAFETY: likewise.
            Tail::Buffer(unsafe { Box::from_raw(self.buffer()) })
        };
        // The bytes where the pointer stood are an inline value now, so that the size stays what was allocated.
        let value_length_at = self.fields().value_length_at;
        let flags = self.flags() & !(BOXED | ENCODING_MASK) | StringEncoding::Raw as u8;
        self.write(FLAGS_AT, &[flags]);
        self.write(value_length_at, &(size_of::<usize>() as u16).to_ne_bytes());
        Some(tail)
    }

    fn metadata_pointer(&self) -> *mut Metadata {
        debug_assert!(self.flags() & METADATA != 0);
        usize::from_ne_bytes(self.read(self.fields().metadata_at)) as *mut Metadata
    }

    fn is_object(&self) -> bool {
        self.flags() & ENCODING_MASK == OBJECT
    }

    fn flags(&self) -> u8 {
        self.read::<1>(FLAGS_AT)[0]
    }

    fn set_encoding(&mut self, encoding: StringEncoding) {
        let flags = self.flags() & !ENCODING_MASK | encoding as u8;
        self.write(FLAGS_AT, &[flags]);
    }

    fn fields(&self) -> Fields {
        let flags = self.flags();
        let key_length = if flags & WIDE != 0 {
            u32::from_ne_bytes(self.read(KEY_LENGTH_AT)) as usize
        } else {
            usize::from(self.read::<1>(KEY_LENGTH_AT)[0])
        };
        Fields::new(flags, key_length)
    }

    fn inline_length(&self, fields: &Fields) -> usize {
        usize::from(u16::from_ne_bytes(self.read(fields.value_length_at)))
    }

    fn buffer(&self) -> *mut Vec<u8> {
        debug_assert!(self.flags() & BOXED != 0);
        usize::from_ne_bytes(self.read(self.fields().value_at())) as *mut Vec<u8>
    }

    fn hash_pointer(&self) -> *mut HashValue {
        debug_assert!(self.is_object());
        usize::from_ne_bytes(self.read(self.fields().value_at())) as *mut HashValue
    }

    /// Size of the allocation, in bytes.
    fn size(&self) -> usize {
        let fields = self.fields();
        let tail = if self.flags() & BOXED != 0 || self.is_object() {
            size_of::<usize>()
        } else {
            self.inline_length(&fields)
        };
        fields.value_at() + tail
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        // SAFETY: every caller reads a field of the layout that the flags describe, which `build` allocated.
        unsafe { self.0.as_ptr().add(at).cast::<[u8; N]>().read() }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        // SAFETY: as in `read`; called only while building an entry, or from `&mut self` methods.
        unsafe {
            self.0
                .as_ptr()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        }
    }

    fn slice(&self, at: usize, length: usize) -> &[u8] {
        // SAFETY: as in `read`; the bytes were written in `build` and live as long as the entry.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(at), length) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let size = self.size();
        drop(self.take_tail());
        drop(self.take_metadata());
        // SAFETY: allocated with this layout, since `size` is computed from the fields that sized it.
        unsafe { dealloc(self.0.as_ptr(), layout(size)) }
    }
}

fn layout(size: usize) -> Layout {
    // SAFETY: 8 is a power of two, and sizes are bounded by a key of 4 GiB and 1 KiB of value.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

fn allocate(size: usize) -> NonNull<u8> {
    debug_assert!(size > 0);
    // SAFETY: the size is never 0: the header alone has 15 bytes.
    let pointer = unsafe { alloc(layout(size)) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout(size)))
}
