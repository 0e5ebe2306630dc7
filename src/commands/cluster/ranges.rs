//! The slots range by range: `CLUSTER SLOTS` and `CLUSTER SHARDS`
//! (<https://redis.io/docs/latest/commands/cluster-slots/>, <https://redis.io/docs/latest/commands/cluster-shards/>).

use std::collections::{BTreeMap, BTreeSet};

use coterie_protocol::{NodeId, ReplyWriter};

use super::layout::{Endpoints, ranges, reachable};
use crate::cluster_view::{ClusterView, Liveness};
use crate::topology::Member;

/// `CLUSTER SLOTS`: each range with its nodes, the one to ask first in the master's place.
pub fn write_slots(view: &ClusterView, endpoints: Endpoints, reply: &mut ReplyWriter<'_>) {
    let ranges = ranges(view);
    reply.array(ranges.len());
    for range in ranges {
        let nodes = members(view, reachable(view, &range.replicas));
        reply.array(2 + nodes.len());
        reply.integer(range.first.into());
        reply.integer(range.last.into());
        for (id, member) in nodes {
            reply.array(4);
            reply.bulk_display(endpoints.ip(member));
            reply.integer(member.address.port().into());
            reply.bulk_display(id);
            let hostname = member.hostname.as_deref();
            reply.map(hostname.iter().len());
            write_hostname(hostname, reply);
        }
    }
}

/// `CLUSTER SHARDS`: a shard is all ranges with the same replicas; then come the members that hold nothing.
pub fn write_shards(view: &ClusterView, endpoints: Endpoints, reply: &mut ReplyWriter<'_>) {
    let mut shards: BTreeMap<Vec<NodeId>, Vec<(u16, u16)>> = BTreeMap::new();
    for range in ranges(view) {
        let slots = shards.entry(range.replicas).or_default();
        slots.push((range.first, range.last));
    }
    let used: BTreeSet<NodeId> = shards.keys().flatten().copied().collect();
    let all = view.topology.members.keys().copied();
    shards.extend(
        all.filter(|id| !used.contains(id))
            .map(|id| (vec![id], Vec::new())),
    );
    reply.array(shards.len());
    for (replicas, slots) in shards {
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2 * slots.len());
        for (first, last) in slots {
            reply.integer(first.into());
            reply.integer(last.into());
        }
        let nodes = members(view, &replicas);
        reply.bulk(b"nodes");
        reply.array(nodes.len());
        for (index, (id, member)) in nodes.into_iter().enumerate() {
            let is_first = index == 0;
            write_node(view, endpoints, reply, id, member, is_first);
        }
    }
}

fn write_node(
    view: &ClusterView,
    endpoints: Endpoints,
    reply: &mut ReplyWriter<'_>,
    id: NodeId,
    member: &Member,
    is_first: bool,
) {
    let hostname = member.hostname.as_deref();
    let ip = endpoints.ip(member);
    reply.map(7 + hostname.iter().len());
    reply.bulk(b"id");
    reply.bulk_display(id);
    reply.bulk(b"port");
    reply.integer(member.address.port().into());
    reply.bulk(b"ip");
    reply.bulk_display(ip);
    reply.bulk(b"endpoint");
    reply.bulk_display(ip);
    write_hostname(hostname, reply);
    reply.bulk(b"role");
    reply.bulk(if is_first { b"master" } else { b"replica" });
    // Nodes have logs of their own, which no number compares.
    reply.bulk(b"replication-offset");
    reply.integer(0);
    reply.bulk(b"health");
    reply.bulk(match view.peer(id).liveness {
        Liveness::Up | Liveness::Suspect => b"online",
        Liveness::Down => b"fail",
    });
}

fn write_hostname(hostname: Option<&str>, reply: &mut ReplyWriter<'_>) {
    if let Some(name) = hostname {
        reply.bulk(b"hostname");
        reply.bulk(name.as_bytes());
    }
}

fn members<'a>(view: &'a ClusterView, ids: &[NodeId]) -> Vec<(NodeId, &'a Member)> {
    let known = |id: &NodeId| Some((*id, view.topology.members.get(id)?));
    ids.iter().filter_map(known).collect()
}
