//! Reading a checkpoint, by several threads at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coterie_protocol::{PartitionId, Version};
use memmap2::Mmap;

use super::{
    BLOCK_HEADER_BYTES, CheckpointError, END_MAGIC, FOOTER_BYTES, FORMAT_VERSION, HEADER_BYTES,
    INDEX_ENTRY_BYTES, MAGIC, block_checksum, file_name, ids, is_temporary,
};
use crate::wal::files::{Files, SystemFiles};
use crate::wal::offset::LogOffset;

struct Part {
    start: Version,
    /// Where the positions of its blocks start in the file.
    positions: usize,
    blocks: usize,
}

/// A complete checkpoint, mapped for reading. Its header and index are checked when it is opened,
/// and every block when it is read.
pub struct Checkpoint {
    path: PathBuf,
    map: Mmap,
    id: u64,
    log_start: LogOffset,
    metadata: std::ops::Range<usize>,
    blocks_end: usize,
    parts: BTreeMap<PartitionId, Part>,
}

impl Checkpoint {
    /// Opens the newest checkpoint of a directory, and removes what was left of unfinished ones;
    /// `None` if there is none, or no such directory.
    ///
    /// # Errors
    ///
    /// If the newest one is damaged: an older one is never taken in its place silently.
    pub fn open_latest(directory: &Path) -> Result<Option<Self>, CheckpointError> {
        Self::open_latest_with(&SystemFiles, directory)
    }

    /// Like [`Checkpoint::open_latest`], on another file system.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_latest_with(
        files: &dyn Files,
        directory: &Path,
    ) -> Result<Option<Self>, CheckpointError> {
        let Some(&id) = ids(files, directory)?.last() else {
            remove_temporary(files, directory)?;
            return Ok(None);
        };
        let checkpoint = Self::open_with(files, &directory.join(file_name(id)))?;
        remove_temporary(files, directory)?;
        Ok(Some(checkpoint))
    }

    /// The files of the complete checkpoints in a directory, oldest first.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn list(directory: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
        let ids = ids(&SystemFiles, directory)?;
        Ok(ids
            .into_iter()
            .map(|id| directory.join(file_name(id)))
            .collect())
    }

    /// Opens one checkpoint, changing nothing.
    ///
    /// # Errors
    ///
    /// If it can't be read, is of a newer format, or its header or index is damaged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(&SystemFiles, path)
    }

    fn open_with(files: &dyn Files, path: &Path) -> Result<Self, CheckpointError> {
        let io = |action| CheckpointError::io(action, path);
        let file = files.open_for_reading(path).map_err(io("opening"))?;
        let size = file.size().map_err(io("reading the size of"))?;
        let corrupt = |reason: &str| CheckpointError::Corrupt {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let size = usize::try_from(size).map_err(|_| corrupt("it is too long"))?;
        let map = file.map_for_reading(size).map_err(io("mapping"))?;
        match parse(&map) {
            Ok(parsed) => Ok(Self {
                path: path.to_owned(),
                id: parsed.id,
                log_start: parsed.log_start,
                metadata: parsed.metadata,
                blocks_end: parsed.blocks_end,
                parts: parsed.parts,
                map,
            }),
            Err(Invalid::Newer(found)) => Err(CheckpointError::NewerFormat {
                found,
                supported: FORMAT_VERSION,
                path: path.to_owned(),
            }),
            Err(Invalid::Damaged(reason)) => Err(corrupt(reason)),
        }
    }

    /// The number given when it was created.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.map.len() as u64
    }

    /// Where replay of the log has to start.
    pub fn log_start(&self) -> LogOffset {
        self.log_start
    }

    /// The caller's own bytes.
    pub fn metadata(&self) -> &[u8] {
        &self.map[self.metadata.clone()]
    }

    /// The partitions, ascending.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.parts.keys().copied()
    }

    /// The version a partition was begun with, if it is here.
    pub fn start(&self, partition: PartitionId) -> Option<Version> {
        self.parts.get(&partition).map(|part| part.start)
    }

    /// The blocks of a partition in the order written; none if it isn't here. Each is checked as it
    /// is reached, and after an error come no more.
    pub fn blocks(&self, partition: PartitionId) -> Blocks<'_> {
        let (positions, left) = match self.parts.get(&partition) {
            Some(part) => (part.positions, part.blocks),
            None => (0, 0),
        };
        Blocks {
            checkpoint: self,
            partition,
            positions,
            left,
        }
    }

    /// Checks every block. Returns how many there are.
    ///
    /// # Errors
    ///
    /// The first damaged block.
    pub fn verify(&self) -> Result<u64, CheckpointError> {
        let mut count = 0;
        for partition in self.partitions() {
            for block in self.blocks(partition) {
                block?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Removes the complete checkpoints of a directory with an id lower than `id`. Returns how many.
    ///
    /// # Errors
    ///
    /// What the file system says; then some may have gone.
    pub fn remove_older_than(directory: &Path, id: u64) -> Result<usize, CheckpointError> {
        Self::remove_older_than_with(&SystemFiles, directory, id)
    }

    /// Like [`Checkpoint::remove_older_than`], on another file system.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn remove_older_than_with(
        files: &dyn Files,
        directory: &Path,
        id: u64,
    ) -> Result<usize, CheckpointError> {
        let mut old = ids(files, directory)?;
        old.retain(|old| *old < id);
        for id in &old {
            let path = directory.join(file_name(*id));
            files
                .remove(&path)
                .map_err(CheckpointError::io("removing", &path))?;
        }
        if !old.is_empty() {
            let synced = files.sync_directory(directory);
            synced.map_err(CheckpointError::io("syncing", directory))?;
        }
        Ok(old.len())
    }
}

/// The blocks of one partition.
pub struct Blocks<'a> {
    checkpoint: &'a Checkpoint,
    partition: PartitionId,
    positions: usize,
    left: usize,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<&'a [u8], CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let position = u64_at(&self.checkpoint.map, self.positions);
        self.positions += 8;
        match self.checkpoint.block(position) {
            Some(block) => Some(Ok(block)),
            None => {
                self.left = 0;
                Some(Err(CheckpointError::CorruptBlock {
                    path: self.checkpoint.path.clone(),
                    partition: self.partition,
                    position,
                }))
            }
        }
    }
}

impl Checkpoint {
    fn block(&self, position: u64) -> Option<&[u8]> {
        let bytes = &self.map[..self.blocks_end];
        let bytes = bytes.get(usize::try_from(position).ok()?..)?;
        let (header, rest) = bytes.split_first_chunk::<BLOCK_HEADER_BYTES>()?;
        let payload = rest.get(..u32_at(header, 0) as usize)?;
        let expected = block_checksum(self.id, position, payload);
        (u32_at(header, 4) == expected).then_some(payload)
    }
}

struct Parsed {
    id: u64,
    log_start: LogOffset,
    metadata: std::ops::Range<usize>,
    blocks_end: usize,
    parts: BTreeMap<PartitionId, Part>,
}

enum Invalid {
    Damaged(&'static str),
    Newer(u32),
}

fn parse(bytes: &[u8]) -> Result<Parsed, Invalid> {
    if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
        return Err(Invalid::Damaged("it is not a checkpoint"));
    }
    // Another version may have another header: it is told before anything else is looked at.
    if u32_at(bytes, 8) > FORMAT_VERSION {
        return Err(Invalid::Newer(u32_at(bytes, 8)));
    }
    let metadata = HEADER_BYTES..HEADER_BYTES + u32_at(bytes, 12) as usize;
    let header_end = metadata.end;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&bytes[..32]);
    checksum.update(
        bytes
            .get(metadata.clone())
            .ok_or(Invalid::Damaged("it is cut off"))?,
    );
    if checksum.finalize() != u32_at(bytes, 32) {
        return Err(Invalid::Damaged("the header has a wrong checksum"));
    }
    let footer = bytes.len() - FOOTER_BYTES.min(bytes.len());
    if footer < header_end || &bytes[footer + 24..] != END_MAGIC {
        return Err(Invalid::Damaged("it is cut off"));
    }
    let index = usize::try_from(u64_at(bytes, footer)).unwrap_or(usize::MAX);
    if index < header_end || index > footer || (footer - index) as u64 != u64_at(bytes, footer + 8)
    {
        return Err(Invalid::Damaged("the footer is wrong"));
    }
    if crc32fast::hash(&bytes[index..footer + 20]) != u32_at(bytes, footer + 20) {
        return Err(Invalid::Damaged("the index has a wrong checksum"));
    }
    let parts = parse_index(&bytes[..footer], index, u32_at(bytes, footer + 16))
        .ok_or(Invalid::Damaged("the index is wrong"))?;
    Ok(Parsed {
        id: u64_at(bytes, 16),
        log_start: LogOffset::from_u64(u64_at(bytes, 24)),
        metadata,
        blocks_end: index,
        parts,
    })
}

/// Reads the index, which goes from `at` to the end of `bytes`.
fn parse_index(bytes: &[u8], mut at: usize, count: u32) -> Option<BTreeMap<PartitionId, Part>> {
    let mut parts = BTreeMap::new();
    for _ in 0..count {
        let entry = bytes.get(at..at + INDEX_ENTRY_BYTES)?;
        let partition = PartitionId(u16::from_le_bytes([entry[0], entry[1]]));
        let blocks = u32_at(entry, 4) as usize;
        let positions = at + INDEX_ENTRY_BYTES;
        let part = Part {
            start: Version::from_bits(u64_at(entry, 8)),
            positions,
            blocks,
        };
        if parts.insert(partition, part).is_some() {
            return None;
        }
        at = positions.checked_add(blocks.checked_mul(8)?)?;
        if at > bytes.len() {
            return None;
        }
    }
    (at == bytes.len()).then_some(parts)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (u64::from(u32_at(bytes, at + 4)) << 32) | u64::from(u32_at(bytes, at))
}

fn remove_temporary(files: &dyn Files, directory: &Path) -> Result<(), CheckpointError> {
    let Ok(names) = files.list(directory) else {
        return Ok(());
    };
    for name in names.iter().filter(|name| is_temporary(name)) {
        let path = directory.join(name);
        files
            .remove(&path)
            .map_err(CheckpointError::io("removing", &path))?;
    }
    Ok(())
}
