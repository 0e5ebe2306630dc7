//! Lists: values at positions, and the positions of new ones.
//!
//! A position is between two others, so that elements keep theirs whatever happens around them: a push takes one far
//! behind the end's, an insertion the middle of a gap. When a gap is used up the elements
//! around it get new positions.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use coterie_protocol::Actor;
use smallvec::SmallVec;

use super::Form;
use crate::effect::{Effect, Kind};
use crate::store::containers::Sequence;
use crate::store::entry::Entry;

/// Distance of neighbours that were pushed one after the other: room for 20 insertions at one place.
const STEP: i64 = 1 << 20;
/// Smallest distance that elements get which are moved to make room.
const STEP_MIN: i64 = 1 << 10;
/// Elements on each side of an insertion that are moved at first, if there is no room for it.
const NEIGHBOURS: usize = 8;

/// Where in a list an element is: an order, and who gave it, so that no two nodes give the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position([u8; 10]);

impl Position {
    fn new(order: i64, actor: Actor) -> Self {
        let mut bytes = [0; 10];
        // Without the sign bit's meaning, negative numbers come first as bytes too.
        bytes[..8].copy_from_slice(&(order ^ i64::MIN).to_be_bytes());
        bytes[8..].copy_from_slice(&actor.0.to_be_bytes());
        Position(bytes)
    }

    fn order_of(bytes: &[u8]) -> i64 {
        let order = bytes.first_chunk().copied().unwrap_or_default();
        i64::from_be_bytes(order) ^ i64::MIN
    }

    /// As an element of the list.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One of the changes that an insertion takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListChange<'v> {
    /// This value is at this position.
    Set(Position, Cow<'v, [u8]>),
    /// This element is gone.
    Delete(Vec<u8>),
}

impl ListChange<'_> {
    /// The effect that makes it.
    pub fn effect<'a>(&'a self, key: &'a [u8]) -> Effect<'a> {
        let kind = Kind::List;
        match self {
            ListChange::Set(position, value) => Effect::ElementSet {
                kind,
                key,
                element: position.as_bytes(),
                value,
            },
            ListChange::Delete(element) => Effect::ElementDelete { kind, key, element },
        }
    }
}

/// The elements of a list.
#[derive(Clone, Copy)]
pub struct ListView<'a>(pub(in crate::store) Form<'a>);

impl<'a> ListView<'a> {
    fn sequence(self) -> Option<&'a Sequence<Entry>> {
        self.0.object()?.elements.sequence()
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is none, which is never so for a key that is there.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value at an index.
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        self.at(index).map(|(_, value)| value)
    }

    /// The position at an index: the element to name in an `ElementSet` (`LSET`) or `ElementDelete`.
    pub fn position(self, index: usize) -> Option<&'a [u8]> {
        self.at(index).map(|(position, _)| position)
    }

    fn at(self, index: usize) -> Option<(&'a [u8], &'a [u8])> {
        if let Form::Small(small) = self.0 {
            return small.at(index);
        }
        let entry = self.sequence()?.get(index)?;
        Some((entry.key(), entry.value()))
    }

    /// The values of a range of indices; `.rev()` for the last first.
    pub fn range(self, indices: Range<usize>) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.positioned(indices).map(|(_, value)| value)
    }

    /// Positions and values of a range of indices.
    pub fn positioned(
        self,
        indices: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        let small = self.0.few(indices.clone()).into_iter();
        let entries = self.sequence().map(|sequence| sequence.range(indices));
        let entries = entries.into_iter().flatten();
        small.chain(entries.map(|entry| (entry.key(), entry.value())))
    }

    /// All values, in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.range(0..self.len())
    }
}

/// The changes that put values, in this order, before the element at an index, or at the end if that is the length.
/// `list` is what the key holds already. All are to be applied at once, as one change of the key.
pub fn insert_changes<'v>(
    list: Option<ListView<'_>>,
    index: usize,
    values: &[&'v [u8]],
    actor: Actor,
) -> SmallVec<[ListChange<'v>; 1]> {
    let order = |index: Option<usize>| {
        let position = list?.position(index?)?;
        Some(Position::order_of(position))
    };
    let (low, high) = (order(index.checked_sub(1)), order(Some(index)));
    match orders(low, high, values.len()) {
        Some(orders) => (values.iter().zip(orders))
            .map(|(value, order)| set(order, actor, Cow::Borrowed(*value)))
            .collect(),
        None => renumbered(list, index, values, actor),
    }
}

fn set(order: i64, actor: Actor, value: Cow<'_, [u8]>) -> ListChange<'_> {
    ListChange::Set(Position::new(order, actor), value)
}

/// Orders for `count` elements between two neighbours; `None` if there is no room.
fn orders(
    low: Option<i64>,
    high: Option<i64>,
    count: usize,
) -> Option<impl Iterator<Item = i64> + use<>> {
    let count = i64::try_from(count).ok()?;
    let span = count.checked_mul(STEP)?;
    let (first, step) = match (low, high) {
        (None, None) => (0, STEP),
        (Some(low), None) => {
            low.checked_add(span)?;
            (low + STEP, STEP)
        }
        (None, Some(high)) => (high.checked_sub(span)?, STEP),
        (Some(low), Some(high)) => {
            let step = high.checked_sub(low)? / (count + 1);
            if step == 0 {
                return None;
            }
            (low + step, step)
        }
    };
    Some((0..count).map(move |n| first + n * step))
}

/// Gives elements around an index new positions: of ever more of them, until there is room. So a few have to move for
/// many insertions at one place (Itai, Konheim and Rodeh, "A sparse table implementation of priority queues").
fn renumbered<'v>(
    list: Option<ListView<'_>>,
    index: usize,
    values: &[&'v [u8]],
    actor: Actor,
) -> SmallVec<[ListChange<'v>; 1]> {
    let Some(list) = list else {
        return SmallVec::new();
    };
    let order = |index: usize| list.position(index).map(Position::order_of);
    let mut reach = NEIGHBOURS;
    loop {
        let window = index.saturating_sub(reach)..index.saturating_add(reach).min(list.len());
        let (low, high) = (
            window.start.checked_sub(1).and_then(order),
            order(window.end),
        );
        let count = window.len() + values.len();
        if low.is_none() && high.is_none() {
            return renumbered_all(list, index, values, actor);
        }
        if is_wide(low, high, count)
            && let Some(orders) = orders(low, high, count)
        {
            return moved(list, window, index, values, orders, actor);
        }
        reach *= 2;
    }
}

/// Whether there is room for a while between two neighbours once there are so many elements.
fn is_wide(low: Option<i64>, high: Option<i64>, count: usize) -> bool {
    match (low, high) {
        (Some(low), Some(high)) => {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            high.checked_sub(low)
                .is_none_or(|room| room / count.saturating_add(1) >= STEP_MIN)
        }
        _ => true,
    }
}

/// Puts the elements of a window, with new ones among them, at positions of these orders.
fn moved<'v>(
    list: ListView<'_>,
    window: Range<usize>,
    index: usize,
    values: &[&'v [u8]],
    orders: impl Iterator<Item = i64>,
    actor: Actor,
) -> SmallVec<[ListChange<'v>; 1]> {
    let owned = |(_, value): (&[u8], &[u8])| Cow::Owned(value.to_vec());
    let before = list.positioned(window.start..index).map(owned);
    let after = list.positioned(index..window.end).map(owned);
    let new = values.iter().map(|value| Cow::Borrowed(*value));
    let mut changes: SmallVec<[ListChange<'v>; 1]> = (before.chain(new).chain(after).zip(orders))
        .map(|(value, order)| set(order, actor, value))
        .collect();
    let taken: HashSet<[u8; 10]> = (changes.iter())
        .filter_map(|change| match change {
            ListChange::Set(position, _) => Some(position.0),
            ListChange::Delete(_) => None,
        })
        .collect();
    // The other way round the list could be empty in between, and so be gone.
    let left = list.positioned(window).map(|(position, _)| position);
    let left = left.filter(|position| !taken.contains(*position));
    changes.extend(left.map(|position| ListChange::Delete(position.to_vec())));
    changes
}

/// Gives every element a new position, all of them on one side of the old ones.
fn renumbered_all<'v>(
    list: ListView<'_>,
    index: usize,
    values: &[&'v [u8]],
    actor: Actor,
) -> SmallVec<[ListChange<'v>; 1]> {
    let length = list.len();
    let count = length + values.len();
    let order = |index: usize| list.position(index).map(Position::order_of);
    let (first, last) = (order(0), length.checked_sub(1).and_then(order));
    // A list that reached both ends of the numbers would take more memory than there is.
    let orders: Vec<i64> = orders(last, None, count)
        .or_else(|| orders(None, first, count))
        .map_or_else(Vec::new, Iterator::collect);
    debug_assert_eq!(orders.len(), count);
    moved(list, 0..length, index, values, orders.into_iter(), actor)
}

#[cfg(test)]
mod tests {
    use super::super::Collection;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn insertions_at_one_place_move_few_elements() {
        let mut list = Collection::new(Kind::List, 1);
        let mut changes = 0;
        let mut insert = |list: &mut Collection, index: usize| {
            for change in
                insert_changes(Some(ListView(Form::Object(list))), index, &[b"v"], Actor(1))
            {
                changes += 1;
                match change.effect(b"k") {
                    Effect::ElementSet { element, value, .. } => list.set(element, value),
                    Effect::ElementDelete { element, .. } => list.remove(element),
                    effect => panic!("{effect:?}"),
                }
            }
        };
        const LENGTH: usize = 5_000;
        (0..LENGTH).for_each(|index| insert(&mut list, index));
        (0..LENGTH).for_each(|_| insert(&mut list, LENGTH / 2));
        assert_eq!(list.len(), 2 * LENGTH);
        assert!(changes < 60 * LENGTH, "{changes} changes");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn insertions_are_those_of_a_vector(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 1..4usize, any::<bool>(), 0..3u16), 1..200),
        ) {
            let (mut list, mut plain) = (Collection::new(Kind::List, 1), Vec::<Vec<u8>>::new());
            for (number, (at, count, same_place, actor)) in steps.iter().enumerate() {
                let index = if *same_place { plain.len() / 2 } else { at.index(plain.len() + 1) };
                let values: Vec<Vec<u8>> = (0..*count).map(|n| format!("{number}:{n}").into_bytes()).collect();
                let values: Vec<&[u8]> = values.iter().map(|value| &value[..]).collect();
                for change in insert_changes(Some(ListView(Form::Object(&list))), index, &values, Actor(*actor)) {
                    match change.effect(b"k") {
                        Effect::ElementSet { element, value, .. } => list.set(element, value),
                        Effect::ElementDelete { element, .. } => list.remove(element),
                        effect => panic!("{effect:?}"),
                    }
                    prop_assert!(!list.is_empty());
                }
                plain.splice(index..index, values.iter().map(|value| value.to_vec()));
                prop_assert!(ListView(Form::Object(&list)).iter().eq(plain.iter().map(|value| &value[..])));
            }
        }
    }
}
