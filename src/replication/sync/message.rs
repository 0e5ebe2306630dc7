//! What replicas ask each other when they compare (bodies of `Service::Sync`, in postcard's encoding).

use coterie_protocol::{DatabaseId, Epoch, NodeId, PartitionId, Version};
use serde::{Deserialize, Serialize};

/// A key and the digest of its state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyDigest {
    /// Its database.
    pub database: DatabaseId,
    /// Its name.
    pub key: Vec<u8>,
    /// Of its state.
    pub digest: u64,
}

/// What a partition consists of, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leaves {
    /// Since when it is there, having begun with nothing.
    pub joined: Epoch,
    /// Up to which version every replica has everything.
    pub horizon: Version,
    /// A digest for each bucket.
    pub digests: Vec<u64>,
}

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Which of these partitions have another root with you?
    Roots {
        /// Partitions and their roots here.
        roots: Vec<(PartitionId, u64)>,
    },
    /// The digests of the buckets of a partition.
    Leaves {
        /// Which.
        partition: PartitionId,
    },
    /// The keys in some buckets.
    Keys {
        /// Of which partition.
        partition: PartitionId,
        /// Which.
        buckets: Vec<u16>,
    },
    /// Merge these states, and send the states of those keys.
    Exchange {
        /// Of which partition.
        partition: PartitionId,
        /// Stamped effects.
        states: &'a [u8],
        /// Which.
        wanted: Vec<(DatabaseId, Vec<u8>)>,
    },
    /// Be in this epoch, have no request of an earlier one under way, give out versions after this one only, and
    /// wait until the asker (or every replica) has all that you coordinated until then.
    Fence {
        /// For which partition.
        partition: PartitionId,
        /// The epoch.
        epoch: Epoch,
        /// The version.
        version: Version,
        /// Every replica, rather than the asker alone.
        everyone: bool,
    },
    /// Take in nothing more of what these nodes have sent, if they are gone for you too.
    Abandon {
        /// Which.
        nodes: Vec<NodeId>,
    },
    /// Every replica has everything up to this version: tombstones up to there can go.
    Horizon {
        /// Of which partition.
        partition: PartitionId,
        /// The version.
        version: Version,
        /// Who has joined later does not have everything.
        epoch: Epoch,
    },
    /// As what do you follow the asker's log on this connection?
    Following,
}

impl Request<'_> {
    /// The partition it is about.
    pub fn partition(&self) -> Option<PartitionId> {
        match *self {
            Request::Roots { .. } | Request::Abandon { .. } | Request::Following => None,
            Request::Leaves { partition }
            | Request::Keys { partition, .. }
            | Request::Exchange { partition, .. }
            | Request::Fence { partition, .. }
            | Request::Horizon { partition, .. } => Some(partition),
        }
    }
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Partitions that differ.
    Roots(Vec<PartitionId>),
    /// What a partition consists of.
    Leaves(Leaves),
    /// Keys, and since when the partition is there: see [`Leaves::joined`].
    Keys(Epoch, Vec<KeyDigest>),
    /// Stamped effects, and since when the partition is there.
    States(Epoch, Vec<u8>),
    /// Whether it is as asked.
    Fence(bool),
    /// Whether it is as asked.
    Abandoned(bool),
    /// The partition is not here.
    NotHere,
    /// It is done.
    Done,
    /// What was told with the position; `None` if that was not asked for since the asker was abandoned.
    Following(Option<u64>),
}
