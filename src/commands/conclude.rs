//! Completes replies before they leave: waits for replicas, compares reads, collects forwarded answers.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::{OwnedRequest, ReplyWriter, RespVersion};
use tokio::time::Instant;

use super::perform::perform;
use super::remote::WRITE_AGE_MS_MAX;
use crate::node::Node;
use crate::outstanding::{Forward, Outstanding, Read};
use crate::replication::routes::is_available;
use crate::replication::{Barrier, Operation, ReadKey, Replication, Unanswered};
use crate::session::{Origin, Session};
use crate::topology;
use crate::transport::{CallError, SendError};

/// Said of a write that too few replicas have acknowledged in time (I3).
pub(super) const WRITE_UNKNOWN: &[u8] =
    b"NOQUORUM Not enough replicas acknowledged the write in time. It may have taken effect.";
/// Said of a read that too few replicas have answered.
pub(super) const READ_FAILED: &[u8] = b"NOQUORUM Not enough replicas answered in time.";
/// Said of a write that no node was given.
const NOT_WRITTEN: &[u8] = b"NOREPLICAS Not enough good replicas to write.";
/// Said of a request that no node takes from another.
const TOO_LARGE: &[u8] = b"ERR the request is larger than what nodes send each other";
/// How the answer of a node begins that does not hold the partition (any more).
pub(super) const TRY_AGAIN: &[u8] = b"-TRYAGAIN";
/// How the answer of a node begins that finds too few replicas.
const NO_REPLICAS: &[u8] = b"-NOREPLICAS";
/// How the answers begin of a node that has done nothing.
const NOTHING_DONE: [&[u8]; 2] = [TRY_AGAIN, NO_REPLICAS];
/// How answers begin after which an operation is tried once more.
const IN_DOUBT: [&[u8]; 3] = [TRY_AGAIN, NO_REPLICAS, b"-NOQUORUM"];
/// How often a request is sent on to where its partition has moved…
pub(super) const TRIES_MAX: u8 = 50;
/// … and after what pause.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(10);
/// A replica that has fallen silent is not waited for longer than this, where another can be asked instead.
const SILENCE_CHECK: Duration = Duration::from_millis(10);

/// A part of the output, and what takes its place.
type Edit = (Range<usize>, Vec<u8>);

/// Waits for everything, and puts the replies in `out` right. Returns whether enough replicas have what was written here.
pub async fn conclude(
    mut outstanding: Outstanding,
    node: &Arc<Node>,
    origin: &Origin,
    out: &mut Vec<u8>,
) -> bool {
    let local = outstanding.barrier.local();
    let Some(replication) = node.replication.get() else {
        local.reached(node.engine.log()).await;
        return true;
    };
    let records = std::mem::take(&mut outstanding.records);
    let unanswered = Unanswered::new(&replication.awaited, &records);
    local.reached(node.engine.log()).await;
    let timeout = Duration::from_millis(node.config.load().write_timeout_ms.into());
    let deadline = origin.deadline.unwrap_or(Instant::now() + timeout);
    let mut edits = Vec::new();
    if !outstanding.reads.is_empty() {
        let reads = std::mem::take(&mut outstanding.reads);
        verify(node, replication, origin, reads, deadline, &mut edits).await;
    }
    for forward in std::mem::take(&mut outstanding.forwards) {
        let at = forward.at;
        let withheld = forward.withheld;
        let reply = complete(node, origin, forward, deadline).await;
        if !withheld {
            edits.push((at..at, reply));
        }
    }
    let acknowledged = replication.waiters.wait(&outstanding.barrier, deadline);
    let is_acknowledged = acknowledged.await.is_ok() && !unanswered.are_lost();
    if is_acknowledged {
        unanswered.told(&outstanding.barrier);
    } else {
        drop(unanswered);
        for reply in &outstanding.writes {
            edits.push((reply.clone(), error(origin.resp, WRITE_UNKNOWN)));
        }
    }
    apply(edits, out);
    is_acknowledged
}

fn error(resp: RespVersion, line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, resp).error(line);
    out
}

fn apply(mut edits: Vec<Edit>, out: &mut Vec<u8>) {
    if edits.is_empty() {
        return;
    }
    // What is inserted where another part begins belongs before it; insertions at one place keep their order.
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let added: usize = edits.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut edited = Vec::with_capacity(out.len() + added);
    let mut copied = 0;
    for (range, bytes) in edits {
        edited.extend_from_slice(&out[copied..range.start]);
        edited.extend_from_slice(&bytes);
        copied = range.end;
    }
    edited.extend_from_slice(&out[copied..]);
    *out = edited;
}

/// Compares what was read with other replicas. Reads that were behind are executed again on the merged state, which
/// has reached a quorum before they are answered, so that reads never go back.
async fn verify(
    node: &Arc<Node>,
    replication: &Arc<Replication>,
    origin: &Origin,
    mut reads: Vec<Read>,
    deadline: Instant,
    edits: &mut Vec<Edit>,
) {
    let keys: Vec<ReadKey> = reads
        .iter_mut()
        .flat_map(|read| std::mem::take(&mut read.keys))
        .collect();
    let Ok(differing) = replication.verify(&keys, deadline).await else {
        for read in reads {
            let reply = read_again(node, origin, &read.request, deadline).await;
            edits.push((read.reply, reply));
        }
        return;
    };
    if differing.is_empty() {
        return;
    }
    let mut written = Barrier::default();
    let mut repeated = Vec::new();
    for read in reads {
        let is_concerned = |key: &&ReadKey| key.partition == read.subject.partition;
        if !differing.iter().any(|&number| is_concerned(&&keys[number])) {
            continue;
        }
        // All of them: by now others may have changed, too.
        let concerned: Vec<&ReadKey> = keys.iter().filter(is_concerned).collect();
        let Some(quorum) = concerned.first().map(|key| key.quorum) else {
            continue;
        };
        let mut session = origin.session();
        session.consistency.read = Some(topology::Quorum::Count(1));
        let reply = Box::pin(perform(node, &mut session, &read.request)).await;
        let names = concerned
            .iter()
            .map(|key| (key.database, key.key.as_slice()));
        if let Some(offset) = replication
            .engine
            .append_state(read.subject.partition, names)
        {
            written.add(quorum, offset);
        }
        repeated.push((read.reply, reply));
    }
    let reached = replication.waiters.wait(&written, deadline).await.is_ok();
    for (range, reply) in repeated {
        let reply = if reached {
            reply
        } else {
            error(origin.resp, READ_FAILED)
        };
        edits.push((range, reply));
    }
}

/// Executes a read once more that could not be compared: its partition may have moved meanwhile, and other replicas be
/// asked.
async fn read_again(
    node: &Arc<Node>,
    origin: &Origin,
    request: &OwnedRequest,
    deadline: Instant,
) -> Vec<u8> {
    if origin.tries >= TRIES_MAX || Instant::now() >= deadline {
        return error(origin.resp, READ_FAILED);
    }
    tokio::time::sleep(RETRY_AFTER).await;
    let mut session = sent_on(origin, deadline);
    Box::pin(perform(node, &mut session, request)).await
}

/// A session to execute a request in once more, within the same time.
fn sent_on(origin: &Origin, deadline: Instant) -> Session {
    let mut session = origin.session();
    session.tries = session.tries.saturating_add(1);
    session.deadline = Some(deadline);
    session
}

/// Waits for the answer to a forwarded request; where that is allowed, has it executed again if none comes.
async fn complete(
    node: &Arc<Node>,
    origin: &Origin,
    mut forward: Forward,
    deadline: Instant,
) -> Vec<u8> {
    // Later than this the other node does not begin with it any more.
    let too_late = WRITE_AGE_MS_MAX + u64::from(node.config.load().max_drift_ms);
    let too_late = forward.sent + Duration::from_millis(too_late);
    let mut may_begin = false;
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut forward.answer => break answer,
            () = tokio::time::sleep(SILENCE_CHECK) => {
                let now = Instant::now();
                let is_gone = match forward.operation {
                    Some(_) => now > too_late && !forward.peer.is_connected(),
                    // A write that is only late must not be done twice.
                    None => forward.repeatable && !forward.writes && !forward.peer.is_live(),
                };
                if is_gone || now >= deadline {
                    may_begin = now <= too_late;
                    break Err(CallError::Broken);
                }
            }
        }
    };
    if origin.again {
        return answer_again(origin, &forward, answer);
    }
    match answer {
        // Nothing was done: the other node has other routes, which this one will have too in a moment; or it was away, and
        // has not found the other replicas again.
        Ok(reply) if origin.tries < TRIES_MAX && is_passing(node, origin, &forward, &reply) => {
            tokio::time::sleep(RETRY_AFTER).await;
            let mut session = sent_on(origin, deadline);
            Box::pin(perform(node, &mut session, &forward.request)).await
        }
        Ok(reply) => reply.to_vec(),
        Err(CallError::Send(SendError::TooLarge)) => error(origin.resp, TOO_LARGE),
        Err(CallError::Send(reason)) => {
            if origin.tries >= TRIES_MAX || Instant::now() >= deadline {
                return error(origin.resp, not_sent(&forward));
            }
            // Nothing was done there.
            let pause = async {
                match forward.peer.link().filter(|_| reason == SendError::Busy) {
                    Some(link) => link.writable().await,
                    None => tokio::time::sleep(RETRY_AFTER).await,
                }
            };
            let _ = tokio::time::timeout_at(deadline, pause).await;
            let mut session = sent_on(origin, deadline);
            Box::pin(perform(node, &mut session, &forward.request)).await
        }
        Err(_) if forward.operation.is_some() && !may_begin => {
            let timeout = Duration::from_millis(node.config.load().write_timeout_ms.into());
            execute_once(
                node,
                origin,
                (&forward.operation, &forward.request),
                deadline + timeout,
            )
            .await
        }
        Err(_) if forward.repeatable && origin.tries < TRIES_MAX && Instant::now() < deadline => {
            let mut session = sent_on(origin, deadline);
            let reply = Box::pin(perform(node, &mut session, &forward.request)).await;
            if forward.writes && reply.starts_with(b"-") {
                // Whatever it says of the second attempt, the first may have had an effect.
                error(origin.resp, WRITE_UNKNOWN)
            } else {
                reply
            }
        }
        Err(_) if forward.writes => error(origin.resp, WRITE_UNKNOWN),
        Err(_) => error(origin.resp, READ_FAILED),
    }
}

/// What is said of a request that could not be sent on.
fn not_sent(forward: &Forward) -> &'static [u8] {
    if forward.writes {
        NOT_WRITTEN
    } else {
        READ_FAILED
    }
}

/// Whether a node has done nothing for a reason that will be gone in a moment.
fn is_passing(node: &Node, origin: &Origin, forward: &Forward, reply: &[u8]) -> bool {
    if reply.starts_with(TRY_AGAIN) {
        return true;
    }
    let Some(replication) = node.replication.get() else {
        return false;
    };
    let routes = replication.routes();
    let policy = routes.policy(origin.database);
    let quorums = routes.route(forward.subject.partition);
    let quorums = quorums.write_quorums(&policy, origin.consistency.write);
    let sees = |quorum| is_available(quorum, &replication.peers);
    reply.starts_with(NO_REPLICAS) && quorums.iter().all(sees)
}

/// Has an operation executed whose executor is gone without an answer, unless it was.
async fn execute_once(
    node: &Arc<Node>,
    origin: &Origin,
    (operation, request): (&Option<Operation>, &OwnedRequest),
    deadline: Instant,
) -> Vec<u8> {
    loop {
        let mut session = origin.session();
        session.operation.clone_from(operation);
        session.proxied = true;
        let reply = Box::pin(perform(node, &mut session, request)).await;
        if !IN_DOUBT.iter().any(|error| reply.starts_with(error)) {
            return reply;
        }
        if Instant::now() >= deadline {
            return error(origin.resp, WRITE_UNKNOWN);
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// What came of an operation that was sent on once more.
fn answer_again(origin: &Origin, forward: &Forward, answer: Result<Bytes, CallError>) -> Vec<u8> {
    let Ok(reply) = answer else {
        return error(origin.resp, WRITE_UNKNOWN);
    };
    if let Some(operation) = &forward.operation
        && NOTHING_DONE.iter().any(|error| reply.starts_with(error))
    {
        operation.not_executed_by(forward.peer.id);
    }
    reply.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_put_in_their_places() {
        let mut out = b"aabbcc".to_vec();
        let edits = vec![
            (2..4, b"B".to_vec()),
            (4..6, b"".to_vec()),
            (2..2, b"1".to_vec()),
            (2..2, b"2".to_vec()),
            (0..0, b"0".to_vec()),
            (6..6, b"3".to_vec()),
        ];
        apply(edits, &mut out);
        assert_eq!(out, b"0aa12B3");
    }
}
