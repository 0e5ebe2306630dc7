//! What a register has of HyperLogLogs: sketches that were made of a value, or of nothing.
//!
//! The effect of `PFADD` is the whole sketch that it leaves, with its *base*: the stamp of the value it was made of, or,
//! where there was none, a mark behind which there is nothing, as for the parts of counters. Sketches on one base
//! are joined by the larger of each register, so what was added at several nodes at once is in all of them. Sketches on
//! different bases stay apart, because a deletion may end some of them only; what counts is joined to be shown.

use coterie_protocol::{DatabaseId, Stamp, Version};
use xxhash_rust::xxh3::xxh3_64;

use super::register::{Content, NOBODY, Register};
use super::state::next_base;
use super::{Merged, Partition};
use crate::effect::Effect;
use crate::hyperloglog::{join, registers_of};

/// All sketches that were made of one base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sketch {
    pub base: Stamp,
    /// Of the latest of them.
    pub stamp: Stamp,
    /// Hash of the value: the stamp alone does not tell which of them are in it.
    pub hash: u64,
    /// Joined; empty if it is what the entry of the register shows.
    pub value: Vec<u8>,
}

impl Sketch {
    fn join(&mut self, stamp: Stamp, value: &[u8]) {
        self.stamp = self.stamp.max(stamp);
        self.value = join(&self.value, value);
        self.hash = xxh3_64(&self.value);
    }
}

impl Partition {
    /// The effect of making this sketch of what is at a key.
    pub fn sketch<'k>(&self, database: DatabaseId, key: &'k [u8], value: &'k [u8]) -> Effect<'k> {
        let base = next_base(self.known(database, key), self.context(database));
        Effect::Sketch { key, base, value }
    }
}

impl Register {
    /// Merges a sketch.
    pub fn sketch(&mut self, base: Stamp, stamp: Stamp, value: &[u8], mark: Stamp) -> Merged {
        if self.is_gone(base, stamp, mark) {
            return Merged::Superseded(self.base(mark));
        }
        self.begin_at(base);
        match self.sketches.binary_search_by_key(&base, |one| one.base) {
            Ok(at) => self.sketches[at].join(stamp, value),
            Err(at) => self.sketches.insert(
                at,
                Sketch {
                    base,
                    stamp,
                    hash: xxh3_64(value),
                    value: value.to_vec(),
                },
            ),
        }
        Merged::New
    }

    /// The base of a sketch that is made of what clients see. `settled` is a version up to which everything is known.
    pub fn next_base(&self, mark: Stamp, settled: Version) -> Stamp {
        let present = self.sketches.iter().map(|sketch| sketch.base);
        let present = present.filter(|base| self.is_current(*base, mark)).max();
        present.unwrap_or_else(|| {
            if self.has_value() {
                self.stamp()
            } else {
                Stamp::new(self.base(mark).version.max(settled), NOBODY)
            }
        })
    }

    /// What clients see, if that is a sketch made of the last value or of nothing. A value that is no sketch stays.
    pub fn sketched(&self, mark: Stamp) -> Option<Vec<u8>> {
        let counting = self.sketches.iter();
        let mut counting = counting
            .filter(|sketch| self.is_current(sketch.base, mark))
            .map(|sketch| &sketch.value[..])
            .peekable();
        counting.peek()?;
        let base = match &self.last {
            Some((_, Content::Text(text, _))) => {
                registers_of(text).ok()?;
                Some(text.clone())
            }
            Some((_, Content::Tombstone)) | None => None,
            Some((_, Content::Shown | Content::Dropped { .. })) => return None,
        };
        let join = |joined: Vec<u8>, value: &[u8]| join(&joined, value);
        match base {
            Some(base) => Some(counting.fold(base, join)),
            None => {
                let first = counting.next()?.to_vec();
                Some(counting.fold(first, join))
            }
        }
    }

    /// Leaves out what the entry of the register shows…
    pub fn leave_out_shown(&mut self, shown: &[u8]) {
        for sketch in &mut self.sketches {
            if sketch.value == shown {
                sketch.value = Vec::new();
            }
        }
    }

    /// … and puts it back.
    pub fn put_shown_back(&mut self, shown: &[u8]) {
        for sketch in &mut self.sketches {
            if sketch.value.is_empty() {
                sketch.value = shown.to_vec();
            }
        }
    }
}
