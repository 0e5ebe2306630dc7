//! Executes one request to its end, waiting where it has to.

use std::sync::Arc;

use coterie_protocol::OwnedRequest;

use super::execute::{Batch, Outcome, execute};
use crate::node::Node;
use crate::session::Session;

/// Waits for what a request needs before it can be executed or answered. True when it is answered then, in
/// `out`; else it is to be executed again.
pub async fn settle(node: &Node, outcome: Outcome, out: &mut Vec<u8>) -> bool {
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
    }
}

/// Executes a request for a caller without a connection. Returns the encoded reply once it may be told.
pub async fn perform(node: &Arc<Node>, session: &mut Session, request: &OwnedRequest) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let mut batch = Batch::begin(node);
        let outcome = execute(node, session, request.request(), &mut out, &mut batch);
        batch.tally.flush(&node.statistics);
        if settle(node, outcome, &mut out).await {
            break;
        }
    }
    if let Some(barrier) = session.barrier.take() {
        node.engine.log().wait_until_acknowledged(barrier).await;
    }
    out
}
