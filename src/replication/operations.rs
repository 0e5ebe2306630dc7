//! Writes that another node executes for this one, and that must be executed exactly once also if it dies.
//!
//! # How
//! A forwarded write whose effect depends on what is there (`INCR`) is an *operation* with an id. Its executor tells the
//! id and the reply in the record ([`Effect::Operation`](crate::effect::Effect::Operation)), and every state of a key
//! that goes from replica to replica tells by which operations it was made (`store/operations.rs`): who has the effects
//! knows the operation. When the executor is gone without an answer, the origin sends the request to the first live
//! replica, the *settler*, and tells who was asked before. The settler
//!
//! 1. has a majority of the replicas, itself included, *abandon* the executor: they take in nothing more of what it has
//!    sent, until it asks anew how far they are, and agree only if it is gone for them too;
//! 2. brings what it knows of the keys up to date with replicas of that majority;
//! 3. looks, under the partition's lock, whether it knows the operation now. If so, the state is written to a quorum, as
//!    read repair does, and the recorded reply is the answer. If not, it writes over what is there
//!    ([`Transaction::overwrite`](crate::engine::Transaction::overwrite)), executes the request on that, and notes the
//!    operation as executed again.
//!
//! # Why it is right
//! *Nothing acknowledged is lost.* Only writes that need so many replicas are operations that they meet every majority
//! (a connection that chooses less for a key of such a database loses it with the executor). What the executor has acknowledged, to whomever, a majority had, so one of those
//! who abandon it has, and step 2 brings it before anything is written over. What it has not can't be acknowledged any
//! more: every majority has one of those, who take in nothing of it until it asks anew, and by then know what was
//! written over it.
//!
//! *Nothing is done twice.* An operation that nobody of a majority knows had no effect there, and what comes of it
//! later, from the executor's log or from a replica that was asleep, loses: registers to a later stamp, parts of
//! counters to a new base, all because of `overwrite`. Since it lost, it is not noted as an operation either. Its
//! coordinator is told that it was superseded, but does not make an operation anew unless its origin certainly waits for
//! its answer: on the connection that brought the request, and not for too long (see `awaited`). A node that comes back
//! from the dead, from a pause, or from where it could not be heard repeats none; nor does it repeat what its own clients
//! wrote, which no operation tells of, unless a majority has followed it all the time: what was written over may contain it
//! (see `repeat`). A request that an executor finds unread after a pause is too old to be executed
//! (`commands/remote.rs`), and the origin waits for longer than that before it takes a silent executor for gone.
//!
//! # What is kept
//! What is known of operations is in memory, rebuilt from the log's records at a restart. An operation from before the
//! last checkpoint is not found there any more: for that to matter its executor has to die, this node to be restarted,
//! and a checkpoint to be made, all while the origin waits. A table that overflows forgets the oldest, and says so: the
//! answer is `NOQUORUM` then, as it is if no majority is there to agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coterie_protocol::{DatabaseId, NodeId, PartitionId, internal::execute};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::task::JoinSet;

use super::Replication;
use super::awaited::{Sent, Standing};
use super::barrier::Quorum;
use super::peers::OWN;
use super::sync::ask_to_abandon;
use crate::effect::OperationId;
use crate::topology;

/// How long replicas may take to abandon an executor; then it is tried again.
const ABANDONED_WITHIN: Duration = Duration::from_millis(300);

/// Operations of this node that are under way.
pub struct Operations {
    next: AtomicU64,
    under_way: Arc<Mutex<BTreeSet<u64>>>,
}

/// A write that must be executed exactly once, as its origin or an executor knows it.
#[derive(Clone)]
pub struct Operation {
    /// What replicas know it by.
    pub id: OperationId,
    /// The origin has an answer to all operations with smaller numbers.
    pub settled: u64,
    /// Who may have executed it, without an answer.
    executors: Arc<Mutex<SmallVec<[NodeId; 2]>>>,
    /// Whether it may be executed again now: what those may have done was looked for. `None` before it was tried.
    pub prepared: Option<bool>,
    /// At the origin.
    _under_way: Option<Arc<UnderWay>>,
}

struct UnderWay {
    number: u64,
    all: Arc<Mutex<BTreeSet<u64>>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

impl Operation {
    /// One that another node asks for.
    pub fn received(head: &execute::Operation) -> Self {
        Operation {
            id: OperationId {
                origin: head.origin,
                number: head.number,
            },
            settled: head.settled,
            executors: Arc::new(Mutex::new(head.executors.iter().copied().collect())),
            prepared: None,
            _under_way: None,
        }
    }

    /// What another node is told of it.
    pub fn head(&self) -> execute::Operation {
        execute::Operation {
            origin: self.id.origin,
            number: self.id.number,
            settled: self.settled,
            executors: self.executors(),
        }
    }

    /// Who may have executed it, without an answer.
    pub fn executors(&self) -> Vec<NodeId> {
        self.executors.lock().to_vec()
    }

    /// Whether somebody may have executed it already.
    pub fn is_again(&self) -> bool {
        !self.executors.lock().is_empty()
    }

    /// A node is given it.
    pub fn given_to(&self, node: NodeId) {
        let mut executors = self.executors.lock();
        if !executors.contains(&node) {
            executors.push(node);
        }
    }

    /// A node that was given it while others were in doubt has not executed it.
    pub fn not_executed_by(&self, node: NodeId) {
        let mut executors = self.executors.lock();
        if executors.first() != Some(&node) {
            executors.retain(|executor| *executor != node);
        }
    }
}

impl Operations {
    /// None is under way. Numbers go on behind those of earlier lives of this node, which began before this time.
    pub fn new(now_ms: u64) -> Self {
        Operations {
            next: AtomicU64::new(now_ms << 20),
            under_way: Arc::default(),
        }
    }

    fn begin(&self) -> (Arc<UnderWay>, u64) {
        let mut all = self.under_way.lock();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        all.insert(number);
        let settled = all.first().copied().unwrap_or(number);
        let under_way = UnderWay {
            number,
            all: self.under_way.clone(),
        };
        (Arc::new(under_way), settled)
    }
}

impl Replication {
    /// An operation of this node; `None` if it has no actor yet, or if what is acknowledged at this level need not be
    /// known to any majority: then nothing may be written over.
    pub fn begin_operation(
        &self,
        partition: PartitionId,
        database: DatabaseId,
        level: Option<topology::Quorum>,
    ) -> Option<Operation> {
        let origin = self.actor()?;
        let routes = self.routes();
        let route = routes.route(partition);
        if !route.meets_majorities(&routes.policy(database), level) {
            return None;
        }
        let (under_way, settled) = self.operations.begin();
        Some(Operation {
            id: OperationId {
                origin,
                number: under_way.number,
            },
            settled,
            executors: Arc::default(),
            prepared: None,
            _under_way: Some(under_way),
        })
    }

    /// Who waits for this execution of a write that has lost. If it is not certain that its origin does, it is not
    /// answered any more, and it is for the origin to have it executed again.
    pub(super) fn standing(&self, write: Sent) -> Standing {
        let unnoted = || match write {
            Sent::Operation(id)
                if self.actor() != Some(id.origin)
                    || !self.operations.under_way.lock().contains(&id.number) =>
            {
                Standing::Left
            }
            // Of records, a client of this node.
            _ => Standing::Awaited,
        };
        self.awaited.standing(write).unwrap_or_else(unnoted)
    }

    /// Has a majority of a partition's replicas abandon nodes, of which this one may be one. Returns who has, as a quorum of which a majority of all
    /// replicas has to agree on what is read.
    pub async fn abandon(
        self: &Arc<Self>,
        partition: PartitionId,
        database: DatabaseId,
        nodes: &[NodeId],
    ) -> Option<Quorum> {
        let routes = self.routes();
        let policy = routes.policy(database);
        let route = routes.route(partition);
        let majority = route.read_quorum(&policy, Some(topology::Quorum::Majority));
        let own = self.peers.own().id;
        let nodes: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != own).collect();
        if nodes.is_empty() {
            // It knows itself what it has executed.
            return Some(majority);
        }
        if !self.abandon_here(&nodes).await {
            return None;
        }
        let mut asked = JoinSet::new();
        for peer in route.readers(&policy) {
            if peer.index == 0 || nodes.contains(&peer.id) || !peer.is_live() {
                continue;
            }
            let (replication, peer, nodes) = (self.clone(), peer.clone(), nodes.clone());
            asked.spawn(async move {
                let done = ask_to_abandon(&replication, &peer, nodes);
                let done = tokio::time::timeout(ABANDONED_WITHIN, done).await;
                (peer.bit(), done.unwrap_or(false))
            });
        }
        let answers = asked.join_all().await;
        let members = answers
            .into_iter()
            .filter(|(_, done)| *done)
            .fold(OWN, |set, (bit, _)| set | bit);
        let is_one = members.count_ones() >= u32::from(majority.need);
        is_one.then_some(Quorum {
            members,
            ..majority
        })
    }

    /// Takes in nothing more of what nodes have sent. `false` if one is live.
    pub(super) async fn abandon_here(&self, nodes: &[NodeId]) -> bool {
        let own = self.peers.own().id;
        for node in nodes.iter().filter(|node| **node != own) {
            if self.peers.find(*node).is_some_and(|peer| peer.is_live()) {
                return false;
            }
            self.receivers.abandon(*node).await;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_ends_at_the_first_under_way() {
        let operations = Operations::new(1);
        let (first, settled) = operations.begin();
        assert_eq!(settled, first.number);
        let (second, settled) = operations.begin();
        assert_eq!((settled, second.number), (first.number, first.number + 1));
        let number = first.number;
        drop(first);
        let (third, settled) = operations.begin();
        assert_eq!(settled, number + 1);
        drop((second, third));
        assert!(operations.under_way.lock().is_empty());
    }

    #[test]
    fn the_first_executor_stays_in_doubt() {
        let operation = Operation::received(&execute::Operation::default());
        assert!(!operation.is_again());
        let (first, second) = (NodeId([1; 20]), NodeId([2; 20]));
        operation.given_to(first);
        operation.given_to(second);
        operation.given_to(first);
        assert_eq!(operation.executors(), [first, second]);
        operation.not_executed_by(first);
        operation.not_executed_by(second);
        assert_eq!(operation.executors(), [first]);
    }
}
