//! Which part of a sorted set a command is about: from one rank, score or member to another.

use std::ops::{Bound, Range};

use coterie_protocol::text::{parse_f64, parse_i64};

use crate::commands::CommandError;
use crate::store::SortedSetView;

/// What the ends of a range are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Rank,
    Score,
    Member,
}

/// A range that was asked for.
#[derive(Clone, Copy, Debug)]
pub enum Span<'a> {
    /// Ranks; negative ones count from the end.
    Ranks(i64, i64),
    Scores(Bound<f64>, Bound<f64>),
    Members(Bound<&'a [u8]>, Bound<&'a [u8]>),
    /// Between members of which the first is behind the last.
    Nothing,
}

impl<'a> Span<'a> {
    /// The range between two arguments.
    pub fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        match by {
            By::Rank => {
                let rank = |text| parse_i64(text).ok_or(CommandError::NotInteger);
                Ok(Span::Ranks(rank(min)?, rank(max)?))
            }
            By::Score => score_bound(min)
                .zip(score_bound(max))
                .map(|(min, max)| Span::Scores(min, max))
                .ok_or(CommandError::line("ERR min or max is not a float")),
            By::Member => member_bound(min)
                .zip(member_bound(max))
                .map(|(min, max)| Span::between(min, max))
                .ok_or(CommandError::line(
                    "ERR min or max not valid string range item",
                )),
        }
    }

    fn between(min: MemberBound<'a>, max: MemberBound<'a>) -> Self {
        let (start, end) = match (min, max) {
            (MemberBound::Last, _) | (_, MemberBound::First) => return Span::Nothing,
            (MemberBound::First, MemberBound::Last) => (Bound::Unbounded, Bound::Unbounded),
            (MemberBound::First, MemberBound::At(end)) => (Bound::Unbounded, end),
            (MemberBound::At(start), MemberBound::Last) => (start, Bound::Unbounded),
            (MemberBound::At(start), MemberBound::At(end)) => (start, end),
        };
        match (start, end) {
            (Bound::Included(min), Bound::Included(max)) if min > max => Span::Nothing,
            (Bound::Included(min) | Bound::Excluded(min), Bound::Excluded(max))
            | (Bound::Excluded(min), Bound::Included(max))
                if min >= max =>
            {
                Span::Nothing
            }
            (start, end) => Span::Members(start, end),
        }
    }

    /// The ranks, from the lowest, of the members in the range. With `reverse` the ranks that were asked for are those from the
    /// highest.
    ///
    /// `is_compact` says that Redis would hold the set as a list pack. There it compares one member after the other, which
    /// shows when a range of members is asked for although scores differ.
    pub fn ranks(&self, set: SortedSetView<'_>, is_compact: bool, reverse: bool) -> Range<usize> {
        match *self {
            Span::Ranks(start, stop) => ranks(start, stop, set.len(), reverse),
            Span::Scores(min, max) => set.ranks_by_score(min, max),
            Span::Members(min, max) if is_compact => walk(set, min, max, reverse),
            Span::Members(min, max) => set.ranks_by_member(min, max),
            Span::Nothing => 0..0,
        }
    }
}

/// Where a range of members begins or ends.
enum MemberBound<'a> {
    /// `-`: before all of them.
    First,
    At(Bound<&'a [u8]>),
    /// `+`: behind all of them.
    Last,
}

fn member_bound(text: &[u8]) -> Option<MemberBound<'_>> {
    let ends = |rest: &[u8]| rest.first().is_none_or(|byte| *byte == 0);
    match text {
        [b'-', rest @ ..] if ends(rest) => Some(MemberBound::First),
        [b'+', rest @ ..] if ends(rest) => Some(MemberBound::Last),
        [b'[', member @ ..] => Some(MemberBound::At(Bound::Included(member))),
        [b'(', member @ ..] => Some(MemberBound::At(Bound::Excluded(member))),
        _ => None,
    }
}

fn score_bound(text: &[u8]) -> Option<Bound<f64>> {
    match text {
        [b'(', score @ ..] => parse_leniently(score).map(Bound::Excluded),
        score => parse_leniently(score).map(Bound::Included),
    }
}

/// A number as Redis takes it here: nothing is zero, spaces may come first, what follows a NUL does not count, and what is too
/// large is infinite.
fn parse_leniently(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    let digits = &text[start..];
    if let Some(value) = parse_f64(digits) {
        return Some(value);
    }
    let is_decimal = digits
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_decimal)?;
    digits.parse().ok()
}

fn ranks(start: i64, stop: i64, length: usize, reverse: bool) -> Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_start = |rank: i64| if rank < 0 { rank + length } else { rank };
    let start = from_start(start).clamp(0, length);
    let end = from_start(stop).saturating_add(1).clamp(start, length);
    let range = if reverse {
        length - end..length - start
    } else {
        start..end
    };
    range.start as usize..range.end as usize
}

/// From the first member that is not before `min`, for as long as none is behind `max`; with `reverse` the other way round.
fn walk(
    set: SortedSetView<'_>,
    min: Bound<&[u8]>,
    max: Bound<&[u8]>,
    reverse: bool,
) -> Range<usize> {
    let is_not_before = |(member, _): &(&[u8], f64)| match min {
        Bound::Unbounded => true,
        Bound::Included(min) => *member >= min,
        Bound::Excluded(min) => *member > min,
    };
    let is_not_behind = |(member, _): &(&[u8], f64)| match max {
        Bound::Unbounded => true,
        Bound::Included(max) => *member <= max,
        Bound::Excluded(max) => *member < max,
    };
    let length = set.len();
    let is_within = set.iter().next().is_some_and(|first| is_not_behind(&first))
        && set
            .iter()
            .next_back()
            .is_some_and(|last| is_not_before(&last));
    if !is_within {
        return 0..0;
    }
    if reverse {
        let behind = set.iter().rev().take_while(|pair| !is_not_behind(pair));
        let end = length - behind.count();
        let found = set.range(0..end).rev().take_while(is_not_before);
        return end - found.count()..end;
    }
    let start = set.iter().take_while(|pair| !is_not_before(pair)).count();
    let found = set.range(start..length).take_while(is_not_behind);
    start..start + found.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_may_count_from_the_end_and_lie_outside() {
        assert_eq!(ranks(0, -1, 3, false), 0..3);
        assert_eq!(ranks(i64::MIN, i64::MAX, 3, true), 0..3);
        assert_eq!(ranks(0, 0, 3, true), 2..3);
        assert_eq!(ranks(-1, -1, 3, true), 0..1);
        assert!(ranks(2, 1, 3, false).is_empty() && ranks(3, 9, 3, true).is_empty());
        assert!(ranks(0, -4, 3, false).is_empty());
    }

    #[test]
    fn scores_are_read_as_the_c_library_does() {
        // Answers of ZRANGEBYSCORE z <text> <text>.
        let known: [(&[u8], Option<f64>); 9] = [
            (b"", Some(0.0)),
            (b" 1", Some(1.0)),
            (b"1\0x", Some(1.0)),
            (b"1e400", Some(f64::INFINITY)),
            (b"1e-400", Some(0.0)),
            (b"0x10", Some(16.0)),
            (b" ", None),
            (b"1 ", None),
            (b"nan", None),
        ];
        for (text, score) in known {
            assert_eq!(parse_leniently(text), score, "{}", text.escape_ascii());
        }
    }
}
