//! The order of a sorted set: by score, then by member bytes.
//!
//! A [`CountedTree`] whose items are a score and a 32-bit handle of the member: twelve bytes, in leaves that
//! are searched without looking at a member unless scores are equal. The alternatives: leaves with the
//! members themselves, which need no owner but a second copy of each (a third more memory with 16-byte
//! members, twice as much with long ones), and leaves with pointers to the table's entries, which would be
//! `unsafe` and break whenever an entry is allocated anew.

use std::cmp::Ordering;

use super::counted_tree::{CountedTree, Keyed, Range};

/// Who knows the members that handles stand for.
pub trait Members {
    /// The member behind a handle that is in the index.
    fn member(&self, handle: u32) -> &[u8];
}

/// A place in the order, between elements: the one right before or right after those it names.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound<'a> {
    /// Before the first element with this score or a higher one.
    FromScore(f64),
    /// Before the first element with a higher score.
    AboveScore(f64),
    /// Before the first element with this member or a greater one, where all scores are equal.
    FromMember(&'a [u8]),
    /// Before the first element with a greater member, where all scores are equal.
    AboveMember(&'a [u8]),
}

/// A score and whose it is. Packed, since eight-byte alignment would cost a third more.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub struct Item {
    score: f64,
    handle: u32,
}

impl Keyed for Item {
    type Key = Item;

    fn key(&self) -> Item {
        *self
    }
}

/// See the module. Scores are never NaN; -0.0 and 0.0 are the same.
#[derive(Default)]
pub struct ScoreIndex {
    tree: CountedTree<Item>,
}

/// How an item compares with a score and member.
fn compare(item: Item, score: f64, member: &[u8], members: &impl Members) -> Ordering {
    let other = item.score;
    if other < score {
        Ordering::Less
    } else if other > score {
        Ordering::Greater
    } else {
        members.member(item.handle).cmp(member)
    }
}

impl ScoreIndex {
    /// An empty index, which allocates nothing.
    pub const fn new() -> Self {
        ScoreIndex {
            tree: CountedTree::new(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Memory of the index, in bytes. O(1).
    pub fn allocated_bytes(&self) -> usize {
        self.tree.allocated_bytes()
    }

    /// Adds an element that is not there yet. O(log n).
    pub fn insert(&mut self, score: f64, member: &[u8], handle: u32, members: &impl Members) {
        debug_assert!(!score.is_nan());
        let is_before = |item| compare(item, score, member, members).is_lt();
        // Adding 0.0 makes -0.0 positive and nothing else different.
        let score = score + 0.0;
        self.tree.insert(Item { score, handle }, is_before);
    }

    /// How many elements are before this score and member: the rank of that element if it is there. O(log n).
    pub fn rank(&self, score: f64, member: &[u8], members: &impl Members) -> usize {
        debug_assert!(!score.is_nan());
        self.tree
            .partition_point(|item| compare(item, score, member, members).is_lt())
    }

    /// How many elements are before a bound: the rank of the first behind it. O(log n).
    pub fn rank_at(&self, bound: Bound<'_>, members: &impl Members) -> usize {
        self.tree.partition_point(|item| match bound {
            Bound::FromScore(score) => item.score < score,
            Bound::AboveScore(score) => item.score <= score,
            Bound::FromMember(member) => members.member(item.handle) < member,
            Bound::AboveMember(member) => members.member(item.handle) <= member,
        })
    }

    /// Takes out the element at a rank; returns its score and handle. O(log n).
    pub fn remove(&mut self, rank: usize) -> Option<(f64, u32)> {
        let item = self.tree.remove(rank)?;
        Some((item.score, item.handle))
    }

    /// Score and handle of the element at a rank, which counts from 0. O(log n).
    pub fn nth(&self, rank: usize) -> Option<(f64, u32)> {
        let item = self.tree.get(rank)?;
        Some((item.score, item.handle))
    }

    /// Gives the element at a rank another handle for the same member. O(log n).
    pub fn set_handle(&mut self, rank: usize, handle: u32) {
        self.tree.update(rank, |item| item.handle = handle);
    }

    /// Scores and handles of the elements at these ranks, both ways. O(log n) to begin.
    pub fn range(&self, ranks: std::ops::Range<usize>) -> Entries<'_> {
        Entries(self.tree.range(ranks))
    }
}

/// Scores and handles; see [`ScoreIndex::range`].
pub struct Entries<'a>(Range<'a, Item>);

impl Iterator for Entries<'_> {
    type Item = (f64, u32);

    fn next(&mut self) -> Option<(f64, u32)> {
        let item = self.0.next()?;
        Some((item.score, item.handle))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<(f64, u32)> {
        let item = self.0.next_back()?;
        Some((item.score, item.handle))
    }
}

impl ExactSizeIterator for Entries<'_> {}
