//! Which nodes should hold each partition: balanced by weight, spread over zones, moving the least that it can.
//!
//! Each node's *share* of all replicas is proportional to its weight, as far as a partition's replicas can be in different
//! nodes and zones. Every partition then gets its replicas by a minimum-cost flow from partitions over zones to nodes:
//! how many each node and each zone gets of it is bounded by the share rounded down and up, which is always possible (the
//! shares themselves are a fractional solution, and the bounds are integral), and a replica that stays where it is costs
//! least. So no other assignment within these bounds moves fewer replicas. A second flow chooses each partition's
//! preferred coordinator. The idea of computing a layout as a flow is Garage's (<https://garagehq.deuxfleurs.fr/_/pdf/>).

use std::collections::BTreeMap;

use coterie_protocol::NodeId;

use super::flow::{Edge, Network, Vertex};

/// Shares this close to a whole number count as one.
const ROUNDING: f64 = 1e-6;

/// A node that may hold partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its zone.
    pub zone: String,
    /// Its share relative to others; one with 0 gets nothing.
    pub weight: u32,
}

/// Where a partition is, and where it was last meant to go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Present {
    /// Its replicas, the preferred coordinator first.
    pub replicas: Vec<NodeId>,
    /// What was planned for it, if anything: kept among ways that move equally little.
    pub planned: Vec<NodeId>,
}

/// New replicas of each partition, the preferred coordinator first: `replicas` of them, or one on each candidate if
/// there are fewer. Without candidates everything stays.
pub fn assign(candidates: &[Candidate], present: &[Present], replicas: usize) -> Vec<Vec<NodeId>> {
    let mut candidates: Vec<&Candidate> = candidates.iter().filter(|c| c.weight > 0).collect();
    candidates.sort_by_key(|candidate| candidate.node);
    candidates.dedup_by_key(|candidate| candidate.node);
    let replicas = replicas.min(candidates.len());
    if replicas == 0 || present.is_empty() {
        return present.iter().map(|p| p.replicas.clone()).collect();
    }
    let zones = Zones::new(&candidates, present.len(), replicas);
    let holders = choose_holders(&candidates, &zones, present, replicas);
    let first = choose_first(&holders, present, &candidates, replicas);
    let mut targets = Vec::with_capacity(present.len());
    for ((holders, first), present) in holders.iter().zip(first).zip(present) {
        targets.push(order(holders, first, present, &candidates, &zones));
    }
    targets
}

/// The candidates by zone, and everyone's share of all replicas.
struct Zones {
    /// Candidates by zone.
    members: Vec<Vec<usize>>,
    /// The zone of each candidate.
    of: Vec<usize>,
    /// Of each candidate.
    shares: Vec<f64>,
    /// Of each zone.
    zone_shares: Vec<f64>,
}

impl Zones {
    fn new(candidates: &[&Candidate], partitions: usize, replicas: usize) -> Zones {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            by_name.entry(&candidate.zone).or_default().push(index);
        }
        let members: Vec<Vec<usize>> = by_name.into_values().collect();
        let mut of = vec![0; candidates.len()];
        for (zone, indexes) in members.iter().enumerate() {
            indexes.iter().for_each(|&index| of[index] = zone);
        }
        let partitions = partitions as f64;
        // The most even spread: no zone has more than `level` replicas of a partition, and none goes without if all can have one.
        let level = (1..=replicas)
            .find(|&level| members.iter().map(|m| m.len().min(level)).sum::<usize>() >= replicas)
            .unwrap_or(replicas);
        let least = if members.len() <= replicas { 1.0 } else { 0.0 };
        let weight = |index: &usize| f64::from(candidates[*index].weight);
        let held = |zone: &Vec<usize>, level: f64| -> f64 {
            let shares = zone
                .iter()
                .map(|index| (weight(index) * level).min(partitions));
            shares.sum()
        };
        let bounded = |zone: &Vec<usize>, water: f64| -> f64 {
            let most = zone.len().min(level) as f64 * partitions;
            held(zone, water).clamp(least * partitions, most)
        };
        let total = partitions * replicas as f64;
        let water = solve(total, |water| {
            members.iter().map(|zone| bounded(zone, water)).sum()
        });
        let zone_shares: Vec<f64> = members.iter().map(|zone| bounded(zone, water)).collect();
        let mut shares = vec![0.0; candidates.len()];
        for (zone, &share) in members.iter().zip(&zone_shares) {
            let water = solve(share, |water| held(zone, water));
            for index in zone {
                shares[*index] = (weight(index) * water).min(partitions);
            }
        }
        Zones {
            members,
            of,
            shares,
            zone_shares,
        }
    }
}

/// Where a function that grows from 0 reaches `value`.
fn solve(value: f64, function: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while function(high) < value - ROUNDING / 4.0 && high < 1e18 {
        high *= 2.0;
    }
    for _ in 0..128 {
        let middle = (low + high) / 2.0;
        if function(middle) < value {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// A share rounded down, and what rounding it up adds.
fn bounds(share: f64) -> (u32, u32) {
    let down = (share + ROUNDING).floor();
    let up = (share - ROUNDING).ceil().max(down);
    (down as u32, (up - down) as u32)
}

/// What the parts of a solution are worth, each more than all of the next together.
struct Rewards {
    zone: i128,
    node: i128,
    kept: i128,
    planned: i128,
}

impl Rewards {
    fn new(units: usize) -> Rewards {
        let more = units as i128 + 1;
        Rewards {
            planned: 1,
            kept: more,
            node: 2 * more * more,
            zone: 4 * more * more * more,
        }
    }
}

/// An edge for the units that must flow and one for those that may.
fn bounded_edge(network: &mut Network, from: Vertex, to: Vertex, share: f64, reward: i128) {
    let (must, may) = bounds(share);
    if must > 0 {
        network.edge(from, to, must, -reward);
    }
    if may > 0 {
        network.edge(from, to, may, 0);
    }
}

/// Who holds each partition, as indexes of candidates.
fn choose_holders(
    candidates: &[&Candidate],
    zones: &Zones,
    present: &[Present],
    replicas: usize,
) -> Vec<Vec<usize>> {
    let rewards = Rewards::new(present.len() * replicas);
    let mut network = Network::new();
    let source = network.vertex();
    let sink = network.vertex();
    let nodes: Vec<Vertex> = candidates.iter().map(|_| network.vertex()).collect();
    for (index, &node) in nodes.iter().enumerate() {
        bounded_edge(&mut network, node, sink, zones.shares[index], rewards.node);
    }
    let mut edges: Vec<Vec<(usize, Edge)>> = Vec::with_capacity(present.len());
    for (number, present) in present.iter().enumerate() {
        let partition = network.vertex();
        network.edge(source, partition, replicas as u32, 0);
        let mut of_partition = Vec::with_capacity(candidates.len());
        for (zone, members) in zones.members.iter().enumerate() {
            let vertex = network.vertex();
            let share = zones.zone_shares[zone] / zones_partitions(zones, replicas);
            bounded_edge(&mut network, partition, vertex, share, rewards.zone);
            // Starting elsewhere for each partition mixes the neighbours of a node, so that many share the work when it dies.
            for turn in 0..members.len() {
                let index = members[(turn + number) % members.len()];
                let node = candidates[index].node;
                let mut reward = 0;
                if present.replicas.contains(&node) {
                    reward += rewards.kept;
                }
                if present.planned.contains(&node) {
                    reward += rewards.planned;
                }
                of_partition.push((index, network.edge(vertex, nodes[index], 1, -reward)));
            }
        }
        edges.push(of_partition);
    }
    let flow = network.run(source, sink);
    debug_assert_eq!(
        flow as usize,
        present.len() * replicas,
        "shares are feasible"
    );
    let chosen = |edges: Vec<(usize, Edge)>| {
        let mut chosen: Vec<usize> = (edges.into_iter())
            .filter(|&(_, edge)| network.flow(edge) > 0)
            .map(|(index, _)| index)
            .collect();
        chosen.sort_unstable();
        chosen
    };
    edges.into_iter().map(chosen).collect()
}

/// The number of partitions, from the shares.
fn zones_partitions(zones: &Zones, replicas: usize) -> f64 {
    zones.zone_shares.iter().sum::<f64>() / replicas as f64
}

/// The preferred coordinator of each partition: each node has its part of those that it holds.
fn choose_first(
    holders: &[Vec<usize>],
    present: &[Present],
    candidates: &[&Candidate],
    replicas: usize,
) -> Vec<usize> {
    let rewards = Rewards::new(holders.len());
    let mut network = Network::new();
    let source = network.vertex();
    let sink = network.vertex();
    let nodes: Vec<Vertex> = candidates.iter().map(|_| network.vertex()).collect();
    let mut held = vec![0u32; candidates.len()];
    holders.iter().flatten().for_each(|&index| held[index] += 1);
    for (&node, &held) in nodes.iter().zip(&held) {
        let share = f64::from(held) / replicas as f64;
        bounded_edge(&mut network, node, sink, share, rewards.node);
    }
    let mut edges: Vec<Vec<(usize, Edge)>> = Vec::with_capacity(holders.len());
    for (number, (holders, present)) in holders.iter().zip(present).enumerate() {
        let partition = network.vertex();
        network.edge(source, partition, 1, 0);
        let mut of_partition = Vec::with_capacity(holders.len());
        for turn in 0..holders.len() {
            let index = holders[(turn + number) % holders.len()];
            let node = Some(&candidates[index].node);
            let mut reward = 0;
            if present.replicas.first() == node {
                reward += rewards.kept;
            }
            if present.planned.first() == node {
                reward += rewards.planned;
            }
            of_partition.push((index, network.edge(partition, nodes[index], 1, -reward)));
        }
        edges.push(of_partition);
    }
    network.run(source, sink);
    let first = |edges: Vec<(usize, Edge)>| {
        let fallback = edges[0].0;
        (edges.into_iter())
            .find(|&(_, edge)| network.flow(edge) > 0)
            .map_or(fallback, |(index, _)| index)
    };
    edges.into_iter().map(first).collect()
}

/// The order of a partition's replicas: after the coordinator those that hold it already, a zone that is new among them first.
fn order(
    holders: &[usize],
    first: usize,
    present: &Present,
    candidates: &[&Candidate],
    zones: &Zones,
) -> Vec<NodeId> {
    let place = |index: &usize| {
        let place = |nodes: &[NodeId]| {
            let found = nodes
                .iter()
                .position(|&node| node == candidates[*index].node);
            found.unwrap_or(nodes.len())
        };
        (place(&present.replicas), place(&present.planned), *index)
    };
    let mut rest: Vec<usize> = holders.iter().copied().filter(|&i| i != first).collect();
    rest.sort_by_key(place);
    let mut used = vec![0; zones.members.len()];
    used[zones.of[first]] = 1;
    let mut ordered = vec![candidates[first].node];
    while let Some(next) = (0..rest.len()).min_by_key(|&at| used[zones.of[rest[at]]]) {
        let index = rest.remove(next);
        used[zones.of[index]] += 1;
        ordered.push(candidates[index].node);
    }
    ordered
}
