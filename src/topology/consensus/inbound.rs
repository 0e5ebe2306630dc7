//! What other nodes ask.

use std::time::Duration;

use coterie_protocol::{Epoch, NodeId};

use super::handle::{Core, ProposeError};
use super::types::{Report, TopologyAnswer, TopologyRequest};
use crate::topology::join::{JoinError, JoinRequest, Joined, encode, encode_answer};
use crate::topology::{Change, Refusal, Topology};

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
    let before = core.published.current();
    let change = admission(core, &before, &request)?;
    propose(core, change).await?;
    let node = request.node;
    if let Some(member) = before.members.get(&node) {
        // What it may have stamped in the life before is not known.
        let from = member.actor;
        propose(core, Change::RenewActor { node, from }).await?;
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

async fn propose(core: &Core, change: Change) -> Result<(), JoinError> {
    match core.propose(change).await {
        Ok(_) => Ok(()),
        Err(ProposeError::Refused(refusal)) => Err(JoinError::Refused(refusal.to_string())),
        Err(ProposeError::Unavailable(reason)) => Err(JoinError::Unavailable(reason)),
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
        // Whoever lost its data comes back as another node, at the address of the one it was.
        let taken = topology.check_addresses(node, &description);
        if let Err(refusal @ Refusal::DuplicateAddress { of, .. }) = taken
            && (core.live)(of)
        {
            // It may have died a moment ago: the node asks again.
            return Err(JoinError::Unavailable(refusal.to_string()));
        }
        return Ok(Change::AddMember { node, description });
    };
    if member.internal != description.internal && (core.live)(node) {
        return Err(JoinError::Duplicate {
            node,
            address: member.address,
        });
    }
    let group = core
        .raft
        .server_metrics()
        .borrow()
        .membership_config
        .clone();
    let voted = group.voter_ids().any(|voter| voter == node);
    let held = topology.placements.iter().any(|placement| {
        placement.replicas.contains(&node)
            || (placement.under_way()).is_some_and(|change| change.to.contains(&node))
    });
    if voted || held {
        // It could vote twice, and others count on what it had.
        return Err(JoinError::Refused(format!(
            "node {node} is a member and has lost its data; let it join under a new id, and replace it"
        )));
    }
    Ok(Change::UpdateMember { node, description })
}
