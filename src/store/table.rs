//! A hash table that grows a segment at a time and can be walked in hash order.
//!
//! Extendible hashing (Fagin et al., 1979): a directory indexed by leading bits of an element's *position*
//! points to small segments. A full segment splits in two, so no insert ever moves more than a few hundred
//! elements and there is no rehash pause. An element's position depends on its key alone, which makes a
//! position a cursor that stays valid while the table grows, shrinks and changes: whatever is there during a
//! whole walk is visited exactly once.

use hashbrown::HashTable;

use super::size_class::size_class;

/// Positions are this many bits wide, so that a position and a partition number share one `SCAN` cursor
/// below 2^53, which every client can hold.
pub const POSITION_BITS: u32 = 38;

/// A segment with more elements splits. Halves of this size fit their tables without growing at once.
const SPLIT_ABOVE: usize = 400;

/// Two sibling segments with fewer elements in all are merged.
const MERGE_BELOW: usize = 100;

/// Deepest directory; beyond it segments just grow. 2^20 segments hold 400 million elements.
const DEPTH_MAX: u32 = 20;

/// Something that knows its own hash.
pub trait Hashed {
    /// The hash under the table's seed; must never change while it is in a table.
    fn hash_with(&self, seed: u64) -> u64;
}

/// Position of a hash in the table's order, below 2^[`POSITION_BITS`]. hashbrown keeps the top 7 bits as a tag
/// and starts probing at the low ones; positions are cut from between.
pub fn position(hash: u64) -> u64 {
    hash << 7 >> (64 - POSITION_BITS)
}

/// See the module.
pub struct Table<T> {
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment<T>>,
    length: usize,
    /// Memory of all segments' slots.
    slot_bytes: usize,
    seed: u64,
}

/// Where an element is, until the table next changes.
#[derive(Clone, Copy)]
pub struct Place {
    segment: usize,
    bucket: usize,
}

struct Segment<T> {
    elements: HashTable<T>,
    /// How many leading bits of the position all its elements share…
    depth: u32,
    /// … and those bits.
    prefix: u64,
}

impl<T: Hashed> Table<T> {
    /// An empty table, which allocates little until it is used.
    pub fn new(seed: u64) -> Self {
        let first = Segment {
            elements: HashTable::new(),
            depth: 0,
            prefix: 0,
        };
        Table {
            directory: vec![0],
            depth: 0,
            segments: vec![first],
            length: 0,
            slot_bytes: 0,
            seed,
        }
    }

    /// What its elements' hashes are seeded with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Memory of the table itself, in bytes, without what its elements point to.
    pub fn allocated_bytes(&self) -> usize {
        self.slot_bytes
            + size_class(self.segments.capacity() * size_of::<Segment<T>>())
            + size_class(self.directory.capacity() * size_of::<u32>())
    }

    fn index(&self, hash: u64) -> usize {
        let slot = position(hash) >> (POSITION_BITS - self.depth);
        self.directory[slot as usize] as usize
    }

    /// The element with this hash for which `is_it` holds.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.segments[self.index(hash)].elements.find(hash, is_it)
    }

    /// The same, to change it. Its hash must stay.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let index = self.index(hash);
        self.segments[index].elements.find_mut(hash, is_it)
    }

    /// Where the element with this hash is for which `is_it` holds.
    #[inline]
    pub fn locate(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<Place> {
        let segment = self.index(hash);
        let bucket = self.segments[segment]
            .elements
            .find_bucket_index(hash, is_it)?;
        Some(Place { segment, bucket })
    }

    /// The element at a place that [`Table::locate`] gave since the last change.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        self.segments[place.segment]
            .elements
            .get_bucket_mut(place.bucket)
    }

    /// Adds an element that is not there yet.
    pub fn insert(&mut self, hash: u64, element: T) {
        debug_assert_eq!(hash, element.hash_with(self.seed));
        let mut index = self.index(hash);
        while self.segments[index].elements.len() >= SPLIT_ABOVE
            && self.segments[index].depth < DEPTH_MAX
        {
            self.split(index);
            index = self.index(hash);
        }
        let seed = self.seed;
        let segment = &mut self.segments[index];
        self.length += 1;
        if segment.elements.len() < segment.elements.capacity() {
            segment
                .elements
                .insert_unique(hash, element, |e| e.hash_with(seed));
            return;
        }
        let before = segment.allocated_bytes();
        segment
            .elements
            .insert_unique(hash, element, |e| e.hash_with(seed));
        self.slot_bytes = self.slot_bytes + segment.allocated_bytes() - before;
    }

    /// Takes an element out.
    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let index = self.index(hash);
        let found = self.segments[index].elements.find_entry(hash, is_it).ok()?;
        let (element, _) = found.remove();
        self.length -= 1;
        self.merge_if_sparse(index);
        Some(element)
    }

    /// Visits elements in order of position, from `from` on, until `count` were visited and every element
    /// at the last position too. Returns where to go on; `None` at the end.
    pub fn scan(&self, from: u64, count: usize, mut visit: impl FnMut(&T)) -> Option<u64> {
        let mut from = from;
        let mut left = count;
        let end = 1u64 << POSITION_BITS;
        while from < end {
            let (mut due, next_segment) = self.due(from);
            if due.len() <= left {
                left -= due.len();
                due.iter().for_each(|(_, element)| visit(element));
                from = next_segment;
                if left == 0 {
                    break;
                }
                continue;
            }
            due.sort_unstable_by_key(|(at, _)| *at);
            let last = due[left.max(1) - 1].0;
            due.iter()
                .take_while(|(at, _)| *at <= last)
                .for_each(|(_, element)| visit(element));
            from = last + 1;
            break;
        }
        (from < end).then_some(from)
    }

    /// Visits elements in order of position, from `from` on, until `visit` says that it is enough and every
    /// element at the last position was visited too. Returns where to go on; `None` at the end.
    pub fn scan_until(&self, from: u64, mut visit: impl FnMut(&T) -> bool) -> Option<u64> {
        let mut from = from;
        let mut is_enough = false;
        while from < 1 << POSITION_BITS && !is_enough {
            let (mut due, next_segment) = self.due(from);
            due.sort_unstable_by_key(|(at, _)| *at);
            for (at, element) in due {
                if is_enough && at >= from {
                    return Some(from);
                }
                is_enough |= visit(element);
                from = at + 1;
            }
            from = next_segment;
        }
        (from < 1 << POSITION_BITS).then_some(from)
    }

    /// The elements from a position on that share its segment, with their positions and in no order; and
    /// where the next segment begins.
    fn due(&self, from: u64) -> (Vec<(u64, &T)>, u64) {
        let slot = from >> (POSITION_BITS - self.depth);
        let segment = &self.segments[self.directory[slot as usize] as usize];
        let due = segment
            .elements
            .iter()
            .map(|element| (position(element.hash_with(self.seed)), element))
            .filter(|(at, _)| *at >= from)
            .collect();
        (due, (segment.prefix + 1) << (POSITION_BITS - segment.depth))
    }

    /// Visits elements near a random point, for sampling: up to `count` in bucket order, from a segment
    /// chosen by `random`. Visits at least one if there is any.
    pub fn sample(&self, random: u64, count: usize, mut visit: impl FnMut(&T)) {
        if self.is_empty() {
            return;
        }
        let slots = self.directory.len();
        let mut slot = random as usize % slots;
        // Segments may be empty, but not all are.
        while self.segments[self.directory[slot] as usize]
            .elements
            .is_empty()
        {
            slot = (slot + 1) % slots;
        }
        let elements = &self.segments[self.directory[slot] as usize].elements;
        let buckets = elements.num_buckets();
        let start = (random >> 32) as usize % buckets;
        (0..buckets)
            .filter_map(|step| elements.get_bucket((start + step) % buckets))
            .take(count)
            .for_each(&mut visit);
    }

    /// Visits everything, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments
            .iter()
            .flat_map(|segment| segment.elements.iter())
    }

    /// Everything, taken out, in no order.
    pub fn into_elements(self) -> impl Iterator<Item = T> {
        self.segments
            .into_iter()
            .flat_map(|segment| segment.elements)
    }

    fn split(&mut self, index: usize) {
        if self.segments[index].depth == self.depth {
            self.directory = self
                .directory
                .iter()
                .flat_map(|&segment| [segment, segment])
                .collect();
            self.depth += 1;
        }
        let segment = &mut self.segments[index];
        let before = segment.allocated_bytes();
        let elements = std::mem::take(&mut segment.elements);
        segment.depth += 1;
        segment.prefix <<= 1;
        let (depth, prefix) = (segment.depth, segment.prefix);
        let mut low = HashTable::with_capacity(elements.len() / 2 + elements.len() / 32);
        let mut high = HashTable::with_capacity(elements.len() / 2 + elements.len() / 32);
        let seed = self.seed;
        for element in elements {
            let hash = element.hash_with(seed);
            let bit = position(hash) >> (POSITION_BITS - depth) & 1;
            let half = if bit == 0 { &mut low } else { &mut high };
            half.insert_unique(hash, element, |e| e.hash_with(seed));
        }
        segment.elements = low;
        self.slot_bytes =
            self.slot_bytes + size_class(high.allocation_size()) + segment.allocated_bytes()
                - before;
        let sibling = self.segments.len() as u32;
        self.segments.push(Segment {
            elements: high,
            depth,
            prefix: prefix | 1,
        });
        self.point(prefix | 1, depth, sibling);
        self.check();
    }

    /// Lets the directory entries of a prefix point to a segment.
    fn point(&mut self, prefix: u64, depth: u32, segment: u32) {
        let shift = self.depth - depth;
        let slots = (prefix << shift) as usize..((prefix + 1) << shift) as usize;
        self.directory[slots].fill(segment);
    }

    fn merge_if_sparse(&mut self, index: usize) {
        let Segment {
            depth,
            prefix,
            ref elements,
        } = self.segments[index];
        if elements.len() >= MERGE_BELOW || depth == 0 {
            return;
        }
        let sibling = self.directory[((prefix ^ 1) << (self.depth - depth)) as usize] as usize;
        if self.segments[sibling].depth != depth
            || self.segments[sibling].elements.len() + elements.len() >= MERGE_BELOW
        {
            return;
        }
        let (keep, gone) = (index.min(sibling), index.max(sibling));
        let before = self.segments[keep].allocated_bytes() + self.segments[gone].allocated_bytes();
        let absorbed = self.segments.swap_remove(gone);
        let seed = self.seed;
        let segment = &mut self.segments[keep];
        for element in absorbed.elements {
            segment
                .elements
                .insert_unique(element.hash_with(seed), element, |e| e.hash_with(seed));
        }
        segment.depth -= 1;
        segment.prefix >>= 1;
        let (prefix, depth) = (segment.prefix, segment.depth);
        self.point(prefix, depth, keep as u32);
        if let Some(moved) = self.segments.get(gone) {
            let (prefix, depth) = (moved.prefix, moved.depth);
            self.point(prefix, depth, gone as u32);
        }
        let segment = &mut self.segments[keep];
        segment
            .elements
            .shrink_to(MERGE_BELOW, |e| e.hash_with(seed));
        self.slot_bytes = self.slot_bytes + segment.allocated_bytes() - before;
        self.halve_directory();
        self.check();
    }

    fn halve_directory(&mut self) {
        while self.depth > 0
            && self
                .segments
                .iter()
                .all(|segment| segment.depth < self.depth)
        {
            self.directory = self.directory.iter().copied().step_by(2).collect();
            self.depth -= 1;
        }
    }

    fn check(&self) {
        debug_assert_eq!(self.directory.len(), 1 << self.depth);
        debug_assert_eq!(
            self.slot_bytes,
            self.segments
                .iter()
                .map(Segment::allocated_bytes)
                .sum::<usize>()
        );
        debug_assert_eq!(
            self.length,
            self.segments
                .iter()
                .map(|s| s.elements.len())
                .sum::<usize>()
        );
        debug_assert!(self.directory.iter().enumerate().all(|(slot, &index)| {
            let segment = &self.segments[index as usize];
            slot as u64 >> (self.depth - segment.depth) == segment.prefix
        }));
    }
}

impl<T> Segment<T> {
    fn allocated_bytes(&self) -> usize {
        size_class(self.elements.allocation_size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Number(u64);

    impl Hashed for Number {
        fn hash_with(&self, seed: u64) -> u64 {
            xxhash_rust::xxh3::xxh3_64_with_seed(&self.0.to_le_bytes(), seed)
        }
    }

    fn insert(table: &mut Table<Number>, n: u64) {
        let hash = Number(n).hash_with(1);
        if table.find(hash, |e| e.0 == n).is_none() {
            table.insert(hash, Number(n));
        }
    }

    fn remove(table: &mut Table<Number>, n: u64) {
        table.remove(Number(n).hash_with(1), |e| e.0 == n);
    }

    #[test]
    fn grows_and_shrinks() {
        let mut table = Table::new(1);
        (0..50_000).for_each(|n| insert(&mut table, n));
        assert_eq!(table.len(), 50_000);
        assert!(table.segments.len() > 64);
        assert!((0..50_000).all(|n| table.find(Number(n).hash_with(1), |e| e.0 == n).is_some()));
        (0..49_990).for_each(|n| remove(&mut table, n));
        assert_eq!(table.iter().count(), 10);
        assert!(
            table.segments.len() <= 2,
            "{} segments",
            table.segments.len()
        );
    }

    proptest! {
        /// SCAN's guarantee: whatever is there all the time is visited, and exactly once.
        #[test]
        fn a_walk_sees_what_stays(stays in 0u64..2000, churn in prop::collection::vec((2000u64..6000, any::<bool>()), 0..3000), count in 1usize..300, until in any::<bool>()) {
            let mut table = Table::new(1);
            (0..stays).for_each(|n| insert(&mut table, n));
            let mut churn = churn.into_iter();
            let mut seen = Vec::new();
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                let before = seen.len();
                cursor = if until {
                    table.scan_until(from, |e| {
                        seen.push(e.0);
                        seen.len() - before >= count
                    })
                } else {
                    table.scan(from, count, |e| seen.push(e.0))
                };
                prop_assert!(seen.len() - before >= count || cursor.is_none());
                for (n, add) in churn.by_ref().take(count) {
                    if add { insert(&mut table, n) } else { remove(&mut table, n) }
                }
            }
            let stayed: Vec<u64> = seen.iter().copied().filter(|n| *n < 2000).collect();
            prop_assert_eq!(stayed.len() as u64, stays);
            prop_assert_eq!(stayed.into_iter().collect::<BTreeSet<_>>().len() as u64, stays);
        }

        #[test]
        fn samples_come_from_the_table(numbers in prop::collection::btree_set(any::<u64>(), 1..1000), random in any::<u64>()) {
            let mut table = Table::new(1);
            numbers.iter().for_each(|n| insert(&mut table, *n));
            let mut sampled = Vec::new();
            table.sample(random, 5, |e| sampled.push(e.0));
            prop_assert!(!sampled.is_empty() && sampled.len() <= 5);
            prop_assert!(sampled.iter().all(|n| numbers.contains(n)));
        }
    }
}
