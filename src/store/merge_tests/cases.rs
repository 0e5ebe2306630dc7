//! Histories worth a name of their own.

use super::*;
use crate::hyperloglog::registers_of;

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Effect<'a> {
    Effect::Put {
        key,
        value,
        encoding: StringEncoding::of(value),
        expire_at: None,
    }
}

fn at(version: u64, actor: u16) -> Stamp {
    Stamp::new(Version::from_bits(version), Actor(actor))
}

#[test]
fn counts_of_two_actors_add_up() {
    let (mut a, mut b) = (replica(), replica());
    let database = DatabaseId(0);
    for partition in [&mut a, &mut b] {
        partition.merge(database, &put(b"k", b"10"), at(5, 1), &access());
    }
    let one = a.count(database, b"k", Actor(1), 3);
    let first = Effect::Count {
        key: b"k",
        base: at(5, 1),
        total: 3,
        delta: 3,
    };
    assert_eq!(one, first);
    let two = b.count(database, b"k", Actor(2), -1);
    for partition in [&mut a, &mut b] {
        partition.merge(database, &two, at(7, 2), &access());
        partition.merge(database, &one, at(6, 1), &access());
        let entry = partition.get(database, b"k", 0, None).unwrap();
        assert_eq!(entry.value(), b"12");
        assert_eq!(entry.encoding(), StringEncoding::Int);
    }
    // A write opens a new base; what was added to the old one is lost, and is told so.
    a.merge(database, &put(b"k", b"100"), at(9, 1), &access());
    let late = b.count(database, b"k", Actor(2), -1);
    assert_eq!(
        a.merge(database, &late, at(10, 2), &access()),
        Merged::Superseded(at(9, 1))
    );
    assert_eq!(a.get(database, b"k", 0, None).unwrap().value(), b"100");
}

#[test]
fn sketches_of_two_actors_are_joined() {
    let database = DatabaseId(0);
    let seen = |partition: &mut Partition| {
        let entry = partition.get(database, b"k", 0, None).unwrap();
        entry.value().to_vec()
    };
    let of = |elements: &[u8]| {
        let mut sketch = Sketch::default();
        for element in elements {
            sketch.add(&[*element], 3000).unwrap();
        }
        sketch.bytes().to_vec()
    };
    let registers = |sketch: &[u8]| registers_of(sketch).unwrap();
    // At once, of nothing and of what was set; the base of the second comes late.
    for base in [None, Some(of(b"x"))] {
        let (mut a, mut b) = (replica(), replica());
        let set = base.as_deref().map(|value| put(b"k", value));
        if let Some(set) = &set {
            a.merge(database, set, at(5, 1), &access());
            b.merge(database, set, at(5, 1), &access());
        }
        let (one, two, all): (&[u8], &[u8], &[u8]) = match base {
            None => (b"ab", b"cd", b"abcd"),
            Some(_) => (b"xab", b"xcd", b"xabcd"),
        };
        let (one, two) = (of(one), of(two));
        let first = a.sketch(database, b"k", &one);
        let second = b.sketch(database, b"k", &two);
        a.merge(database, &first, at(6, 1), &access());
        // Alone it is shown as it was made.
        assert_eq!(seen(&mut a), one);
        let mut late = replica();
        for partition in [&mut a, &mut b, &mut late] {
            partition.merge(database, &second, at(7, 2), &access());
            partition.merge(database, &first, at(6, 1), &access());
            if let Some(set) = &set {
                partition.merge(database, set, at(5, 1), &access());
            }
            let joined = seen(partition);
            assert_eq!(registers(&joined), registers(&of(all)));
        }
        assert_same(&a, &b);
        assert_same(&a, &late);
        // Who knows of both makes one of both, and a deletion ends them.
        let third = of(&[all, b"e"].concat());
        let next = b.sketch(database, b"k", &third);
        b.merge(database, &next, at(8, 2), &access());
        assert_eq!(seen(&mut b), third);
        b.merge(database, &Effect::Delete { key: b"k" }, at(9, 2), &access());
        assert!(b.get(database, b"k", 0, None).is_none());
        let lost = b.merge(database, &first, at(6, 1), &access());
        assert!(matches!(lost, Merged::Superseded(_)), "{lost:?}");
    }
}

#[test]
fn an_expiry_that_is_moved_brings_the_value_back() {
    let (mut a, mut b) = (replica(), replica());
    let database = DatabaseId(0);
    let expiring = Effect::Put {
        key: b"k",
        value: b"value",
        encoding: StringEncoding::Embedded,
        expire_at: Some(100),
    };
    for partition in [&mut a, &mut b] {
        partition.merge(database, &expiring, at(5, 1), &access());
    }
    assert!(a.get(database, b"k", 101, None).is_none());
    let known = at(5, 1).version;
    assert_eq!(a.lapsed(database, b"k", 101), Some(known.successor()));
    assert_eq!(a.digest(database, b"k"), b.digest(database, b"k"));
    assert_eq!(a.tree(), b.tree());
    let persist = Effect::ExpireAt {
        key: b"k",
        at: None,
    };
    for partition in [&mut a, &mut b] {
        partition.merge(database, &persist, at(6, 2), &access());
    }
    assert_ne!(a.digest(database, b"k"), b.digest(database, b"k"));
    deliver(&mut a, &state_of(&b));
    assert_eq!(a.get(database, b"k", 101, None).unwrap().value(), b"value");
    assert_same(&a, &b);
}

#[test]
fn a_plain_replicated_string_costs_two_bytes_more() {
    let mut partition = replica();
    let key = [b'k'; 16];
    partition.merge(DatabaseId(0), &put(&key, &[b'v'; 30]), at(5, 1), &access());
    let entry = partition.get(DatabaseId(0), &key, 0, None).unwrap();
    assert_eq!(entry.allocated_bytes(), 64);
}

#[test]
fn a_standalone_partition_is_adopted_and_left_again() {
    let mut partition = Partition::new(PartitionId(0), 7);
    let database = DatabaseId(0);
    let version = |n| Version::from_bits(n);
    partition.apply(database, &put(b"s", b"text"), version(1), &access());
    for (field, n) in [(b"a", 2), (b"b", 3)] {
        let effect = Effect::ElementSet {
            kind: Kind::Hash,
            key: b"h",
            element: field,
            value: b"1",
        };
        partition.apply(database, &effect, version(n), &access());
    }
    let expire = Effect::ExpireAt {
        key: b"h",
        at: Some(NOW_MS * 9),
    };
    partition.apply(database, &expire, version(4), &access());
    let before = seen(&partition);
    partition.set_replicated(true);
    partition.allocated_bytes();
    assert_eq!(seen(&partition), before);
    let mut other = replica();
    deliver(&mut other, &state_of(&partition));
    assert_same(&partition, &other);
    let delete = Effect::ElementDelete {
        kind: Kind::Hash,
        key: b"h",
        element: b"a",
    };
    assert_eq!(
        partition.merge(database, &delete, at(9, 1), &access()),
        Merged::New
    );
    let before = seen(&partition);
    partition.set_replicated(false);
    partition.allocated_bytes();
    assert_eq!(seen(&partition), before);
    assert_eq!(before[&(0, b"h".to_vec())].1.elements.len(), 1);
}

#[test]
fn a_trim_from_before_a_write_is_gone_with_what_was_there() {
    let (mut a, mut b) = (replica(), replica());
    let (database, key) = (DatabaseId(0), &b"k"[..]);
    let below = stream_id(1);
    let changes = [
        (at(1, 1), Effect::StreamTrim { key, below }),
        (at(2, 1), put(key, b"text")),
        (
            at(3, 1),
            Effect::ElementDelete {
                kind: Kind::Stream,
                key,
                element: &below,
            },
        ),
    ];
    for (stamp, effect) in &changes {
        a.merge(database, effect, *stamp, &access());
    }
    for (stamp, effect) in changes.iter().rev() {
        b.merge(database, effect, *stamp, &access());
    }
    assert_same(&a, &b);
}

#[test]
fn a_counter_that_began_behind_a_trim_does_not_meet_what_was_trimmed() {
    let (database, key) = (DatabaseId(0), &b"k"[..]);
    let field = &[0][..];
    let mut partition = replica();
    let delete = Effect::ElementDelete {
        kind: Kind::Hash,
        key,
        element: field,
    };
    let below = stream_id(0);
    partition.merge(database, &delete, at(5, 1), &access());
    let count = partition.count_field(database, key, field, Actor(1), 3);
    let trim = Effect::StreamTrim { key, below };
    partition.merge(database, &trim, at(5, 2), &access());
    partition.merge(database, &count, at(6, 1), &access());
    partition.set_stable_horizon(Version::from_bits(6));
    let digest = partition.digest(database, key);
    assert!(partition.get(database, key, 0, None).is_some());
    partition.merge(database, &delete, at(5, 1), &access());
    assert_eq!(partition.digest(database, key), digest);
}
