//! How effects are written in records, checkpoints and messages.
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
//! | 11 | `ElementSet` | kind byte, key, element, value |
//! | 12 | `ElementDelete` | kind byte, key, element |
//! | 13 | `Count` | base, total (8 bytes), delta (zigzag varint), key |
//! | 14 | `HashCount` | base, total (8 bytes), delta (zigzag varint), key, field |
//! | 15 | sets the stamp of the effect that follows; those after it count on from there | stamp |
//! | 16 | `Lapsed` | time, key |
//! | 17 | `AttributeSet` | key, name, value |
//! | 18 | `AttributeDelete` | key, name |
//! | 19 | `StreamTrim` | id (16 bytes), key |
//! | 20 | `Assertion` | kind byte, key |
//! | 21 | `Operation` | flags byte (1 executed again, 2 several keys), origin's actor, number, settled, key, reply |
//! | 22 | `Sketch` | base, key, value |
//! | 23 | `FieldUntil` | expiry, key, field, value |
//! | 24 | `Anew` | version (8 bytes), key |
//!
//! A stamp is the version in 8 little-endian bytes and the actor as a varint.

use coterie_protocol::{Actor, DatabaseId, Stamp, Version};

use super::{Effect, Kind, MalformedEffect, OperationId, OperationKind, StringEncoding};

impl Effect<'_> {
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
            Effect::ElementSet {
                kind,
                key,
                element,
                value,
            } => {
                out.extend_from_slice(&[11, kind as u8]);
                put_bytes(out, key);
                put_bytes(out, element);
                put_bytes(out, value);
            }
            Effect::FieldUntil {
                key,
                field,
                value,
                at,
            } => {
                out.push(23);
                out.extend_from_slice(&at.to_le_bytes());
                put_bytes(out, key);
                put_bytes(out, field);
                put_bytes(out, value);
            }
            Effect::ElementDelete { kind, key, element } => {
                out.extend_from_slice(&[12, kind as u8]);
                put_bytes(out, key);
                put_bytes(out, element);
            }
            Effect::AttributeSet { key, name, value } => {
                out.push(17);
                put_bytes(out, key);
                put_bytes(out, name);
                put_bytes(out, value);
            }
            Effect::AttributeDelete { key, name } => {
                out.push(18);
                put_bytes(out, key);
                put_bytes(out, name);
            }
            Effect::StreamTrim { key, below } => {
                out.push(19);
                out.extend_from_slice(&below);
                put_bytes(out, key);
            }
            Effect::Assertion { key, kind } => {
                out.extend_from_slice(&[20, kind as u8]);
                put_bytes(out, key);
            }
            Effect::Count {
                key,
                base,
                total,
                delta,
            } => {
                out.push(13);
                put_stamp(out, base);
                out.extend_from_slice(&total.to_le_bytes());
                put_varint(out, zigzag(delta));
                put_bytes(out, key);
            }
            Effect::HashCount {
                key,
                field,
                base,
                total,
                delta,
            } => {
                out.push(14);
                put_stamp(out, base);
                out.extend_from_slice(&total.to_le_bytes());
                put_varint(out, zigzag(delta));
                put_bytes(out, key);
                put_bytes(out, field);
            }
            Effect::Sketch { key, base, value } => {
                out.push(22);
                put_stamp(out, base);
                put_bytes(out, key);
                put_bytes(out, value);
            }
            Effect::Lapsed { key, at } => {
                out.push(16);
                out.extend_from_slice(&at.to_le_bytes());
                put_bytes(out, key);
            }
            Effect::Anew { key, settled } => {
                out.push(24);
                out.extend_from_slice(&settled.to_bits().to_le_bytes());
                put_bytes(out, key);
            }
            Effect::Operation {
                key,
                id,
                settled,
                kind,
                reply,
            } => {
                out.push(21);
                out.push(u8::from(kind.again) | u8::from(kind.many) << 1);
                put_varint(out, id.origin.0.into());
                put_varint(out, id.number);
                put_varint(out, settled);
                put_bytes(out, key);
                put_bytes(out, reply);
            }
            Effect::Clear => out.push(7),
            Effect::Swap { with } => {
                out.push(8);
                put_varint(out, with.0.into());
            }
        }
    }
}

/// Tag of the marker that changes the database.
const DATABASE: u8 = 9;

/// Appends a marker: the effects that follow are of `database`.
pub fn encode_database(database: DatabaseId, out: &mut Vec<u8>) {
    out.push(DATABASE);
    put_varint(out, database.0.into());
}

/// Appends a marker: the effect that follows has this stamp.
pub fn encode_stamp(stamp: Stamp, out: &mut Vec<u8>) {
    out.push(15);
    put_stamp(out, stamp);
}

/// Whether effects are the state of keys, rather than a change: a state begins with its database.
pub fn is_state(effects: &[u8]) -> bool {
    effects.first() == Some(&DATABASE)
}

/// Reads the effects of a payload, each with its database, which starts as the record's.
pub struct Effects<'a> {
    payload: &'a [u8],
    at: usize,
    database: DatabaseId,
    /// Of the effect that comes next.
    stamp: Stamp,
}

/// Reads the effects of a payload, each with its database and its stamp, which start as the record's.
pub struct Stamped<'a>(Effects<'a>);

impl<'a> Stamped<'a> {
    /// Effects of a record's payload.
    pub fn new(database: DatabaseId, stamp: Stamp, payload: &'a [u8]) -> Self {
        Stamped(Effects {
            payload,
            at: 0,
            database,
            stamp,
        })
    }

    /// How many bytes were read.
    pub fn consumed(&self) -> usize {
        self.0.at
    }
}

impl<'a> Iterator for Stamped<'a> {
    type Item = Result<(DatabaseId, Effect<'a>, Stamp), MalformedEffect>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.0.next()?;
        // What was read has the stamp before the one that comes next.
        let version = Version::from_bits(self.0.stamp.version.to_bits().saturating_sub(1));
        let stamp = Stamp::new(version, self.0.stamp.actor);
        Some(read.map(|(database, effect)| (database, effect, stamp)))
    }
}

impl<'a> Effects<'a> {
    /// Effects of a record's payload.
    pub fn new(database: DatabaseId, payload: &'a [u8]) -> Self {
        Effects {
            payload,
            at: 0,
            database,
            stamp: Stamp::ZERO,
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
                DATABASE => {
                    self.database = self.database_id()?;
                    continue;
                }
                10 => Effect::PutPadded {
                    offset: self.varint()?,
                    key: self.bytes()?,
                    bytes: self.bytes()?,
                },
                11 => {
                    let kind = Kind::from_u8(self.byte()?)?;
                    let (key, element) = (self.bytes()?, self.bytes()?);
                    if !has_elements_like(kind, element) {
                        return None;
                    }
                    Effect::ElementSet {
                        kind,
                        key,
                        element,
                        value: self.bytes()?,
                    }
                }
                12 => Effect::ElementDelete {
                    kind: Kind::from_u8(self.byte()?).filter(|kind| *kind != Kind::String)?,
                    key: self.bytes()?,
                    element: self.bytes()?,
                },
                13 => Effect::Count {
                    base: self.stamp()?,
                    total: self.fixed()? as i64,
                    delta: unzigzag(self.varint()?),
                    key: self.bytes()?,
                },
                14 => Effect::HashCount {
                    base: self.stamp()?,
                    total: self.fixed()? as i64,
                    delta: unzigzag(self.varint()?),
                    key: self.bytes()?,
                    field: self.bytes()?,
                },
                22 => Effect::Sketch {
                    base: self.stamp()?,
                    key: self.bytes()?,
                    value: self.bytes()?,
                },
                15 => {
                    self.stamp = self.stamp()?;
                    continue;
                }
                16 => Effect::Lapsed {
                    at: self.fixed()?,
                    key: self.bytes()?,
                },
                17 => Effect::AttributeSet {
                    key: self.bytes()?,
                    name: self.bytes()?,
                    value: self.bytes()?,
                },
                18 => Effect::AttributeDelete {
                    key: self.bytes()?,
                    name: self.bytes()?,
                },
                19 => Effect::StreamTrim {
                    below: self.array()?,
                    key: self.bytes()?,
                },
                24 => Effect::Anew {
                    settled: Version::from_bits(u64::from_le_bytes(self.array()?)),
                    key: self.bytes()?,
                },
                20 => Effect::Assertion {
                    kind: Kind::from_u8(self.byte()?)?,
                    key: self.bytes()?,
                },
                21 => {
                    let flags = self.byte()?;
                    Effect::Operation {
                        kind: OperationKind {
                            again: flags & 1 != 0,
                            many: flags & 2 != 0,
                        },
                        id: OperationId {
                            origin: Actor(u16::try_from(self.varint()?).ok()?),
                            number: self.varint()?,
                        },
                        settled: self.varint()?,
                        key: self.bytes()?,
                        reply: self.bytes()?,
                    }
                }
                23 => Effect::FieldUntil {
                    at: self.fixed()?,
                    key: self.bytes()?,
                    field: self.bytes()?,
                    value: self.bytes()?,
                },
                _ => return None,
            };
            self.stamp.version = self.stamp.version.successor();
            return Some((self.database, effect));
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.payload.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.payload.get(self.at..self.at.checked_add(N)?)?;
        self.at += N;
        bytes.try_into().ok()
    }

    fn fixed(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
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

    fn stamp(&mut self) -> Option<Stamp> {
        let version = Version::from_bits(self.fixed()?);
        let actor = Actor(u16::try_from(self.varint()?).ok()?);
        Some(Stamp::new(version, actor))
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

/// Whether an element is as collections of this kind have them.
fn has_elements_like(kind: Kind, element: &[u8]) -> bool {
    match kind {
        Kind::String => false,
        Kind::Hash | Kind::Set | Kind::SortedSet => true,
        Kind::List => element.len() == 10,
        Kind::Stream => element.len() == 16,
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed numbers near zero as small unsigned ones.
fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends an actor: what the payload of a record begins with that tells who made it.
pub fn encode_actor(actor: Actor, out: &mut Vec<u8>) {
    put_varint(out, actor.0.into());
}

/// Splits off the actor that a payload begins with.
pub fn split_actor(payload: &[u8]) -> Option<(Actor, &[u8])> {
    let mut reader = Effects::new(DatabaseId(0), payload);
    let actor = Actor(u16::try_from(reader.varint()?).ok()?);
    Some((actor, &payload[reader.at..]))
}

fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    out.extend_from_slice(&stamp.version.to_bits().to_le_bytes());
    put_varint(out, stamp.actor.0.into());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
