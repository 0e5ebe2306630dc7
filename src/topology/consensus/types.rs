//! The types that the consensus library is used with, and the messages between nodes.

use coterie_protocol::{Epoch, NodeId, PartitionId};
use serde::{Deserialize, Serialize};

use crate::topology::plane::BoxFuture;
use crate::topology::{Change, Refusal, Topology};

openraft::declare_raft_types!(
    /// One group, whose log is of changes of the topology.
    pub TypeConfig:
        D = Change,
        R = Response,
        NodeId = NodeId,
        Node = openraft::EmptyNode,
        SnapshotData = Topology,
);

/// What became of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Response(pub Result<Epoch, Refusal>);

pub type Raft = openraft::Raft<TypeConfig>;
pub type Entry = openraft::Entry<TypeConfig>;
pub type LogId = openraft::LogId<NodeId>;
pub type Vote = openraft::Vote<NodeId>;
pub type StorageError = openraft::StorageError<NodeId>;
pub type StoredMembership = openraft::StoredMembership<NodeId, openraft::EmptyNode>;
pub type SnapshotMeta = openraft::SnapshotMeta<NodeId, openraft::EmptyNode>;
pub type Snapshot = openraft::Snapshot<TypeConfig>;

/// Which of a node's two entrances a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// [`TopologyHandle::handle_raft`](super::TopologyHandle::handle_raft).
    Raft,
    /// [`TopologyHandle::handle_topology`](super::TopologyHandle::handle_topology).
    Topology,
}

/// Why a call had no answer. It may have had its effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {to} is not reached: {reason}")]
pub struct TransportError {
    /// The node.
    pub to: NodeId,
    /// What happened.
    pub reason: String,
}

/// Carries messages to other nodes.
pub trait RaftTransport: Send + Sync + 'static {
    /// Calls a member and returns its answer. A call that takes too long is dropped by the caller.
    fn call(
        &self,
        to: NodeId,
        channel: Channel,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, TransportError>>;
}

/// A call by the consensus library.
#[derive(Serialize, Deserialize)]
pub(super) enum RaftRequest {
    Append(openraft::raft::AppendEntriesRequest<TypeConfig>),
    Vote(openraft::raft::VoteRequest<NodeId>),
    Snapshot {
        vote: Vote,
        meta: SnapshotMeta,
        topology: Topology,
    },
}

/// Another call between nodes.
#[derive(Serialize, Deserialize)]
pub(super) enum TopologyRequest {
    /// To the leader.
    Propose(Change),
    /// To the leader: how far this node is.
    Report(Report),
    /// From the leader: what this node should fetch.
    Synchronize(Vec<Fetch>),
}

/// What a node tells the leader. Once true, it stays so.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::topology) struct Report {
    /// No request of an epoch before this one is in flight, or will be accepted.
    pub drained: Epoch,
    /// Partitions that this node has fetched, by the epoch their step began with.
    pub in_step: Vec<(PartitionId, Epoch)>,
}

/// A partition that a new replica should fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::topology) struct Fetch {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that the step began with.
    pub since: Epoch,
    /// Who has it, and takes no older requests.
    pub from: Vec<NodeId>,
}

/// The answer to a [`TopologyRequest`].
#[derive(Serialize, Deserialize)]
pub(super) enum TopologyAnswer {
    Proposed(Response),
    /// Only the leader can do that; perhaps this one.
    NotLeader(Option<NodeId>),
    /// The leader's epoch.
    Reported(Epoch),
    Accepted,
    /// It is not known what became of it.
    Unavailable(String),
}
