//! Who waits for marks to be reached, and how they are woken.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::barrier::{Barrier, Condition};
use super::peers::{OWN, Peers};
use crate::wal::Log;

/// Who finds out so long after the deadline, because the node stood still, is not told that enough have it: by then a
/// write is left lost that met something newer (`repeat`).
pub(super) const LATE_MAX: Duration = Duration::from_secs(10);

/// Too few replicas acknowledged in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

/// Who waits for marks, and the marks.
///
/// Whoever moves a mark wakes one task of each thread whose mark is reached, and that one wakes the others of its
/// thread: waking a task of another thread takes a system call.
pub struct Waiters {
    log: Arc<Log>,
    peers: Arc<Peers>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// By the number of the thread.
    lines: Vec<Line>,
}

/// Who waits on one thread.
#[derive(Default)]
struct Line {
    /// Ordered by number.
    all: VecDeque<Waiter>,
    /// Who was woken and is to wake the others.
    herald: Option<u64>,
}

struct Waiter {
    number: u64,
    conditions: SmallVec<[Condition; 2]>,
    deadline: Instant,
    waker: Waker,
}

type Wakers = SmallVec<[Waker; 16]>;

/// The number of this thread among those that wait.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

impl Line {
    fn find(&self, number: u64) -> Option<usize> {
        self.all
            .binary_search_by_key(&number, |waiter| waiter.number)
            .ok()
    }

    /// Takes all that are reached off the line, to be woken.
    fn sweep(&mut self, is_reached: impl Fn(&Waiter) -> bool) -> Wakers {
        let mut reached = Wakers::new();
        self.herald = None;
        let mut index = 0;
        while index < self.all.len() {
            if is_reached(&self.all[index]) {
                reached.extend(self.all.remove(index).map(|waiter| waiter.waker));
            } else {
                index += 1;
            }
        }
        reached
    }
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
        for peer in self.peers.load().iter() {
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

    /// Waits until enough nodes have everything a barrier asks for. [`Waiters::expire`] must be called now and then.
    ///
    /// # Errors
    /// They have not by the deadline.
    pub async fn wait(&self, barrier: &Barrier, deadline: Instant) -> Result<(), TimedOut> {
        let conditions = barrier.conditions();
        if conditions.is_empty() {
            return Ok(());
        }
        if conditions.iter().any(|it| it.quorum.terms.synced) {
            self.log.request_sync();
        }
        let mut entry = Entry {
            waiters: self,
            line: thread_number(),
            number: None,
        };
        poll_fn(|context| entry.poll(conditions, deadline, context)).await?;
        if Instant::now() > deadline + LATE_MAX {
            return Err(TimedOut);
        }
        Ok(())
    }

    /// Wakes those whose marks are reached; called when one has moved.
    pub fn marks_moved(&self) {
        let mut heralds = Wakers::new();
        for line in &mut self.waiting.lock().lines {
            if line.herald.is_none() {
                let mut all = line.all.iter();
                if let Some(first) = all.find(|waiter| self.are_met(&waiter.conditions)) {
                    line.herald = Some(first.number);
                    heralds.push(first.waker.clone());
                }
            }
        }
        heralds.into_iter().for_each(Waker::wake);
    }

    /// Wakes those who have waited too long.
    pub fn expire(&self, now: Instant) {
        let waiting = self.waiting.lock();
        let all = waiting.lines.iter().flat_map(|line| &line.all);
        let expired: Wakers = all
            .filter(|waiter| waiter.deadline <= now)
            .map(|waiter| waiter.waker.clone())
            .collect();
        drop(waiting);
        expired.into_iter().for_each(Waker::wake);
    }
}

/// A place in a line. It is left also when it is no longer polled.
struct Entry<'a> {
    waiters: &'a Waiters,
    line: usize,
    /// While it is in the line, or was taken off it because its marks are reached.
    number: Option<u64>,
}

impl Entry<'_> {
    fn poll(
        &mut self,
        conditions: &[Condition],
        deadline: Instant,
        context: &Context<'_>,
    ) -> Poll<Result<(), TimedOut>> {
        let waiters = self.waiters;
        // Looked at under the lock: who moves a mark takes it afterwards.
        let mut waiting = waiters.waiting.lock();
        let Some(number) = self.number else {
            if waiters.are_met(conditions) {
                return Poll::Ready(Ok(()));
            }
            waiting.next += 1;
            let number = waiting.next;
            if waiting.lines.len() <= self.line {
                waiting.lines.resize_with(self.line + 1, Line::default);
            }
            waiting.lines[self.line].all.push_back(Waiter {
                number,
                conditions: conditions.into(),
                deadline,
                waker: context.waker().clone(),
            });
            self.number = Some(number);
            return Poll::Pending;
        };
        let line = &mut waiting.lines[self.line];
        let Some(index) = line.find(number) else {
            self.number = None;
            return Poll::Ready(Ok(()));
        };
        let is_met = waiters.are_met(conditions);
        if !is_met && Instant::now() < deadline {
            line.all[index].waker.clone_from(context.waker());
            // Marks go back when the durability is raised: whoever moves them next chooses another.
            if line.herald == Some(number) {
                line.herald = None;
            }
            return Poll::Pending;
        }
        drop(waiting);
        self.leave();
        Poll::Ready(if is_met { Ok(()) } else { Err(TimedOut) })
    }

    /// Leaves the line; as its herald, wakes the others.
    fn leave(&mut self) {
        let Some(number) = self.number.take() else {
            return;
        };
        let waiters = self.waiters;
        let mut waiting = waiters.waiting.lock();
        let line = &mut waiting.lines[self.line];
        if let Some(index) = line.find(number) {
            line.all.remove(index);
        }
        let reached = if line.herald == Some(number) {
            line.sweep(|waiter| waiters.are_met(&waiter.conditions))
        } else {
            Wakers::new()
        };
        drop(waiting);
        reached.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod waiting_tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use coterie_protocol::NodeId;
    use tokio::time::timeout;

    use super::*;
    use crate::replication::barrier::Quorum;
    use crate::wal::{self, LogOffset};

    const TASKS: u64 = 20;
    const WAITS: u64 = 500;

    fn waiters(directory: &std::path::Path) -> Arc<Waiters> {
        let mut options = wal::Options::new(directory);
        options.segment_bytes = wal::MIN_SEGMENT_BYTES;
        let (log, _) = Log::open(options, LogOffset::ZERO).unwrap();
        let peers = Arc::new(Peers::new(NodeId([0; 20])));
        peers.get_or_add(NodeId([1; 20])).unwrap();
        Arc::new(Waiters::new(log.into(), peers))
    }

    /// Waits for the other node to have everything up to there.
    fn barrier(offset: u64) -> Barrier {
        let mut barrier = Barrier::default();
        barrier.add(Quorum::strict(2, 1), LogOffset::from_u64(offset));
        barrier
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    /// Waits many times for a mark that nobody has waited for yet; sometimes gives up and begins again.
    async fn wait_often(waiters: Arc<Waiters>, asked: Arc<AtomicU64>) {
        for _ in 0..WAITS {
            let offset = asked.fetch_add(1, Ordering::SeqCst) + 1;
            let barrier = barrier(offset);
            if offset.is_multiple_of(7) {
                let _ = timeout(Duration::ZERO, waiters.wait(&barrier, far())).await;
            }
            let waited = timeout(Duration::from_secs(60), waiters.wait(&barrier, far())).await;
            assert_eq!(waited, Ok(Ok(())), "forgotten at {offset}");
        }
    }

    #[test]
    fn nobody_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let waiters = waiters(directory.path());
        let asked = Arc::new(AtomicU64::new(0));
        let run = || {
            let (waiters, asked) = (waiters.clone(), asked.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            std::thread::spawn(move || {
                let tasks: Vec<_> = (0..TASKS)
                    .map(|_| runtime.spawn(wait_often(waiters.clone(), asked.clone())))
                    .collect();
                for task in tasks {
                    runtime.block_on(task).unwrap();
                }
            })
        };
        let threads = [run(), run()];
        let peer = waiters.peers.all()[1].clone();
        while !threads.iter().all(|thread| thread.is_finished()) {
            if peer.acknowledge(LogOffset::from_u64(asked.load(Ordering::SeqCst))) {
                waiters.marks_moved();
            } else {
                std::thread::yield_now();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let waiting = waiters.waiting.lock();
        assert!(waiting.lines.iter().all(|line| line.all.is_empty()));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let waiters = waiters(directory.path());
        let waiting = tokio::spawn({
            let waiters = waiters.clone();
            async move { waiters.wait(&barrier(1), Instant::now()).await }
        });
        while !waiting.is_finished() {
            waiters.expire(Instant::now());
            tokio::task::yield_now().await;
        }
        assert_eq!(waiting.await.unwrap(), Err(TimedOut));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coterie_protocol::{DatabaseId, NodeId, PartitionId, Version};

    use super::*;
    use crate::replication::barrier::{Quorum, Terms};
    use crate::wal::{self, Durability, LogOffset, RecordHeader};

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
