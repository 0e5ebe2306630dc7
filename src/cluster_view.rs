//! What commands know of the cluster, and what they ask of it.

#[cfg(test)]
pub mod made_up;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use coterie_protocol::{Actor, ClusterId, DatabaseId, Epoch, NodeId, PartitionId, Partitions};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::config::Config;
use crate::node::Node;
use crate::topology::{Member, MemberState, Move, Placement, Policy, Step, Topology};
use crate::wal::LogOffset;

/// What the port for nodes is above the one for clients, unless `cluster-port` is set.
pub const INTERNAL_PORT_DISTANCE: u16 = 10_000;

/// An answer that comes later.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The cluster as a node's commands see it.
pub trait Cluster: Send + Sync {
    /// The topology in force. Cheap: asked for by every connection.
    fn topology(&self) -> Arc<Topology>;

    /// All that there is to tell.
    fn view(&self) -> ClusterView;

    /// Proposes a change of the topology. The answer comes when it is agreed on.
    fn propose(&self, change: Proposal) -> Answer<Result<Epoch, ProposalError>>;

    /// Waits until this many other replicas of everything up to an offset of the own log have it, or until the
    /// deadline, if there is one. Answers how many have it then.
    fn wait(
        &self,
        offset: LogOffset,
        replicas: usize,
        safety: Safety,
        deadline: Option<Instant>,
    ) -> Answer<usize>;
}

/// When a replica counts as having a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Safety {
    /// It survives the end of the replica's process.
    Stored,
    /// It survives a power loss.
    Durable,
}

/// A change of the topology that an operator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proposal {
    /// Another policy for a database.
    SetPolicy(DatabaseId, Policy),
    /// Another policy for all databases that have none of their own.
    SetDefaultPolicy(Policy),
    /// Moves the partitions of a node elsewhere.
    Drain(NodeId),
    /// Removes a node: one that is drained, or is gone for good.
    Remove(NodeId),
    /// Gives the partitions of a node to another, which takes its place.
    Replace {
        /// The node that goes.
        old: NodeId,
        /// The member that takes over.
        new: NodeId,
    },
}

/// Why a change was not agreed on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposalError {
    /// It makes no sense now.
    #[error("ERR {0}")]
    Refused(String),
    /// There is nobody to agree with. Nothing changed.
    #[error("CLUSTERDOWN {0}")]
    Unavailable(String),
    /// It took too long: it may have been agreed on.
    #[error("NOQUORUM {0}")]
    Unknown(String),
}

/// What a node tells about its cluster.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The node that tells.
    pub own: NodeId,
    /// The topology in force.
    pub topology: Arc<Topology>,
    /// What it knows of the other members.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Who leads the consensus on the topology, if that is known.
    pub leader: Option<NodeId>,
    /// Whether the topology can be changed.
    pub has_quorum: bool,
    /// Messages sent to other nodes since the start.
    pub messages_sent: u64,
    /// Messages received from other nodes since the start.
    pub messages_received: u64,
}

/// What a node knows of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    /// See [`Liveness`].
    pub liveness: Liveness,
    /// Whether the connection to it stands.
    pub connected: bool,
    /// When that connection was made, Unix milliseconds.
    pub connected_ms: u64,
    /// When the ping was sent that it has not answered yet, Unix milliseconds; 0 if it owes no answer.
    pub ping_sent_ms: u64,
    /// When it last answered, Unix milliseconds; 0 if it never did.
    pub pong_received_ms: u64,
    /// Bytes on their way to it.
    pub unsent_bytes: usize,
    /// Most bytes that may be on their way to it.
    pub buffer_bytes: usize,
    /// How many members told that they suspect it.
    pub suspicions: usize,
}

/// Whether a member lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Liveness {
    /// It answers.
    #[default]
    Up,
    /// It does not answer, but may refute that.
    Suspect,
    /// It is taken for dead.
    Down,
}

impl ClusterView {
    /// What a node has to tell. One that is in no cluster is a cluster of one.
    pub fn of(node: &Node) -> ClusterView {
        if let Some(cluster) = node.cluster.get() {
            return cluster.view();
        }
        let config = node.config.load();
        let own = own_id(node.engine.log().id());
        let member = own_member(&config, node.port.load(Relaxed) as u16);
        let alone = Placement {
            replicas: vec![own],
            change: None,
        };
        let partitions = usize::from(node.engine.store().layout().count());
        let topology = Topology {
            cluster: ClusterId::default(),
            epoch: Epoch::default(),
            members: BTreeMap::from([(own, member)]),
            placements: vec![alone; partitions],
            policies: BTreeMap::new(),
            default_policy: configured_policy(&config),
            last_actor: Actor::default(),
        };
        ClusterView {
            own,
            topology: Arc::new(topology),
            peers: BTreeMap::new(),
            leader: Some(own),
            has_quorum: true,
            messages_sent: 0,
            messages_received: 0,
        }
    }

    /// What is known of a member: nothing unusual, of the node itself.
    pub fn peer(&self, id: NodeId) -> Peer {
        let unknown = Peer {
            liveness: Liveness::Suspect,
            ..Peer::default()
        };
        let own = Peer {
            connected: true,
            ..Peer::default()
        };
        match self.peers.get(&id) {
            _ if id == self.own => own,
            Some(peer) => *peer,
            None => unknown,
        }
    }

    /// The policy of a database.
    pub fn policy(&self, database: DatabaseId) -> Policy {
        self.topology.policy(database)
    }

    /// The members that hold a partition, in the order to ask them: the topology's, but those that live first. While a
    /// partition moves, those that reads go to.
    pub fn replicas(&self, partition: PartitionId) -> Vec<NodeId> {
        let Some(placement) = self.topology.placements.get(partition.index()) else {
            return Vec::new();
        };
        let mut replicas = match &placement.change {
            Some(Move { to, step, .. }) if *step == Step::WriteBothReadNew => to.clone(),
            _ => placement.replicas.clone(),
        };
        replicas.sort_by_key(|id| self.peer(*id).liveness);
        replicas
    }

    /// How the slots are cut into partitions.
    pub fn partitions(&self) -> Partitions {
        let count = u16::try_from(self.topology.placements.len()).ok();
        count.and_then(Partitions::new).unwrap_or_default()
    }

    /// Partitions on their way to other replicas.
    pub fn moving(&self) -> usize {
        let placements = self.topology.placements.iter();
        placements
            .filter(|placement| placement.change.is_some())
            .count()
    }
}

/// Whether clients are told that this is a cluster: it has several members, or was started as one.
pub fn is_cluster(node: &Node) -> bool {
    let config = node.config.load();
    let has_others = |cluster: &Arc<dyn Cluster>| cluster.topology().members.len() > 1;
    config.cluster_enabled || !config.join.is_empty() || node.cluster.get().is_some_and(has_others)
}

/// The name of a node that was never part of a cluster, from the identity of its log.
pub fn own_id(log: u128) -> NodeId {
    let mut id = NodeId([0; 20]);
    let digest = Sha256::digest(log.to_be_bytes());
    id.0.copy_from_slice(&digest[..20]);
    id
}

/// The policy that the settings describe: that of the databases of a cluster which this node founds.
pub fn configured_policy(config: &Config) -> Policy {
    Policy {
        replicas: config.replicas,
        write_quorum: config.write_quorum,
        read_quorum: config.read_quorum,
        hinted_handoff: config.hinted_handoff,
        sloppy_quorum: config.sloppy_quorum,
        durability: None,
    }
}

/// What a node with these settings, serving clients on this port, tells of itself. Its addresses are unspecified ones
/// if it listens on all and announces none.
pub fn own_member(config: &Config, port: u16) -> Member {
    let ip = config
        .cluster_announce_ip
        .unwrap_or_else(|| bound_ip(&config.bind));
    let internal_ip = match config.cluster_announce_ip {
        None if !config.cluster_bind.is_empty() => bound_ip(&config.cluster_bind),
        _ => ip,
    };
    let first_set = |ports: [u16; 2]| ports.into_iter().find(|port| *port != 0);
    let announced = first_set([config.cluster_announce_port, port]);
    let internal = first_set([config.cluster_announce_bus_port, config.cluster_port]);
    let hostname = &config.cluster_announce_hostname;
    Member {
        address: SocketAddr::new(ip, announced.unwrap_or(0)),
        hostname: (!hostname.is_empty()).then(|| hostname.clone()),
        internal: SocketAddr::new(
            internal_ip,
            internal
                .or_else(|| internal_port(config, port))
                .unwrap_or(0),
        ),
        zone: config.zone.clone(),
        weight: config.weight,
        actor: Actor::default(),
        state: MemberState::Normal,
    }
}

/// The port to listen on for other nodes, if there is one: that of clients may be too high.
pub fn internal_port(config: &Config, port: u16) -> Option<u16> {
    match config.cluster_port {
        0 => port.checked_add(INTERNAL_PORT_DISTANCE),
        port => Some(port),
    }
}

/// The address of those a node is bound to that others can use best: the first that is not of this machine only.
fn bound_ip(bind: &[String]) -> IpAddr {
    let address = |name: &String| match name.trim_start_matches('-') {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        "::*" => Ipv6Addr::UNSPECIFIED.into(),
        name => name.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
    };
    let mut addresses = bind.iter().map(address);
    let Some(first) = addresses.next() else {
        return Ipv4Addr::UNSPECIFIED.into();
    };
    let mut all = std::iter::once(first).chain(addresses);
    all.find(|ip: &IpAddr| !ip.is_loopback()).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_announces_what_it_is_told_to() {
        let mut config = Config::default();
        let member = own_member(&config, 7001);
        assert_eq!(member.address, "127.0.0.1:7001".parse().unwrap());
        assert_eq!(member.internal, "127.0.0.1:17001".parse().unwrap());
        config.bind = vec!["127.0.0.1".into(), "-192.0.2.7".into()];
        let member = own_member(&config, 7001);
        assert_eq!(member.address, "192.0.2.7:7001".parse().unwrap());
        config.bind = vec!["*".into()];
        config.cluster_port = 5;
        let member = own_member(&config, 7001);
        assert_eq!(member.address, "0.0.0.0:7001".parse().unwrap());
        assert_eq!(member.internal, "0.0.0.0:5".parse().unwrap());
        config.cluster_announce_ip = Some([192, 0, 2, 1].into());
        config.cluster_announce_port = 1;
        config.cluster_announce_bus_port = 2;
        config.cluster_announce_hostname = "a.example".into();
        let member = own_member(&config, 7001);
        assert_eq!(member.address, "192.0.2.1:1".parse().unwrap());
        assert_eq!(member.internal, "192.0.2.1:2".parse().unwrap());
        assert_eq!(member.hostname.as_deref(), Some("a.example"));
    }

    #[test]
    fn a_high_port_leaves_no_room_for_the_one_of_nodes() {
        let mut config = Config::default();
        assert_eq!(internal_port(&config, 55_535), Some(65_535));
        assert_eq!(internal_port(&config, 55_536), None);
        config.cluster_port = 7;
        assert_eq!(internal_port(&config, 55_536), Some(7));
    }

    #[test]
    fn the_id_of_a_node_alone_is_that_of_its_log() {
        assert_eq!(own_id(1), own_id(1));
        assert_ne!(own_id(1), own_id(2));
    }
}
