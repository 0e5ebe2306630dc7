//! The members of a sorted set in order of score, then bytes; found by rank.

use std::cmp::Ordering;
use std::ops::Range;

use crate::store::size_class::size_class;

/// See the module.
#[derive(Default)]
pub struct ScoreIndex {
    members: Vec<(f64, Box<[u8]>)>,
    member_bytes: usize,
}

fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    // The sum makes the two zeros equal.
    (a.0 + 0.0)
        .total_cmp(&(b.0 + 0.0))
        .then_with(|| a.1.cmp(b.1))
}

impl ScoreIndex {
    fn find(&self, score: f64, member: &[u8]) -> Result<usize, usize> {
        let sought = (score, member);
        self.members
            .binary_search_by(|(score, member)| compare((*score, member), sought))
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, score: f64, member: &[u8]) {
        if let Err(at) = self.find(score, member) {
            self.member_bytes += size_class(member.len());
            self.members.insert(at, (score, member.into()));
        }
    }

    /// Takes a member out that has this score.
    pub fn remove(&mut self, score: f64, member: &[u8]) {
        if let Ok(at) = self.find(score, member) {
            self.member_bytes -= size_class(member.len());
            self.members.remove(at);
        }
    }

    /// How many members come before this one.
    pub fn rank(&self, score: f64, member: &[u8]) -> Option<usize> {
        self.find(score, member).ok()
    }

    /// How many members are at the start for which `is_before` holds, which holds for none behind them.
    pub fn partition_point(&self, mut is_before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        self.members
            .partition_point(|(score, member)| is_before(*score, member))
    }

    /// The members of a range of ranks, which must be within bounds.
    pub fn range(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = (&[u8], f64)> {
        let members = self.members[range].iter();
        members.map(|(score, member)| (&**member, *score))
    }

    /// Memory of it, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        size_class(self.members.capacity() * size_of::<(f64, Box<[u8]>)>()) + self.member_bytes
    }
}
