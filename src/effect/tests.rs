//! Encoding and reading are inverse, and nothing makes the reader panic.

use coterie_protocol::{Actor, Version};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Owned {
    Put(Vec<u8>, Vec<u8>, u8, Option<u64>),
    PutPadded(Vec<u8>, u64, Vec<u8>),
    Splice(Vec<u8>, u64, Vec<u8>),
    ExpireAt(Vec<u8>, Option<u64>),
    Delete(Vec<u8>),
    ElementSet(u8, Vec<u8>, Vec<u8>, Vec<u8>),
    FieldUntil(Vec<u8>, Vec<u8>, Vec<u8>, u64),
    ElementDelete(u8, Vec<u8>, Vec<u8>),
    AttributeSet(Vec<u8>, Vec<u8>, Vec<u8>),
    AttributeDelete(Vec<u8>, Vec<u8>),
    StreamTrim(Vec<u8>, [u8; 16]),
    Assertion(Vec<u8>, u8),
    Count(Vec<u8>, Stamp, i64),
    HashCount(Vec<u8>, Vec<u8>, Stamp, i64),
    Sketch(Vec<u8>, Stamp, Vec<u8>),
    Lapsed(Vec<u8>, u64),
    Anew(Vec<u8>, u64),
    Operation(Vec<u8>, (u16, u64, u64), (bool, bool), Vec<u8>),
    Clear,
    Swap(u16),
}

impl Owned {
    fn borrow(&self) -> Effect<'_> {
        match self {
            Owned::Put(key, value, encoding, expire_at) => Effect::Put {
                key,
                value,
                encoding: StringEncoding::from_u8(*encoding).unwrap(),
                expire_at: *expire_at,
            },
            Owned::PutPadded(key, offset, bytes) => Effect::PutPadded {
                key,
                offset: *offset,
                bytes,
            },
            Owned::Splice(key, offset, bytes) => Effect::Splice {
                key,
                offset: *offset,
                bytes,
            },
            Owned::ExpireAt(key, at) => Effect::ExpireAt { key, at: *at },
            Owned::Delete(key) => Effect::Delete { key },
            Owned::ElementSet(kind, key, element, value) => Effect::ElementSet {
                kind: Kind::from_u8(*kind).unwrap(),
                key,
                element,
                value,
            },
            Owned::FieldUntil(key, field, value, at) => Effect::FieldUntil {
                key,
                field,
                value,
                at: *at,
            },
            Owned::ElementDelete(kind, key, element) => Effect::ElementDelete {
                kind: Kind::from_u8(*kind).unwrap(),
                key,
                element,
            },
            Owned::AttributeSet(key, name, value) => Effect::AttributeSet { key, name, value },
            Owned::AttributeDelete(key, name) => Effect::AttributeDelete { key, name },
            Owned::StreamTrim(key, below) => Effect::StreamTrim { key, below: *below },
            Owned::Assertion(key, kind) => Effect::Assertion {
                key,
                kind: Kind::from_u8(*kind).unwrap(),
            },
            Owned::Anew(key, settled) => Effect::Anew {
                key,
                settled: Version::from_bits(*settled),
            },
            Owned::Count(key, base, total) => Effect::Count {
                key,
                base: *base,
                total: *total,
                delta: total.wrapping_mul(3),
            },
            Owned::HashCount(key, field, base, total) => Effect::HashCount {
                key,
                field,
                base: *base,
                total: *total,
                delta: total.wrapping_mul(3),
            },
            Owned::Sketch(key, base, value) => Effect::Sketch {
                key,
                base: *base,
                value,
            },
            Owned::Lapsed(key, at) => Effect::Lapsed { key, at: *at },
            Owned::Operation(key, (origin, number, settled), (again, many), reply) => {
                Effect::Operation {
                    key,
                    id: OperationId {
                        origin: Actor(*origin),
                        number: *number,
                    },
                    settled: *settled,
                    kind: OperationKind {
                        again: *again,
                        many: *many,
                    },
                    reply,
                }
            }
            Owned::Clear => Effect::Clear,
            Owned::Swap(with) => Effect::Swap {
                with: DatabaseId(*with),
            },
        }
    }
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (0..u64::MAX / 2, any::<u16>())
        .prop_map(|(version, actor)| Stamp::new(Version::from_bits(version), Actor(actor)))
}

/// A kind and an element of that kind.
fn element() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (1..6u8).prop_flat_map(|kind| {
        let length = match Kind::from_u8(kind).unwrap() {
            Kind::List => 10..11,
            Kind::Stream => 16..17,
            _ => 0..200usize,
        };
        (Just(kind), prop::collection::vec(any::<u8>(), length))
    })
}

fn effect() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (bytes(), bytes(), 0u8..3, any::<Option<u64>>())
            .prop_map(|(k, v, e, x)| Owned::Put(k, v, e, x)),
        (bytes(), any::<u64>(), bytes()).prop_map(|(k, o, b)| Owned::PutPadded(k, o, b)),
        (bytes(), any::<u64>(), bytes()).prop_map(|(k, o, b)| Owned::Splice(k, o, b)),
        (bytes(), any::<Option<u64>>()).prop_map(|(k, at)| Owned::ExpireAt(k, at)),
        bytes().prop_map(Owned::Delete),
        (element(), bytes(), bytes()).prop_map(|((c, e), k, v)| Owned::ElementSet(c, k, e, v)),
        (element(), bytes()).prop_map(|((c, e), k)| Owned::ElementDelete(c, k, e)),
        (bytes(), bytes(), bytes()).prop_map(|(k, n, v)| Owned::AttributeSet(k, n, v)),
        (bytes(), bytes()).prop_map(|(k, n)| Owned::AttributeDelete(k, n)),
        (bytes(), any::<[u8; 16]>()).prop_map(|(k, id)| Owned::StreamTrim(k, id)),
        (bytes(), 0..6u8).prop_map(|(k, c)| Owned::Assertion(k, c)),
        (bytes(), any::<u64>()).prop_map(|(k, v)| Owned::Anew(k, v)),
        (bytes(), stamp(), any::<i64>()).prop_map(|(k, b, t)| Owned::Count(k, b, t)),
        (bytes(), bytes(), bytes(), any::<u64>())
            .prop_map(|(k, f, v, at)| Owned::FieldUntil(k, f, v, at)),
        (bytes(), bytes(), stamp(), any::<i64>())
            .prop_map(|(k, f, b, t)| Owned::HashCount(k, f, b, t)),
        (bytes(), any::<u64>()).prop_map(|(k, at)| Owned::Lapsed(k, at)),
        (bytes(), stamp(), bytes()).prop_map(|(k, b, v)| Owned::Sketch(k, b, v)),
        (
            bytes(),
            any::<(u16, u64, u64)>(),
            any::<(bool, bool)>(),
            bytes()
        )
            .prop_map(|(k, id, kind, r)| Owned::Operation(k, id, kind, r)),
        Just(Owned::Clear),
        any::<u16>().prop_map(Owned::Swap),
    ]
}

proptest! {
    #[test]
    fn round_trip(effects in prop::collection::vec((any::<u16>(), effect()), 0..20)) {
        let mut payload = Vec::new();
        let mut current = DatabaseId(0);
        for (database, effect) in &effects {
            if current.0 != *database {
                current = DatabaseId(*database);
                encode_database(current, &mut payload);
            }
            effect.borrow().encode(&mut payload);
        }
        let read: Vec<_> = Effects::new(DatabaseId(0), &payload).collect::<Result<_, _>>().unwrap();
        let written: Vec<_> = effects.iter().map(|(d, e)| (DatabaseId(*d), e.borrow())).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn stamps_count_on_from_the_last_marker(first in stamp(), effects in prop::collection::vec((prop::option::of(stamp()), effect()), 0..20)) {
        let (mut payload, mut next, mut written) = (Vec::new(), first, Vec::new());
        for (marker, effect) in &effects {
            if let Some(marker) = *marker {
                encode_stamp(marker, &mut payload);
                next = marker;
            }
            effect.borrow().encode(&mut payload);
            written.push((DatabaseId(3), effect.borrow(), next));
            next.version = next.version.successor();
        }
        let read: Vec<_> = Stamped::new(DatabaseId(3), first, &payload).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn fuzz_effects_reader(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        // Anything may stand there: the reader ends, and never panics.
        let _ = Effects::new(DatabaseId(0), &payload).count();
    }
}
