//! A collection of few small elements, packed in the bytes that stand inline in its key's entry.
//!
//! A hash of five short fields takes a third of what a table of entries would. Changes are O(bytes), as in Redis'
//! listpacks; a collection that outgrows the bounds here is unpacked, and stays so until it is loaded again.
//!
//! | bytes | field |
//! | --- | --- |
//! | 1 | kind; the high bit says that a set ever had a member that is no integer |
//! | 1 | most elements there ever were |
//! | 1 | length of the longest element or value, as [`Extent`] has it |
//! | … | the elements, as [`Packed`] lays them out: those of lists by position, of sorted sets by score |

use std::cmp::Ordering;

use super::views::Score;
use super::{Collection, Extent};
use crate::effect::Kind;
use crate::store::containers::{Element, Packed, PackedView};

/// Most elements.
const LEN_MAX: usize = if cfg!(test) { 2 } else { 128 };
/// Longest element or value, in bytes.
const ELEMENT_BYTES_MAX: usize = 64;
/// All of them, in bytes: each change copies them.
const BYTES_MAX: usize = 8 << 10;

const HEADER_BYTES: usize = 3;
const HAS_TEXT: u8 = 0x80;

/// A small collection in someone's bytes.
#[derive(Clone, Copy)]
pub struct Small<'a> {
    kind: Kind,
    extent: Extent,
    elements: PackedView<'a>,
}

/// Whether collections of a kind can be small.
pub fn can_be_small(kind: Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Stream)
}

fn element<'a>(name: &'a [u8], value: &'a [u8]) -> Element<'a> {
    let stamp = (0, 0);
    Element { name, value, stamp }
}

/// How elements of a kind are ordered; those of hashes and sets as they come.
fn order(kind: Kind, one: &Element<'_>, other: &Element<'_>) -> Ordering {
    match kind {
        Kind::List => one.name.cmp(other.name),
        Kind::SortedSet => {
            let scores = [one, other].map(|element| Score::decode(element.value));
            let by_score = scores[0].partial_cmp(&scores[1]);
            by_score.map_or(Ordering::Equal, |by_score| {
                by_score.then_with(|| one.name.cmp(other.name))
            })
        }
        _ => Ordering::Less,
    }
}

fn encode(kind: Kind, extent: Extent, packed: &Packed) -> Option<Vec<u8>> {
    let bytes = packed.as_bytes();
    let fits = extent.peak_len as usize <= LEN_MAX
        && extent.longest_bytes as usize <= ELEMENT_BYTES_MAX
        && bytes.len() <= BYTES_MAX;
    if !fits {
        return None;
    }
    let tag = kind as u8 | if extent.has_text { HAS_TEXT } else { 0 };
    let header = [tag, extent.peak_len as u8, extent.longest_bytes as u8];
    Some([&header[..], bytes].concat())
}

impl<'a> Small<'a> {
    /// The collection in these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        let (header, elements) = bytes
            .split_first_chunk()
            .unwrap_or((&[0; HEADER_BYTES], &[0]));
        Small {
            kind: Kind::from_u8(header[0] & !HAS_TEXT).unwrap_or(Kind::Hash),
            extent: Extent {
                peak_len: header[1].into(),
                longest_bytes: header[2].into(),
                has_text: header[0] & HAS_TEXT != 0,
            },
            elements: PackedView::new(elements),
        }
    }

    /// The bytes of an empty one.
    pub fn empty(kind: Kind) -> [u8; HEADER_BYTES + 1] {
        [kind as u8, 0, 0, 0]
    }

    /// The bytes of one that holds the same as a collection, if it is small enough.
    pub fn pack(collection: &Collection) -> Option<Vec<u8>> {
        let (kind, extent) = (collection.kind(), collection.extent());
        if !can_be_small(kind) || collection.expires() || extent.peak_len as usize > LEN_MAX {
            return None;
        }
        let mut packed = Packed::new(false);
        let mut elements: Vec<_> = collection.iter().map(|(n, v)| element(n, v)).collect();
        elements.sort_by(|one, other| match kind {
            Kind::SortedSet => order(kind, one, other),
            // In order already, or in none.
            _ => Ordering::Equal,
        });
        for (index, element) in elements.into_iter().enumerate() {
            packed.insert(index, element);
        }
        encode(kind, extent, &packed)
    }

    /// The same as a collection of its own. The seed is the partition's.
    pub fn unpack(self, seed: u64) -> Collection {
        let mut collection = Collection::new(self.kind, seed);
        for (name, value) in self.iter() {
            collection.set(name, value);
        }
        collection.extent = self.extent;
        collection
    }

    /// The bytes with an element set; `None` if it would be too large.
    pub fn with(self, name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        if name.len().max(value.len()) > ELEMENT_BYTES_MAX {
            return None;
        }
        let new = element(name, value);
        let mut packed = self.to_packed();
        match self.kind {
            Kind::Hash | Kind::Set => {
                packed.set(new);
            }
            kind => {
                packed.remove(name);
                let elements = packed.view();
                let before = |other: &Element<'_>| order(kind, other, &new).is_lt();
                let index = elements.iter().take_while(before).count();
                packed.insert(index, new);
            }
        }
        let mut extent = self.extent;
        extent.note(self.kind, name, value);
        extent.peak_len = extent.peak_len.max(packed.view().len() as u32);
        encode(self.kind, extent, &packed)
    }

    /// The bytes without an element; `None` if it is not there.
    pub fn without(self, name: &[u8]) -> Option<Vec<u8>> {
        let mut packed = self.to_packed();
        if !packed.remove(name) {
            return None;
        }
        encode(self.kind, self.extent, &packed)
    }

    fn to_packed(self) -> Packed {
        Packed::from_bytes(self.elements.as_bytes().to_vec())
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        self.elements.len()
    }

    /// See [`Extent`].
    pub fn extent(self) -> Extent {
        self.extent
    }

    /// The value of an element.
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.elements.find(name).map(|element| element.value)
    }

    /// The index of an element.
    pub fn index_of(self, name: &[u8]) -> Option<usize> {
        self.elements.position(name).map(|(index, _)| index)
    }

    /// Element and value at an index.
    pub fn at(self, index: usize) -> Option<(&'a [u8], &'a [u8])> {
        let found = self.elements.get(index);
        found.map(|element| (element.name, element.value))
    }

    /// Elements with their values: of lists by position, of sorted sets by score.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let elements = self.elements.iter();
        elements.map(|element| (element.name, element.value))
    }

    /// Visits elements from a random one on, at most so many different ones.
    pub fn sample(self, random: u64, count: usize, mut visit: impl FnMut(&[u8], &[u8])) {
        let length = self.len();
        let start = (random % length.max(1) as u64) as usize;
        let all = self.iter().chain(self.iter()).skip(start);
        all.take(count.min(length))
            .for_each(|(name, value)| visit(name, value));
    }
}

#[cfg(test)]
mod tests {
    use coterie_protocol::{DatabaseId, PartitionId, Version};
    use proptest::prelude::*;

    use super::*;
    use crate::effect::Effect;
    use crate::store::Partition;
    use crate::store::access::AccessClock;
    use crate::store::contents::Contents;

    const DATABASE: DatabaseId = DatabaseId(0);
    const KEY: &[u8] = b"key";

    fn kind() -> impl Strategy<Value = Kind> {
        let kinds = [Kind::Hash, Kind::Set, Kind::SortedSet, Kind::List];
        prop::sample::select(kinds.to_vec())
    }

    fn name_of(kind: Kind, name: u8) -> Vec<u8> {
        match kind {
            Kind::List => vec![0x80, 0, 0, 0, 0, 0, 0, name, 0, 1],
            _ if name == 9 => vec![b'n'; ELEMENT_BYTES_MAX + 1],
            _ => vec![b'0' + name],
        }
    }

    fn value_of(kind: Kind, value: u8) -> Vec<u8> {
        match kind {
            Kind::Set => Vec::new(),
            Kind::SortedSet => Score::encode(f64::from(value / 64)).to_vec(),
            _ => vec![b'v'; usize::from(value) % 70],
        }
    }

    proptest! {
        /// Changes of a key come to the same as those of a collection that is never packed.
        #[test]
        fn both_forms_hold_the_same(
            kind in kind(),
            steps in prop::collection::vec((0..10u8, prop::option::weighted(0.6, any::<u8>())), 1..30),
        ) {
            let mut partition = Partition::new(PartitionId(0), 7);
            let mut plain = Collection::new(kind, 7);
            for (number, (name, value)) in steps.iter().enumerate() {
                let element = &name_of(kind, *name)[..];
                let value = value.map(|value| value_of(kind, value));
                let effect = match &value {
                    Some(value) => Effect::ElementSet { kind, key: KEY, element, value },
                    None => Effect::ElementDelete { kind, key: KEY, element },
                };
                match &value {
                    Some(value) => plain.set(element, value),
                    None => plain.remove(element),
                }
                let version = Version::from_bits(number as u64 + 1);
                let access = AccessClock::new(0, None);
                let before = partition.set_aside(DATABASE, &effect, version);
                let seen = partition.find(DATABASE, KEY, 0).map(Contents::of);
                partition.apply(DATABASE, &effect, version, &access);
                if number % 3 == 0 {
                    partition.undo(DATABASE, KEY, before);
                    prop_assert_eq!(partition.find(DATABASE, KEY, 0).map(Contents::of), seen);
                    partition.apply(DATABASE, &effect, version, &access);
                }
                partition.allocated_bytes();
                let entry = partition.find(DATABASE, KEY, 0);
                let mut elements: Vec<_> = entry.iter().flat_map(|entry| entry.elements()).collect();
                let mut expected: Vec<_> = plain.iter().collect();
                elements.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(elements, expected);
                let Some(entry) = entry else {
                    plain = Collection::new(kind, 7);
                    continue;
                };
                Contents::of(entry);
                let extent = plain.extent();
                let is_small = extent.peak_len as usize <= LEN_MAX
                    && extent.longest_bytes as usize <= ELEMENT_BYTES_MAX;
                if kind == Kind::Hash || !is_small {
                    prop_assert_eq!(entry.small().is_some(), is_small);
                }
                if let Some(small) = entry.small() {
                    prop_assert_eq!(small.extent().peak_len, extent.peak_len);
                    prop_assert_eq!(small.extent().longest_bytes, extent.longest_bytes);
                    prop_assert_eq!(small.extent().has_text, extent.has_text);
                    let mut packed = Small::pack(&small.unpack(7)).map(|bytes| Small::of(&bytes).iter()
                        .map(|(n, v)| (n.to_vec(), v.to_vec())).collect::<Vec<_>>()).unwrap();
                    packed.sort_unstable();
                    prop_assert!(packed.iter().map(|(n, v)| (&n[..], &v[..])).eq(plain_sorted(&plain)));
                }
            }
        }
    }

    fn plain_sorted(plain: &Collection) -> Vec<(&[u8], &[u8])> {
        let mut all: Vec<_> = plain.iter().collect();
        all.sort_unstable();
        all
    }
}
