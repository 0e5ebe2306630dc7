//! Streams: entries with ids, and attributes: the mark, consumer groups, consumers, pending entries.

use std::ops::{Bound, Range};

use super::Collection;
use super::elements::order_of;
use super::groups::{Group, Groups};
use crate::store::containers::Sequence;
use crate::store::entry::Entry;

/// The id of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamId {
    /// Unix milliseconds, unless the client chose something else.
    pub ms: u64,
    /// Which of the entries of that millisecond.
    pub sequence: u64,
}

impl StreamId {
    /// The lowest, which no entry has.
    pub const MIN: StreamId = StreamId::new(0, 0);
    /// The highest.
    pub const MAX: StreamId = StreamId::new(u64::MAX, u64::MAX);

    /// One of these two numbers.
    pub const fn new(ms: u64, sequence: u64) -> Self {
        StreamId { ms, sequence }
    }

    /// As an element: its bytes are in the order of the ids.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// The id that an element is; the lowest for one that is none.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = Numbers(bytes);
        match (numbers.take(), numbers.take()) {
            (Some(ms), Some(sequence)) => StreamId { ms, sequence },
            _ => StreamId::MIN,
        }
    }

    /// The next higher one.
    pub fn next(self) -> Option<Self> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId::new(self.ms.checked_add(1)?, 0)),
        }
    }

    /// The next lower one.
    pub fn previous(self) -> Option<Self> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId::new(self.ms.checked_sub(1)?, u64::MAX)),
        }
    }
}

/// Reads big-endian numbers.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn take_id(&mut self) -> Option<StreamId> {
        Some(StreamId::new(self.take()?, self.take()?))
    }
}

/// What a stream remembers of entries that are gone. Whoever deletes or trims entries, or sets the id, writes it anew
/// in the same change; who only adds need not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamMark {
    /// The highest id there ever was.
    pub last_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
    /// The highest id that was deleted (`XDEL`).
    pub max_deleted_id: StreamId,
}

impl StreamMark {
    /// As the value of [`Attribute::Mark`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.last_id.to_bytes().to_vec();
        bytes.extend_from_slice(&self.entries_added.to_be_bytes());
        bytes.extend_from_slice(&self.max_deleted_id.to_bytes());
        bytes
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut numbers = Numbers(value);
        Some(StreamMark {
            last_id: numbers.take_id()?,
            entries_added: numbers.take()?,
            max_deleted_id: numbers.take_id()?,
        })
    }
}

/// What a group is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupState {
    /// The last entry that was given to a consumer.
    pub last_delivered: StreamId,
    /// How many entries the group has read, if that is known.
    pub entries_read: Option<u64>,
}

impl GroupState {
    /// As the value of [`Attribute::Group`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.last_delivered.to_bytes().to_vec();
        bytes.extend_from_slice(&self.entries_read.unwrap_or(u64::MAX).to_be_bytes());
        bytes
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut numbers = Numbers(value);
        Some(GroupState {
            last_delivered: numbers.take_id()?,
            entries_read: Some(numbers.take()?).filter(|read| *read != u64::MAX),
        })
    }
}

/// When a consumer was last there, Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConsumerState {
    /// When it last asked for entries.
    pub seen_ms: u64,
    /// When it last got some.
    pub active_ms: u64,
}

impl ConsumerState {
    /// As the value of [`Attribute::Consumer`].
    pub fn encode(&self) -> Vec<u8> {
        [self.seen_ms.to_be_bytes(), self.active_ms.to_be_bytes()].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut numbers = Numbers(value);
        Some(ConsumerState {
            seen_ms: numbers.take()?,
            active_ms: numbers.take()?,
        })
    }
}

/// An entry that was given to a consumer, and is not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingState<'a> {
    /// Who has it.
    pub consumer: &'a [u8],
    /// When it was last given out, Unix milliseconds.
    pub delivered_ms: u64,
    /// How often it was given out.
    pub deliveries: u64,
}

impl<'a> PendingState<'a> {
    /// As the value of [`Attribute::Pending`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.delivered_ms.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.deliveries.to_be_bytes());
        bytes.extend_from_slice(self.consumer);
        bytes
    }

    pub(super) fn decode(value: &'a [u8]) -> Option<Self> {
        let mut numbers = Numbers(value);
        Some(PendingState {
            delivered_ms: numbers.take()?,
            deliveries: numbers.take()?,
            consumer: numbers.0,
        })
    }
}

/// The name of something that a stream has besides entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attribute<'a> {
    /// Its value is a [`StreamMark`]. A stream that has one is there even without entries.
    Mark,
    /// A consumer group; its value is a [`GroupState`].
    Group(&'a [u8]),
    /// A group's consumer; its value is a [`ConsumerState`].
    Consumer(&'a [u8], &'a [u8]),
    /// An entry of a group that is not acknowledged; its value is a [`PendingState`].
    Pending(&'a [u8], StreamId),
}

impl<'a> Attribute<'a> {
    /// As the name in an effect: a tag, then the group with its length before it, then the rest.
    pub fn encode(&self) -> Vec<u8> {
        let (tag, group, rest) = match self {
            Attribute::Mark => return vec![0],
            Attribute::Group(group) => (1, *group, Vec::new()),
            Attribute::Consumer(group, consumer) => (2, *group, consumer.to_vec()),
            Attribute::Pending(group, id) => (3, *group, id.to_bytes().to_vec()),
        };
        let mut name = vec![tag];
        name.extend_from_slice(&(group.len() as u32).to_be_bytes());
        name.extend_from_slice(group);
        name.extend_from_slice(&rest);
        name
    }

    pub(super) fn decode(name: &'a [u8]) -> Option<Self> {
        let (&tag, rest) = name.split_first()?;
        if tag == 0 {
            return rest.is_empty().then_some(Attribute::Mark);
        }
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_be_bytes(*length) as usize;
        let (group, rest) = rest.split_at_checked(length)?;
        match tag {
            1 => rest.is_empty().then_some(Attribute::Group(group)),
            2 => Some(Attribute::Consumer(group, rest)),
            3 if rest.len() == 16 => {
                let id = StreamId::from_bytes(rest);
                Some(Attribute::Pending(group, id))
            }
            _ => None,
        }
    }
}

/// An entry's fields and values as the value of its element: each with its length, a little-endian `u32`, before it.
pub fn encode_fields<'f>(fields: impl Iterator<Item = &'f [u8]>, out: &mut Vec<u8>) {
    for text in fields {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    }
}

/// The fields and values of an entry, one after the other.
pub fn decode_fields(mut encoded: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    std::iter::from_fn(move || {
        let (length, rest) = encoded.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        encoded = rest;
        Some(text)
    })
}

/// The entries of a stream, and its groups.
#[derive(Clone, Copy)]
pub struct StreamView<'a>(pub(in crate::store) &'a Collection);

impl<'a> StreamView<'a> {
    fn sequence(self) -> Option<&'a Sequence<Entry>> {
        self.0.elements.sequence()
    }

    fn index(self) -> Option<&'a Groups> {
        self.0.attributes.as_ref()?.groups.as_deref()
    }

    /// Number of entries.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry; the key may be there all the same.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The mark, with the entries counted in that were added since it was written.
    pub fn mark(self) -> StreamMark {
        let mark = Attribute::Mark.encode();
        let attributes = self.0.attributes.as_ref();
        let value = attributes.and_then(|attributes| attributes.get(&mark));
        let mut mark = value.and_then(StreamMark::decode).unwrap_or_default();
        let since = (Bound::Excluded(mark.last_id), Bound::Unbounded);
        mark.entries_added += self.indices(since.0, since.1).len() as u64;
        let last_id = self.last().map_or(StreamId::MIN, |(id, _)| id);
        mark.last_id = mark.last_id.max(last_id);
        mark
    }

    /// The highest id there ever was.
    pub fn last_id(self) -> StreamId {
        self.mark().last_id
    }

    /// The encoded fields of an entry.
    pub fn get(self, id: StreamId) -> Option<&'a [u8]> {
        self.0.get(&id.to_bytes())
    }

    /// The first entry and its encoded fields.
    pub fn first(self) -> Option<(StreamId, &'a [u8])> {
        self.range(0..self.len().min(1)).next()
    }

    /// The last entry and its encoded fields.
    pub fn last(self) -> Option<(StreamId, &'a [u8])> {
        self.range(self.len().saturating_sub(1)..self.len()).next()
    }

    /// The indices of the entries with ids between these.
    pub fn indices(self, min: Bound<StreamId>, max: Bound<StreamId>) -> Range<usize> {
        let Some(sequence) = self.sequence() else {
            return 0..0;
        };
        // Where an id belongs, and where what is right behind it does.
        let at = |id: StreamId| sequence.first_at(order_of(&id.to_bytes()));
        let behind = |id: StreamId| sequence.first_above(order_of(&id.to_bytes()));
        let start = match min {
            Bound::Unbounded => 0,
            Bound::Included(min) => at(min),
            Bound::Excluded(min) => behind(min),
        };
        let end = match max {
            Bound::Unbounded => sequence.len(),
            Bound::Included(max) => behind(max),
            Bound::Excluded(max) => at(max),
        };
        start..end.max(start)
    }

    /// Ids and encoded fields of a range of indices; `.rev()` for the last first.
    pub fn range(
        self,
        indices: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = (StreamId, &'a [u8])> {
        let entries = self.sequence().map(|sequence| sequence.range(indices));
        let entries = entries.into_iter().flatten();
        entries.map(|entry: &Entry| (StreamId::from_bytes(entry.key()), entry.value()))
    }

    /// The groups, in order of their names.
    pub fn groups(self) -> impl Iterator<Item = (&'a [u8], &'a Group)> {
        self.index().into_iter().flat_map(Groups::iter)
    }

    /// A group.
    pub fn group(self, name: &[u8]) -> Option<&'a Group> {
        self.index()?.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_read_as_written() {
        let id = StreamId::new(7, 9);
        for attribute in [
            Attribute::Mark,
            Attribute::Group(b""),
            Attribute::Group(b"group"),
            Attribute::Consumer(b"group", b"consumer"),
            Attribute::Pending(b"g", id),
        ] {
            assert_eq!(Attribute::decode(&attribute.encode()), Some(attribute));
        }
        let mark = StreamMark {
            last_id: id,
            entries_added: 3,
            max_deleted_id: StreamId::MIN,
        };
        assert_eq!(StreamMark::decode(&mark.encode()), Some(mark));
        for entries_read in [None, Some(0), Some(8)] {
            let last_delivered = id;
            let state = GroupState {
                last_delivered,
                entries_read,
            };
            assert_eq!(GroupState::decode(&state.encode()), Some(state));
        }
        let state = PendingState {
            consumer: b"someone",
            delivered_ms: 1,
            deliveries: 2,
        };
        assert_eq!(PendingState::decode(&state.encode()), Some(state));
        let mut encoded = Vec::new();
        encode_fields([&b"a"[..], b"", b"bc"].into_iter(), &mut encoded);
        assert!(decode_fields(&encoded).eq([&b"a"[..], b"", b"bc"]));
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(
            StreamId::new(2, 0).previous(),
            StreamId::new(1, u64::MAX).into()
        );
    }
}
