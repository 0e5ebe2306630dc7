//! An operation that is executed again counts once, whatever comes of the first execution later, and in which order.

use coterie_protocol::{Actor, DatabaseId};
use proptest::prelude::*;

use super::Scope;
use super::recovery_tests::moment;
use super::replicated_world::{Node, START_MS};
use crate::effect::{Effect, Kind, OperationId, OperationKind, StringEncoding};
use crate::store::Known;

/// How far clocks may be apart.
const DRIFT_MS: u64 = 500;
const KEY: &[u8] = b"key";
const FIELD: &[u8] = b"field";
const DATABASE: DatabaseId = DatabaseId::DEFAULT;

#[derive(Clone, Copy, Debug)]
enum Write {
    Incr(i8),
    Append(u8),
    SetIfAbsent(u8),
    Expire(u16),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        any::<i8>().prop_map(Write::Incr),
        (b'0'..=b'9').prop_map(Write::Append),
        (b'0'..=b'9').prop_map(Write::SetIfAbsent),
        (1000u16..).prop_map(Write::Expire),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// The records of this node reach the other.
    Records(usize),
    /// This node gets the other's state.
    State(usize),
    Restart(usize),
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        3 => (0..2usize).prop_map(Way::Records),
        3 => (0..2usize).prop_map(Way::State),
        1 => (0..2usize).prop_map(Way::Restart),
    ]
}

fn id(number: u64) -> OperationId {
    OperationId {
        origin: Actor(9),
        number,
    }
}

fn put(value: &[u8], expire_at: Option<u64>) -> Effect<'_> {
    Effect::Put {
        key: KEY,
        value,
        encoding: StringEncoding::of(value),
        expire_at,
    }
}

/// Executes an operation as commands do.
fn execute(node: &Node, write: Write, number: u64, again: bool, in_hash: bool, now_ms: u64) {
    let mut names = std::iter::once(KEY);
    let scope = if again {
        Scope::Keys(&mut names)
    } else {
        Scope::Key(KEY)
    };
    let mut payload = Vec::new();
    let mut transaction = node.engine.begin(scope, moment(now_ms), &mut payload);
    let field = in_hash.then_some(FIELD);
    if again {
        let overwritten = transaction.overwrite(DATABASE, KEY, field, DRIFT_MS);
        overwritten.expect("there is room");
    }
    let entry = transaction.get(DATABASE, KEY);
    let expire_at = entry.and_then(|entry| entry.expire_at());
    let value = entry.and_then(|entry| match field {
        Some(field) => entry.hash()?.get(field),
        None => Some(entry.value()),
    });
    let value = value.map(<[u8]>::to_vec);
    let old = value.as_deref().unwrap_or_default();
    let number_in = coterie_protocol::text::parse_i64(old);
    match write {
        Write::Incr(delta) => {
            let old = number_in.unwrap_or(0);
            let (delta, new) = (i64::from(delta), old + i64::from(delta));
            match field {
                Some(field) => transaction.count_field(DATABASE, KEY, field, delta, new),
                None => transaction.count(DATABASE, KEY, delta, new),
            }
        }
        Write::Append(byte) => {
            // Not too many digits, so that it stays a number.
            let new = [&old[old.len().min(4)..], &[byte]].concat();
            match field {
                Some(field) => {
                    let (key, value) = (KEY, &new[..]);
                    let (kind, element) = (Kind::Hash, field);
                    let set = Effect::ElementSet {
                        kind,
                        key,
                        element,
                        value,
                    };
                    transaction.apply(DATABASE, &set);
                }
                None => transaction.apply(DATABASE, &put(&new, expire_at)),
            }
        }
        Write::SetIfAbsent(byte) if value.is_none() => match field {
            Some(field) => {
                let (key, value) = (KEY, &[byte][..]);
                let (kind, element) = (Kind::Hash, field);
                let set = Effect::ElementSet {
                    kind,
                    key,
                    element,
                    value,
                };
                transaction.apply(DATABASE, &set);
            }
            None => transaction.apply(DATABASE, &put(&[byte], None)),
        },
        Write::Expire(after) if value.is_some() => {
            let at = Some(START_MS + 1_000_000 + u64::from(after));
            transaction.apply(DATABASE, &Effect::ExpireAt { key: KEY, at });
        }
        Write::SetIfAbsent(_) | Write::Expire(_) => {}
    }
    if transaction.has_changes() {
        let operation = Effect::Operation {
            key: KEY,
            id: id(number),
            settled: 0,
            kind: OperationKind { again, many: false },
            reply: if again { b"again" } else { b"once" },
        };
        transaction.note_operation(DATABASE, &operation);
    }
    transaction.commit();
}

fn known(node: &Node, number: u64) -> Known {
    let store = node.engine.store();
    let partition = store.lock(store.partition_of(KEY));
    partition.operation(id(number))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn an_operation_executed_again_counts_once(
        in_hash in any::<bool>(),
        before in prop::collection::vec((0..2usize, write()), 0..4),
        lost in prop::collection::vec(write(), 1..4),
        ahead_ms in 0..DRIFT_MS,
        ways in prop::collection::vec(way(), 0..6),
    ) {
        let mut nodes = [Node::new(1), Node::new(2)];
        let mut number = 0;
        for (at, write) in before {
            number += 1;
            execute(&nodes[at], write, number, false, in_hash, START_MS + number);
            let [one, other] = &mut nodes;
            one.send(other);
            other.send(one);
        }
        // The first node executes some, of which nobody hears, and is taken for dead. Its clock was ahead.
        let begin = number + 1;
        for (write, number) in lost.iter().zip(begin..) {
            execute(&nodes[0], *write, number, false, in_hash, START_MS + ahead_ms + number);
            prop_assert_eq!(known(&nodes[1], number), Known::Unknown);
        }
        for (write, number) in lost.iter().zip(begin..) {
            execute(&nodes[1], *write, number, true, in_hash, START_MS + number);
        }
        let (now_ms, last) = (START_MS + 100, begin + lost.len() as u64);
        let seen = nodes[1].snapshot(now_ms).seen;
        for way in ways {
            let [one, other] = &mut nodes;
            match way {
                Way::Records(0) => one.send(other),
                Way::Records(_) => other.send(one),
                Way::State(0) => one.transfer_from(other),
                Way::State(_) => other.transfer_from(one),
                Way::Restart(at) => nodes[at].restart(),
            }
            prop_assert_eq!(&nodes[1].snapshot(now_ms).seen, &seen);
        }
        let [one, other] = &mut nodes;
        one.send(other);
        other.send(one);
        prop_assert_eq!(&nodes[0].snapshot(now_ms), &nodes[1].snapshot(now_ms));
        prop_assert_eq!(&nodes[1].snapshot(now_ms).seen, &seen);
        for number in begin..last {
            let again = Known::Done(Some(b"again".as_slice().into()));
            prop_assert_eq!(known(&nodes[1], number), again.clone());
            prop_assert_eq!(known(&nodes[0], number), again);
        }
    }

    /// Who has the effects knows the operation, by whatever way they came.
    #[test]
    fn operations_come_with_their_effects(
        in_hash in any::<bool>(),
        writes in prop::collection::vec(write(), 1..5),
        by_state in any::<bool>(),
        restart in any::<bool>(),
    ) {
        let mut nodes = [Node::new(1), Node::new(2)];
        for (write, number) in writes.iter().zip(1..) {
            execute(&nodes[0], *write, number, false, in_hash, START_MS + number);
        }
        let [one, other] = &mut nodes;
        if by_state {
            other.transfer_from(one);
        } else {
            one.send(other);
        }
        if restart {
            nodes[1].restart();
        }
        for number in 1..=writes.len() as u64 {
            prop_assert_eq!(known(&nodes[0], number), known(&nodes[1], number));
        }
        prop_assert_eq!(known(&nodes[1], 1 + writes.len() as u64), Known::Unknown);
    }
}
