//! Streams: entries in order of their ids, and groups of consumers that share the reading.

mod add;
mod change;
mod claim;
mod deliver;
mod entries;
mod group;
mod group_table;
mod id;
mod info;
mod pending;
mod progress;
mod read;
mod reply;
mod table;
mod trim;

pub use group_table::COMMANDS as GROUP_COMMANDS;
pub use read::waits;
pub use table::COMMANDS;

use coterie_protocol::DatabaseId;
use coterie_protocol::text::parse_i64;

use super::value::stream_of;
use super::{Call, CommandError};
use crate::engine::Transaction;
use crate::store::{Group, StreamView};

/// The stream at a key, which counts as used.
fn stream<'t>(
    transaction: &'t mut Transaction<'_>,
    database: DatabaseId,
    key: &[u8],
) -> Result<Option<StreamView<'t>>, CommandError> {
    stream_of(transaction.get(database, key))
}

/// The group of a name in the stream at a key.
///
/// # Errors
/// There is none, or no stream.
fn group<'t>(
    transaction: &'t mut Transaction<'_>,
    database: DatabaseId,
    key: &[u8],
    name: &[u8],
) -> Result<(StreamView<'t>, &'t Group), CommandError> {
    let stream = stream(transaction, database, key)?;
    let found = stream.and_then(|stream| Some((stream, stream.group(name)?)));
    found.ok_or_else(|| no_group(key, name, ""))
}

/// There is no such key or no such group in it.
fn no_group(key: &[u8], group: &[u8], after: &str) -> CommandError {
    let parts: [&[u8]; 6] = [
        b"NOGROUP No such key '",
        c_text(key),
        b"' or consumer group '",
        c_text(group),
        b"'",
        after.as_bytes(),
    ];
    CommandError::Bytes(parts.concat())
}

/// There is no such group in the stream at a key.
fn no_group_of_key(key: &[u8], group: &[u8]) -> CommandError {
    let parts: [&[u8]; 5] = [
        b"NOGROUP No such consumer group '",
        c_text(group),
        b"' for key name '",
        c_text(key),
        b"'",
    ];
    CommandError::Bytes(parts.concat())
}

/// Client's words as Redis quotes them: up to their first NUL.
fn c_text(words: &[u8]) -> &[u8] {
    words.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The number that an argument says.
fn integer(call: &Call<'_, '_>, index: usize) -> Result<i64, CommandError> {
    parse_i64(call.request.arg(index)).ok_or(CommandError::NotInteger)
}
