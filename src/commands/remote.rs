//! Executes requests that other nodes forward, in the order in which each sends them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use coterie_protocol::{NodeId, OwnedRequest, RespVersion};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::conclude::conclude;
use super::execute::{Batch, Outcome, execute};
use super::perform::settle;
use super::spanning;
use crate::node::Node;
use crate::replication::wire;
use crate::session::{Client, Consistency, Session};
use crate::transport::{CallId, Inbound};

/// Requests of one node that wait to be executed; more, and it is disconnected.
const QUEUED_REQUESTS_MAX: usize = 65_536;

/// Tasks that execute, one for each node that forwards.
#[derive(Default)]
pub struct Executors {
    senders: Mutex<HashMap<NodeId, mpsc::Sender<Forwarded>>>,
}

struct Forwarded {
    from: Arc<Inbound>,
    call: CallId,
    body: Bytes,
}

impl Executors {
    /// A forwarded request. Returns at once.
    pub fn received(&self, node: &Arc<Node>, from: &Arc<Inbound>, call: CallId, body: Bytes) {
        let mut senders = self.senders.lock();
        let sender = senders.entry(from.node()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(QUEUED_REQUESTS_MAX);
            tokio::spawn(run(node.clone(), receiver));
            sender
        });
        let forwarded = Forwarded {
            from: from.clone(),
            call,
            body,
        };
        if sender.try_send(forwarded).is_err() {
            tracing::warn!(peer = %from.node(), "disconnected: it forwards faster than can be executed");
            from.close();
        }
    }
}

async fn run(node: Arc<Node>, mut requests: mpsc::Receiver<Forwarded>) {
    let mut client = None;
    while let Some(Forwarded { from, call, body }) = requests.recv().await {
        let client = client.get_or_insert_with(|| {
            let address = from.address().to_string();
            let id = node.clients.next_id();
            Arc::new(Client::new(
                id,
                address.clone(),
                address,
                true,
                -1,
                node.now_ms(),
            ))
        });
        let Ok((head, arguments)) = wire::read_execution(&body) else {
            tracing::warn!(peer = %from.node(), "disconnected: it forwarded what can't be read");
            from.close();
            continue;
        };
        let mut session = Session::new(client.clone(), true);
        session.database = head.database;
        session.resp = if head.resp3 {
            RespVersion::Resp3
        } else {
            RespVersion::Resp2
        };
        session.no_touch = !head.touch;
        session.forwarded = true;
        session.consistency = Consistency {
            read: head.read,
            write: head.write,
            local_reads: head.local,
        };
        if !head.partitions.is_empty() {
            let count = node.engine.store().layout().count();
            session.partitions = Some(spanning::from_bits(&head.partitions, count).into());
        }
        let request = OwnedRequest::new(&arguments);
        execute_one(&node, session, request, from, call).await;
    }
}

/// Executes a request before the next one is; what it waits for then holds up nobody.
async fn execute_one(
    node: &Arc<Node>,
    mut session: Session,
    request: OwnedRequest,
    from: Arc<Inbound>,
    call: CallId,
) {
    let mut out = Vec::new();
    loop {
        let mut batch = Batch::begin(node);
        let outcome = execute(node, &mut session, request.request(), &mut out, &mut batch);
        batch.tally.flush(&node.statistics);
        match outcome {
            Outcome::Replied => break,
            Outcome::Deferred(pending) => {
                let node = node.clone();
                tokio::spawn(async move {
                    let reply = pending.wait(&node).await;
                    from.reply(call, &reply);
                });
                return;
            }
            outcome => {
                if settle(node, &mut session, outcome, &mut out).await {
                    break;
                }
            }
        }
    }
    let outstanding = std::mem::take(&mut session.outstanding);
    if outstanding.is_empty() {
        from.reply(call, &out);
        return;
    }
    let (node, origin) = (node.clone(), session.origin());
    tokio::spawn(async move {
        conclude(outstanding, &node, &origin, &mut out).await;
        from.reply(call, &out);
    });
}
