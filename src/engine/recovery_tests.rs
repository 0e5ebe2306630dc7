//! Random histories, with checkpoints taken in their midst: what is recovered is what was there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coterie_protocol::{DatabaseId, Partitions, Version};
use proptest::prelude::*;

use super::{Engine, EngineOptions, ExpiryCycle, Moment, RecoveryError, Scope, Transaction};
use crate::effect::{Effect, StringEncoding};
use crate::store::contents::Contents;
use crate::store::{self, AccessClock, Attribute, Entry, Score, StreamId};
use crate::wal::{self, NoRoom};

const DATABASES: u16 = 3;
const PARTITIONS: u16 = 2;
const KEYS: u8 = 24;
const ELEMENTS: u8 = 4;
const START_MS: u64 = 1_700_000_000_000;

/// A change that a command would make, if the key is there or not.
#[derive(Clone, Debug)]
struct Change {
    database: u16,
    key: u8,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Put {
        bytes: usize,
        fill: u8,
        ttl: Option<u64>,
    },
    Splice {
        offset: u64,
        bytes: usize,
        fill: u8,
    },
    Expire {
        ttl: Option<u64>,
    },
    Delete,
    /// Elements and the lengths of their values.
    Set {
        kind: store::Kind,
        elements: Vec<(u8, usize)>,
    },
    Remove {
        elements: Vec<u8>,
    },
    /// Attributes are set, or removed.
    Attributes {
        names: Vec<(u8, bool)>,
    },
    Trim {
        below: u8,
    },
}

/// A command within a transaction of several.
#[derive(Clone, Debug)]
enum Act {
    Change(Change),
    Clear(u16),
    Swap(u16, u16),
}

/// Something that happens between two checkpoints, or within one.
#[derive(Clone, Debug)]
enum Step {
    One(Change),
    Many(Vec<Change>),
    /// A transaction that is given up before its end.
    Abandoned(Vec<Change>),
    /// A transaction of several commands, that is committed or given up.
    Unit(Vec<Act>, bool),
    Clear(u16),
    ClearAll,
    Swap(u16, u16),
    /// Time passes, in milliseconds.
    Pass(u64),
    /// Somebody looks for a key, which removes it if it has expired.
    Look(u16, u8),
    /// The expiry cycle goes on.
    Collect,
}

/// Steps, and what they end with.
#[derive(Clone, Debug)]
enum Chapter {
    /// A checkpoint during which the steps happen, some between every two slices.
    Checkpoint(Vec<Step>, usize),
    /// The steps, then a restart.
    Restart(Vec<Step>),
}

fn change() -> impl Strategy<Value = Change> {
    let ttl = || prop::option::of(1u64..100);
    let bytes = || prop_oneof![20 => 0usize..60, 2 => 900usize..3000, 1 => Just(70_000usize)];
    let kind = prop_oneof![
        4 => (bytes(), any::<u8>(), ttl()).prop_map(|(bytes, fill, ttl)| Kind::Put { bytes, fill, ttl }),
        3 => (0u64..1200, 0usize..60, any::<u8>())
            .prop_map(|(offset, bytes, fill)| Kind::Splice { offset, bytes, fill }),
        2 => ttl().prop_map(|ttl| Kind::Expire { ttl }),
        2 => Just(Kind::Delete),
        6 => (kind(), prop::collection::vec((0..ELEMENTS, bytes()), 1..6))
            .prop_map(|(kind, elements)| Kind::Set { kind, elements }),
        6 => prop::collection::vec(0..ELEMENTS, 1..4).prop_map(|elements| Kind::Remove { elements }),
        2 => prop::collection::vec((0..3u8, any::<bool>()), 1..4).prop_map(|names| Kind::Attributes { names }),
        1 => (0..=ELEMENTS).prop_map(|below| Kind::Trim { below }),
    ];
    (0..DATABASES, 0..KEYS, kind).prop_map(|(database, key, kind)| Change {
        database,
        key,
        kind,
    })
}

fn kind() -> impl Strategy<Value = store::Kind> {
    let kinds = [
        store::Kind::Hash,
        store::Kind::Set,
        store::Kind::SortedSet,
        store::Kind::List,
        store::Kind::Stream,
    ];
    prop::sample::select(kinds.to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec(change(), 2..7);
    let act = prop_oneof![
        8 => change().prop_map(Act::Change),
        1 => (0..DATABASES).prop_map(Act::Clear),
        1 => (0..DATABASES, 1..DATABASES).prop_map(|(a, n)| Act::Swap(a, (a + n) % DATABASES)),
    ];
    let acts = prop::collection::vec(act, 1..9);
    prop_oneof![
        20 => change().prop_map(Step::One),
        8 => changes().prop_map(Step::Many),
        2 => changes().prop_map(Step::Abandoned),
        4 => (acts, any::<bool>()).prop_map(|(acts, keep)| Step::Unit(acts, keep)),
        1 => (0..DATABASES).prop_map(Step::Clear),
        1 => Just(Step::ClearAll),
        1 => (0..DATABASES, 0..DATABASES).prop_map(|(a, b)| Step::Swap(a, b)),
        4 => (1u64..60).prop_map(Step::Pass),
        3 => (0..DATABASES, 0..KEYS).prop_map(|(database, key)| Step::Look(database, key)),
        1 => Just(Step::Collect),
    ]
}

fn chapter() -> impl Strategy<Value = Chapter> {
    let steps = |most| prop::collection::vec(step(), 0..most);
    prop_oneof![
        (steps(120), 1usize..5).prop_map(|(steps, pace)| Chapter::Checkpoint(steps, pace)),
        steps(60).prop_map(Chapter::Restart),
    ]
}

/// All that clients can see of a key, and its version.
#[derive(Clone, PartialEq, Debug)]
struct Seen {
    value: Vec<u8>,
    contents: Contents,
    /// When fields expire.
    fields_until: BTreeMap<Vec<u8>, u64>,
    encoding: StringEncoding,
    expire_at: Option<u64>,
    version: Version,
}

struct World<'d> {
    directory: &'d Path,
    engine: Arc<Engine>,
    now_ms: u64,
    cycle: ExpiryCycle,
}

impl<'d> World<'d> {
    fn new(directory: &'d Path) -> Self {
        World {
            directory,
            engine: open(directory),
            now_ms: START_MS,
            cycle: ExpiryCycle::default(),
        }
    }

    fn restart(&mut self) {
        self.engine.close().expect("the log closes");
        // The directory is locked as long as the old engine lives.
        let empty = tempfile::tempdir().expect("a directory");
        drop(std::mem::replace(&mut self.engine, open(empty.path())));
        self.engine = open(self.directory);
    }

    fn state(&self) -> BTreeMap<(u16, Vec<u8>), Seen> {
        let store = self.engine.store();
        let mut state = BTreeMap::new();
        for id in store.ids() {
            let partition = store.lock(id);
            for database in partition.databases() {
                let entries = partition.keyspace(database).into_iter();
                for entry in entries.flat_map(|keyspace| keyspace.iter()) {
                    assert_eq!(store.partition_of(entry.key()), id);
                    assert!(entry.version() <= partition.version());
                    if entry.is_expired(self.now_ms) {
                        continue;
                    }
                    let mut contents = Contents::of(entry);
                    let mut fields_until = BTreeMap::new();
                    for (field, _, at) in entry.elements_until() {
                        let Some(at) = at else { continue };
                        if at < self.now_ms {
                            contents.elements.remove(field);
                        } else {
                            fields_until.insert(field.to_vec(), at);
                        }
                    }
                    if contents.kind == store::Kind::Hash && contents.elements.is_empty() {
                        continue;
                    }
                    let seen = Seen {
                        value: entry.value().to_vec(),
                        contents,
                        fields_until,
                        encoding: entry.encoding(),
                        expire_at: entry.expire_at(),
                        version: entry.version(),
                    };
                    state.insert((database.0, entry.key().to_vec()), seen);
                }
            }
        }
        state
    }

    /// Takes a step, as the dispatcher and the commands would.
    fn take(&mut self, step: &Step) {
        let now_ms = self.now_ms;
        let engine = self.engine.clone();
        let mut payload = Vec::new();
        match step {
            Step::One(change) => {
                wait_for_room(&engine, change.room());
                let key = change.key();
                let mut transaction = engine.begin(Scope::Key(&key), moment(now_ms), &mut payload);
                change.make(&mut transaction);
                transaction.commit();
            }
            Step::Many(changes) | Step::Abandoned(changes) => {
                wait_for_room(&engine, changes.iter().map(Change::room).sum());
                let keys: Vec<Vec<u8>> = changes.iter().map(Change::key).collect();
                let mut keys = keys.iter().map(|key| &key[..]);
                let scope = Scope::Keys(&mut keys);
                let mut transaction = engine.begin(scope, moment(now_ms), &mut payload);
                changes
                    .iter()
                    .for_each(|change| change.make(&mut transaction));
                if matches!(step, Step::Many(_)) {
                    transaction.commit();
                }
            }
            Step::Unit(acts, keep) => {
                let room = |act: &Act| match act {
                    Act::Change(change) => change.room(),
                    Act::Clear(_) | Act::Swap(..) => Effect::encoded_bytes_max(0, 0),
                };
                wait_for_room(&engine, acts.iter().map(room).sum());
                let transaction = engine.begin(Scope::All, moment(now_ms), &mut payload);
                let mut transaction = transaction.of_several();
                for act in acts {
                    transaction.begin_command(true, 0);
                    match act {
                        Act::Change(change) => change.make(&mut transaction),
                        Act::Clear(database) => transaction.clear(DatabaseId(*database)),
                        Act::Swap(a, b) => {
                            let with = DatabaseId(*b);
                            transaction.apply_everywhere(DatabaseId(*a), &Effect::Swap { with });
                        }
                    }
                }
                if *keep {
                    transaction.commit();
                }
            }
            Step::Clear(database) => self.everywhere(*database..*database + 1, &Effect::Clear),
            Step::ClearAll => self.everywhere(0..DATABASES, &Effect::Clear),
            Step::Swap(a, b) if a != b => {
                let with = DatabaseId(*b);
                self.everywhere(*a..*a + 1, &Effect::Swap { with });
            }
            Step::Swap(..) => {}
            Step::Pass(ms) => self.now_ms += ms,
            Step::Look(database, key) => {
                let key = key_of(*key);
                let scope = Scope::Key(&key);
                let mut transaction = engine.begin(scope, moment(now_ms), &mut payload);
                transaction.get(DatabaseId(*database), &key);
            }
            Step::Collect => {
                self.cycle.step(&engine, 100, now_ms);
            }
        }
    }

    fn everywhere(&self, databases: std::ops::Range<u16>, effect: &Effect<'_>) {
        wait_for_room(&self.engine, 100);
        let mut payload = Vec::new();
        let engine = &self.engine;
        let mut transaction = engine.begin(Scope::All, moment(self.now_ms), &mut payload);
        for database in databases {
            transaction.apply_everywhere(DatabaseId(database), effect);
        }
        transaction.commit();
    }

    /// A checkpoint, with some of the steps between every two of its slices, and the rest after it.
    fn checkpoint(&mut self, steps: &[Step], pace: usize) {
        let engine = self.engine.clone();
        let mut steps = steps.iter();
        let claim = engine.checkpoints().claim().expect("no other checkpoint");
        let made = engine.checkpoint_with(claim, &mut || {
            steps.by_ref().take(pace).for_each(|step| self.take(step));
        });
        made.expect("a checkpoint");
        steps.for_each(|step| self.take(step));
    }
}

pub(super) fn moment(now_ms: u64) -> Moment {
    Moment {
        now_ms,
        access: AccessClock::new(now_ms, None),
        touch: true,
        client: 0,
    }
}

impl Change {
    fn key(&self) -> Vec<u8> {
        key_of(self.key)
    }

    /// Upper bound of its record.
    fn room(&self) -> usize {
        let bytes = match self.kind {
            Kind::Put { bytes, .. } | Kind::Splice { bytes, .. } => bytes,
            Kind::Set { ref elements, .. } => {
                elements.iter().map(|(_, bytes)| bytes + 80).sum::<usize>()
            }
            _ => 400,
        };
        Effect::encoded_bytes_max(self.key().len(), bytes)
    }

    /// Applies the effect that a command would give here.
    fn make(&self, transaction: &mut Transaction<'_>) {
        let (database, key) = (DatabaseId(self.database), &self.key()[..]);
        let now_ms = transaction.now_ms();
        let found = transaction.peek(database, key).map(Entry::kind);
        let is_there = found.is_some();
        let is_string = found == Some(store::Kind::String);
        let at = |ttl: Option<u64>| ttl.map(|ttl| now_ms + ttl);
        match self.kind {
            Kind::Put { bytes, fill, ttl } => {
                let value = &vec![fill; bytes][..];
                let effect = Effect::Put {
                    key,
                    value,
                    encoding: StringEncoding::of(value),
                    expire_at: at(ttl),
                };
                transaction.apply(database, &effect);
            }
            Kind::Splice {
                offset,
                bytes,
                fill,
            } => {
                let bytes = &vec![fill; bytes][..];
                let effect = if is_string {
                    Effect::Splice { key, offset, bytes }
                } else {
                    Effect::PutPadded { key, offset, bytes }
                };
                transaction.apply(database, &effect);
            }
            Kind::Expire { ttl } if is_there => {
                transaction.apply(database, &Effect::ExpireAt { key, at: at(ttl) });
            }
            Kind::Delete if is_there => transaction.apply(database, &Effect::Delete { key }),
            Kind::Expire { .. } | Kind::Delete => {}
            Kind::Set { kind, ref elements } if !is_string => {
                let elements: Vec<_> = elements
                    .iter()
                    .map(|(element, bytes)| {
                        let until = kind == store::Kind::Hash && bytes % 3 == 1;
                        let until = until.then(|| now_ms + 1 + *bytes as u64 % 97);
                        let value = value_of(kind, *element, *bytes);
                        (element_of(kind, *element), value, until)
                    })
                    .collect();
                let effects: Vec<_> = elements
                    .iter()
                    .map(|(element, value, until)| {
                        store::element_effect(kind, key, (element, value, *until))
                    })
                    .collect();
                transaction.apply_all(database, &effects);
            }
            Kind::Remove { ref elements } if is_there && !is_string => {
                let kind = found.expect("a collection");
                let elements: Vec<_> = elements.iter().map(|e| element_of(kind, *e)).collect();
                let effects: Vec<_> = elements
                    .iter()
                    .map(|element| Effect::ElementDelete { kind, key, element })
                    .collect();
                transaction.apply_all(database, &effects);
            }
            Kind::Attributes { ref names } if found == Some(store::Kind::Stream) => {
                let names: Vec<_> = names
                    .iter()
                    .map(|(name, set)| (attribute(*name), *set))
                    .collect();
                let effects: Vec<_> = names
                    .iter()
                    .map(|((name, value), set)| match set {
                        true => Effect::AttributeSet { key, name, value },
                        false => Effect::AttributeDelete { key, name },
                    })
                    .collect();
                transaction.apply_all(database, &effects);
            }
            Kind::Trim { below } if found == Some(store::Kind::Stream) => {
                let below = StreamId::new(0, below.into()).to_bytes();
                transaction.apply(database, &Effect::StreamTrim { key, below });
            }
            _ => {}
        }
    }
}

/// An element as a collection of this kind has them.
pub(super) fn element_of(kind: store::Kind, element: u8) -> Vec<u8> {
    match kind {
        store::Kind::Stream => StreamId::new(0, element.into()).to_bytes().to_vec(),
        store::Kind::List => [&[0x80, 0, 0, 0, 0, 0, 0][..], &[element, 0, 1]].concat(),
        _ => vec![element],
    }
}

fn value_of(kind: store::Kind, element: u8, bytes: usize) -> Vec<u8> {
    match kind {
        store::Kind::Set => Vec::new(),
        store::Kind::SortedSet => Score::encode(bytes as f64 / 7.0).to_vec(),
        _ => vec![element; bytes],
    }
}

/// Name and value of an attribute.
pub(super) fn attribute(name: u8) -> (Vec<u8>, Vec<u8>) {
    let id = StreamId::new(0, 1);
    let (attribute, value) = match name {
        0 => (Attribute::Mark, vec![1; 40]),
        1 => (Attribute::Group(b"group"), vec![1; 24]),
        _ => (Attribute::Pending(b"group", id), vec![1; 20]),
    };
    (attribute.encode(), value)
}

fn key_of(key: u8) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

pub(super) fn open(directory: &Path) -> Arc<Engine> {
    let opened = Engine::open(options(directory));
    let (engine, _) = opened.expect("the directory is recovered");
    Arc::new(engine)
}

fn options(directory: &Path) -> EngineOptions {
    let mut log = wal::Options::new(directory);
    log.segment_bytes = wal::MIN_SEGMENT_BYTES;
    EngineOptions {
        directory: directory.to_owned(),
        databases: DATABASES.into(),
        partitions: Partitions::new(PARTITIONS).expect("a power of two"),
        seed: None,
        threads: 2,
        log,
    }
}

pub(super) fn wait_for_room(engine: &Engine, bytes: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = engine.log().room(bytes) {
        assert_eq!(error, NoRoom::Preparing);
        assert!(Instant::now() < deadline, "no room for {bytes} bytes");
        engine.log().make_room(bytes);
        std::thread::yield_now();
    }
}

#[test]
fn the_number_of_partitions_is_fixed() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(open(directory.path()));
    let other = EngineOptions {
        partitions: Partitions::new(PARTITIONS * 2).expect("a power of two"),
        ..options(directory.path())
    };
    let opened = Engine::open(other).map(drop);
    assert!(
        matches!(opened, Err(RecoveryError::Partitions { created, .. }) if created == PARTITIONS),
        "{opened:?}"
    );
}

#[test]
fn checkpoints_hold_the_largest_values() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut world = World::new(directory.path());
    let bytes = 70 << 20;
    world.take(&Step::One(Change {
        database: 0,
        key: 0,
        kind: Kind::Splice {
            offset: bytes,
            bytes: 1,
            fill: 7,
        },
    }));
    world.checkpoint(&[], 1);
    world.restart();
    let lengths: Vec<_> = world
        .state()
        .into_values()
        .map(|seen| seen.value.len() as u64)
        .collect();
    assert_eq!(lengths, [bytes + 1]);
}

proptest! {
    // Every case syncs files dozens of times: a quarter of the usual number of cases is enough.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn recovers_what_was_there(chapters in prop::collection::vec(chapter(), 1..6)) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut world = World::new(directory.path());
        for chapter in &chapters {
            match chapter {
                Chapter::Checkpoint(steps, pace) => world.checkpoint(steps, *pace),
                Chapter::Restart(steps) => {
                    steps.iter().for_each(|step| world.take(step));
                    let before = world.state();
                    world.restart();
                    prop_assert_eq!(world.state(), before);
                }
            }
        }
        let before = world.state();
        world.restart();
        prop_assert_eq!(world.state(), before);
    }
}
