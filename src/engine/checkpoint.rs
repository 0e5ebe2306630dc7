//! Checkpoints: all entries in a file, taken in slices while writes go on, so that the log before can go.
//!
//! # A block
//! Form `u8`, database `u16`, then entries: version `u64`, access bits `u32`, length `u32`, and so many bytes
//! of the effects that make the entry, stamped ones in a replicated partition (form [`STAMPED`]). A replicated
//! partition begins with a block of form [`MARKS`]: its stable horizon `u64`, the epoch `u64` that it was joined in, then
//! the last `Clear` of each database: database `u16`, version `u64`, actor `u16`. All numbers are little-endian.
//!
//! # Metadata
//! Number of partitions and format, `u16` each; then actors `u16` with the offset `u64` up to which their
//! records were received.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coterie_protocol::{Actor, DatabaseId, Epoch, PartitionId, Partitions, Stamp, Version};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Engine;
use super::recovery::Problem;
use crate::effect::{Effect, MalformedEffect, Stamped};
use crate::store::{AccessClock, Entry, Keyspace, Partition};
use crate::wal::LogOffset;
use crate::wal::checkpoint::{Checkpoint, CheckpointError as FileError, CheckpointWriter};

/// Entries encoded under one lock: some tens of microseconds, unless they are large. Tests take small bites.
const SLICE_ENTRIES: usize = if cfg!(test) { 2 } else { 64 };
/// A slice ends, and a block is written, when the block has grown past this.
const BLOCK_BYTES: usize = if cfg!(test) { 128 } else { 128 * 1024 };
/// Form and database of a block.
const HEADER_BYTES: usize = 3;
/// The walk rests this many times as long as it works, so that commands on the same core go on.
const REST_FACTOR: u32 = 1;
/// It works this long before it rests.
const WORK: Duration = Duration::from_micros(500);

/// Form of a block: effects of a partition that is not replicated.
const PLAIN: u8 = 1;
/// Form of a block: states of keys, those of deleted ones too.
const STAMPED: u8 = 2;
/// Form of a block: what concerns a replicated partition as a whole.
const MARKS: u8 = 3;

/// A checkpoint could not be made; the one before it stays in force, and so does the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// One is being made.
    #[error("a checkpoint is under way already")]
    UnderWay,
    /// Its file.
    #[error("checkpoint failed: {0}")]
    Failed(Arc<str>),
}

/// What is known of checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointStatus {
    /// One is being made.
    pub running: bool,
    /// Those made since the start.
    pub made: u64,
    /// When the last good one was finished, Unix milliseconds; of the start if none was.
    pub last_ms: u64,
    /// When the running one began, Unix milliseconds.
    pub began_ms: Option<u64>,
    /// Size of the last good one's file in bytes, if it was made since the start.
    pub last_bytes: Option<u64>,
    /// How long the last one took.
    pub last_duration: Option<Duration>,
    /// Why the last one failed, if it did.
    pub last_error: Option<Arc<str>>,
    /// Entries the running one has written.
    pub entries: u64,
    /// Where the log had got to when the last one began.
    pub log_start: LogOffset,
}

/// The right to make a checkpoint, which only one can have; dropped, it is free again.
#[derive(Debug)]
pub struct CheckpointClaim(Arc<Turn>);

/// Whether a checkpoint is being made, and who waits for its end.
#[derive(Debug, Default)]
struct Turn {
    running: AtomicBool,
    finished: watch::Sender<u64>,
}

impl Drop for CheckpointClaim {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
        self.0.finished.send_modify(|count| *count += 1);
    }
}

/// The running checkpoint and the last one.
pub struct Checkpoints {
    directory: PathBuf,
    next_id: AtomicU64,
    turn: Arc<Turn>,
    entries: AtomicU64,
    status: Mutex<CheckpointStatus>,
}

impl Checkpoints {
    pub(super) fn new(directory: PathBuf, log_start: LogOffset, last_id: u64) -> Self {
        Checkpoints {
            directory,
            next_id: AtomicU64::new(last_id + 1),
            turn: Arc::default(),
            entries: AtomicU64::new(0),
            status: Mutex::new(CheckpointStatus {
                running: false,
                made: 0,
                last_ms: crate::clock::Clock::System.now_ms(),
                began_ms: None,
                last_bytes: None,
                last_duration: None,
                last_error: None,
                entries: 0,
                log_start,
            }),
        }
    }

    /// Takes the right to make a checkpoint.
    pub fn claim(&self) -> Result<CheckpointClaim, CheckpointError> {
        if self.turn.running.swap(true, Ordering::AcqRel) {
            return Err(CheckpointError::UnderWay);
        }
        self.entries.store(0, Ordering::Relaxed);
        self.status.lock().began_ms = Some(crate::clock::Clock::System.now_ms());
        Ok(CheckpointClaim(self.turn.clone()))
    }

    /// What is known.
    pub fn status(&self) -> CheckpointStatus {
        let mut status = self.status.lock().clone();
        status.running = self.turn.running.load(Ordering::Relaxed);
        status.began_ms = status.began_ms.filter(|_| status.running);
        status.entries = self.entries.load(Ordering::Relaxed);
        status
    }

    /// Changes whenever a checkpoint ends, well or not.
    pub fn finished(&self) -> watch::Receiver<u64> {
        self.turn.finished.subscribe()
    }
}

impl Engine {
    /// Makes a checkpoint on the calling thread, which should be one of its own. Lets the log before it go.
    pub fn checkpoint(&self, claim: CheckpointClaim) -> Result<(), CheckpointError> {
        let mut pace = Pace::default();
        self.checkpoint_with(claim, &mut || pace.rest())
    }

    /// Makes a checkpoint, and calls `rest` between slices, when nothing is locked.
    pub(super) fn checkpoint_with(
        &self,
        claim: CheckpointClaim,
        rest: &mut dyn FnMut(),
    ) -> Result<(), CheckpointError> {
        let checkpoints = &self.checkpoints;
        let began = Instant::now();
        let result = self
            .write_checkpoint(rest)
            .map_err(|error| Arc::<str>::from(error.to_string()));
        let mut status = checkpoints.status.lock();
        status.last_duration = Some(began.elapsed());
        match &result {
            Ok((log_start, bytes)) => {
                status.last_bytes = Some(*bytes);
                status.made += 1;
                status.last_ms = crate::clock::Clock::System.now_ms();
                status.last_error = None;
                status.log_start = *log_start;
                let entries = checkpoints.entries.load(Ordering::Relaxed);
                tracing::info!(entries, elapsed = ?began.elapsed(), "checkpoint made");
            }
            Err(error) => {
                status.last_error = Some(error.clone());
                tracing::error!(%error, "checkpoint failed; the log is kept");
            }
        }
        drop(status);
        drop(claim);
        result.map(drop).map_err(CheckpointError::Failed)
    }

    /// Returns where the log had got to when it began, and the size of the file in bytes.
    fn write_checkpoint(&self, rest: &mut dyn FnMut()) -> Result<(LogOffset, u64), FileError> {
        let id = self.checkpoints.next_id.fetch_add(1, Ordering::Relaxed);
        // Whatever the log holds before this point has been applied: the walk will see it.
        let log_start = self.log.appended();
        let metadata = self.checkpoint_metadata();
        let mut writer =
            CheckpointWriter::create(&self.checkpoints.directory, id, log_start, &metadata)?;
        for partition in self.store.ids() {
            self.write_partition(partition, &mut writer, rest)?;
        }
        // The walk saw changes that a power loss may still take from the log: keeping only those of them that
        // it saw would tear transactions apart.
        self.log
            .wait_until_durable(self.log.appended())
            .map_err(|source| FileError::Io {
                action: "syncing the log before",
                path: self.checkpoints.directory.clone(),
                source,
            })?;
        let (_, bytes) = writer.finish()?;
        Checkpoint::remove_older_than(&self.checkpoints.directory, id)?;
        if let Err(error) = self.log.remove_before(log_start) {
            tracing::warn!(%error, "can't remove old log segments; trying again after the next checkpoint");
        }
        Ok((log_start, bytes))
    }

    fn checkpoint_metadata(&self) -> Vec<u8> {
        let mut metadata = layout_payload(self.store.layout());
        for (actor, offset) in self.marks.all() {
            metadata.extend_from_slice(&actor.0.to_le_bytes());
            metadata.extend_from_slice(&offset.to_u64().to_le_bytes());
        }
        metadata
    }

    fn write_partition(
        &self,
        id: PartitionId,
        writer: &mut CheckpointWriter,
        rest: &mut dyn FnMut(),
    ) -> Result<(), FileError> {
        let written = self.walk_partition(id, writer, rest);
        self.tidy(id, |partition| partition.hold_tombstones(false));
        written?;
        writer.end_partition()
    }

    fn walk_partition(
        &self,
        id: PartitionId,
        writer: &mut CheckpointWriter,
        rest: &mut dyn FnMut(),
    ) -> Result<(), FileError> {
        let mut block = Vec::new();
        let mut restart = false;
        'walk: loop {
            let mut partition = self.store.lock(id);
            // What is collected during the walk would be neither in the checkpoint nor in the log.
            partition.hold_tombstones(true);
            let (start, swaps, databases) = (
                partition.version(),
                partition.swaps(),
                partition.databases(),
            );
            if partition.is_replicated() {
                encode_marks(&partition, &mut block);
            }
            drop(partition);
            if restart {
                writer.restart_partition(start)?
            } else {
                writer.begin_partition(id, start)?
            }
            if !block.is_empty() {
                writer.block(&block)?;
                block.clear();
            }
            for database in databases {
                let mut position = Some(0);
                while let Some(from) = position {
                    let partition = self.store.lock(id);
                    if partition.swaps() != swaps {
                        // What was written under one number may come again under another: start over.
                        restart = true;
                        block.clear();
                        continue 'walk;
                    }
                    if block.is_empty() {
                        let form = if partition.is_replicated() {
                            STAMPED
                        } else {
                            PLAIN
                        };
                        block.push(form);
                        block.extend_from_slice(&database.0.to_le_bytes());
                    }
                    position = if partition.is_replicated() {
                        self.encode_known(&partition, database, from, &mut block)
                    } else {
                        let Some(keyspace) = partition.keyspace(database) else {
                            break;
                        };
                        self.encode_slice(keyspace, from, &mut block)
                    };
                    drop(partition);
                    if block.len() > BLOCK_BYTES {
                        writer.block(&block)?;
                        block.clear();
                    }
                    rest();
                }
                if block.len() > HEADER_BYTES {
                    writer.block(&block)?;
                }
                block.clear();
            }
            return Ok(());
        }
    }

    /// Encodes a slice of all that a replicated partition knows.
    fn encode_known(
        &self,
        partition: &Partition,
        database: DatabaseId,
        from: u64,
        block: &mut Vec<u8>,
    ) -> Option<u64> {
        let mut entries = 0;
        let room = BLOCK_BYTES.saturating_sub(block.len());
        let slice = (SLICE_ENTRIES, room);
        let next = partition.scan_known(database, from, slice, |entry, is_live| {
            encode_entry(entry, block, |block| {
                partition.encode_entry(database, entry, is_live, block);
            });
            entries += 1;
        });
        self.checkpoints
            .entries
            .fetch_add(entries, Ordering::Relaxed);
        next
    }

    fn encode_slice(&self, keyspace: &Keyspace, from: u64, block: &mut Vec<u8>) -> Option<u64> {
        let mut entries = 0;
        let next = keyspace.scan_until(from, |entry| {
            encode_entry(entry, block, |block| entry.encode(block));
            entries += 1;
            entries >= SLICE_ENTRIES || block.len() > BLOCK_BYTES
        });
        self.checkpoints
            .entries
            .fetch_add(entries as u64, Ordering::Relaxed);
        next
    }
}

fn encode_entry(entry: &Entry, block: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    block.extend_from_slice(&entry.version().to_bits().to_le_bytes());
    block.extend_from_slice(&entry.access().to_le_bytes());
    let length_at = block.len();
    block.extend_from_slice(&[0; 4]);
    encode(block);
    let length = (block.len() - length_at - 4) as u32;
    block[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// What every log and every checkpoint begins with: number of partitions and format.
pub(super) fn layout_payload(layout: Partitions) -> Vec<u8> {
    let mut payload = layout.count().to_le_bytes().to_vec();
    payload.extend_from_slice(&super::FORMAT.to_le_bytes());
    payload
}

/// The marks in a checkpoint's metadata.
pub(super) fn decode_received(metadata: &[u8]) -> impl Iterator<Item = (Actor, LogOffset)> {
    let marks = metadata.get(4..).unwrap_or_default().chunks_exact(10);
    marks.filter_map(|mark| {
        let (actor, offset) = mark.split_first_chunk()?;
        let offset = u64::from_le_bytes(*offset.first_chunk()?);
        Some((
            Actor(u16::from_le_bytes(*actor)),
            LogOffset::from_u64(offset),
        ))
    })
}

fn encode_marks(partition: &Partition, block: &mut Vec<u8>) {
    block.push(MARKS);
    block.extend_from_slice(&[0; 2]);
    block.extend_from_slice(&partition.stable_horizon().to_bits().to_le_bytes());
    block.extend_from_slice(&partition.joined().0.to_le_bytes());
    for (database, floor) in partition.floors() {
        block.extend_from_slice(&database.0.to_le_bytes());
        block.extend_from_slice(&floor.version.to_bits().to_le_bytes());
        block.extend_from_slice(&floor.actor.0.to_le_bytes());
    }
}

/// What a replicated partition begins with.
struct Marks {
    horizon: Version,
    joined: Epoch,
    /// The last `Clear` of each database.
    floors: Vec<(DatabaseId, Stamp)>,
}

fn decode_marks(bytes: &[u8]) -> Option<Marks> {
    let (horizon, rest) = bytes.split_first_chunk()?;
    let (joined, rest) = rest.split_first_chunk()?;
    let floors = rest.chunks(12).map(|floor| {
        let (database, floor) = floor.split_first_chunk()?;
        let (version, actor) = floor.split_first_chunk()?;
        let actor = Actor(u16::from_le_bytes(actor.try_into().ok()?));
        let version = Version::from_bits(u64::from_le_bytes(*version));
        let database = DatabaseId(u16::from_le_bytes(*database));
        Some((database, Stamp::new(version, actor)))
    });
    Some(Marks {
        horizon: Version::from_bits(u64::from_le_bytes(*horizon)),
        joined: Epoch(u64::from_le_bytes(*joined)),
        floors: floors.collect::<Option<_>>()?,
    })
}

/// Puts back what a block holds; returns how many entries.
pub(super) fn restore_block(
    partition: &mut Partition,
    block: &[u8],
    access: &AccessClock,
) -> Result<u64, Problem> {
    let (&form, rest) = block.split_first().ok_or(Problem::Block)?;
    match form {
        PLAIN => decode_block(rest, |saved| {
            let Saved {
                database,
                version,
                effects,
                ..
            } = saved;
            partition.restore(database, effects, version, saved.access, access)
        }),
        STAMPED => decode_block(rest, |saved| {
            for effect in Stamped::new(saved.database, Stamp::ZERO, saved.effects) {
                let (database, effect, stamp) = effect?;
                partition.merge(database, &effect, stamp, access);
                if let Some(key) = effect.key() {
                    partition.set_access(database, key, saved.access);
                }
            }
            partition.clock().observe(saved.version);
            Ok(())
        }),
        MARKS => {
            let marks = rest.get(2..).and_then(decode_marks).ok_or(Problem::Block)?;
            partition.set_replicated(true);
            partition.set_joined(marks.joined);
            // In force only after all blocks: they tell of what is from before it.
            partition.hold_tombstones(true);
            partition.set_stable_horizon(marks.horizon);
            for (database, floor) in marks.floors {
                partition.merge(database, &Effect::Clear, floor, access);
            }
            Ok(0)
        }
        _ => Err(Problem::Block),
    }
}

/// What a block tells of one key.
struct Saved<'a> {
    database: DatabaseId,
    version: Version,
    access: u32,
    effects: &'a [u8],
}

/// Reads a block of entries without its form; returns how many it holds.
fn decode_block(
    block: &[u8],
    mut restore: impl FnMut(Saved<'_>) -> Result<(), MalformedEffect>,
) -> Result<u64, Problem> {
    let (database, mut rest) = block.split_first_chunk::<2>().ok_or(Problem::Block)?;
    let database = DatabaseId(u16::from_le_bytes(*database));
    let mut entries = 0;
    while !rest.is_empty() {
        let (version, tail) = rest.split_first_chunk::<8>().ok_or(Problem::Block)?;
        let (access, tail) = tail.split_first_chunk::<4>().ok_or(Problem::Block)?;
        let (length, tail) = tail.split_first_chunk::<4>().ok_or(Problem::Block)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (effects, tail) = tail.split_at_checked(length).ok_or(Problem::Block)?;
        restore(Saved {
            database,
            version: Version::from_bits(u64::from_le_bytes(*version)),
            access: u32::from_le_bytes(*access),
            effects,
        })?;
        entries += 1;
        rest = tail;
    }
    Ok(entries)
}

/// Lets a background walk rest between bursts of work.
struct Pace {
    since: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            since: Instant::now(),
        }
    }
}

impl Pace {
    fn rest(&mut self) {
        let worked = self.since.elapsed();
        if worked >= WORK {
            std::thread::sleep(worked * REST_FACTOR);
            self.since = Instant::now();
        }
    }
}
