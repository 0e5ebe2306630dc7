//! The order of weighed elements, which is Redis' also where several weigh the same.

use std::cmp::Ordering;
use std::ops::Range;

use coterie_protocol::text::parse_f64;

use super::options::Options;

/// Fewer elements are sorted by insertion.
const FEW: usize = 7;
/// From so many on the pivot is the median of nine.
const MANY: usize = 40;

/// An element with what it is sorted by.
#[derive(Clone, Copy)]
pub struct Weighed<'e> {
    pub element: &'e [u8],
    pub weight: Weight<'e>,
}

/// What an element is sorted by.
#[derive(Clone, Copy)]
pub enum Weight<'e> {
    /// A number, not NaN.
    Score(f64),
    /// A text; `None` comes first.
    Text(Option<&'e [u8]>),
}

/// A number as C's `strtod` reads it, over the whole text up to a NUL. Space may come first, and nothing is 0.
pub fn score(text: &[u8]) -> Option<f64> {
    let text = until_nul(text);
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let spaces = text.iter().take_while(|byte| is_space(byte)).count();
    match &text[spaces..] {
        b"" => (spaces == 0).then_some(0.0),
        // What is too small for full precision is out of range in C, too.
        number => parse_f64(number).filter(|score| !score.is_subnormal()),
    }
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The elements in order; at least those of a range are where they belong.
pub fn sorted<'e>(
    mut weighed: Vec<Weighed<'e>>,
    options: &Options<'_>,
    wanted: Range<usize>,
) -> Vec<&'e [u8]> {
    let is_binary = options.store.is_some();
    let compare = |one: &Weighed<'_>, other: &Weighed<'_>| {
        let order = compare(one, other, is_binary);
        if options.is_descending {
            order.reverse()
        } else {
            order
        }
    };
    if options.by.is_some() && wanted.len() < weighed.len() {
        let splits = 4 * weighed.len().max(1).ilog2() + 8;
        sort_range(&mut weighed, &compare, wanted, splits);
    } else {
        weighed.sort_by(compare);
    }
    weighed.iter().map(|weighed| weighed.element).collect()
}

/// What is not stored is compared as texts of C, which end with a NUL.
fn compare(one: &Weighed<'_>, other: &Weighed<'_>, is_binary: bool) -> Ordering {
    match (one.weight, other.weight) {
        (Weight::Score(score), Weight::Score(larger)) => score
            .partial_cmp(&larger)
            .unwrap_or(Ordering::Equal)
            .then_with(|| one.element.cmp(other.element)),
        (Weight::Text(Some(text)), Weight::Text(Some(larger))) if !is_binary => {
            until_nul(text).cmp(until_nul(larger))
        }
        (Weight::Text(text), Weight::Text(larger)) => text.cmp(&larger),
        // All are of one sort.
        (Weight::Score(_), Weight::Text(_)) | (Weight::Text(_), Weight::Score(_)) => {
            Ordering::Equal
        }
    }
}

/// Puts the elements of a range where they belong, and all others on their side of it: the quicksort of Bentley and
/// McIlroy ("Engineering a Sort Function", 1993), which leaves out the parts beside the range. Redis does the same, so
/// equal elements come out in the same order. Input made to be slow is sorted otherwise after so many splits.
fn sort_range<T>(
    items: &mut [T],
    compare: &impl Fn(&T, &T) -> Ordering,
    wanted: Range<usize>,
    splits: u32,
) {
    let length = items.len();
    if length < FEW {
        for end in 1..length {
            let mut at = end;
            while at > 0 && compare(&items[at - 1], &items[at]).is_gt() {
                items.swap(at - 1, at);
                at -= 1;
            }
        }
        return;
    }
    if splits == 0 {
        return items.sort_by(compare);
    }
    let (below, above) = partition(items, compare);
    for part in [0..below, above..length] {
        // A range that is empty lies at its start and one before: between the parts, or in one of them.
        let is_left = wanted.end <= part.start;
        let is_right = wanted.start >= part.end;
        if part.len() > 1 && !is_left && !is_right {
            let wanted = wanted.start.saturating_sub(part.start)..wanted.end - part.start;
            sort_range(&mut items[part], compare, wanted, splits - 1);
        }
    }
}

/// Splits into what is less than a pivot, equal to it, and greater: returns where the second and the third begin.
fn partition<T>(items: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let length = items.len();
    let pivot = pivot(items, compare);
    items.swap(0, pivot);
    // Equal ones are gathered at both ends: up to `low`, and behind `high`.
    let (mut low, mut left) = (1, 1);
    let (mut right, mut high) = (length - 1, length - 1);
    loop {
        while left <= right {
            match compare(&items[left], &items[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    items.swap(low, left);
                    low += 1;
                }
                Ordering::Less => {}
            }
            left += 1;
        }
        while left <= right {
            match compare(&items[right], &items[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    items.swap(right, high);
                    high -= 1;
                }
                Ordering::Greater => {}
            }
            right -= 1;
        }
        if left > right {
            break;
        }
        items.swap(left, right);
        left += 1;
        right -= 1;
    }
    let moved = low.min(left - low);
    swap_blocks(items, 0, left - moved, moved);
    let moved = (high - right).min(length - 1 - high);
    swap_blocks(items, left, length - moved, moved);
    (left - low, length - (high - right))
}

fn swap_blocks<T>(items: &mut [T], one: usize, other: usize, length: usize) {
    for offset in 0..length {
        items.swap(one + offset, other + offset);
    }
}

/// Index of the middle element, or of the median of three or nine.
fn pivot<T>(items: &[T], compare: &impl Fn(&T, &T) -> Ordering) -> usize {
    let length = items.len();
    let (mut low, mut middle, mut high) = (0, length / 2, length - 1);
    if length == FEW {
        return middle;
    }
    let median = |a, b, c| median(items, compare, [a, b, c]);
    if length > MANY {
        let step = length / 8;
        low = median(low, low + step, low + 2 * step);
        middle = median(middle - step, middle, middle + step);
        high = median(high - 2 * step, high - step, high);
    }
    median(low, middle, high)
}

fn median<T>(items: &[T], compare: &impl Fn(&T, &T) -> Ordering, [a, b, c]: [usize; 3]) -> usize {
    let is_less = |one: usize, other: usize| compare(&items[one], &items[other]).is_lt();
    let is_greater = |one: usize, other: usize| compare(&items[one], &items[other]).is_gt();
    if is_less(a, b) {
        if is_less(b, c) {
            b
        } else if is_less(a, c) {
            c
        } else {
            a
        }
    } else if is_greater(b, c) {
        b
    } else if is_less(a, c) {
        a
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_range_is_what_sorting_everything_gives(
            items in prop::collection::vec(0..50u8, 0..300),
            start in 0..300usize,
            length in 0..300usize,
            splits in 0..40u32,
        ) {
            let start = start.min(items.len());
            let wanted = start..(start + length).min(items.len());
            let mut all = items.clone();
            all.sort_unstable();
            let mut some = items;
            sort_range(&mut some, &u8::cmp, wanted.clone(), splits);
            prop_assert_eq!(&some[wanted.clone()], &all[wanted]);
            some.sort_unstable();
            prop_assert_eq!(some, all);
        }
    }
}
