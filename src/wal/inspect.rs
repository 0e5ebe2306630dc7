//! Looking at a log without changing it, for tools.

use std::path::{Path, PathBuf};

use super::directory::{self, DirectoryLock};
use super::error::OpenError;
use super::files::SystemFiles;
use super::offset::LogOffset;
use super::record;
use super::recovery::{Lease, Request, SegmentReader, TornTail};
use super::segment::SegmentHeader;

/// What a log directory holds.
#[derive(Debug)]
pub struct Inspection {
    /// The id of the log.
    pub log_id: u128,
    /// Whether a process has it open; then its newest records may look torn, and segments may change
    /// while they are read.
    pub in_use: bool,
    /// What can be read, oldest first: all there is, or what is before the damage.
    pub segments: Vec<SegmentReader>,
    /// Segments that are older than where replay starts.
    pub older: Vec<PathBuf>,
    /// Segments after the end of the log, prepared for use.
    pub prepared: Vec<PathBuf>,
    /// Where the log ends; or why opening it would fail.
    pub end: Result<LogOffset, OpenError>,
    /// What opening the log would cut.
    pub torn_tail: Option<TornTail>,
}

/// Reads a log from `start` (as [`super::Log::open`] would), changing nothing and without its lock.
///
/// # Errors
///
/// If the directory is no log or can't be read. Damage to the records is no error, but in
/// [`Inspection::end`].
pub fn inspect(directory: &Path, start: LogOffset) -> Result<Inspection, OpenError> {
    let in_use = DirectoryLock::is_held(directory)?;
    let listing = directory::list(&SystemFiles, directory)?;
    let log_id = match directory::read_format(directory)? {
        Some(id) => id,
        None => {
            let id = id_of_segments(&listing.segments);
            id.ok_or_else(|| OpenError::NotALog {
                path: directory.to_owned(),
                reason: "there is neither a FORMAT file nor a segment".to_owned(),
            })?
        }
    };
    let first = start.segment().max(1);
    let older = listing
        .segments
        .iter()
        .filter(|(number, _)| *number < first);
    let older = older.map(|(_, path)| path.clone()).collect();
    let request = Request {
        files: &SystemFiles,
        directory,
        log_id,
        seed: record::seed(log_id),
        start,
        rebooted: rebooted(directory),
        lease: Lease::new(()),
    };
    let (segments, end) = request.analyse(&listing.segments);
    let (end, torn_tail, prepared) = match end {
        Ok(end) => (Ok(end.offset), end.torn_tail, end.unused),
        Err(error) => (Err(error), None, Vec::new()),
    };
    let prepared = prepared.into_iter().map(|(_, path)| path).collect();
    Ok(Inspection {
        log_id,
        in_use,
        segments,
        older,
        prepared,
        end,
        torn_tail,
    })
}

/// The id in the first segment header that can be read.
pub(crate) fn id_of_segments(segments: &[(u32, PathBuf)]) -> Option<u128> {
    segments.iter().find_map(|(_, path)| {
        let mut bytes = [0; super::segment::SEGMENT_HEADER_BYTES as usize];
        let mut file = std::fs::File::open(path).ok()?;
        std::io::Read::read_exact(&mut file, &mut bytes).ok()?;
        SegmentHeader::decode(&bytes)
            .ok()
            .map(|header| header.log_id)
    })
}

/// Whether the machine was started again since the log was last opened.
pub(crate) fn rebooted(directory: &Path) -> bool {
    directory::rebooted(directory, directory::current_boot().as_deref())
}
