//! Executes one request to its end, waiting where it has to.

use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::{DatabaseId, NodeId, OwnedRequest, PartitionId};
use tokio::time::Instant;

use super::conclude::conclude;
use super::dispatch::keys_known;
use super::execute::{Batch, Outcome, execute};
use crate::node::Node;
use crate::replication::{Operation, ReadKey};
use crate::session::Session;

/// Pause before a request is executed again whose partition is on its way.
const MOVING_PAUSE: Duration = Duration::from_millis(10);

/// Waits for what a request needs before it can be executed or answered. True when it is answered then, in
/// `out`; else it is to be executed again.
pub async fn settle(
    node: &Node,
    session: &mut Session,
    outcome: Outcome,
    out: &mut Vec<u8>,
) -> bool {
    match outcome {
        Outcome::Replied => true,
        Outcome::NoRoom(bytes) => {
            node.engine.log().wait_for_room(bytes).await;
            false
        }
        Outcome::Paused(until_ms) => {
            node.pause.wait(until_ms, node.now_ms()).await;
            false
        }
        Outcome::Deferred(deferred) => {
            out.extend_from_slice(&deferred.wait(node).await);
            true
        }
        Outcome::Conclude => false,
        Outcome::Moving => {
            tokio::time::sleep(MOVING_PAUSE).await;
            false
        }
        Outcome::Settle(partition, keys) => {
            let executors = session.operation.as_ref().map(Operation::executors);
            let executors = executors.unwrap_or_default();
            let prepared = prepare(node, &executors, partition, session.database, &keys).await;
            session.refreshed = Some(true);
            if let Some(operation) = &mut session.operation {
                operation.prepared = Some(prepared);
            }
            false
        }
        Outcome::Refresh(keys) => {
            session.refreshed = Some(refresh(node, &keys).await);
            false
        }
    }
}

/// Brings what this node knows of keys up to date with a quorum.
async fn refresh(node: &Node, keys: &[ReadKey]) -> bool {
    let Some(replication) = node.replication.get() else {
        return true;
    };
    let timeout = Duration::from_millis(node.config.load().write_timeout_ms.into());
    replication
        .verify(keys, Instant::now() + timeout)
        .await
        .is_ok()
}

/// Makes sure that nothing more comes of those who may have executed an operation, and that this node knows
/// all that has come of them.
async fn prepare(
    node: &Node,
    executors: &[NodeId],
    partition: PartitionId,
    database: DatabaseId,
    keys: &[Vec<u8>],
) -> bool {
    let Some(replication) = node.replication.get() else {
        return false;
    };
    let abandoned = replication.abandon(partition, database, executors);
    let Some(quorum) = abandoned.await else {
        return false;
    };
    let names = keys.iter().map(Vec::as_slice);
    let keys = keys_known(node, partition, database, names, quorum);
    refresh(node, &keys).await
}

/// Executes a request for a caller without a connection. Returns the encoded reply once it may be told.
pub async fn perform(node: &Arc<Node>, session: &mut Session, request: &OwnedRequest) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let mut batch = Batch::begin(node);
        let outcome = execute(node, session, request.request(), &mut out, &mut batch);
        batch.tally.flush(&node.statistics);
        drop(batch);
        if settle(node, session, outcome, &mut out).await {
            break;
        }
    }
    let outstanding = std::mem::take(&mut session.outstanding);
    if !outstanding.is_empty() {
        conclude(outstanding, node, &session.origin(), &mut out).await;
    }
    out
}
