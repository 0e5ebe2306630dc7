//! The cluster as a whole: `CLUSTER INFO` (<https://redis.io/docs/latest/commands/cluster-info/>).

use std::collections::BTreeSet;

use coterie_protocol::{DatabaseId, NodeId, PartitionId};

use crate::cluster_view::{ClusterView, Liveness};

/// How many slots can be written, by the policy of the first database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Slots {
    /// Enough of their replicas answer.
    ok: usize,
    /// Enough do if those that are suspected live.
    suspect: usize,
    /// Too few do.
    failed: usize,
}

impl Slots {
    fn count(view: &ClusterView) -> Slots {
        let partitions = view.partitions();
        let mut slots = Slots::default();
        for partition in partitions.iter() {
            let state = match worst(view, partition) {
                Liveness::Up => &mut slots.ok,
                Liveness::Suspect => &mut slots.suspect,
                Liveness::Down => &mut slots.failed,
            };
            *state += partitions.slots(partition).len();
        }
        slots
    }
}

/// The worst of the replicas that a write of a partition needs, when the best are taken.
fn worst(view: &ClusterView, partition: PartitionId) -> Liveness {
    let policy = view.policy(DatabaseId::DEFAULT);
    let Some(placement) = view.topology.placements.get(partition.index()) else {
        return Liveness::Down;
    };
    let replicas = &placement.replicas;
    let used = replicas.len().min(policy.replicas.into());
    let mut live: Vec<Liveness> = replicas[..used]
        .iter()
        .map(|id| view.peer(*id).liveness)
        .collect();
    live.sort_unstable();
    let needed = policy.write_quorum.of(used);
    live.get(needed - 1).copied().unwrap_or(Liveness::Down)
}

/// The text of `CLUSTER INFO`.
pub fn text(view: &ClusterView) -> String {
    let slots = Slots::count(view);
    let topology = &view.topology;
    let placements = topology.placements.iter();
    let holders: BTreeSet<&NodeId> = placements.flat_map(|it| &it.replicas).collect();
    let down = |id: &&NodeId| view.peer(**id).liveness == Liveness::Down;
    let fields: [(&str, String); 18] = [
        (
            "cluster_state",
            if slots.failed == 0 { "ok" } else { "fail" }.to_owned(),
        ),
        (
            "cluster_slots_assigned",
            (slots.ok + slots.suspect + slots.failed).to_string(),
        ),
        ("cluster_slots_ok", slots.ok.to_string()),
        ("cluster_slots_pfail", slots.suspect.to_string()),
        ("cluster_slots_fail", slots.failed.to_string()),
        ("cluster_known_nodes", topology.members.len().to_string()),
        ("cluster_size", holders.len().to_string()),
        ("cluster_current_epoch", topology.epoch.to_string()),
        ("cluster_my_epoch", topology.epoch.to_string()),
        (
            "cluster_stats_messages_sent",
            view.messages_sent.to_string(),
        ),
        (
            "cluster_stats_messages_received",
            view.messages_received.to_string(),
        ),
        ("total_cluster_links_buffer_limit_exceeded", "0".to_owned()),
        ("cluster_topology_epoch", topology.epoch.to_string()),
        ("cluster_partitions", topology.placements.len().to_string()),
        ("cluster_moving_partitions", view.moving().to_string()),
        (
            "cluster_nodes_down",
            topology.members.keys().filter(down).count().to_string(),
        ),
        (
            "cluster_topology_leader",
            view.leader.map(|id| id.to_string()).unwrap_or_default(),
        ),
        (
            "cluster_topology_quorum",
            u8::from(view.has_quorum).to_string(),
        ),
    ];
    fields
        .iter()
        .map(|(name, value)| format!("{name}:{value}\r\n"))
        .collect()
}
