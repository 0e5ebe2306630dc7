//! Reading the log while it is written: what a stream to another node follows.
//!
//! A record is where [`Log::append`] has put it: in the page cache, or in memory until the flusher has
//! written it. Everything before `Marks::stored` is read through a map of the reader's own, without a
//! lock: nobody writes there any more, and a segment that a reader has open is not recycled (see
//! `retention.rs`). The rest is read from the buffers: those that are being written are shared, those
//! that still grow are copied, a bounded piece at a time.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::log::{Log, Shared};
use super::offset::LogOffset;
use super::record::{self, Class, Entry, HEADER_BYTES, Record};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, segment_name};
use super::tail::{Chunk, Tail};

/// How much is copied from a growing buffer at a time, unless one record is larger.
const COPIED_BYTES: usize = 256 << 10;
/// A larger buffer is not kept.
const KEPT_BYTES: usize = 4 << 20;
/// Pages that were read are unmapped after so many bytes: they would count as memory of the process.
const UNMAPPED_BYTES: u32 = 1 << 20;

/// Why the log can't be read from an offset on.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// That part of the log was removed.
    #[error("the log before {oldest} was removed")]
    Removed {
        /// What is left starts here.
        oldest: LogOffset,
    },
    /// The log is not as long as that.
    #[error("the log ends at {end}")]
    Beyond {
        /// The end of the log.
        end: LogOffset,
    },
    /// No record starts at the offset: it was not the end of one, or the file is damaged.
    #[error("there is no valid record at {0}")]
    NoRecord(LogOffset),
    /// The file system failed.
    #[error("reading segment {segment}: {source}")]
    Io {
        /// The number of the segment.
        segment: u32,
        /// What the system said.
        source: io::Error,
    },
}

impl Log {
    /// Reads records while the log is written, starting at `from`: the end of a record, [`Log::oldest`], or
    /// [`LogOffset::ZERO`] for the very first record.
    ///
    /// A reader keeps no segments by itself: see [`Log::hold`]. It may outlive the log.
    ///
    /// # Errors
    ///
    /// [`TailError::Removed`] or [`TailError::Beyond`]. Whether `from` is the end of a record is seen when
    /// the first record is read.
    pub fn tail(&self, from: LogOffset) -> Result<TailReader, TailError> {
        let shared = self.shared().clone();
        let first = LogOffset::new(1, SEGMENT_HEADER_BYTES);
        let start = LogOffset::new(from.segment(), SEGMENT_HEADER_BYTES);
        let position = from.max(start).max(first);
        let end = shared.tail.lock().end();
        if position > end {
            return Err(TailError::Beyond { end });
        }
        let mut retention = shared.retention.lock();
        if position < retention.oldest() {
            let oldest = retention.oldest();
            return Err(TailError::Removed { oldest });
        }
        let id = retention.reader();
        drop(retention);
        Ok(TailReader {
            shared,
            id,
            position,
            proven: false,
            open: None,
            copy: Vec::new(),
        })
    }

    /// Waits until [`Log::appended`] is beyond this offset; `false` if the log stopped or was closed before.
    /// Costs an appender one look at a flag it has at hand while nobody waits.
    pub async fn wait_for_growth(&self, beyond: LogOffset) -> bool {
        let shared = self.shared();
        loop {
            let grown = shared.growth.notified();
            {
                let mut tail = shared.tail.lock();
                if shared.marks.appended() > beyond {
                    return true;
                }
                if tail.stopped.is_some() {
                    return false;
                }
                tail.wake_followers = true;
            }
            grown.await;
            // The appender wakes one; the others are most likely of the same thread, and cheap to wake from there.
            if shared.growth_is_news.swap(false, Ordering::AcqRel) {
                shared.growth.notify_waiters();
            }
        }
    }
}

/// Reads the records of a log in order, also while they are appended. Made by [`Log::tail`].
pub struct TailReader {
    shared: Arc<Shared>,
    id: u64,
    position: LogOffset,
    /// Whether a record was read, so that the position is known to be the end of one.
    proven: bool,
    open: Option<Open>,
    copy: Vec<u8>,
}

/// A segment, mapped.
struct Open {
    segment: Segment,
    /// Read and unmapped up to here.
    unmapped: u32,
}

/// Where the next records are.
enum Place {
    /// In the file, up to here at least.
    File(LogOffset),
    Shared(Arc<Chunk>),
    /// In the reader's copy.
    Copied,
}

impl TailReader {
    /// Where the next record is looked for. At least the end of the last one that was visited.
    pub fn position(&self) -> LogOffset {
        self.position
    }

    /// Visits records until `visit` returns `false`, which ends the visit after that record, or until the end
    /// of what is appended. They need not be durable yet, nor even in the page cache: a crash may lose them after
    /// they were seen here, and the next run put others there (see [`Log::started_at`]). Returns [`TailReader::position`].
    ///
    /// No lock is held while visiting. Opening the next segment is I/O, and so is reading what has left the
    /// page cache.
    ///
    /// # Errors
    ///
    /// See [`TailError`]. What was visited before stays visited.
    pub fn read(
        &mut self,
        mut visit: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<LogOffset, TailError> {
        let mut more = true;
        // The end first: only what was appended before is certain to be before `stored`, or in a buffer.
        while more && self.position < self.shared.marks.appended() {
            more = match self.locate()? {
                Place::File(limit) => self.read_file(limit, &mut visit)?,
                Place::Shared(chunk) => {
                    let skip = (self.position.position() - chunk.position) as usize;
                    self.walk(&chunk.bytes[skip..], &mut visit)?
                }
                Place::Copied => {
                    let mut copy = std::mem::take(&mut self.copy);
                    let walked = self.walk(&copy, &mut visit);
                    if copy.capacity() <= KEPT_BYTES {
                        copy.clear();
                        self.copy = copy;
                    }
                    walked?
                }
            };
        }
        Ok(self.position)
    }

    /// Finds the record at the position, which is before the end of the log.
    fn locate(&mut self) -> Result<Place, TailError> {
        let shared = self.shared.clone();
        let appended = shared.marks.appended();
        let in_files = shared.marks.stored().min(appended);
        if self.position < in_files {
            return Ok(Place::File(in_files));
        }
        let tail = shared.tail.lock();
        let in_files = shared.marks.stored().min(shared.marks.appended());
        if self.position < in_files {
            return Ok(Place::File(in_files));
        }
        if let Some(chunk) = tail.writing.iter().find(|c| c.contains(self.position)) {
            return Ok(Place::Shared(chunk.clone()));
        }
        self.copy_pending(&tail)
    }

    /// Copies records from the buffer that still grows.
    fn copy_pending(&mut self, tail: &Tail) -> Result<Place, TailError> {
        let chunk = tail.pending.iter().find(|c| c.contains(self.position));
        let chunk = chunk.ok_or(TailError::NoRecord(self.position))?;
        let bytes = &chunk.bytes[(self.position.position() - chunk.position) as usize..];
        let whole = record::padded(record::announced_length(bytes, 0));
        let length = bytes.len().min(whole.max(COPIED_BYTES));
        self.copy.clear();
        self.copy.extend_from_slice(&bytes[..length]);
        Ok(Place::Copied)
    }

    fn read_file(
        &mut self,
        limit: LogOffset,
        visit: &mut impl FnMut(&Record<'_>) -> bool,
    ) -> Result<bool, TailError> {
        let number = self.position.segment();
        let mut open = match self.open.take() {
            Some(open) if open.segment.number == number => open,
            _ => self.open_segment(number)?,
        };
        let range = self.position.position()..if limit.segment() == number {
            limit.position()
        } else {
            open.segment.capacity
        };
        let walked = self.walk(written(&open.segment, range), visit);
        if self.position.segment() == number {
            let read = self.position.position();
            if read - open.unmapped >= UNMAPPED_BYTES {
                open.segment.release(open.unmapped..read);
                open.unmapped = read;
            }
            self.open = Some(open);
        }
        walked
    }

    fn open_segment(&self, number: u32) -> Result<Open, TailError> {
        let shared = &self.shared;
        let removed = || TailError::Removed {
            oldest: shared.retention.lock().oldest(),
        };
        if !shared.retention.lock().open(self.id, number) {
            return Err(removed());
        }
        let path = shared.directory.join(segment_name(number));
        let segment = shared
            .files
            .open(&path)
            .and_then(|file| Segment::open(number, file));
        match segment {
            Ok(segment) => Ok(Open {
                segment,
                unmapped: self.position.position(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(removed()),
            Err(source) => Err(TailError::Io {
                segment: number,
                source,
            }),
        }
    }

    /// Visits the complete records in `bytes`, which start at the position and are of one segment; `false`
    /// when told to stop. At least one record of any class must be there.
    fn walk(
        &mut self,
        mut bytes: &[u8],
        visit: &mut impl FnMut(&Record<'_>) -> bool,
    ) -> Result<bool, TailError> {
        let segment = self.position.segment();
        let mut walked = false;
        while bytes.len() >= HEADER_BYTES {
            let length = record::padded(record::announced_length(bytes, 0));
            if walked && length > bytes.len() {
                break;
            }
            let Entry { class, record, end } = self.entry(bytes)?;
            bytes = &bytes[length..];
            walked = true;
            self.proven = true;
            self.position = match class {
                Class::Seal => LogOffset::new(segment + 1, SEGMENT_HEADER_BYTES),
                Class::Caller | Class::SyncMark => LogOffset::new(segment, end),
            };
            match class {
                Class::Seal => return Ok(true),
                Class::Caller if !visit(&record) => return Ok(false),
                Class::Caller | Class::SyncMark => {}
            }
        }
        if walked {
            Ok(true)
        } else {
            Err(TailError::NoRecord(self.position))
        }
    }

    /// The record at the start of `bytes`. Its checksum is verified if nobody has done so in this process,
    /// or if it is the first.
    fn entry<'a>(&self, bytes: &'a [u8]) -> Result<Entry<'a>, TailError> {
        let known = self.proven && self.position >= self.shared.checked_from;
        let entry = if known {
            record::reread_at(self.position, bytes)
        } else {
            record::parse_at(self.shared.seed, self.position, bytes)
        };
        entry.map_err(|_| TailError::NoRecord(self.position))
    }
}

impl Drop for TailReader {
    fn drop(&mut self) {
        // Unmapped first: then the file may be written again.
        self.open = None;
        self.shared.retention.lock().close(self.id);
    }
}

impl std::fmt::Debug for TailReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TailReader")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The bytes of a range that is before `Marks::stored`, or in a segment that was sealed before that.
#[allow(unsafe_code)]
fn written(segment: &Segment, range: Range<u32>) -> &[u8] {
    // SAFETY: nobody writes to these bytes while the segment is open here: appending and flushing happen
    // only at or after `stored`, which was read after the end of the log, and a segment that is entered in
    // `Retention::open` is not recycled. No file of the log is truncated while it has its name.
    unsafe { segment.bytes(range) }
}
