//! Nodes in one process, over a network in memory that can be cut and that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coterie_protocol::{ClusterId, NodeId};
use parking_lot::Mutex;

use super::{describe, node};
use crate::topology::{
    BoxFuture, Channel, JOIN_VERSION, JoinError, JoinRequest, Joined, Liveness, Options,
    RaftTransport, Timing, Topology, TopologyHandle, TransportError, decode_answer,
};

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const PARTITIONS: u16 = 16;
pub(super) const CLUSTER: ClusterId = ClusterId(7);

/// Fast enough for tests, slow enough for a busy machine.
pub(super) const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(500),
    election_max: Duration::from_millis(1000),
};

#[derive(Default)]
pub(super) struct Net {
    up: Mutex<BTreeMap<NodeId, TopologyHandle>>,
    /// Pairs that do not reach each other, in both orders.
    cuts: Mutex<BTreeSet<(NodeId, NodeId)>>,
    pub(super) messages: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Net {
    fn reach(&self, from: NodeId, to: NodeId) -> Option<TopologyHandle> {
        let cut = self.cuts.lock().contains(&(from, to));
        let target = self.up.lock().get(&to).cloned();
        target.filter(|_| !cut)
    }

    fn count(&self, body: &[u8]) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    }
}

struct Wire {
    from: NodeId,
    net: Arc<Net>,
}

impl RaftTransport for Wire {
    fn call(
        &self,
        to: NodeId,
        channel: Channel,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, TransportError>> {
        let lost = move || TransportError {
            to,
            reason: "cut".to_owned(),
        };
        Box::pin(async move {
            let target = self.net.reach(self.from, to).ok_or_else(lost)?;
            self.net.count(&body);
            let answer = match channel {
                Channel::Raft => target.handle_raft(self.from, &body).await,
                Channel::Topology => target.handle_topology(self.from, &body).await,
            };
            // The way back may be gone meanwhile.
            self.net.reach(self.from, to).ok_or_else(lost)?;
            self.net.count(&answer);
            Ok(answer)
        })
    }
}

pub(super) struct Cluster {
    pub(super) net: Arc<Net>,
    directory: tempfile::TempDir,
    pub(super) timing: Timing,
    pub(super) moves_at_once: usize,
}

impl Cluster {
    pub(super) fn new() -> Cluster {
        Cluster {
            net: Arc::default(),
            directory: tempfile::tempdir().unwrap(),
            timing: TIMING,
            moves_at_once: 4,
        }
    }

    pub(super) fn options(&self, number: u8) -> Options {
        let net = Arc::clone(&self.net);
        let this = node(number);
        let live: Liveness = Arc::new(move |other| net.reach(this, other).is_some());
        Options {
            node: this,
            directory: self.directory.path().join(number.to_string()),
            timing: self.timing,
            propose_within: Duration::from_secs(20),
            moves_at_once: self.moves_at_once,
            live,
        }
    }

    pub(super) fn wire(&self, number: u8) -> Arc<dyn RaftTransport> {
        Arc::new(Wire {
            from: node(number),
            net: Arc::clone(&self.net),
        })
    }

    fn up(&self, number: u8, handle: TopologyHandle) -> TopologyHandle {
        self.net.up.lock().insert(node(number), handle.clone());
        handle
    }

    pub(super) async fn create(&self, number: u8) -> TopologyHandle {
        let (options, wire) = (self.options(number), self.wire(number));
        let created = TopologyHandle::create(
            options,
            wire,
            CLUSTER,
            PARTITIONS,
            describe(number, "a"),
            crate::topology::Policy::default(),
        );
        self.up(number, created.await.unwrap())
    }

    pub(super) async fn ask_to_join(
        &self,
        request: &JoinRequest,
        via: u8,
    ) -> Result<Joined, JoinError> {
        decode_answer(&self.handle(via).handle_join(&request.encode()).await)
    }

    pub(super) fn request(number: u8, zone: &str) -> JoinRequest {
        JoinRequest {
            version: JOIN_VERSION,
            node: node(number),
            description: describe(number, zone),
            partitions: PARTITIONS,
        }
    }

    pub(super) async fn join(&self, number: u8, via: u8) -> TopologyHandle {
        let request = Cluster::request(number, "a");
        let joined = self.ask_to_join(&request, via).await.unwrap();
        let (options, wire) = (self.options(number), self.wire(number));
        let handle = TopologyHandle::join(options, wire, joined).await.unwrap();
        self.up(number, handle)
    }

    /// A cluster of nodes 1 to `count`.
    pub(super) async fn of(count: u8) -> Cluster {
        let cluster = Cluster::new();
        cluster.create(1).await;
        for number in 2..=count {
            cluster.join(number, number - 1).await;
        }
        cluster
    }

    pub(super) fn handle(&self, number: u8) -> TopologyHandle {
        self.net.up.lock()[&node(number)].clone()
    }

    pub(super) fn is_up(&self, number: u8) -> bool {
        self.net.up.lock().contains_key(&node(number))
    }

    pub(super) async fn kill(&self, number: u8) {
        let handle = self.net.up.lock().remove(&node(number));
        handle.unwrap().shutdown().await;
    }

    pub(super) async fn restart(&self, number: u8) -> TopologyHandle {
        let (options, wire) = (self.options(number), self.wire(number));
        let handle = TopologyHandle::restart(options, wire).await.unwrap();
        self.up(number, handle)
    }

    /// Cuts the network between two groups.
    pub(super) fn cut(&self, one: &[u8], other: &[u8]) {
        let mut cuts = self.net.cuts.lock();
        for a in one {
            for b in other {
                cuts.extend([(node(*a), node(*b)), (node(*b), node(*a))]);
            }
        }
    }

    pub(super) fn heal(&self) {
        self.net.cuts.lock().clear();
    }

    pub(super) fn handles(&self) -> Vec<TopologyHandle> {
        self.net.up.lock().values().cloned().collect()
    }

    /// The number of the leader, once all that are up agree.
    pub(super) async fn leader(&self) -> u8 {
        let agreed = || {
            let leaders: BTreeSet<Option<NodeId>> = self
                .handles()
                .iter()
                .map(|handle| handle.status().leader)
                .collect();
            let leader = (*leaders.first()?)?;
            let up = self.net.up.lock().contains_key(&leader);
            (leaders.len() == 1 && up).then_some(leader.0[0])
        };
        until("a leader", || agreed().is_some()).await;
        agreed().unwrap_or_else(|| self.handles()[0].status().leader.unwrap().0[0])
    }

    /// Waits until all that are up know the same topology, and returns it.
    pub(super) async fn agreed(&self) -> Arc<Topology> {
        let all = || -> Vec<Arc<Topology>> { self.handles().iter().map(|h| h.current()).collect() };
        until("one topology everywhere", || {
            let all = all();
            all.iter().all(|topology| **topology == *all[0])
        })
        .await;
        all().swap_remove(0)
    }

    pub(super) async fn until_voters(&self, count: usize) {
        until("voters", || {
            self.handles().iter().all(|handle| {
                let status = handle.status();
                let group = status.voters.len() + status.learners.len();
                !status.changing && status.voters.len() == count && group >= self.handles().len()
            })
        })
        .await;
    }

    pub(super) async fn shutdown(self) {
        for handle in self.handles() {
            handle.shutdown().await;
        }
    }
}

/// Waits until something is so.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited for {what} in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
