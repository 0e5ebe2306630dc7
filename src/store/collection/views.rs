//! What commands read of hashes, sets and sorted sets.

use std::ops::{Bound, Range};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Form;
use crate::store::containers::{self, SortedSet};
use crate::store::entry::Entry;

/// The score of a sorted set's member, as its value is encoded: the bits, big-endian.
pub struct Score;

impl Score {
    /// The value for a score, which is no NaN.
    pub fn encode(score: f64) -> [u8; 8] {
        score.to_bits().to_be_bytes()
    }

    /// The score of a value; 0 for one that is none.
    pub fn decode(value: &[u8]) -> f64 {
        let bits = value.try_into().map_or(0, u64::from_be_bytes);
        let score = f64::from_bits(bits);
        if score.is_nan() { 0.0 } else { score }
    }
}

/// The fields of a hash.
#[derive(Clone, Copy)]
pub struct HashView<'a>(pub(in crate::store) Form<'a>);

/// The members of a set.
#[derive(Clone, Copy)]
pub struct SetView<'a>(pub(in crate::store) Form<'a>);

/// The members of a sorted set, with their scores.
#[derive(Clone, Copy)]
pub struct SortedSetView<'a>(pub(in crate::store) Form<'a>);

/// What hashes, sets and sorted sets have in common.
macro_rules! common {
    () => {
        /// Number of elements.
        pub fn len(self) -> usize {
            self.0.len()
        }

        /// Whether there is none, which is never so for a key that is there.
        pub fn is_empty(self) -> bool {
            self.0.len() == 0
        }

        /// Most elements there ever were since it was made or loaded.
        pub fn peak_len(self) -> usize {
            self.0.extent().peak_len as usize
        }

        /// Length of the longest element there ever was since it was made or loaded, in bytes; of a hash, of the
        /// longest field or value.
        pub fn longest_bytes(self) -> usize {
            self.0.extent().longest_bytes as usize
        }
    };
}

impl<'a> HashView<'a> {
    common!();

    /// The value of a field.
    pub fn get(self, field: &[u8]) -> Option<&'a [u8]> {
        self.0.get(field)
    }

    /// When a field expires that is there.
    pub fn expire_at(self, field: &[u8]) -> Option<u64> {
        self.0.object()?.expire_at(field)
    }

    /// Fields and their values, in no order.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.0.iter()
    }

    /// Visits fields in order of position from a cursor on (0 at first), until `count` were visited and
    /// every field at the last position too. Returns the cursor to go on with; `None` at the end. A field
    /// that is there during a whole walk is visited exactly once.
    pub fn scan(self, cursor: u64, count: usize, visit: impl FnMut(&[u8], &[u8])) -> Option<u64> {
        self.0.scan(cursor, count, visit)
    }

    /// Visits up to `count` fields near a random point; at least one if there is any.
    pub fn sample(self, random: u64, count: usize, visit: impl FnMut(&[u8], &[u8])) {
        self.0.sample(random, count, visit);
    }
}

impl<'a> SetView<'a> {
    common!();

    /// Whether it has this member.
    pub fn contains(self, member: &[u8]) -> bool {
        self.0.get(member).is_some()
    }

    /// Whether every member that it ever had since it was made or loaded is an integer.
    pub fn is_of_integers(self) -> bool {
        !self.0.extent().has_text
    }

    /// The members, in no order.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().map(|(member, _)| member)
    }

    /// See [`HashView::scan`].
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8])) -> Option<u64> {
        self.0.scan(cursor, count, |member, _| visit(member))
    }

    /// See [`HashView::sample`].
    pub fn sample(self, random: u64, count: usize, mut visit: impl FnMut(&[u8])) {
        self.0.sample(random, count, |member, _| visit(member));
    }
}

impl<'a> SortedSetView<'a> {
    common!();

    fn sorted(self) -> Option<&'a SortedSet<Entry>> {
        self.0.object()?.elements.sorted()
    }

    /// The score of a member.
    pub fn score(self, member: &[u8]) -> Option<f64> {
        self.0.get(member).map(Score::decode)
    }

    /// How many members come before this one, in order of score and then bytes.
    pub fn rank(self, member: &[u8]) -> Option<usize> {
        if let Form::Small(small) = self.0 {
            return small.index_of(member);
        }
        let sorted = self.sorted()?;
        sorted.rank(xxh3_64_with_seed(member, sorted.seed()), member)
    }

    /// Members and scores of a range of ranks; `.rev()` for the highest first.
    pub fn range(self, ranks: Range<usize>) -> impl DoubleEndedIterator<Item = (&'a [u8], f64)> {
        let small = self.0.few(ranks.clone()).into_iter();
        let entries = self.sorted().map(|sorted| sorted.range(ranks));
        let entries = entries.into_iter().flatten();
        let pairs = small.chain(entries.map(|entry| (entry.key(), entry.value())));
        pairs.map(|(member, value)| (member, Score::decode(value)))
    }

    /// All members and scores, in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = (&'a [u8], f64)> {
        self.range(0..self.len())
    }

    /// The ranks of the members with scores between these.
    pub fn ranks_by_score(self, min: Bound<f64>, max: Bound<f64>) -> Range<usize> {
        use containers::Bound::{AboveScore, FromScore};
        let start = match min {
            Bound::Unbounded => None,
            Bound::Included(min) => Some(FromScore(min)),
            Bound::Excluded(min) => Some(AboveScore(min)),
        };
        let end = match max {
            Bound::Unbounded => None,
            Bound::Included(max) => Some(AboveScore(max)),
            Bound::Excluded(max) => Some(FromScore(max)),
        };
        self.ranks(start, end)
    }

    /// The ranks of the members between these, of a sorted set whose scores are all the same.
    pub fn ranks_by_member(self, min: Bound<&[u8]>, max: Bound<&[u8]>) -> Range<usize> {
        use containers::Bound::{AboveMember, FromMember};
        let start = match min {
            Bound::Unbounded => None,
            Bound::Included(min) => Some(FromMember(min)),
            Bound::Excluded(min) => Some(AboveMember(min)),
        };
        let end = match max {
            Bound::Unbounded => None,
            Bound::Included(max) => Some(AboveMember(max)),
            Bound::Excluded(max) => Some(FromMember(max)),
        };
        self.ranks(start, end)
    }

    fn ranks(
        self,
        start: Option<containers::Bound<'_>>,
        end: Option<containers::Bound<'_>>,
    ) -> Range<usize> {
        let start = start.map_or(0, |bound| self.rank_at(bound));
        let end = end.map_or(self.len(), |bound| self.rank_at(bound));
        start..end.max(start)
    }

    fn rank_at(self, bound: containers::Bound<'_>) -> usize {
        use containers::Bound::{AboveMember, AboveScore, FromMember, FromScore};
        let Form::Small(small) = self.0 else {
            return self.sorted().map_or(0, |sorted| sorted.rank_at(bound));
        };
        let is_before = |(member, value): &(&[u8], &[u8])| match bound {
            FromScore(score) => Score::decode(value) < score,
            AboveScore(score) => Score::decode(value) <= score,
            FromMember(other) => *member < other,
            AboveMember(other) => *member <= other,
        };
        small.iter().take_while(is_before).count()
    }

    /// See [`HashView::scan`].
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) -> Option<u64> {
        self.0.scan(cursor, count, |member, value| {
            visit(member, Score::decode(value));
        })
    }

    /// See [`HashView::sample`].
    pub fn sample(self, random: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) {
        self.0.sample(random, count, |member, value| {
            visit(member, Score::decode(value));
        });
    }
}
