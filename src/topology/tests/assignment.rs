//! Balance, spread and movement of assignments.

use std::collections::{BTreeMap, BTreeSet};

use coterie_protocol::NodeId;
use proptest::prelude::*;

use super::node;
use crate::topology::assignment::{Candidate, Present, assign};

const PARTITIONS: usize = 64;

fn candidate(number: u8, zone: u8, weight: u32) -> Candidate {
    Candidate {
        node: node(number),
        zone: format!("zone-{zone}"),
        weight,
    }
}

fn present(replicas: &[Vec<NodeId>]) -> Vec<Present> {
    let present = |replicas: &Vec<NodeId>| Present {
        replicas: replicas.clone(),
        planned: Vec::new(),
    };
    replicas.iter().map(present).collect()
}

fn counts(assignment: &[Vec<NodeId>]) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for node in assignment.iter().flatten() {
        *counts.entry(*node).or_default() += 1;
    }
    counts
}

/// Replicas that are where there was none of the partition.
fn moved(old: &[Vec<NodeId>], new: &[Vec<NodeId>]) -> usize {
    let moved = |(old, new): (&Vec<NodeId>, &Vec<NodeId>)| {
        new.iter().filter(|node| !old.contains(node)).count()
    };
    old.iter().zip(new).map(moved).sum()
}

/// What every assignment must keep to.
fn check(candidates: &[Candidate], assignment: &[Vec<NodeId>], replicas: usize) {
    let eligible: Vec<&Candidate> = candidates.iter().filter(|c| c.weight > 0).collect();
    let replicas = replicas.min(eligible.len());
    let zone_of: BTreeMap<NodeId, &str> = (eligible.iter())
        .map(|c| (c.node, c.zone.as_str()))
        .collect();
    let zones: BTreeSet<&str> = zone_of.values().copied().collect();
    for nodes in assignment {
        let distinct: BTreeSet<_> = nodes.iter().collect();
        assert_eq!((nodes.len(), distinct.len()), (replicas, replicas));
        let used: BTreeSet<&str> = nodes.iter().map(|node| zone_of[node]).collect();
        assert_eq!(used.len(), zones.len().min(replicas), "spread over zones");
        // The replicas that a database with fewer of them uses are spread as well.
        for fewer in 1..replicas {
            let used: BTreeSet<&str> = nodes[..fewer].iter().map(|node| zone_of[node]).collect();
            assert_eq!(used.len(), zones.len().min(fewer), "prefixes are spread");
        }
    }
    let counts = counts(assignment);
    let first = counts_of_first(assignment);
    for candidate in &eligible {
        let held = counts.get(&candidate.node).copied().unwrap_or(0) as f64;
        let leads = first.get(&candidate.node).copied().unwrap_or(0) as f64;
        assert!(
            (leads - held / replicas as f64).abs() < 1.0,
            "{leads} of {held}"
        );
        if let Some(share) = plain_share(&eligible, candidate, replicas, assignment.len()) {
            assert!((held - share).abs() < 1.0 + 1e-6, "{held}, share {share}");
        }
    }
    // Whatever limits shares, equal nodes of a zone are equal.
    for a in &eligible {
        for b in &eligible {
            let held = |c: &Candidate| counts.get(&c.node).copied().unwrap_or(0);
            if (a.weight, &a.zone) == (b.weight, &b.zone) {
                assert!(held(a).abs_diff(held(b)) <= 1);
            }
        }
    }
}

fn counts_of_first(assignment: &[Vec<NodeId>]) -> BTreeMap<NodeId, usize> {
    let first: Vec<Vec<NodeId>> = assignment.iter().map(|nodes| vec![nodes[0]]).collect();
    counts(&first)
}

/// A node's share by weight, if no node and no zone is so heavy or so light that spreading its replicas limits it.
fn plain_share(
    all: &[&Candidate],
    of: &Candidate,
    replicas: usize,
    partitions: usize,
) -> Option<f64> {
    let total: u32 = all.iter().map(|c| c.weight).sum();
    let part = |weight: u32| f64::from(weight) / f64::from(total) * replicas as f64;
    let mut zones: BTreeMap<&str, (u32, usize)> = BTreeMap::new();
    for candidate in all {
        let zone = zones.entry(&candidate.zone).or_default();
        zone.0 += candidate.weight;
        zone.1 += 1;
    }
    let spread = replicas as f64 / zones.len() as f64;
    let even = |&(weight, nodes): &(u32, usize)| {
        let most = spread.ceil().min(nodes as f64);
        part(weight) <= most && (zones.len() > replicas || part(weight) >= 1.0)
    };
    let limited = all.iter().any(|c| part(c.weight) > 1.0) || !zones.values().all(even);
    (!limited).then(|| part(of.weight) * partitions as f64)
}

#[derive(Clone, Debug)]
enum Event {
    Join { zone: u8, weight: u32 },
    Leave(prop::sample::Index),
    Weigh(prop::sample::Index, u32),
}

fn event() -> impl Strategy<Value = Event> {
    let weight = || prop_oneof![3 => Just(100u32), 1 => 0..400u32];
    prop_oneof![
        4 => (0..4u8, weight()).prop_map(|(zone, weight)| Event::Join { zone, weight }),
        2 => any::<prop::sample::Index>().prop_map(Event::Leave),
        1 => (any::<prop::sample::Index>(), weight()).prop_map(|(i, w)| Event::Weigh(i, w)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_history_of_nodes_stays_balanced_and_spread(
        events in prop::collection::vec(event(), 1..14),
        replicas in 1..6usize,
    ) {
        let mut candidates = vec![candidate(0, 0, 100)];
        let mut placed = vec![vec![node(0)]; PARTITIONS];
        for (number, event) in events.into_iter().enumerate() {
            match event {
                Event::Join { zone, weight } => {
                    candidates.push(candidate(number as u8 + 1, zone, weight));
                }
                Event::Leave(index) => {
                    candidates.remove(index.index(candidates.len()));
                }
                Event::Weigh(index, weight) => {
                    let index = index.index(candidates.len());
                    candidates[index].weight = weight;
                }
            }
            if candidates.iter().all(|c| c.weight == 0) {
                prop_assert_eq!(assign(&candidates, &present(&placed), replicas), placed);
                return Ok(());
            }
            let next = assign(&candidates, &present(&placed), replicas);
            check(&candidates, &next, replicas);
            // What is as it should be stays; and a plan that is half done is kept to.
            prop_assert_eq!(&assign(&candidates, &present(&next), replicas), &next);
            let half: Vec<Present> = (0..PARTITIONS)
                .map(|i| Present {
                    replicas: if i % 2 == 0 { next[i].clone() } else { placed[i].clone() },
                    planned: if i % 2 == 0 { Vec::new() } else { next[i].clone() },
                })
                .collect();
            prop_assert_eq!(&assign(&candidates, &half, replicas), &next);
            placed = next;
        }
    }

    #[test]
    fn a_join_moves_what_the_node_gets_and_a_leave_what_it_had(nodes in 4..12u8, replicas in 1..4usize) {
        let candidates: Vec<Candidate> = (0..nodes).map(|n| candidate(n, 0, 100)).collect();
        let empty = vec![Present::default(); PARTITIONS];
        let before = assign(&candidates[1..], &empty, replicas);
        let joined = assign(&candidates, &present(&before), replicas);
        prop_assert_eq!(moved(&before, &joined), counts(&joined)[&node(0)]);
        let left = assign(&candidates[..candidates.len() - 1], &present(&joined), replicas);
        prop_assert_eq!(moved(&joined, &left), counts(&joined)[&node(nodes - 1)]);
    }
}

#[test]
fn a_heavy_node_holds_each_partition_once_and_no_more() {
    let candidates = [
        candidate(1, 0, 1000),
        candidate(2, 0, 1),
        candidate(3, 0, 1),
    ];
    let assignment = assign(&candidates, &vec![Present::default(); PARTITIONS], 2);
    let counts = counts(&assignment);
    assert_eq!(counts[&node(1)], PARTITIONS);
    assert_eq!(
        (counts[&node(2)], counts[&node(3)]),
        (PARTITIONS / 2, PARTITIONS / 2)
    );
}

/// Plain consistent hashing: `points` points a node on a ring, a partition's replicas are the next nodes on it.
fn ring(nodes: u8, points: u32, partitions: usize, replicas: usize) -> Vec<Vec<NodeId>> {
    let hash = |bytes: &[u8]| xxhash_rust::xxh3::xxh3_64(bytes);
    let mut ring: Vec<(u64, NodeId)> = (0..nodes)
        .flat_map(|n| (0..points).map(move |point| (n, point)))
        .map(|(n, point)| (hash(format!("{n}/{point}").as_bytes()), node(n)))
        .collect();
    ring.sort();
    let holders = |partition: usize| {
        let start = hash(format!("partition {partition}").as_bytes());
        let start = ring.partition_point(|&(hash, _)| hash < start);
        let mut holders = Vec::new();
        for turn in 0..ring.len() {
            let (_, node) = ring[(start + turn) % ring.len()];
            if holders.len() < replicas && !holders.contains(&node) {
                holders.push(node);
            }
        }
        holders
    };
    (0..partitions).map(holders).collect()
}

#[test]
#[ignore = "prints a table"]
fn compared_with_consistent_hashing() {
    const MANY: usize = 256;
    println!(
        "| nodes | | fewest / most replicas a node | most / mean | coordinators a node | moved by a join (least possible) | by a leave |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for nodes in [3u8, 4, 8, 16, 32, 64] {
        let all: Vec<Candidate> = (0..=nodes).map(|n| candidate(n, 0, 100)).collect();
        let mut flow = vec![vec![node(0)]; MANY];
        for count in 1..=usize::from(nodes) {
            flow = assign(&all[..count], &present(&flow), 3);
        }
        let started = std::time::Instant::now();
        let joined = assign(&all, &present(&flow), 3);
        let took = started.elapsed();
        let left = assign(&all[..usize::from(nodes)], &present(&joined), 3);
        row(nodes, "flow", &flow, &joined, &left);
        println!(
            "|  | (computed in {:.1} ms) | | | | | |",
            took.as_secs_f64() * 1e3
        );
        for points in [16, 128] {
            let before = ring(nodes, points, MANY, 3);
            let joined = ring(nodes + 1, points, MANY, 3);
            row(
                nodes,
                &format!("ring, {points} points"),
                &before,
                &joined,
                &before,
            );
        }
    }
}

fn row(
    nodes: u8,
    name: &str,
    before: &[Vec<NodeId>],
    joined: &[Vec<NodeId>],
    left: &[Vec<NodeId>],
) {
    let held = counts(before);
    let first = counts_of_first(before);
    let most = held.values().max().unwrap_or(&0);
    let mean = 3.0 * before.len() as f64 / f64::from(nodes);
    let least_possible = 3 * before.len() / (usize::from(nodes) + 1);
    println!(
        "| {nodes} | {name} | {} / {most} | {:.2} | {} to {} | {} ({least_possible}) | {} |",
        held.values().min().unwrap_or(&0),
        *most as f64 / mean,
        (0..nodes)
            .map(|n| first.get(&node(n)).copied().unwrap_or(0))
            .min()
            .unwrap_or(0),
        first.values().max().unwrap_or(&0),
        moved(before, joined),
        moved(joined, left),
    );
}
