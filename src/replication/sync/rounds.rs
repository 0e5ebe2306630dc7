//! Anti-entropy in the background: rounds with every peer, more often while this node may be behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coterie_protocol::PartitionId;

use super::message::{Answer, Request};
use super::{Replication, SyncError};
use crate::clock;
use crate::replication::peers::{NodeSet, OWN, Peer};

/// A node that may be behind tries this often to find out.
const BEHIND_INTERVAL: Duration = Duration::from_millis(100);

/// Compares with other nodes for as long as the process lives.
pub async fn run(replication: Arc<Replication>) {
    let mut next_round = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(BEHIND_INTERVAL).await;
        if !replication.is_clustered() {
            continue;
        }
        let behind = replication.partitions_behind();
        if !behind.is_empty() && replication.has_been_in_touch() {
            replication.catch_up(behind).await;
        }
        let interval = replication.round_interval_ms.load(Ordering::Relaxed);
        if interval > 0 && tokio::time::Instant::now() >= next_round {
            replication.round().await;
            // A little jitter keeps nodes that started together apart.
            let jitter = rand::random_range(0..=interval / 8 + 1);
            next_round = tokio::time::Instant::now() + Duration::from_millis(interval + jitter);
        }
    }
}

/// How often it is looked at who has fallen silent, and who has waited too long.
const SILENCE_INTERVAL: Duration = Duration::from_millis(20);

/// Notes when a peer falls silent, and as long as its log does not come here: then it may write while this node can't
/// hear of it. Notes too when it was this node that stood still. When a peer counts as gone, those who wait may have
/// enough without it. Ends the waiting of who has waited too long for replicas.
pub async fn watch_silence(replication: Arc<Replication>) {
    let mut live: HashMap<usize, bool> = HashMap::new();
    let mut connected: NodeSet = 0;
    let mut timer = clock::ticks(SILENCE_INTERVAL);
    loop {
        timer.tick().await;
        if replication.pulse.beat() {
            replication.set_all_behind();
        }
        let before = std::mem::replace(&mut connected, replication.peers.connected(NodeSet::MAX));
        let mut is_fewer = before & !connected != 0;
        for peer in replication.peers.all().iter().skip(1) {
            let is_live = peer.is_live();
            let was_live = live.insert(peer.index, is_live) == Some(true);
            // A peer that lives, but whose writes do not come here, may write with others.
            let is_missed = is_live && !replication.receivers.hears(peer.id);
            if was_live && !is_live || is_missed {
                replication.set_behind_with(peer);
                is_fewer |= !is_live;
            }
        }
        if is_fewer {
            replication.waiters.marks_moved();
        }
        replication.waiters.expire(tokio::time::Instant::now());
    }
}

impl Replication {
    /// Partitions this node replicates and may have missed writes of, with the mark that says so.
    fn partitions_behind(&self) -> HashMap<PartitionId, u64> {
        self.routes()
            .partitions()
            .filter(|(_, route)| route.all_holders() & OWN != 0)
            .filter_map(|(partition, _)| Some((partition, self.behind_since(partition)?)))
            .collect()
    }

    /// Compares partitions with live replicas. One that agrees with a majority is behind no more.
    async fn catch_up(self: &Arc<Self>, behind: HashMap<PartitionId, u64>) {
        let mut agreed: HashMap<PartitionId, NodeSet> =
            behind.keys().map(|partition| (*partition, OWN)).collect();
        for peer in self.live_peers() {
            let shared = self.shared_with(&peer, behind.keys().copied());
            match self.compare_all(&peer, &shared).await {
                Ok(done) => {
                    for partition in done {
                        if let Some(set) = agreed.get_mut(&partition) {
                            *set |= peer.bit();
                        }
                    }
                }
                Err(error) => tracing::debug!(peer = %peer.id, %error, "not caught up"),
            }
        }
        let routes = self.routes();
        for (partition, set) in agreed {
            let members = routes.route(partition).all_holders() | OWN;
            if set.count_ones() > members.count_ones() / 2 {
                self.caught_up(partition, behind[&partition]);
            }
        }
    }

    fn live_peers(&self) -> Vec<Arc<Peer>> {
        let peers = self.peers.all();
        peers
            .iter()
            .skip(1)
            .filter(|peer| peer.is_live())
            .cloned()
            .collect()
    }

    fn shared_with(
        &self,
        peer: &Peer,
        partitions: impl Iterator<Item = PartitionId>,
    ) -> Vec<PartitionId> {
        let routes = self.routes();
        let both = OWN | peer.bit();
        partitions
            .filter(|partition| routes.route(*partition).all_holders() & both == both)
            .collect()
    }

    /// Compares partitions with a peer. Returns those that are equal now, or have been made so.
    async fn compare_all(
        &self,
        peer: &Peer,
        partitions: &[PartitionId],
    ) -> Result<Vec<PartitionId>, SyncError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let roots = partitions
            .iter()
            .map(|partition| (*partition, self.root(*partition)))
            .collect();
        let Answer::Roots(differing) = self.ask_sync(peer, &Request::Roots { roots }).await? else {
            return Err(SyncError::Malformed);
        };
        for partition in &differing {
            // It may have moved meanwhile.
            let both = OWN | peer.bit();
            let is_shared = self.routes().route(*partition).all_holders() & both == both;
            if is_shared && partitions.contains(partition) {
                let version = self.engine.store().lock(*partition).version();
                let summary = self.compare(peer, *partition, version).await?;
                if summary.keys > 0 {
                    tracing::debug!(peer = %peer.id, %partition, keys = summary.keys, bytes = summary.bytes, "replicas differed");
                }
                self.repaired_keys
                    .fetch_add(summary.settled, Ordering::Relaxed);
            }
        }
        Ok(partitions.to_vec())
    }

    /// One round: every shared partition with every live peer, then the horizons of partitions this node is the
    /// first replica of.
    async fn round(self: &Arc<Self>) {
        let count = self.engine.store().layout().count();
        for peer in self.live_peers() {
            let shared = self.shared_with(&peer, (0..count).map(PartitionId));
            let gaps = peer.gaps();
            match self.compare_all(&peer, &shared).await {
                Ok(_) => peer.close_gaps(gaps),
                Err(error) => tracing::debug!(peer = %peer.id, %error, "round not finished"),
            }
        }
        for partition in self.due_for_horizon() {
            if let Err(error) = self.advance_horizon(partition).await {
                tracing::debug!(%partition, %error, "the stable horizon stays");
                if !matches!(error, SyncError::NotReady(_)) {
                    return;
                }
            }
        }
    }

    /// Partitions with tombstones whose first replica this node is, all replicas of which are live.
    fn due_for_horizon(&self) -> Vec<PartitionId> {
        let routes = self.routes();
        routes
            .partitions()
            .filter(|(_, route)| route.is_settled() && route.first().is_some_and(|p| p.index == 0))
            .filter(|(_, route)| self.peers.connected(route.all_holders()) == route.all_holders())
            .map(|(partition, _)| partition)
            .filter(|partition| self.engine.store().lock(*partition).tombstones() > 0)
            .collect()
    }
}
