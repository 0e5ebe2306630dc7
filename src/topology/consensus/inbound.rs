//! What other nodes ask.

use std::time::Duration;

use coterie_protocol::{Epoch, NodeId};

use super::handle::{Core, ProposeError};
use super::types::{Report, TopologyAnswer, TopologyRequest};
use crate::topology::join::{JoinError, JoinRequest, Joined, encode, encode_answer};
use crate::topology::{Change, Topology};

/// How long the leader tries to have another node's proposal agreed. Shorter than that node waits.
const WITHIN: Duration = Duration::from_millis(2500);

pub(super) async fn answer(core: &Core, from: NodeId, request: &[u8]) -> Vec<u8> {
    let answer = match postcard::from_bytes(request) {
        Ok(TopologyRequest::Propose(change)) => core.propose_here(&change, WITHIN).await,
        Ok(TopologyRequest::Report(report)) => match core.take_report(from, report) {
            Some(epoch) => TopologyAnswer::Reported(epoch),
            None => TopologyAnswer::NotLeader(core.leader()),
        },
        Ok(TopologyRequest::Synchronize(fetches)) => match core.orders.try_send(fetches) {
            Ok(()) => TopologyAnswer::Accepted,
            Err(error) => TopologyAnswer::Unavailable(error.to_string()),
        },
        Err(error) => TopologyAnswer::Unavailable(error.to_string()),
    };
    encode(&answer)
}

impl Core {
    /// Takes note of a report, if this node leads.
    pub(super) fn take_report(&self, from: NodeId, report: Report) -> Option<Epoch> {
        if !self.is_leader() {
            return None;
        }
        if self.mover.lock().report(from, report) {
            self.wake.notify_one();
        }
        Some(self.published.current().epoch)
    }
}

pub(super) async fn join(core: &Core, request: &[u8]) -> Vec<u8> {
    let answer = match JoinRequest::decode(request) {
        Ok(request) => admit(core, request).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &answer {
        tracing::warn!(%error, "a node was not let in");
    }
    encode_answer(&answer)
}

async fn admit(core: &Core, request: JoinRequest) -> Result<Joined, JoinError> {
    let change = admission(core, &core.published.current(), &request)?;
    match core.propose(change).await {
        Ok(_) => {}
        Err(ProposeError::Refused(refusal)) => return Err(JoinError::Refused(refusal.to_string())),
        Err(ProposeError::Unavailable(reason)) => return Err(JoinError::Unavailable(reason)),
    }
    let topology = core.published.current();
    match topology.members.get(&request.node) {
        Some(member) => Ok(Joined {
            actor: member.actor,
            topology: Topology::clone(&topology),
        }),
        None => Err(JoinError::Unavailable(
            "this node does not know of the change yet".to_owned(),
        )),
    }
}

/// The change that lets a node in.
fn admission(core: &Core, topology: &Topology, request: &JoinRequest) -> Result<Change, JoinError> {
    let ours = topology.placements.len() as u16;
    if request.partitions != ours {
        return Err(JoinError::Partitions {
            ours,
            theirs: request.partitions,
        });
    }
    let node = request.node;
    let description = request.description.clone();
    let Some(member) = topology.members.get(&node) else {
        return Ok(Change::AddMember { node, description });
    };
    if member.internal != description.internal && (core.live)(node) {
        return Err(JoinError::Duplicate {
            node,
            address: member.address,
        });
    }
    let voters = core
        .raft
        .server_metrics()
        .borrow()
        .membership_config
        .clone();
    if voters.voter_ids().any(|voter| voter == node) {
        // Its votes are lost: it could vote twice.
        return Err(JoinError::Refused(format!(
            "node {node} had a vote in this cluster and has lost its data; let it join under a new id, and replace it"
        )));
    }
    Ok(Change::UpdateMember { node, description })
}
