//! The end of the log, where records are appended: a plain state machine under one short lock.
//!
//! Two ways of appending share it. *Mapped*: the record is copied into the mapped segment, and so is
//! in the page cache at once. *Buffered*: it is copied to a buffer which the flusher writes. The log
//! is mapped for `everysec` and `os`, buffered for `always`; it is also buffered, at every durability,
//! while a segment that was rolled into has no file yet, so that appending itself never fails.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::offset::LogOffset;
use super::record::{Class, Draft};
use super::segment::{SEAL_BYTES, SEGMENT_HEADER_BYTES, Segment};

/// A flushed buffer is kept for reuse up to this size.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// The first and the largest stretch of the map that is touched ahead of appending.
const WARM_LEAST: u32 = 64 << 10;
const WARM_MOST: u32 = 1 << 20;

/// How far ahead the pages of the map are ready to be stored to.
///
/// The first store to a clean page is trapped by the kernel, which takes longer than appending a
/// page's worth of records. The preparer takes these traps, a stretch ahead of the tail. A touched
/// page is dirty, and the next sync writes it; so stretches start short and double between syncs:
/// what is written in vain is about as much as what is appended, at most 1 MiB. What is behind the tail is
/// unmapped at the same time: it would count as memory of the process, although it is the system's cache.
#[derive(Clone, Copy)]
struct Warm {
    /// Touched up to here.
    end: u32,
    /// From this position on, more is to be touched; `u32::MAX` while that is under way.
    trigger: u32,
    step: u32,
}

/// What is to be done to the map of a segment, around the tail.
pub(crate) struct Stretch {
    pub(crate) segment: Arc<Segment>,
    /// To be touched.
    pub(crate) ahead: Range<u32>,
    /// To be unmapped.
    pub(crate) behind: Range<u32>,
}

impl Default for Warm {
    fn default() -> Self {
        Self {
            end: 0,
            trigger: 0,
            step: WARM_LEAST,
        }
    }
}

/// How far the log is, readable without the lock.
pub(crate) struct Marks {
    /// The end of the last record of a caller.
    appended: AtomicU64,
    /// Records that end here or before are in the page cache.
    stored: AtomicU64,
    /// Records that end here or before are synced.
    durable: AtomicU64,
    /// A payload of fewer bytes has certain room.
    room: AtomicU64,
}

impl Marks {
    pub(crate) fn new(end: LogOffset) -> Self {
        Self {
            appended: AtomicU64::new(end.to_u64()),
            stored: AtomicU64::new(end.to_u64()),
            durable: AtomicU64::new(end.to_u64()),
            room: AtomicU64::new(0),
        }
    }

    pub(crate) fn appended(&self) -> LogOffset {
        LogOffset::from_u64(self.appended.load(Ordering::Acquire))
    }

    pub(crate) fn stored(&self) -> LogOffset {
        LogOffset::from_u64(self.stored.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> LogOffset {
        LogOffset::from_u64(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn room(&self) -> u64 {
        self.room.load(Ordering::Acquire)
    }

    pub(crate) fn set_stored(&self, offset: LogOffset) {
        self.stored.store(offset.to_u64(), Ordering::Release);
    }

    pub(crate) fn set_durable(&self, offset: LogOffset) {
        debug_assert!(offset >= self.durable());
        self.durable.store(offset.to_u64(), Ordering::Release);
    }
}

/// Sizes that don't change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) segment_bytes: u32,
    /// More buffered bytes than this, and there is no room.
    pub(crate) pending_bytes: usize,
    /// Room kept for records that other threads append between a check and an append.
    pub(crate) margin: u32,
}

/// Consecutive bytes of one segment that wait to be written.
pub(crate) struct Chunk {
    pub(crate) segment: u32,
    pub(crate) position: u32,
    /// What the segment must be able to hold.
    pub(crate) capacity: u32,
    pub(crate) bytes: Vec<u8>,
    /// `None` until the segment has been prepared.
    pub(crate) file: Option<Arc<Segment>>,
}

impl Chunk {
    fn start(&self) -> LogOffset {
        LogOffset::new(self.segment, self.position)
    }

    /// Whether the byte at `offset` is one of these.
    pub(crate) fn contains(&self, offset: LogOffset) -> bool {
        let end = self.position as usize + self.bytes.len();
        self.start() <= offset
            && offset.segment() == self.segment
            && (offset.position() as usize) < end
    }
}

/// What the flusher is to write.
pub(crate) struct Taken {
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Records of callers that end here or before are written once the chunks are.
    pub(crate) target: LogOffset,
    /// So is everything before this, the log's own records included.
    pub(crate) written: LogOffset,
}

pub(crate) struct Tail {
    seed: u32,
    limits: Limits,
    pub(crate) segment: u32,
    pub(crate) position: u32,
    /// Of the current segment, planned or real.
    pub(crate) capacity: u32,
    /// The current segment; `None` until it has been prepared.
    pub(crate) file: Option<Arc<Segment>>,
    /// The next segment, if prepared.
    pub(crate) spare: Option<Arc<Segment>>,
    mapped: bool,
    pub(crate) pending: VecDeque<Chunk>,
    /// What was pending and is being written now; it stays readable meanwhile.
    pub(crate) writing: Vec<Arc<Chunk>>,
    pub(crate) pending_bytes: usize,
    buffer: Vec<u8>,
    /// Full segments that were not handed to the flusher yet.
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// The flusher sleeps and wants to hear of the next record, or has to.
    pub(crate) wake_flusher: bool,
    /// Somebody waits in `Log::wait_for_growth`.
    pub(crate) wake_followers: bool,
    /// The preparer has something to do.
    pub(crate) wake_preparer: bool,
    warm: Warm,
    /// The next spare should be at least as large, for a large record.
    pub(crate) wanted: u32,
    pub(crate) sync_requested: bool,
    pub(crate) stopping: bool,
    /// Why no segment can be prepared at the moment.
    pub(crate) failure: Option<String>,
    /// Why the log is stopped for good.
    pub(crate) stopped: Option<String>,
}

impl Tail {
    /// The tail of a log that ends at `end`, in `file` if that is prepared; buffered at first.
    pub(crate) fn new(
        seed: u32,
        limits: Limits,
        end: LogOffset,
        file: Option<Arc<Segment>>,
        spare: Option<Arc<Segment>>,
    ) -> Self {
        Self {
            seed,
            limits,
            segment: end.segment(),
            position: end.position(),
            capacity: file
                .as_ref()
                .map_or(limits.segment_bytes, |file| file.capacity),
            file,
            spare,
            mapped: false,
            pending: VecDeque::new(),
            writing: Vec::new(),
            pending_bytes: 0,
            buffer: Vec::new(),
            sealed: Vec::new(),
            wake_flusher: false,
            wake_followers: false,
            wake_preparer: false,
            warm: Warm::default(),
            wanted: 0,
            sync_requested: false,
            stopping: false,
            failure: None,
            stopped: None,
        }
    }

    /// Where the next record would go in the current segment.
    pub(crate) fn end(&self) -> LogOffset {
        LogOffset::new(self.segment, self.position)
    }

    pub(crate) fn is_mapped(&self) -> bool {
        self.mapped
    }

    /// Appends a caller's record and returns its end.
    #[inline]
    pub(crate) fn append(&mut self, draft: Draft<'_>, marks: &Marks) -> LogOffset {
        self.append_any(draft, marks);
        let end = self.end();
        marks.appended.store(end.to_u64(), Ordering::Release);
        end
    }

    /// Notes in the log that everything before `synced` is durable.
    pub(crate) fn append_sync_mark(&mut self, synced: LogOffset, marks: &Marks) {
        self.append_any(
            Draft::internal(self.seed, Class::SyncMark, synced.to_u64()),
            marks,
        );
    }

    #[inline]
    fn append_any(&mut self, draft: Draft<'_>, marks: &Marks) {
        let size = draft.size() as u64;
        let needed = size + u64::from(SEAL_BYTES);
        if u64::from(self.position) + needed > u64::from(self.capacity) {
            self.roll(needed as u32, marks);
        }
        let payload = draft.payload();
        let header = draft.place(self.end());
        self.put(&header, payload, size as usize);
        if self.spare.is_none() || self.pending_bytes > self.limits.pending_bytes {
            self.publish_room(marks);
        }
    }

    /// Writes a record of `size` bytes, padding included, and moves the end.
    #[inline]
    fn put(&mut self, header: &[u8], payload: &[u8], size: usize) {
        const PADDING: [u8; 8] = [0; 8];
        let padding = &PADDING[..size - header.len() - payload.len()];
        if self.mapped
            && let Some(file) = &self.file
        {
            let at = self.position;
            file.copy_in(header, at);
            file.copy_in(payload, at + header.len() as u32);
            file.copy_in(padding, at + (header.len() + payload.len()) as u32);
        } else {
            let chunk = self.chunk();
            chunk.bytes.extend_from_slice(header);
            chunk.bytes.extend_from_slice(payload);
            chunk.bytes.extend_from_slice(padding);
            self.pending_bytes += size;
        }
        self.position += size as u32;
        if self.position >= self.warm.trigger && self.mapped {
            self.warm.trigger = u32::MAX;
            self.wake_preparer = true;
        }
    }

    /// What of the current segment's map to touch next; `None` if enough of it is warm.
    pub(crate) fn next_to_warm(&mut self) -> Option<Stretch> {
        let file = self
            .file
            .as_ref()
            .filter(|_| self.mapped && self.warm.trigger == u32::MAX)?;
        let from = self.warm.end.max(self.position);
        let end = self
            .position
            .saturating_add(self.warm.step)
            .min(self.capacity);
        if self.warm.end == self.capacity || end <= from {
            return None;
        }
        let file = file.clone();
        self.warm = Warm {
            end,
            trigger: end - self.warm.step.min(end) / 2,
            step: (self.warm.step * 2).min(WARM_MOST),
        };
        // Whatever is before the last trigger has been appended; a sync in between leaves a little mapped.
        let behind = self.position.saturating_sub(2 * WARM_MOST)..self.position;
        Some(Stretch {
            segment: file,
            ahead: from..end,
            behind,
        })
    }

    /// After a sync, the next store to any page is trapped again.
    pub(crate) fn cool(&mut self) {
        self.warm = Warm::default();
    }

    /// The chunk that ends at the end of the log.
    fn chunk(&mut self) -> &mut Chunk {
        let (segment, position) = (self.segment, self.position);
        if self
            .pending
            .back()
            .is_none_or(|chunk| chunk.segment != segment)
        {
            let bytes = std::mem::take(&mut self.buffer);
            let (capacity, file) = (self.capacity, self.file.clone());
            self.pending.push_back(Chunk {
                segment,
                position,
                capacity,
                bytes,
                file,
            });
        }
        let last = self.pending.len() - 1;
        &mut self.pending[last]
    }

    /// Ends the current segment and goes on in the next.
    #[cold]
    fn roll(&mut self, needed: u32, marks: &Marks) {
        debug_assert!(self.position + SEAL_BYTES <= self.capacity);
        let seal = Draft::internal(self.seed, Class::Seal, 0);
        let size = seal.size();
        let header = seal.place(self.end());
        self.put(&header, &[], size);
        self.sealed.extend(self.file.take());
        let required = SEGMENT_HEADER_BYTES + needed;
        let stored = self.end();
        self.segment += 1;
        self.position = SEGMENT_HEADER_BYTES;
        self.warm = Warm {
            step: self.warm.step,
            ..Warm::default()
        };
        self.wake_flusher = true;
        self.wake_preparer = true;
        // A spare that is too small is forgotten: the preparer makes a larger one under its name.
        match self.spare.take().filter(|spare| spare.capacity >= required) {
            Some(spare) => {
                self.capacity = spare.capacity;
                self.file = Some(spare);
            }
            None => {
                self.capacity = required.max(self.limits.segment_bytes);
                if self.mapped {
                    self.use_buffer(stored, marks);
                }
            }
        }
        self.publish_room(marks);
    }

    fn use_buffer(&mut self, stored: LogOffset, marks: &Marks) {
        self.mapped = false;
        marks.set_stored(stored);
    }

    /// Lets records wait for the flusher from now on.
    pub(crate) fn stop_mapping(&mut self, marks: &Marks) {
        if self.mapped {
            self.use_buffer(self.end(), marks);
        }
    }

    /// Copies records into the map from now on, and what is pending right now. Nothing taken by
    /// `take_chunks` may still be unwritten. Says whether it could.
    pub(crate) fn start_mapping(&mut self, marks: &Marks) -> bool {
        let ready = self.file.is_some() && self.pending.iter().all(|chunk| chunk.file.is_some());
        if ready && !self.mapped {
            for chunk in std::mem::take(&mut self.pending) {
                if let Some(file) = &chunk.file {
                    file.copy_in(&chunk.bytes, chunk.position);
                }
                self.reuse(chunk.bytes);
            }
            self.pending_bytes = 0;
            self.mapped = true;
            marks.set_stored(LogOffset::MAX);
        }
        ready
    }

    /// Takes the pending bytes that have a file to go to, until `finish_writing`.
    pub(crate) fn take_chunks(&mut self, marks: &Marks) -> Taken {
        debug_assert!(self.writing.is_empty());
        let ready = self
            .pending
            .iter()
            .take_while(|chunk| chunk.file.is_some())
            .count();
        let chunks: Vec<_> = self.pending.drain(..ready).map(Arc::new).collect();
        self.writing.clone_from(&chunks);
        self.pending_bytes -= chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        let written = match self.pending.front() {
            Some(chunk) => chunk.start(),
            None => self.end(),
        };
        Taken {
            chunks,
            target: written.min(marks.appended()),
            written,
        }
    }

    /// What `take_chunks` returned is in files now.
    pub(crate) fn finish_writing(&mut self, chunks: Vec<Arc<Chunk>>) {
        self.writing.clear();
        for chunk in chunks {
            // Unless a reader has it.
            if let Ok(chunk) = Arc::try_unwrap(chunk) {
                self.reuse(chunk.bytes);
            }
        }
    }

    /// Gives a written buffer back.
    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER_BYTES && buffer.capacity() > self.buffer.capacity() {
            buffer.clear();
            self.buffer = buffer;
        }
    }

    /// Takes over a prepared segment, as far as it is still needed.
    pub(crate) fn deliver(&mut self, segment: Arc<Segment>) {
        let number = segment.number;
        for chunk in &mut self.pending {
            if chunk.segment == number && chunk.file.is_none() && chunk.capacity <= segment.capacity
            {
                chunk.file = Some(segment.clone());
            }
        }
        if number == self.segment && self.file.is_none() && self.capacity <= segment.capacity {
            self.capacity = segment.capacity;
            self.file = Some(segment);
        } else if number == self.segment + 1 {
            if segment.capacity >= self.wanted {
                self.wanted = 0;
            }
            self.spare = Some(segment);
        }
    }

    /// The largest payload that certainly fits into what is prepared, plus 1.
    fn certain_room(&self) -> u64 {
        if self.stopped.is_some() || self.stopping || self.pending_bytes > self.limits.pending_bytes
        {
            return 0;
        }
        let overhead = super::record::HEADER_BYTES as u32 + SEAL_BYTES + self.limits.margin;
        // While there is a spare, what is left of the current segment doesn't count: it shrinks with
        // every record, and this is published only when something changes.
        let prepared = match (&self.spare, &self.file) {
            (Some(spare), _) => spare.capacity - SEGMENT_HEADER_BYTES,
            (None, Some(_)) => self.capacity - self.position,
            (None, None) => 0,
        };
        u64::from(prepared.saturating_sub(overhead))
    }

    /// Makes the room known to those who ask without the lock; says whether it grew.
    pub(crate) fn publish_room(&self, marks: &Marks) -> bool {
        let room = self.certain_room();
        marks.room.swap(room, Ordering::AcqRel) < room
    }
}
