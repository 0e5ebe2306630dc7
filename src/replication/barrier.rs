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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coterie_protocol::{DatabaseId, NodeId, PartitionId, Version};

    use super::*;
    use crate::wal::{self, Durability, RecordHeader};

    /// Three nodes, of which the others are not connected; a record, and what has to hold it.
    struct Scene {
        waiters: Waiters,
        log: Arc<Log>,
        end: LogOffset,
        _directory: tempfile::TempDir,
    }

    fn scene() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let mut options = wal::Options::new(directory.path());
        options.segment_bytes = wal::MIN_SEGMENT_BYTES;
        options.durability = Durability::Os;
        let (log, _) = Log::open(options, LogOffset::ZERO).unwrap();
        let log = Arc::new(log);
        let peers = Arc::new(Peers::new(NodeId([0; 20])));
        for number in 1..3 {
            peers.get_or_add(NodeId([number; 20])).unwrap();
        }
        let header = RecordHeader {
            version: Version::from_bits(1),
            partition: PartitionId(0),
            database: DatabaseId(0),
            kind: 1,
        };
        let end = log.append(header, b"payload");
        Scene {
            waiters: Waiters::new(log.clone(), peers),
            log,
            end,
            _directory: directory,
        }
    }

    impl Scene {
        fn is_met(&self, need: u8, terms: Terms) -> bool {
            let quorum = Quorum {
                terms,
                ..Quorum::strict(0b111, need)
            };
            self.waiters.is_met(&Condition {
                quorum,
                offset: self.end,
            })
        }
    }

    #[test]
    fn only_a_sloppy_quorum_goes_without_those_that_are_away() {
        let scene = scene();
        let sloppy = Terms {
            sloppy: true,
            ..Terms::default()
        };
        assert!(scene.is_met(1, Terms::default()) && !scene.is_met(2, Terms::default()));
        assert!(scene.is_met(2, sloppy) && scene.is_met(3, sloppy));
        // What is acknowledged counts, sloppy or not, unless it was left out.
        let peer = scene.waiters.peers.all()[1].clone();
        peer.acknowledge(scene.end);
        assert!(scene.is_met(2, Terms::default()) && !scene.is_met(3, Terms::default()));
        let unhinted = Terms {
            unhinted: true,
            ..Terms::default()
        };
        assert!(scene.is_met(2, unhinted));
        peer.skip(scene.end);
        assert!(!scene.is_met(2, unhinted) && scene.is_met(2, Terms::default()));
    }

    #[tokio::test]
    async fn a_synced_quorum_waits_for_the_disk() {
        let scene = scene();
        let synced = Terms {
            synced: true,
            ..Terms::default()
        };
        // Nothing syncs this log by itself.
        assert!(scene.is_met(1, Terms::default()) && !scene.is_met(1, synced));
        let mut barrier = Barrier::default();
        barrier.add(Quorum::strict(0b111, 1).synced(true), scene.end);
        let mut progress = scene.log.progress_watch();
        let deadline = Instant::now() + Duration::from_secs(30);
        let waited = scene.waiters.wait(&barrier, deadline);
        let moved = async {
            while progress.changed().await.is_ok() {
                scene.waiters.marks_moved();
            }
        };
        tokio::select! {
            reached = waited => reached.unwrap(),
            () = moved => panic!("the log ended"),
        }
        assert!(scene.log.durable() >= scene.end && scene.is_met(1, synced));
    }
}
