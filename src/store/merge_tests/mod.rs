//! The laws of merging, over random histories of several actors: order, repetition and detours make no
//! difference.

mod cases;

use std::collections::BTreeMap;

use coterie_protocol::{Actor, DatabaseId, PartitionId, Stamp, Version};
use proptest::prelude::*;

use super::access::AccessClock;
use super::contents::Contents;
use super::{Attribute, Merged, Partition, PendingState, Score, StreamId};
use crate::effect::{Effect, Kind, Stamped, StringEncoding};
use crate::hyperloglog::Sketch;

const ACTORS: u16 = 3;
const KEYS: u8 = 5;
const ELEMENTS: u8 = 3;
/// What the keys are most of the time.
const KINDS: [Kind; 5] = [
    Kind::Hash,
    Kind::SortedSet,
    Kind::Stream,
    Kind::List,
    Kind::Set,
];
const DATABASES: u16 = 2;
/// In which the clocks of the tests run.
const NOW_MS: u64 = 1000;

#[derive(Clone, Debug)]
enum Change {
    Put(u8, Option<u64>),
    PutNumber(i8, Option<u64>),
    Count(i8),
    /// An element is shown to the sketch at the key, if there is one or nothing.
    Sketch(u8),
    Expire(Option<u64>),
    Delete,
    /// Kind (that of the key, or a certain one), element, value.
    Set(Option<usize>, u8, i8),
    /// A field that expires: field, value, when.
    SetUntil(u8, i8, u64),
    Remove(Option<usize>, u8),
    HashCount(u8, i8),
    SetAttribute(u8, u8),
    RemoveAttribute(u8),
    Trim(u8),
    Clear,
    /// Somebody looks for the key at this time.
    Look(u64),
}

/// A change made by an actor, and how many of the others' changes reach it before.
#[derive(Clone, Debug)]
struct Step {
    actor: u16,
    database: u16,
    key: u8,
    clock_skew: u16,
    change: Change,
    /// Numbers of changes made before that are delivered to the actor first.
    heard: Vec<prop::sample::Index>,
}

fn change() -> impl Strategy<Value = Change> {
    let at = || prop::option::of(NOW_MS..NOW_MS + 40);
    prop_oneof![
        3 => (any::<u8>(), at()).prop_map(|(v, at)| Change::Put(v, at)),
        2 => (any::<i8>(), at()).prop_map(|(v, at)| Change::PutNumber(v, at)),
        5 => any::<i8>().prop_map(Change::Count),
        4 => (0..6u8).prop_map(Change::Sketch),
        3 => at().prop_map(Change::Expire),
        3 => Just(Change::Delete),
        10 => (kind(), 0..ELEMENTS, any::<i8>()).prop_map(|(k, f, v)| Change::Set(k, f, v)),
        5 => (0..ELEMENTS, any::<i8>(), NOW_MS..NOW_MS + 40).prop_map(|(f, v, at)| Change::SetUntil(f, v, at)),
        7 => (kind(), 0..ELEMENTS).prop_map(|(k, f)| Change::Remove(k, f)),
        4 => (0..ELEMENTS, any::<i8>()).prop_map(|(f, v)| Change::HashCount(f, v)),
        4 => (0..5u8, 0..3u8).prop_map(|(n, v)| Change::SetAttribute(n, v)),
        2 => (0..5u8).prop_map(Change::RemoveAttribute),
        2 => (0..=ELEMENTS).prop_map(Change::Trim),
        1 => Just(Change::Clear),
        2 => (NOW_MS..NOW_MS + 60).prop_map(Change::Look),
    ]
}

fn kind() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![8 => Just(None), 1 => (0..KINDS.len()).prop_map(Some)]
}

/// The kind of a key, unless it is another.
fn kind_of(key: u8, other: Option<usize>) -> Kind {
    KINDS[other.unwrap_or(usize::from(key) % KINDS.len())]
}

/// An element as a collection of this kind has them.
fn element_of(kind: Kind, element: u8) -> Vec<u8> {
    match kind {
        Kind::Stream => stream_id(element).to_vec(),
        Kind::List => [&[0x80, 0, 0, 0, 0, 0, 0][..], &[element, 0, 1]].concat(),
        _ => vec![element],
    }
}

fn stream_id(element: u8) -> [u8; 16] {
    StreamId::new(7, element.into()).to_bytes()
}

fn value_of(kind: Kind, value: i8) -> Vec<u8> {
    match kind {
        Kind::Set => Vec::new(),
        Kind::SortedSet => Score::encode(f64::from(value / 50)).to_vec(),
        _ => value.to_string().into_bytes(),
    }
}

/// Name and value of an attribute.
fn attribute(name: u8, value: u8) -> (Vec<u8>, Vec<u8>) {
    let consumer = &[b'c', value % 2][..];
    let pending = PendingState {
        consumer,
        delivered_ms: value.into(),
        deliveries: 1,
    };
    let (attribute, value) = match name {
        0 => (Attribute::Mark, vec![0; 40]),
        1 => (Attribute::Group(b"g"), vec![value; 24]),
        2 => (Attribute::Consumer(b"g", consumer), vec![value; 16]),
        3 => (
            Attribute::Pending(b"g", StreamId::new(7, 1)),
            pending.encode(),
        ),
        _ => (
            Attribute::Pending(b"g", StreamId::new(7, 2)),
            pending.encode(),
        ),
    };
    (attribute.encode(), value)
}

fn step() -> impl Strategy<Value = Step> {
    let heard = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (0..ACTORS, 0..DATABASES, 0..KEYS, 0..4u16, change(), heard).prop_map(
        |(actor, database, key, clock_skew, change, heard)| Step {
            actor,
            database: if database == 1 && key == 0 { 1 } else { 0 },
            key,
            clock_skew,
            change,
            heard,
        },
    )
}

/// One change, as it is sent: its stamp and its encoding.
#[derive(Clone, Debug)]
struct Delta {
    database: DatabaseId,
    stamp: Stamp,
    payload: Vec<u8>,
}

fn access() -> AccessClock {
    AccessClock::new(NOW_MS, None)
}

fn replica() -> Partition {
    let mut partition = Partition::new(PartitionId(0), 7);
    partition.set_replicated(true);
    partition
}

fn deliver(partition: &mut Partition, delta: &Delta) -> Vec<Merged> {
    Stamped::new(delta.database, delta.stamp, &delta.payload)
        .map(|effect| {
            let (database, effect, stamp) = effect.unwrap();
            let merged = partition.merge(database, &effect, stamp, &access());
            // The account is checked by an assertion in it.
            partition.allocated_bytes();
            merged
        })
        .collect()
}

/// What becomes of the sketch at a key, or of one that has seen nothing, when it is shown an element.
fn sketch_at(partition: &mut Partition, database: DatabaseId, key: &[u8], element: u8) -> Vec<u8> {
    let found = partition.get(database, key, NOW_MS, None);
    let found = found.filter(|entry| entry.kind() == Kind::String);
    let sketch = found.and_then(|entry| Sketch::of(entry.value()));
    let mut sketch = sketch.unwrap_or_default();
    sketch.add(&[element], 3000).unwrap();
    sketch.bytes().to_vec()
}

fn key_of(key: u8) -> Vec<u8> {
    vec![b'k', key]
}

/// Runs the steps, each actor against what it has heard; returns the actors' partitions and all changes.
fn run(steps: &[Step]) -> (Vec<Partition>, Vec<Delta>) {
    let mut partitions: Vec<_> = (0..ACTORS).map(|_| replica()).collect();
    let mut deltas: Vec<Delta> = Vec::new();
    for (time, step) in steps.iter().enumerate() {
        let partition = &mut partitions[usize::from(step.actor)];
        for index in &step.heard {
            if !deltas.is_empty() {
                let delta = deltas[index.index(deltas.len())].clone();
                deliver(partition, &delta);
            }
        }
        let (database, key) = (DatabaseId(step.database), &key_of(step.key)[..]);
        // Actors number from 1: 0 is what was there before a cluster.
        let actor = Actor(step.actor + 1);
        let kind = match step.change {
            Change::Set(other, ..) | Change::Remove(other, _) => kind_of(step.key, other),
            _ => Kind::Hash,
        };
        let element = match step.change {
            Change::Set(_, element, _) | Change::Remove(_, element) => element_of(kind, element),
            Change::HashCount(field, _) | Change::SetUntil(field, ..) => vec![field],
            _ => Vec::new(),
        };
        let element = &element[..];
        let text = match step.change {
            Change::Put(value, _) => vec![b'v'; usize::from(value) * 9],
            Change::PutNumber(value, _) => value.to_string().into_bytes(),
            Change::Set(_, _, value) => value_of(kind, value),
            Change::SetUntil(_, value, _) => value_of(Kind::Hash, value),
            Change::Sketch(element) => sketch_at(partition, database, key, element),
            _ => Vec::new(),
        };
        let value = &text[..];
        let (name, state) = match step.change {
            Change::SetAttribute(name, value) => attribute(name, value),
            Change::RemoveAttribute(name) => attribute(name, 0),
            _ => Default::default(),
        };
        let (name, state) = (&name[..], &state[..]);
        let effect = match step.change {
            Change::Put(_, expire_at) | Change::PutNumber(_, expire_at) => Effect::Put {
                key,
                value,
                encoding: StringEncoding::of(value),
                expire_at,
            },
            Change::Count(delta) => partition.count(database, key, actor, delta.into()),
            Change::Sketch(_) => partition.sketch(database, key, value),
            Change::Expire(at) => Effect::ExpireAt { key, at },
            Change::Delete => Effect::Delete { key },
            Change::Set(..) => Effect::ElementSet {
                kind,
                key,
                element,
                value,
            },
            Change::SetUntil(_, _, at) => Effect::FieldUntil {
                key,
                field: element,
                value,
                at,
            },
            Change::Remove(..) => Effect::ElementDelete { kind, key, element },
            Change::HashCount(_, delta) => {
                partition.count_field(database, key, element, actor, delta.into())
            }
            Change::SetAttribute(..) => Effect::AttributeSet {
                key,
                name,
                value: state,
            },
            Change::RemoveAttribute(_) => Effect::AttributeDelete { key, name },
            Change::Trim(below) => Effect::StreamTrim {
                key,
                below: stream_id(below),
            },
            Change::Clear => Effect::Clear,
            Change::Look(now_ms) => {
                partition.get(database, key, now_ms, None);
                continue;
            }
        };
        let now = time as u64 / 8 + u64::from(step.clock_skew);
        let stamp = Stamp::new(partition.clock().next(now), actor);
        let mut payload = Vec::new();
        effect.encode(&mut payload);
        let delta = Delta {
            database,
            stamp,
            payload,
        };
        let merged = deliver(partition, &delta);
        assert_eq!(merged, [Merged::New], "{effect:?}");
        deltas.push(delta);
    }
    (partitions, deltas)
}

/// What a client sees of a key: text, contents, expiry.
type Seen = (Vec<u8>, Contents, Option<u64>);

/// All that clients see after every value's time is over or not.
fn seen(partition: &Partition) -> BTreeMap<(u16, Vec<u8>), Seen> {
    let mut seen = BTreeMap::new();
    for database in partition.databases() {
        let entries = partition.keyspace(database).into_iter();
        for entry in entries.flat_map(|keyspace| keyspace.iter()) {
            if entry.is_expired(NOW_MS + 100) {
                continue;
            }
            let mut contents = Contents::of(entry);
            for (field, _, at) in entry.elements_until() {
                if at.is_some_and(|at| at < NOW_MS + 100) {
                    contents.elements.remove(field);
                }
            }
            if contents.kind == Kind::Hash && contents.elements.is_empty() {
                continue;
            }
            let value = (entry.value().to_vec(), contents, entry.expire_at());
            seen.insert((database.0, entry.key().to_vec()), value);
        }
    }
    seen
}

fn digests(partition: &Partition) -> BTreeMap<(DatabaseId, Vec<u8>), u64> {
    let mut digests = BTreeMap::new();
    for bucket in 0..super::BUCKETS {
        partition.keys_of_bucket(bucket, |database, key, digest| {
            assert_eq!(partition.digest(database, key), digest);
            digests.insert((database, key.to_vec()), digest);
        });
    }
    digests
}

/// Everything a partition knows, as one delta.
fn state_of(partition: &Partition) -> Delta {
    let mut payload = Vec::new();
    for (database, floor) in partition.floors() {
        crate::effect::encode_database(database, &mut payload);
        crate::effect::encode_stamp(floor, &mut payload);
        Effect::Clear.encode(&mut payload);
    }
    for (database, key) in digests(partition).into_keys() {
        partition.encode_state(database, &key, &mut payload);
    }
    Delta {
        database: DatabaseId(0),
        stamp: Stamp::ZERO,
        payload,
    }
}

fn assert_same(a: &Partition, b: &Partition) {
    assert_eq!(seen(a), seen(b));
    assert_eq!(digests(a), digests(b));
    assert_eq!(a.tree(), b.tree());
}

/// The tree is what a walk over all buckets finds, at least for keys of which nothing is hidden.
fn assert_tree_is_of_live_keys(partition: &Partition) {
    let mut rebuilt = replica();
    deliver(&mut rebuilt, &state_of(partition));
    assert_eq!(partition.tree(), rebuilt.tree());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_and_repetition_make_no_difference(
        steps in prop::collection::vec(step(), 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let (partitions, deltas) = run(&steps);
        let mut in_order = replica();
        deltas.iter().for_each(|delta| { deliver(&mut in_order, delta); });
        // Any order, some of them several times, and all of them at last.
        let mut shuffled = replica();
        if !deltas.is_empty() {
            for index in &order {
                deliver(&mut shuffled, &deltas[index.index(deltas.len())]);
            }
        }
        deltas.iter().rev().for_each(|delta| { deliver(&mut shuffled, delta); });
        assert_same(&in_order, &shuffled);
        // Once more changes nothing, and is known or superseded.
        for delta in &deltas {
            let merged = deliver(&mut shuffled, delta);
            prop_assert!(!merged.contains(&Merged::New), "{:?} {:?}", merged, delta);
        }
        assert_same(&in_order, &shuffled);
        // Those that made the changes, once they have heard of all.
        for mut partition in partitions {
            deltas.iter().for_each(|delta| { deliver(&mut partition, delta); });
            assert_same(&in_order, &partition);
        }
        assert_tree_is_of_live_keys(&in_order);
    }

    #[test]
    fn state_merged_is_changes_merged(
        steps in prop::collection::vec(step(), 1..40),
        parts in prop::collection::vec(0..4u8, 40),
        detour in any::<bool>(),
    ) {
        let (_, deltas) = run(&steps);
        let mut whole = replica();
        deltas.iter().for_each(|delta| { deliver(&mut whole, delta); });
        // Two replicas that each missed something exchange their states.
        let (mut a, mut b) = (replica(), replica());
        for (delta, part) in deltas.iter().zip(&parts) {
            if *part != 1 { deliver(&mut a, delta); }
            if *part != 2 { deliver(&mut b, delta); }
        }
        let of_a = state_of(&a);
        if detour {
            let mut c = replica();
            deliver(&mut c, &of_a);
            assert_same(&a, &c);
            let of_c = state_of(&c);
            deliver(&mut b, &of_c);
        } else {
            deliver(&mut b, &of_a);
        }
        deliver(&mut a, &state_of(&b));
        assert_same(&a, &b);
        assert_same(&a, &whole);
    }

    #[test]
    fn what_is_undone_was_never_there(
        steps in prop::collection::vec(step(), 1..20),
        last in change(),
        key in 0..KEYS,
    ) {
        let (mut partitions, _) = run(&steps);
        let partition = &mut partitions[0];
        let (before_seen, before_digests, tree) = (seen(partition), digests(partition), *partition.tree());
        let kind = match last {
            Change::Set(other, ..) | Change::Remove(other, _) => kind_of(key, other),
            _ => Kind::Hash,
        };
        let element = match last {
            Change::Set(_, element, _) | Change::Remove(_, element) => element_of(kind, element),
            _ => vec![0],
        };
        let (name, value) = match last {
            Change::SetAttribute(name, value) => attribute(name, value),
            Change::RemoveAttribute(name) => attribute(name, 0),
            Change::Set(_, _, value) => (Vec::new(), value_of(kind, value)),
            _ => Default::default(),
        };
        let (element, name, value) = (&element[..], &name[..], &value[..]);
        let (database, key) = (DatabaseId(0), &key_of(key)[..]);
        let effect = match last {
            Change::Delete | Change::Clear | Change::Look(_) => Effect::Delete { key },
            Change::Expire(at) => Effect::ExpireAt { key, at },
            Change::Set(..) => Effect::ElementSet { kind, key, element, value },
            Change::SetUntil(_, _, at) => Effect::FieldUntil { key, field: element, value: b"u", at },
            Change::Remove(..) => Effect::ElementDelete { kind, key, element },
            Change::HashCount(_, delta) => partition.count_field(database, key, &[0], Actor(1), delta.into()),
            Change::SetAttribute(..) => Effect::AttributeSet { key, name, value },
            Change::RemoveAttribute(_) => Effect::AttributeDelete { key, name },
            Change::Trim(below) => Effect::StreamTrim { key, below: stream_id(below) },
            _ => Effect::Put { key, value: b"1", encoding: StringEncoding::Int, expire_at: None },
        };
        let version = partition.clock().next(500);
        let aside = partition.set_aside(database, &effect, version);
        partition.merge(database, &effect, Stamp::new(version, Actor(1)), &access());
        partition.undo(database, key, aside);
        partition.allocated_bytes();
        prop_assert_eq!(seen(partition), before_seen);
        prop_assert_eq!(digests(partition), before_digests);
        prop_assert_eq!(partition.tree(), &tree);
    }

    #[test]
    fn deleted_stays_deleted(
        steps in prop::collection::vec(step(), 1..40),
        late in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let (_, deltas) = run(&steps);
        let mut whole = replica();
        deltas.iter().for_each(|delta| { deliver(&mut whole, delta); });
        let before = seen(&whole);
        let horizon = whole.version();
        whole.set_stable_horizon(horizon);
        whole.allocated_bytes();
        prop_assert_eq!(whole.stable_horizon(), horizon);
        prop_assert_eq!(seen(&whole), before.clone());
        let digests_then = digests(&whole);
        let tree = *whole.tree();
        // What comes late was part of it, or is discarded.
        if !deltas.is_empty() {
            for index in late {
                deliver(&mut whole, &deltas[index.index(deltas.len())]);
            }
        }
        prop_assert_eq!(seen(&whole), before);
        prop_assert_eq!(whole.tree(), &tree);
        prop_assert_eq!(digests(&whole), digests_then);
    }
}
