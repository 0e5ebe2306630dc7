//! How a node asks to become a member.

use coterie_protocol::{Actor, NodeId};
use serde::{Deserialize, Serialize};

use super::change::Description;
use super::state::Topology;

/// The version of the messages here and of the topology's state.
pub const JOIN_VERSION: u16 = 2;

/// What a node says that wants to join.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// [`JOIN_VERSION`] of the node.
    pub version: u16,
    /// The node.
    pub node: NodeId,
    /// Where it is and what it can hold.
    pub description: Description,
    /// How many partitions its data is cut into.
    pub partitions: u16,
}

/// What the node needs to take part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The present topology, in which the node is a member.
    pub topology: Topology,
    /// The tie-break of the node's versions.
    pub actor: Actor,
}

/// Why a node may not join.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum JoinError {
    /// It speaks something else.
    #[error("the node speaks version {theirs} of the join protocol, this cluster version {ours}")]
    Version {
        /// The cluster's.
        ours: u16,
        /// The node's.
        theirs: u16,
    },
    /// Its data is cut otherwise.
    #[error("the node has {theirs} partitions, this cluster {ours}")]
    Partitions {
        /// The cluster's.
        ours: u16,
        /// The node's.
        theirs: u16,
    },
    /// A copied data directory, or a node that is asked to join twice.
    #[error(
        "node {node} is a member already and alive at {address}; was its data directory copied?"
    )]
    Duplicate {
        /// The id.
        node: NodeId,
        /// Where the member is.
        address: std::net::SocketAddr,
    },
    /// The topology does not allow it.
    #[error("{0}")]
    Refused(String),
    /// No agreement was reached.
    #[error("the cluster did not agree in time: {0}")]
    Unavailable(String),
    /// No request.
    #[error("the request can't be read")]
    Unreadable,
}

impl JoinRequest {
    /// For sending.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<JoinRequest, JoinError> {
        // The version is read alone first: what follows it may be different in others.
        let (version, _) = postcard::take_from_bytes(bytes).map_err(|_| JoinError::Unreadable)?;
        check_version(version)?;
        postcard::from_bytes(bytes).map_err(|_| JoinError::Unreadable)
    }
}

/// Reads the answer to a [`JoinRequest`].
pub fn decode_answer(bytes: &[u8]) -> Result<Joined, JoinError> {
    let answer: Result<Joined, JoinError> =
        postcard::from_bytes(bytes).map_err(|_| JoinError::Unreadable)?;
    answer
}

pub(super) fn encode_answer(answer: &Result<Joined, JoinError>) -> Vec<u8> {
    encode(answer)
}

fn check_version(theirs: u16) -> Result<(), JoinError> {
    if theirs == JOIN_VERSION {
        return Ok(());
    }
    Err(JoinError::Version {
        ours: JOIN_VERSION,
        theirs,
    })
}

/// Encodes what has no way to fail: plain values, no maps of unknown length.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_else(|error| {
        unreachable!("plain values are encoded into memory: {error}");
    })
}
