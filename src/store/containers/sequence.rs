//! Elements in the order of a key that each of them has: a list by positions, a stream by ids.
//!
//! A [`CountedTree`]: an element's index is its rank. Everything is O(log n), which at the ends and up to
//! billions of elements is a descent of at most seven nodes; nothing is ever moved but what is in one node,
//! and memory follows the length.

use super::counted_tree::{CountedTree, Keyed, Range};

/// See the module.
pub struct Sequence<T: Keyed> {
    tree: CountedTree<T>,
}

impl<T: Keyed<Key: Ord>> Default for Sequence<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Keyed<Key: Ord>> Sequence<T> {
    /// An empty sequence, which allocates nothing.
    pub const fn new() -> Self {
        Sequence {
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

    /// Memory of the sequence, in bytes, without what its elements point to. O(1).
    pub fn allocated_bytes(&self) -> usize {
        self.tree.allocated_bytes()
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.tree.get(index)
    }

    /// The first element.
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last element.
    pub fn last(&self) -> Option<&T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Index of the element with a key, or where one with that key belongs.
    pub fn search(&self, key: T::Key) -> Result<usize, usize> {
        let index = self.first_at(key);
        match self.get(index) {
            Some(found) if found.key() == key => Ok(index),
            _ => Err(index),
        }
    }

    /// Index of the first element with this key or a greater one.
    pub fn first_at(&self, key: T::Key) -> usize {
        self.tree.partition_point(|other| other < key)
    }

    /// Index of the first element with a greater key.
    pub fn first_above(&self, key: T::Key) -> usize {
        self.tree.partition_point(|other| other <= key)
    }

    /// The element with a key.
    pub fn find(&self, key: T::Key) -> Option<&T> {
        self.get(self.first_at(key))
            .filter(|found| found.key() == key)
    }

    /// Puts an element where its key, which is not there yet, belongs: at the ends as anywhere.
    pub fn insert(&mut self, element: T) {
        let key = element.key();
        debug_assert!(self.find(key).is_none());
        self.tree.insert(element, |other| other < key);
    }

    /// Takes out the element at an index.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        self.tree.remove(index)
    }

    /// Takes out the element with a key.
    pub fn take(&mut self, key: T::Key) -> Option<T> {
        let index = self.search(key).ok()?;
        self.remove(index)
    }

    /// Takes out the first element.
    pub fn pop_first(&mut self) -> Option<T> {
        self.remove(0)
    }

    /// Takes out the last element.
    pub fn pop_last(&mut self) -> Option<T> {
        self.remove(self.len().checked_sub(1)?)
    }

    /// The element at an index, to change it but for its key.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.tree.get_mut(index)
    }

    /// The element with a key, to change it but for its key.
    pub fn find_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let index = self.search(key).ok()?;
        self.get_mut(index)
    }

    /// Takes out the first `count` elements, one whenever the iterator is asked for it.
    pub fn drain_first(&mut self, count: usize) -> impl Iterator<Item = T> {
        (0..count).map_while(|_| self.pop_first())
    }

    /// The elements at these indices, both ways; indices beyond the end are left out.
    pub fn range(&self, indices: std::ops::Range<usize>) -> Range<'_, T> {
        self.tree.range(indices)
    }

    /// All elements in order, both ways.
    pub fn iter(&self) -> Range<'_, T> {
        self.range(0..self.len())
    }

    /// All elements, taken out in order.
    pub fn into_elements(self) -> impl Iterator<Item = T> {
        self.tree.into_items()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Placed(i32, u8);

    impl Keyed for Placed {
        type Key = i32;

        fn key(&self) -> i32 {
            self.0
        }
    }

    #[derive(Clone, Debug)]
    enum Edit {
        Last(u16),
        First(u16),
        Middle(i32),
        Take(i32),
        Change(i32, u8),
        Drain(u16),
        Pop(u16),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            2 => (0u16..400).prop_map(Edit::Last),
            2 => (0u16..400).prop_map(Edit::First),
            4 => (-500i32..500).prop_map(Edit::Middle),
            2 => (-500i32..500).prop_map(Edit::Take),
            2 => (-500i32..500, any::<u8>()).prop_map(|(key, value)| Edit::Change(key, value)),
            1 => (0u16..300).prop_map(Edit::Drain),
            1 => (0u16..300).prop_map(Edit::Pop),
        ]
    }

    type Model = BTreeMap<i32, u8>;

    fn apply(edit: Edit, sequence: &mut Sequence<Placed>, model: &mut Model) {
        let (first, last) = (sequence.first().copied(), sequence.last().copied());
        let mut put = |key: i32, value| {
            if model.insert(key, value).is_none() {
                sequence.insert(Placed(key, value));
            } else if let Some(placed) = sequence.find_mut(key) {
                placed.1 = value;
            }
        };
        match edit {
            Edit::Last(count) => {
                let last = last.map_or(0, |placed| placed.0);
                (1..=i32::from(count)).for_each(|n| put(last + n, 1));
            }
            Edit::First(count) => {
                let first = first.map_or(0, |placed| placed.0);
                (1..=i32::from(count)).for_each(|n| put(first - n, 2));
            }
            Edit::Middle(key) => put(key, 3),
            Edit::Change(key, value) => put(key, value),
            Edit::Take(key) => {
                let expected = model.remove(&key).map(|value| Placed(key, value));
                assert_eq!(sequence.take(key), expected);
            }
            Edit::Drain(count) => {
                let count = usize::from(count);
                let drained: Vec<_> = sequence.drain_first(count).collect();
                assert_eq!(drained.len(), count.min(model.len()));
                for placed in drained {
                    assert_eq!(model.pop_first(), Some((placed.0, placed.1)));
                }
            }
            Edit::Pop(count) => {
                for _ in 0..count {
                    let expected = model.pop_last().map(|(key, value)| Placed(key, value));
                    assert_eq!(sequence.pop_last(), expected);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn is_a_sorted_map(edits in prop::collection::vec(edit(), 0..40), keys in prop::collection::vec(-600i32..600, 20)) {
            let (mut sequence, mut model) = (Sequence::new(), Model::new());
            for edit in edits {
                apply(edit, &mut sequence, &mut model);
                prop_assert_eq!(sequence.len(), model.len());
            }
            let all: Vec<_> = model.iter().map(|(key, value)| Placed(*key, *value)).collect();
            prop_assert!(sequence.iter().eq(&all));
            prop_assert!(sequence.iter().rev().eq(all.iter().rev()));
            for key in keys {
                prop_assert_eq!(sequence.search(key), all.binary_search_by_key(&key, |placed| placed.0));
                prop_assert_eq!(sequence.find(key).map(|placed| placed.1), model.get(&key).copied());
                prop_assert_eq!(sequence.first_above(key), all.partition_point(|placed| placed.0 <= key));
                let from = sequence.first_at(key);
                prop_assert_eq!(sequence.get(from), all.get(from));
                prop_assert!(sequence.range(from..from + 150).eq(all.iter().skip(from).take(150)));
            }
            prop_assert!(sequence.into_elements().eq(all));
        }
    }
}
