//! The flusher thread: writes what is buffered, syncs, and moves the durable mark. All writers that
//! appended while one sync was under way share the next one (group commit).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::files::is_out_of_space;
use super::log::Shared;
use super::options::Durability;
use super::segment::Segment;
use super::tail::{Chunk, Tail, Taken};

/// How long a power loss may reach back with [`Durability::Everysec`], but for the sync itself.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Time between attempts to write to a file system that is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

struct Batch {
    taken: Taken,
    sync: bool,
}

enum Step {
    Work(Batch),
    Wait(Option<Duration>),
    Stop,
}

pub(crate) struct Flusher {
    shared: Arc<Shared>,
    last_sync: Instant,
    /// Segments written to, or full, since the last sync; with the current one all to be synced.
    unsynced: Vec<Arc<Segment>>,
}

impl Flusher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            last_sync: Instant::now(),
            unsynced: Vec::new(),
        }
    }

    /// Works until the log is closed or a sync fails.
    pub(crate) fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            if let Err(error) = self.work(batch) {
                self.shared.stop(&error);
                (self.shared.on_sync_failure.lock())(error);
                return;
            }
        }
    }

    /// Waits for something to do; `None` at the end.
    fn next_batch(&mut self) -> Option<Batch> {
        let shared = self.shared.clone();
        let mut tail = shared.tail.lock();
        loop {
            match self.step(&mut tail) {
                Step::Work(batch) => return Some(batch),
                Step::Stop => return None,
                Step::Wait(time) => {
                    // Mapped records need no write; then only the first one has to start the clock.
                    let clock = shared.durability() == Durability::Everysec && time.is_none();
                    tail.wake_flusher = !tail.is_mapped() || clock;
                    match time {
                        Some(time) => drop(shared.flush.wait_for(&mut tail, time)),
                        None => shared.flush.wait(&mut tail),
                    }
                    tail.wake_flusher = false;
                }
            }
        }
    }

    fn step(&mut self, tail: &mut MutexGuard<'_, Tail>) -> Step {
        let marks = &self.shared.marks;
        let durability = self.shared.durability();
        if durability != Durability::Always && !tail.is_mapped() && tail.pending.is_empty() {
            tail.start_mapping(marks);
        }
        self.unsynced.append(&mut tail.sealed);
        let taken = tail.take_chunks(marks);
        let behind = taken.target > marks.durable();
        let elapsed = self.last_sync.elapsed();
        let requested = tail.sync_requested || tail.stopping || !self.unsynced.is_empty();
        let due = match durability {
            Durability::Always => true,
            Durability::Everysec => elapsed >= SYNC_INTERVAL,
            Durability::Os => false,
        };
        let sync = behind && (due || requested);
        if sync {
            // Here, under the lock that `target` was read under: the log may roll any time after.
            self.note_unsynced(tail.file.clone());
        }
        if sync || !taken.chunks.is_empty() {
            if tail.pending.is_empty() {
                tail.sync_requested = false;
            }
            return Step::Work(Batch { taken, sync });
        }
        if !behind {
            tail.sync_requested = false;
        }
        // With the disk full, what is left has no file to go to: it was never acknowledged.
        if tail.stopping && (tail.pending.is_empty() || tail.failure.is_some()) {
            return Step::Stop;
        }
        match durability {
            Durability::Everysec if behind => Step::Wait(Some(SYNC_INTERVAL - elapsed)),
            _ => Step::Wait(None),
        }
    }

    fn work(&mut self, batch: Batch) -> io::Result<()> {
        for chunk in &batch.taken.chunks {
            if let Some(file) = &chunk.file {
                self.write(file, chunk)?;
                self.note_unsynced(Some(file.clone()));
            }
        }
        if batch.sync {
            self.sync()?;
            self.shared.marks.set_durable(batch.taken.target);
        }
        self.settle(batch);
        Ok(())
    }

    fn note_unsynced(&mut self, segment: Option<Arc<Segment>>) {
        let last = self.unsynced.last().map(|last| last.number);
        self.unsynced
            .extend(segment.filter(|segment| Some(segment.number) != last));
    }

    /// Writes a chunk; a full file system is waited for, other errors are final.
    fn write(&self, file: &Segment, chunk: &Chunk) -> io::Result<()> {
        let mut failed = false;
        loop {
            match file.write(&chunk.bytes, chunk.position) {
                Err(error) if is_out_of_space(&error) => {
                    let mut tail = self.shared.tail.lock();
                    if tail.stopping {
                        return Err(error);
                    }
                    tail.failure = Some(error.to_string());
                    if !failed {
                        // Who waits for room is to be refused, not to wait for space.
                        self.shared.room_changed();
                    }
                    failed = true;
                    self.shared.flush.wait_for(&mut tail, RETRY_INTERVAL);
                }
                result => {
                    if failed {
                        self.shared.tail.lock().failure = None;
                        self.shared.room_changed();
                    }
                    return result;
                }
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let started = Instant::now();
        for segment in &self.unsynced {
            segment.sync()?;
        }
        self.unsynced.clear();
        self.last_sync = Instant::now();
        self.shared.note_sync(self.last_sync - started);
        Ok(())
    }

    /// After a batch: moves what the batch allows, and tells those who wait.
    fn settle(&mut self, Batch { taken, sync }: Batch) {
        let shared = &self.shared;
        let grew;
        // `Log::room` may have published already that the buffer is empty, without telling those who wait.
        let wrote = !taken.chunks.is_empty();
        {
            let mut tail = shared.tail.lock();
            if !tail.is_mapped() {
                let stored = shared.marks.stored();
                shared.marks.set_stored(taken.written.max(stored));
            }
            tail.finish_writing(taken.chunks);
            if shared.durability() != Durability::Always {
                tail.start_mapping(&shared.marks);
            }
            if sync {
                tail.cool();
                tail.append_sync_mark(taken.target, &shared.marks);
            }
            grew = tail.publish_room(&shared.marks);
        }
        shared.publish_progress();
        if grew || wrote {
            shared.room_changed();
        }
    }
}
