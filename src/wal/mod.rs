//! The log of a node: records of opaque bytes, appended, made durable, and read back after a crash.
//!
//! The log is a directory of segment files that are allocated ahead of use. It promises:
//!
//! - What was acknowledged as [`Durability`] says is read back after `kill -9`, at any durability, and
//!   after a power loss with [`Durability::Always`].
//! - A record torn by a crash is cut and reported ([`TornTail`]). A bad record before good ones is an
//!   error ([`OpenError::Corrupt`]), never dropped.
//! - A full disk is an answer of [`Log::room`] before anything is changed; it passes when there is
//!   space again. A failed write or sync stops the process ([`Options::on_sync_failure`]).
//!
//! The files of the directory are described in `directory.rs`, the bytes of a record in `record.rs`,
//! those of a segment's header in `segment.rs`, and checkpoints in [`checkpoint`].

pub mod checkpoint;
mod directory;
mod error;
mod files;
mod flusher;
mod inspect;
mod log;
mod offset;
mod open;
mod options;
mod preparer;
mod record;
mod recovery;
mod repair;
mod retention;
mod scan;
mod segment;
mod tail;
mod tail_reader;
#[cfg(test)]
mod tests;
mod waiting;

pub use error::{NoRoom, OpenError};
pub use files::{File, Files, SystemFiles};
pub use inspect::{Inspection, inspect};
pub use log::{Log, LogStatus};
pub use offset::{LogOffset, ParseLogOffsetError};
pub use options::{Durability, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, Options, SyncFailureHook};
pub use record::{MAX_PAYLOAD, Record, RecordHeader};
pub use recovery::{Recovery, SegmentReader, TornTail};
pub use repair::{RepairStep, repair};
pub use retention::Hold;
pub use tail_reader::{TailError, TailReader};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
