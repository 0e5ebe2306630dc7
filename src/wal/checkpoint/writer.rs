//! Writing a checkpoint, block by block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use coterie_protocol::{PartitionId, Version};

use super::{
    BLOCK_HEADER_BYTES, CheckpointError, END_MAGIC, FORMAT_VERSION, MAGIC, MAX_BLOCK_BYTES,
    MAX_METADATA_BYTES, block_checksum, file_name,
};
use crate::wal::files::{File, Files, SystemFiles, write_all_at};
use crate::wal::offset::LogOffset;

/// Small blocks are collected up to this size before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// A sync after this many bytes keeps the dirty pages few, so that no sync of the log has to wait
/// for the whole checkpoint.
const SYNC_BYTES: u64 = 8 << 20;

struct Part {
    partition: PartitionId,
    start: Version,
    blocks: Vec<u64>,
}

/// Writes one checkpoint. If it is dropped before [`CheckpointWriter::finish`], the file goes.
pub struct CheckpointWriter {
    files: Arc<dyn Files>,
    directory: PathBuf,
    temporary: PathBuf,
    id: u64,
    file: Box<dyn File>,
    buffer: Vec<u8>,
    /// Bytes handed to the file.
    written: u64,
    unsynced: u64,
    parts: Vec<Part>,
    current: Option<Part>,
    finished: bool,
}

impl CheckpointWriter {
    /// Begins checkpoint number `id`, which must be higher than all before. Replay is to start at
    /// `log_start`; let the log be durable up to there before calling [`CheckpointWriter::finish`].
    ///
    /// # Errors
    ///
    /// What the file system says, or metadata over [`super::MAX_METADATA_BYTES`].
    pub fn create(
        directory: &Path,
        id: u64,
        log_start: LogOffset,
        metadata: &[u8],
    ) -> Result<Self, CheckpointError> {
        Self::create_with(Arc::new(SystemFiles), directory, id, log_start, metadata)
    }

    /// Like [`CheckpointWriter::create`], on another file system.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_with(
        files: Arc<dyn Files>,
        directory: &Path,
        id: u64,
        log_start: LogOffset,
        metadata: &[u8],
    ) -> Result<Self, CheckpointError> {
        if metadata.len() > MAX_METADATA_BYTES {
            return Err(CheckpointError::Misuse(
                "the metadata of a checkpoint is too large",
            ));
        }
        files
            .create_directory(directory)
            .map_err(CheckpointError::io("creating", directory))?;
        let temporary = directory.join(format!("{}.tmp", file_name(id)));
        let file = files
            .create(&temporary)
            .map_err(CheckpointError::io("creating", &temporary))?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        buffer.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&id.to_le_bytes());
        buffer.extend_from_slice(&log_start.to_u64().to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&buffer);
        checksum.update(metadata);
        buffer.extend_from_slice(&checksum.finalize().to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(metadata);
        Ok(Self {
            files,
            directory: directory.to_owned(),
            temporary,
            id,
            file,
            buffer,
            written: 0,
            unsynced: 0,
            parts: Vec::new(),
            current: None,
            finished: false,
        })
    }

    /// Begins a partition whose blocks will hold at least everything up to version `start`.
    ///
    /// # Errors
    ///
    /// If another one is open, or this one was written already.
    pub fn begin_partition(
        &mut self,
        partition: PartitionId,
        start: Version,
    ) -> Result<(), CheckpointError> {
        if self.current.is_some() {
            return Err(CheckpointError::Misuse(
                "a partition is begun inside another",
            ));
        }
        if self.parts.iter().any(|part| part.partition == partition) {
            return Err(CheckpointError::Misuse("a partition is written twice"));
        }
        self.current = Some(Part {
            partition,
            start,
            blocks: Vec::new(),
        });
        Ok(())
    }

    /// Forgets what was written of the open partition, and begins it again from `start`.
    ///
    /// # Errors
    ///
    /// If no partition is open.
    pub fn restart_partition(&mut self, start: Version) -> Result<(), CheckpointError> {
        let part = self.current.as_mut().ok_or(NO_PARTITION)?;
        part.blocks.clear();
        part.start = start;
        Ok(())
    }

    /// Adds a block of at most [`MAX_BLOCK_BYTES`] to the open partition. Does I/O now and then.
    ///
    /// # Errors
    ///
    /// What the file system says; or if no partition is open, or the block is too large.
    pub fn block(&mut self, payload: &[u8]) -> Result<(), CheckpointError> {
        if payload.len() > MAX_BLOCK_BYTES {
            return Err(CheckpointError::Misuse(
                "a block of a checkpoint is too large",
            ));
        }
        let position = self.position();
        let part = self.current.as_mut().ok_or(NO_PARTITION)?;
        part.blocks.push(position);
        let mut header = [0; BLOCK_HEADER_BYTES];
        header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let checksum = block_checksum(self.id, position, payload);
        header[4..].copy_from_slice(&checksum.to_le_bytes());
        self.write(&header)?;
        self.write(payload)
    }

    /// Ends the open partition.
    ///
    /// # Errors
    ///
    /// If no partition is open.
    pub fn end_partition(&mut self) -> Result<(), CheckpointError> {
        self.parts.push(self.current.take().ok_or(NO_PARTITION)?);
        Ok(())
    }

    /// Bytes written so far.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Makes the checkpoint durable and gives it its name. Returns its path and size in bytes.
    ///
    /// # Errors
    ///
    /// What the file system says, or if a partition is still open.
    pub fn finish(mut self) -> Result<(PathBuf, u64), CheckpointError> {
        if self.current.is_some() {
            return Err(CheckpointError::Misuse(
                "a checkpoint ends inside a partition",
            ));
        }
        self.write_index()?;
        self.flush()?;
        self.file.sync().map_err(self.io("syncing"))?;
        let path = self.directory.join(file_name(self.id));
        self.files
            .rename(&self.temporary, &path)
            .map_err(self.io("renaming"))?;
        self.finished = true;
        let synced = self.files.sync_directory(&self.directory);
        synced.map_err(CheckpointError::io("syncing", &self.directory))?;
        Ok((path, self.written))
    }

    fn write_index(&mut self) -> Result<(), CheckpointError> {
        let position = self.position();
        let mut parts = std::mem::take(&mut self.parts);
        parts.sort_unstable_by_key(|part| part.partition);
        let mut index = Vec::new();
        for part in &parts {
            index.extend_from_slice(&part.partition.0.to_le_bytes());
            index.extend_from_slice(&[0; 2]);
            index.extend_from_slice(&(part.blocks.len() as u32).to_le_bytes());
            index.extend_from_slice(&part.start.to_bits().to_le_bytes());
            for block in &part.blocks {
                index.extend_from_slice(&block.to_le_bytes());
            }
        }
        let length = index.len() as u64;
        index.extend_from_slice(&position.to_le_bytes());
        index.extend_from_slice(&length.to_le_bytes());
        index.extend_from_slice(&(parts.len() as u32).to_le_bytes());
        let checksum = crc32fast::hash(&index);
        index.extend_from_slice(&checksum.to_le_bytes());
        index.extend_from_slice(END_MAGIC);
        self.write(&index)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        if self.buffer.len() + bytes.len() <= BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_through(bytes)
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write_through(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write_through(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        for bytes in bytes.chunks(SYNC_BYTES as usize) {
            write_all_at(&*self.file, bytes, self.written).map_err(self.io("writing"))?;
            self.written += bytes.len() as u64;
            self.unsynced += bytes.len() as u64;
            if self.unsynced >= SYNC_BYTES {
                self.file.sync().map_err(self.io("syncing"))?;
                self.unsynced = 0;
            }
        }
        Ok(())
    }

    fn io(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> CheckpointError + use<> {
        CheckpointError::io(action, &self.temporary)
    }
}

const NO_PARTITION: CheckpointError = CheckpointError::Misuse("no partition is open");

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.files.remove(&self.temporary)
        {
            tracing::warn!(%error, path = %self.temporary.display(), "can't remove a checkpoint");
        }
    }
}
