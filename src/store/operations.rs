//! The operations that the keys of a partition were changed by lately, so that none is executed twice when the node
//! that executed it dies before it answers.
//!
//! After RIFL (Lee et al., "Implementing Linearizability at Large Scale and Low Latency", SOSP 2015): what was done and
//! what was answered are kept together, here under the lock of the partition, and the origin of an operation tells
//! which of its operations can be forgotten. An operation that is here is part of what this node knows of its key.

use std::collections::BTreeMap;

use coterie_protocol::{Actor, DatabaseId, Stamp};

use super::Merged;
use crate::effect::{Effect, OperationId, OperationKind, encode_stamp};

/// Memory that the operations of a partition may take, in bytes; more are hardly ever under way at once.
const BYTES_MAX: usize = 256 << 10;
/// What one takes besides its key and its reply.
const ENTRY_BYTES: usize = 96;
/// Keys that it is remembered of that what dead nodes did to them was overwritten.
const OVERWRITTEN_MAX: usize = 4096;
/// … and how long: operations of that time have been answered.
const OVERWRITTEN_MS: u64 = 60_000;

/// What is known of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// It is part of the state; its reply, unless that was too large to be kept.
    Done(Option<Box<[u8]>>),
    /// Nothing.
    Unknown,
    /// It may have been here, and was forgotten.
    Forgotten,
}

struct Operation {
    database: DatabaseId,
    key: Box<[u8]>,
    stamp: Stamp,
    kind: OperationKind,
    reply: Box<[u8]>,
}

impl Operation {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.key.len() + self.reply.len()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Operations {
    all: BTreeMap<OperationId, Operation>,
    bytes: usize,
    /// By origin: smaller numbers are not kept.
    forgotten: BTreeMap<Actor, u64>,
    /// Keys of operations that were executed again, and the stamps of that: an operation before it that is not known
    /// by then has lost its effect.
    overwritten: BTreeMap<(DatabaseId, Box<[u8]>), Stamp>,
}

impl Operations {
    /// What is known of an operation.
    pub fn find(&self, id: OperationId) -> Known {
        match self.all.get(&id) {
            Some(found) if found.reply.is_empty() => Known::Done(None),
            Some(found) => Known::Done(Some(found.reply.clone())),
            None if id.number < self.floor(id.origin) => Known::Forgotten,
            None => Known::Unknown,
        }
    }

    /// Forgets what an operation answered.
    pub fn doubt(&mut self, id: OperationId) {
        if let Some(found) = self.all.get_mut(&id) {
            self.bytes -= found.reply.len();
            found.reply = Box::default();
        }
    }

    fn floor(&self, origin: Actor) -> u64 {
        self.forgotten.get(&origin).copied().unwrap_or(0)
    }

    /// Takes in an operation, executed at a stamp; others than [`Effect::Operation`] are ignored.
    pub fn merge(&mut self, database: DatabaseId, effect: &Effect<'_>, stamp: Stamp) -> Merged {
        let Effect::Operation {
            key,
            id,
            settled,
            kind,
            reply,
        } = *effect
        else {
            return Merged::Known;
        };
        self.forget_before(id.origin, settled);
        let is_newer = self
            .all
            .get(&id)
            .is_none_or(|present| present.stamp < stamp);
        if !is_newer || id.number < self.floor(id.origin) || self.is_lost(database, key, stamp) {
            return Merged::Known;
        }
        if kind.again {
            self.overwrite(database, key, stamp);
        }
        let operation = Operation {
            database,
            key: key.into(),
            stamp,
            kind,
            reply: reply.into(),
        };
        self.bytes += operation.bytes();
        if let Some(old) = self.all.insert(id, operation) {
            self.bytes -= old.bytes();
        }
        self.make_room();
        Merged::New
    }

    /// Whether what was done to a key at a stamp was overwritten before it was known.
    fn is_lost(&self, database: DatabaseId, key: &[u8], stamp: Stamp) -> bool {
        let by = || self.overwritten.get(&(database, key.into()));
        !self.overwritten.is_empty() && by().is_some_and(|by| *by > stamp)
    }

    fn overwrite(&mut self, database: DatabaseId, key: &[u8], stamp: Stamp) {
        let now_ms = stamp.version.millis();
        if self.overwritten.len() >= OVERWRITTEN_MAX {
            let stamps = self.overwritten.values();
            let oldest = stamps.min().copied().unwrap_or(Stamp::ZERO);
            self.overwritten.retain(|_, at| *at > oldest);
        }
        self.overwritten
            .retain(|_, at| at.version.millis() + OVERWRITTEN_MS > now_ms);
        let at = self.overwritten.entry((database, key.into()));
        let at = at.or_insert(stamp);
        *at = stamp.max(*at);
    }

    fn forget_before(&mut self, origin: Actor, number: u64) {
        let floor = self.forgotten.entry(origin).or_insert(0);
        if number <= *floor {
            return;
        }
        *floor = number;
        let id = |number| OperationId { origin, number };
        while let Some((&first, _)) = self.all.range(id(0)..id(number)).next() {
            self.remove(first);
        }
    }

    fn remove(&mut self, id: OperationId) {
        if let Some(old) = self.all.remove(&id) {
            self.bytes -= old.bytes();
        }
    }

    /// Forgets the older half if there are too many; their origins are told that it can't be known.
    fn make_room(&mut self) {
        if self.bytes <= BYTES_MAX {
            return;
        }
        let mut stamps: Vec<Stamp> = self.all.values().map(|found| found.stamp).collect();
        let middle = stamps.len() / 2;
        let middle = *stamps.select_nth_unstable(middle).1;
        let old = self.all.iter().filter(|(_, found)| found.stamp < middle);
        let old: Vec<OperationId> = old.map(|(id, _)| *id).collect();
        for id in old {
            self.remove(id);
            let floor = self.forgotten.entry(id.origin).or_insert(0);
            *floor = (*floor).max(id.number + 1);
        }
    }

    /// Appends the operations that the state of a key tells of, each with its stamp. Returns how many there are.
    pub fn encode(&self, database: DatabaseId, key: &[u8], out: &mut Vec<u8>) -> usize {
        let is_of_key = |found: &Operation| {
            found.database == database && *found.key == *key && !found.kind.many
        };
        let of_key = self.all.iter().filter(|(_, found)| is_of_key(found));
        let mut of_key: Vec<_> = of_key.collect();
        // What an operation that was executed again has counted in comes before it.
        of_key.sort_by_key(|(_, found)| found.stamp);
        for (id, found) in &of_key {
            encode_stamp(found.stamp, out);
            let effect = Effect::Operation {
                key,
                id: **id,
                settled: self.floor(id.origin),
                kind: found.kind,
                reply: &found.reply,
            };
            effect.encode(out);
        }
        of_key.len()
    }
}

#[cfg(test)]
mod tests {
    use coterie_protocol::Version;
    use proptest::prelude::*;

    use super::*;
    use crate::effect::Stamped;

    const KEY: &[u8] = b"key";

    fn id(origin: u16, number: u64) -> OperationId {
        OperationId {
            origin: Actor(origin),
            number,
        }
    }

    fn stamp(version: u64) -> Stamp {
        Stamp::new(Version::from_bits(version), Actor(1))
    }

    fn operation<'a>(id: OperationId, settled: u64, again: bool, reply: &'a [u8]) -> Effect<'a> {
        Effect::Operation {
            key: KEY,
            id,
            settled,
            kind: OperationKind { again, many: false },
            reply,
        }
    }

    fn add(operations: &mut Operations, id: OperationId, again: bool, at: u64) -> Merged {
        operations.merge(DatabaseId(0), &operation(id, 0, again, b"r"), stamp(at))
    }

    fn done() -> Known {
        Known::Done(Some(b"r".as_slice().into()))
    }

    #[test]
    fn what_is_in_doubt_is_known_without_its_answer() {
        let mut operations = Operations::default();
        let effect = operation(id(1, 5), 0, false, b":1");
        assert_eq!(
            operations.merge(DatabaseId(0), &effect, stamp(7)),
            Merged::New
        );
        operations.doubt(id(1, 5));
        assert_eq!(operations.find(id(1, 5)), Known::Done(None));
        // Another replica, which has not lost it, does not settle the doubt.
        operations.merge(DatabaseId(0), &effect, stamp(7));
        assert_eq!(operations.find(id(1, 5)), Known::Done(None));
        assert_eq!(operations.bytes, ENTRY_BYTES + KEY.len());
    }

    #[test]
    fn what_is_settled_is_forgotten_and_stays_so() {
        let mut operations = Operations::default();
        add(&mut operations, id(1, 5), false, 10);
        add(&mut operations, id(2, 5), false, 11);
        assert_eq!(operations.find(id(1, 5)), done());
        assert_eq!(operations.find(id(1, 6)), Known::Unknown);
        let later = operation(id(1, 8), 7, false, b"r");
        operations.merge(DatabaseId(0), &later, stamp(12));
        assert_eq!(operations.find(id(1, 5)), Known::Forgotten);
        assert_eq!(operations.find(id(1, 6)), Known::Forgotten);
        assert_eq!(operations.find(id(1, 7)), Known::Unknown);
        assert_eq!(operations.find(id(2, 5)), done());
        // It comes late, by another way.
        assert_eq!(add(&mut operations, id(1, 5), false, 10), Merged::Known);
        assert_eq!(operations.find(id(1, 5)), Known::Forgotten);
    }

    #[test]
    fn what_was_overwritten_before_it_was_known_is_never_known() {
        let mut operations = Operations::default();
        add(&mut operations, id(1, 1), false, 10);
        add(&mut operations, id(1, 2), true, 20);
        // What came in time was not overwritten, but counted in.
        assert_eq!(operations.find(id(1, 1)), done());
        assert_eq!(add(&mut operations, id(1, 3), false, 15), Merged::Known);
        assert_eq!(operations.find(id(1, 3)), Known::Unknown);
        assert_eq!(add(&mut operations, id(1, 3), false, 25), Merged::New);
        assert_eq!(operations.find(id(1, 3)), done());
    }

    #[test]
    fn of_two_executions_the_later_counts() {
        let mut operations = Operations::default();
        add(&mut operations, id(1, 1), true, 20);
        let first = operation(id(1, 1), 0, false, b"first");
        operations.merge(DatabaseId(0), &first, stamp(10));
        assert_eq!(operations.find(id(1, 1)), done());
        let third = operation(id(1, 1), 0, true, b"third");
        operations.merge(DatabaseId(0), &third, stamp(30));
        let reply = Known::Done(Some(b"third".as_slice().into()));
        assert_eq!(operations.find(id(1, 1)), reply);
    }

    #[test]
    fn memory_is_bounded_and_what_did_not_fit_is_not_taken_for_undone() {
        let mut operations = Operations::default();
        let reply = vec![b'x'; 1000];
        for number in 0..2000 {
            let effect = operation(id(1, number), 0, false, &reply);
            operations.merge(DatabaseId(0), &effect, stamp(number + 1));
            assert!(operations.bytes <= BYTES_MAX);
        }
        assert_eq!(operations.find(id(1, 0)), Known::Forgotten);
        assert!(matches!(operations.find(id(1, 1999)), Known::Done(Some(_))));
        let kept: usize = operations.all.values().map(Operation::bytes).sum();
        assert_eq!(kept, operations.bytes);
    }

    proptest! {
        /// Who gets the state of a key knows of its operations what the sender does.
        #[test]
        fn states_carry_operations(
            steps in prop::collection::vec((1u16..4, 0u64..20, 0u64..10, any::<bool>(), 1u64..100), 0..40),
        ) {
            let mut sender = Operations::default();
            for (origin, number, settled, again, at) in steps {
                let effect = operation(id(origin, number), settled, again, b"r");
                sender.merge(DatabaseId(0), &effect, stamp(at));
            }
            let mut state = Vec::new();
            let count = sender.encode(DatabaseId(0), KEY, &mut state);
            prop_assert_eq!(sender.encode(DatabaseId(1), KEY, &mut Vec::new()), 0);
            let mut receiver = Operations::default();
            let mut read = 0;
            for effect in Stamped::new(DatabaseId(0), Stamp::ZERO, &state) {
                let (database, effect, stamp) = effect.unwrap();
                receiver.merge(database, &effect, stamp);
                read += 1;
            }
            prop_assert_eq!(read, count);
            for id in sender.all.keys() {
                prop_assert_eq!(receiver.find(*id), sender.find(*id));
            }
        }
    }
}
