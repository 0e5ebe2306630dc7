//! Values of the type that a command works on.

use super::error::CommandError;
use crate::config::Config;
use crate::store::{Entry, HashValue, Kind};

/// The entry, if it holds a string; an error if it holds something else.
pub fn string_of(entry: Option<&Entry>) -> Result<Option<&Entry>, CommandError> {
    match entry {
        Some(entry) if entry.kind() != Kind::String => Err(CommandError::WrongType),
        entry => Ok(entry),
    }
}

/// The entry's hash; an error if it holds something else.
pub fn hash_of(entry: Option<&Entry>) -> Result<Option<&HashValue>, CommandError> {
    entry
        .map(|entry| entry.hash().ok_or(CommandError::WrongType))
        .transpose()
}

/// The name of the type of an entry's value, as `TYPE` answers it.
pub fn kind_name(entry: &Entry) -> &'static str {
    match entry.kind() {
        Kind::String => "string",
        Kind::Hash => "hash",
    }
}

/// In which form Redis would hold the value, as `OBJECT ENCODING` answers it.
pub fn encoding_name(entry: &Entry, config: &Config) -> &'static str {
    match entry.hash() {
        None => entry.encoding().name(),
        Some(hash) if is_compact(hash, config) => "listpack",
        Some(_) => "hashtable",
    }
}

/// Whether Redis would hold a hash as a list pack: it never had many fields or a long one.
pub fn is_compact(hash: &HashValue, config: &Config) -> bool {
    hash.peak_len() as u64 <= config.hash_max_listpack_entries
        && hash.longest_bytes() as u64 <= config.hash_max_listpack_value
}
