//! The members one by one: `CLUSTER NODES` and `CLUSTER REPLICAS`
//! (<https://redis.io/docs/latest/commands/cluster-nodes/>).

use std::collections::BTreeSet;
use std::fmt::Write;

use coterie_protocol::NodeId;

use super::layout::{Endpoints, Range, ranges};
use crate::cluster_view::{ClusterView, Liveness};

/// A line for each member, a line end after each. Every one is a master, of the slots that it is asked for first.
pub fn lines(view: &ClusterView, endpoints: Endpoints) -> String {
    let ranges = ranges(view);
    let mut text = String::new();
    for &id in view.topology.members.keys() {
        text += &line(view, endpoints, id, None);
        for range in ranges.iter().filter(|range| range.replicas[0] == id) {
            // Writing to a String does not fail.
            let _ = match range {
                Range { first, last, .. } if first == last => write!(text, " {first}"),
                Range { first, last, .. } => write!(text, " {first}-{last}"),
            };
        }
        text.push('\n');
    }
    text
}

/// The members that hold slots which this one is asked for first: a line for each.
pub fn replicas(view: &ClusterView, endpoints: Endpoints, master: NodeId) -> Vec<String> {
    let ranges = ranges(view).into_iter();
    let of_master = ranges.filter(|range| range.replicas[0] == master);
    let replicas: BTreeSet<NodeId> = of_master.flat_map(|range| range.replicas).collect();
    let others = replicas.into_iter().filter(|id| *id != master);
    others
        .map(|id| line(view, endpoints, id, Some(master)))
        .collect()
}

/// What is known of a member, up to its slots.
fn line(view: &ClusterView, endpoints: Endpoints, id: NodeId, master: Option<NodeId>) -> String {
    let peer = view.peer(id);
    let mut flags = Vec::new();
    if id == view.own {
        flags.push("myself");
    }
    flags.push(if master.is_some() { "slave" } else { "master" });
    match peer.liveness {
        Liveness::Up => {}
        Liveness::Suspect => flags.push("fail?"),
        Liveness::Down => flags.push("fail"),
    }
    format!(
        "{id} {address} {flags} {master} {ping} {pong} {epoch} {link}",
        address = address(view, endpoints, id),
        flags = flags.join(","),
        master = master.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        ping = peer.ping_sent_ms,
        pong = peer.pong_received_ms,
        epoch = view.topology.epoch,
        link = if peer.connected {
            "connected"
        } else {
            "disconnected"
        },
    )
}

/// `ip:port@bus-port[,hostname]`.
fn address(view: &ClusterView, endpoints: Endpoints, id: NodeId) -> String {
    let Some(member) = view.topology.members.get(&id) else {
        // It left while a partition was still written as its own.
        return format!("{}:0@0", endpoints.local);
    };
    let ip = endpoints.ip(member);
    let (port, bus_port) = (member.address.port(), member.internal.port());
    let hostname = member.hostname.iter().map(|name| format!(",{name}"));
    format!("{ip}:{port}@{bus_port}{}", hostname.collect::<String>())
}
