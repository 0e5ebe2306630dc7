//! The log as its user sees it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, watch};

use super::directory::DirectoryLock;
use super::error::NoRoom;
use super::files::Files;
use super::flusher::Flusher;
use super::offset::LogOffset;
use super::options::{Durability, SyncFailureHook};
use super::preparer::{Preparer, capacity_for};
use super::record::{Class, Draft, MAX_PAYLOAD, RecordHeader};
use super::retention::Retention;
use super::segment::{free_name, segment_name};
use super::tail::{Marks, Tail};

/// The state of a log, for `INFO` and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// The end of the last record.
    pub appended: LogOffset,
    /// Up to here the log survives a power loss.
    pub durable: LogOffset,
    /// When writes are acknowledged.
    pub durability: Durability,
    /// Segment files in use, the spare included.
    pub segments: usize,
    /// Bytes on disk, recycled segments included.
    pub bytes_on_disk: u64,
    /// Bytes in memory that wait to be written to a file.
    pub pending_bytes: usize,
    /// Completed syncs since the log was opened.
    pub syncs: u64,
    /// How long the last sync took.
    pub last_sync: Option<Duration>,
    /// Why the log can't grow at the moment.
    pub room_failure: Option<String>,
    /// Why the log has stopped for good.
    pub stopped: Option<String>,
}

#[derive(Default)]
struct SyncStatistics {
    syncs: u64,
    last: Option<Duration>,
}

/// The files of the log.
pub(crate) struct Catalog {
    /// The bytes of each segment by number.
    pub(crate) segments: BTreeMap<u32, u32>,
    /// Old segments of normal size that wait for reuse.
    pub(crate) free: Vec<PathBuf>,
    pub(crate) free_limit: usize,
}

/// What the log's threads share.
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) log_id: u128,
    pub(crate) seed: u32,
    pub(crate) segment_bytes: u32,
    pub(crate) margin: u32,
    /// Records from here on were checked when the log was opened, or appended since.
    pub(crate) checked_from: LogOffset,
    /// Where the log ended when it was opened.
    pub(crate) started_at: LogOffset,
    pub(crate) marks: Marks,
    pub(crate) tail: Mutex<Tail>,
    /// Tells the flusher that there is something to write or sync.
    pub(crate) flush: Condvar,
    /// Tells the preparer that a segment is needed.
    pub(crate) prepare: Condvar,
    pub(crate) durability: AtomicU8,
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) retention: Mutex<Retention>,
    /// Wakes tasks in `Log::wait_for_growth`.
    pub(crate) growth: Notify,
    /// Who is woken by it next has to wake the others.
    pub(crate) growth_is_news: AtomicBool,
    pub(crate) on_sync_failure: Mutex<SyncFailureHook>,
    statistics: Mutex<SyncStatistics>,
    durable: watch::Sender<LogOffset>,
    progress: watch::Sender<u64>,
    /// Wakes threads in [`Log::wait_until_durable`].
    advanced: Condvar,
    room: watch::Sender<u64>,
}

/// The parts of [`Shared`] that opening decides.
pub(crate) struct Parts {
    pub(crate) directory: PathBuf,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) log_id: u128,
    pub(crate) seed: u32,
    pub(crate) segment_bytes: u32,
    pub(crate) margin: u32,
    pub(crate) checked_from: LogOffset,
    pub(crate) tail: Tail,
    pub(crate) durability: Durability,
    pub(crate) catalog: Catalog,
    pub(crate) on_sync_failure: SyncFailureHook,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let end = parts.tail.end();
        let marks = Marks::new(end);
        let mut tail = parts.tail;
        if parts.durability != Durability::Always {
            tail.start_mapping(&marks);
        }
        tail.publish_room(&marks);
        let oldest = parts.catalog.segments.keys().next().copied();
        let retention = Retention::new(oldest.unwrap_or_else(|| end.segment()));
        Self {
            directory: parts.directory,
            files: parts.files,
            log_id: parts.log_id,
            seed: parts.seed,
            segment_bytes: parts.segment_bytes,
            margin: parts.margin,
            checked_from: parts.checked_from,
            started_at: end,
            marks,
            tail: Mutex::new(tail),
            flush: Condvar::new(),
            prepare: Condvar::new(),
            durability: AtomicU8::new(parts.durability as u8),
            catalog: Mutex::new(parts.catalog),
            retention: Mutex::new(retention),
            growth: Notify::new(),
            growth_is_news: AtomicBool::new(false),
            on_sync_failure: Mutex::new(parts.on_sync_failure),
            statistics: Mutex::default(),
            durable: watch::Sender::new(end),
            progress: watch::Sender::new(0),
            advanced: Condvar::new(),
            room: watch::Sender::new(0),
        }
    }

    pub(crate) fn durability(&self) -> Durability {
        Durability::from_u8(self.durability.load(Ordering::Acquire))
    }

    /// Enters a segment that has been prepared.
    pub(crate) fn enter(&self, number: u32, bytes: u32) {
        self.catalog.lock().segments.insert(number, bytes);
    }

    /// An old segment to be recycled, if there is one.
    pub(crate) fn take_free(&self) -> Option<PathBuf> {
        self.catalog.lock().free.pop()
    }

    pub(crate) fn note_sync(&self, duration: Duration) {
        let mut statistics = self.statistics.lock();
        statistics.syncs += 1;
        statistics.last = Some(duration);
    }

    /// Tells those who wait that the marks have moved.
    pub(crate) fn publish_progress(&self) {
        let durable = self.marks.durable();
        self.durable
            .send_if_modified(|last| std::mem::replace(last, durable) != durable);
        self.progress.send_modify(|count| *count += 1);
        self.advanced.notify_all();
    }

    pub(crate) fn room_changed(&self) {
        self.room.send_modify(|count| *count += 1);
    }

    /// After a failed sync: nothing is accepted or acknowledged any more.
    pub(crate) fn stop(&self, error: &io::Error) {
        let mut tail = self.tail.lock();
        tail.stop_mapping(&self.marks);
        tail.stopped = Some(format!("the log can't be made durable: {error}"));
        tail.publish_room(&self.marks);
        drop(tail);
        self.prepare.notify_one();
        self.growth.notify_waiters();
        self.publish_progress();
        self.room_changed();
    }
}

/// A node's log, opened by [`Log::open`]. Shared by `Arc`; all methods may be called from any thread
/// and none but [`Log::remove_before`] and [`Log::close`] does I/O.
pub struct Log {
    shared: Arc<Shared>,
    /// Alive as long as a `Recovery` of this log is.
    readers: Weak<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Until the log is closed.
    lock: Mutex<Option<DirectoryLock>>,
}

impl Log {
    /// Starts the threads of a log.
    pub(crate) fn start(parts: Parts, readers: Weak<()>, lock: DirectoryLock) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(parts));
        let log = Self {
            shared: shared.clone(),
            readers,
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)?;
            log.threads.lock().push(thread);
            io::Result::Ok(())
        };
        let flusher = Flusher::new(shared.clone());
        spawn("wal-flush", Box::new(|| flusher.run()))?;
        let preparer = Preparer::new(shared);
        spawn("wal-prepare", Box::new(|| preparer.run()))?;
        Ok(log)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The random id that the log got when its directory was created.
    pub fn id(&self) -> u128 {
        self.shared.log_id
    }

    /// Appends a record and returns its end: it is durable when [`Log::durable`] has reached that.
    ///
    /// Takes a short lock and never waits for I/O. It doesn't fail when [`Log::room`] was asked for a
    /// payload of this size before: should other threads have used the prepared room up meanwhile,
    /// the record waits in memory for more, and is not acknowledged before it is stored. Records of
    /// one thread keep their order.
    ///
    /// # Panics
    ///
    /// If the payload is larger than [`MAX_PAYLOAD`], which `room` refuses.
    #[inline]
    pub fn append(&self, header: RecordHeader, payload: &[u8]) -> LogOffset {
        let shared = &*self.shared;
        let draft = Draft::new(shared.seed, Class::Caller, header, payload);
        let mut tail = shared.tail.lock();
        let end = tail.append(draft, &shared.marks);
        let wake_flusher = std::mem::take(&mut tail.wake_flusher);
        let wake_preparer = std::mem::take(&mut tail.wake_preparer);
        let wake_followers = std::mem::take(&mut tail.wake_followers);
        drop(tail);
        if wake_flusher {
            shared.flush.notify_one();
        }
        if wake_preparer {
            shared.prepare.notify_one();
        }
        if wake_followers {
            shared.growth_is_news.store(true, Ordering::Release);
            shared.growth.notify_one();
        }
        end
    }

    /// Whether a record with a payload of `bytes` can be appended, together with what other threads
    /// may be appending at the same time (1 MiB, less for small segments). One atomic load if so.
    pub fn room(&self, bytes: usize) -> Result<(), NoRoom> {
        if (bytes as u64) < self.shared.marks.room() {
            return Ok(());
        }
        if bytes > MAX_PAYLOAD {
            return Err(NoRoom::TooLarge { bytes });
        }
        let mut tail = self.shared.tail.lock();
        tail.publish_room(&self.shared.marks);
        if (bytes as u64) < self.shared.marks.room() {
            return Ok(());
        }
        match tail.stopped.as_ref().or(tail.failure.as_ref()) {
            Some(reason) => {
                let refused = Err(NoRoom::Failed(reason.clone()));
                // A larger spare is not tried again by itself: whoever is refused has it tried for the next.
                let wanted = capacity_for(bytes, self.shared.margin);
                if wanted > self.shared.segment_bytes {
                    tail.wanted = tail.wanted.max(wanted);
                    drop(tail);
                    self.shared.prepare.notify_one();
                }
                refused
            }
            None if tail.stopping => Err(NoRoom::Failed("the log is closed".to_owned())),
            None => Err(NoRoom::Preparing),
        }
    }

    /// Asks for room for a payload of `bytes`, and returns at once. Needed only when [`Log::room`]
    /// said no: a spare segment of normal size is always prepared without being asked. If it can't be
    /// made, `room` says why until it is asked for again.
    pub fn make_room(&self, bytes: usize) {
        let wanted = capacity_for(bytes.min(MAX_PAYLOAD), self.shared.margin);
        let mut tail = self.shared.tail.lock();
        if let Some(spare) = &tail.spare
            && spare.capacity < wanted
        {
            tail.failure = None;
        }
        if wanted > self.shared.segment_bytes {
            tail.wanted = tail.wanted.max(wanted);
        }
        drop(tail);
        self.shared.prepare.notify_one();
    }

    /// Changes whenever there may be room that there wasn't, or a failure; then ask [`Log::room`].
    pub fn room_watch(&self) -> watch::Receiver<u64> {
        self.shared.room.subscribe()
    }

    /// Where the log ended when it was opened. Offsets after it are of this run of the log: an earlier run may have
    /// had others there, which a reader saw and a crash lost before they were durable. Who remembers offsets of
    /// earlier runs must not take them for more than this.
    pub fn started_at(&self) -> LogOffset {
        self.shared.started_at
    }

    /// The end of the last appended record.
    pub fn appended(&self) -> LogOffset {
        self.shared.marks.appended()
    }

    /// Everything that ends here or before survives a power loss.
    pub fn durable(&self) -> LogOffset {
        self.shared.marks.durable()
    }

    /// Follows [`Log::durable`].
    pub fn durable_watch(&self) -> watch::Receiver<LogOffset> {
        self.shared.durable.subscribe()
    }

    /// Everything that ends here or before is in the page cache, so that it survives `kill -9`;
    /// [`LogOffset::MAX`] while appending itself puts it there.
    pub fn stored(&self) -> LogOffset {
        self.shared.marks.stored()
    }

    /// Whether the record that ends at `offset` may be acknowledged: with `Always` when it is
    /// durable, else when it is in the page cache, which it usually is as soon as it is appended.
    #[inline]
    pub fn acknowledged_when(&self, offset: LogOffset) -> bool {
        match self.durability() {
            Durability::Always => self.durable() >= offset,
            Durability::Everysec | Durability::Os => {
                self.stored() >= offset || self.durable() >= offset
            }
        }
    }

    /// Changes whenever [`Log::acknowledged_when`] may say yes where it said no.
    pub fn progress_watch(&self) -> watch::Receiver<u64> {
        self.shared.progress.subscribe()
    }

    /// Changes the durability, for records already waiting too.
    pub fn set_durability(&self, durability: Durability) {
        let mut tail = self.shared.tail.lock();
        self.shared
            .durability
            .store(durability as u8, Ordering::Release);
        if durability == Durability::Always {
            tail.stop_mapping(&self.shared.marks);
        }
        drop(tail);
        self.shared.flush.notify_one();
        self.shared.publish_progress();
    }

    /// When writes are acknowledged.
    pub fn durability(&self) -> Durability {
        self.shared.durability()
    }

    /// Asks for a sync of everything appended so far, at any durability, and returns at once;
    /// [`Log::durable_watch`] tells when it is done.
    pub fn request_sync(&self) {
        self.shared.tail.lock().sync_requested = true;
        self.shared.flush.notify_one();
    }

    /// Waits until everything that ends at `offset` or before is durable, after asking for a sync:
    /// what a checkpoint needs before it is finished. Blocks the thread.
    ///
    /// # Errors
    ///
    /// If the log stops or is closed before.
    pub fn wait_until_durable(&self, offset: LogOffset) -> io::Result<()> {
        let shared = &self.shared;
        let mut tail = shared.tail.lock();
        while shared.marks.durable() < offset {
            if let Some(reason) = &tail.stopped {
                return Err(io::Error::other(reason.clone()));
            }
            tail.sync_requested = true;
            shared.flush.notify_one();
            shared.advanced.wait(&mut tail);
        }
        Ok(())
    }

    /// Removes segments that hold nothing at or after `offset`, as a checkpoint has it; keeps some of
    /// them for reuse. Only what is durable goes, and what nobody holds ([`Log::hold`]). Returns how many
    /// went. Does I/O.
    ///
    /// # Errors
    ///
    /// What the file system says; then some may have gone.
    pub fn remove_before(&self, offset: LogOffset) -> io::Result<usize> {
        let shared = &self.shared;
        let limit = offset.segment().min(shared.marks.durable().segment());
        let mut catalog = shared.catalog.lock();
        let limit = shared.retention.lock().give_up(limit);
        let old: Vec<_> = catalog
            .segments
            .range(..limit)
            .map(|(&n, &bytes)| (n, bytes))
            .collect();
        for &(number, bytes) in &old {
            let path = shared.directory.join(segment_name(number));
            // What is still being read may be unlinked, but not overwritten.
            let read = self.readers.strong_count() > 0 || shared.retention.lock().is_open(number);
            let reusable = bytes == shared.segment_bytes && !read;
            if reusable && catalog.free.len() < catalog.free_limit {
                let free = shared.directory.join(free_name(number));
                shared.files.rename(&path, &free)?;
                catalog.free.push(free);
            } else {
                shared.files.remove(&path)?;
            }
            catalog.segments.remove(&number);
        }
        if !old.is_empty() {
            shared.files.sync_directory(&shared.directory)?;
        }
        Ok(old.len())
    }

    /// The end of the log, its own records included.
    #[cfg(test)]
    pub(crate) fn tail_end(&self) -> LogOffset {
        self.shared.tail.lock().end()
    }

    /// The state of the log.
    pub fn status(&self) -> LogStatus {
        let shared = &self.shared;
        let (segments, bytes_on_disk) = {
            let catalog = shared.catalog.lock();
            let free = catalog.free.len() as u64 * u64::from(shared.segment_bytes);
            let used: u64 = catalog
                .segments
                .values()
                .map(|&bytes| u64::from(bytes))
                .sum();
            (catalog.segments.len(), used + free)
        };
        let (syncs, last_sync) = {
            let statistics = shared.statistics.lock();
            (statistics.syncs, statistics.last)
        };
        let tail = shared.tail.lock();
        LogStatus {
            appended: shared.marks.appended(),
            durable: shared.marks.durable(),
            durability: shared.durability(),
            segments,
            bytes_on_disk,
            pending_bytes: tail.pending_bytes,
            syncs,
            last_sync,
            room_failure: tail.failure.clone(),
            stopped: tail.stopped.clone(),
        }
    }

    /// Syncs everything, ends the log's threads and releases the directory; idempotent, also done on drop. Nothing may be
    /// appended afterwards. Does I/O.
    ///
    /// # Errors
    ///
    /// If some records could not be made durable. None of them was acknowledged with `Always`.
    pub fn close(&self) -> io::Result<()> {
        {
            let mut tail = self.shared.tail.lock();
            tail.stopping = true;
            tail.publish_room(&self.shared.marks);
        }
        self.shared.flush.notify_one();
        self.shared.prepare.notify_one();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            thread
                .join()
                .map_err(|_| io::Error::other("a thread of the log panicked"))?;
        }
        self.lock.lock().take();
        let mut tail = self.shared.tail.lock();
        let reason = tail.stopped.clone().or(tail.failure.clone());
        tail.stopped.get_or_insert("the log is closed".to_owned());
        drop(tail);
        self.shared.growth.notify_waiters();
        self.shared.publish_progress();
        self.shared.room_changed();
        if self.durable() < self.appended() {
            let reason = reason.unwrap_or_else(|| "records were appended after close".to_owned());
            return Err(io::Error::other(reason));
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the log was closed with records that are not durable");
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
