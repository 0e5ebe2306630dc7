//! The record codec: bytes of one record, and nothing else.
//!
//! All integers are little-endian; every record starts at a multiple of 8.
//!
//! | bytes  | field     |                                                                     |
//! |--------|-----------|---------------------------------------------------------------------|
//! | 0..4   | length    | header and payload in bytes, at least 32; 0 = nothing written here   |
//! | 4..8   | checksum  | CRC-32 (IEEE), see below                                            |
//! | 8..12  | position  | the byte in the segment's file at which this record starts           |
//! | 12..16 | segment   | the number of the segment                                           |
//! | 16..24 | version   | of the change; in a sync mark the offset that is known to be durable |
//! | 24..26 | partition |                                                                     |
//! | 26..28 | database  |                                                                     |
//! | 28     | kind      | chosen by the caller                                                |
//! | 29     | class     | 0 a caller's record, 1 end of segment, 2 sync mark                   |
//! | 30..32 | zero      |                                                                     |
//! | 32..   | payload   | then zeros up to the next multiple of 8, not checksummed             |
//!
//! The checksum runs over the payload, then bytes 16..32, 0..4 and 8..16: what is known before the
//! place in the log is known comes first, so that only 8 bytes are left to do under the lock. It
//! starts from a seed made of the log's random id. Position and segment make the records of a
//! recycled file invalid in its next life; the seed keeps a client from smuggling in bytes that look
//! like a record.

use coterie_protocol::{DatabaseId, PartitionId, Version};
use crc32fast::Hasher;

use super::offset::LogOffset;

/// Bytes of a record before its payload.
pub(crate) const HEADER_BYTES: usize = 32;
/// Records start at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// The largest payload of one record: 2 GiB.
pub const MAX_PAYLOAD: usize = 1 << 31;

/// What the caller says about a record besides its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// The version of the change.
    pub version: Version,
    /// The partition it changes.
    pub partition: PartitionId,
    /// The database it changes.
    pub database: DatabaseId,
    /// What the payload is; the log doesn't look at it.
    pub kind: u8,
}

/// A record read back from the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Where the record starts.
    pub offset: LogOffset,
    /// The version of the change.
    pub version: Version,
    /// The partition it changes.
    pub partition: PartitionId,
    /// The database it changes.
    pub database: DatabaseId,
    /// What the payload is, as the caller numbered it.
    pub kind: u8,
    /// The caller's bytes.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Where the record ends: what `Log::append` returned for it.
    pub fn end(&self) -> LogOffset {
        let size = padded(HEADER_BYTES + self.payload.len()) as u32;
        LogOffset::new(self.offset.segment(), self.offset.position() + size)
    }
}

/// Who a record is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// The caller's.
    Caller = 0,
    /// The log goes on in the next segment.
    Seal = 1,
    /// Everything before the offset in `version` was synced before this was written.
    SyncMark = 2,
}

/// A valid record of any class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) class: Class,
    pub(crate) record: Record<'a>,
    /// The position after the record and its padding.
    pub(crate) end: u32,
}

/// Why there is no valid record at a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("nothing is written here")]
    Unwritten,
    #[error("the length is impossible")]
    Length,
    #[error("it names another place in the log")]
    Place,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("the class is unknown")]
    Class,
}

/// `bytes` rounded up to the alignment of records.
pub(crate) const fn padded(bytes: usize) -> usize {
    (bytes + ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// The start value of every checksum of the log with this id.
pub(crate) fn seed(log_id: u128) -> u32 {
    crc32fast::hash(&log_id.to_le_bytes())
}

/// A record without its place: everything that can be computed before the lock.
pub(crate) struct Draft<'a> {
    header: [u8; HEADER_BYTES],
    checksum: Hasher,
    payload: &'a [u8],
}

impl<'a> Draft<'a> {
    pub(crate) fn new(seed: u32, class: Class, header: RecordHeader, payload: &'a [u8]) -> Self {
        assert!(
            payload.len() <= MAX_PAYLOAD,
            "the caller asked `room`, which refuses this"
        );
        let length = (HEADER_BYTES + payload.len()) as u32;
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        bytes[16..24].copy_from_slice(&header.version.to_bits().to_le_bytes());
        bytes[24..26].copy_from_slice(&header.partition.0.to_le_bytes());
        bytes[26..28].copy_from_slice(&header.database.0.to_le_bytes());
        bytes[28] = header.kind;
        bytes[29] = class as u8;
        let mut checksum = Hasher::new_with_initial(seed);
        checksum.update(payload);
        checksum.update(&bytes[16..32]);
        checksum.update(&bytes[0..4]);
        Self {
            header: bytes,
            checksum,
            payload,
        }
    }

    /// A record of the log's own, without payload.
    pub(crate) fn internal(seed: u32, class: Class, version: u64) -> Draft<'static> {
        let header = RecordHeader {
            version: Version::from_bits(version),
            partition: PartitionId(0),
            database: DatabaseId(0),
            kind: 0,
        };
        Draft::new(seed, class, header, &[])
    }

    /// The room the record takes, padding included.
    pub(crate) fn size(&self) -> usize {
        padded(HEADER_BYTES + self.payload.len())
    }

    pub(crate) fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The finished header for a record at `place`.
    #[inline]
    pub(crate) fn place(mut self, place: LogOffset) -> [u8; HEADER_BYTES] {
        self.header[8..16].copy_from_slice(&place.to_u64().to_le_bytes());
        self.checksum.update(&self.header[8..16]);
        self.header[4..8].copy_from_slice(&self.checksum.finalize().to_le_bytes());
        self.header
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (u64::from(u32_at(bytes, at + 4)) << 32) | u64::from(u32_at(bytes, at))
}

/// Whether the bytes at `at` claim to be a record of this place; cheap, no proof.
#[inline]
pub(crate) fn claims_place(bytes: &[u8], segment: u32, at: usize) -> bool {
    at + HEADER_BYTES <= bytes.len()
        && u64_at(bytes, at + 8) == LogOffset::new(segment, at as u32).to_u64()
}

/// The length the bytes at `at` announce, header included.
pub(crate) fn announced_length(bytes: &[u8], at: usize) -> usize {
    if at + 4 <= bytes.len() {
        u32_at(bytes, at) as usize
    } else {
        0
    }
}

/// Reads the record at `at` of a segment whose bytes from 0 are `bytes`, checking everything.
pub(crate) fn parse(
    seed: u32,
    segment: u32,
    bytes: &[u8],
    at: usize,
) -> Result<Entry<'_>, Invalid> {
    let bytes = bytes.get(at..).unwrap_or_default();
    parse_at(seed, LogOffset::new(segment, at as u32), bytes)
}

/// As [`parse`], with the bytes from the record's start on.
pub(crate) fn parse_at(seed: u32, place: LogOffset, bytes: &[u8]) -> Result<Entry<'_>, Invalid> {
    if bytes.len() < 4 || u32_at(bytes, 0) == 0 {
        return Err(Invalid::Unwritten);
    }
    let length = placed_length(place, bytes)?;
    let mut checksum = Hasher::new_with_initial(seed);
    checksum.update(&bytes[HEADER_BYTES..length]);
    checksum.update(&bytes[16..32]);
    checksum.update(&bytes[0..4]);
    checksum.update(&bytes[8..16]);
    if checksum.finalize() != u32_at(bytes, 4) {
        return Err(Invalid::Checksum);
    }
    read_checked(place, bytes, length)
}

/// The length of the record at the start of `bytes`, if it is all there and claims to be at `place`.
#[inline]
fn placed_length(place: LogOffset, bytes: &[u8]) -> Result<usize, Invalid> {
    if bytes.len() < HEADER_BYTES {
        return Err(Invalid::Length);
    }
    if u64_at(bytes, 8) != place.to_u64() {
        return Err(Invalid::Place);
    }
    let length = announced_length(bytes, 0);
    if length < HEADER_BYTES || length > bytes.len() {
        return Err(Invalid::Length);
    }
    Ok(length)
}

/// Reads a record of `length` bytes that `parse` has accepted before.
#[inline]
fn read_checked(place: LogOffset, bytes: &[u8], length: usize) -> Result<Entry<'_>, Invalid> {
    let class = match bytes[29] {
        0 => Class::Caller,
        1 => Class::Seal,
        2 => Class::SyncMark,
        _ => return Err(Invalid::Class),
    };
    let record = Record {
        offset: place,
        version: Version::from_bits(u64_at(bytes, 16)),
        partition: PartitionId(u16_at(bytes, 24)),
        database: DatabaseId(u16_at(bytes, 26)),
        kind: bytes[28],
        payload: &bytes[HEADER_BYTES..length],
    };
    Ok(Entry {
        class,
        record,
        end: place.position() + padded(length) as u32,
    })
}

/// Reads a record again whose checksum was verified before.
pub(crate) fn reread(segment: u32, bytes: &[u8], at: usize) -> Result<Entry<'_>, Invalid> {
    let bytes = bytes.get(at..).unwrap_or_default();
    reread_at(LogOffset::new(segment, at as u32), bytes)
}

/// As [`reread`], with the bytes from the record's start on.
#[inline]
pub(crate) fn reread_at(place: LogOffset, bytes: &[u8]) -> Result<Entry<'_>, Invalid> {
    let length = placed_length(place, bytes)?;
    read_checked(place, bytes, length)
}
