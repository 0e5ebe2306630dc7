//! Digests of what is known of keys, to compare replicas by.
//!
//! A stamp tells one change from all others, so digests are made of stamps alone and never read a value, but for
//! sketches, of which a hash is kept. What
//! is known of a key is a set of items; their hashes are added up, so that a sum can follow each change.

use coterie_protocol::{DatabaseId, Stamp};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Buckets of a partition's tree.
pub const BUCKETS: usize = 256;

/// What an item tells.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Item {
    Register = 1,
    Tombstone = 2,
    Part = 3,
    Expiry = 4,
    Kind = 5,
    Mark = 6,
    Trim = 7,
    Sketch = 8,
}

/// The name of a key in digests: the same on every node.
pub(super) fn name_of(database: DatabaseId, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, u64::from(database.0) + 1)
}

/// The name of an element in digests.
pub(super) fn name_of_element(element: &[u8]) -> u64 {
    xxh3_64(element)
}

/// The bucket of a key.
pub(super) fn bucket_of(name: u64) -> usize {
    name as usize % BUCKETS
}

/// Hash of one item. `name` is that of an element, or 0; `base` and `total` are those of a counter's part, or
/// the base and the hash of the value of a sketch.
pub(super) fn item(item: Item, name: u64, stamp: Stamp, base: Stamp, total: i64) -> u64 {
    let mut bytes = [0; 37];
    bytes[0] = item as u8;
    bytes[1..9].copy_from_slice(&name.to_le_bytes());
    bytes[9..17].copy_from_slice(&stamp.version.to_bits().to_le_bytes());
    bytes[17..19].copy_from_slice(&stamp.actor.0.to_le_bytes());
    bytes[19..27].copy_from_slice(&base.version.to_bits().to_le_bytes());
    bytes[27..29].copy_from_slice(&base.actor.0.to_le_bytes());
    bytes[29..37].copy_from_slice(&total.to_le_bytes());
    xxh3_64(&bytes)
}

/// Hash of an item that is but a stamp.
pub(super) fn plain_item(kind: Item, name: u64, stamp: Stamp) -> u64 {
    item(kind, name, stamp, Stamp::ZERO, 0)
}

/// Sums of the hashes of items: of those that clients can see, and of the others (tombstones, marks, parts of
/// counters whose base is not there yet).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Sums {
    pub live: u64,
    pub hidden: u64,
}

impl Sums {
    pub fn add(&mut self, other: Sums) {
        self.live = self.live.wrapping_add(other.live);
        self.hidden = self.hidden.wrapping_add(other.hidden);
    }

    pub fn subtract(&mut self, other: Sums) {
        self.live = self.live.wrapping_sub(other.live);
        self.hidden = self.hidden.wrapping_sub(other.hidden);
    }

    /// Those of one item that clients can't see.
    pub fn of_hidden(hash: u64) -> Self {
        let live = 0;
        Sums { live, hidden: hash }
    }

    pub fn add_to(&mut self, is_live: bool, hash: u64) {
        let sum = if is_live {
            &mut self.live
        } else {
            &mut self.hidden
        };
        *sum = sum.wrapping_add(hash);
    }

    /// Digest of what clients can see; 0 for nothing.
    pub fn live_digest(self, name: u64) -> u64 {
        match self.live {
            0 => 0,
            sum => mix(name, sum),
        }
    }

    /// Digest of everything; 0 for nothing.
    pub fn digest(self, name: u64) -> u64 {
        match (self.live, self.hidden) {
            (0, 0) => 0,
            (live, hidden) => mix(mix(name, live), hidden),
        }
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a.to_le_bytes());
    bytes[8..].copy_from_slice(&b.to_le_bytes());
    xxh3_64(&bytes)
}
