use super::*;
use proptest::prelude::*;

impl Keyed for u32 {
    type Key = u32;

    fn key(&self) -> u32 {
        *self
    }
}

impl<T: Keyed> Node<T>
where
    T::Key: PartialEq + std::fmt::Debug,
{
    /// Checks the node; returns its items, memory and depth.
    fn check(&self, is_root: bool) -> (usize, usize, usize) {
        assert!(is_root || self.width() > 0);
        match self {
            Node::Leaf(items) => {
                assert!(items.len() <= LEAF_ITEMS);
                (items.len(), buffer_bytes(items), 0)
            }
            Node::Inner(branches) => {
                assert!(branches.len() <= CHILDREN && branches.len() > usize::from(is_root));
                let mut sum = (0, buffer_bytes(branches), None);
                for branch in branches {
                    assert_eq!(branch.first, branch.node.first());
                    let (count, bytes, depth) = branch.node.check(false);
                    assert_eq!(branch.count, count);
                    assert!(sum.2.is_none_or(|other| other == depth));
                    sum = (sum.0 + count, sum.1 + bytes, Some(depth));
                }
                (sum.0, sum.1, sum.2.map_or(0, |depth| depth + 1))
            }
        }
    }
}

fn check(tree: &CountedTree<u32>) {
    let (count, bytes, _) = tree.root.check(true);
    assert_eq!((tree.len(), tree.allocated_bytes()), (count, bytes));
}

fn insert(tree: &mut CountedTree<u32>, item: u32) {
    tree.insert(item, |other| other < item);
}

/// Numbers added, or ranks removed, many at a time so that the tree gets levels.
#[derive(Clone, Debug)]
enum Edit {
    Add {
        from: u32,
        step: i32,
        count: u32,
    },
    Remove {
        rank: usize,
        step: usize,
        count: usize,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (1u32 << 20..1 << 21, -9i32..10, 1u32..2500).prop_map(|(from, step, count)| Edit::Add {
            from,
            step,
            count
        }),
        (any::<usize>(), 0usize..300, 1usize..2500).prop_map(|(rank, step, count)| Edit::Remove {
            rank,
            step,
            count
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn is_a_sorted_vector(edits in prop::collection::vec(edit(), 1..12)) {
        let mut tree = CountedTree::new();
        let mut model: Vec<u32> = Vec::new();
        for edit in edits {
            match edit {
                Edit::Add { from, step, count } => {
                    for n in 0..count {
                        let item = from.wrapping_add_signed(step * n as i32);
                        insert(&mut tree, item);
                        model.insert(model.partition_point(|other| *other < item), item);
                    }
                }
                Edit::Remove { rank, step, count } => {
                    for n in 0..count.min(model.len()) {
                        let rank = (rank % (1 << 20) + n * step) % model.len();
                        prop_assert_eq!(tree.remove(rank), Some(model.remove(rank)));
                    }
                }
            }
            check(&tree);
        }
        prop_assert_eq!(tree.remove(model.len()), None);
        prop_assert!(tree.range(0..usize::MAX).eq(&model));
        prop_assert!(tree.range(0..usize::MAX).rev().eq(model.iter().rev()));
        for rank in (0..=model.len()).step_by(97) {
            prop_assert_eq!(tree.get(rank), model.get(rank));
            let bound = model.get(rank).copied().unwrap_or(u32::MAX);
            let point = tree.partition_point(|item| item < bound);
            prop_assert_eq!(point, model.partition_point(|item| *item < bound));
            let end = (rank + 300).min(model.len());
            prop_assert!(tree.range(rank..end).eq(&model[rank..end]));
        }
        prop_assert!(tree.into_items().eq(model));
    }

    /// The two ends of a range meet, and never pass each other.
    #[test]
    fn a_range_is_eaten_from_both_ends(length in 0u32..600, from in 0usize..600, count in 0usize..600, turns in prop::collection::vec(any::<bool>(), 700)) {
        let mut tree = CountedTree::new();
        (0..length).for_each(|item| insert(&mut tree, item));
        let items: Vec<u32> = (0..length).collect();
        let end = (from + count).min(items.len());
        let mut expected = items[from.min(end)..end].iter();
        let mut range = tree.range(from..from + count);
        for is_front in turns {
            prop_assert_eq!(range.len(), expected.len());
            if is_front {
                prop_assert_eq!(range.next(), expected.next());
            } else {
                prop_assert_eq!(range.next_back(), expected.next_back());
            }
        }
    }
}

#[test]
fn memory_follows_the_length() {
    for is_descending in [false, true] {
        let mut tree = CountedTree::new();
        for n in 0..100_000 {
            insert(&mut tree, if is_descending { 100_000 - n } else { n });
        }
        check(&tree);
        assert!(tree.allocated_bytes() < 100_000 * 5, "full leaves");
        while tree.len() > 100 {
            tree.remove(tree.len() / 2);
        }
        check(&tree);
        assert!(tree.allocated_bytes() < 1600, "{}", tree.allocated_bytes());
        while tree.remove(0).is_some() {}
        assert_eq!(tree.allocated_bytes(), 0);
    }
}
