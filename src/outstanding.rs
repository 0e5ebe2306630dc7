//! What the replies of a connection still wait for. `commands::conclude` completes them.
//!
//! Commands of a pipeline are executed one after the other; what takes a round trip to other nodes (a replica's
//! acknowledgement, the comparison of a read, the answer to a forwarded request) is waited for once, for all of
//! them, before the replies are sent.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use coterie_protocol::{OwnedRequest, PartitionId};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::replication::{Barrier, EpochGuard, Local, Operation, Peer, ReadKey};
use crate::topology::BoxFuture;
use crate::transport::CallError;
use crate::wal::LogOffset;

/// See the module. Positions are in the connection's output.
#[derive(Default)]
pub struct Outstanding {
    /// Marks that must be reached.
    pub barrier: Barrier,
    /// Where the records of those writes end that replicas are to have.
    pub records: SmallVec<[LogOffset; 4]>,
    /// Replies of writes that wait for the marks.
    pub writes: Vec<Range<usize>>,
    /// What they are about: other nodes may not have it yet.
    pub changed: Vec<Subject>,
    /// Reads to be compared.
    pub reads: Vec<Read>,
    /// Requests that other nodes execute.
    pub forwards: Vec<Forward>,
    guards: SmallVec<[Arc<EpochGuard>; 1]>,
}

/// What a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The partition of its keys.
    pub partition: PartitionId,
    /// Hash of its key; `None` if it has several.
    pub key: Option<u64>,
}

impl Subject {
    fn overlaps(&self, other: &Subject) -> bool {
        self.partition == other.partition
            && (self.key.is_none() || other.key.is_none() || self.key == other.key)
    }
}

/// A read whose reply is there, and whose keys are to be compared.
pub struct Read {
    /// The reply.
    pub reply: Range<usize>,
    /// What it is about.
    pub subject: Subject,
    /// To execute it again.
    pub request: OwnedRequest,
    /// What was seen.
    pub keys: Vec<ReadKey>,
}

/// A request that another node executes.
pub struct Forward {
    /// Where its reply belongs.
    pub at: usize,
    /// Whether the client does not want the reply.
    pub withheld: bool,
    /// What it is about.
    pub subject: Subject,
    /// Whether it may change something.
    pub writes: bool,
    /// Who executes it.
    pub peer: Arc<Peer>,
    /// To have it executed again.
    pub request: OwnedRequest,
    /// Whether it may be executed twice.
    pub repeatable: bool,
    /// What it is known by if it may not.
    pub operation: Option<Operation>,
    /// When it was sent.
    pub sent: Instant,
    /// The reply to come.
    pub answer: BoxFuture<'static, Result<Bytes, CallError>>,
}

/// What a command is about to do, with regard to those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Whether it may change something.
    pub writes: bool,
    /// The number of the node that executes it; 0 for this one.
    pub node: usize,
}

impl Outstanding {
    /// Whether the replies may leave at once.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.barrier.is_empty() && self.reads.is_empty() && self.forwards.is_empty()
    }

    /// Where the own log must be, if that is all there is to wait for.
    pub fn only_local(&self) -> Option<Local> {
        let others = !self.barrier.conditions().is_empty()
            || !self.reads.is_empty()
            || !self.forwards.is_empty();
        let local = self.barrier.local();
        (!others && !local.is_empty()).then_some(local)
    }

    /// Whether there is anything that later commands may have to wait for.
    #[inline]
    pub fn orders_commands(&self) -> bool {
        !self.reads.is_empty() || !self.forwards.is_empty()
    }

    /// Keeps the epoch of a request from being over.
    pub fn hold(&mut self, guard: &Arc<EpochGuard>) {
        if !self.guards.iter().any(|held| Arc::ptr_eq(held, guard)) {
            self.guards.push(guard.clone());
        }
    }

    /// Lets the epochs of requests be over.
    #[inline]
    pub fn release(&mut self) {
        self.guards.clear();
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

    /// Whether what came before has to be completed first, so that commands on one key keep their order: a read may
    /// have to be executed again, what was changed here has to reach the node that executes the next, what is
    /// forwarded is executed elsewhere, and may be a second time.
    pub fn conflicts(&self, subject: &Subject, step: Step) -> bool {
        let reads = step.writes && self.reads.iter().any(|read| read.subject.overlaps(subject));
        let changed =
            || step.node != 0 && self.changed.iter().any(|earlier| earlier.overlaps(subject));
        reads
            || changed()
            || self.forwards.iter().any(|forward| {
                forward.subject.overlaps(subject)
                    && (step.writes || forward.writes)
                    && (forward.repeatable || step.node != forward.peer.index)
            })
    }
}
