//! Executes requests that other nodes forward, in the order in which each sends them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::{NodeId, OwnedRequest, PartitionId, ReplyWriter, RespVersion};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::acl;
use super::blocking::{Places, Verb};
use super::conclude::{WRITE_UNKNOWN, conclude};
use super::execute::{Batch, Outcome, execute};
use super::perform::settle;
use super::spanning;
use super::spec::Flags;
use super::table;
use crate::clients::Client;
use crate::node::Node;
use crate::replication::wire::ExecuteHead;
use crate::replication::{Executing, Operation, Sent, wire};
use crate::session::{Consistency, Session};
use crate::transport::{CallId, Inbound};

/// A write that was sent longer ago, clocks being as far apart as they may, is refused: its sender may have given up on
/// this node, and had it executed elsewhere.
pub(super) const WRITE_AGE_MS_MAX: u64 = 1000;
/// How long a request waits for the epoch that it was routed under.
const LEARNT_WITHIN: Duration = Duration::from_millis(500);
/// Said of it. Nothing was done.
const TOO_LATE: &[u8] = b"TRYAGAIN The request came too late";
/// Requests of one node that wait to be executed; more, and it is disconnected.
const QUEUED_REQUESTS_MAX: usize = 65_536;

/// Tasks that execute, one for each node that forwards.
#[derive(Default)]
pub struct Executors {
    senders: Mutex<HashMap<NodeId, mpsc::Sender<Forwarded>>>,
    places: Arc<Places>,
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
            tokio::spawn(run(node.clone(), receiver, self.places.clone()));
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

fn writes(request: &OwnedRequest) -> bool {
    let flags = Flags::WRITE | Flags::MAY_REPLICATE;
    table::lookup(request.request()).is_ok_and(|command| command.spec.flags.intersects(flags))
}

async fn run(node: Arc<Node>, mut requests: mpsc::Receiver<Forwarded>, places: Arc<Places>) {
    let mut client = None;
    let mut comparing = Comparing::default();
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
        if let Some(replication) = node.replication.get()
            && !replication.has_reached(head.epoch)
        {
            // By older routes it would be refused, and what the client has sent right behind it executed, should this node
            // learn of the new ones in between.
            let reached = replication.reached(head.epoch);
            let _ = timeout(LEARNT_WITHIN, reached).await;
        }
        let mut session = session_of(&node, client.clone(), &head);
        let mut request = OwnedRequest::new(&arguments);
        let mut place = None;
        match Verb::read(&request) {
            None => {}
            Some((Verb::Try, id, inner)) => {
                place = Some(id);
                request = inner;
            }
            Some((Verb::Await, id, _)) => {
                let places = places.clone();
                tokio::spawn(async move { from.reply(call, &places.wait(id).await.encode()) });
                continue;
            }
            Some((Verb::Leave, id, _)) => {
                places.leave(id);
                from.reply(call, &[]);
                continue;
            }
        }
        if !head.rights.is_empty() {
            match acl::account_of_rights(&head.rights) {
                Ok(account) => session.user = Some(account),
                Err(error) => {
                    refuse(&from, call, &session, error.to_line());
                    continue;
                }
            }
        }
        let age_ms = node.now_ms().saturating_sub(head.sent_ms);
        if head.sent_ms > 0 && age_ms > WRITE_AGE_MS_MAX && writes(&request) {
            refuse(&from, call, &session, TOO_LATE);
            continue;
        }
        comparing.wait_for(&node, &request).await;
        // The origin waits longer, even if the clocks are as far apart as they may be.
        let timeout_ms = u64::from(node.config.load().write_timeout_ms);
        let waits_ms = WRITE_AGE_MS_MAX.min(timeout_ms).saturating_sub(age_ms);
        let until = Instant::now() + Duration::from_millis(waits_ms);
        let read = match place {
            None => execute_one(&node, session, request, (from, call), until).await,
            Some(place) => {
                let mut out = Vec::new();
                let executed = places.execute(&node, &mut session, place, &request, &mut out);
                match executed.await {
                    Some(answer) => {
                        from.reply(call, &answer.encode());
                        None
                    }
                    None => reply(&node, session, out, (from, call), (None, until)),
                }
            }
        };
        comparing.reads.extend(read);
    }
}

fn refuse(from: &Inbound, call: CallId, session: &Session, line: impl AsRef<[u8]>) {
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, session.resp).error(line);
    from.reply(call, &out);
}

/// The session of a request, as its origin describes it.
fn session_of(node: &Node, client: Arc<Client>, head: &ExecuteHead) -> Session {
    let mut session = Session::new(client, true);
    session.database = head.database;
    session.resp = if head.resp3 {
        RespVersion::Resp3
    } else {
        RespVersion::Resp2
    };
    session.no_touch = !head.touch;
    session.forwarded = true;
    session.internal = true;
    session.consistency = Consistency {
        read: head.read,
        write: head.write,
        local_reads: head.local,
    };
    session.operation = head.operation.as_ref().map(Operation::received);
    if !head.partitions.is_empty() {
        let count = node.engine.store().layout().count();
        session.partitions = Some(spanning::from_bits(&head.partitions, count).into());
    }
    session
}

/// Reads that are being compared with other replicas, and may have to be executed again: a write on the same partition
/// has to come after.
#[derive(Default)]
struct Comparing {
    reads: Vec<(PartitionId, JoinHandle<()>)>,
}

impl Comparing {
    async fn wait_for(&mut self, node: &Node, request: &OwnedRequest) {
        self.reads.retain(|(_, read)| !read.is_finished());
        if self.reads.is_empty() {
            return;
        }
        let Ok(command) = table::lookup(request.request()) else {
            return;
        };
        if !command.spec.flags.intersects(Flags::WRITE) {
            return;
        }
        let key = command.spec.keys.of(request.request()).next();
        let partition = key.map(|key| node.engine.store().partition_of(key));
        let is_before = |read: &mut (PartitionId, JoinHandle<()>)| {
            partition.is_none_or(|partition| read.0 == partition)
        };
        for (_, read) in self.reads.extract_if(.., is_before) {
            // A panic has answered nobody; the write is not to suffer.
            let _ = read.await;
        }
    }
}

/// Executes a request before the next one is; what it waits for then holds up nobody. Returns a read that is still being
/// compared.
async fn execute_one(
    node: &Arc<Node>,
    mut session: Session,
    request: OwnedRequest,
    (from, call): (Arc<Inbound>, CallId),
    until: Instant,
) -> Option<(PartitionId, JoinHandle<()>)> {
    let mut out = Vec::new();
    let awaited = node.replication.get().map(|it| &it.awaited);
    let is_executed = |write| awaited.map(|it| it.executing(write, &from, until));
    let operation = session.operation.as_ref().map(|it| it.id);
    let executing = operation.and_then(|id| is_executed(Sent::Operation(id)));
    loop {
        let mut batch = Batch::begin(node);
        let outcome = execute(node, &mut session, request.request(), &mut out, &mut batch);
        batch.tally.flush(&node.statistics);
        drop(batch);
        match outcome {
            Outcome::Replied => break,
            Outcome::Deferred(pending) => {
                let node = node.clone();
                tokio::spawn(async move {
                    let reply = pending.wait(&node).await;
                    from.reply(call, &reply);
                });
                return None;
            }
            outcome => {
                if settle(node, &mut session, outcome, &mut out).await {
                    break;
                }
            }
        }
    }
    reply(node, session, out, (from, call), (executing, until))
}

/// Answers a request that was executed, once what it waits for is done: an operation, or records that its origin waits
/// for until then at least. Returns a read that is still being compared.
fn reply(
    node: &Arc<Node>,
    mut session: Session,
    mut out: Vec<u8>,
    (from, call): (Arc<Inbound>, CallId),
    (operation, until): (Option<Executing>, Instant),
) -> Option<(PartitionId, JoinHandle<()>)> {
    let outstanding = std::mem::take(&mut session.outstanding);
    let mut executing: SmallVec<[Executing; 1]> = operation.into_iter().collect();
    if executing.is_empty()
        && let Some(replication) = node.replication.get()
    {
        let records = outstanding.records.iter().map(|end| Sent::Record(*end));
        executing.extend(records.map(|write| replication.awaited.executing(write, &from, until)));
    }
    if outstanding.is_empty() {
        executing.iter_mut().for_each(Executing::acknowledged);
        from.reply(call, &out);
        return None;
    }
    let read = outstanding.reads.first().map(|read| read.subject.partition);
    let (node, origin) = (node.clone(), session.origin());
    let concluding = tokio::spawn(async move {
        let is_acknowledged = conclude(outstanding, &node, &origin, &mut out).await;
        if executing.iter().any(Executing::is_lost) {
            out.clear();
            ReplyWriter::new(&mut out, origin.resp).error(WRITE_UNKNOWN);
        } else if is_acknowledged {
            executing.iter_mut().for_each(Executing::acknowledged);
        }
        from.reply(call, &out);
    });
    read.map(|partition| (partition, concluding))
}
