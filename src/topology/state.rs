//! The state of the topology: a value that changes as a whole, one epoch at a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use coterie_protocol::{Actor, ClusterId, DatabaseId, Epoch, NodeId, PartitionId, Quorum};
use serde::{Deserialize, Serialize};

use crate::wal::Durability;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Topology {
    /// The cluster it is of.
    pub cluster: ClusterId,
    /// Its number.
    pub epoch: Epoch,
    /// The nodes.
    pub members: BTreeMap<NodeId, Member>,
    /// By partition number. Its length is the number of partitions, which never changes.
    pub placements: Vec<Placement>,
    /// By database; those that are missing have the default policy.
    pub policies: BTreeMap<DatabaseId, Policy>,
    /// The policy of all other databases: at first that of the settings of the node that founded the cluster.
    pub default_policy: Policy,
    /// The last actor that was given out.
    pub last_actor: Actor,
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The name clients are told instead of the address, if there is one.
    pub hostname: Option<String>,
    /// Where nodes connect: TCP and UDP.
    pub internal: SocketAddr,
    /// Replicas of a partition are spread over zones.
    pub zone: String,
    /// Its share of the partitions, relative to others. 0 for none.
    pub weight: u32,
    /// The tie-break of the versions it gives out.
    pub actor: Actor,
    /// See [`MemberState`].
    pub state: MemberState,
}

/// What a node's part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MemberState {
    /// It may own partitions.
    Normal,
    /// Its partitions move elsewhere; then it can be removed.
    Draining,
    /// Likewise, and this node takes its places.
    Replaced(NodeId),
}

/// Who holds a partition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Placement {
    /// Its replicas, the preferred coordinator first. A database with fewer replicas uses the first of them.
    pub replicas: Vec<NodeId>,
    /// The change under way.
    pub change: Option<Move>,
}

/// A partition on its way to other replicas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Move {
    /// Who will hold it, the preferred coordinator first.
    pub to: Vec<NodeId>,
    /// How far it is.
    pub step: Step,
    /// The epoch that the step began with.
    pub since: Epoch,
}

/// The steps of a move; each is an epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Agreed; nothing is done yet.
    Planned,
    /// Writes go to the old and the new replicas, reads to the old ones. The new ones fetch what there is.
    WriteBothReadOld,
    /// The new ones have everything: reads go to them. No way back from here.
    WriteBothReadNew,
}

/// How a database is replicated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// N: replicas of each key; fewer while the cluster is smaller.
    pub replicas: u8,
    /// W: replicas that hold a write before it is acknowledged.
    pub write_quorum: Quorum,
    /// R: replicas that agree before a read is answered.
    pub read_quorum: Quorum,
    /// Whether a replica that was away is sent what it missed from the log.
    pub hinted_handoff: bool,
    /// Whether a write that is kept for an absent replica counts as acknowledged.
    pub sloppy_quorum: bool,
    /// How safe a write is when it is acknowledged, here and by replicas; `None` for what each server is set to.
    pub durability: Option<Durability>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            replicas: 3,
            write_quorum: Quorum::Majority,
            read_quorum: Quorum::Majority,
            hinted_handoff: true,
            sloppy_quorum: false,
            durability: None,
        }
    }
}

impl Topology {
    /// Before there is a cluster.
    pub fn empty() -> Topology {
        Topology {
            cluster: ClusterId::default(),
            epoch: Epoch::default(),
            members: BTreeMap::new(),
            placements: Vec::new(),
            policies: BTreeMap::new(),
            default_policy: Policy::default(),
            last_actor: Actor::default(),
        }
    }

    /// Whether it is of a cluster.
    pub fn is_founded(&self) -> bool {
        self.epoch > Epoch::default()
    }

    /// The policy of a database.
    pub fn policy(&self, database: DatabaseId) -> Policy {
        let own = self.policies.get(&database);
        own.copied().unwrap_or(self.default_policy)
    }

    /// Who holds a partition.
    pub fn placement(&self, partition: PartitionId) -> &Placement {
        &self.placements[partition.index()]
    }
}
