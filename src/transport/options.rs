//! What a transport is started with.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use coterie_protocol::internal::{NEWEST_VERSION, OLDEST_VERSION, Secret, frame};
use coterie_protocol::{ClusterId, NodeId, Partitions};

use crate::clock::Clock;

/// Settings of a [`Transport`](super::Transport).
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, with TCP and UDP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where other nodes shall dial; by default where it listens, and loopback if that is every address.
    pub advertise: Option<SocketAddr>,
    /// The cluster secret. Without one only loopback addresses are spoken to.
    pub secret: Option<Secret>,
    /// The cluster; 0 as long as the node is in none, then it can only ask to join.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// How it cuts the key space; refused where this differs.
    pub partitions: Partitions,
    /// The wall clock that is compared with the peers'.
    pub clock: Clock,
    /// How far clocks may be apart. 500 ms.
    pub max_drift: Duration,
    /// The versions to speak.
    pub versions: RangeInclusive<u16>,
    /// The largest body of a frame, in bytes. 64 MiB.
    pub body_limit: usize,
    /// The same between nodes, where it is larger: whatever is in one node's log must reach the others.
    pub node_body_limit: usize,
    /// A link says Busy while so many bytes wait to be sent. 16 MiB.
    pub output_limit: usize,
    /// A dialler is disconnected when so many bytes wait for it to read them, and not read from while it
    /// is half of them. 64 MiB.
    pub reply_limit: usize,
    /// The most calls that wait for a reply on a link; more are Busy. 65536.
    pub call_limit: usize,
    /// The largest payload of a datagram, in bytes. 1400.
    pub datagram_limit: usize,
    /// The most connections that other nodes may have open to this one. 1024.
    pub inbound_limit: usize,
    /// The most connections that native clients may have open to this node. 4096.
    pub client_limit: usize,
    /// How often a link pings while it is used; a fifth as often while it is not. 20 ms.
    pub ping_interval: Duration,
    /// A link counts as responsive if the peer was heard within this time. 60 ms.
    pub silence: Duration,
    /// A connection on which nothing is heard, or nothing can be sent, for so long is closed. 5 s.
    pub broken_after: Duration,
    /// How long dialling may take, and the handshake again. 1 s.
    pub handshake_timeout: Duration,
    /// The first pause before dialling again; it doubles. 10 ms.
    pub backoff: Duration,
    /// The longest pause. 1 s.
    pub backoff_limit: Duration,
}

impl Options {
    /// The largest body of a frame from or to a peer, in bytes.
    pub(super) fn body_limit_of(&self, is_client: bool) -> usize {
        if is_client {
            self.body_limit
        } else {
            self.body_limit.max(self.node_body_limit)
        }
    }

    /// The defaults for a node.
    pub fn new(
        listen: SocketAddr,
        cluster: ClusterId,
        node: NodeId,
        partitions: Partitions,
    ) -> Self {
        Options {
            listen,
            advertise: None,
            secret: None,
            cluster,
            node,
            partitions,
            clock: Clock::System,
            max_drift: Duration::from_millis(500),
            versions: OLDEST_VERSION..=NEWEST_VERSION,
            body_limit: frame::DEFAULT_BODY_LIMIT,
            node_body_limit: 0,
            output_limit: 16 << 20,
            reply_limit: 64 << 20,
            call_limit: 65_536,
            datagram_limit: 1400,
            inbound_limit: 1024,
            client_limit: 4096,
            ping_interval: Duration::from_millis(20),
            silence: Duration::from_millis(60),
            broken_after: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(1),
            backoff: Duration::from_millis(10),
            backoff_limit: Duration::from_secs(1),
        }
    }

    /// The secret, or the empty one.
    pub(super) fn key(&self) -> Secret {
        self.secret.clone().unwrap_or_default()
    }

    /// Whether this address may be spoken to.
    pub(super) fn permits(&self, address: SocketAddr) -> bool {
        self.secret.is_some() || address.ip().to_canonical().is_loopback()
    }
}
