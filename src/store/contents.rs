//! For tests: all that clients can see of a collection, and that its views agree about it.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Attribute, Entry, Kind, Score, StreamId};

/// Elements and attributes with their values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// What it is.
    pub kind: Kind,
    /// As effects name them.
    pub elements: BTreeMap<Vec<u8>, Vec<u8>>,
    /// As effects name them.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Contents {
    /// Those of an entry; asserts that all ways to read them agree.
    pub fn of(entry: &Entry) -> Self {
        let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
        let contents = Contents {
            kind: entry.kind(),
            elements: entry.elements().map(owned).collect(),
            attributes: entry.attributes().map(owned).collect(),
        };
        match contents.kind {
            Kind::SortedSet => contents.check_sorted_set(entry),
            Kind::List => {
                let list = entry.list().unwrap();
                assert!(list.iter().eq(contents.elements.values()));
                assert_eq!(list.len(), contents.elements.len());
            }
            Kind::Stream => contents.check_stream(entry),
            Kind::String => assert!(contents.elements.is_empty()),
            Kind::Hash => assert_eq!(entry.hash().unwrap().len(), contents.elements.len()),
            Kind::Set => assert_eq!(entry.set().unwrap().len(), contents.elements.len()),
        }
        assert!(contents.kind == Kind::Stream || contents.attributes.is_empty());
        let is_there = !contents.elements.is_empty() || !contents.attributes.is_empty();
        assert!(contents.kind == Kind::String || is_there);
        contents
    }

    fn check_sorted_set(&self, entry: &Entry) {
        let set = entry.sorted_set().unwrap();
        let mut sorted: Vec<_> = self
            .elements
            .iter()
            .map(|(m, v)| (Score::decode(v), m))
            .collect();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert!(
            set.iter()
                .eq(sorted.iter().map(|(score, member)| (&member[..], *score)))
        );
        for (rank, (score, member)) in sorted.iter().enumerate() {
            assert_eq!(set.rank(member), Some(rank));
            assert_eq!(set.score(member), Some(*score));
            let from = set.ranks_by_score(Bound::Included(*score), Bound::Unbounded);
            assert_eq!(
                from.start,
                sorted.partition_point(|(other, _)| other < score)
            );
            let to = set.ranks_by_score(Bound::Unbounded, Bound::Excluded(*score));
            assert_eq!(to, 0..from.start);
        }
    }

    fn check_stream(&self, entry: &Entry) {
        let stream = entry.stream().unwrap();
        assert!(
            stream
                .range(0..stream.len())
                .map(|(id, _)| id.to_bytes())
                .eq(self
                    .elements
                    .keys()
                    .map(|id| StreamId::from_bytes(id).to_bytes()))
        );
        let (first, last) = (stream.first(), stream.last());
        assert!(stream.last_id() >= last.map_or(StreamId::MIN, |(id, _)| id));
        assert_eq!(first.is_none(), self.elements.is_empty());
        let mut known = Vec::new();
        for (name, group) in stream.groups() {
            known.push(Attribute::Group(name).encode());
            let mut of_consumers = 0;
            for (consumer, state) in group.consumers() {
                known.push(Attribute::Consumer(name, consumer).encode());
                of_consumers += state.pending().len();
                for id in state.pending() {
                    assert_eq!(group.pending()[id].consumer(), consumer);
                }
            }
            assert!(of_consumers <= group.pending().len());
            known.extend(
                group
                    .pending()
                    .keys()
                    .map(|id| Attribute::Pending(name, *id).encode()),
            );
        }
        assert!(known.iter().all(|name| self.attributes.contains_key(name)));
    }
}
