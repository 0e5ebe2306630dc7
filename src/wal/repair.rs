//! Giving up the damaged end of a log, so that the rest can be used: the way out of
//! [`OpenError::Corrupt`]. What is cut is kept in files that end in `.removed`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{self, DirectoryLock};
use super::error::OpenError;
use super::files::{Files, SystemFiles, fill_with_zeros, write_all_at};
use super::inspect::{id_of_segments, rebooted};
use super::offset::LogOffset;
use super::record;
use super::recovery::{Lease, Request};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairStep {
    /// `FORMAT` was missing, and is there again.
    FormatWritten,
    /// The damaged header of a segment was written anew; no record was lost by that.
    HeaderWritten {
        /// The file.
        segment: PathBuf,
    },
    /// The log was cut.
    Cut {
        /// The file.
        segment: PathBuf,
        /// Where.
        offset: LogOffset,
        /// What was cut from this file.
        bytes: u64,
        /// Holds it.
        kept: PathBuf,
    },
    /// A segment behind the cut was moved away.
    Moved {
        /// What it was.
        segment: PathBuf,
        /// What it is now.
        kept: PathBuf,
    },
}

impl fmt::Display for RepairStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FormatWritten => write!(f, "wrote the missing FORMAT file"),
            Self::HeaderWritten { segment } => {
                write!(f, "wrote the header of {} anew", segment.display())
            }
            Self::Cut {
                segment,
                offset,
                bytes,
                kept,
            } => {
                let (segment, kept) = (segment.display(), kept.display());
                write!(
                    f,
                    "cut {bytes} bytes from {segment} at log offset {offset}, kept in {kept}"
                )
            }
            Self::Moved { segment, kept } => {
                write!(f, "moved {} to {}", segment.display(), kept.display())
            }
        }
    }
}

/// Makes a damaged log usable again by cutting it at its first bad record after `start`. Returns what
/// was done; nothing, if the log was sound. A torn tail is left to [`super::Log::open`].
///
/// # Errors
///
/// If the log is in use, is no log, misses its first segment, or can't be written.
pub fn repair(directory: &Path, start: LogOffset) -> Result<Vec<RepairStep>, OpenError> {
    let _lock = DirectoryLock::acquire(directory)?;
    let mut steps = Vec::new();
    let listing = directory::list(&SystemFiles, directory)?;
    let log_id = match directory::read_format(directory)? {
        Some(id) => id,
        None => {
            let id = id_of_segments(&listing.segments).ok_or_else(|| OpenError::NotALog {
                path: directory.to_owned(),
                reason: "there is neither a FORMAT file nor a segment".to_owned(),
            })?;
            directory::write_format(&SystemFiles, directory, id)?;
            steps.push(RepairStep::FormatWritten);
            id
        }
    };
    let request = Request {
        files: &SystemFiles,
        directory,
        log_id,
        seed: record::seed(log_id),
        start,
        rebooted: rebooted(directory),
        lease: Lease::new(()),
    };
    // Each round mends one header, or cuts and is the last but one.
    for _ in 0..listing.segments.len() + 2 {
        let segments = directory::list(&SystemFiles, directory)?.segments;
        let (readers, end) = request.analyse(&segments);
        drop(readers);
        let (path, offset) = match end {
            Ok(_) => break,
            Err(OpenError::Corrupt {
                segment, offset, ..
            }) => (segment, offset),
            Err(error) => return Err(error),
        };
        if offset.position() == 0 {
            steps.push(write_header(&path, offset.segment(), log_id)?);
        } else {
            cut(directory, &path, offset, &segments, &mut steps)?;
        }
    }
    Ok(steps)
}

fn write_header(path: &Path, number: u32, log_id: u128) -> Result<RepairStep, OpenError> {
    // Nothing tells whether the file was recycled; a reader then has to be prepared for it.
    let header = SegmentHeader {
        number,
        log_id,
        recycled: true,
    };
    let write = || {
        let file = SystemFiles.open(path)?;
        write_all_at(&*file, &header.encode(), 0)?;
        file.sync()
    };
    write().map_err(OpenError::io("writing", path))?;
    Ok(RepairStep::HeaderWritten {
        segment: path.to_owned(),
    })
}

/// Saves what is at and after `offset`, then takes it out of the log: last segment first, so that an
/// interrupted repair can be repeated.
fn cut(
    directory: &Path,
    path: &Path,
    offset: LogOffset,
    segments: &[(u32, PathBuf)],
    steps: &mut Vec<RepairStep>,
) -> Result<(), OpenError> {
    let after = segments
        .iter()
        .filter(|(number, _)| *number > offset.segment());
    for (_, path) in after.rev() {
        let kept = unused_name(path);
        SystemFiles
            .rename(path, &kept)
            .map_err(OpenError::io("renaming", path))?;
        steps.push(RepairStep::Moved {
            segment: path.clone(),
            kept,
        });
    }
    SystemFiles
        .sync_directory(directory)
        .map_err(OpenError::io("syncing", directory))?;
    if segments
        .iter()
        .any(|(number, _)| *number == offset.segment())
    {
        let kept = unused_name(path);
        let bytes = cut_file(directory, path, offset.position(), &kept)
            .map_err(OpenError::io("cutting", path))?;
        steps.push(RepairStep::Cut {
            segment: path.to_owned(),
            offset,
            bytes,
            kept,
        });
    }
    Ok(())
}

fn cut_file(directory: &Path, path: &Path, position: u32, kept: &Path) -> io::Result<u64> {
    debug_assert!(position >= SEGMENT_HEADER_BYTES);
    let mut source = fs::File::open(path)?;
    let size = source.metadata()?.len();
    io::Seek::seek(&mut source, io::SeekFrom::Start(u64::from(position)))?;
    let mut copy = fs::File::create_new(kept)?;
    let bytes = io::copy(&mut source, &mut copy)?;
    copy.sync_all()?;
    SystemFiles.sync_directory(directory)?;
    let file = SystemFiles.open(path)?;
    fill_with_zeros(&*file, u64::from(position), size)?;
    Ok(bytes)
}

/// `path` with `.removed` behind it, and a number if that exists.
fn unused_name(path: &Path) -> PathBuf {
    let name = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let numbered = (2..=u32::MAX).map(|n| format!(".removed.{n}"));
    std::iter::once(".removed".to_owned())
        .chain(numbered)
        .map(name)
        .find(|path| !path.exists())
        .unwrap_or_else(|| name(".removed".to_owned()))
}
