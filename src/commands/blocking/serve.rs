//! Serves those who wait for keys that were changed, in the order of their arrival.

use std::sync::Arc;

use coterie_protocol::DatabaseId;

use super::Patience;
use super::attempt::{Attempt, attempt};
use crate::blocking::{Serving, Waiter};
use crate::commands::execute::Batch;
use crate::node::Node;
use crate::store::{Entry, Kind};

/// Waiters served before the thread goes on with what it was at.
const SERVED_AT_ONCE: usize = 64;

/// Serves those who wait for keys that were changed, a few at least. What this thread has changed is served then, by it
/// or by another.
pub fn serve(node: &Arc<Node>) {
    let waiters = node.engine.waiters();
    if !waiters.has_work() {
        return;
    }
    let serving = waiters.begin_to_serve();
    let mut left = SERVED_AT_ONCE;
    while let Some((database, key)) = serving.next_key() {
        serve_key(node, &serving, database, &key, &mut left);
        if left == 0 {
            serving.put_back(database, &key);
            return;
        }
    }
}

/// Serves whenever there is something that nobody else does.
pub async fn serve_always(node: Arc<Node>) {
    loop {
        node.engine.waiters().work().await;
        serve(&node);
        tokio::task::yield_now().await;
    }
}

fn serve_key(
    node: &Arc<Node>,
    serving: &Serving<'_>,
    database: DatabaseId,
    key: &[u8],
    left: &mut usize,
) {
    let mut after = 0;
    let mut is_for_streams = false;
    while *left > 0 {
        let kind = match kind_of(node, database, key) {
            Some(kind) if !is_for_streams => kind,
            _ => Kind::Stream,
        };
        let Some(waiter) = serving.next_waiter(database, key, kind, after) else {
            if kind == Kind::Stream {
                return;
            }
            // Who reads in a group of a stream that is not there any more, or is something else now, is told so.
            (is_for_streams, after) = (true, 0);
            continue;
        };
        after = waiter.id;
        *left -= 1;
        if !serve_one(node, &waiter, key) {
            return;
        }
    }
}

fn kind_of(node: &Node, database: DatabaseId, key: &[u8]) -> Option<Kind> {
    let store = node.engine.store();
    let partition = store.lock(store.partition_of(key));
    let entry = partition.find(database, key, node.now_ms());
    entry.map(Entry::kind)
}

/// Executes a waiter's request. Returns whether others may be served after it.
fn serve_one(node: &Arc<Node>, waiter: &Waiter, key: &[u8]) -> bool {
    let Some(claim) = waiter.claim() else {
        return !waiter.has_turn();
    };
    let interest = &waiter.interest;
    if interest.origin.forwarded {
        // Its node sends the request again once it knows.
        claim.hand_over(key);
        return false;
    }
    let mut session = interest.origin.session();
    let mut out = Vec::new();
    let mut batch = Batch::begin(node);
    let request = interest.request.request();
    let patience = Patience::Used(interest.kind, key);
    let attempt = attempt(node, &mut session, request, patience, &mut out, &mut batch);
    batch.tally.flush(&node.statistics);
    match attempt {
        Attempt::Done => {
            claim.served(out, std::mem::take(&mut session.outstanding));
            true
        }
        Attempt::Nothing | Attempt::Parked(..) => true,
        Attempt::Later(_) | Attempt::Elsewhere(..) => {
            claim.hand_over(key);
            false
        }
    }
}
