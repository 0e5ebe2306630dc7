//! Counts of what crossed the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes over TCP, of one peer and added to a total.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    total: Option<Arc<Traffic>>,
}

impl Traffic {
    /// Counts on its own and into `total`.
    pub(super) fn within(total: &Arc<Traffic>) -> Traffic {
        Traffic {
            total: Some(total.clone()),
            ..Traffic::default()
        }
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        if let Some(total) = &self.total {
            total.add_received(bytes);
        }
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        if let Some(total) = &self.total {
            total.add_sent(bytes);
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

/// The other counts of a transport, as they grow.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) datagrams_received: AtomicU64,
    pub(super) datagram_bytes_received: AtomicU64,
    pub(super) datagrams_sent: AtomicU64,
    pub(super) datagram_bytes_sent: AtomicU64,
    pub(super) datagrams_malformed: AtomicU64,
    pub(super) datagrams_forged: AtomicU64,
    pub(super) datagrams_foreign: AtomicU64,
    pub(super) datagrams_replayed: AtomicU64,
}

impl Counts {
    pub(super) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}

/// A reading of all counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received over TCP.
    pub bytes_received: u64,
    /// Bytes sent over TCP.
    pub bytes_sent: u64,
    /// Connections accepted whose handshake succeeded.
    pub connections_accepted: u64,
    /// Connections that this node refused, opened by either side.
    pub connections_refused: u64,
    /// Datagrams handed to the handler.
    pub datagrams_received: u64,
    /// Their bytes, headers included.
    pub datagram_bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Their bytes, headers included.
    pub datagram_bytes_sent: u64,
    /// Dropped: not of this protocol, or another version.
    pub datagrams_malformed: u64,
    /// Dropped: the signature was wrong, or they came from outside without a secret.
    pub datagrams_forged: u64,
    /// Dropped: of another cluster, to another node, or from or to another life of one.
    pub datagrams_foreign: u64,
    /// Dropped: seen before, or too old to tell.
    pub datagrams_replayed: u64,
}

impl Counters {
    pub(super) fn read(traffic: &Traffic, counts: &Counts) -> Counters {
        Counters {
            bytes_received: traffic.received(),
            bytes_sent: traffic.sent(),
            connections_accepted: counts.accepted.load(Relaxed),
            connections_refused: counts.refused.load(Relaxed),
            datagrams_received: counts.datagrams_received.load(Relaxed),
            datagram_bytes_received: counts.datagram_bytes_received.load(Relaxed),
            datagrams_sent: counts.datagrams_sent.load(Relaxed),
            datagram_bytes_sent: counts.datagram_bytes_sent.load(Relaxed),
            datagrams_malformed: counts.datagrams_malformed.load(Relaxed),
            datagrams_forged: counts.datagrams_forged.load(Relaxed),
            datagrams_foreign: counts.datagrams_foreign.load(Relaxed),
            datagrams_replayed: counts.datagrams_replayed.load(Relaxed),
        }
    }
}
