//! What replies wait for: marks that must have been reached before they may be told (I1).
//!
//! A write is one number: the end of its record in the coordinator's log. Every replica tells how far it has
//! followed that log, so "W of these nodes have it" is a comparison, and because marks only grow, one condition
//! covers all the writes of a pipeline to the same replicas.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::peers::{NodeSet, OWN, Peers};
use crate::wal::{Log, LogOffset};

/// This many of these nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorum {
    /// Out of which.
    pub members: NodeSet,
    /// How many.
    pub need: u8,
    /// Who counts.
    pub terms: Terms,
}

/// What a database's policy says of who counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// No more than are connected have to: for the others the coordinator's log keeps what they miss.
    pub sloppy: bool,
    /// What a node missed while it was away it is not sent, so acknowledgements that pass over it do not tell of it.
    pub unhinted: bool,
    /// It has to be on the disk of each. What this node sends with that wish, others acknowledge only then.
    pub synced: bool,
}

impl Quorum {
    /// Out of these nodes, this many of them; strictly.
    pub fn strict(members: NodeSet, need: u8) -> Self {
        Quorum {
            members,
            need,
            terms: Terms::default(),
        }
    }

    /// The same, also on their disks if `synced`.
    #[inline]
    pub fn synced(mut self, synced: bool) -> Self {
        self.terms.synced |= synced;
        self
    }

    /// How many have to, as things are.
    pub fn needed(&self, peers: &Peers) -> u8 {
        if self.terms.sloppy {
            self.need
                .min(peers.connected(self.members).count_ones() as u8)
        } else {
            self.need
        }
    }
}

/// A quorum that must hold this node's log up to an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Who.
    pub quorum: Quorum,
    /// Up to where.
    pub offset: LogOffset,
}

/// What of the own log has to be safe.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Local {
    /// As safe as the log is set to make it.
    pub stored: Option<LogOffset>,
    /// On the disk.
    pub synced: Option<LogOffset>,
}

impl Local {
    /// Whether that is nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.stored.is_none() && self.synced.is_none()
    }

    /// Whether it is safe already.
    pub fn is_reached(&self, log: &Log) -> bool {
        self.stored
            .is_none_or(|offset| log.acknowledged_when(offset))
            && self.synced.is_none_or(|offset| log.durable() >= offset)
    }

    /// Waits until it is.
    pub async fn reached(self, log: &Log) {
        if let Some(offset) = self.stored {
            log.wait_until_acknowledged(offset).await;
        }
        if let Some(offset) = self.synced {
            log.wait_until_synced(offset).await;
        }
    }
}

/// What the replies of one connection wait for.
#[derive(Clone, Default, Debug)]
pub struct Barrier {
    /// The own log.
    local: Local,
    /// Replicas.
    conditions: SmallVec<[Condition; 2]>,
}

impl Barrier {
    /// Whether there is nothing to wait for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.local.is_empty() && self.conditions.is_empty()
    }

    /// Where the own log must be.
    pub fn local(&self) -> Local {
        self.local
    }

    /// What replicas must have.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Waits also for the own log, and if `synced`, for the disk.
    #[inline]
    pub fn add_local(&mut self, offset: LogOffset, synced: bool) {
        let mark = if synced {
            &mut self.local.synced
        } else {
            &mut self.local.stored
        };
        *mark = (*mark).max(Some(offset));
    }

    /// Waits also for a quorum.
    pub fn add(&mut self, quorum: Quorum, offset: LogOffset) {
        let same = |condition: &&mut Condition| condition.quorum == quorum;
        match self.conditions.iter_mut().find(same) {
            Some(condition) => condition.offset = condition.offset.max(offset),
            None => self.conditions.push(Condition { quorum, offset }),
        }
    }
}

/// Too few replicas acknowledged in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

/// Who waits for marks, and the marks.
pub struct Waiters {
    log: Arc<Log>,
    peers: Arc<Peers>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    all: Vec<Waiter>,
}

struct Waiter {
    number: u64,
    conditions: SmallVec<[Condition; 2]>,
    waker: Waker,
}

impl Waiters {
    /// Nobody waits yet.
    pub fn new(log: Arc<Log>, peers: Arc<Peers>) -> Self {
        Waiters {
            log,
            peers,
            waiting: Mutex::default(),
        }
    }

    /// Whether enough nodes have what a condition asks for.
    pub fn is_met(&self, condition: &Condition) -> bool {
        let need = condition.quorum.needed(&self.peers);
        if need == 0 {
            return true;
        }
        let mut have = 0;
        for peer in self.peers.all().iter() {
            if peer.bit() & condition.quorum.members == 0 {
                continue;
            }
            let has = if peer.bit() != OWN {
                peer.has(condition.offset, condition.quorum.terms.unhinted)
            } else if condition.quorum.terms.synced {
                self.log.durable() >= condition.offset
            } else {
                self.log.acknowledged_when(condition.offset)
            };
            have += u8::from(has);
            if have >= need {
                return true;
            }
        }
        false
    }

    fn are_met(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| self.is_met(condition))
    }

    /// Waits until enough nodes have everything a barrier asks for.
    ///
    /// # Errors
    /// They have not by the deadline.
    pub async fn wait(&self, barrier: &Barrier, deadline: Instant) -> Result<(), TimedOut> {
        let conditions = barrier.conditions();
        if self.are_met(conditions) {
            return Ok(());
        }
        if conditions.iter().any(|it| it.quorum.terms.synced) {
            self.log.request_sync();
        }
        let entry = Entry {
            waiters: self,
            number: self.number(),
        };
        let reached = poll_fn(|context| {
            // Entered before the check: a mark that moves in between wakes it.
            self.enter(entry.number, conditions, context.waker());
            if self.are_met(conditions) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::time::timeout_at(deadline, reached)
            .await
            .map_err(|_| TimedOut)
    }

    fn number(&self) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.next += 1;
        waiting.next
    }

    fn enter(&self, number: u64, conditions: &[Condition], waker: &Waker) {
        let mut waiting = self.waiting.lock();
        match waiting
            .all
            .iter_mut()
            .find(|waiter| waiter.number == number)
        {
            Some(waiter) => waiter.waker.clone_from(waker),
            None => waiting.all.push(Waiter {
                number,
                conditions: conditions.into(),
                waker: waker.clone(),
            }),
        }
    }

    fn leave(&self, number: u64) {
        let mut waiting = self.waiting.lock();
        if let Some(index) = waiting.all.iter().position(|w| w.number == number) {
            waiting.all.swap_remove(index);
        }
    }

    /// Wakes those whose marks are reached; called when one has moved.
    pub fn marks_moved(&self) {
        let mut waiting = self.waiting.lock();
        let mut reached: SmallVec<[Waker; 16]> = SmallVec::new();
        let mut index = 0;
        while index < waiting.all.len() {
            if self.are_met(&waiting.all[index].conditions) {
                reached.push(waiting.all.swap_remove(index).waker);
            } else {
                index += 1;
            }
        }
        drop(waiting);
        reached.into_iter().for_each(Waker::wake);
    }
}

/// Takes a waiter off the list also when it is no longer polled.
struct Entry<'a> {
    waiters: &'a Waiters,
    number: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.waiters.leave(self.number);
    }
}
