//! Clusters that tests make up.

use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::time::timeout_at;

use super::*;

/// The id of the made-up node of this number, from 1.
pub fn id(number: usize) -> NodeId {
    NodeId([number as u8; 20])
}

/// A cluster of this many nodes, seen from the first. Each is asked first for an equal run of partitions, and the two
/// after it hold them too.
pub fn view(nodes: usize, partitions: usize) -> ClusterView {
    let member = |number: usize| Member {
        address: SocketAddr::from(([10, 0, 0, number as u8], 7000)),
        hostname: None,
        internal: SocketAddr::from(([10, 0, 0, number as u8], 17000)),
        zone: format!("zone-{}", number % 3),
        weight: 100,
        actor: Actor(number as u16),
        state: MemberState::Normal,
    };
    let placement = |partition: usize| {
        let first = partition * nodes / partitions;
        let replicas = (0..nodes.min(3)).map(|next| id((first + next) % nodes + 1));
        Placement {
            replicas: replicas.collect(),
            change: None,
        }
    };
    let up = Peer {
        connected: true,
        pong_received_ms: 1_700_000_000_000,
        ..Peer::default()
    };
    ClusterView {
        own: id(1),
        topology: Arc::new(Topology {
            cluster: ClusterId(7),
            epoch: Epoch(5),
            members: (1..=nodes)
                .map(|number| (id(number), member(number)))
                .collect(),
            placements: (0..partitions).map(placement).collect(),
            policies: BTreeMap::new(),
            default_policy: Policy::default(),
            last_actor: Actor(nodes as u16),
        }),
        peers: (2..=nodes).map(|number| (id(number), up)).collect(),
        leader: Some(id(2)),
        has_quorum: true,
        messages_sent: 11,
        messages_received: 12,
    }
}

/// A view of which the topology can be changed.
pub fn topology(view: &mut ClusterView) -> &mut Topology {
    Arc::make_mut(&mut view.topology)
}

/// A cluster that always looks the same, and agrees to everything.
pub struct MadeUp {
    /// How it looks.
    pub view: ClusterView,
    /// What was proposed.
    pub proposals: Arc<Mutex<Vec<Proposal>>>,
    /// How many other nodes have everything.
    pub acknowledged: AtomicUsize,
}

impl Cluster for MadeUp {
    fn topology(&self) -> Arc<Topology> {
        self.view.topology.clone()
    }

    fn view(&self) -> ClusterView {
        self.view.clone()
    }

    fn propose(&self, change: Proposal) -> Answer<Result<Epoch, ProposalError>> {
        self.proposals.lock().push(change);
        let epoch = Epoch(self.view.topology.epoch.0 + 1);
        Box::pin(async move { Ok(epoch) })
    }

    fn wait(
        &self,
        _offset: LogOffset,
        replicas: usize,
        _safety: Safety,
        deadline: Option<Instant>,
    ) -> Answer<usize> {
        let acknowledged = self.acknowledged.load(Relaxed);
        Box::pin(async move {
            if acknowledged < replicas
                && let Some(deadline) = deadline
            {
                let _ = timeout_at(deadline, std::future::pending::<()>()).await;
            }
            acknowledged
        })
    }
}
