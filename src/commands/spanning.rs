//! Commands that span partitions in a cluster: taken apart, executed where the parts are, and put together again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::{
    Epoch, Frame, OwnedRequest, PartitionId, ReplyWriter, Request, RespVersion, frame,
};
use tokio::task::JoinSet;

use super::acl;
use super::call::Deferred;
use super::conclude::WRITE_UNKNOWN;
use super::error::{CommandError, CommandResult};
use super::perform::perform;
use super::routing::Router;
use super::spec::{CommandSpec, Flags};
use crate::effect::Effect;
use crate::engine::Scope;
use crate::node::Node;
use crate::outstanding::Outstanding;
use crate::replication::routes::{Route, Routes};
use crate::replication::{Operation, Peer, Replication, Unanswered, wire};
use crate::session::{Consistency, Origin, Session};
use crate::topology::{BoxFuture, Policy};
use crate::transport::{CallError, Service};

/// A part that failed because a node is gone is tried again elsewhere, so many times.
const TRIES: usize = 3;
/// … after this time.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Keys of one part of a command.
const NOT_ANSWERED: &[u8] = b"NOREPLICAS Not enough good replicas to read.";

/// Sends a request to another node.
pub fn forward(
    peer: &Peer,
    session: &Session,
    epoch: Epoch,
    sent_ms: u64,
    partitions: &[u8],
    operation: Option<&Operation>,
    request: Request<'_>,
) -> BoxFuture<'static, Result<Bytes, CallError>> {
    let head = wire::ExecuteHead {
        epoch,
        sent_ms,
        database: session.database,
        resp3: session.resp == RespVersion::Resp3,
        touch: !session.no_touch,
        read: session.consistency.read,
        write: session.consistency.write,
        local: session.consistency.local_reads,
        partitions: partitions.to_vec(),
        operation: operation.map(Operation::head),
        rights: acl::rights_of_script(session, request),
    };
    let body = wire::execution(&head, request.iter());
    match peer.link() {
        Some(link) => Box::pin(link.call(Service::Execute, &body)),
        None => Box::pin(async { Err(CallError::Broken) }),
    }
}

/// How long other nodes are waited for where their answer does not matter.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Has the other nodes that are connected execute a request too, unless one of them sent it. Waits until they have, but
/// not for long.
pub fn on_other_nodes(
    node: &Arc<Node>,
    session: &Session,
    request: &OwnedRequest,
) -> impl Future<Output = ()> + Send + use<> {
    let replication = node.replication.get().filter(|_| !session.forwarded);
    let mut answers = Vec::new();
    if let Some(replication) = replication {
        let epoch = replication.routes().epoch;
        for peer in replication
            .peers
            .all()
            .iter()
            .skip(1)
            .filter(|peer| peer.is_connected())
        {
            let request = request.request();
            answers.push(forward(peer, session, epoch, 0, &[], None, request));
        }
    }
    async move {
        let all = async {
            for answer in answers {
                // Who does not answer is away.
                let _ = answer.await;
            }
        };
        let _ = tokio::time::timeout(TOLD_WITHIN, all).await;
    }
}

/// Executes a command that is about several partitions.
///
/// # Errors
/// Its arguments are wrong.
pub fn parts(
    node: &Arc<Node>,
    session: &Session,
    spec: &CommandSpec,
    request: Request<'_>,
) -> Result<Deferred, CommandError> {
    let (node, origin) = (node.clone(), session.origin());
    match spec.name {
        "flushall" | "flushdb" => {
            check_flush(request)?;
            let everything = spec.name == "flushall";
            let request = OwnedRequest::from(request);
            match session.partitions.clone() {
                Some(partitions) => Ok(Box::pin(async move {
                    flush(&node, &origin, &partitions, everything).await
                })),
                None => Ok(Box::pin(async move {
                    let replies = everywhere(&node, &origin, request).await;
                    match doubt(&replies, origin.resp) {
                        Some(doubt) => doubt,
                        None => combine(&replies, origin.resp, |reply, _| reply.ok()),
                    }
                })),
            }
        }
        "mset" if request.len().is_multiple_of(2) => Err(CommandError::Arity("mset".into())),
        name => {
            let request = OwnedRequest::from(request);
            let writes = spec.flags.contains(Flags::WRITE);
            Ok(Box::pin(split(
                node,
                origin,
                name_of(name),
                writes,
                request,
            )))
        }
    }
}

/// How the parts of a command make a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// A value for each key, in the order of keys.
    Values,
    /// `OK`.
    Ok,
    /// The sum of integers.
    Sum,
}

fn name_of(name: &str) -> Whole {
    match name {
        "mget" => Whole::Values,
        "mset" => Whole::Ok,
        _ => Whole::Sum,
    }
}

/// A command with keys in several partitions: one command for each.
async fn split(
    node: Arc<Node>,
    origin: Origin,
    whole: Whole,
    writes: bool,
    request: OwnedRequest,
) -> Vec<u8> {
    let step = if whole == Whole::Ok { 2 } else { 1 };
    let mut parts: BTreeMap<PartitionId, Vec<usize>> = BTreeMap::new();
    let words = request.request();
    for index in (1..words.len()).step_by(step) {
        let partition = node.engine.store().partition_of(words.arg(index));
        parts.entry(partition).or_default().push(index);
    }
    let mut tasks = JoinSet::new();
    for indexes in parts.into_values() {
        let mut arguments = vec![words.name()];
        for &index in &indexes {
            arguments.extend((index..index + step).map(|index| words.arg(index)));
        }
        let part = OwnedRequest::new(&arguments);
        let (node, mut session) = (node.clone(), origin.session());
        tasks.spawn(async move { (indexes, perform(&node, &mut session, &part).await) });
    }
    let done = tasks.join_all().await;
    if whole != Whole::Values {
        let replies: Vec<Vec<u8>> = done.into_iter().map(|(_, reply)| reply).collect();
        if let Some(doubt) = doubt(&replies, origin.resp).filter(|_| writes) {
            return doubt;
        }
        return combine(&replies, origin.resp, |reply, sum| match whole {
            Whole::Ok => reply.ok(),
            _ => reply.integer(sum),
        });
    }
    let mut values: BTreeMap<usize, Option<Vec<u8>>> = BTreeMap::new();
    for (indexes, reply) in done {
        match frame::decode(&reply) {
            Ok(Some((Frame::Array { data, .. }, _))) if data.len() == indexes.len() => {
                let data = data.into_iter().map(|value| match value {
                    Frame::BlobString { data, .. } => Some(data),
                    _ => None,
                });
                values.extend(indexes.into_iter().zip(data));
            }
            _ => return reply,
        }
    }
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, origin.resp);
    reply.array(values.len());
    for value in values.into_values() {
        match value {
            Some(value) => reply.bulk(&value),
            None => reply.null(),
        }
    }
    out
}

/// What is said of a write that not all nodes have done, although some have, or may have. `None` if all have, or none.
fn doubt(replies: &[Vec<u8>], resp: RespVersion) -> Option<Vec<u8>> {
    let is_error = |reply: &&Vec<u8>| reply.starts_with(b"-");
    let failed = replies.iter().filter(is_error).count();
    // What was not answered is none of these, though it says that it was to be read.
    let unknown = replies.iter().any(|reply| {
        reply.starts_with(b"-NOQUORUM")
            || reply
                .get(1..)
                .is_some_and(|line| line.starts_with(NOT_ANSWERED))
    });
    let is_partial = failed > 0 && failed < replies.len();
    (unknown || is_partial).then(|| {
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, resp).error(WRITE_UNKNOWN);
        out
    })
}

/// Makes one reply of many: the first error, if there is one, else what `write` makes of the sum of integers.
pub fn combine(
    replies: &[Vec<u8>],
    resp: RespVersion,
    write: impl FnOnce(&mut ReplyWriter<'_>, i64),
) -> Vec<u8> {
    let mut sum = 0;
    for reply in replies {
        match frame::decode(reply) {
            Ok(Some((Frame::Number { data, .. }, _))) => sum += data,
            Ok(Some((Frame::SimpleError { .. } | Frame::BlobError { .. }, _))) => {
                return reply.clone();
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    write(&mut ReplyWriter::new(&mut out, resp), sum);
    out
}

/// Executes a request on nodes that together hold every partition, each for its part. Returns their replies.
pub async fn everywhere(node: &Arc<Node>, origin: &Origin, request: OwnedRequest) -> Vec<Vec<u8>> {
    let Some(replication) = node.replication.get() else {
        return Vec::new();
    };
    let mut left: Vec<PartitionId> = node.engine.store().ids().collect();
    let mut replies = Vec::new();
    for _ in 0..TRIES {
        let Some(shares) = share_out(node, replication, origin, &left) else {
            break;
        };
        let mut tasks = JoinSet::new();
        for (peer, partitions) in shares {
            tasks.spawn(execute_share(
                node.clone(),
                origin.clone(),
                request.clone(),
                peer,
                partitions,
            ));
        }
        left.clear();
        for (partitions, reply) in tasks.join_all().await {
            match reply {
                Some(reply) => replies.push(reply),
                None => left.extend(partitions),
            }
        }
        if left.is_empty() {
            return replies;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    replies.push(not_answered(origin));
    replies
}

/// Executes a request that is about one whole partition on a node that answers for it.
pub async fn where_it_is(
    node: Arc<Node>,
    origin: Origin,
    partition: PartitionId,
    request: OwnedRequest,
) -> Vec<u8> {
    for _ in 0..TRIES {
        let peer = WholePartitions::new(&node, &origin).and_then(|whole| whole.peer(partition));
        if let Some(peer) = peer
            && let Some(reply) = execute_on(&node, &origin, &request, &peer, None).await
            && !reply.starts_with(b"-TRYAGAIN")
        {
            return reply;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    not_answered(&origin)
}

fn not_answered(origin: &Origin) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, origin.resp).error(NOT_ANSWERED);
    out
}

/// Who answers for partitions as a whole, where no quorum is asked for each key.
pub struct WholePartitions {
    node: Arc<Node>,
    routes: Arc<Routes>,
    policy: Policy,
    /// Whether what this node has is good enough though it may have missed writes.
    takes_any: bool,
}

impl WholePartitions {
    /// For a client's requests. `None` if this node is alone: then it does.
    pub fn new(node: &Arc<Node>, origin: &Origin) -> Option<Self> {
        let replication = node.replication.get()?;
        if !replication.is_clustered() {
            return None;
        }
        let routes = replication.routes();
        let policy = routes.policy(origin.database);
        let Consistency {
            read, local_reads, ..
        } = origin.consistency;
        let level = read.unwrap_or(policy.read_quorum);
        let replicas = usize::from(policy.replicas);
        Some(WholePartitions {
            node: node.clone(),
            routes,
            policy,
            takes_any: origin.forwarded || local_reads && read.is_none() || level.of(replicas) <= 1,
        })
    }

    /// Whether this node does.
    pub fn is_here(&self, partition: PartitionId) -> bool {
        let route = self.routes.route(partition);
        route.is_local(&self.policy)
            && (self.takes_any || !self.is_behind(partition) || self.other(route).is_none())
    }

    fn is_behind(&self, partition: PartitionId) -> bool {
        let replication = self.node.replication.get();
        replication.is_some_and(|replication| replication.is_behind(partition))
    }

    fn other(&self, route: &Route) -> Option<Arc<Peer>> {
        let mut readers = route.readers(&self.policy).iter();
        readers
            .find(|peer| peer.index != 0 && peer.is_live())
            .cloned()
    }

    /// The node that does; `None` if none is there that could.
    fn peer(&self, partition: PartitionId) -> Option<Arc<Peer>> {
        let route = self.routes.route(partition);
        if self.is_here(partition) {
            let replication = self.node.replication.get()?;
            return Some(replication.peers.own());
        }
        let other = self.other(route);
        other.or_else(|| route.first_live(&self.policy).cloned())
    }
}

/// Deals partitions out to the nodes that answer for them. `None` if one has no live replica.
fn share_out(
    node: &Arc<Node>,
    replication: &Replication,
    origin: &Origin,
    partitions: &[PartitionId],
) -> Option<Vec<(Arc<Peer>, Vec<PartitionId>)>> {
    let whole = WholePartitions::new(node, origin);
    let own = replication.peers.own();
    let mut shares: BTreeMap<usize, (Arc<Peer>, Vec<PartitionId>)> = BTreeMap::new();
    for &partition in partitions {
        let peer = match &whole {
            Some(whole) => whole.peer(partition)?,
            None => own.clone(),
        };
        let share = shares
            .entry(peer.index)
            .or_insert_with(|| (peer, Vec::new()));
        share.1.push(partition);
    }
    Some(shares.into_values().collect())
}

async fn execute_share(
    node: Arc<Node>,
    origin: Origin,
    request: OwnedRequest,
    peer: Arc<Peer>,
    partitions: Vec<PartitionId>,
) -> (Vec<PartitionId>, Option<Vec<u8>>) {
    let reply = execute_on(&node, &origin, &request, &peer, Some(&partitions)).await;
    (partitions, reply)
}

/// Executes a request here, or on another node that holds what it is about; `None` if that does not answer.
async fn execute_on(
    node: &Arc<Node>,
    origin: &Origin,
    request: &OwnedRequest,
    peer: &Peer,
    partitions: Option<&[PartitionId]>,
) -> Option<Vec<u8>> {
    let mut session = origin.session();
    if peer.index == 0 {
        session.partitions = partitions.map(Into::into);
        session.forwarded = true;
        return Some(Box::pin(perform(node, &mut session, request)).await);
    }
    let epoch = node
        .replication
        .get()
        .map_or(Epoch::default(), |replication| replication.routes().epoch);
    let bits = partitions.map(to_bits).unwrap_or_default();
    let timeout = Duration::from_millis(node.config.load().write_timeout_ms.into());
    let answer = forward(
        peer,
        &session,
        epoch,
        node.now_ms(),
        &bits,
        None,
        request.request(),
    );
    let reply = tokio::time::timeout(timeout, answer).await;
    reply.ok().and_then(Result::ok).map(|reply| reply.to_vec())
}

/// A set of partitions as bits.
fn to_bits(partitions: &[PartitionId]) -> Vec<u8> {
    let mut bits = Vec::new();
    for partition in partitions {
        let byte = partition.index() / 8;
        if bits.len() <= byte {
            bits.resize(byte + 1, 0);
        }
        bits[byte] |= 1 << (partition.index() % 8);
    }
    bits
}

/// The set that such bits stand for, as far as there are partitions of these numbers.
pub fn from_bits(bits: &[u8], count: u16) -> Vec<PartitionId> {
    (0..count)
        .filter(|number| {
            let byte = bits.get(usize::from(number / 8)).copied().unwrap_or(0);
            byte & 1 << (number % 8) != 0
        })
        .map(PartitionId)
        .collect()
}

/// `FLUSHALL [ASYNC|SYNC]`, and likewise `FLUSHDB`.
fn check_flush(request: Request<'_>) -> CommandResult {
    let is_mode =
        |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    match request.len() {
        1 => Ok(()),
        2 if is_mode(request.arg(1)) => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

/// Empties partitions that this node coordinates.
async fn flush(
    node: &Arc<Node>,
    origin: &Origin,
    partitions: &[PartitionId],
    everything: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(replication) = node.replication.get() else {
        return out;
    };
    let mut outstanding = Outstanding::default();
    let session = origin.session();
    for &partition in partitions {
        let (routes, guard) = replication.enter();
        let allowed = Router {
            node,
            replication,
            routes: &routes,
            session: &session,
        }
        .partition_write(partition);
        let quorums = match allowed {
            Ok(quorums) => quorums,
            Err(error) => {
                let line = error.to_line();
                let is_first = partitions.first() == Some(&partition);
                let line = if is_first { &line } else { WRITE_UNKNOWN };
                // Nobody is told of those before it.
                drop(Unanswered::new(&replication.awaited, &outstanding.records));
                ReplyWriter::new(&mut out, origin.resp).error(line);
                return out;
            }
        };
        let bytes = Effect::encoded_bytes_max(64, 64);
        while node.engine.log().room(bytes).is_err() {
            node.engine.log().wait_for_room(bytes).await;
        }
        outstanding.hold(&guard);
        let mut payload = Vec::new();
        let moment = node.moment(&node.config.load());
        let scope = Scope::Partition(partition);
        let mut transaction = node.engine.begin(scope, moment, &mut payload);
        if everything {
            transaction.clear_all();
        } else {
            transaction.clear(origin.database);
        }
        if let Some(offset) = transaction.commit() {
            outstanding.records.push(offset);
            for quorum in quorums {
                let synced = everything && node.has_synced(&node.config.load());
                outstanding.barrier.add(quorum.synced(synced), offset);
            }
        }
    }
    ReplyWriter::new(&mut out, origin.resp).ok();
    outstanding.writes.push(0..out.len());
    super::conclude::conclude(outstanding, node, origin, &mut out).await;
    out
}
