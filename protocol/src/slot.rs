//! Which slot a key belongs to, and which partition a slot.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The number of slots in a key space.
pub const SLOTS: u16 = 16384;

/// A key's place in the key space: 0 to 16383, as in Redis Cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// Slot `number`, if there is such a one.
    pub const fn new(number: u16) -> Option<Slot> {
        if number < SLOTS {
            Some(Slot(number))
        } else {
            None
        }
    }

    /// The slot of a key: CRC16 of it, or of its hash tag, modulo 16384.
    ///
    /// The hash tag is what lies between the first `{` and the first `}` after it, unless that is nothing
    /// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
    #[inline]
    pub fn of(key: &[u8]) -> Slot {
        Slot(crc16(hash_tag(key)) % SLOTS)
    }

    /// The number, below 16384.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition: a run of consecutive slots that are stored, placed and replicated together.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the slots are cut into partitions of equal size. Fixed when a cluster is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    /// log2 of the number of slots a partition.
    shift: u8,
}

impl Partitions {
    /// `count` partitions: a power of two from 1 to 16384, else `None`.
    pub const fn new(count: u16) -> Option<Partitions> {
        if count.is_power_of_two() && count <= SLOTS {
            Some(Partitions {
                shift: (SLOTS / count).trailing_zeros() as u8,
            })
        } else {
            None
        }
    }

    /// The number of partitions.
    pub const fn count(self) -> u16 {
        SLOTS >> self.shift
    }

    /// The partition that holds a slot.
    #[inline]
    pub const fn partition_of(self, slot: Slot) -> PartitionId {
        PartitionId(slot.0 >> self.shift)
    }

    /// The partition that holds a key.
    #[inline]
    pub fn partition_of_key(self, key: &[u8]) -> PartitionId {
        self.partition_of(Slot::of(key))
    }

    /// The numbers of a partition's slots. Empty if there is no such partition.
    pub const fn slots(self, partition: PartitionId) -> Range<u16> {
        if partition.0 >= self.count() {
            return 0..0;
        }
        let start = partition.0 << self.shift;
        start..start + (1 << self.shift)
    }

    /// All partitions in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = PartitionId> + ExactSizeIterator + Clone {
        (0..self.count()).map(PartitionId)
    }
}

impl Default for Partitions {
    /// 256 partitions of 64 slots.
    fn default() -> Self {
        Partitions { shift: 6 }
    }
}

/// The part of a key that decides its slot.
#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    if !has_open_brace(key) {
        return key;
    }
    let Some(open) = key.iter().position(|byte| *byte == b'{') else {
        return key;
    };
    let after = &key[open + 1..];
    match after.iter().position(|byte| *byte == b'}') {
        None | Some(0) => key,
        Some(close) => &after[..close],
    }
}

/// Whether there is a `{`. Looks at eight bytes at a time.
#[inline]
fn has_open_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const BRACES: u64 = u64::from_ne_bytes([b'{'; 8]);
    let (words, tail) = key.as_chunks::<8>();
    let in_words = words.iter().any(|word| {
        // A byte that is zero borrows from its high bit ("Bit Twiddling Hacks", Anderson).
        let difference = u64::from_ne_bytes(*word) ^ BRACES;
        difference.wrapping_sub(ONES) & !difference & HIGH != 0
    });
    in_words || tail.contains(&b'{')
}

/// CRC16/XMODEM: polynomial 0x1021, initial value 0, most significant bit first.
///
/// Four bytes a step, each through a table of its own, so that their look-ups don't wait for each other
/// ("slicing", Kounavis and Berry, 2005).
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for [a, b, c, d] in blocks {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES[3][usize::from(high ^ a)]
            ^ TABLES[2][usize::from(low ^ b)]
            ^ TABLES[1][usize::from(*c)]
            ^ TABLES[0][usize::from(*d)];
    }
    for byte in tail {
        let [high, low] = crc.to_be_bytes();
        crc = u16::from(low) << 8 ^ TABLES[0][usize::from(high ^ byte)];
    }
    crc
}

/// `TABLES[n][b]`: the CRC of byte `b` and `n` zero bytes after it.
static TABLES: [[u16; 256]; 4] = tables();

const fn tables() -> [[u16; 256]; 4] {
    let mut tables = [[0u16; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut table = 0;
        while table < 4 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 {
                    crc << 1
                } else {
                    crc << 1 ^ 0x1021
                };
                bit += 1;
            }
            tables[table][byte] = crc;
            table += 1;
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of the CRC, bit by bit.
    fn crc16_bitwise(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| {
                if crc & 0x8000 == 0 {
                    crc << 1
                } else {
                    crc << 1 ^ 0x1021
                }
            })
        })
    }

    #[test]
    fn crc_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn slots_of_known_keys() {
        // Answers of CLUSTER KEYSLOT.
        let known: [(&[u8], u16); 10] = [
            (b"", 0),
            (b"foo", 12182),
            (b"hello", 866),
            (b"{user1000}.following", 3443),
            (b"user1000", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"{bar", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"bar", 5061),
        ];
        for (key, slot) in known {
            assert_eq!(Slot::of(key).number(), slot, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn partitions_cover_all_slots_once() {
        for count in (0..15).map(|power| 1u16 << power) {
            let partitions = Partitions::new(count).unwrap();
            assert_eq!(partitions.count(), count);
            let mut next = 0;
            for partition in partitions.iter() {
                let slots = partitions.slots(partition);
                assert_eq!(slots.start, next);
                assert_eq!(slots.len(), usize::from(SLOTS / count));
                for number in slots.clone() {
                    assert_eq!(
                        partitions.partition_of(Slot::new(number).unwrap()),
                        partition
                    );
                }
                next = slots.end;
            }
            assert_eq!(next, SLOTS);
            assert!(partitions.slots(PartitionId(count)).is_empty());
        }
        assert_eq!(Partitions::default(), Partitions::new(256).unwrap());
    }

    #[test]
    fn odd_counts_of_partitions_are_refused() {
        for count in [0, 3, 100, 16383, 16385, 32768, u16::MAX] {
            assert_eq!(Partitions::new(count), None);
        }
        assert_eq!(Slot::new(SLOTS), None);
    }

    proptest! {
        #[test]
        fn crc_agrees_with_its_definition(bytes: Vec<u8>) {
            prop_assert_eq!(crc16(&bytes), crc16_bitwise(&bytes));
        }

        #[test]
        fn keys_with_one_tag_share_a_slot(before in "[^{]*", tag in "[^}]+", after: String) {
            let key = format!("{before}{{{tag}}}{after}");
            prop_assert_eq!(Slot::of(key.as_bytes()).number(), crc16_bitwise(tag.as_bytes()) % SLOTS);
        }
    }
}
