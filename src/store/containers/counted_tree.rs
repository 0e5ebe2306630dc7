//! A B+tree whose inner nodes know how many items are below each child.
//!
//! (Counted B-trees: Comer, The Ubiquitous B-Tree, 1979, with ranks as in order-statistic trees.) The items'
//! order is the caller's: whoever inserts says which items go before, by a predicate that holds up to some
//! item and not after it. Finding by rank or by predicate, inserting and removing take O(log n) steps, and
//! none ever moves more than one node's items, however large the tree is.
//!
//! A node's items are in one vector that grows by the allocator's size classes, so that half-full leaves do
//! not take the memory of full ones. Nodes own their children: there are no links between leaves, since the
//! next leaf is one descent by rank away, which a walk pays once in a leaf.

use super::{buffer_bytes, give_back, reserve_to_class};

/// Most items in a leaf, and most children of an inner node.
const LEAF_ITEMS: usize = 128;
const CHILDREN: usize = 32;

/// What an item is ordered by, small enough to be copied into inner nodes.
pub trait Keyed {
    /// See the trait.
    type Key: Copy;

    /// The item's key.
    fn key(&self) -> Self::Key;
}

/// See the module.
pub struct CountedTree<T: Keyed> {
    root: Node<T>,
    length: usize,
    /// Memory of all nodes' vectors.
    bytes: usize,
}

enum Node<T: Keyed> {
    Leaf(Vec<T>),
    Inner(Vec<Branch<T>>),
}

/// A child with what is known of it without looking. A child is never empty.
struct Branch<T: Keyed> {
    first: T::Key,
    count: usize,
    node: Node<T>,
}

impl<T: Keyed> Default for CountedTree<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Keyed> CountedTree<T> {
    /// An empty tree, which allocates nothing.
    pub const fn new() -> Self {
        CountedTree {
            root: Node::Leaf(Vec::new()),
            length: 0,
            bytes: 0,
        }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Memory of the tree, in bytes, without what its items point to. O(1).
    pub fn allocated_bytes(&self) -> usize {
        self.bytes
    }

    /// The item at a rank, which counts from 0. O(log n).
    pub fn get(&self, rank: usize) -> Option<&T> {
        if rank >= self.length {
            return None;
        }
        let (leaf, at) = self.leaf_at(rank);
        Some(&leaf[at])
    }

    /// How many items the predicate holds for, all of which are before those it does not hold for. O(log n).
    pub fn partition_point(&self, mut is_before: impl FnMut(T::Key) -> bool) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(items) => {
                    return rank + items.partition_point(|item| is_before(item.key()));
                }
                Node::Inner(branches) => {
                    let at = child_before(branches, &mut is_before);
                    rank += branches[..at].iter().map(|b| b.count).sum::<usize>();
                    node = &branches[at].node;
                }
            }
        }
    }

    /// Inserts an item behind those for which the predicate holds. O(log n).
    pub fn insert(&mut self, item: T, mut is_before: impl FnMut(T::Key) -> bool) {
        self.length += 1;
        if let Some(sibling) = self.root.insert(item, &mut is_before, &mut self.bytes) {
            let old = std::mem::replace(&mut self.root, Node::Inner(Vec::new()));
            if let Node::Inner(branches) = &mut self.root {
                reserve_to_class(branches, 2);
                branches.extend([Branch::of(old), Branch::of(sibling)]);
                self.bytes += buffer_bytes(branches);
            }
        }
    }

    /// Takes out the item at a rank. O(log n).
    pub fn remove(&mut self, rank: usize) -> Option<T> {
        if rank >= self.length {
            return None;
        }
        self.length -= 1;
        let item = self.root.remove(rank, &mut self.bytes);
        while let Node::Inner(branches) = &mut self.root
            && branches.len() <= 1
        {
            self.bytes -= buffer_bytes(branches);
            self.root = match branches.pop() {
                Some(only) => only.node,
                None => Node::Leaf(Vec::new()),
            };
        }
        Some(item)
    }

    /// The item at a rank, to change it but for its key. O(log n).
    pub fn get_mut(&mut self, rank: usize) -> Option<&mut T> {
        if rank >= self.length {
            return None;
        }
        let mut node = &mut self.root;
        let mut rank = rank;
        loop {
            match node {
                Node::Leaf(items) => return items.get_mut(rank),
                Node::Inner(branches) => {
                    let (at, rest) = child_at(branches, rank);
                    node = &mut branches[at].node;
                    rank = rest;
                }
            }
        }
    }

    /// Changes the item at a rank and its key, too; its place in the order must stay. O(log n).
    pub fn update(&mut self, rank: usize, change: impl FnOnce(&mut T)) {
        if rank < self.length {
            self.root.update(rank, change);
        }
    }

    /// The items at these ranks, of which those beyond the end are left out; both ways. O(log n) to begin,
    /// and as much once in a leaf.
    pub fn range(&self, ranks: std::ops::Range<usize>) -> Range<'_, T> {
        let end = ranks.end.min(self.length);
        Range {
            tree: self,
            start: ranks.start.min(end),
            end,
            head: &[],
            tail: &[],
        }
    }

    /// Everything, taken out in order.
    pub fn into_items(self) -> impl Iterator<Item = T> {
        let mut nodes = vec![self.root];
        let leaves = std::iter::from_fn(move || {
            loop {
                match nodes.pop()? {
                    Node::Leaf(items) => return Some(items),
                    Node::Inner(branches) => {
                        nodes.extend(branches.into_iter().rev().map(|branch| branch.node));
                    }
                }
            }
        });
        leaves.flatten()
    }

    /// The leaf with the item at a rank, which exists, and where it is there.
    fn leaf_at(&self, rank: usize) -> (&[T], usize) {
        let mut node = &self.root;
        let mut rank = rank;
        loop {
            match node {
                Node::Leaf(items) => return (items, rank),
                Node::Inner(branches) => {
                    let (at, rest) = child_at(branches, rank);
                    node = &branches[at].node;
                    rank = rest;
                }
            }
        }
    }
}

/// The child that the last item before the point is in; the first if there is no such item.
fn child_before<T: Keyed>(
    branches: &[Branch<T>],
    is_before: &mut impl FnMut(T::Key) -> bool,
) -> usize {
    // Nothing hangs on whether the first child begins before the point.
    branches[1..].partition_point(|branch| is_before(branch.first))
}

/// The child that a rank is in, and the rank there.
fn child_at<T: Keyed>(branches: &[Branch<T>], rank: usize) -> (usize, usize) {
    let mut rank = rank;
    for (at, branch) in branches.iter().enumerate() {
        if rank < branch.count {
            return (at, rank);
        }
        rank -= branch.count;
    }
    unreachable!("the rank is below the sum of all counts");
}

/// Changes a vector, keeping account of its memory.
fn accounted<V, R>(
    vector: &mut Vec<V>,
    bytes: &mut usize,
    change: impl FnOnce(&mut Vec<V>) -> R,
) -> R {
    let before = buffer_bytes(vector);
    let result = change(vector);
    *bytes = *bytes + buffer_bytes(vector) - before;
    result
}

fn insert_at<V>(vector: &mut Vec<V>, at: usize, element: V, bytes: &mut usize) {
    if vector.len() < vector.capacity() {
        vector.insert(at, element);
        return;
    }
    accounted(vector, bytes, |vector| {
        reserve_to_class(vector, 1);
        vector.insert(at, element);
    });
}

/// Inserts into a full vector by splitting it; returns the right part. Who adds at an end splits nothing off,
/// so that nodes stay full in a tree that grows at its ends.
fn insert_split<V>(vector: &mut Vec<V>, at: usize, element: V, bytes: &mut usize) -> Vec<V> {
    let cut = match at {
        0 => 0,
        at if at == vector.len() => at,
        _ => vector.len() / 2,
    };
    let mut right = accounted(vector, bytes, |vector| {
        let right = vector.split_off(cut);
        give_back(vector);
        right
    });
    *bytes += buffer_bytes(&right);
    if at < cut || cut == 0 {
        insert_at(vector, at, element, bytes);
    } else {
        insert_at(&mut right, at - cut, element, bytes);
    }
    right
}

impl<T: Keyed> Node<T> {
    /// Items or children of the node itself.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(branches) => branches.len(),
        }
    }

    /// Inserts, and returns the new right sibling if it had to split.
    fn insert(
        &mut self,
        item: T,
        is_before: &mut impl FnMut(T::Key) -> bool,
        bytes: &mut usize,
    ) -> Option<Node<T>> {
        match self {
            Node::Leaf(items) => {
                let at = items.partition_point(|item| is_before(item.key()));
                if items.len() < LEAF_ITEMS {
                    insert_at(items, at, item, bytes);
                    return None;
                }
                Some(Node::Leaf(insert_split(items, at, item, bytes)))
            }
            Node::Inner(branches) => {
                let at = child_before(branches, is_before);
                let branch = &mut branches[at];
                let sibling = branch.node.insert(item, is_before, bytes);
                branch.count += 1;
                branch.first = branch.node.first();
                let sibling = Branch::of(sibling?);
                branch.count -= sibling.count;
                if branches.len() < CHILDREN {
                    insert_at(branches, at + 1, sibling, bytes);
                    return None;
                }
                Some(Node::Inner(insert_split(branches, at + 1, sibling, bytes)))
            }
        }
    }

    fn remove(&mut self, rank: usize, bytes: &mut usize) -> T {
        match self {
            Node::Leaf(items) => accounted(items, bytes, |items| {
                let item = items.remove(rank);
                give_back(items);
                item
            }),
            Node::Inner(branches) => {
                let (at, rank) = child_at(branches, rank);
                let branch = &mut branches[at];
                let item = branch.node.remove(rank, bytes);
                branch.count -= 1;
                if branch.count > 0 {
                    branch.first = branch.node.first();
                    merge_if_sparse(branches, at, bytes);
                } else {
                    let emptied = branches.remove(at);
                    *bytes -= emptied.node.buffer_bytes();
                    accounted(branches, bytes, give_back);
                }
                item
            }
        }
    }

    fn update(&mut self, rank: usize, change: impl FnOnce(&mut T)) {
        match self {
            Node::Leaf(items) => change(&mut items[rank]),
            Node::Inner(branches) => {
                let (at, rank) = child_at(branches, rank);
                let branch = &mut branches[at];
                branch.node.update(rank, change);
                branch.first = branch.node.first();
            }
        }
    }

    /// Key of the first item; there is one.
    fn first(&self) -> T::Key {
        match self {
            Node::Leaf(items) => items[0].key(),
            Node::Inner(branches) => branches[0].first,
        }
    }

    fn buffer_bytes(&self) -> usize {
        match self {
            Node::Leaf(items) => buffer_bytes(items),
            Node::Inner(branches) => buffer_bytes(branches),
        }
    }
}

impl<T: Keyed> Branch<T> {
    fn of(node: Node<T>) -> Self {
        let count = match &node {
            Node::Leaf(items) => items.len(),
            Node::Inner(branches) => branches.iter().map(|branch| branch.count).sum(),
        };
        Branch {
            first: node.first(),
            count,
            node,
        }
    }
}

/// Merges a child that is less than a quarter full with a neighbour, where both fit with room to spare.
fn merge_if_sparse<T: Keyed>(branches: &mut Vec<Branch<T>>, at: usize, bytes: &mut usize) {
    let most = match branches[at].node {
        Node::Leaf(_) => LEAF_ITEMS,
        Node::Inner(_) => CHILDREN,
    };
    if branches[at].node.width() >= most / 4 {
        return;
    }
    let fits = |left: usize| {
        let right = branches.get(left + 1)?;
        let width = branches[left].node.width() + right.node.width();
        (width <= most * 3 / 4).then_some(left)
    };
    let Some(left) = at.checked_sub(1).and_then(fits).or_else(|| fits(at)) else {
        return;
    };
    let absorbed = accounted(branches, bytes, |branches| {
        let absorbed = branches.remove(left + 1);
        give_back(branches);
        absorbed
    });
    *bytes -= absorbed.node.buffer_bytes();
    let branch = &mut branches[left];
    branch.count += absorbed.count;
    match (&mut branch.node, absorbed.node) {
        (Node::Leaf(left), Node::Leaf(right)) => append(left, right, bytes),
        (Node::Inner(left), Node::Inner(right)) => append(left, right, bytes),
        _ => unreachable!("all leaves are equally deep"),
    }
}

fn append<V>(left: &mut Vec<V>, right: Vec<V>, bytes: &mut usize) {
    accounted(left, bytes, |left| {
        reserve_to_class(left, right.len());
        left.extend(right);
    });
}

/// Items at some ranks, in order; see [`CountedTree::range`].
pub struct Range<'a, T: Keyed> {
    tree: &'a CountedTree<T>,
    start: usize,
    end: usize,
    /// What follows `start` in its leaf, and what comes before `end` in its; empty if not looked up yet.
    head: &'a [T],
    tail: &'a [T],
}

impl<'a, T: Keyed> Iterator for Range<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if self.start == self.end {
            return None;
        }
        if self.head.is_empty() {
            let (leaf, at) = self.tree.leaf_at(self.start);
            self.head = &leaf[at..];
        }
        let (item, rest) = self.head.split_first()?;
        self.head = rest;
        self.start += 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.start, Some(self.end - self.start))
    }
}

impl<T: Keyed> DoubleEndedIterator for Range<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.start == self.end {
            return None;
        }
        if self.tail.is_empty() {
            let (leaf, at) = self.tree.leaf_at(self.end - 1);
            self.tail = &leaf[..=at];
        }
        let (item, rest) = self.tail.split_last()?;
        self.tail = rest;
        self.end -= 1;
        Some(item)
    }
}

impl<T: Keyed> ExactSizeIterator for Range<'_, T> {}

#[cfg(test)]
#[path = "counted_tree_tests.rs"]
mod tests;
