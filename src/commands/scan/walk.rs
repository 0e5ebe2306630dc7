//! A walk over the keys of one database, partition by partition, that can stop anywhere and be gone on with.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coterie_protocol::{DatabaseId, PartitionId};

use crate::commands::{CommandError, Control};
use crate::store::{Entry, POSITION_BITS, View};

/// A walk works this long before others on its thread get their turn.
const WORK: Duration = Duration::from_micros(300);

/// Where a walk goes on: a partition and a position in it, in one number below 2^53, which every client can
/// hold. 0 is the start, and the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    partition: u64,
    position: u64,
}

impl Cursor {
    /// Where every walk starts.
    pub const START: Cursor = Cursor {
        partition: 0,
        position: 0,
    };

    /// A cursor as clients send it back. What no walk ever gave is somewhere, or behind the end.
    pub fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let number = parse_cursor(text)?;
        Ok(Cursor {
            partition: number >> POSITION_BITS,
            position: number & ((1 << POSITION_BITS) - 1),
        })
    }
}

/// The number of a cursor. Redis reads it with C's `strtoul`: a sign may come first, nothing counts as 0, and what
/// follows a zero byte is not seen.
pub fn parse_cursor(text: &[u8]) -> Result<u64, CommandError> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    });
    let is_lone_sign = digits.is_empty() && !text.is_empty();
    let number = number
        .filter(|_| !is_lone_sign)
        .ok_or(CommandError::line("ERR invalid cursor"))?;
    Ok(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.partition << POSITION_BITS | self.position).fmt(f)
    }
}

/// See the module.
pub struct Walk<V> {
    data: V,
    partitions: u64,
    database: DatabaseId,
    now_ms: u64,
    at: Cursor,
    is_over: bool,
    /// The partitions it visits; `None` for all.
    visited: Option<Arc<[PartitionId]>>,
}

impl Walk<()> {
    /// A walk over the session's database from a cursor on.
    pub fn new(control: &Control<'_, '_>, from: Cursor) -> Self {
        let partitions = u64::from(control.node.engine.store().layout().count());
        Walk {
            data: (),
            partitions,
            database: control.session.database,
            now_ms: control.now_ms,
            at: from,
            is_over: from.partition >= partitions,
            visited: control.session.partitions.clone(),
        }
    }

    /// The walk with the data it is over.
    pub fn over<V: View>(self, data: V) -> Walk<V> {
        Walk {
            data,
            partitions: self.partitions,
            database: self.database,
            now_ms: self.now_ms,
            at: self.at,
            is_over: self.is_over,
            visited: self.visited,
        }
    }
}

impl<V> Walk<V> {
    /// The partition it is at; `None` at the end.
    pub fn partition(&self) -> Option<PartitionId> {
        (!self.is_over).then_some(PartitionId(self.at.partition as u16))
    }

    fn leave_partition(&mut self) {
        self.at.partition += 1;
        self.at.position = 0;
        self.is_over = self.at.partition >= self.partitions;
    }

    /// Whether everything was visited.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Leaves the rest.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// Where to go on.
    pub fn cursor(&self) -> Cursor {
        if self.is_over { Cursor::START } else { self.at }
    }
}

impl<V: View> Walk<V> {
    /// Visits about `count` keys of one partition, those of them that are not expired. Returns how many were
    /// passed, the expired ones included: none if the partition is at its end.
    pub fn step(&mut self, count: usize, mut visit: impl FnMut(&Entry)) -> usize {
        let mut passed = 0;
        if self.is_over {
            return passed;
        }
        let id = PartitionId(self.at.partition as u16);
        if self
            .visited
            .as_ref()
            .is_some_and(|visited| !visited.contains(&id))
        {
            self.leave_partition();
            return passed;
        }
        let mut next = None;
        self.data.look(id, &mut |partition| {
            next = partition.keyspace(self.database).and_then(|keyspace| {
                keyspace.scan(self.at.position, count, |entry| {
                    passed += 1;
                    if !entry.is_expired(self.now_ms) && !entry.is_lapsed(self.now_ms) {
                        visit(entry);
                    }
                })
            });
        });
        match next {
            Some(position) => self.at.position = position,
            None => self.leave_partition(),
        }
        passed
    }
}

/// A task's turn on its thread, which it gives up when it has lasted long enough.
pub struct Turn {
    since: Instant,
}

impl Turn {
    /// A turn that begins now.
    pub fn begin() -> Self {
        Turn {
            since: Instant::now(),
        }
    }

    /// Lets others run, if it is time.
    pub async fn end_if_long(&mut self) {
        if self.since.elapsed() >= WORK {
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        let cursor = Cursor {
            partition: 16383,
            position: (1 << POSITION_BITS) - 1,
        };
        let text = cursor.to_string();
        assert!(text.parse::<u64>().is_ok_and(|number| number < 1 << 53));
        assert_eq!(Cursor::parse(text.as_bytes()).ok(), Some(cursor));
    }

    #[test]
    fn cursors_are_read_as_c_reads_them() {
        for text in ["", "0", "+0", "-0", "000", "0\0x"] {
            assert_eq!(Cursor::parse(text.as_bytes()).ok(), Some(Cursor::START));
        }
        for text in ["-", "+", " 0", "0 ", "1x", "18446744073709551616"] {
            assert!(Cursor::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Cursor::parse(b"-1").is_ok());
    }
}
