//! Two nodes in a test, and what may happen to them: they change, exchange records and states, checkpoint and restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use coterie_protocol::{Actor, DatabaseId, Version};
use proptest::prelude::*;

use super::recovery_tests::{attribute, element_of, moment, open, wait_for_room};
use super::{COORDINATED, Engine, ExpiryCycle, Scope, coordinated_by};
use crate::effect::{Effect, StringEncoding};
use crate::store::contents::Contents;
use crate::store::{BUCKETS, Kind, Score, StreamId};
use crate::wal::LogOffset;

pub(super) const KEYS: u8 = 6;
const FIELDS: u8 = 3;
pub(super) const START_MS: u64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub(super) enum Command {
    Set(u8, usize, Option<u64>),
    SetMany(Vec<u8>),
    SetRange(u8, u64),
    Incr(u8, i8),
    Expire(u8, Option<u64>),
    Delete(u8),
    HashSet(u8, Vec<u8>),
    HashDelete(u8, u8),
    /// Adds elements to a collection of this kind.
    Add(u8, Kind, Vec<u8>),
    /// Removes an element of whatever collection there is.
    Remove(u8, u8),
    /// Sets an attribute of a stream, or removes it.
    Attribute(u8, u8, bool),
    Trim(u8, u8),
    HashIncr(u8, u8, i8),
    Flush(u8),
    Look(u8),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Command(usize, Command),
    /// A transaction over several keys that is given up.
    Abandoned(usize, Vec<Command>),
    Pass(u64),
    Collect(usize),
    /// The records of this node reach the other.
    Send(usize),
    /// This node gets all that the other knows, by state.
    Transfer(usize),
    /// What this node knows of a key flows to the other.
    Repair(usize, u8),
    /// Both have everything, and know it.
    /// All agree on a horizon, and this node does not learn it; 2 for none.
    Settle(usize),
    Checkpoint(usize, Vec<(usize, Command)>, usize),
    Restart(usize),
}

fn command() -> impl Strategy<Value = Command> {
    let ttl = || prop::option::of(1u64..60);
    let key = || 0..KEYS;
    prop_oneof![
        4 => (key(), 0usize..60, ttl()).prop_map(|(k, n, t)| Command::Set(k, n, t)),
        1 => prop::collection::vec(key(), 1..4).prop_map(Command::SetMany),
        1 => (key(), 0..40u64).prop_map(|(k, o)| Command::SetRange(k, o)),
        4 => (key(), any::<i8>()).prop_map(|(k, n)| Command::Incr(k, n)),
        2 => (key(), ttl()).prop_map(|(k, t)| Command::Expire(k, t)),
        2 => key().prop_map(Command::Delete),
        3 => (key(), prop::collection::vec(0..FIELDS, 1..4)).prop_map(|(k, f)| Command::HashSet(k, f)),
        2 => (key(), 0..FIELDS).prop_map(|(k, f)| Command::HashDelete(k, f)),
        3 => (key(), 0..FIELDS, any::<i8>()).prop_map(|(k, f, n)| Command::HashIncr(k, f, n)),
        6 => (key(), kind(), prop::collection::vec(0..FIELDS, 1..4)).prop_map(|(k, c, e)| Command::Add(k, c, e)),
        4 => (key(), 0..FIELDS).prop_map(|(k, e)| Command::Remove(k, e)),
        2 => (key(), 0..3u8, any::<bool>()).prop_map(|(k, n, set)| Command::Attribute(k, n, set)),
        1 => (key(), 0..=FIELDS).prop_map(|(k, e)| Command::Trim(k, e)),
        1 => key().prop_map(Command::Flush),
        1 => key().prop_map(Command::Look),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Set, Kind::SortedSet, Kind::List, Kind::Stream])
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let node = || 0..2usize;
    let commands = prop::collection::vec((node(), command()), 0..20);
    prop_oneof![
        30 => (node(), command()).prop_map(|(n, c)| Step::Command(n, c)),
        4 => (node(), prop::collection::vec(command(), 1..8)).prop_map(|(n, c)| Step::Abandoned(n, c)),
        4 => (1..40u64).prop_map(Step::Pass),
        1 => node().prop_map(Step::Collect),
        6 => node().prop_map(Step::Send),
        1 => node().prop_map(Step::Transfer),
        1 => (node(), 0..KEYS).prop_map(|(n, k)| Step::Repair(n, k)),
        1 => (0..3usize).prop_map(Step::Settle),
        2 => (node(), commands, 1..4usize).prop_map(|(n, c, p)| Step::Checkpoint(n, c, p)),
        2 => node().prop_map(Step::Restart),
    ]
}

impl Command {
    /// The key, if it has but one.
    fn key(&self) -> Option<u8> {
        let (Command::Set(key, ..)
        | Command::SetRange(key, _)
        | Command::Incr(key, _)
        | Command::Expire(key, _)
        | Command::Delete(key)
        | Command::HashSet(key, _)
        | Command::HashDelete(key, _)
        | Command::HashIncr(key, ..)
        | Command::Add(key, ..)
        | Command::Remove(key, _)
        | Command::Attribute(key, ..)
        | Command::Trim(key, _)
        | Command::Flush(key)
        | Command::Look(key)) = self
        else {
            return None;
        };
        Some(*key)
    }
}

pub(super) struct Node {
    directory: tempfile::TempDir,
    pub engine: Arc<Engine>,
    actor: Actor,
    /// Up to where its log was sent.
    pub sent: LogOffset,
    cycle: ExpiryCycle,
    settled: bool,
}

/// What clients see of a key.
pub(super) type Seen = (Vec<u8>, Contents, Option<u64>);

#[derive(PartialEq, Debug)]
pub(super) struct Snapshot {
    pub seen: BTreeMap<Vec<u8>, Seen>,
    trees: Vec<[u64; BUCKETS]>,
    digests: BTreeMap<Vec<u8>, u64>,
}

impl Node {
    pub fn new(actor: u16) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = open(directory.path());
        let actor = Actor(actor);
        engine.store().set_replicated(Some(actor));
        let sent = engine.log().appended();
        Node {
            directory,
            engine,
            actor,
            sent,
            cycle: ExpiryCycle::default(),
            settled: false,
        }
    }

    pub fn restart(&mut self) {
        self.engine.close().expect("the log closes");
        // The directory is locked as long as the old engine lives.
        let empty = tempfile::tempdir().expect("a directory");
        drop(std::mem::replace(&mut self.engine, open(empty.path())));
        self.engine = open(self.directory.path());
        self.engine.store().set_replicated(Some(self.actor));
    }

    pub fn snapshot(&self, now_ms: u64) -> Snapshot {
        let mut snapshot = Snapshot {
            seen: BTreeMap::new(),
            trees: Vec::new(),
            digests: BTreeMap::new(),
        };
        let store = self.engine.store();
        for id in store.ids() {
            let partition = store.lock(id);
            for database in partition.databases() {
                let entries = partition.keyspace(database).into_iter();
                for entry in entries.flat_map(|keyspace| keyspace.iter()) {
                    if !entry.is_expired(now_ms) {
                        let seen = (
                            entry.value().to_vec(),
                            Contents::of(entry),
                            entry.expire_at(),
                        );
                        snapshot.seen.insert(entry.key().to_vec(), seen);
                    }
                }
            }
            snapshot.trees.push(*partition.tree());
            for bucket in 0..BUCKETS {
                partition.keys_of_bucket(bucket, |_, key, digest| {
                    snapshot.digests.insert(key.to_vec(), digest);
                });
            }
        }
        snapshot
    }

    pub fn run(&self, command: &Command, now_ms: u64) {
        wait_for_room(&self.engine, 4096);
        let (mut payload, database) = (Vec::new(), DatabaseId::DEFAULT);
        let engine = &self.engine;
        if let Command::SetMany(keys) = command {
            return self.set_many(keys, now_ms);
        }
        let Some(key) = command.key() else {
            return;
        };
        let key = &key_of(key)[..];
        if let Command::Flush(_) = command {
            let scope = Scope::Partition(engine.store().partition_of(key));
            let mut transaction = engine.begin(scope, moment(now_ms), &mut payload);
            transaction.clear(database);
            transaction.commit();
            return;
        }
        let mut transaction = engine.begin(Scope::Key(key), moment(now_ms), &mut payload);
        make(&mut transaction, key, command, now_ms);
        transaction.commit();
    }

    /// Makes changes to several keys, and gives them up.
    fn abandon(&self, commands: &[Command], now_ms: u64) {
        wait_for_room(&self.engine, 4096 * commands.len());
        let keys: Vec<_> = (0..KEYS).map(key_of).collect();
        let (mut names, mut payload) = (keys.iter().map(|key| &key[..]), Vec::new());
        let scope = Scope::Keys(&mut names);
        let mut transaction = self.engine.begin(scope, moment(now_ms), &mut payload);
        for command in commands {
            if let Some(key) = command.key() {
                make(&mut transaction, &key_of(key), command, now_ms);
            }
        }
    }

    fn set_many(&self, keys: &[u8], now_ms: u64) {
        let keys: Vec<_> = keys.iter().map(|key| key_of(*key)).collect();
        let mut names = keys.iter().map(|key| &key[..]);
        let (scope, mut payload) = (Scope::Keys(&mut names), Vec::new());
        let mut transaction = self.engine.begin(scope, moment(now_ms), &mut payload);
        for key in &keys {
            put(key, b"12", None).apply(&mut transaction);
        }
        transaction.commit();
    }

    /// Sends records made since the last time, all but `lost` of them.
    pub fn send(&mut self, other: &Node) {
        let mut reader = self
            .engine
            .log()
            .tail(self.sent)
            .expect("what was not sent");
        let end = reader.read(|record| {
            if record.kind == COORDINATED {
                let effects = coordinated_by(record.payload, self.actor).expect("its own");
                wait_for_room(&other.engine, effects.len() + 100);
                let received = other.engine.receive(
                    self.actor,
                    record.end(),
                    record.version,
                    record.partition,
                    record.database,
                    effects,
                );
                received.expect("well-formed effects");
            }
            true
        });
        self.sent = end.expect("records");
        other.engine.note_received(self.actor, self.sent);
    }

    pub fn transfer_from(&self, other: &Node) {
        for id in other.engine.store().ids() {
            let (mut keys, mut state) = (Vec::new(), Vec::new());
            let partition = other.engine.store().lock(id);
            for (database, floor) in partition.floors() {
                crate::effect::encode_database(database, &mut state);
                crate::effect::encode_stamp(floor, &mut state);
                Effect::Clear.encode(&mut state);
            }
            for bucket in 0..BUCKETS {
                partition.keys_of_bucket(bucket, |database, key, _| {
                    keys.push((database, key.to_vec()));
                });
            }
            for (database, key) in keys {
                partition.encode_state(database, &key, &mut state);
            }
            drop(partition);
            wait_for_room(&self.engine, state.len() + 100);
            self.engine.merge_state(id, &state).expect("a state");
        }
    }
}

/// Makes the change that a command would.
fn make(transaction: &mut super::Transaction<'_>, key: &[u8], command: &Command, now_ms: u64) {
    let database = DatabaseId::DEFAULT;
    let at = |ttl: Option<u64>| ttl.map(|ttl| now_ms + ttl);
    let entry = transaction.get(database, key);
    let kind = entry.map(|entry| entry.kind());
    let number = |text: &[u8]| coterie_protocol::text::parse_i64(text);
    match command {
        Command::Set(_, bytes, ttl) => {
            put(key, &vec![b'v'; *bytes], at(*ttl)).apply(transaction);
        }
        Command::SetRange(_, offset) if kind.is_none_or(|kind| kind == Kind::String) => {
            let (offset, bytes) = (*offset, &b"xy"[..]);
            let effect = match kind {
                Some(_) => Effect::Splice { key, offset, bytes },
                None => Effect::PutPadded { key, offset, bytes },
            };
            transaction.apply(database, &effect);
        }
        Command::Incr(_, delta) if kind.is_none_or(|kind| kind == Kind::String) => {
            let old = entry.map_or(Some(0), |entry| number(entry.value()));
            if let Some(old) = old {
                let delta = i64::from(*delta);
                transaction.count(database, key, delta, old + delta);
                let new = transaction.get(database, key).expect("a number");
                assert_eq!(new.value(), (old + delta).to_string().as_bytes());
            }
        }
        Command::Expire(_, ttl) if kind.is_some() => {
            transaction.apply(database, &Effect::ExpireAt { key, at: at(*ttl) });
        }
        Command::Delete(_) => transaction.apply(database, &Effect::Delete { key }),
        Command::HashSet(_, fields) if kind.is_none_or(|kind| kind == Kind::Hash) => {
            let fields: Vec<_> = fields.iter().map(|field| [*field]).collect();
            let set = |element| Effect::ElementSet {
                kind: Kind::Hash,
                key,
                element,
                value: b"7",
            };
            let effects: Vec<_> = fields.iter().map(|field| set(&field[..])).collect();
            transaction.apply_all(database, &effects);
        }
        Command::HashDelete(_, field) if kind.is_none_or(|kind| kind == Kind::Hash) => {
            let (kind, element) = (Kind::Hash, &[*field]);
            transaction.apply(database, &Effect::ElementDelete { kind, key, element });
        }
        Command::Add(_, wanted, elements) if kind.is_none_or(|kind| kind == *wanted) => {
            let elements: Vec<_> = elements.iter().map(|e| element_of(*wanted, *e)).collect();
            let value = match wanted {
                Kind::Set => Vec::new(),
                Kind::SortedSet => Score::encode((now_ms % 5) as f64).to_vec(),
                _ => now_ms.to_string().into_bytes(),
            };
            let set = |element| Effect::ElementSet {
                kind: *wanted,
                key,
                element,
                value: &value,
            };
            let effects: Vec<_> = elements.iter().map(|element| set(&element[..])).collect();
            transaction.apply_all(database, &effects);
        }
        Command::Remove(_, element) if kind.is_some_and(|kind| kind != Kind::String) => {
            let kind = kind.expect("a collection");
            let element = &element_of(kind, *element)[..];
            transaction.apply(database, &Effect::ElementDelete { kind, key, element });
        }
        Command::Attribute(_, name, set) if kind == Some(Kind::Stream) => {
            let (name, value) = &attribute(*name);
            let effect = match set {
                true => Effect::AttributeSet { key, name, value },
                false => Effect::AttributeDelete { key, name },
            };
            transaction.apply(database, &effect);
        }
        Command::Trim(_, below) if kind == Some(Kind::Stream) => {
            let below = StreamId::new(0, (*below).into()).to_bytes();
            transaction.apply(database, &Effect::StreamTrim { key, below });
        }
        Command::HashIncr(_, field, delta) if kind.is_none_or(|kind| kind == Kind::Hash) => {
            let (field, delta) = (&[*field], i64::from(*delta));
            let hash = entry.and_then(|entry| entry.hash());
            let old = hash.and_then(|hash| hash.get(field)).and_then(number);
            let new = old.unwrap_or(0) + delta;
            transaction.count_field(database, key, field, delta, new);
            let hash = transaction
                .get(database, key)
                .and_then(|entry| entry.hash());
            let text = hash.and_then(|hash| hash.get(field)).expect("a number");
            assert_eq!(text, new.to_string().as_bytes());
        }
        _ => {}
    }
}

/// A `Put` that owns its key and value.
struct Put<'a>(&'a [u8], Vec<u8>, Option<u64>);

fn put<'a>(key: &'a [u8], value: &[u8], expire_at: Option<u64>) -> Put<'a> {
    Put(key, value.to_vec(), expire_at)
}

impl Put<'_> {
    fn apply(&self, transaction: &mut super::Transaction<'_>) {
        let effect = Effect::Put {
            key: self.0,
            value: &self.1,
            encoding: StringEncoding::of(&self.1),
            expire_at: self.2,
        };
        transaction.apply(DatabaseId::DEFAULT, &effect);
    }
}

pub(super) fn key_of(key: u8) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

pub(super) struct World {
    pub nodes: [Node; 2],
    pub now_ms: u64,
}

impl World {
    fn send(&mut self, from: usize) {
        let [a, b] = &mut self.nodes;
        if from == 0 { a.send(b) } else { b.send(a) }
    }

    pub fn exchange(&mut self) {
        self.send(0);
        self.send(1);
    }

    pub fn assert_equal(&self) {
        let [a, b] = &self.nodes;
        let (a, b) = (a.snapshot(self.now_ms), b.snapshot(self.now_ms));
        assert_eq!(a.seen, b.seen);
        if !self.nodes.iter().any(|node| node.settled) {
            assert_eq!(a, b);
        }
    }

    pub fn take(&mut self, step: &Step) {
        let now_ms = self.now_ms;
        match step {
            Step::Command(node, command) => self.nodes[*node].run(command, now_ms),
            Step::Abandoned(node, commands) => {
                let before = self.nodes[*node].snapshot(now_ms);
                self.nodes[*node].abandon(commands, now_ms);
                assert_eq!(self.nodes[*node].snapshot(now_ms), before);
            }
            Step::Pass(ms) => self.now_ms += ms,
            Step::Collect(node) => {
                let Node { engine, cycle, .. } = &mut self.nodes[*node];
                cycle.step(engine, 1000, now_ms);
            }
            Step::Send(node) => self.send(*node),
            Step::Transfer(node) => self.nodes[*node].transfer_from(&self.nodes[1 - node]),
            Step::Repair(node, key) => {
                let engine = &self.nodes[*node].engine;
                let key = key_of(*key);
                let names = std::iter::once((DatabaseId::DEFAULT, &key[..]));
                engine.append_state(engine.store().partition_of(&key), names);
            }
            Step::Settle(left_out) => {
                self.exchange();
                // Values of keys that expired here and were given a later time there.
                self.take(&Step::Transfer(0));
                self.take(&Step::Transfer(1));
                self.assert_equal();
                for id in self.nodes[0].engine.store().ids() {
                    let versions = self
                        .nodes
                        .iter()
                        .map(|node| node.engine.store().lock(id).version());
                    let horizon = versions.max().unwrap_or(Version::ZERO);
                    let horizon = horizon.max(Version::new(now_ms, 0));
                    // All have agreed, but not all may have been told.
                    let told = |(at, _): &(usize, &mut Node)| at != left_out;
                    for (_, node) in self.nodes.iter_mut().enumerate().filter(told) {
                        node.engine.store().lock(id).set_stable_horizon(horizon);
                    }
                    for node in &mut self.nodes {
                        node.engine.store().lock(id).clock().observe(horizon);
                        node.settled = true;
                    }
                }
                self.assert_equal();
            }
            Step::Checkpoint(node, commands, pace) => {
                // What was not sent would be removed from the log.
                self.exchange();
                let engine = self.nodes[*node].engine.clone();
                let mut commands = commands.iter();
                let claim = engine.checkpoints().claim().expect("no other checkpoint");
                let made = engine.checkpoint_with(claim, &mut || {
                    for (node, command) in commands.by_ref().take(*pace) {
                        self.nodes[*node].run(command, now_ms);
                        self.exchange();
                    }
                });
                made.expect("a checkpoint");
                commands.for_each(|(node, command)| self.nodes[*node].run(command, now_ms));
            }
            Step::Restart(node) => {
                self.exchange();
                let from = self.nodes[1 - node].actor;
                let others = self.nodes[1 - node].snapshot(now_ms);
                let node = &mut self.nodes[*node];
                let clocks: Vec<_> = (node.engine.store().ids())
                    .map(|id| (id, node.engine.store().lock(id).version()))
                    .collect();
                let (mut before, mark) = (node.snapshot(now_ms), node.engine.received(from));
                node.restart();
                node.engine.note_received(from, mark);
                // Horizons are in the past by every clock.
                for (id, version) in clocks {
                    node.engine.store().lock(id).clock().observe(version);
                }
                let mut after = node.snapshot(now_ms);
                // A value that was dropped when it had expired, and then was given a later time elsewhere, is in the log.
                let back: Vec<Vec<u8>> = (after.digests.iter())
                    .filter(|(key, digest)| before.digests.get(*key) != Some(*digest))
                    .filter(|(key, digest)| others.digests.get(*key) == Some(*digest))
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in &back {
                    assert_eq!(after.seen.get(key), others.seen.get(key));
                    after.seen.remove(key);
                    before.seen.remove(key);
                }
                assert_eq!(after.seen, before.seen);
                if !node.settled && back.is_empty() {
                    assert_eq!(after, before);
                }
            }
        }
    }
}
