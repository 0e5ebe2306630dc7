//! Who waits for what is executed here. A record that has lost to something newer is made anew only while somebody
//! waits to be told of it (`repeat`): what is newer may have been written by whoever did not wait any longer, or by
//! another who had been told of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::barrier::Barrier;
use crate::effect::OperationId;
use crate::transport::Inbound;
use crate::wal::LogOffset;

/// Writes that are kept here: so many are hardly ever under way for others, or given up, at once.
const KEPT_MAX: usize = 65_536;
/// How long it is remembered that nobody waits for a record: later it is too old to be repeated.
const LEFT_FOR: Duration = Duration::from_secs(60);

/// A write that is executed here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sent {
    /// One that must be executed exactly once.
    Operation(OperationId),
    /// One that may be executed twice, by where its record ends in the log.
    Record(LogOffset),
}

/// See the module. Records that nothing is noted of have a client of this node that waits.
#[derive(Clone, Default)]
pub struct Awaited(Arc<Registry>);

#[derive(Default)]
struct Registry {
    /// What is executed for other nodes, and records that nobody waits for any more.
    writes: Mutex<BTreeMap<Sent, Waiting>>,
    /// No record that ends behind this was left lost while a client waited.
    lost_until: AtomicU64,
}

struct Waiting {
    /// The connection on which the origin waits. Its buffers go when it breaks.
    from: Weak<Inbound>,
    /// As long as that stands, it waits until then at least; if it ended without an answer, not any more.
    until: Instant,
    /// What has come of it lost to something newer, and was not made anew.
    lost: bool,
}

impl Waiting {
    /// Nobody waits.
    fn over() -> Self {
        Waiting {
            from: Weak::new(),
            until: Instant::now(),
            lost: true,
        }
    }

    /// Whether the origin certainly waits still. If not, what has come of the write is left lost from here on.
    fn is_waiting(&mut self) -> bool {
        let is_open = self.from.upgrade().is_some_and(|from| from.is_open());
        self.lost |= !is_open || Instant::now() >= self.until;
        !self.lost
    }
}

impl Awaited {
    /// Notes that a write is executed here, on which connection its origin waits for it, and until when it does not
    /// have it executed elsewhere, as long as the connection stands.
    pub fn executing(&self, write: Sent, from: &Arc<Inbound>, until: Instant) -> Executing {
        let waiting = Waiting {
            from: Arc::downgrade(from),
            until,
            lost: false,
        };
        self.0.note(write, waiting);
        Executing {
            registry: self.0.clone(),
            write,
            from: Arc::downgrade(from),
            is_acknowledged: false,
        }
    }

    /// Nobody waits for these records any more.
    pub fn leave(&self, ends: &[LogOffset]) {
        for end in ends {
            self.0.note(Sent::Record(*end), Waiting::over());
        }
    }

    /// A record has lost and is not made anew: who waits for it must not be told that it is written.
    pub fn lose(&self, end: LogOffset) {
        let mut writes = self.0.writes.lock();
        match writes.get_mut(&Sent::Record(end)) {
            Some(waiting) => waiting.lost = true,
            None => {
                writes.insert(Sent::Record(end), Waiting::over());
            }
        }
        let lost_until = &self.0.lost_until;
        lost_until.fetch_max(end.to_u64(), Ordering::Release);
    }

    /// Whether one of these records was left lost.
    pub fn is_any_lost(&self, ends: &[LogOffset]) -> bool {
        // Hardly anything ever is.
        let lost_until = self.0.lost_until.load(Ordering::Acquire);
        let may_be_lost = |end: &&LogOffset| end.to_u64() <= lost_until;
        let mut suspects = ends.iter().filter(may_be_lost).peekable();
        if suspects.peek().is_none() {
            return false;
        }
        let writes = self.0.writes.lock();
        suspects.any(|end| writes.get(&Sent::Record(*end)).is_some_and(|it| it.lost))
    }

    /// Does something if a write is still waited for, so that nobody stops waiting meanwhile. `otherwise` says whether it
    /// is if nothing is noted of it.
    pub fn if_awaited<T>(
        &self,
        write: Sent,
        otherwise: impl FnOnce() -> bool,
        then: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut writes = self.0.writes.lock();
        let noted = writes.get_mut(&write).map(Waiting::is_waiting);
        noted.unwrap_or_else(otherwise).then(then)
    }
}

impl Registry {
    fn note(&self, write: Sent, waiting: Waiting) {
        let now = Instant::now();
        let mut writes = self.writes.lock();
        writes.insert(write, waiting);
        loop {
            let oldest = writes.range(Sent::Record(LogOffset::ZERO)..).next();
            let is_over = |it: &Waiting| it.until + LEFT_FOR < now;
            match oldest.map(|(write, it)| (*write, is_over(it))) {
                Some((write, is_over)) if is_over || writes.len() > KEPT_MAX => {
                    writes.remove(&write)
                }
                _ => break,
            };
        }
    }
}

/// While it lives, a write is executed here for another node and not answered.
pub struct Executing {
    registry: Arc<Registry>,
    write: Sent,
    from: Weak<Inbound>,
    is_acknowledged: bool,
}

impl Executing {
    /// Whether what has come of it was lost: it must not be answered.
    pub fn is_lost(&self) -> bool {
        let writes = self.registry.writes.lock();
        let waiting = writes.get(&self.write);
        waiting.is_none_or(|it| it.lost || !Weak::ptr_eq(&it.from, &self.from))
    }

    /// Enough replicas have it.
    pub fn acknowledged(&mut self) {
        self.is_acknowledged = true;
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        let mut writes = self.registry.writes.lock();
        // The same operation may have come once more, on another connection.
        let waiting = writes.get_mut(&self.write);
        let Some(waiting) = waiting.filter(|it| Weak::ptr_eq(&it.from, &self.from)) else {
            return;
        };
        if matches!(self.write, Sent::Record(_)) && !self.is_acknowledged {
            // Its origin may have had it executed by another, and gone on.
            waiting.until = Instant::now();
        } else {
            writes.remove(&self.write);
        }
    }
}

/// Records of a connection of this node whose client waits. Dropped before they are told, they are left.
pub struct Unanswered<'a> {
    awaited: &'a Awaited,
    ends: &'a [LogOffset],
    is_told: bool,
}

impl<'a> Unanswered<'a> {
    /// These.
    pub fn new(awaited: &'a Awaited, ends: &'a [LogOffset]) -> Self {
        Unanswered {
            awaited,
            ends,
            is_told: false,
        }
    }

    /// Whether one of them was left lost: they must not be told.
    pub fn are_lost(&self) -> bool {
        self.awaited.is_any_lost(self.ends)
    }

    /// They were acknowledged as this barrier asks for. Where that is less than majorities, those that have lost
    /// stay lost, since what they have lost to may have been acknowledged later.
    pub fn told(mut self, barrier: &Barrier) {
        let mut conditions = barrier.conditions().iter();
        self.is_told = conditions.all(|it| it.quorum.meets_majorities());
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.awaited.leave(self.ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::Quorum;

    fn at(number: u64) -> LogOffset {
        LogOffset::from_u64(number)
    }

    fn is_awaited(awaited: &Awaited, end: u64) -> bool {
        let write = Sent::Record(at(end));
        awaited.if_awaited(write, || true, || ()).is_some()
    }

    #[test]
    fn a_record_is_awaited_until_its_client_is_not_told() {
        let awaited = Awaited::default();
        let ends = [at(10), at(30)];
        let unanswered = Unanswered::new(&awaited, &ends);
        assert!(is_awaited(&awaited, 10));
        drop(unanswered);
        assert!(!is_awaited(&awaited, 10) && !is_awaited(&awaited, 30));
        assert!(is_awaited(&awaited, 20));
        let told = |members| {
            let mut barrier = Barrier::default();
            barrier.add(Quorum::strict(members, 1), at(20));
            Unanswered::new(&awaited, &[at(20)]).told(&barrier);
        };
        told(0b1);
        assert!(is_awaited(&awaited, 20));
        told(0b111);
        assert!(!is_awaited(&awaited, 20));
    }

    #[test]
    fn a_record_that_is_left_lost_is_not_told() {
        let awaited = Awaited::default();
        let ends = [at(10), at(30)];
        let other = [at(20), at(40)];
        let unanswered = Unanswered::new(&awaited, &ends);
        assert!(!unanswered.are_lost());
        awaited.lose(at(30));
        assert!(unanswered.are_lost() && !is_awaited(&awaited, 30));
        assert!(!awaited.is_any_lost(&other));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let awaited = Awaited::default();
        let ends: Vec<LogOffset> = (0..KEPT_MAX as u64 + 10).map(at).collect();
        awaited.leave(&ends);
        assert_eq!(awaited.0.writes.lock().len(), KEPT_MAX);
        assert!(is_awaited(&awaited, 9) && !is_awaited(&awaited, 10));
    }
}
