//! What nodes of a cluster say to each other: frames over TCP, datagrams over UDP.
//!
//! All integers are little-endian. A cluster's TCP and UDP ports have the same number.
//!
//! # TCP
//!
//! Both sides first send the eight bytes of [`PREAMBLE`], then only frames ([`frame`] has their
//! layout). The dialler sends calls and one-way frames, the acceptor replies and pushes; so two nodes
//! that both have something to ask hold two connections. Every connection starts with the handshake
//! ([`handshake`] has the layouts):
//!
//! | step | who | frame | says |
//! | --- | --- | --- | --- |
//! | 1 | dialler | `Hello` | the versions it speaks, a nonce |
//! | 2 | acceptor | `Challenge` | the version to speak, a nonce |
//! | 3 | dialler | `Proof` | proof of the secret over all of the above, who it is |
//! | 4 | acceptor | `Welcome` | proof of the secret over all of the above, who it is |
//!
//! The version is the highest that both speak, that is: the older node's highest. Layouts of the
//! preamble, the frame header and these four never change; a newer version may only append to them.
//! Either side may answer anything with `Refuse` ([`refusal`]), and then closes.
//!
//! The proof is HMAC-SHA256 (RFC 2104) of the nonces and of everything said under the cluster secret;
//! it is made for its direction, so that it can't be reflected. Frames after the handshake carry a
//! checksum against accidents, no signature: whoever can change traffic between nodes needs to be kept
//! off that network. A node without a secret speaks to loopback addresses only (with an empty key).
//!
//! A native client ([`client`]) opens connections like a node, with the same proof of the secret (and over loopback only
//! where there is none). It says in its `Proof` that it is a client, and leaves out who it is: cluster, node id,
//! partitions, clock and address are 0. It may use the service `Client` only, and is refused for its secret, its
//! version, garbage, and where too many are connected.
//!
//! # UDP
//!
//! Datagrams are signed one by one and protected against replay: see [`datagram`].

pub mod client;
pub mod datagram;
pub mod execute;
pub mod frame;
pub mod handshake;
pub mod pubsub;
pub mod refusal;
mod secret;
pub mod unit;

pub use frame::{Frame, FrameError, Kind, Scan};
pub use refusal::{Reason, Refusal};
pub use secret::Secret;

/// The first bytes that either side sends on a TCP connection.
pub const PREAMBLE: [u8; 8] = *b"COTERIE\0";

/// The oldest version of the internal protocol that this build speaks.
pub const OLDEST_VERSION: u16 = 1;
/// The newest version of the internal protocol that this build speaks.
pub const NEWEST_VERSION: u16 = 1;

/// Which part of the other node a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Service {
    /// Consensus on the topology.
    Raft = 1,
    /// Proposals and questions about the topology.
    Topology = 2,
    /// Membership messages that are too large for a datagram.
    Membership = 3,
    /// A node that wants to become a member; the only service for one that is in no cluster yet.
    Join = 4,
    /// Records of the coordinator's log.
    Records = 5,
    /// How far the records have been taken over.
    Acknowledge = 6,
    /// Commands executed for a node that is no replica.
    Execute = 7,
    /// Digests of keys, for quorum reads.
    Digests = 8,
    /// States of keys, for read repair.
    State = 9,
    /// Anti-entropy.
    Sync = 10,
    /// The native client.
    Client = 11,
    /// As `Records`, with the same body; acknowledged only when everything in it is on the disk.
    DurableRecords = 12,
    /// Messages for clients that listen.
    PubSub = 13,
    /// Changes of libraries of functions.
    Functions = 14,
}

impl Service {
    /// Every service.
    pub const ALL: [Service; 14] = [
        Service::Raft,
        Service::Topology,
        Service::Membership,
        Service::Join,
        Service::Records,
        Service::Acknowledge,
        Service::Execute,
        Service::Digests,
        Service::State,
        Service::Sync,
        Service::Client,
        Service::DurableRecords,
        Service::PubSub,
        Service::Functions,
    ];

    /// The service with this number.
    pub fn new(number: u8) -> Option<Service> {
        Service::ALL
            .into_iter()
            .find(|service| *service as u8 == number)
    }
}

/// Takes fields off the front of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}
