//! The bytes of an entry: where its fields are, and access to them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::Entry;
use crate::effect::StringEncoding;
use crate::store::collection::Collection;
use crate::store::metadata::Metadata;

pub(super) const ENCODING_MASK: u8 = 0b11;
/// In place of a string's encoding: the value is no string.
pub(super) const OBJECT: u8 = 0b11;
pub(super) const EXPIRES: u8 = 1 << 2;
pub(super) const WIDE: u8 = 1 << 3;
pub(super) const BOXED: u8 = 1 << 4;
pub(super) const ACTOR: u8 = 1 << 5;
pub(super) const METADATA: u8 = 1 << 6;
/// With the encoding `OBJECT`: the collection stands inline.
pub(super) const PACKED: u8 = 1 << 7;

pub(super) const ACCESS_AT: usize = 8;
pub(super) const FLAGS_AT: usize = 11;
pub(super) const KEY_LENGTH_AT: usize = 12;

/// Where the fields of an entry with these flags and this key length are.
pub(super) struct Fields {
    pub value_length_at: usize,
    pub expiry_at: usize,
    pub actor_at: usize,
    pub metadata_at: usize,
    pub key_at: usize,
    pub key_length: usize,
}

impl Fields {
    pub fn new(flags: u8, key_length: usize) -> Self {
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

    pub fn value_at(&self) -> usize {
        self.key_at + self.key_length
    }
}

impl Entry {
    pub(super) fn metadata_pointer(&self) -> *mut Metadata {
        debug_assert!(self.flags() & METADATA != 0);
        usize::from_ne_bytes(self.read(self.fields().metadata_at)) as *mut Metadata
    }

    /// Whether it is no string.
    pub(super) fn is_object(&self) -> bool {
        self.flags() & ENCODING_MASK == OBJECT
    }

    /// Whether it is a collection that stands inline.
    pub(in crate::store) fn is_packed(&self) -> bool {
        self.flags() & PACKED != 0
    }

    /// Whether it points to a collection.
    pub(super) fn is_boxed_collection(&self) -> bool {
        self.flags() & (ENCODING_MASK | PACKED) == OBJECT
    }

    pub(super) fn flags(&self) -> u8 {
        self.read::<1>(FLAGS_AT)[0]
    }

    pub(super) fn set_encoding(&mut self, encoding: StringEncoding) {
        let flags = self.flags() & !ENCODING_MASK | encoding as u8;
        self.write(FLAGS_AT, &[flags]);
    }

    pub(super) fn fields(&self) -> Fields {
        let flags = self.flags();
        let key_length = if flags & WIDE != 0 {
            u32::from_ne_bytes(self.read(KEY_LENGTH_AT)) as usize
        } else {
            usize::from(self.read::<1>(KEY_LENGTH_AT)[0])
        };
        Fields::new(flags, key_length)
    }

    pub(super) fn inline_length(&self, fields: &Fields) -> usize {
        usize::from(u16::from_ne_bytes(self.read(fields.value_length_at)))
    }

    pub(super) fn buffer(&self) -> *mut Vec<u8> {
        debug_assert!(self.flags() & BOXED != 0);
        usize::from_ne_bytes(self.read(self.fields().value_at())) as *mut Vec<u8>
    }

    pub(super) fn collection_pointer(&self) -> *mut Collection {
        debug_assert!(self.is_boxed_collection());
        usize::from_ne_bytes(self.read(self.fields().value_at())) as *mut Collection
    }

    /// Size of the allocation, in bytes.
    pub(super) fn size(&self) -> usize {
        let fields = self.fields();
        let tail = if self.flags() & BOXED != 0 || self.is_boxed_collection() {
            size_of::<usize>()
        } else {
            self.inline_length(&fields)
        };
        fields.value_at() + tail
    }

    pub(super) fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        // SAFETY: every caller reads a field of the layout that the flags describe, which `build` allocated.
        unsafe { self.0.as_ptr().add(at).cast::<[u8; N]>().read() }
    }

    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        // SAFETY: as in `read`; called only while building an entry, or from `&mut self` methods.
        unsafe {
            self.0
                .as_ptr()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        }
    }

    pub(super) fn slice(&self, at: usize, length: usize) -> &[u8] {
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
    // SAFETY: 8 is a power of two, and sizes are bounded by a key of 4 GiB and 64 KiB of value.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

pub(super) fn allocate(size: usize) -> NonNull<u8> {
    debug_assert!(size > 0);
    // SAFETY: the size is never 0: the header alone has 15 bytes.
    let pointer = unsafe { alloc(layout(size)) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout(size)))
}
