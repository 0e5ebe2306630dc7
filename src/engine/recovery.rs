//! From a data directory to the state that was acknowledged: checkpoint, then log.
//!
//! The checkpoint was taken partition by partition while writes went on. For each partition it tells the
//! version at which its walk began: everything up to that version is in it, so the log is replayed only from
//! there, and then an effect is skipped when the entry it would change is at its version or beyond already.

use std::path::Path;
use std::sync::Arc;

use coterie_protocol::{Actor, DatabaseId, Epoch, PartitionId, Partitions, Stamp, Version};

use super::checkpoint::{Checkpoints, decode_received, layout_payload, restore_block};
use super::eviction::Pool;
use super::reclaimer::Reclaimer;
use super::replicated::{Marks, split_received};
use super::{
    COORDINATED, EFFECTS, Engine, EngineOptions, FORGET, FORMAT, LAYOUT, MANY, RECEIVED, Watch,
};
use crate::effect::{Effect, MalformedEffect, Stamped, is_state, split_actor};
use crate::store::{AccessClock, Merged, PartitionGuard, Store};
use crate::wal::checkpoint::{Checkpoint, CheckpointError};
use crate::wal::{Log, LogOffset, OpenError, Record, RecordHeader, Recovery};

/// Why a data directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A record that this version does not understand.
    #[error("record at {offset}: {problem}")]
    Record {
        /// Where.
        offset: LogOffset,
        /// What.
        problem: Problem,
    },
    /// A checkpoint block that this version does not understand.
    #[error("checkpoint of partition {partition}: {problem}")]
    Block {
        /// Where.
        partition: PartitionId,
        /// What.
        problem: Problem,
    },
    /// The directory was made with other settings.
    #[error(
        "the data directory was created with {created} partitions, and is opened with {configured}: this number can't be changed"
    )]
    Partitions {
        /// What it has.
        created: u16,
        /// What was asked for.
        configured: u16,
    },
    /// The directory was made by another version of the program.
    #[error("the data directory has format {found}, and this version reads only {FORMAT}")]
    Format {
        /// What it has.
        found: u16,
    },
    /// More databases are in use than configured.
    #[error(
        "the data directory has keys in database {database}, and only {configured} databases are configured"
    )]
    Databases {
        /// The highest in use.
        database: DatabaseId,
        /// What was asked for.
        configured: u32,
    },
    /// A thread could not be started.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What can be wrong with a well-checksummed record or block.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Its effects.
    #[error(transparent)]
    Effect(#[from] MalformedEffect),
    /// Its kind.
    #[error("unknown kind {0}: written by a newer version?")]
    Kind(u8),
    /// Its frame.
    #[error("malformed block")]
    Block,
}

/// What recovery found, for the log and `INFO`.
#[derive(Clone, Debug, Default)]
pub struct RecoverySummary {
    /// Entries from the checkpoint.
    pub checkpoint_entries: u64,
    /// Log records behind it.
    pub records: u64,
    /// What was cut off the end of the log, if anything.
    pub torn_tail: Option<String>,
}

pub(super) fn open(mut options: EngineOptions) -> Result<(Engine, RecoverySummary), RecoveryError> {
    options.log.directory = options.directory.clone();
    let start = checkpoint_start(&options.directory)?;
    let segment_bytes = options.log.segment_bytes;
    // The log is locked from here on: only now is it certain that nobody else uses the directory.
    let (log, recovery) = Log::open(options.log, start)?;
    let checkpoint = Checkpoint::open_latest(&options.directory)?;
    let seed = options.seed.unwrap_or(log.id() as u64);
    let store = Store::new(options.partitions, options.databases, seed);
    if let Some(checkpoint) = &checkpoint {
        check_layout(options.partitions, checkpoint.metadata())?;
    } else if recovery.record_count() == 0 {
        let header = RecordHeader {
            version: Version::ZERO,
            partition: MANY,
            database: DatabaseId::DEFAULT,
            kind: LAYOUT,
        };
        log.append(header, &layout_payload(options.partitions));
    }
    let marks = Marks::default();
    if let Some(checkpoint) = &checkpoint {
        decode_received(checkpoint.metadata()).for_each(|(actor, at)| marks.raise(actor, at));
    }
    let checkpoint_entries = load(
        &store,
        &marks,
        checkpoint.as_ref(),
        &recovery,
        options.threads.max(1),
    )?;
    check_databases(&store)?;
    let summary = RecoverySummary {
        checkpoint_entries,
        records: recovery.record_count(),
        torn_tail: recovery.torn_tail().map(ToString::to_string),
    };
    // While a recovery lives, old segments are not recycled.
    drop(recovery);
    let checkpoints = Checkpoints::new(options.directory, start, checkpoint.map_or(0, |c| c.id()));
    let engine = Engine {
        store,
        log: log.into(),
        waiters: Arc::default(),
        reclaimer: Reclaimer::start()?,
        eviction: Pool::new(options.partitions.count()),
        checkpoints,
        marks,
        watch: Watch::default(),
        spread: Default::default(),
        segment_bytes,
    };
    Ok((engine, summary))
}

/// Where replay has to start. Looks only: another process may be using the directory.
fn checkpoint_start(directory: &Path) -> Result<LogOffset, RecoveryError> {
    match Checkpoint::list(directory)?.last() {
        Some(path) => Ok(Checkpoint::open(path)?.log_start()),
        None => Ok(LogOffset::ZERO),
    }
}

/// Compares the number of partitions and the format that log or checkpoint was made with; see [`layout_payload`].
fn check_layout(configured: Partitions, payload: &[u8]) -> Result<(), RecoveryError> {
    let number = |at: usize| {
        let bytes = payload.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(1, |bytes| u16::from_le_bytes(*bytes))
    };
    let (created, found) = (number(0), number(2));
    if found != FORMAT {
        return Err(RecoveryError::Format { found });
    }
    let configured = configured.count();
    if created == configured {
        Ok(())
    } else {
        Err(RecoveryError::Partitions {
            created,
            configured,
        })
    }
}

fn check_databases(store: &Store) -> Result<(), RecoveryError> {
    for id in store.ids() {
        let partition = store.lock(id);
        let configured = store.databases();
        let used = |database: &DatabaseId| {
            partition
                .keyspace(*database)
                .is_some_and(|keyspace| !keyspace.is_empty())
        };
        if let Some(database) = partition.databases().skip(configured as usize).find(used) {
            return Err(RecoveryError::Databases {
                database,
                configured,
            });
        }
    }
    Ok(())
}

/// Each thread takes every n-th partition, and does all that concerns it.
fn load(
    store: &Store,
    marks: &Marks,
    checkpoint: Option<&Checkpoint>,
    log: &Recovery,
    threads: usize,
) -> Result<u64, RecoveryError> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|turn| {
                scope.spawn(move || Loader::new(store, marks, turn, threads).run(checkpoint, log))
            })
            .collect();
        let mut entries = 0;
        for worker in workers {
            entries += worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(entries)
    })
}

struct Loader<'a> {
    store: &'a Store,
    marks: &'a Marks,
    /// Whether it is the one that notes what was received.
    notes: bool,
    /// By partition; `None` for those of other threads.
    partitions: Vec<Option<Loading<'a>>>,
    access: AccessClock,
}

struct Loading<'a> {
    partition: PartitionGuard<'a>,
    /// Where the checkpoint's walk of it began.
    start: Version,
}

impl<'a> Loader<'a> {
    fn new(store: &'a Store, marks: &'a Marks, turn: usize, threads: usize) -> Self {
        let mine = |id: PartitionId| id.index() % threads == turn;
        let partitions = store
            .ids()
            .map(|id| {
                mine(id).then(|| Loading {
                    partition: store.lock(id),
                    start: Version::ZERO,
                })
            })
            .collect();
        let now_ms = crate::clock::Clock::System.now_ms();
        Loader {
            store,
            marks,
            notes: turn == 0,
            partitions,
            access: AccessClock::new(now_ms, None),
        }
    }

    fn run(
        mut self,
        checkpoint: Option<&Checkpoint>,
        log: &Recovery,
    ) -> Result<u64, RecoveryError> {
        let mut entries = 0;
        if let Some(checkpoint) = checkpoint {
            for loading in self.partitions.iter_mut().flatten() {
                entries += loading.restore(checkpoint, &self.access)?;
            }
        }
        for record in log.records() {
            self.replay(&record)?;
        }
        Ok(entries)
    }

    fn replay(&mut self, record: &Record<'_>) -> Result<(), RecoveryError> {
        let fail = |problem| RecoveryError::Record {
            offset: record.offset,
            problem,
        };
        let malformed = || fail(MalformedEffect { at: 0 }.into());
        let (stamped, actor, effects) = match record.kind {
            EFFECTS => (false, Actor::default(), record.payload),
            LAYOUT => return check_layout(self.store.layout(), record.payload),
            COORDINATED => {
                let (actor, effects) = split_actor(record.payload).ok_or_else(malformed)?;
                (true, actor, effects)
            }
            RECEIVED => {
                let (actor, end, effects) = split_received(record.payload).ok_or_else(malformed)?;
                if self.notes {
                    self.marks.raise(actor, end);
                }
                (true, actor, effects)
            }
            FORGET => {
                if let Some(loading) = self.loading(record.partition) {
                    if let Some(since) = record.payload.first_chunk() {
                        loading
                            .partition
                            .set_joined(Epoch(u64::from_le_bytes(*since)));
                    }
                    loading.partition.clear_all();
                    drop(loading.partition.take_garbage());
                }
                return Ok(());
            }
            kind => return Err(fail(Problem::Kind(kind))),
        };
        if record.partition != MANY && self.loading(record.partition).is_none() {
            return Ok(());
        }
        let stamp = Stamp::new(record.version, actor);
        let mut lost = false;
        for effect in Stamped::new(record.database, stamp, effects) {
            let (database, effect, stamp) = effect.map_err(|error| fail(error.into()))?;
            if lost && matches!(effect, Effect::Operation { .. }) && !is_state(effects) {
                // As when it was received.
                continue;
            }
            let change = (database, &effect, stamp, stamped);
            let access = self.access;
            if let Some(key) = effect.key() {
                if let Some(loading) = self.loading(self.store.partition_of(key)) {
                    let merged = loading.replay(change, key, &access);
                    lost |= matches!(merged, Merged::Superseded(by) if by.actor != actor);
                }
            } else if record.partition != MANY {
                if let Some(loading) = self.loading(record.partition) {
                    loading.replay_everywhere(change, &access);
                }
            } else {
                for loading in self.partitions.iter_mut().flatten() {
                    loading.replay_everywhere(change, &access);
                }
            }
        }
        Ok(())
    }

    /// A partition, if it is one of this thread.
    fn loading(&mut self, id: PartitionId) -> Option<&mut Loading<'a>> {
        self.partitions.get_mut(id.index())?.as_mut()
    }
}

/// An effect of a record: its database, its stamp, and whether it is to be merged rather than applied.
type Change<'e, 'p> = (DatabaseId, &'e Effect<'p>, Stamp, bool);

impl Loading<'_> {
    fn restore(
        &mut self,
        checkpoint: &Checkpoint,
        access: &AccessClock,
    ) -> Result<u64, RecoveryError> {
        let id = self.partition.id();
        let mut entries = 0;
        for block in checkpoint.blocks(id) {
            let count = restore_block(&mut self.partition, block?, access).map_err(|problem| {
                RecoveryError::Block {
                    partition: id,
                    problem,
                }
            })?;
            entries += count;
        }
        self.partition.hold_tombstones(false);
        if let Some(start) = checkpoint.start(id) {
            self.start = start;
            self.partition.clock().observe(start);
        }
        Ok(entries)
    }

    /// Makes a change to a key unless the checkpoint has it.
    fn replay(&mut self, change: Change<'_, '_>, key: &[u8], access: &AccessClock) -> Merged {
        let (database, _, Stamp { version, .. }, stamped) = change;
        if stamped {
            return self.merge(change, access);
        }
        if version <= self.start {
            return Merged::Known;
        }
        let present = self.partition.version_of(database, key);
        if present.is_none_or(|present| present < version) {
            self.apply(change, access);
        }
        Merged::Known
    }

    fn replay_everywhere(&mut self, change: Change<'_, '_>, access: &AccessClock) {
        if change.3 {
            self.merge(change, access);
            return;
        }
        if change.2.version > self.start {
            // A `Clear` may remove what the checkpoint has from after it: that is in the log, and comes again.
            self.apply(change, access);
        }
    }

    fn apply(&mut self, (database, effect, stamp, _): Change<'_, '_>, access: &AccessClock) {
        // Made after the node had left a cluster.
        self.partition.set_replicated(false);
        self.partition
            .apply(database, effect, stamp.version, access);
        // Large values that a replay replaces are freed here: nobody waits.
        drop(self.partition.take_garbage());
    }

    /// Merging again what is there already makes no difference: nothing is skipped.
    fn merge(
        &mut self,
        (database, effect, stamp, _): Change<'_, '_>,
        access: &AccessClock,
    ) -> Merged {
        self.partition.set_replicated(true);
        let merged = self.partition.merge(database, effect, stamp, access);
        drop(self.partition.take_garbage());
        merged
    }
}
