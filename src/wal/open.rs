//! Opening a log: lock, format, recovery, and the first segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{self, DirectoryLock, Listing};
use super::error::OpenError;
use super::files::{File, Files, fill_with_zeros};
use super::log::{Catalog, Log, Parts};
use super::offset::LogOffset;
use super::options::{MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, Options};
use super::record;
use super::recovery::{End, Lease, Recovery, Request};
use super::segment::{SEAL_BYTES, SEGMENT_HEADER_BYTES, Segment, Workshop, segment_name};
use super::tail::{Limits, Tail};

/// Room kept for other threads' records, at most.
const MARGIN_BYTES: u32 = 1 << 20;

impl Log {
    /// Opens the log in `options.directory`, or creates it.
    ///
    /// `start` is what the newest checkpoint says replay needs, [`LogOffset::ZERO`] without one. All
    /// records from there on are checked; a torn tail is cut; what the log holds is in the returned
    /// [`Recovery`]. Segments before `start` are left to [`Log::remove_before`].
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; none of them costs data.
    pub fn open(options: Options, start: LogOffset) -> Result<(Log, Recovery), OpenError> {
        let directory = options.directory.clone();
        let files = options.files.clone();
        let segment_bytes = options
            .segment_bytes
            .clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
            & !7;
        files
            .create_directory(&directory)
            .map_err(OpenError::io("creating", &directory))?;
        let lock = DirectoryLock::acquire(&directory)?;
        let log_id = identify(&options, start)?;
        let listing = directory::list(&*files, &directory)?;
        for path in &listing.temporary {
            files
                .remove(path)
                .map_err(OpenError::io("removing", path))?;
        }
        let seed = record::seed(log_id);
        let lease = Lease::new(());
        let readers = Arc::downgrade(&lease);
        let recovery = Opening {
            files: &*files,
            directory: &directory,
            segment_bytes,
            workshop: Workshop {
                files: &*files,
                directory: &directory,
                log_id,
            },
            rebooted: directory::rebooted(&directory, options.boot.as_deref()),
            lease,
            seed,
        }
        .run(&listing, start)?;
        if let Some(boot) = &options.boot
            && directory::read_boot(&directory).as_ref() != Some(boot)
        {
            directory::write_boot(&*files, &directory, boot)?;
        }
        let margin = MARGIN_BYTES.min(segment_bytes / 8) & !7;
        let limits = Limits {
            segment_bytes,
            pending_bytes: options.pending_bytes,
            margin,
        };
        let Opened {
            recovery,
            current,
            spare,
            segments,
        } = recovery;
        let tail = Tail::new(
            seed,
            limits,
            recovery.end,
            current.map(Arc::new),
            spare.map(Arc::new),
        );
        let free = free_segments(&*files, &listing, segment_bytes, options.recycled_segments);
        let catalog = Catalog {
            segments,
            free,
            free_limit: options.recycled_segments,
        };
        let parts = Parts {
            directory: directory.clone(),
            files,
            log_id,
            seed,
            segment_bytes,
            margin,
            checked_from: start,
            tail,
            durability: options.durability,
            catalog,
            on_sync_failure: options.on_sync_failure,
        };
        let log = Log::start(parts, readers, lock)
            .map_err(OpenError::io("starting the threads of", &directory))?;
        Ok((log, recovery))
    }
}

/// The id of the log in the directory; a new one if there is no log yet.
fn identify(options: &Options, start: LogOffset) -> Result<u128, OpenError> {
    let directory = &options.directory;
    if let Some(id) = directory::read_format(directory)? {
        return Ok(id);
    }
    let listing = directory::list(&*options.files, directory)?;
    if let Some((_, path)) = listing.segments.first() {
        let reason = "there are segments, but no FORMAT file; restore it, or repair the log \
                      with `coterie-ctl wal repair DIR`";
        return Err(OpenError::NotALog {
            path: path.clone(),
            reason: reason.to_owned(),
        });
    }
    if start != LogOffset::ZERO {
        return Err(OpenError::MissingSegment {
            segment: start.segment(),
            start,
            directory: directory.clone(),
        });
    }
    // The directory may be new too.
    let parent = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    options
        .files
        .sync_directory(parent)
        .map_err(OpenError::io("syncing", parent))?;
    let id = options.log_id.unwrap_or_else(rand::random);
    directory::write_format(&*options.files, directory, id)?;
    Ok(id)
}

/// Old segments of the right size; the others are removed.
fn free_segments(
    files: &dyn Files,
    listing: &Listing,
    segment_bytes: u32,
    limit: usize,
) -> Vec<PathBuf> {
    let mut free = Vec::new();
    for path in &listing.free {
        let size = files.open_for_reading(path).and_then(|file| file.size());
        if free.len() < limit && size.is_ok_and(|size| size == u64::from(segment_bytes)) {
            free.push(path.clone());
        } else if let Err(error) = files.remove(path) {
            tracing::warn!(%error, path = %path.display(), "can't remove an old segment");
        }
    }
    free
}

struct Opening<'a> {
    files: &'a dyn Files,
    directory: &'a Path,
    segment_bytes: u32,
    workshop: Workshop<'a>,
    rebooted: bool,
    lease: Lease,
    seed: u32,
}

struct Opened {
    recovery: Recovery,
    current: Option<Segment>,
    spare: Option<Segment>,
    segments: std::collections::BTreeMap<u32, u32>,
}

impl Opening<'_> {
    fn run(self, listing: &Listing, start: LogOffset) -> Result<Opened, OpenError> {
        let (readers, end) = if listing.segments.is_empty() && start == LogOffset::ZERO {
            let offset = LogOffset::new(1, SEGMENT_HEADER_BYTES);
            (
                Vec::new(),
                End {
                    offset,
                    torn_tail: None,
                    unused: Vec::new(),
                },
            )
        } else {
            let request = Request {
                files: self.files,
                directory: self.directory,
                log_id: self.workshop.log_id,
                seed: self.seed,
                start,
                rebooted: self.rebooted,
                lease: self.lease.clone(),
            };
            let (readers, end) = request.analyse(&listing.segments);
            (readers, end?)
        };
        let mut segments = std::collections::BTreeMap::new();
        for (number, path) in &listing.segments {
            if end.unused.iter().all(|(unused, _)| unused != number) {
                let file = self.files.open_for_reading(path);
                // What the run before left in the page cache counts as durable from here on.
                let size = file.and_then(|file| file.sync().and_then(|()| file.size()));
                let size = size.map_err(OpenError::io("syncing", path))?;
                segments.insert(*number, u32::try_from(size).unwrap_or(u32::MAX));
            }
        }
        let current = self.current(&end, segments.contains_key(&end.offset.segment()))?;
        segments.insert(current.number, current.capacity);
        let spare = self.spare(&end)?;
        segments.extend(spare.as_ref().map(|spare| (spare.number, spare.capacity)));
        let recovery = Recovery {
            segments: readers,
            end: end.offset,
            torn_tail: end.torn_tail,
        };
        Ok(Opened {
            recovery,
            current: Some(current),
            spare,
            segments,
        })
    }

    /// The segment that appending goes on in, cut where the log ends.
    fn current(&self, end: &End, exists: bool) -> Result<Segment, OpenError> {
        let number = end.offset.segment();
        let path = self.directory.join(segment_name(number));
        let least = end
            .offset
            .position()
            .saturating_add(SEAL_BYTES)
            .next_multiple_of(8);
        let capacity = self.segment_bytes.max(least);
        let io = |action| OpenError::io(action, &path);
        if !exists {
            let made = self.workshop.fill(capacity);
            return made
                .and_then(|file| self.workshop.finish(number, file, false))
                .map_err(io("preparing"));
        }
        let file = self.files.open(&path).map_err(io("opening"))?;
        self.cut(&*file, end, capacity)
            .map_err(io("cutting the torn tail of"))?;
        Segment::open(number, file).map_err(io("mapping"))
    }

    /// Zeroes what was torn, and allocates what is missing of the file.
    fn cut(&self, file: &dyn File, end: &End, capacity: u32) -> std::io::Result<()> {
        let size = file.size()?;
        if let Some(torn) = &end.torn_tail {
            let from = u64::from(end.offset.position());
            let to = (from + torn.bytes).min(size);
            tracing::warn!(
                offset = %torn.offset,
                bytes = torn.bytes,
                reason = %torn.reason,
                "cut a torn tail from the log"
            );
            fill_with_zeros(file, from, to)?;
        }
        if size < u64::from(capacity) {
            fill_with_zeros(file, size, u64::from(capacity))?;
        }
        Ok(())
    }

    /// The next segment if it was prepared already. What else is behind the end goes.
    fn spare(&self, end: &End) -> Result<Option<Segment>, OpenError> {
        let clean = end
            .torn_tail
            .as_ref()
            .is_none_or(|torn| torn.later_records == 0);
        let mut spare = None;
        let mut removed = false;
        for (number, path) in &end.unused {
            if *number == end.offset.segment() {
                continue;
            }
            if clean && *number == end.offset.segment() + 1 {
                spare = self.reuse(*number, path);
                if spare.is_some() {
                    continue;
                }
            }
            self.files
                .remove(path)
                .map_err(OpenError::io("removing", path))?;
            removed = true;
        }
        if removed {
            let synced = self.files.sync_directory(self.directory);
            synced.map_err(OpenError::io("syncing", self.directory))?;
        }
        Ok(spare)
    }

    fn reuse(&self, number: u32, path: &Path) -> Option<Segment> {
        let file = self.files.open(path).ok()?;
        if file.size().ok()? < u64::from(self.segment_bytes) {
            return None;
        }
        let map = file.map_for_reading(SEGMENT_HEADER_BYTES as usize).ok()?;
        let header = super::segment::SegmentHeader::decode(&map).ok()?;
        let ours = header.number == number && header.log_id == self.workshop.log_id;
        if ours {
            Segment::open(number, file).ok()
        } else {
            None
        }
    }
}
