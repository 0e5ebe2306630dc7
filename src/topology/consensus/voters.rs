//! Who votes on the topology.

use std::collections::{BTreeMap, BTreeSet};

use coterie_protocol::NodeId;

use crate::topology::{MemberState, Topology};

/// The most voters. An even number tolerates no more failures than the odd one below it.
pub const MAX_VOTERS: usize = 5;

/// The voters that a cluster should have: an odd number up to [`MAX_VOTERS`], over as many zones as possible, as few
/// replaced as possible. A dead voter stays unless a node that lives can take its place. `ready` says of a node that
/// does not vote whether it has caught up.
pub fn choose_voters(
    topology: &Topology,
    present: &BTreeSet<NodeId>,
    leader: NodeId,
    live: impl Fn(NodeId) -> bool,
    ready: impl Fn(NodeId) -> bool,
) -> BTreeSet<NodeId> {
    let stays = |node: &NodeId| topology.members[node].state == MemberState::Normal;
    let mut candidates: Vec<NodeId> = (topology.members.keys().copied())
        .filter(|node| present.contains(node) || (stays(node) && live(*node) && ready(*node)))
        .collect();
    // Those that leave vote only until others can.
    if candidates.iter().any(stays) {
        candidates.retain(stays);
    }
    let count = match candidates.len().min(MAX_VOTERS) {
        0 => return present.clone(),
        count => count - (count + 1) % 2,
    };
    let mut voters = BTreeSet::new();
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    while voters.len() < count {
        let zone = |node: &NodeId| topology.members[node].zone.as_str();
        let used = |node: &NodeId| zones.get(zone(node)).copied().unwrap_or(0);
        let rank = |node: &NodeId| {
            let new = !present.contains(node);
            (!live(*node), used(node), *node != leader, new, *node)
        };
        let Some(best) = (0..candidates.len()).min_by_key(|&at| rank(&candidates[at])) else {
            break;
        };
        let node = candidates.swap_remove(best);
        *zones.entry(zone(&node)).or_default() += 1;
        voters.insert(node);
    }
    voters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topology::{Change, Description};

    fn node(number: u8) -> NodeId {
        let mut id = NodeId::default();
        id.0[0] = number;
        id
    }

    /// Members 1 to the number of zones, each in its zone.
    fn members(zones: &[u8]) -> Topology {
        let mut topology = Topology::empty();
        for (number, zone) in (1..).zip(zones) {
            let address = |port: u16| ([127, 0, 0, 1], port + u16::from(number)).into();
            let description = Description {
                address: address(1000),
                hostname: None,
                internal: address(2000),
                zone: zone.to_string(),
                weight: 1,
            };
            let node = node(number);
            let change = if number == 1 {
                Change::Found {
                    cluster: coterie_protocol::ClusterId(1),
                    partitions: 1,
                    node,
                    description,
                    policy: crate::topology::Policy::default(),
                }
            } else {
                Change::AddMember { node, description }
            };
            topology = topology.apply(&change).unwrap();
        }
        topology
    }

    proptest! {
        #[test]
        fn voters_are_odd_spread_alive_and_stay(
            zones in prop::collection::vec(0..4u8, 1..12),
            dead in prop::collection::btree_set(2..12u8, 0..4),
        ) {
            let topology = members(&zones);
            let leader = node(1);
            let all = |_| true;
            let first = choose_voters(&topology, &BTreeSet::from([leader]), leader, all, all);
            let expected = [1, 1, 3, 3, 5][zones.len().min(5) - 1];
            prop_assert_eq!(first.len(), expected);
            let zone = |node: &NodeId| topology.members[node].zone.clone();
            let used: BTreeSet<String> = first.iter().map(zone).collect();
            let there: BTreeSet<u8> = zones.iter().copied().collect();
            prop_assert_eq!(used.len(), there.len().min(expected));
            prop_assert_eq!(&choose_voters(&topology, &first, leader, all, all), &first);

            let live = |id: NodeId| !dead.contains(&id.0[0]);
            let second = choose_voters(&topology, &first, leader, live, all);
            prop_assert!(second.contains(&leader));
            prop_assert_eq!(second.len() % 2, 1);
            let alive = |voters: &BTreeSet<NodeId>| voters.iter().filter(|id| live(**id)).count();
            let living = topology.members.keys().filter(|id| live(**id)).count();
            // Nobody dead stays while someone who lives could vote instead.
            prop_assert!(alive(&second) == second.len() || alive(&second) >= living.min(expected) - 1);
            prop_assert!(alive(&second) >= alive(&first));
            prop_assert_eq!(&choose_voters(&topology, &second, leader, live, all), &second);
        }
    }

    #[test]
    fn who_is_drained_votes_no_longer_and_the_lagging_not_yet() {
        let topology = members(&[0, 0, 0, 0]);
        let present = BTreeSet::from([node(1), node(2), node(3)]);
        let drained = topology.apply(&Change::Drain { node: node(2) }).unwrap();
        let all = |_| true;
        let chosen = choose_voters(&drained, &present, node(1), all, all);
        assert_eq!(chosen, BTreeSet::from([node(1), node(3), node(4)]));
        let chosen = choose_voters(&topology, &present, node(1), |n| n != node(3), |_| false);
        assert_eq!(chosen, present);
    }
}
