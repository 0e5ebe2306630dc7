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
