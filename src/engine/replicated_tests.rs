//! Two nodes that both change, exchange records and states, checkpoint and restart: they agree in the end, and
//! a restart loses nothing.

use coterie_protocol::{Actor, DatabaseId, Epoch};
use proptest::prelude::*;

use super::replicated_world::{Command, KEYS, Node, START_MS, Step, World, key_of, step};
use super::{Repeat, coordinated_by};
use crate::store::Kind;

proptest! {
    // Every case syncs files dozens of times: a quarter of the usual number of cases is enough.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn replicas_agree_and_recover(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World { nodes: [Node::new(1), Node::new(2)], now_ms: START_MS };
        for step in &steps {
            world.take(step);
        }
        world.exchange();
        // Values of keys that expired here and were given a later time there.
        world.take(&Step::Transfer(0));
        world.take(&Step::Transfer(1));
        world.assert_equal();
        world.take(&Step::Restart(0));
        world.take(&Step::Restart(1));
        world.assert_equal();
    }
}

#[test]
fn what_expired_and_was_forgotten_does_not_swallow_what_is_written_next() {
    let again = [
        Command::Incr(0, 1),
        Command::Add(1, Kind::Set, vec![1]),
        Command::HashIncr(2, 1, 1),
    ];
    for left_out in [0, 1, 2] {
        let mut world = World {
            nodes: [Node::new(1), Node::new(2)],
            now_ms: START_MS,
        };
        for (key, command) in again.iter().enumerate() {
            let key = key as u8;
            world.take(&Step::Command(0, command.clone()));
            world.take(&Step::Command(0, Command::Expire(key, Some(5))));
        }
        world.take(&Step::Pass(10));
        world.take(&Step::Command(0, Command::Look(0)));
        world.take(&Step::Settle(left_out));
        for command in &again {
            world.take(&Step::Command(0, command.clone()));
        }
        // By records, and by states alone.
        world.nodes[1].transfer_from(&world.nodes[0]);
        world.assert_equal();
        world.exchange();
        world.nodes[0].transfer_from(&world.nodes[1]);
        for node in 0..2 {
            world.take(&Step::Restart(node));
            world.assert_equal();
        }
        assert_eq!(world.nodes[0].snapshot(world.now_ms).seen.len(), 3);
    }
}

#[test]
fn a_standalone_directory_becomes_a_replica() {
    let mut world = World {
        nodes: [Node::new(1), Node::new(2)],
        now_ms: START_MS,
    };
    let node = &mut world.nodes[0];
    node.engine.store().set_replicated(None);
    for key in 0..KEYS {
        node.run(&Command::Set(key, 10, Some(50)), START_MS);
        node.run(&Command::HashSet(key + KEYS, vec![0, 1]), START_MS);
    }
    let before = node.snapshot(START_MS).seen;
    assert_eq!(before.len(), usize::from(KEYS) * 2);
    node.engine.store().set_replicated(Some(Actor(1)));
    node.run(&Command::HashDelete(KEYS, 0), START_MS);
    node.run(&Command::Delete(0), START_MS);
    let after = node.snapshot(START_MS);
    node.restart();
    assert_eq!(node.snapshot(START_MS), after);
    world.nodes[1].transfer_from(&world.nodes[0]);
    world.assert_equal();
}

#[test]
fn what_had_lost_is_made_again() {
    let mut world = World {
        nodes: [Node::new(1), Node::new(2)],
        now_ms: START_MS,
    };
    world.take(&Step::Command(0, Command::Incr(0, 5)));
    world.exchange();
    // The second node is ahead, and writes without the first's knowledge.
    world.nodes[1].run(&Command::SetMany(vec![0]), START_MS + 5);
    world.take(&Step::Command(0, Command::Incr(0, 1)));
    let engine = world.nodes[0].engine.clone();
    let mut lost = Vec::new();
    let mut reader = engine.log().tail(world.nodes[0].sent).expect("the record");
    let read = reader.read(|record| {
        lost.push((
            record.partition,
            record.payload.to_vec(),
            record.version,
            record.end(),
        ));
        true
    });
    read.expect("the record");
    let [(partition, payload, version, end)] = &lost[..] else {
        panic!("one record: {lost:?}");
    };
    let effects = coordinated_by(payload, Actor(1)).expect("its own");
    let database = DatabaseId::DEFAULT;
    let received =
        world.nodes[1]
            .engine
            .receive(Actor(1), *end, *version, *partition, database, effects);
    let superseded = received
        .expect("effects")
        .superseded
        .expect("a later write");
    assert_eq!(superseded.actor, Actor(2));
    world.nodes[0].transfer_from(&world.nodes[1]);
    let past = superseded.version;
    let repeated = engine.repeat(*partition, (database, effects), *version, past, || {
        Some(Repeat::Everything)
    });
    assert!(repeated.expect("effects") > Some(*end));
    world.exchange();
    world.assert_equal();
    let seen = world.nodes[1].snapshot(START_MS).seen;
    assert_eq!(seen[&key_of(0)].0, b"13");
}

#[test]
fn a_partition_that_moved_away_stays_away() {
    let mut node = Node::new(1);
    for key in 0..KEYS {
        node.run(&Command::Set(key, 10, None), START_MS);
    }
    let ids: Vec<_> = node.engine.store().ids().collect();
    ids.iter().for_each(|id| node.engine.forget(*id, Epoch(3)));
    assert!(!node.engine.store().has_keys());
    node.run(&Command::Set(1, 3, None), START_MS);
    node.restart();
    assert_eq!(node.snapshot(START_MS).seen.len(), 1);
}

#[test]
fn a_partition_that_moves_here_begins_with_nothing_once() {
    let mut node = Node::new(1);
    let ids: Vec<_> = node.engine.store().ids().collect();
    let join = |node: &Node, since| {
        ids.iter()
            .for_each(|id| node.engine.join(*id, Epoch(since)))
    };
    node.run(&Command::Set(0, 10, None), START_MS);
    join(&node, 5);
    assert!(!node.engine.store().has_keys());
    node.run(&Command::Set(1, 3, None), START_MS);
    // What is told again, and what comes late of an earlier epoch, takes nothing away.
    join(&node, 5);
    ids.iter().for_each(|id| node.engine.forget(*id, Epoch(4)));
    assert_eq!(node.snapshot(START_MS).seen.len(), 1);
    for with_checkpoint in [false, true] {
        if with_checkpoint {
            let claim = node.engine.checkpoints().claim().expect("no other one");
            (node.engine.checkpoint(claim)).expect("a checkpoint");
        }
        node.restart();
        join(&node, 5);
        let seen = node.snapshot(START_MS).seen.len();
        assert_eq!(seen, 1, "with a checkpoint: {with_checkpoint}");
    }
    join(&node, 7);
    assert!(!node.engine.store().has_keys());
}
