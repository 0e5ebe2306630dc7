//! The preparer thread: keeps one segment ready ahead of use, and makes larger ones on request.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::log::Shared;
use super::segment::{SEGMENT_HEADER_BYTES, Segment, Workshop};
use super::tail::Tail;

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Job {
    number: u32,
    capacity: u32,
    /// Records wait for it, or will soon; otherwise it only replaces a spare by a larger one.
    urgent: bool,
}

/// What to prepare next.
fn next_job(tail: &Tail, segment_bytes: u32) -> Option<Job> {
    let blocked = tail.pending.iter().find(|chunk| chunk.file.is_none());
    if let Some(chunk) = blocked {
        return Some(Job {
            number: chunk.segment,
            capacity: chunk.capacity,
            urgent: true,
        });
    }
    if tail.file.is_none() {
        return Some(Job {
            number: tail.segment,
            capacity: tail.capacity,
            urgent: true,
        });
    }
    if tail.stopping {
        return None;
    }
    let number = tail.segment + 1;
    match &tail.spare {
        None => Some(Job {
            number,
            capacity: segment_bytes.max(tail.wanted),
            urgent: true,
        }),
        Some(spare) if spare.capacity < tail.wanted => Some(Job {
            number,
            capacity: tail.wanted,
            urgent: false,
        }),
        Some(_) => None,
    }
}

pub(crate) struct Preparer {
    shared: Arc<Shared>,
    pause: Duration,
}

impl Preparer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pause: FIRST_PAUSE,
        }
    }

    /// Works until the log is closed or stopped.
    pub(crate) fn run(mut self) {
        crate::priority::give_way();
        while let Some(job) = self.next() {
            match self.prepare(job) {
                Ok(()) => self.pause = FIRST_PAUSE,
                Err(error) => {
                    if !self.failed(job, &error) {
                        return;
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut tail = self.shared.tail.lock();
        loop {
            if tail.stopped.is_some() {
                return None;
            }
            if let Some(stretch) = tail.next_to_warm() {
                MutexGuard::unlocked(&mut tail, || {
                    stretch.segment.warm(stretch.ahead);
                    stretch.segment.release(stretch.behind);
                });
                continue;
            }
            if let Some(job) = next_job(&tail, self.shared.segment_bytes) {
                return Some(job);
            }
            if tail.stopping {
                return None;
            }
            self.shared.prepare.wait(&mut tail);
        }
    }

    fn prepare(&self, job: Job) -> io::Result<()> {
        let shared = &self.shared;
        let workshop = Workshop {
            files: &*shared.files,
            directory: &shared.directory,
            log_id: shared.log_id,
        };
        if job.capacity == shared.segment_bytes
            && let Some(old) = shared.take_free()
        {
            match workshop.reopen(&old) {
                Ok(file) => return self.finish(&workshop, job, file, true),
                Err(error) => {
                    tracing::warn!(%error, path = %old.display(), "can't recycle a segment");
                }
            }
        }
        let file = workshop.fill(job.capacity)?;
        self.finish(&workshop, job, file, false)
    }

    /// Gives the prepared file its name and hands it over. A spare that it replaces is out of reach
    /// meanwhile, so that nothing is appended to a file that loses its name.
    fn finish(
        &self,
        workshop: &Workshop<'_>,
        job: Job,
        file: Box<dyn super::files::File>,
        recycled: bool,
    ) -> io::Result<()> {
        let shared = &self.shared;
        let replaced = {
            let mut tail = shared.tail.lock();
            let needed = match tail.segment.cmp(&job.number) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => tail.file.is_none(),
                std::cmp::Ordering::Greater => tail
                    .pending
                    .iter()
                    .any(|c| c.segment == job.number && c.file.is_none()),
            };
            if !needed {
                drop(tail);
                workshop.discard();
                return Ok(());
            }
            let replaced = tail.spare.take_if(|spare| spare.number == job.number);
            tail.publish_room(&shared.marks);
            replaced
        };
        match workshop.finish(job.number, file, recycled) {
            Ok(segment) => {
                self.deliver(segment);
                Ok(())
            }
            Err(error) => {
                workshop.discard();
                if let Some(spare) = replaced {
                    shared.tail.lock().deliver(spare);
                }
                Err(error)
            }
        }
    }

    fn deliver(&self, segment: Segment) {
        let shared = &self.shared;
        shared.enter(segment.number, segment.capacity);
        {
            let mut tail = shared.tail.lock();
            tail.failure = None;
            tail.deliver(Arc::new(segment));
            tail.publish_room(&shared.marks);
        }
        shared.flush.notify_one();
        shared.room_changed();
    }

    /// Notes a failure and pauses; `false` if it was the last attempt.
    fn failed(&mut self, job: Job, error: &io::Error) -> bool {
        let shared = &self.shared;
        let mut tail = shared.tail.lock();
        if tail.failure.is_none() {
            tracing::warn!(%error, directory = %shared.directory.display(), "the log can't grow");
        }
        tail.failure = Some(describe(&shared.directory, error));
        // A large record is tried again only when somebody asks again.
        if job.capacity > shared.segment_bytes {
            tail.wanted = 0;
        }
        tail.publish_room(&shared.marks);
        shared.room_changed();
        if tail.stopping {
            drop(tail);
            shared.flush.notify_one();
            return false;
        }
        if job.urgent {
            shared.prepare.wait_for(&mut tail, self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        true
    }
}

fn describe(directory: &Path, error: &io::Error) -> String {
    format!("preparing a segment in {}: {error}", directory.display())
}

/// The size of a segment that holds a payload of `bytes` with `margin` to spare.
pub(crate) fn capacity_for(bytes: usize, margin: u32) -> u32 {
    let record = super::record::padded(super::record::HEADER_BYTES + bytes);
    let overhead = SEGMENT_HEADER_BYTES + super::segment::SEAL_BYTES + margin + 8;
    u32::try_from(record as u64 + u64::from(overhead)).unwrap_or(u32::MAX)
}
