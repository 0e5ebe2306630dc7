//! The stable horizon: the version below which every replica of a partition is known to have everything (I6).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coterie_protocol::{Epoch, NodeId, PartitionId, Version};
use tokio::time::Instant;

use super::message::{Answer, Request};
use super::{Replication, SyncError};
use crate::replication::Quorum;
use crate::replication::barrier::Barrier;
use crate::replication::peers::{OWN, Peer};

/// How long replicas may take to have what a node coordinated.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

impl Replication {
    /// See [`Request::Fence`]. `whom` is one node, or `None` for every holder of the partition.
    pub(super) async fn fence(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        version: Version,
        whom: Option<NodeId>,
    ) -> bool {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let in_epoch = async {
            self.reached(epoch).await;
            self.epochs.drained(epoch).await;
        };
        if tokio::time::timeout_at(deadline, in_epoch).await.is_err() {
            return false;
        }
        // Whatever is written from here on has a later version, after a restart too.
        if version.millis() > self.clock.now_ms() {
            return false;
        }
        self.engine.store().lock(partition).clock().observe(version);
        let offset = self.engine.log().appended();
        let peers = match whom {
            Some(id) => self.peers.find(id).into_iter().collect(),
            None => self.holders(partition),
        };
        // A peer that missed part of the log has been compared with before it counts.
        let has_gap = || whom.is_none() && peers.iter().any(|peer| peer.has_gap());
        if has_gap() {
            return false;
        }
        let members = peers.iter().fold(OWN, |set, peer| set | peer.bit());
        let mut everyone = Barrier::default();
        everyone.add(Quorum::strict(members, members.count_ones() as u8), offset);
        self.waiters.wait(&everyone, deadline).await.is_ok() && !has_gap()
    }

    /// Moves the stable horizon of a partition to a moment that has passed by every replica's clock, if all are there
    /// and agree.
    ///
    /// # Errors
    /// One can't be reached, or they differ: then the horizon stays, and tombstones with it.
    pub(super) async fn advance_horizon(
        self: &Arc<Self>,
        partition: PartitionId,
    ) -> Result<(), SyncError> {
        let epoch: Epoch = self.routes().epoch;
        let own = self.peers.own().id;
        let peers: Vec<Arc<Peer>> = self.holders(partition);
        let drift_ms = self.max_drift_ms.load(Ordering::Relaxed);
        let passed_ms = self.clock.now_ms().saturating_sub(drift_ms);
        let version = Version::new(passed_ms, 0);
        if !self.fence(partition, epoch, version, None).await {
            return Err(SyncError::NotReady(own));
        }
        for peer in &peers {
            let request = Request::Fence {
                partition,
                epoch,
                version,
                everyone: true,
            };
            match self.ask_sync(peer, &request).await? {
                Answer::Fence(true) => {}
                _ => return Err(SyncError::NotReady(peer.id)),
            }
        }
        for peer in &peers {
            // What differed has been exchanged: the next attempt may find them equal.
            if self.compare(peer, partition, version).await?.settled > 0 {
                return Err(SyncError::NotReady(peer.id));
            }
        }
        if self.routes().epoch != epoch {
            return Err(SyncError::NotReady(own));
        }
        for peer in &peers {
            let request = Request::Horizon {
                partition,
                version,
                epoch,
            };
            self.ask_sync(peer, &request).await?;
        }
        self.set_horizon(partition, version, |joined| joined <= epoch);
        Ok(())
    }

    /// Raises the horizon of a partition, if it still is the one that has everything up to there: it has, if it joined
    /// when that says so. One that has begun anew since would claim what it does not have.
    pub(super) fn set_horizon(
        &self,
        partition: PartitionId,
        version: Version,
        is_same: impl Fn(Epoch) -> bool,
    ) {
        self.engine.tidy(partition, |partition| {
            if is_same(partition.joined()) {
                partition.set_stable_horizon(version);
            }
        });
        self.engine.tell_departed();
    }
}
