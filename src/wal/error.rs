//! Why a log could not be opened, or has no room.

use std::io;
use std::path::{Path, PathBuf};

use super::offset::LogOffset;

/// Why a log could not be opened. Nothing has been changed then, except that a torn tail may
/// already have been cut.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory can't be written.
    #[error(
        "{} can't be written ({source}); the log needs a directory that this user can write",
        path.display()
    )]
    NotWritable {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the log open.
    #[error(
        "{} is in use by process {}; a log has one owner",
        path.display(),
        pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if it says so.
        pid: Option<u32>,
    },
    /// A newer version of the software wrote this.
    #[error(
        "{} has format version {found}, this program knows versions up to {supported}; \
         start the newer version that wrote it",
        path.display()
    )]
    NewerFormat {
        /// The version found.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
        /// The file that says so.
        path: PathBuf,
    },
    /// A file that describes the log is damaged or belongs to something else.
    #[error("{}: {reason}", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A segment that replay needs is not there.
    #[error(
        "segment {segment} is missing in {}, but replay from {start} needs it; put the file back, or \
         start from a checkpoint that doesn't need it",
        directory.display()
    )]
    MissingSegment {
        /// The number of the segment.
        segment: u32,
        /// Where replay was to start.
        start: LogOffset,
        /// The directory of the log.
        directory: PathBuf,
    },
    /// There is a bad record before good ones: what was written is damaged.
    #[error(
        "{} is damaged at byte {} (log offset {offset}): {reason}, but valid records follow at \
         {later}. Nothing was dropped. `coterie-ctl wal check DIR` shows the extent; restore the file, \
         or give up everything from {offset} with `coterie-ctl wal repair DIR` (it keeps what it \
         cuts in a .removed file)",
        segment.display(), offset.position()
    )]
    Corrupt {
        /// The file.
        segment: PathBuf,
        /// The place of the bad record.
        offset: LogOffset,
        /// What is wrong there.
        reason: String,
        /// The first valid record after it.
        later: LogOffset,
    },
}

impl OpenError {
    /// Wraps a failed file operation, recognising the errors of a directory that can't be written.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// Why a record can't be appended now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Room is being prepared: wait for `Log::room_watch`, after `Log::make_room` for a large record.
    #[error("the log is preparing room")]
    Preparing,
    /// Room can't be prepared, for example as the disk is full. It is tried again in the
    /// background, and `Log::room_watch` tells when there is room.
    #[error("the log can't grow: {0}")]
    Failed(String),
    /// No record can be that large.
    #[error("a record of {bytes} bytes is larger than the log allows")]
    TooLarge {
        /// The payload asked for.
        bytes: usize,
    },
}
