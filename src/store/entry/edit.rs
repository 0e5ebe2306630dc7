//! Changes of an entry: value, expiry, stamp; and taking out what it points to.

use coterie_protocol::Stamp;

use super::raw::{ACTOR, BOXED, ENCODING_MASK, EXPIRES, FLAGS_AT};
use super::{Entry, INLINE_VALUE_BYTES_MAX, Parts, Tail};
use crate::effect::{Kind, StringEncoding};

impl Entry {
    /// Sets the stamp of the last change.
    pub(in crate::store) fn set_stamp(&mut self, stamp: Stamp) {
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
            tail.unwrap_or(self.inline_tail()),
            metadata,
        );
        *self = new;
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
    pub(super) fn rebuild(
        &mut self,
        encoding: StringEncoding,
        expire_at: Option<u64>,
        tail: Option<Tail<'static>>,
    ) {
        debug_assert!(self.metadata().is_none());
        let tail = tail.unwrap_or(self.inline_tail());
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
    pub(super) fn take_tail(&mut self) -> Option<Tail<'static>> {
        let pointed = self.is_boxed_collection() || self.flags() & BOXED != 0;
        if !pointed {
            return None;
        }
        let tail = if self.is_boxed_collection() {
            // SAFETY: made by Box::into_raw in `build`, and not reachable from the entry once the flags say so.
            Tail::Collection(unsafe { Box::from_raw(self.collection_pointer()) })
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
}
