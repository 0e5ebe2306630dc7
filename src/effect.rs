//! The vocabulary of state changes: what commands emit, the log stores, replicas and recovery apply.
//!
//! Effects are deterministic and small. Time and randomness are resolved before one exists, so applying
//! the same effects in the same order gives the same state anywhere. A record's payload is a sequence of
//! encoded effects, all with the record's version; a multi-key transaction is one such sequence.
//!
//! # Encoding
//! Each effect is a tag byte and its fields. Lengths and numbers are LEB128 varints, expiry times are
//! fixed 8-byte little-endian milliseconds since the Unix epoch.
//!
//! | tag | effect | fields |
//! | --- | --- | --- |
//! | 1 | `Put` | encoding byte, key, value |
//! | 2 | `Put` with an expiry | encoding byte, expiry, key, value |
//! | 3 | `Splice` | offset, key, bytes |
//! | 4 | `ExpireAt` | expiry, key |
//! | 5 | `ExpireAt` never | key |
//! | 6 | `Delete` | key |
//! | 7 | `Clear` | |
//! | 8 | `Swap` | database |
//! | 9 | changes the database of the effects that follow | database |
//! | 10 | `PutPadded` | offset, key, bytes |

use coterie_protocol::DatabaseId;

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
    /// The key it changes; `None` for those that change a whole database.
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Effect::Put { key, .. }
            | Effect::PutPadded { key, .. }
            | Effect::Splice { key, .. }
            | Effect::ExpireAt { key, .. }
            | Effect::Delete { key } => Some(key),
            Effect::Clear | Effect::Swap { .. } => None,
        }
    }

    /// Upper bound of the encoded length, for reserving room before anything changes.
    pub fn encoded_bytes_max(key: usize, value: usize) -> usize {
        key + value + 32
    }

    /// Appends the encoded effect.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Effect::Put {
                key,
                value,
                encoding,
                expire_at,
            } => {
                out.push(if expire_at.is_some() { 2 } else { 1 });
                out.push(encoding as u8);
                if let Some(at) = expire_at {
                    out.extend_from_slice(&at.to_le_bytes());
                }
                put_bytes(out, key);
                put_bytes(out, value);
            }
            Effect::PutPadded { key, offset, bytes } => {
                out.push(10);
                put_varint(out, offset);
                put_bytes(out, key);
                put_bytes(out, bytes);
            }
            Effect::Splice { key, offset, bytes } => {
                out.push(3);
                put_varint(out, offset);
                put_bytes(out, key);
                put_bytes(out, bytes);
            }
            Effect::ExpireAt { key, at } => {
                out.push(if at.is_some() { 4 } else { 5 });
                if let Some(at) = at {
                    out.extend_from_slice(&at.to_le_bytes());
                }
                put_bytes(out, key);
            }
            Effect::Delete { key } => {
                out.push(6);
                put_bytes(out, key);
            }
            Effect::Clear => out.push(7),
            Effect::Swap { with } => {
                out.push(8);
                put_varint(out, with.0.into());
            }
        }
    }
}

/// Appends a marker: the effects that follow are of `database`.
pub fn encode_database(database: DatabaseId, out: &mut Vec<u8>) {
    out.push(9);
    put_varint(out, database.0.into());
}

/// Reads the effects of a payload, each with its database, which starts as the record's.
pub struct Effects<'a> {
    payload: &'a [u8],
    at: usize,
    database: DatabaseId,
}

impl<'a> Effects<'a> {
    /// Effects of a record's payload.
    pub fn new(database: DatabaseId, payload: &'a [u8]) -> Self {
        Effects {
            payload,
            at: 0,
            database,
        }
    }

    /// How many bytes were read.
    pub fn consumed(&self) -> usize {
        self.at
    }

    fn read(&mut self) -> Option<(DatabaseId, Effect<'a>)> {
        loop {
            let effect = match self.byte()? {
                tag @ (1 | 2) => {
                    let encoding = StringEncoding::from_u8(self.byte()?)?;
                    let expire_at = if tag == 2 { Some(self.fixed()?) } else { None };
                    Effect::Put {
                        encoding,
                        expire_at,
                        key: self.bytes()?,
                        value: self.bytes()?,
                    }
                }
                3 => Effect::Splice {
                    offset: self.varint()?,
                    key: self.bytes()?,
                    bytes: self.bytes()?,
                },
                4 => Effect::ExpireAt {
                    at: Some(self.fixed()?),
                    key: self.bytes()?,
                },
                5 => Effect::ExpireAt {
                    at: None,
                    key: self.bytes()?,
                },
                6 => Effect::Delete { key: self.bytes()? },
                7 => Effect::Clear,
                8 => Effect::Swap {
                    with: self.database_id()?,
                },
                9 => {
                    self.database = self.database_id()?;
                    continue;
                }
                10 => Effect::PutPadded {
                    offset: self.varint()?,
                    key: self.bytes()?,
                    bytes: self.bytes()?,
                },
                _ => return None,
            };
            return Some((self.database, effect));
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.payload.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn fixed(&mut self) -> Option<u64> {
        let bytes = self.payload.get(self.at..self.at.checked_add(8)?)?;
        self.at += 8;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return None;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let bytes = self.payload.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn database_id(&mut self) -> Option<DatabaseId> {
        Some(DatabaseId(u16::try_from(self.varint()?).ok()?))
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = Result<(DatabaseId, Effect<'a>), MalformedEffect>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.payload.len() {
            return None;
        }
        let at = self.at;
        let effect = self.read().ok_or(MalformedEffect { at });
        if effect.is_err() {
            self.at = self.payload.len();
        }
        Some(effect)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Owned {
        Put(Vec<u8>, Vec<u8>, u8, Option<u64>),
        PutPadded(Vec<u8>, u64, Vec<u8>),
        Splice(Vec<u8>, u64, Vec<u8>),
        ExpireAt(Vec<u8>, Option<u64>),
        Delete(Vec<u8>),
        Clear,
        Swap(u16),
    }

    impl Owned {
        fn borrow(&self) -> Effect<'_> {
            match self {
                Owned::Put(key, value, encoding, expire_at) => Effect::Put {
                    key,
                    value,
                    encoding: StringEncoding::from_u8(*encoding).unwrap(),
                    expire_at: *expire_at,
                },
                Owned::PutPadded(key, offset, bytes) => Effect::PutPadded {
                    key,
                    offset: *offset,
                    bytes,
                },
                Owned::Splice(key, offset, bytes) => Effect::Splice {
                    key,
                    offset: *offset,
                    bytes,
                },
                Owned::ExpireAt(key, at) => Effect::ExpireAt { key, at: *at },
                Owned::Delete(key) => Effect::Delete { key },
                Owned::Clear => Effect::Clear,
                Owned::Swap(with) => Effect::Swap {
                    with: DatabaseId(*with),
                },
            }
        }
    }

    fn effect() -> impl Strategy<Value = Owned> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            (bytes(), bytes(), 0u8..3, any::<Option<u64>>())
                .prop_map(|(k, v, e, x)| Owned::Put(k, v, e, x)),
            (bytes(), any::<u64>(), bytes()).prop_map(|(k, o, b)| Owned::PutPadded(k, o, b)),
            (bytes(), any::<u64>(), bytes()).prop_map(|(k, o, b)| Owned::Splice(k, o, b)),
            (bytes(), any::<Option<u64>>()).prop_map(|(k, at)| Owned::ExpireAt(k, at)),
            bytes().prop_map(Owned::Delete),
            Just(Owned::Clear),
            any::<u16>().prop_map(Owned::Swap),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(effects in prop::collection::vec((any::<u16>(), effect()), 0..20)) {
            let mut payload = Vec::new();
            let mut current = DatabaseId(0);
            for (database, effect) in &effects {
                if current.0 != *database {
                    current = DatabaseId(*database);
                    encode_database(current, &mut payload);
                }
                effect.borrow().encode(&mut payload);
            }
            let read: Vec<_> = Effects::new(DatabaseId(0), &payload).collect::<Result<_, _>>().unwrap();
            let written: Vec<_> = effects.iter().map(|(d, e)| (DatabaseId(*d), e.borrow())).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn fuzz_effects_reader(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            // Anything may stand there: the reader ends, and never panics.
            let _ = Effects::new(DatabaseId(0), &payload).count();
        }
    }
}
