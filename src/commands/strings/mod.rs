//! Strings: values set, read and edited as a whole, as numbers, and by ranges of bytes.

mod lcs;
mod many;
mod number;
mod range;
mod set;
mod table;

pub use table::COMMANDS;

use super::CommandError;

/// The error of an edit that would make a string longer than `proto-max-bulk-len`.
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/// The length of a string after an edit that reaches from `offset` over `length` bytes, if `limit` allows it.
fn checked_length(offset: u64, length: usize, limit: u64) -> Result<u64, CommandError> {
    offset
        .checked_add(length as u64)
        .filter(|end| *end <= limit)
        .ok_or(CommandError::line(TOO_LONG))
}
