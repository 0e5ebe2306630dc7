//! Lists: elements in order below one key.

mod blocking;
mod blocking_table;
mod change;
mod ends;
mod lookup;
mod table;
mod transfer;

use std::ops::Range;

use coterie_protocol::text::parse_i64;

pub use blocking_table::COMMANDS as BLOCKING_COMMANDS;
pub use table::COMMANDS;

use super::value::list_of;
use super::{Call, CommandError};
use crate::effect::Effect;
use crate::store::{Kind, ListView};

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Left,
    Right,
}

impl End {
    /// `LEFT` or `RIGHT`.
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match () {
            () if word.eq_ignore_ascii_case(b"left") => Ok(End::Left),
            () if word.eq_ignore_ascii_case(b"right") => Ok(End::Right),
            () => Err(CommandError::Syntax),
        }
    }

    /// The index of the element at this end of a list that is not empty.
    fn index(self, length: usize) -> usize {
        match self {
            End::Left => 0,
            End::Right => length.saturating_sub(1),
        }
    }
}

/// The list at the call's key, which counts as used.
fn list<'t>(call: &'t mut Call<'_, '_>) -> Result<Option<ListView<'t>>, CommandError> {
    list_of(call.transaction.get(call.database, call.request.arg(1)))
}

/// The effect that an element of the list at a key is gone.
fn removed<'a>(key: &'a [u8], position: &'a [u8]) -> Effect<'a> {
    Effect::ElementDelete {
        kind: Kind::List,
        key,
        element: position,
    }
}

/// The number that an argument says.
fn integer(call: &Call<'_, '_>, index: usize) -> Result<i64, CommandError> {
    parse_i64(call.request.arg(index)).ok_or(CommandError::NotInteger)
}

/// The index of an element; a negative one counts from the end.
fn index_of(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    (0..length).contains(&index).then_some(index as usize)
}

/// The indices from the first to the last, both of which may count from the end and lie outside.
fn indices(first: i64, last: i64, length: usize) -> Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { index + length } else { index };
    let first = from_start(first).clamp(0, length);
    let end = from_start(last).saturating_add(1).clamp(first, length);
    first as usize..end as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_may_count_from_the_end_and_lie_outside() {
        assert_eq!(indices(0, -1, 3), 0..3);
        assert_eq!(indices(-100, 100, 3), 0..3);
        assert_eq!(indices(i64::MIN, i64::MAX, 3), 0..3);
        assert_eq!(indices(-2, -2, 3), 1..2);
        assert!(indices(2, 1, 3).is_empty() && indices(3, 5, 3).is_empty());
        assert!(indices(0, -4, 3).is_empty());
        assert_eq!(index_of(-3, 3), Some(0));
        assert_eq!(index_of(-4, 3), None);
        assert_eq!(index_of(3, 3), None);
        assert_eq!(index_of(i64::MIN, 3), None);
    }
}
