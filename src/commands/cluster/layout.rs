//! The slots of a cluster as clients are told: ranges, and where their nodes are reached.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use coterie_protocol::NodeId;

use crate::cluster_view::{ClusterView, Liveness};
use crate::session::Session;
use crate::topology::Member;

/// A run of slots with the same replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first slot.
    pub first: u16,
    /// The last slot.
    pub last: u16,
    /// Who holds them, those to ask first first; never empty.
    pub replicas: Vec<NodeId>,
}

/// All slots in order, adjacent ones with the same replicas together.
pub fn ranges(view: &ClusterView) -> Vec<Range> {
    let partitions = view.partitions();
    let mut ranges: Vec<Range> = Vec::new();
    for partition in partitions.iter() {
        let slots = partitions.slots(partition);
        let mut replicas = view.replicas(partition);
        if replicas.is_empty() {
            // Any node answers for any slot.
            replicas.push(view.own);
        }
        match ranges.last_mut() {
            Some(range) if range.replicas == replicas => range.last = slots.end - 1,
            _ => ranges.push(Range {
                first: slots.start,
                last: slots.end - 1,
                replicas,
            }),
        }
    }
    ranges
}

/// The replicas to tell clients that connect to what they are told: without dead ones, if there are others.
pub fn reachable<'a>(view: &ClusterView, replicas: &'a [NodeId]) -> &'a [NodeId] {
    let is_live = |id: &NodeId| view.peer(*id).liveness != Liveness::Down;
    // Those that live come first.
    match replicas.iter().take_while(|id| is_live(id)).count() {
        0 => replicas,
        live => &replicas[..live],
    }
}

/// How the client that asks reaches the members.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// The address of this node that it is connected to.
    pub local: IpAddr,
}

impl Endpoints {
    /// Those of this connection's client.
    pub fn of(session: &Session) -> Endpoints {
        let local = session.client.local_address.parse::<SocketAddr>();
        Endpoints {
            // A client at a Unix socket is on this machine.
            local: local.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip()),
        }
    }

    /// The address to reach a member at. One that listens everywhere is where other nodes reach it, or else where the client
    /// found this node.
    pub fn ip(self, member: &Member) -> IpAddr {
        let known = [member.address.ip(), member.internal.ip()];
        let known = known.into_iter().find(|ip| !ip.is_unspecified());
        known.unwrap_or(self.local).to_canonical()
    }
}
