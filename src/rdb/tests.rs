//! Values read back as they were written, and whatever else comes is refused without harm.

use coterie_protocol::{Actor, DatabaseId, Partitions, Version};
use proptest::prelude::*;

use super::listpack::{Builder, Listpack};
use super::{DecodeError, Pairs, Value, collections, decode, encode, lzf, sign, verified};
use crate::effect::{Effect, Kind, StringEncoding};
use crate::store::{
    AccessClock, Attribute, ConsumerState, Entry, GroupState, PendingState, Score, Store, StreamId,
    StreamMark, encode_fields, insert_changes,
};

/// Fields of an entry.
type Names = Vec<Vec<u8>>;

const KEY: &[u8] = b"key";
const DATABASE: DatabaseId = DatabaseId::DEFAULT;

/// Values as redis-server 7.0.15 and its forerunners have written them, without footers.
const WRITTEN: &[&[u8]] = &[
    b"\x00\x01v",
    b"\x00\xc1\x39\x30",
    b"\x00\xc3\x05\x40\x64\x00a\xe0\x5a\x00",
    b"\x01\x02\x01a\xc0\x05",
    b"\x02\x02\x01a\xc0\x05",
    b"\x03\x03\x01a\xff\x01b\xfe\x01c\x031.5",
    b"\x04\x01\x01f\x01v",
    b"\x05\x02\x01b\x00\x00\x00\x00\x00\x00\x08@\x01a\x00\x00\x00\x00\x00\x00\x00@",
    b"\x09\x0e\x02\x01a\x01\x00x\x02bb\x01\x01y_\xff",
    b"\x0a\x14\x14\x00\x00\x00\x0f\x00\x00\x00\x03\x00\x00\x01a\x03\xf3\x02\xc090\xff",
    b"\x0b\x0e\x02\x00\x00\x00\x03\x00\x00\x00\xfe\xff\x01\x00\x05\x00",
    b"\x0c\x13\x13\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\x031.5\xff",
    b"\x0d\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01f\x03\xf6\xff",
    b"\x0e\x01\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01f\x03\xf6\xff",
    b"\x10\x0d\x0d\x00\x00\x00\x02\x00\x81f\x02\xc1,\x02\xff",
    b"\x12\x01\x02\x0f\x0f\x00\x00\x00\x04\x00\x03\x01\x01\x01\x02\x01\n\x01\xff",
    b"\x12\x01\x01\x01z",
];

/// An entry that holds a value, as `RESTORE` makes it.
fn with_entry<R>(value: &Value, look: impl FnOnce(&Entry) -> R) -> R {
    let store = Store::new(Partitions::default(), 1, 7);
    let mut partition = store.lock(store.partition_of(KEY));
    let (clock, mut version) = (AccessClock::new(1, None), Version::new(1, 0));
    let mut apply = |effect: &Effect<'_>| {
        version = version.successor();
        partition.apply(DATABASE, effect, version, &clock);
    };
    match value {
        Value::String(value) => apply(&Effect::Put {
            key: KEY,
            value,
            encoding: StringEncoding::of(value),
            expire_at: None,
        }),
        Value::List(values) => {
            let texts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let changes = insert_changes(None, 0, &texts, Actor::default());
            changes.iter().for_each(|change| apply(&change.effect(KEY)));
        }
        Value::Elements {
            kind,
            elements,
            attributes,
        } => {
            for (element, value) in elements {
                apply(&Effect::ElementSet {
                    kind: *kind,
                    key: KEY,
                    element,
                    value,
                });
            }
            for (name, value) in attributes {
                apply(&Effect::AttributeSet {
                    key: KEY,
                    name,
                    value,
                });
            }
        }
    }
    look(partition.find(DATABASE, KEY, 1).expect("it is there"))
}

/// Elements that have no order in a fixed one.
fn in_order(mut value: Value) -> Value {
    if let Value::Elements {
        elements,
        attributes,
        ..
    } = &mut value
    {
        elements.sort();
        attributes.sort();
    }
    value
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        4 => (-5000..5000i64).prop_map(|number| number.to_string().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..70),
        1 => prop::collection::vec(b'a'..b'd', 4000..4200),
        1 => (0..40_000usize).prop_map(|length| vec![b'x'; length]),
    ]
}

fn elements(kind: Kind, value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(text(), value, 1..40).prop_map(move |elements| Value::Elements {
        kind,
        elements: elements.into_iter().collect(),
        attributes: Pairs::new(),
    })
}

fn id() -> impl Strategy<Value = StreamId> {
    let id = |(ms, sequence)| StreamId::new(ms, sequence);
    prop_oneof![
        (1..50u64, 0..20u64).prop_map(id),
        (1..u64::MAX, any::<u64>()).prop_map(id),
    ]
}

fn stream() -> impl Strategy<Value = Value> {
    let names = || prop::collection::vec(text(), 1..4);
    let entries = prop::collection::btree_map(id(), (prop::option::of(names()), text()), 0..250);
    let times = || 0..i64::MAX as u64;
    let pending = prop::collection::btree_map(id(), (0..3usize, times(), times()), 0..30);
    let read = prop::option::of(times());
    let consumers = prop::collection::vec(times(), 3);
    let group = (id(), read, consumers, pending);
    let groups = prop::collection::btree_map(text(), group, 0..3);
    (names(), entries, groups, any::<[u64; 2]>(), times()).prop_map(
        |(common, entries, groups, deleted, added)| {
            let last_id = entries.keys().last().copied().unwrap_or_default();
            let mark = StreamMark {
                last_id,
                entries_added: added,
                max_deleted_id: StreamId::new(deleted[0], deleted[1]),
            };
            let entry = |(id, (names, value)): (StreamId, (Option<Names>, Vec<u8>))| {
                let mut fields = Vec::new();
                let names = names.as_ref().unwrap_or(&common);
                for name in names {
                    encode_fields([name.as_slice(), &value].into_iter(), &mut fields);
                }
                (id.to_bytes().to_vec(), fields)
            };
            let mut attributes = vec![(Attribute::Mark.encode(), mark.encode())];
            for (name, (last_delivered, entries_read, consumers, pending)) in &groups {
                let state = GroupState {
                    last_delivered: *last_delivered,
                    entries_read: *entries_read,
                };
                attributes.push((Attribute::Group(name).encode(), state.encode()));
                for (number, seen_ms) in consumers.iter().enumerate() {
                    let state = ConsumerState {
                        seen_ms: *seen_ms,
                        active_ms: *seen_ms,
                    };
                    let name = Attribute::Consumer(name, CONSUMERS[number]).encode();
                    attributes.push((name, state.encode()));
                }
                for (id, (consumer, delivered_ms, deliveries)) in pending {
                    let state = PendingState {
                        consumer: CONSUMERS[*consumer],
                        delivered_ms: *delivered_ms,
                        deliveries: *deliveries,
                    };
                    attributes.push((Attribute::Pending(name, *id).encode(), state.encode()));
                }
            }
            Value::Elements {
                kind: Kind::Stream,
                elements: entries.into_iter().map(entry).collect(),
                attributes,
            }
        },
    )
}

const CONSUMERS: [&[u8]; 3] = [b"", b"one", b"17"];

fn value() -> impl Strategy<Value = Value> {
    let score = any::<f64>().prop_filter("no number", |score| !score.is_nan());
    let score = prop_oneof![score, (-100..100i32).prop_map(f64::from)];
    prop_oneof![
        text().prop_map(Value::String),
        prop::collection::vec(text(), 1..60).prop_map(Value::List),
        elements(Kind::Set, Just(Vec::new())),
        elements(Kind::Hash, text()),
        elements(
            Kind::SortedSet,
            score.prop_map(|score| Score::encode(score).to_vec())
        ),
        prop::collection::btree_set(any::<i64>(), 1..60).prop_map(|members| Value::Elements {
            kind: Kind::Set,
            elements: members
                .iter()
                .map(|member| (member.to_string().into(), Vec::new()))
                .collect(),
            attributes: Pairs::new(),
        }),
        stream(),
    ]
}

/// Reads, and sees to it that this takes no more memory than the bytes give reason for.
fn decode_within_bounds(bytes: &[u8]) -> Result<Value, DecodeError> {
    let allocated = tikv_jemalloc_ctl::thread::allocatedp::read().expect("statistics");
    let before = allocated.get();
    let value = decode(bytes);
    let taken = allocated.get() - before;
    // Compressed 88 times, each of the elements then takes two allocations and the growth of vectors.
    let bound = 10_000 + 88 * 150 * bytes.len() as u64;
    assert!(taken <= bound, "{taken} bytes for {}", bytes.len());
    value
}

/// What is accepted is a value like any other: it can be kept and written, and that is read as the same.
fn check(bytes: &[u8]) {
    let Ok(value) = decode_within_bounds(bytes) else {
        return;
    };
    for is_compact in [true, false] {
        let written = with_entry(&value, |entry| encode(entry, is_compact));
        let read = verified(&written).and_then(decode).map(in_order);
        assert_eq!(read, Ok(in_order(value.clone())));
    }
}

#[test]
fn every_encoding_is_read() {
    for bytes in WRITTEN {
        assert!(decode(bytes).is_ok(), "{bytes:x?}");
        check(bytes);
    }
    let of = |index: usize| decode(WRITTEN[index]).map(in_order);
    assert_eq!(of(1), Ok(Value::String(b"12345".to_vec())));
    assert_eq!(of(2), Ok(Value::String(vec![b'a'; 100])));
    let list = [&b"a"[..], b"2", b"12345"].map(<[u8]>::to_vec).to_vec();
    assert_eq!(of(9), Ok(Value::List(list)));
    let pairs = |kind, pairs: &[(&str, &[u8])]| {
        let pair = |(name, value): &(&str, &[u8])| (name.as_bytes().to_vec(), value.to_vec());
        Ok(Value::Elements {
            kind,
            elements: pairs.iter().map(pair).collect(),
            attributes: Pairs::new(),
        })
    };
    assert_eq!(of(8), pairs(Kind::Hash, &[("a", b"x"), ("bb", b"y")]));
    assert_eq!(
        of(10),
        pairs(Kind::Set, &[("-2", b""), ("1", b""), ("5", b"")])
    );
    let score = Score::encode(1.5);
    assert_eq!(of(11), pairs(Kind::SortedSet, &[("a", &score)]));
    assert_eq!(of(14), pairs(Kind::Hash, &[("f", b"300")]));
}

#[test]
fn what_is_no_value_is_refused() {
    let refused: &[&[u8]] = &[
        b"",
        b"\x06\x00",
        b"\x07\x81\x00",
        b"\x08\x00",
        b"\xff",
        // Announced, but not there.
        b"\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x02\x81\x00\x00\x00\x00\x7f\xff\xff\xff",
        b"\x00\xc3\x02\x81\x00\x00\x00\x00\x7f\xff\xff\xff\x00a",
        // Nothing in it.
        b"\x01\x00",
        b"\x02\x00",
        b"\x12\x00",
        b"\x10\x07\x07\x00\x00\x00\x00\x00\xff",
        // Twice.
        b"\x02\x02\x01a\x01a",
        b"\x04\x02\x01f\x01v\x01f\x01w",
        b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x01\x00",
        // Not ascending.
        b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x02\x00\x01\x00",
        // Half a pair, and no number.
        b"\x10\x0a\x0a\x00\x00\x00\x01\x00\x81f\x02\xff",
        b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f",
        b"\x03\x01\x01a\xfd",
        // A wrong length backwards, and a wrong number of elements.
        b"\x10\x0d\x0d\x00\x00\x00\x02\x00\x81f\x03\xc1\x2c\x02\xff",
        b"\x10\x0d\x0d\x00\x00\x00\x03\x00\x81f\x02\xc1\x2c\x02\xff",
    ];
    for bytes in refused {
        let read = decode_within_bounds(bytes);
        assert_eq!(read, Err(DecodeError::Malformed), "{bytes:x?}");
    }
}

#[test]
fn a_footer_is_of_its_value_and_of_a_known_version() {
    // From redis-server.
    let payload = b"\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce";
    assert_eq!(verified(payload), Ok(&b"\x00\x01v"[..]));
    assert_eq!(sign(b"\x00\x01v".to_vec()), payload);
    let mut later = b"\x00\x01v\x0b\x00".to_vec();
    later.extend_from_slice(&super::CHECKSUM.checksum(&later).to_le_bytes());
    assert_eq!(verified(&later), Err(DecodeError::Footer));
    for index in 0..payload.len() {
        let mut other = payload.to_vec();
        other[index] ^= 1;
        assert_eq!(verified(&other), Err(DecodeError::Footer));
        assert_eq!(verified(&payload[..index]), Err(DecodeError::Footer));
    }
}

/// Small for its length, large with what has to be kept with each of its entries.
#[test]
fn a_value_that_would_grow_beyond_a_record_is_refused() {
    let mut pack = Builder::new();
    [4000, 0, 1]
        .into_iter()
        .for_each(|number| pack.push_number(number));
    pack.push(&vec![b'f'; 1 << 16]);
    pack.push_number(0);
    for sequence in 0..4000 {
        [2, 0, sequence, 7, 4]
            .into_iter()
            .for_each(|number| pack.push_number(number));
    }
    let mut bytes = vec![15, 1, 16];
    bytes.extend_from_slice(&StreamId::new(1, 1).to_bytes());
    super::write::put_string(&pack.finish(), &mut bytes);
    assert!(bytes.len() < 100_000);
    let read = collections::decode(&bytes, 1 << 24);
    assert_eq!(read, Err(DecodeError::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_as_the_same(value in value(), is_compact in any::<bool>()) {
        let written = with_entry(&value, |entry| encode(entry, is_compact));
        let read = verified(&written).and_then(decode).map(in_order);
        prop_assert_eq!(read, Ok(in_order(value)));
    }

    #[test]
    fn texts_are_expanded_to_what_was_compressed(
        parts in prop::collection::vec((prop::collection::vec(0..4u8, 1..20), 1..40usize), 0..20),
    ) {
        let text: Vec<u8> = parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect();
        if let Some(compressed) = lzf::compress(&text) {
            prop_assert!(compressed.len() + 4 < text.len());
            prop_assert_eq!(lzf::expand(&compressed, text.len()), Some(text));
        }
    }

    #[test]
    fn fuzz_random_bytes(kind in 0..20u8, mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        bytes.insert(0, kind);
        check(&bytes);
    }

    #[test]
    fn fuzz_random_listpacks(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut pack = (bytes.len() as u32 + 7).to_le_bytes().to_vec();
        pack.extend_from_slice(&[0xff; 2]);
        pack.extend_from_slice(&bytes);
        pack.push(0xff);
        let mut pack = Listpack::new(&pack).expect("a header");
        while let Ok(Some(_)) = pack.next() {}
    }

    #[test]
    fn fuzz_compressed(bytes in prop::collection::vec(any::<u8>(), 0..100), length in 0..10_000usize) {
        let length = length.min(bytes.len() * lzf::GROWTH_MAX);
        if let Some(text) = lzf::expand(&bytes, length) {
            prop_assert_eq!(text.len(), length);
        }
    }

    #[test]
    fn fuzz_mutated_values(
        value in value(),
        is_compact in any::<bool>(),
        known in prop::option::of(prop::sample::select(WRITTEN)),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let mut bytes = match known {
            Some(known) => known.to_vec(),
            None => {
                let written = with_entry(&value, |entry| encode(entry, is_compact));
                verified(&written).expect("a footer").to_vec()
            }
        };
        for (index, byte, change) in changes {
            // Where lengths are more often than later on.
            let index = index.index(bytes.len().max(1).min(1 + index.index(bytes.len().max(1))));
            match change {
                0 if index < bytes.len() => bytes[index] = byte,
                1 if index < bytes.len() => bytes[index] ^= 1 << (byte % 8),
                2 => bytes.truncate(index.max(1)),
                _ => bytes.insert(index, byte),
            }
        }
        check(&bytes);
    }
}
