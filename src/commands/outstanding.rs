//! What the replies written so far still wait for, and how they are completed before they leave.
//!
//! Commands of a pipeline are executed one after the other; what takes a round trip to other nodes (a replica's
//! acknowledgement, the comparison of a read, the answer to a forwarded request) is waited for once, for all of
//! them, before the replies are sent.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::{OwnedRequest, PartitionId, ReplyWriter, RespVersion};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::perform::perform;
use crate::node::Node;
use crate::replication::{Barrier, EpochGuard, Peer, ReadKey, Replication};
use crate::session::Session;
use crate::topology::{self, BoxFuture};
use crate::transport::CallError;

/// Said of a write that too few replicas have acknowledged in time (I3).
const WRITE_UNKNOWN: &[u8] =
    b"NOQUORUM Not enough replicas acknowledged the write in time. It may have taken effect.";
/// Said of a read that too few replicas have answered.
const READ_FAILED: &[u8] = b"NOQUORUM Not enough replicas answered in time.";
/// A replica that has fallen silent is not waited for longer than this, where another can be asked instead.
const SILENCE_CHECK: Duration = Duration::from_millis(10);

/// See the module. Positions are in the connection's output.
#[derive(Default)]
pub struct Outstanding {
    /// Marks that must be reached.
    pub barrier: Barrier,
    writes: Vec<Range<usize>>,
    reads: Vec<Read>,
    forwards: Vec<Forward>,
    guards: SmallVec<[Arc<EpochGuard>; 1]>,
}

struct Read {
    reply: Range<usize>,
    partition: PartitionId,
    request: OwnedRequest,
    keys: Vec<ReadKey>,
}

struct Forward {
    at: usize,
    /// Whether the client does not want the reply.
    withheld: bool,
    partition: PartitionId,
    peer: Arc<Peer>,
    request: OwnedRequest,
    /// Whether it may be executed twice.
    repeatable: bool,
    answer: BoxFuture<'static, Result<Bytes, CallError>>,
}

/// What a command is about to do, with regard to those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Read here.
    Read,
    /// Write here.
    Write,
    /// Be forwarded to the node with this index.
    Forward(usize),
}

/// A part of the output, and what takes its place.
type Edit = (Range<usize>, Vec<u8>);

impl Outstanding {
    /// Whether the replies may leave at once.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.barrier.is_empty() && self.reads.is_empty() && self.forwards.is_empty()
    }

    /// Keeps the epoch of a request from being over.
    pub fn hold(&mut self, guard: &Arc<EpochGuard>) {
        if !self.guards.iter().any(|held| Arc::ptr_eq(held, guard)) {
            self.guards.push(guard.clone());
        }
    }

    /// A write whose reply is there.
    pub fn add_write(&mut self, reply: Range<usize>) {
        self.writes.push(reply);
    }

    /// A read whose reply is there, and whose keys are to be compared.
    pub fn add_read(
        &mut self,
        reply: Range<usize>,
        partition: PartitionId,
        request: OwnedRequest,
        keys: Vec<ReadKey>,
    ) {
        self.reads.push(Read {
            reply,
            partition,
            request,
            keys,
        });
    }

    /// A request that another node executes; its reply belongs at this place.
    pub fn add_forward(
        &mut self,
        at: usize,
        partition: PartitionId,
        peer: Arc<Peer>,
        request: OwnedRequest,
        repeatable: bool,
        answer: BoxFuture<'static, Result<Bytes, CallError>>,
    ) {
        self.forwards.push(Forward {
            at,
            withheld: false,
            partition,
            peer,
            request,
            repeatable,
            answer,
        });
    }

    /// The client does not want replies at this place or behind it.
    pub fn withhold_from(&mut self, start: usize) {
        self.reads.retain(|read| read.reply.start < start);
        self.writes.retain(|reply| reply.start < start);
        for forward in self.forwards.iter_mut().rev() {
            if forward.at < start {
                break;
            }
            forward.withheld = true;
        }
    }

    /// Whether what came before has to be completed first, so that commands on one partition keep their order: a
    /// read may have to be executed again, and a forwarded request is executed elsewhere.
    pub fn conflicts(&self, partition: PartitionId, step: Step) -> bool {
        let reads = step != Step::Read && self.reads.iter().any(|read| read.partition == partition);
        reads
            || self.forwards.iter().any(|forward| {
                forward.partition == partition && step != Step::Forward(forward.peer.index)
            })
    }

    /// Waits for everything, and puts the replies in `out` right.
    pub async fn conclude(mut self, node: &Arc<Node>, session: &Origin, out: &mut Vec<u8>) {
        if let Some(local) = self.barrier.local() {
            node.engine.log().wait_until_acknowledged(local).await;
        }
        let Some(replication) = node.replication.get() else {
            return;
        };
        let timeout = Duration::from_millis(node.config.load().write_timeout_ms);
        let deadline = Instant::now() + timeout;
        let mut edits = Vec::new();
        if !self.reads.is_empty() {
            let reads = std::mem::take(&mut self.reads);
            verify(node, replication, session, reads, deadline, &mut edits).await;
        }
        for forward in std::mem::take(&mut self.forwards) {
            let at = forward.at;
            let withheld = forward.withheld;
            let reply = complete(node, session, forward, deadline).await;
            if !withheld {
                edits.push((at..at, reply));
            }
        }
        if replication
            .waiters
            .wait(&self.barrier, deadline)
            .await
            .is_err()
        {
            for reply in &self.writes {
                edits.push((reply.clone(), error(session.resp, WRITE_UNKNOWN)));
            }
        }
        apply(edits, out);
    }
}

/// What a request that is executed again needs to know of its connection.
pub struct Origin {
    session: Session,
    resp: RespVersion,
}

impl Origin {
    /// Of this connection.
    pub fn of(session: &Session) -> Self {
        Origin {
            resp: session.resp,
            session: session.derived(),
        }
    }
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
    edits.sort_by_key(|(range, _)| range.start);
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
            edits.push((read.reply, error(origin.resp, READ_FAILED)));
        }
        return;
    };
    if differing.is_empty() {
        return;
    }
    let mut written = Barrier::default();
    let mut repeated = Vec::new();
    for read in reads {
        let concerned: Vec<&ReadKey> = differing
            .iter()
            .map(|&number| &keys[number])
            .filter(|key| key.partition == read.partition)
            .collect();
        let Some(quorum) = concerned.first().map(|key| key.quorum) else {
            continue;
        };
        let mut session = origin.session.derived();
        session.consistency.read = Some(topology::Quorum::Count(1));
        let reply = Box::pin(perform(node, &mut session, &read.request)).await;
        let names = concerned.iter().map(|key| (key.database, key.key.as_slice()));
        replication.wait_for_room(&concerned).await;
        if let Some(offset) = replication.engine.append_state(read.partition, names) {
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

/// Waits for the answer to a forwarded request; where that is allowed, has it executed again if none comes.
async fn complete(
    node: &Arc<Node>,
    origin: &Origin,
    mut forward: Forward,
    deadline: Instant,
) -> Vec<u8> {
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut forward.answer => break answer,
            () = tokio::time::sleep(SILENCE_CHECK) => {
                let is_silent = forward.repeatable && !forward.peer.is_live();
                if is_silent || Instant::now() >= deadline {
                    break Err(CallError::Broken);
                }
            }
        }
    };
    match answer {
        Ok(reply) => reply.to_vec(),
        Err(_) if forward.repeatable && Instant::now() < deadline => {
            let mut session = origin.session.derived();
            Box::pin(perform(node, &mut session, &forward.request)).await
        }
        Err(_) => error(origin.resp, WRITE_UNKNOWN),
    }
}
