//! Values as Redis serialises them for `DUMP` and `RESTORE`: an RDB type, the value, the RDB version and a CRC-64. Libraries
//! of functions have the same parts.
//!
//! The format is that of Redis 7.0 (RDB version 10). Written is what Redis would write for a value, reading takes
//! every encoding back to the first ones. Bytes only, no I/O; what is read comes from anywhere, so a length counts for
//! nothing until the bytes are there, and a value may not become larger than a record of the log could hold.

mod collections;
mod listpack;
mod lzf;
mod older;
mod reader;
mod stream;
#[cfg(test)]
mod tests;
mod write;

use crc::{CRC_64_REDIS, Crc, Table};

use crate::effect::Kind;

pub use reader::{BYTES_MAX, DecodeError, Reader};
pub use write::{encode, put_number};

/// The version that is written, and the highest that is read.
const VERSION: u16 = 10;
/// Version and checksum behind the value.
const FOOTER_BYTES: usize = 10;

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// RDB types of values.
mod kinds {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const SORTED_SET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const SORTED_SET_2: u8 = 5;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_LISTPACKS_2: u8 = 19;
}

/// Names with values.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A value that was read.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A string.
    String(Vec<u8>),
    /// The values of a list, in order.
    List(Vec<Vec<u8>>),
    /// The elements of any other collection with their values, and the attributes of a stream, as effects have them.
    /// No element is there twice.
    Elements {
        /// What it is.
        kind: Kind,
        /// See above.
        elements: Pairs,
        /// See above.
        attributes: Pairs,
    },
}

/// Takes off the footer.
///
/// # Errors
/// The payload is of a later version, or was not written like this.
pub fn verified(payload: &[u8]) -> Result<&[u8], DecodeError> {
    let length = payload.len().checked_sub(FOOTER_BYTES);
    let (value, footer) = payload.split_at(length.ok_or(DecodeError::Footer)?);
    let (version, checksum) = footer.split_at(2);
    let version = u16::from_le_bytes([version[0], version[1]]);
    let expected = CHECKSUM.checksum(&payload[..value.len() + 2]);
    if version > VERSION || checksum != expected.to_le_bytes() {
        return Err(DecodeError::Footer);
    }
    Ok(value)
}

/// Reads a value without its footer. What follows it is ignored, as Redis does.
///
/// # Errors
/// It is no value that Redis could have written, one of a module, or too large.
pub fn decode(value: &[u8]) -> Result<Value, DecodeError> {
    collections::decode(value, reader::BYTES_MAX)
}

/// Adds the footer.
pub fn sign(mut value: Vec<u8>) -> Vec<u8> {
    value.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = CHECKSUM.checksum(&value);
    value.extend_from_slice(&checksum.to_le_bytes());
    value
}
