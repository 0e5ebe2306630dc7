//! Any order of changes: what stays true in every epoch and between adjacent ones.

use std::collections::BTreeSet;

use coterie_protocol::{Actor, ClusterId, DatabaseId, Epoch, NodeId, PartitionId};
use proptest::prelude::*;

use super::{describe, node};
use crate::topology::{
    Change, MemberState, Placement, Policy, Quorum, Refusal, Stage, Step, Topology,
};

pub(super) fn founded(partitions: u16) -> Topology {
    let change = Change::Found {
        cluster: ClusterId(7),
        partitions,
        node: node(1),
        description: describe(1, "a"),
        policy: Policy::default(),
    };
    Topology::empty().apply(&change).unwrap()
}

pub(super) fn apply(topology: &Topology, change: Change) -> Topology {
    topology.apply(&change).unwrap()
}

fn with_members(count: u8) -> Topology {
    (2..=count).fold(founded(8), |topology, number| {
        let description = describe(number, ["a", "b", "c"][usize::from(number) % 3]);
        let node = node(number);
        apply(&topology, Change::AddMember { node, description })
    })
}

pub(super) fn stages(topology: &Topology, at: impl Fn(&Placement) -> bool) -> Vec<Stage> {
    let stage = |(index, placement): (usize, &Placement)| {
        let change = placement.change.as_ref().filter(|_| at(placement))?;
        Some(Stage {
            partition: PartitionId(index as u16),
            step: change.step,
            since: change.since,
        })
    };
    topology
        .placements
        .iter()
        .enumerate()
        .filter_map(stage)
        .collect()
}

fn subsets(of: &[NodeId], size: usize) -> Vec<BTreeSet<NodeId>> {
    let all = 0u32..1 << of.len();
    all.filter(|bits| bits.count_ones() as usize == size)
        .map(|bits| {
            (0..of.len())
                .filter(|i| bits & 1 << i != 0)
                .map(|i| of[i])
                .collect()
        })
        .collect()
}

/// A placement, and which nodes still accept requests of its epoch.
#[derive(Clone, Copy)]
pub(super) struct Alive<'a> {
    pub(super) placement: &'a Placement,
    pub(super) accepts: &'a dyn Fn(NodeId) -> bool,
}

/// Whether each read of a placement sees each acknowledged write of another.
fn reads_see_writes(reads: Alive, writes: Alive, policy: Policy) -> bool {
    let count = usize::from(policy.replicas);
    let read_set = reads.placement.read_set(count);
    let quorum = policy.read_quorum.of(read_set.len());
    let answer: Vec<NodeId> = (read_set.iter().copied())
        .filter(|&node| (reads.accepts)(node))
        .collect();
    let (old, new) = writes.placement.write_sets(count);
    let avoids = |set: &[NodeId], read: &BTreeSet<NodeId>| {
        let free = |node: &&NodeId| !read.contains(node) && (writes.accepts)(**node);
        set.iter().filter(free).count() >= policy.write_quorum.of(set.len())
    };
    subsets(&answer, quorum)
        .iter()
        .all(|read| !(avoids(old, read) && new.is_none_or(|new| avoids(new, read))))
}

/// I9, for one policy.
pub(super) fn intersect_alive(a: Alive, b: Alive, policy: Policy) -> bool {
    reads_see_writes(a, b, policy) && reads_see_writes(b, a, policy)
}

/// I9 where every node accepts both, for policies that promise it.
fn intersect(a: &Placement, b: &Placement) -> bool {
    let alive = |placement| Alive {
        placement,
        accepts: &|_| true,
    };
    let write_all = Policy {
        write_quorum: Quorum::All,
        read_quorum: Quorum::Count(1),
        ..Policy::default()
    };
    let policies = [Policy::default(), write_all];
    (policies.into_iter()).all(|policy| intersect_alive(alive(a), alive(b), policy))
}

#[derive(Clone, Debug)]
enum Event {
    Add(u8),
    Drain(u8),
    Resume(u8),
    Replace(u8, u8),
    Remove(u8),
    Plan,
    Advance(u64),
    RollBack(u64),
    Policy(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 1..9u8;
    prop_oneof![
        3 => node().prop_map(Event::Add),
        1 => node().prop_map(Event::Drain),
        1 => node().prop_map(Event::Resume),
        1 => (node(), node()).prop_map(|(old, new)| Event::Replace(old, new)),
        1 => node().prop_map(Event::Remove),
        4 => Just(Event::Plan),
        12 => any::<u64>().prop_map(Event::Advance),
        2 => any::<u64>().prop_map(Event::RollBack),
        1 => (1..5u8).prop_map(Event::Policy),
    ]
}

/// The change an event stands for. A mask says which partitions it is about.
fn change(topology: &Topology, event: &Event) -> Change {
    let masked = |mask: u64, topology: &Topology| {
        let all = stages(topology, |_| true);
        all.into_iter()
            .filter(|stage| mask & 1 << stage.partition.0 != 0)
            .collect()
    };
    match *event {
        Event::Add(number) => Change::AddMember {
            node: node(number),
            description: describe(number, ["a", "b", "c"][usize::from(number) % 3]),
        },
        Event::Drain(number) => Change::Drain { node: node(number) },
        Event::Resume(number) => Change::Resume { node: node(number) },
        Event::Replace(old, new) => Change::Replace {
            old: node(old),
            new: node(new),
        },
        Event::Remove(number) => Change::RemoveMember { node: node(number) },
        Event::Plan => Change::Plan {
            moves: topology.plan(),
        },
        Event::Advance(mask) => Change::Advance {
            stages: masked(mask, topology),
        },
        Event::RollBack(mask) => Change::RollBack {
            stages: masked(mask, topology),
        },
        Event::Policy(replicas) => Change::SetPolicy {
            database: DatabaseId(1),
            policy: Policy {
                replicas,
                ..Policy::default()
            },
        },
    }
}

/// Every move can go on to its end from wherever it is, and all end at once where they should be.
fn settle(mut topology: Topology) -> Topology {
    for _ in 0..32 {
        let moves = topology.plan();
        let before = topology.epoch;
        topology = apply(&topology, Change::Plan { moves });
        let stages = stages(&topology, |_| true);
        let next = apply(&topology, Change::Advance { stages });
        for (a, b) in topology.placements.iter().zip(&next.placements) {
            assert!(intersect(a, b), "{a:?} and {b:?}");
        }
        topology = next;
        if topology.epoch == before {
            return topology;
        }
    }
    panic!("the moves do not end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_history_keeps_quorums_and_can_be_resumed_or_rolled_back(
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut topology = founded(8);
        for event in events {
            let next = match topology.apply(&change(&topology, &event)) {
                Ok(next) => next,
                Err(_) => continue,
            };
            prop_assert!(next.epoch.0 == topology.epoch.0 + 1 || next == topology);
            for (a, b) in topology.placements.iter().zip(&next.placements) {
                prop_assert!(intersect(a, b), "{:?}: {:?} and {:?}", event, a, b);
            }
            let actors: BTreeSet<Actor> = next.members.values().map(|m| m.actor).collect();
            prop_assert_eq!(actors.len(), next.members.len());
            topology = next;
        }
        // Back from wherever there is a way back, with the replicas that there were.
        let stages = stages(&topology, |p| {
            p.change.as_ref().is_some_and(|change| change.step < Step::WriteBothReadNew)
        });
        let back = apply(&topology, Change::RollBack { stages });
        for (before, after) in topology.placements.iter().zip(&back.placements) {
            prop_assert_eq!(&before.replicas, &after.replicas);
        }
        for start in [topology, back] {
            let settled = settle(start);
            for placement in &settled.placements {
                prop_assert!(placement.change.is_none());
                let normal = |node: &NodeId| settled.members[node].state == MemberState::Normal;
                prop_assert!(placement.replicas.iter().all(normal));
            }
        }
    }
}

#[test]
fn a_member_leaves_only_after_its_partitions() {
    let topology = settle(with_members(4));
    let remove = Change::RemoveMember { node: node(4) };
    let refusal = topology.apply(&remove).unwrap_err();
    assert_eq!(refusal, Refusal::NotDrained(node(4)));
    let draining = apply(&topology, Change::Drain { node: node(4) });
    let refusal = draining.apply(&remove).unwrap_err();
    assert!(
        matches!(refusal, Refusal::HoldsPartitions { partitions: 8, .. }),
        "{refusal}"
    );
    let removed = apply(&settle(draining), remove);
    assert!(!removed.members.contains_key(&node(4)));
}

#[test]
fn a_replacement_takes_exactly_the_places_of_the_replaced() {
    let mut topology = settle(with_members(3));
    let places = |topology: &Topology, of: u8| -> Vec<usize> {
        let held = |index: &usize| topology.placements[*index].replicas.contains(&node(of));
        (0..8).filter(held).collect()
    };
    let before = places(&topology, 2);
    let description = describe(5, "c");
    topology = apply(
        &topology,
        Change::AddMember {
            node: node(5),
            description,
        },
    );
    topology = apply(
        &topology,
        Change::Replace {
            old: node(2),
            new: node(5),
        },
    );
    topology = settle(topology);
    assert_eq!(
        (places(&topology, 5), places(&topology, 2)),
        (before, vec![])
    );
}

#[test]
fn what_can_not_be_is_refused_and_changes_nothing() {
    let topology = with_members(2);
    let refused = |change: Change| topology.apply(&change).unwrap_err();
    let description = describe(2, "a");
    assert_eq!(
        refused(Change::UpdateMember {
            node: node(1),
            description: description.clone()
        }),
        Refusal::DuplicateAddress {
            address: description.address,
            of: node(2)
        }
    );
    let moves = vec![(PartitionId(0), vec![node(2), node(2)])];
    assert_eq!(
        refused(Change::Plan { moves }),
        Refusal::InvalidTarget(PartitionId(0))
    );
    let moves = vec![(PartitionId(8), vec![node(2)])];
    assert_eq!(
        refused(Change::Plan { moves }),
        Refusal::UnknownPartition(PartitionId(8))
    );
    let policy = Policy {
        replicas: 2,
        write_quorum: Quorum::Count(3),
        ..Policy::default()
    };
    let database = DatabaseId(0);
    assert_eq!(
        refused(Change::SetPolicy { database, policy }),
        Refusal::InvalidPolicy
    );
    assert_eq!(
        refused(Change::SetDefaultPolicy { policy }),
        Refusal::InvalidPolicy
    );
    let last = apply(&topology, Change::Drain { node: node(1) });
    let drain = Change::Drain { node: node(2) };
    assert_eq!(
        last.apply(&drain).unwrap_err(),
        Refusal::LastMember(node(2))
    );
    assert_eq!(
        Topology::empty().apply(&drain).unwrap_err(),
        Refusal::NotFounded
    );
}

#[test]
fn databases_without_a_policy_have_that_of_the_cluster() {
    let policy = Policy {
        replicas: 5,
        ..Policy::default()
    };
    let (one, other) = (DatabaseId(1), DatabaseId(2));
    let topology = apply(
        &with_members(2),
        Change::SetPolicy {
            database: one,
            policy: Policy::default(),
        },
    );
    let changed = apply(&topology, Change::SetDefaultPolicy { policy });
    assert_eq!(changed.policy(one), Policy::default());
    assert_eq!(changed.policy(other), policy);
    assert_eq!(changed.wanted_replicas(), 5);
    assert_eq!(changed.epoch.0, topology.epoch.0 + 1);
}

#[test]
fn a_step_is_taken_once_and_has_no_way_back_from_reads_of_the_new() {
    let topology = with_members(2);
    let moves = vec![(PartitionId(3), vec![node(2)])];
    let planned = apply(&topology, Change::Plan { moves });
    let first = stages(&planned, |_| true);
    let both = apply(
        &planned,
        Change::Advance {
            stages: first.clone(),
        },
    );
    assert_eq!(
        both.placements[3].under_way().unwrap().since,
        Epoch(planned.epoch.0 + 1)
    );
    let again = both.apply(&Change::Advance { stages: first });
    assert_eq!(again.unwrap_err(), Refusal::OtherStep(PartitionId(3)));
    let read_new = apply(
        &both,
        Change::Advance {
            stages: stages(&both, |_| true),
        },
    );
    assert_eq!(read_new.placements[3].read_set(3), [node(2)]);
    let back = read_new.apply(&Change::RollBack {
        stages: stages(&read_new, |_| true),
    });
    assert_eq!(back.unwrap_err(), Refusal::NoWayBack(PartitionId(3)));
}
