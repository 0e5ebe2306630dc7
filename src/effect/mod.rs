//! The vocabulary of state changes: what commands emit, the log stores, replicas and recovery apply.
//!
//! Effects are deterministic and small. Time and randomness are resolved before one exists, so applying
//! the same effects in the same order gives the same state anywhere. A record's payload is a sequence of
//! encoded effects; a multi-key transaction is one such sequence. The first effect has the record's version,
//! each further one the version after that, so that every change in a cluster has a [`Stamp`] of its own.

mod codec;
#[cfg(test)]
mod tests;

use coterie_protocol::{Actor, DatabaseId, Stamp, Version};

pub use codec::{
    Effects, Stamped, encode_actor, encode_database, encode_stamp, is_state, split_actor,
};

/// How Redis would hold a string, as `OBJECT ENCODING` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum StringEncoding {
    /// The text of a 64-bit signed integer.
    Int = 0,
    /// At most 44 bytes, set as a whole.
    Embedded = 1,
    /// Anything longer, or edited in place.
    Raw = 2,
}

impl StringEncoding {
    /// Longest value Redis embeds in its object header, in bytes.
    const EMBEDDED_BYTES_MAX: usize = 44;

    /// The encoding of a value set as a whole (`SET`, `MSET`, `GETSET`, …).
    pub fn of(value: &[u8]) -> Self {
        if value.len() <= 20 && coterie_protocol::text::parse_i64(value).is_some() {
            StringEncoding::Int
        } else {
            Self::of_text(value)
        }
    }

    /// The encoding of a value that Redis does not try to read as an integer (`INCRBYFLOAT`).
    pub fn of_text(value: &[u8]) -> Self {
        if value.len() <= Self::EMBEDDED_BYTES_MAX {
            StringEncoding::Embedded
        } else {
            StringEncoding::Raw
        }
    }

    /// The name `OBJECT ENCODING` answers.
    pub fn name(self) -> &'static str {
        match self {
            StringEncoding::Int => "int",
            StringEncoding::Embedded => "embstr",
            StringEncoding::Raw => "raw",
        }
    }

    /// The encoding of its number; `None` for a number no encoding has.
    pub fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(StringEncoding::Int),
            1 => Some(StringEncoding::Embedded),
            2 => Some(StringEncoding::Raw),
            _ => None,
        }
    }
}

/// What a write that must not be executed twice is known by, wherever it is executed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationId {
    /// The node that has to answer the client.
    pub origin: Actor,
    /// Unique for the origin, and growing.
    pub number: u64,
}

/// How an operation was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OperationKind {
    /// Not by whom it was first given to: what that node may have done was overwritten.
    pub again: bool,
    /// It is about several keys, so the state of one does not tell that it was executed.
    pub many: bool,
}

/// What type a key's value is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A string.
    String = 0,
    /// Fields with values.
    Hash = 1,
    /// Members.
    Set = 2,
    /// Members with scores.
    SortedSet = 3,
    /// Values at positions.
    List = 4,
    /// Entries with ids, and consumer groups.
    Stream = 5,
}

impl Kind {
    /// The kind of its number; `None` for a number no kind has.
    pub fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Kind::String),
            1 => Some(Kind::Hash),
            2 => Some(Kind::Set),
            3 => Some(Kind::SortedSet),
            4 => Some(Kind::List),
            5 => Some(Kind::Stream),
            _ => None,
        }
    }
}

/// One change of state. Times are absolute Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect<'a> {
    /// The key holds exactly this string and this expiry, whatever it was.
    Put {
        /// The key.
        key: &'a [u8],
        /// The whole value.
        value: &'a [u8],
        /// What `OBJECT ENCODING` answers.
        encoding: StringEncoding,
        /// When the key expires; `None` for never.
        expire_at: Option<u64>,
    },
    /// The key holds this many zeros and then these bytes, without expiry, whatever it was.
    PutPadded {
        /// The key.
        key: &'a [u8],
        /// Number of zeros.
        offset: u64,
        /// What follows them.
        bytes: &'a [u8],
    },
    /// Bytes of an existing string are overwritten from `offset` on; a gap is filled with zeros.
    Splice {
        /// The key.
        key: &'a [u8],
        /// First byte that changes.
        offset: u64,
        /// What it changes to.
        bytes: &'a [u8],
    },
    /// An existing key expires at this time, or never.
    ExpireAt {
        /// The key.
        key: &'a [u8],
        /// When; `None` removes the expiry.
        at: Option<u64>,
    },
    /// An element of a collection holds exactly this value. A key of another kind becomes one of this kind.
    ElementSet {
        /// What the collection is; never a string.
        kind: Kind,
        /// The key.
        key: &'a [u8],
        /// Field of a hash, member of a set or sorted set, [`Position`](crate::store::Position) in a list,
        /// [`StreamId`](crate::store::StreamId) in a stream.
        element: &'a [u8],
        /// Value of a field or a list's element, nothing in a set, [`Score`](crate::store::Score) in a sorted set,
        /// encoded fields in a stream.
        value: &'a [u8],
    },
    /// A field of a hash holds exactly this value until this time. A key of another kind becomes a hash.
    FieldUntil {
        /// The key.
        key: &'a [u8],
        /// The field.
        field: &'a [u8],
        /// Its whole value.
        value: &'a [u8],
        /// When the field expires.
        at: u64,
    },
    /// An element of a collection is gone, and the key with the last one.
    ElementDelete {
        /// What the collection is.
        kind: Kind,
        /// The key.
        key: &'a [u8],
        /// Which element.
        element: &'a [u8],
    },
    /// What a stream has besides its entries, see [`Attribute`](crate::store::Attribute): its mark, a group, a
    /// consumer, a pending entry. A key that is no stream becomes one, which may be without entries.
    AttributeSet {
        /// The key.
        key: &'a [u8],
        /// Which attribute.
        name: &'a [u8],
        /// Its whole value.
        value: &'a [u8],
    },
    /// An attribute of a stream is gone.
    AttributeDelete {
        /// The key.
        key: &'a [u8],
        /// Which attribute.
        name: &'a [u8],
    },
    /// Entries of a stream with ids below this one are gone.
    StreamTrim {
        /// The key.
        key: &'a [u8],
        /// The lowest id that stays.
        below: [u8; 16],
    },
    /// What the effect's actor has added to a counter, in all, since a base. Only in replicated partitions.
    Count {
        /// The key.
        key: &'a [u8],
        /// Stamp of the value it is added to, or of the mark behind which there is none.
        base: Stamp,
        /// The sum.
        total: i64,
        /// What this change added to the sum, to make it again on another base; 0 in states.
        delta: i64,
    },
    /// The same for a counter in a field of a hash.
    HashCount {
        /// The key.
        key: &'a [u8],
        /// The field.
        field: &'a [u8],
        /// Stamp of the value it is added to, or of the mark behind which there is none.
        base: Stamp,
        /// The sum.
        total: i64,
        /// What this change added to the sum, to make it again on another base; 0 in states.
        delta: i64,
    },
    /// A HyperLogLog, of which replicas keep the larger of each register. Only in replicated partitions.
    Sketch {
        /// The key.
        key: &'a [u8],
        /// Stamp of the value it was made of, or of the mark behind which there is none.
        base: Stamp,
        /// All that is known of it, see [`hyperloglog`](crate::hyperloglog).
        value: &'a [u8],
    },
    /// The key was of this kind, by a write that left nothing else. Only in the state of a key that one replica sends
    /// another.
    Assertion {
        /// The key.
        key: &'a [u8],
        /// Its kind.
        kind: Kind,
    },
    /// A `Put` of which only the time is left that it was to expire at: its value was dropped since. Only in the
    /// state of a key that one replica sends another.
    Lapsed {
        /// The key.
        key: &'a [u8],
        /// When it expired.
        at: u64,
    },
    /// What was known of the key before this version is gone: who makes it knows of nothing, and all replicas had the
    /// same by then. One that has not forgotten it yet, an old value that expired, is not to add what follows to that.
    /// Only in replicated partitions.
    Anew {
        /// The key.
        key: &'a [u8],
        /// The stable horizon.
        settled: Version,
    },
    /// Changes no key: tells by which operation the effects before it in its record were made, so that it is not
    /// executed again. Only in replicated partitions.
    Operation {
        /// The key it is about; the first, if it has several.
        key: &'a [u8],
        /// Which.
        id: OperationId,
        /// Its origin has answered all operations with smaller numbers.
        settled: u64,
        /// See [`OperationKind`].
        kind: OperationKind,
        /// The encoded reply; empty if it is too large to be kept.
        reply: &'a [u8],
    },
    /// The key is gone.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Every key of the database is gone.
    Clear,
    /// The database and another change their numbers.
    Swap {
        /// The other database.
        with: DatabaseId,
    },
}

/// Bytes that are no effect: a program error or a newer format, since records are checksummed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed effect at byte {at} of a record")]
pub struct MalformedEffect {
    /// Offset in the payload.
    pub at: usize,
}

impl<'a> Effect<'a> {
    /// Whether it only adds to what is there: made on whatever value, it takes nothing of that away.
    pub fn is_addition(&self) -> bool {
        matches!(
            self,
            Effect::Count { .. } | Effect::HashCount { .. } | Effect::Sketch { .. }
        )
    }

    /// The key it changes; `None` for those that change a whole database.
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Effect::Put { key, .. }
            | Effect::PutPadded { key, .. }
            | Effect::Splice { key, .. }
            | Effect::ExpireAt { key, .. }
            | Effect::ElementSet { key, .. }
            | Effect::FieldUntil { key, .. }
            | Effect::ElementDelete { key, .. }
            | Effect::AttributeSet { key, .. }
            | Effect::AttributeDelete { key, .. }
            | Effect::StreamTrim { key, .. }
            | Effect::Assertion { key, .. }
            | Effect::Count { key, .. }
            | Effect::HashCount { key, .. }
            | Effect::Sketch { key, .. }
            | Effect::Lapsed { key, .. }
            | Effect::Anew { key, .. }
            | Effect::Operation { key, .. }
            | Effect::Delete { key } => Some(key),
            Effect::Clear | Effect::Swap { .. } => None,
        }
    }

    /// Upper bound of the encoded length, for reserving room before anything changes. Elements and attributes
    /// count as value.
    pub fn encoded_bytes_max(key: usize, value: usize) -> usize {
        // That of an `Anew` or `Delete` before it, too.
        2 * key + value + 64
    }
}
