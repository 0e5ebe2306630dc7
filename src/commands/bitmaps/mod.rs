//! Bitmaps: strings seen as bits, the most significant bit of the first byte being bit 0.

mod bit;
mod count;
mod field;
mod operation;
mod table;

pub use table::COMMANDS;

use coterie_protocol::text::parse_i64;

use super::CommandError;

/// Checks the index of a bit: a string may not be made longer than `limit` bytes.
fn check_offset(offset: Option<i64>, limit: u64) -> Result<u64, CommandError> {
    offset
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < limit)
        .ok_or(CommandError::line(
            "ERR bit offset is not an integer or out of range",
        ))
}

/// The index of a bit.
fn parse_offset(text: &[u8], limit: u64) -> Result<u64, CommandError> {
    check_offset(parse_i64(text), limit)
}
