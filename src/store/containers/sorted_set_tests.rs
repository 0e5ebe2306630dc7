use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SEED: u64 = 5;

#[derive(Clone, PartialEq, Debug)]
struct Element(Vec<u8>, f64);

impl Hashed for Element {
    fn hash_with(&self, seed: u64) -> u64 {
        hash_with(&self.0, seed)
    }
}

impl Scored for Element {
    fn member(&self) -> &[u8] {
        &self.0
    }

    fn score(&self) -> f64 {
        self.1
    }
}

/// A poor hash, so that there are collisions.
fn hash_with(member: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(&member[..1], seed)
}

fn hash(member: &[u8]) -> u64 {
    hash_with(member, SEED)
}

type Model = BTreeMap<Vec<u8>, f64>;

fn put(set: &mut SortedSet<Element>, member: Vec<u8>, score: f64) {
    let hash = hash(&member);
    if set.update(hash, &member, |e| e.1 = score).is_none() {
        set.insert(hash, Element(member, score));
    }
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    // Two ranges of numbers, so that some are met again and again.
    prop_oneof![0u16..20, any::<u16>()].prop_map(|n| n.to_le_bytes().to_vec())
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        (-3i32..4).prop_map(f64::from),
        -1e9..1e9,
    ]
}

fn ordered(model: &Model) -> Vec<Element> {
    let elements = model.iter().map(|(m, s)| Element(m.clone(), *s));
    let mut elements: Vec<_> = elements.collect();
    elements.sort_by(|a, b| (a.1 + 0.0).total_cmp(&(b.1 + 0.0)).then(a.0.cmp(&b.0)));
    elements
}

/// Puts for `Some`, removals for `None`.
fn edits() -> impl Strategy<Value = Vec<(Vec<u8>, Option<f64>)>> {
    prop::collection::vec((member(), prop::option::weighted(0.7, score())), 0..1500)
}

fn build(edits: Vec<(Vec<u8>, Option<f64>)>) -> (SortedSet<Element>, Model) {
    let (mut set, mut model) = (SortedSet::new(SEED), Model::new());
    for (member, score) in edits {
        match score {
            Some(score) => {
                put(&mut set, member.clone(), score);
                model.insert(member, score);
            }
            None => {
                let removed = set.remove(hash(&member), &member).map(|e| e.1);
                assert_eq!(removed, model.remove(&member));
            }
        }
    }
    (set, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn has_a_map_and_its_order(edits in edits(), bounds in prop::collection::vec(score(), 8), removals in prop::collection::vec(any::<usize>(), 0..200)) {
        let (mut set, mut model) = build(edits);
        let expected = ordered(&model);
        prop_assert_eq!(set.len(), expected.len());
        prop_assert!(set.range(0..usize::MAX).eq(&expected));
        prop_assert!(set.range(0..usize::MAX).rev().eq(expected.iter().rev()));
        for (rank, element) in expected.iter().enumerate() {
            let hash = hash(&element.0);
            prop_assert_eq!(set.rank(hash, &element.0), Some(rank));
            prop_assert_eq!(set.nth(rank), Some(element));
            prop_assert_eq!(set.find(hash, &element.0), Some(element));
        }
        prop_assert_eq!(set.nth(expected.len()), None);
        prop_assert_eq!(set.find(hash(b"absent"), b"absent"), None);
        for bound in bounds {
            let from = expected.partition_point(|e| e.1 < bound);
            let above = expected.partition_point(|e| e.1 <= bound);
            prop_assert_eq!(set.rank_at(Bound::FromScore(bound)), from);
            prop_assert_eq!(set.rank_at(Bound::AboveScore(bound)), above);
        }
        for removal in removals {
            let rank = removal % (set.len() + 1);
            let removed = set.remove_nth(rank);
            prop_assert_eq!(removed.is_some(), rank < model.len());
            removed.map(|e| model.remove(&e.0));
        }
        prop_assert!(set.range(0..usize::MAX).eq(&ordered(&model)));
        let left: BTreeMap<_, _> = set.into_elements().map(|e| (e.0, e.1)).collect();
        prop_assert_eq!(left, model);
    }

    #[test]
    fn equal_scores_are_in_order_of_members(members in prop::collection::btree_set(member(), 1..600), bound in member()) {
        let mut set = SortedSet::new(SEED);
        members.iter().for_each(|member| put(&mut set, member.clone(), 1.0));
        let members: Vec<_> = members.into_iter().collect();
        prop_assert!(set.range(0..usize::MAX).map(|e| &e.0).eq(&members));
        let from = members.partition_point(|member| *member < bound);
        let above = members.partition_point(|member| *member <= bound);
        prop_assert_eq!(set.rank_at(Bound::FromMember(&bound)), from);
        prop_assert_eq!(set.rank_at(Bound::AboveMember(&bound)), above);
    }

    /// A walk through the table sees what stays, exactly once, while other members come and go.
    #[test]
    fn a_walk_sees_what_stays(stays in 0u16..1500, churn in prop::collection::vec((any::<u16>(), any::<bool>()), 0..1500), count in 1usize..100, until in any::<bool>()) {
        let mut set = SortedSet::new(SEED);
        let staying = |n: u16| [&n.to_le_bytes()[..], b"stays"].concat();
        (0..stays).for_each(|n| put(&mut set, staying(n), n.into()));
        let mut churn = churn.into_iter();
        let mut seen = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let before = seen.len();
            cursor = if until {
                set.scan_until(from, |e| {
                    seen.push(e.0.clone());
                    seen.len() - before >= count
                })
            } else {
                set.scan(from, count, |e| seen.push(e.0.clone()))
            };
            for (n, add) in churn.by_ref().take(count) {
                let member = n.to_le_bytes().to_vec();
                if add {
                    put(&mut set, member, 2.0);
                } else {
                    set.remove(hash(&member), &member);
                }
            }
        }
        seen.retain(|member| member.len() > 2);
        seen.sort();
        let mut stayed: Vec<_> = (0..stays).map(staying).collect();
        stayed.sort();
        prop_assert_eq!(seen, stayed);
    }

    #[test]
    fn samples_are_of_the_set(length in 0u16..300, random in any::<u64>(), count in 0usize..400) {
        let mut set = SortedSet::new(SEED);
        (0..length).for_each(|n| put(&mut set, n.to_le_bytes().to_vec(), 0.0));
        let mut sampled = Vec::new();
        set.sample(random, count, |e| sampled.push(e.0.clone()));
        prop_assert_eq!(sampled.len(), count.min(length.into()));
        sampled.sort();
        sampled.dedup();
        prop_assert_eq!(sampled.len(), count.min(length.into()));
    }
}

/// A small element without an allocation.
struct Number([u8; 8], f64);

impl Hashed for Number {
    fn hash_with(&self, seed: u64) -> u64 {
        xxh3_64_with_seed(&self.0, seed)
    }
}

impl Scored for Number {
    fn member(&self) -> &[u8] {
        &self.0
    }

    fn score(&self) -> f64 {
        self.1
    }
}

#[test]
fn takes_less_than_forty_bytes_an_element() {
    let mut set = SortedSet::new(SEED);
    for n in 0..200_000u64 {
        let score = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let number = Number(n.to_le_bytes(), score as f64);
        set.insert(number.hash_with(SEED), number);
    }
    let own = set.allocated_bytes() / set.len() - size_of::<Number>();
    assert!(own < 40, "{own} bytes");
    while set.remove_nth(set.len() / 3).is_some() {}
    assert_eq!(set.order.allocated_bytes(), 0);
    assert!(set.elements.allocated_bytes() < 1000);
}
