//! Finding the end of a log that was left at any moment, and reading what is before it.
//!
//! Every segment but the last written one ends with a seal, and numbers have no gaps. So the first
//! place without a valid record is the end of the log, if no valid record follows it in any segment.
//! If one does, the log is damaged in the middle, and nothing is touched (`OpenError::Corrupt`), with
//! one exception: after a reboot, pages that were written but not yet synced may be there or not in
//! any combination. As sync marks tell how far the log had been synced, what is lost behind the last
//! of them was never durable; then the log is cut there, and [`TornTail::later_records`] says so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::Mmap;

use super::FORMAT_VERSION;
use super::error::OpenError;
use super::files::Files;
use super::offset::LogOffset;
use super::record::{Class, Record};
use super::scan::{self, Entries, Later, Scan};
use super::segment::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};

/// What was cut from the end of a log, as it was never completely written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub segment: PathBuf,
    /// Where the log ends now.
    pub offset: LogOffset,
    /// How many bytes of that segment were cut.
    pub bytes: u64,
    /// Valid records behind the torn place; not 0 only after a reboot (see the module).
    pub later_records: u64,
    /// What was wrong at `offset`.
    pub reason: String,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            offset,
            bytes,
            later_records,
            reason,
        } = self;
        write!(
            f,
            "{bytes} bytes at log offset {offset} in {} ({reason})",
            segment.display()
        )?;
        if *later_records > 0 {
            write!(
                f,
                ", with {later_records} records that were never synced before a reboot"
            )?;
        }
        Ok(())
    }
}

/// Keeps segments from being recycled while their bytes can still be read.
pub(crate) type Lease = Arc<()>;

/// The records of one segment; readable from several threads at once.
pub struct SegmentReader {
    number: u32,
    path: PathBuf,
    map: Mmap,
    from: u32,
    scan: Scan,
    _lease: Lease,
}

impl SegmentReader {
    /// The number of the segment.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of records.
    pub fn record_count(&self) -> u64 {
        self.scan.records
    }

    /// The bytes of their payloads together.
    pub fn payload_bytes(&self) -> u64 {
        self.scan.payload_bytes
    }

    /// Where its last record ends.
    pub fn end(&self) -> LogOffset {
        LogOffset::new(self.number, self.scan.end)
    }

    /// Whether the log goes on in the next segment.
    pub fn is_sealed(&self) -> bool {
        self.scan.stop.is_none()
    }

    /// The records, oldest first. Their checksums were verified when the log was opened.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        Entries::new(self.number, &self.map, self.from, self.scan.end)
            .filter(|entry| entry.class == Class::Caller)
            .map(|entry| entry.record)
    }
}

impl fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentReader")
            .field("path", &self.path)
            .field("from", &self.from)
            .field("scan", &self.scan)
            .finish_non_exhaustive()
    }
}

/// What a log holds from the start that was asked for.
#[derive(Debug)]
pub struct Recovery {
    pub(crate) segments: Vec<SegmentReader>,
    pub(crate) end: LogOffset,
    pub(crate) torn_tail: Option<TornTail>,
}

impl Recovery {
    /// The segments, oldest first: for reading them by several threads at once.
    pub fn segments(&self) -> &[SegmentReader] {
        &self.segments
    }

    /// All records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.segments.iter().flat_map(SegmentReader::records)
    }

    /// The number of all records.
    pub fn record_count(&self) -> u64 {
        self.segments.iter().map(SegmentReader::record_count).sum()
    }

    /// The bytes of all payloads together.
    pub fn payload_bytes(&self) -> u64 {
        self.segments.iter().map(SegmentReader::payload_bytes).sum()
    }

    /// Where the log ends and appending goes on.
    pub fn end(&self) -> LogOffset {
        self.end
    }

    /// What was cut off, if anything.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn_tail.as_ref()
    }
}

/// Where a log ends.
pub(crate) struct End {
    /// Appending goes on here.
    pub(crate) offset: LogOffset,
    /// What has to be cut first.
    pub(crate) torn_tail: Option<TornTail>,
    /// Segments after the end; they hold nothing that counts.
    pub(crate) unused: Vec<(u32, PathBuf)>,
}

/// What is to be analysed, and how.
pub(crate) struct Request<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) directory: &'a Path,
    pub(crate) log_id: u128,
    pub(crate) seed: u32,
    /// Replay starts here.
    pub(crate) start: LogOffset,
    /// Whether the machine was started again since the log was last opened.
    pub(crate) rebooted: bool,
    pub(crate) lease: Lease,
}

struct Source {
    number: u32,
    path: PathBuf,
    map: Mmap,
    header: Result<SegmentHeader, HeaderError>,
    from: u32,
}

impl Request<'_> {
    /// Reads all segments from the start on. The first part of the answer is what is readable,
    /// also if the log is damaged.
    pub(crate) fn analyse(
        &self,
        segments: &[(u32, PathBuf)],
    ) -> (Vec<SegmentReader>, Result<End, OpenError>) {
        let first = self.start.segment().max(1);
        let wanted: Vec<_> = segments
            .iter()
            .filter(|(number, _)| *number >= first)
            .collect();
        if wanted.first().is_none_or(|(number, _)| *number != first) {
            let error = OpenError::MissingSegment {
                segment: first,
                start: self.start,
                directory: self.directory.to_owned(),
            };
            return (Vec::new(), Err(error));
        }
        let sources: Result<Vec<_>, _> = wanted
            .iter()
            .map(|(number, path)| self.source(*number, path))
            .collect();
        match sources {
            Ok(sources) => {
                let scans = self.scan_all(&sources);
                self.conclude(sources, scans)
            }
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    fn source(&self, number: u32, path: &Path) -> Result<Source, OpenError> {
        let io = |action| OpenError::io(action, path);
        let file = self.files.open_for_reading(path).map_err(io("opening"))?;
        let size = file.size().map_err(io("reading the size of"))?;
        let size = size.min(u64::from(u32::MAX)) as usize;
        let map = file.map_for_reading(size).map_err(io("mapping"))?;
        let header = match SegmentHeader::decode(&map) {
            Err(HeaderError::Newer(found)) => {
                return Err(OpenError::NewerFormat {
                    found,
                    supported: FORMAT_VERSION,
                    path: path.to_owned(),
                });
            }
            Ok(header) if header.log_id != self.log_id || header.number != number => {
                let reason = format!(
                    "is segment {} of log {:032x}, not segment {number} of log {:032x}",
                    header.number, header.log_id, self.log_id
                );
                return Err(OpenError::NotALog {
                    path: path.to_owned(),
                    reason,
                });
            }
            header => header,
        };
        let from = if number == self.start.segment() {
            self.start.position()
        } else {
            0
        };
        let from = from.max(SEGMENT_HEADER_BYTES);
        Ok(Source {
            number,
            path: path.to_owned(),
            map,
            header,
            from,
        })
    }

    /// Scans the segments on as many threads as the machine has processors.
    fn scan_all(&self, sources: &[Source]) -> Vec<Scan> {
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut scans = Vec::new();
            while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                scans.push((
                    source.number,
                    scan::scan(self.seed, source.number, &source.map, source.from),
                ));
            }
            scans
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = threads.min(sources.len());
        let mut scans = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
            let mut scans = worker();
            for other in others {
                match other.join() {
                    Ok(more) => scans.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            scans
        });
        scans.sort_unstable_by_key(|(number, _)| *number);
        scans.into_iter().map(|(_, scan)| scan).collect()
    }

    fn conclude(
        &self,
        sources: Vec<Source>,
        scans: Vec<Scan>,
    ) -> (Vec<SegmentReader>, Result<End, OpenError>) {
        let mut readers: Vec<SegmentReader> = Vec::new();
        let mut rest = sources.into_iter().zip(scans).peekable();
        let mut expected = self.start.segment().max(1);
        while let Some((source, scan)) = rest.next_if(|(source, _)| source.number == expected) {
            if source.header.is_err() {
                let after: Vec<_> = rest.map(|(source, _)| source).collect();
                let end = self.headless(source, &after);
                return (readers, end);
            }
            if scan.stop.is_some() {
                let after: Vec<_> = rest.map(|(source, _)| source).collect();
                let end = self.end_at(&source, &scan, &after);
                let reader = self.reader(source, scan, end.is_ok());
                return match reader {
                    Ok(reader) => {
                        readers.push(reader);
                        (readers, end)
                    }
                    Err(error) => (readers, Err(error)),
                };
            }
            match self.reader(source, scan, false) {
                Ok(reader) => readers.push(reader),
                Err(error) => return (readers, Err(error)),
            }
            expected += 1;
        }
        // The last segment is sealed, and the next one was never made, or is gone.
        let after: Vec<_> = rest.map(|(source, _)| source).collect();
        let offset = LogOffset::new(expected, SEGMENT_HEADER_BYTES);
        let later = self.search(&after);
        let end = match later.first {
            Some(first) => Err(OpenError::Corrupt {
                segment: self.directory.join(super::segment::segment_name(expected)),
                offset,
                reason: "the segment is missing".to_owned(),
                later: first,
            }),
            None => Ok(End {
                offset,
                torn_tail: None,
                unused: paths(&after),
            }),
        };
        (readers, end)
    }

    /// A segment whose header can't be read: unused if nothing valid follows, else damaged.
    fn headless(&self, source: Source, after: &[Source]) -> Result<End, OpenError> {
        let mut later = Later::default();
        scan::find_later(
            self.seed,
            source.number,
            &source.map,
            SEGMENT_HEADER_BYTES,
            &mut later,
        );
        let later = later.first.or_else(|| self.search(after).first);
        match later {
            Some(later) => Err(OpenError::Corrupt {
                segment: source.path,
                offset: LogOffset::new(source.number, 0),
                reason: "the header is damaged".to_owned(),
                later,
            }),
            None => {
                let offset = LogOffset::new(source.number, source.from);
                let mut unused = vec![(source.number, source.path)];
                unused.extend(paths(after));
                Ok(End {
                    offset,
                    torn_tail: None,
                    unused,
                })
            }
        }
    }

    fn end_at(&self, source: &Source, scan: &Scan, after: &[Source]) -> Result<End, OpenError> {
        let offset = LogOffset::new(source.number, scan.end);
        let reason = scan
            .stop
            .map(|reason| reason.to_string())
            .unwrap_or_default();
        let mut later = Later::default();
        let next = scan.end.saturating_add(1);
        scan::find_later(self.seed, source.number, &source.map, next, &mut later);
        for source in after {
            let from = SEGMENT_HEADER_BYTES;
            scan::find_later(self.seed, source.number, &source.map, from, &mut later);
        }
        if let Some(first) = later.first
            && (!self.rebooted || later.synced > offset)
        {
            return Err(OpenError::Corrupt {
                segment: source.path.clone(),
                offset,
                reason,
                later: first,
            });
        }
        let bytes = if later.first.is_some() {
            (source.map.len() as u64).saturating_sub(u64::from(scan.end))
        } else {
            let recycled = source.header.is_ok_and(|header| header.recycled);
            u64::from(scan::remains(
                source.number,
                &source.map,
                scan.end,
                recycled,
            ))
        };
        let torn_tail = (bytes > 0).then(|| TornTail {
            segment: source.path.clone(),
            offset,
            bytes,
            later_records: later.records,
            reason,
        });
        Ok(End {
            offset,
            torn_tail,
            unused: paths(after),
        })
    }

    fn search(&self, sources: &[Source]) -> Later {
        let mut later = Later::default();
        for source in sources {
            let from = SEGMENT_HEADER_BYTES;
            scan::find_later(self.seed, source.number, &source.map, from, &mut later);
        }
        later
    }

    /// A reader of a segment; one that will be appended to is mapped only up to its end.
    fn reader(&self, source: Source, scan: Scan, last: bool) -> Result<SegmentReader, OpenError> {
        let mut map = source.map;
        if last {
            let io = |action| OpenError::io(action, &source.path);
            let file = self
                .files
                .open_for_reading(&source.path)
                .map_err(io("opening"))?;
            let length = map.len().min(scan.end as usize);
            map = file.map_for_reading(length).map_err(io("mapping"))?;
        }
        Ok(SegmentReader {
            number: source.number,
            path: source.path,
            map,
            from: source.from,
            scan,
            _lease: self.lease.clone(),
        })
    }
}

fn paths(sources: &[Source]) -> Vec<(u32, PathBuf)> {
    sources
        .iter()
        .map(|source| (source.number, source.path.clone()))
        .collect()
}
