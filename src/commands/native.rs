//! Executes requests of native clients: those of a call one after the other like a pipeline, calls in the order in
//! which each connection sends them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use bytes::Bytes;
use coterie_protocol::internal::client::{
    ClientCall, ClientMember, ClientTopology, executed, read_call,
};
use coterie_protocol::internal::execute::ExecuteHead;
use coterie_protocol::{Epoch, OwnedRequest, ReplyWriter, Request, RespVersion};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::conclude::conclude;
use super::execute::{Batch, Outcome, execute};
use super::perform::settle;
use crate::clients::Client;
use crate::node::Node;
use crate::session::{Consistency, Session};
use crate::topology::{Step, Topology};
use crate::transport::{CallId, Inbound};

/// Calls of one connection that wait to be executed; more, and it is disconnected.
const QUEUED_CALLS_MAX: usize = 65_536;
/// Bytes of calls of one connection that are not answered yet; a further call, and it is disconnected.
const QUEUED_BYTES_MAX: usize = 256 << 20;
/// Calls of one connection that wait for other nodes or the disk at a time; further ones begin later.
const RUNNING_CALLS_MAX: usize = 1024;
/// Requests of a call that are executed before others on the thread have their turn, and before their replies are
/// completed.
const BATCH_REQUESTS: usize = 256;
/// Room for what stands before the replies in the body of an answer.
const HEAD_BYTES: usize = 8;

const ON_CONNECTION: &[u8] = b"ERR This command is about a connection, of which there is none here";
const TOO_LARGE: &[u8] = b"ERR The replies of this call are larger than a frame may be";

/// Where calls of native clients are executed.
pub struct NativeClients {
    runtime: Handle,
}

/// What is kept with a connection; its task ends with it.
struct Queue {
    sender: mpsc::Sender<Received>,
    bytes: Arc<AtomicUsize>,
}

struct Received {
    from: Arc<Inbound>,
    call: CallId,
    body: Bytes,
    _held: Held,
}

/// Counts bytes as long as they are held.
struct Held(Arc<AtomicUsize>, usize);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

impl NativeClients {
    /// Executes on this runtime, so that the links to other nodes don't wait for it.
    pub fn new(runtime: Handle) -> Self {
        NativeClients { runtime }
    }

    /// A call of a client. Returns at once.
    pub fn received(&self, node: &Arc<Node>, from: &Arc<Inbound>, call: CallId, body: Bytes) {
        let queue = from.state(|| {
            let (sender, receiver) = mpsc::channel(QUEUED_CALLS_MAX);
            self.runtime.spawn(run(node.clone(), receiver));
            let bytes = Arc::default();
            Queue { sender, bytes }
        });
        let Some(queue) = queue else {
            debug_assert!(
                false,
                "nobody else keeps anything with a client's connection"
            );
            return from.close();
        };
        let count = body.len();
        let before = queue.bytes.fetch_add(count, Relaxed);
        let received = Received {
            from: from.clone(),
            call,
            body,
            _held: Held(queue.bytes.clone(), count),
        };
        if before > QUEUED_BYTES_MAX || queue.sender.try_send(received).is_err() {
            tracing::warn!(client = %from.address(), "disconnected: it calls faster than can be executed");
            from.close();
        }
    }
}

async fn run(node: Arc<Node>, mut calls: mpsc::Receiver<Received>) {
    let running = Arc::new(Semaphore::new(RUNNING_CALLS_MAX));
    let mut client = None;
    while let Some(received) = calls.recv().await {
        let client = client.get_or_insert_with(|| {
            let address = received.from.address().to_string();
            let (id, now_ms) = (node.clients.next_id(), node.now_ms());
            Arc::new(Client::new(id, address.clone(), address, true, -1, now_ms))
        });
        let Ok(permit) = running.clone().acquire_owned().await else {
            return;
        };
        let (node, client) = (node.clone(), client.clone());
        let mut work = Box::pin(async move {
            answer(&node, client, received).await;
            drop(permit);
        });
        // It begins before the next one does. What it then waits for holds up nobody.
        let begun = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if begun.is_pending() {
            tokio::spawn(work);
        }
    }
}

async fn answer(node: &Arc<Node>, client: Arc<Client>, received: Received) {
    let Received {
        from, call, body, ..
    } = &received;
    match read_call(body) {
        Ok(ClientCall::Topology) => {
            let replication = node.replication.get();
            match replication.and_then(|r| describe(&r.routes().topology)) {
                Some(topology) => from.reply(*call, &topology.encode()),
                // The node is starting. The client asks again, or another one.
                None => from.close(),
            }
        }
        Ok(ClientCall::Execute(head, requests)) => {
            let requests: Vec<_> = requests.iter().map(|r| OwnedRequest::new(r)).collect();
            let session = session(client, &head);
            let mut replies = perform_all(node, session, &requests).await;
            if replies.len() + HEAD_BYTES > from.body_limit() {
                replies.clear();
                for _ in &requests {
                    ReplyWriter::new(&mut replies, RespVersion::Resp3).error(TOO_LARGE);
                }
            }
            let replication = node.replication.get();
            let epoch = replication.map_or(Epoch::default(), |r| r.routes().epoch);
            from.reply(*call, &executed(epoch, &replies));
        }
        Err(_) => {
            tracing::warn!(client = %from.address(), "disconnected: it sent what can't be read");
            from.close();
        }
    }
}

fn session(client: Arc<Client>, head: &ExecuteHead) -> Session {
    // Who knows the cluster secret needs no password.
    let mut session = Session::new(client, true);
    session.database = head.database;
    session.resp = RespVersion::Resp3;
    session.no_touch = !head.touch;
    session.proxied = true;
    session.consistency = Consistency {
        read: head.read,
        write: head.write,
        local_reads: head.local,
    };
    session
}

/// Executes requests of a caller without a connection one after the other. Returns their encoded replies, one for each,
/// once they may be told.
pub async fn perform_all(
    node: &Arc<Node>,
    mut session: Session,
    requests: &[OwnedRequest],
) -> Vec<u8> {
    let mut out = Vec::new();
    if u32::from(session.database.0) >= node.engine.store().databases() {
        for _ in requests {
            let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp3);
            reply.error(b"ERR DB index is out of range");
        }
        return out;
    }
    let mut next = 0;
    while next < requests.len() {
        let (done, outcome) = execute_some(node, &mut session, &requests[next..], &mut out);
        next += done;
        let outstanding = std::mem::take(&mut session.outstanding);
        if !outstanding.is_empty() {
            conclude(outstanding, node, &session.origin(), &mut out).await;
        }
        if let Some(outcome) = outcome
            && settle(node, &mut session, outcome, &mut out).await
        {
            next += 1;
        }
    }
    out
}

/// Executes requests until one has to wait. Returns how many are done, and what the next one waits for.
fn execute_some(
    node: &Arc<Node>,
    session: &mut Session,
    requests: &[OwnedRequest],
    out: &mut Vec<u8>,
) -> (usize, Option<Outcome>) {
    let mut batch = Batch::begin(node);
    let mut done = 0;
    let mut waits = None;
    for request in requests.iter().take(BATCH_REQUESTS) {
        let request = request.request();
        if is_about_connection(request) {
            ReplyWriter::new(out, session.resp).error(ON_CONNECTION);
        } else {
            let outcome = execute(node, session, request, out, &mut batch);
            if !matches!(outcome, Outcome::Replied) {
                waits = Some(outcome);
                break;
            }
        }
        done += 1;
    }
    batch.tally.flush(&node.statistics);
    (done, waits)
}

/// Whether a command changes the state of a connection, or ends it. Callers without one say with each call what
/// it is executed with.
fn is_about_connection(request: Request<'_>) -> bool {
    const NAMES: [&[u8]; 19] = [
        b"AUTH",
        b"HELLO",
        b"SELECT",
        b"RESET",
        b"QUIT",
        b"MONITOR",
        b"READONLY",
        b"READWRITE",
        b"ASKING",
        b"COTERIE.CONSISTENCY",
        b"SUBSCRIBE",
        b"UNSUBSCRIBE",
        b"PSUBSCRIBE",
        b"PUNSUBSCRIBE",
        b"SSUBSCRIBE",
        b"SUNSUBSCRIBE",
        // Ends connections that speak it.
        b"POST",
        b"HOST:",
        b"CLIENT",
    ];
    let name = request.name();
    NAMES.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// What clients are told of a topology; `None` before there is one.
fn describe(topology: &Topology) -> Option<ClientTopology> {
    let members: Vec<_> = topology
        .members
        .iter()
        .map(|(node, member)| ClientMember {
            node: *node,
            internal: member.internal,
        })
        .collect();
    let place = |node| {
        let index = members.binary_search_by_key(&node, |member| member.node);
        index.ok().and_then(|index| u16::try_from(index).ok())
    };
    let replicas = topology.placements.iter().map(|placement| {
        let readers = match &placement.change {
            Some(change) if change.step == Step::WriteBothReadNew => &change.to,
            _ => &placement.replicas,
        };
        readers.iter().filter_map(|node| place(*node)).collect()
    });
    let replicas = replicas.collect();
    ClientTopology::new(topology.cluster, topology.epoch, members, replicas)
}
