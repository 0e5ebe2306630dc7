//! Which old segments have to stay: for whoever holds them, and untouched for whoever reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::{Log, Shared};
use super::offset::LogOffset;
use super::segment::SEGMENT_HEADER_BYTES;

/// What keeps segments from being removed or recycled.
pub(crate) struct Retention {
    /// The first segment that was not given up.
    oldest: u32,
    next: u64,
    /// Nothing at or after any of these is removed.
    holds: BTreeMap<u64, LogOffset>,
    /// The segments that readers have open: they may be unlinked, but not overwritten.
    open: BTreeMap<u64, u32>,
}

impl Retention {
    pub(crate) fn new(oldest: u32) -> Self {
        Self {
            oldest,
            next: 0,
            holds: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The number of a new reader.
    pub(crate) fn reader(&mut self) -> u64 {
        self.next()
    }

    /// Where the oldest segment that was not given up starts.
    pub(crate) fn oldest(&self) -> LogOffset {
        LogOffset::new(self.oldest, SEGMENT_HEADER_BYTES)
    }

    /// Gives up the segments before `segment` that are not held; says up to which they may go.
    pub(crate) fn give_up(&mut self, segment: u32) -> u32 {
        let held = self.holds.values().min().map(|offset| offset.segment());
        let limit = held.map_or(segment, |held| held.min(segment));
        self.oldest = self.oldest.max(limit);
        limit
    }

    /// Whether a reader has this segment open. Of a segment that was given up, no reader will later.
    pub(crate) fn is_open(&self, segment: u32) -> bool {
        self.open.values().any(|&open| open == segment)
    }

    /// Enters that a reader opens this segment, and no other any more; `false` if it was given up.
    pub(crate) fn open(&mut self, reader: u64, segment: u32) -> bool {
        let kept = segment >= self.oldest;
        if kept {
            self.open.insert(reader, segment);
        }
        kept
    }

    pub(crate) fn close(&mut self, reader: u64) {
        self.open.remove(&reader);
    }
}

/// Keeps the log from an offset on, until it is dropped.
pub struct Hold {
    shared: Arc<Shared>,
    id: u64,
}

impl Hold {
    /// From now on the log is kept from `offset` on. What has gone doesn't come back.
    pub fn set(&self, offset: LogOffset) {
        self.shared.retention.lock().holds.insert(self.id, offset);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.retention.lock().holds.remove(&self.id);
    }
}

impl Log {
    /// Keeps [`Log::remove_before`] from removing segments that hold anything at or after `offset`.
    /// Whether that part of the log is still there is for [`Log::tail`] to say.
    pub fn hold(&self, offset: LogOffset) -> Hold {
        let shared = self.shared().clone();
        let id = {
            let mut retention = shared.retention.lock();
            let id = retention.next();
            retention.holds.insert(id, offset);
            id
        };
        Hold { shared, id }
    }

    /// Where the oldest segment starts that is kept.
    pub fn oldest(&self) -> LogOffset {
        self.shared().retention.lock().oldest()
    }
}
