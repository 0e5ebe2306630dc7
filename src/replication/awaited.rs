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

/// Records that are kept of which somebody stopped waiting.
const OVER_MAX: usize = 65_536;
/// How long it is remembered that nobody waits for a record. Older ones are not repeated.
pub(super) const OVER_FOR: Duration = Duration::from_secs(60);

/// A write that is executed here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sent {
    /// One that must be executed exactly once.
    Operation(OperationId),
    /// One that may be executed twice, by where its record ends in the log.
    Record(LogOffset),
}

/// Who waits for a write that has lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Somebody does, or was told that it is written when a majority had it.
    Awaited,
    /// Nobody any more: its client was told that it is written, though fewer than a majority had it. Or that was forgotten.
    Told,
    /// Nobody any more, and nobody was told.
    Left,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Awaited(Arc<Registry>);

#[derive(Default)]
struct Registry {
    notes: Mutex<Notes>,
    /// No record that ends behind this was left lost.
    lost_until: AtomicU64,
}

#[derive(Default)]
struct Notes {
    /// What is executed for other nodes.
    executing: BTreeMap<Sent, Waiting>,
    /// Records that nobody waits for any more, or that are left lost.
    over: BTreeMap<LogOffset, Over>,
    /// Of records that end here or before it may have been forgotten that nobody waits for them.
    forgotten_until: LogOffset,
}

struct Waiting {
    /// The connection on which the origin waits. Its buffers go when it breaks.
    from: Weak<Inbound>,
    /// As long as that stands, it waits until then at least.
    until: Instant,
    /// It may not have waited any more when what has come of the write was found to have lost, and was left so.
    lost: bool,
}

impl Waiting {
    /// Whether the origin certainly waits still. If not, what has come of the write is left lost from here on.
    fn is_waiting(&mut self) -> bool {
        let is_open = self.from.upgrade().is_some_and(|from| from.is_open());
        self.lost |= !is_open || Instant::now() >= self.until;
        !self.lost
    }
}

struct Over {
    since: Instant,
    standing: Standing,
    lost: bool,
}

impl Notes {
    /// Notes of a record how it stands, where that is not noted yet.
    fn end(&mut self, end: LogOffset, standing: Standing) -> &mut Over {
        let now = Instant::now();
        while let Some(oldest) = self.over.first_entry() {
            let is_old = oldest.get().since + OVER_FOR < now;
            if !is_old && self.over.len() < OVER_MAX {
                break;
            }
            if let Some((end, _)) = self.over.pop_first()
                && !is_old
            {
                self.forgotten_until = self.forgotten_until.max(end);
            }
        }
        self.over.entry(end).or_insert(Over {
            since: now,
            standing,
            lost: false,
        })
    }
}

impl Registry {
    fn is_any_lost(&self, ends: &[LogOffset]) -> bool {
        // Hardly anything ever is.
        let lost_until = self.lost_until.load(Ordering::Acquire);
        let may_be_lost = |end: &&LogOffset| end.to_u64() <= lost_until;
        let mut suspects = ends.iter().filter(may_be_lost).peekable();
        if suspects.peek().is_none() {
            return false;
        }
        let notes = self.notes.lock();
        suspects.any(|end| {
            let over = notes.over.get(end);
            over.map_or(*end <= notes.forgotten_until, |over| over.lost)
        })
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
        self.0.notes.lock().executing.insert(write, waiting);
        Executing {
            registry: self.0.clone(),
            write,
            from: Arc::downgrade(from),
            is_acknowledged: false,
        }
    }

    /// Notes how records stand that nobody waits for.
    pub fn leave(&self, ends: &[LogOffset], standing: Standing) {
        let mut notes = self.0.notes.lock();
        for end in ends {
            notes.end(*end, standing);
        }
    }

    /// What has come of a write has lost and is not made anew: who waits for it, or for a record that ends there, must not
    /// be told that it is written.
    pub fn lose(&self, write: Sent, end: LogOffset) {
        let mut notes = self.0.notes.lock();
        if let Some(waiting) = notes.executing.get_mut(&write) {
            waiting.lost = true;
        }
        notes.end(end, Standing::Left).lost = true;
        let lost_until = &self.0.lost_until;
        lost_until.fetch_max(end.to_u64(), Ordering::Release);
    }

    /// Who waits for a write; `None` if nothing is noted of it, as of those of this node's own clients.
    pub fn standing(&self, write: Sent) -> Option<Standing> {
        let mut notes = self.0.notes.lock();
        if let Sent::Record(end) = write {
            if let Some(over) = notes.over.get(&end) {
                return Some(over.standing);
            }
            if end <= notes.forgotten_until {
                return Some(Standing::Told);
            }
        }
        let waiting = notes.executing.get_mut(&write)?;
        Some(if waiting.is_waiting() {
            Standing::Awaited
        } else {
            Standing::Left
        })
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
        let notes = self.registry.notes.lock();
        let waiting = notes.executing.get(&self.write);
        waiting.is_none_or(|it| it.lost || !Weak::ptr_eq(&it.from, &self.from))
    }

    /// Enough replicas have it.
    pub fn acknowledged(&mut self) {
        self.is_acknowledged = true;
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        let mut notes = self.registry.notes.lock();
        // The same operation may have come once more, on another connection.
        let waiting = notes.executing.get(&self.write);
        if !waiting.is_some_and(|it| Weak::ptr_eq(&it.from, &self.from)) {
            return;
        }
        notes.executing.remove(&self.write);
        if let Sent::Record(end) = self.write
            && !self.is_acknowledged
        {
            // Its origin may have had it executed by another, and gone on.
            notes.end(end, Standing::Left);
        }
    }
}

/// Records of a connection whose client waits. Dropped before they are told, they are left.
pub struct Unanswered<'a> {
    awaited: &'a Awaited,
    ends: &'a [LogOffset],
    is_told: bool,
}

impl<'a> Unanswered<'a> {
    /// Records that end there.
    pub fn new(awaited: &'a Awaited, ends: &'a [LogOffset]) -> Self {
        Unanswered {
            awaited,
            ends,
            is_told: false,
        }
    }

    /// Whether one of them was left lost: they must not be told.
    pub fn are_lost(&self) -> bool {
        self.awaited.0.is_any_lost(self.ends)
    }

    /// They were acknowledged as this barrier asks for.
    pub fn told(mut self, barrier: &Barrier) {
        self.is_told = true;
        let mut conditions = barrier.conditions().iter();
        if !conditions.all(|it| it.quorum.is_majority()) {
            // What they lose to may be acknowledged later.
            self.awaited.leave(self.ends, Standing::Told);
        }
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_told && !self.ends.is_empty() {
            self.awaited.leave(self.ends, Standing::Left);
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

    fn standing(awaited: &Awaited, end: u64) -> Option<Standing> {
        awaited.standing(Sent::Record(at(end)))
    }

    #[test]
    fn nobody_waits_for_what_was_not_told_or_was_told_too_soon() {
        let awaited = Awaited::default();
        let ends = [at(10), at(30)];
        let unanswered = Unanswered::new(&awaited, &ends);
        assert_eq!(standing(&awaited, 10), None);
        drop(unanswered);
        let left = Some(Standing::Left);
        assert_eq!(
            [10, 20, 30].map(|end| standing(&awaited, end)),
            [left, None, left]
        );

        let told = |members| {
            let mut barrier = Barrier::default();
            barrier.add(Quorum::strict(members, 1), at(20));
            Unanswered::new(&awaited, &[at(20)]).told(&barrier);
        };
        told(0b1);
        assert_eq!(standing(&awaited, 20), None);
        told(0b11);
        assert_eq!(standing(&awaited, 20), Some(Standing::Told));
    }

    #[test]
    fn a_record_that_is_left_lost_is_not_told() {
        let awaited = Awaited::default();
        let (ends, others) = ([at(10), at(30)], [at(20), at(40)]);
        let unanswered = Unanswered::new(&awaited, &ends);
        assert!(!unanswered.are_lost());
        awaited.lose(Sent::Record(at(30)), at(30));
        assert!(unanswered.are_lost() && !awaited.0.is_any_lost(&others));
        assert_eq!(standing(&awaited, 30), Some(Standing::Left));
    }

    /// What was forgotten does not count as awaited.
    #[test]
    fn what_is_kept_is_bounded() {
        let awaited = Awaited::default();
        let ends: Vec<LogOffset> = (1..=OVER_MAX as u64 + 10).map(at).collect();
        awaited.leave(&ends, Standing::Left);
        assert_eq!(awaited.0.notes.lock().over.len(), OVER_MAX);
        assert_eq!(standing(&awaited, 10), Some(Standing::Told));
        assert_eq!(standing(&awaited, 11), Some(Standing::Left));
    }
}
