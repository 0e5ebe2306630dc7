//! The cluster as this node's commands see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use coterie_protocol::NodeId;
use tokio::time::Instant;

use super::Cluster;
use crate::cluster_view::{self, Answer, ClusterView, Liveness, Proposal, ProposalError, Safety};
use crate::membership;
use crate::replication::peers::OWN;
use crate::replication::{Barrier, Quorum};
use crate::topology::{Change, ProposeError, Topology};
use crate::wal::{Durability, LogOffset};

/// A wait without a time-out ends after this: a century.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);

impl cluster_view::Cluster for Cluster {
    fn topology(&self) -> Arc<Topology> {
        match self.replication.get() {
            Some(replication) => replication.routes().topology.clone(),
            None => Arc::new(Topology::empty()),
        }
    }

    fn view(&self) -> ClusterView {
        let status = self.topology.get().map(|topology| topology.status());
        let counters = self.transport.get().map(|transport| transport.counters());
        let topology = self.topology();
        let peers = topology
            .members
            .keys()
            .filter(|id| **id != self.own)
            .map(|id| (*id, self.peer(*id)))
            .collect::<BTreeMap<_, _>>();
        ClusterView {
            own: self.own,
            peers,
            leader: status.as_ref().and_then(|status| status.leader),
            has_quorum: status.is_none_or(|status| status.has_quorum),
            messages_sent: counters.as_ref().map_or(0, |c| c.datagrams_sent),
            messages_received: counters.as_ref().map_or(0, |c| c.datagrams_received),
            topology,
        }
    }

    fn propose(
        &self,
        proposal: Proposal,
    ) -> Answer<Result<coterie_protocol::Epoch, ProposalError>> {
        let topology = self.topology.get().cloned();
        let runtime = self.transport.get().map(|transport| transport.runtime());
        Box::pin(async move {
            let (Some(topology), Some(runtime)) = (topology, runtime) else {
                return Err(ProposalError::Unavailable(
                    "the node is not in a cluster".into(),
                ));
            };
            let change = match proposal {
                Proposal::SetPolicy(database, policy) => Change::SetPolicy { database, policy },
                Proposal::SetDefaultPolicy(policy) => Change::SetDefaultPolicy { policy },
                Proposal::Drain(node) => Change::Drain { node },
                Proposal::Remove(node) => Change::RemoveMember { node },
                Proposal::Replace { old, new } => Change::Replace { old, new },
            };
            let proposed = runtime.spawn(async move { topology.propose(change).await });
            match proposed.await {
                Ok(Ok(epoch)) => Ok(epoch),
                Ok(Err(ProposeError::Refused(refusal))) => {
                    Err(ProposalError::Refused(refusal.to_string()))
                }
                Ok(Err(ProposeError::Unavailable(reason))) => Err(ProposalError::Unknown(format!(
                    "{reason}. The change may yet be made."
                ))),
                Err(_) => Err(ProposalError::Unavailable("the node stops".into())),
            }
        })
    }

    fn wait(
        &self,
        offset: LogOffset,
        replicas: usize,
        safety: Safety,
        deadline: Option<Instant>,
    ) -> Answer<usize> {
        let replication = self.replication.get().cloned();
        // Replicas acknowledge as durable as this node's own settings say; whether theirs are on disk is known with
        // `always` only.
        let knows =
            safety == Safety::Stored || self.node.engine.log().durability() == Durability::Always;
        Box::pin(async move {
            let Some(replication) = replication else {
                return 0;
            };
            let deadline = deadline.unwrap_or_else(|| Instant::now() + FOREVER);
            if !knows {
                if replicas > 0 {
                    tokio::time::sleep_until(deadline).await;
                }
                return 0;
            }
            let peers = replication.peers.all();
            let members = peers.iter().fold(0, |set, peer| set | peer.bit()) & !OWN;
            let mut barrier = Barrier::default();
            let need = u8::try_from(replicas).unwrap_or(u8::MAX);
            let mut quorum = Quorum::strict(members, need);
            // Of whichever database it is.
            quorum.terms.unhinted = true;
            barrier.add(quorum, offset);
            let _ = replication.waiters.wait(&barrier, deadline).await;
            peers
                .iter()
                .skip(1)
                .filter(|peer| peer.has(offset, true))
                .count()
        })
    }
}

impl Cluster {
    fn peer(&self, id: NodeId) -> cluster_view::Peer {
        let Some(link) = self.transport.get().and_then(|t| t.link(id)) else {
            return cluster_view::Peer {
                liveness: Liveness::Suspect,
                ..Default::default()
            };
        };
        let status = link.status();
        let now_ms = self.node.now_ms();
        let ago = |since: std::time::Duration| now_ms.saturating_sub(since.as_millis() as u64);
        let connected = link.is_up();
        let peer = self.replication.get().and_then(|it| it.peers.find(id));
        let is_heard = peer.is_none_or(|peer| peer.is_connected());
        let said = self.membership.get().map(|membership| membership.state(id));
        cluster_view::Peer {
            liveness: match said {
                // Alive, but nothing comes over the link that writes take.
                Some(membership::Liveness::Up) if !is_heard => Liveness::Suspect,
                Some(membership::Liveness::Up) => Liveness::Up,
                Some(membership::Liveness::Down) => Liveness::Down,
                Some(membership::Liveness::Suspect) => Liveness::Suspect,
                _ if connected => Liveness::Up,
                _ => Liveness::Suspect,
            },
            connected,
            connected_ms: status
                .connected_since
                .map_or(0, |since| ago(since.elapsed())),
            ping_sent_ms: 0,
            pong_received_ms: status.silent_for.map_or(0, ago),
            unsent_bytes: status.bytes_waiting,
            buffer_bytes: 16 << 20,
            suspicions: usize::from(!link.is_responsive()),
        }
    }
}
