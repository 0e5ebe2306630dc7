//! Ids and ranges of them, as clients write them.

use std::ops::Bound;

use coterie_protocol::text::parse_u64_lenient;

use super::c_text;
use crate::commands::CommandError;
use crate::store::StreamId;

/// Longer ids are refused, in bytes.
const ID_BYTES_MAX: usize = 127;

const INVALID: CommandError =
    CommandError::line("ERR Invalid stream ID specified as stream command argument");

/// An id as a client wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenId {
    /// Both of its numbers.
    Whole(StreamId),
    /// `ms-*`: the milliseconds, and whatever sequence comes next.
    Milliseconds(u64),
}

/// An id, whose sequence is 0 if there is only one number.
///
/// # Errors
/// It is none.
pub fn id(text: &[u8]) -> Result<StreamId, CommandError> {
    match c_text(text) {
        b"-" | b"+" => Err(INVALID),
        _ => id_or_end(text, 0),
    }
}

/// An id, or `-` for the lowest and `+` for the highest. `sequence` is what counts where there is only one number.
///
/// # Errors
/// It is neither.
pub fn id_or_end(text: &[u8], sequence: u64) -> Result<StreamId, CommandError> {
    if text.len() > ID_BYTES_MAX {
        return Err(INVALID);
    }
    match c_text(text) {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => numbers(text, sequence).ok_or(INVALID),
    }
}

/// An id for a new entry.
///
/// # Errors
/// It is none.
pub fn new_id(text: &[u8]) -> Result<GivenId, CommandError> {
    let before = c_text(text).strip_suffix(b"-*");
    match before.filter(|before| text.len() <= ID_BYTES_MAX && !before.contains(&b'-')) {
        Some(before) => parse_u64_lenient(before)
            .map(GivenId::Milliseconds)
            .ok_or(INVALID),
        None => id(text).map(GivenId::Whole),
    }
}

fn numbers(text: &[u8], sequence: u64) -> Option<StreamId> {
    let mut parts = text.splitn(2, |&byte| byte == b'-');
    let ms = parse_u64_lenient(parts.next()?)?;
    let sequence = match parts.next() {
        Some(part) => parse_u64_lenient(part)?,
        None => sequence,
    };
    Some(StreamId::new(ms, sequence))
}

/// The first id of a range; behind `(` it is the one above.
///
/// # Errors
/// It is no id, or there is none above.
pub fn first_of_range(text: &[u8]) -> Result<StreamId, CommandError> {
    match exclusive(text) {
        Some(text) => id(text)?
            .next()
            .ok_or(CommandError::line("ERR invalid start ID for the interval")),
        None => id_or_end(text, 0),
    }
}

/// The last id of a range; behind `(` it is the one below.
///
/// # Errors
/// It is no id, or there is none below.
pub fn last_of_range(text: &[u8]) -> Result<StreamId, CommandError> {
    match exclusive(text) {
        Some(text) => {
            let end = match c_text(text) {
                b"-" | b"+" => return Err(INVALID),
                _ => id_or_end(text, u64::MAX)?,
            };
            end.previous()
                .ok_or(CommandError::line("ERR invalid end ID for the interval"))
        }
        None => id_or_end(text, u64::MAX),
    }
}

fn exclusive(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"(").filter(|rest| !rest.is_empty())
}

/// Between these two, both included.
pub fn between(first: StreamId, last: StreamId) -> (Bound<StreamId>, Bound<StreamId>) {
    (Bound::Included(first), Bound::Included(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_leniently_as_redis_does() {
        let of = |text: &str| id(text.as_bytes()).ok();
        assert_eq!(of("5"), Some(StreamId::new(5, 0)));
        assert_eq!(of("5-7"), Some(StreamId::new(5, 7)));
        assert_eq!(of("05-007"), Some(StreamId::new(5, 7)));
        assert_eq!(of("5\0rest"), Some(StreamId::new(5, 0)));
        for text in ["", "-", "+", "5-", "-5", "a", "5-a", "5-*", "5-6-7", "(5"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(of(&"0".repeat(128)), None);
        let new = |text: &str| new_id(text.as_bytes()).ok();
        assert_eq!(new("5-*"), Some(GivenId::Milliseconds(5)));
        assert_eq!(new("5-5"), Some(GivenId::Whole(StreamId::new(5, 5))));
        assert_eq!((new("*"), new("-*"), new("5-5-*")), (None, None, None));
    }

    #[test]
    fn ranges_may_leave_out_their_ends() {
        let first = |text: &str| first_of_range(text.as_bytes()).ok();
        let last = |text: &str| last_of_range(text.as_bytes()).ok();
        assert_eq!(first("-"), Some(StreamId::MIN));
        assert_eq!(first("(5-1"), Some(StreamId::new(5, 2)));
        assert_eq!(first("(18446744073709551615-18446744073709551615"), None);
        assert_eq!(last("5"), Some(StreamId::new(5, u64::MAX)));
        assert_eq!(last("(5"), Some(StreamId::new(5, u64::MAX - 1)));
        assert_eq!(last("(5-0"), Some(StreamId::new(4, u64::MAX)));
        assert_eq!((last("(0-0"), last("("), first("(-")), (None, None, None));
    }
}
