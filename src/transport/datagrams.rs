//! Sending and receiving signed datagrams.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use coterie_protocol::NodeId;
use coterie_protocol::internal::datagram::{self, HEADER, Header, ReplayWindow};
use parking_lot::Mutex;

use super::Shared;
use super::error::DatagramError;
use super::handshake::Peer;
use super::refusals::Refused;
use super::traffic::Counts;

/// What is known of the peers from their handshakes.
pub(super) struct Datagrams {
    /// Does not block. Given back when the transport stops.
    socket: ArcSwapOption<UdpSocket>,
    peers: Mutex<HashMap<NodeId, Introduced>>,
}

struct Introduced {
    life: u64,
    version: u16,
    address: SocketAddr,
    sent: u64,
    received: ReplayWindow,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket) -> Datagrams {
        Datagrams {
            socket: ArcSwapOption::from_pointee(socket),
            peers: Mutex::default(),
        }
    }

    /// A handshake succeeded: datagrams from and to an earlier life of that node are void.
    pub(super) fn introduced(&self, peer: &Peer) {
        let mut peers = self.peers.lock();
        let known = peers.get_mut(&peer.who.node);
        match known.filter(|known| known.life == peer.who.life) {
            Some(known) => known.version = peer.version,
            None => {
                let introduced = Introduced {
                    life: peer.who.life,
                    version: peer.version,
                    address: peer.who.address,
                    sent: 0,
                    received: ReplayWindow::default(),
                };
                peers.insert(peer.who.node, introduced);
            }
        }
    }

    /// Gives the port back.
    pub(super) fn close(&self) {
        self.socket.store(None);
    }

    /// A node that is no peer any more.
    pub(super) fn forget(&self, node: NodeId) {
        self.peers.lock().remove(&node);
    }

    pub(super) fn send(
        &self,
        shared: &Shared,
        to: NodeId,
        payload: &[u8],
    ) -> Result<(), DatagramError> {
        if payload.len() > shared.options.datagram_limit {
            return Err(DatagramError::TooLarge);
        }
        let (header, introduced_at) = {
            let mut peers = self.peers.lock();
            let peer = peers.get_mut(&to).ok_or(DatagramError::Unknown)?;
            peer.sent += 1;
            let header = Header {
                version: peer.version,
                cluster: shared.cluster(),
                sender: shared.options.node,
                receiver: to,
                sender_life: shared.life,
                receiver_life: peer.life,
                sequence: peer.sent,
            };
            (header, peer.address)
        };
        let address = shared.link(to).map_or(introduced_at, |link| link.address());
        if !shared.options.permits(address) {
            return Err(DatagramError::Unknown);
        }
        let bytes = datagram::seal(&header, payload, &shared.options.key());
        let socket = self.socket.load_full().ok_or(DatagramError::Stopped)?;
        socket.send_to(&bytes, address)?;
        Counts::one(&shared.counts.datagrams_sent);
        let counter = &shared.counts.datagram_bytes_sent;
        counter.fetch_add(bytes.len() as u64, Relaxed);
        Ok(())
    }

    /// Verifies a datagram; the sender, if it is to be handed on.
    fn accept(&self, shared: &Shared, bytes: &[u8], from: SocketAddr) -> Option<NodeId> {
        let counts = &shared.counts;
        let dropped = |counter, why| {
            Counts::one(counter);
            if shared.is_news(Refused::Datagram(why)) {
                tracing::warn!(address = %from, "refused a datagram: {why}");
            }
            None
        };
        if !shared.options.permits(from) {
            let why = "without a cluster secret a node listens to loopback only";
            return dropped(&counts.datagrams_forged, why);
        }
        let header = match datagram::open(bytes, &shared.options.key()) {
            Ok(header) => header,
            Err(datagram::DatagramError::Malformed) => {
                let why = "garbage: it is none of this protocol";
                return dropped(&counts.datagrams_malformed, why);
            }
            Err(datagram::DatagramError::Forged) => {
                let why = "forged: it is not signed with the cluster secret";
                return dropped(&counts.datagrams_forged, why);
            }
        };
        if !shared.options.versions.contains(&header.version) {
            let why = "it is of another version of the internal protocol";
            return dropped(&counts.datagrams_malformed, why);
        }
        let mut peers = self.peers.lock();
        let Some(peer) = peers.get_mut(&header.sender).filter(|peer| {
            header.cluster == shared.cluster()
                && header.receiver == shared.options.node
                && header.receiver_life == shared.life
                && header.sender_life == peer.life
        }) else {
            // Some are on their way whenever a node starts again.
            Counts::one(&counts.datagrams_foreign);
            tracing::debug!(address = %from, sender = %header.sender, "a datagram of a stranger or an earlier life");
            return None;
        };
        if !peer.received.accept(header.sequence) {
            let why = "replayed: it, or one sent long after it, was here already";
            return dropped(&counts.datagrams_replayed, why);
        }
        Some(header.sender)
    }
}

/// Receives until the runtime ends.
pub(super) async fn receive(shared: Arc<Shared>, socket: tokio::net::UdpSocket) {
    // One byte more than the limit, so that a longer one does not look right when it is cut.
    let mut buffer = vec![0; HEADER + shared.options.datagram_limit + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // Also told here: that an earlier datagram found nobody listening.
                tracing::debug!(%error, "can't receive a datagram");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let bytes = &buffer[..length];
        if let Some(sender) = shared.datagrams.accept(&shared, bytes, from) {
            Counts::one(&shared.counts.datagrams_received);
            let counter = &shared.counts.datagram_bytes_received;
            counter.fetch_add(length as u64, Relaxed);
            let payload = Bytes::copy_from_slice(&bytes[HEADER..]);
            shared.handler.datagram(sender, from, payload);
        }
    }
}
