//! Checkpoint files: the state of all partitions as opaque blocks, written while writes go on.
//!
//! A checkpoint with the log from [`Checkpoint::log_start`] on is the whole state: replay starts
//! there, and skips what a partition or entry already has. It is written to `….tmp`, synced, and only
//! then renamed to `checkpoint-<20 digits of its id>.ckpt`; so a file with that name is complete.
//! Integers are little-endian.
//!
//! | part     | bytes                                                                            |
//! |----------|----------------------------------------------------------------------------------|
//! | header   | magic `COTERCKP`, format u32 (1), metadata length u32, id u64, log start u64, checksum u32 of these and the metadata, zero u32, metadata |
//! | blocks   | each: length u32, checksum u32, payload                                          |
//! | index    | each partition, ascending: partition u16, zero u16, block count u32, start version u64, then per block: position u64 |
//! | footer   | index position u64, index length u64, partitions u32, checksum u32 of the index and the footer before it, magic `COTERCKE` |
//!
//! A block's checksum covers its payload, length, position and the checkpoint's id. What the index
//! doesn't list doesn't exist: that is how a partition that was begun again loses its first blocks.

mod reader;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use coterie_protocol::PartitionId;

pub use reader::{Blocks, Checkpoint};
pub use writer::CheckpointWriter;

use super::files::Files;

const MAGIC: &[u8; 8] = b"COTERCKP";
const END_MAGIC: &[u8; 8] = b"COTERCKE";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 40;
const BLOCK_HEADER_BYTES: usize = 8;
const INDEX_ENTRY_BYTES: usize = 16;
const FOOTER_BYTES: usize = 32;

/// The largest block: 2 GiB, as for a record. Blocks of up to some MiB are best.
pub const MAX_BLOCK_BYTES: usize = 1 << 31;
/// The largest metadata: 16 MiB.
pub const MAX_METADATA_BYTES: usize = 16 << 20;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
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
    /// A newer version of the software wrote it.
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
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "{} is damaged: {reason}. Nothing was dropped. Restore the file; or move it away, which \
         loads the checkpoint before it if there is one, and works only if the log still reaches back \
         to that (`coterie-ctl wal check DIR` tells)",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer was used out of order, or with something too large.
    #[error("{0}")]
    Misuse(&'static str),
    /// A block of a partition is damaged.
    #[error(
        "{} is damaged: a block of partition {} at byte {position} has a wrong checksum",
        path.display(), partition.0
    )]
    CorruptBlock {
        /// The file.
        path: PathBuf,
        /// Whose block.
        partition: PartitionId,
        /// Where the block starts.
        position: u64,
    },
}

impl CheckpointError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// For callers that do other I/O too.
impl From<CheckpointError> for io::Error {
    fn from(error: CheckpointError) -> Self {
        let kind = match &error {
            CheckpointError::Io { source, .. } => source.kind(),
            CheckpointError::NewerFormat { .. } => io::ErrorKind::Unsupported,
            CheckpointError::Misuse(_) => io::ErrorKind::InvalidInput,
            CheckpointError::Corrupt { .. } | CheckpointError::CorruptBlock { .. } => {
                io::ErrorKind::InvalidData
            }
        };
        Self::new(kind, error)
    }
}

fn file_name(id: u64) -> String {
    format!("checkpoint-{id:020}.ckpt")
}

fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("checkpoint-")?.strip_suffix(".ckpt")?;
    if digits.len() == 20 {
        digits.parse().ok()
    } else {
        None
    }
}

fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp")
        .is_some_and(|name| parse_file_name(name).is_some())
}

fn block_checksum(id: u64, position: u64, payload: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(payload);
    checksum.update(&(payload.len() as u32).to_le_bytes());
    checksum.update(&position.to_le_bytes());
    checksum.update(&id.to_le_bytes());
    checksum.finalize()
}

/// The ids of the complete checkpoints in a directory, ascending.
fn ids(files: &dyn Files, directory: &Path) -> Result<Vec<u64>, CheckpointError> {
    let names = match files.list(directory) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(CheckpointError::io("listing", directory)(e)),
    };
    let mut ids: Vec<_> = names
        .iter()
        .filter_map(|name| parse_file_name(name))
        .collect();
    ids.sort_unstable();
    Ok(ids)
}
