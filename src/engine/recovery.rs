//! From a data directory to the state that was acknowledged: checkpoint, then log.
//!
//! The checkpoint was taken partition by partition while writes went on. For each partition it tells the
//! version at which its walk began: everything up to that version is in it, so the log is replayed only from
//! there, and then an effect is skipped when the entry it would change is at its version or beyond already.

use std::path::Path;

use coterie_protocol::{Actor, DatabaseId, PartitionId, Partitions, Stamp, Version};

use super::checkpoint::{Checkpoints, Saved, decode_block};
use super::eviction::Pool;
use super::reclaimer::Reclaimer;
use super::{EFFECTS, Engine, EngineOptions, LAYOUT, MANY};
use crate::effect::{Effect, MalformedEffect, Stamped};
use crate::store::{AccessClock, Partition, PartitionGuard, Store};
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
    let store = Store::new(options.partitions, options.databases, log.id() as u64);
    if let Some(checkpoint) = &checkpoint {
        check_layout(options.partitions, checkpoint.metadata())?;
    } else if recovery.record_count() == 0 {
        let header = RecordHeader {
            version: Version::ZERO,
            partition: MANY,
            database: DatabaseId::DEFAULT,
            kind: LAYOUT,
        };
        log.append(header, &options.partitions.count().to_le_bytes());
    }
    let checkpoint_entries = load(
        &store,
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
        reclaimer: Reclaimer::start()?,
        eviction: Pool::default(),
        checkpoints,
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

/// Compares the number of partitions that log or checkpoint was made with: two bytes, little-endian.
fn check_layout(configured: Partitions, created: &[u8]) -> Result<(), RecoveryError> {
    let created = created
        .first_chunk()
        .map_or(0, |bytes| u16::from_le_bytes(*bytes));
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
    checkpoint: Option<&Checkpoint>,
    log: &Recovery,
    threads: usize,
) -> Result<u64, RecoveryError> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|turn| scope.spawn(move || Loader::new(store, turn, threads).run(checkpoint, log)))
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
    fn new(store: &'a Store, turn: usize, threads: usize) -> Self {
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
        match record.kind {
            EFFECTS => {}
            LAYOUT => return check_layout(self.store.layout(), record.payload),
            kind => return Err(fail(Problem::Kind(kind))),
        }
        let mine =
            |index: usize, loader: &Self| loader.partitions.get(index).is_some_and(Option::is_some);
        if record.partition != MANY && !mine(record.partition.index(), self) {
            return Ok(());
        }
        let stamp = Stamp::new(record.version, Actor::default());
        for effect in Stamped::new(record.database, stamp, record.payload) {
            let (database, effect, Stamp { version, .. }) =
                effect.map_err(|error| fail(error.into()))?;
            match effect.key() {
                Some(key) => {
                    let id = self.store.partition_of(key);
                    if let Some(Some(loading)) = self.partitions.get_mut(id.index()) {
                        loading.replay(version, database, key, &effect, &self.access);
                    }
                }
                None => {
                    for loading in self.partitions.iter_mut().flatten() {
                        loading.replay_everywhere(version, database, &effect, &self.access);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Loading<'_> {
    fn restore(
        &mut self,
        checkpoint: &Checkpoint,
        access: &AccessClock,
    ) -> Result<u64, RecoveryError> {
        let id = self.partition.id();
        let mut entries = 0;
        for block in checkpoint.blocks(id) {
            let count = decode_block(block?, |saved| {
                let Saved {
                    database,
                    version,
                    effects,
                    ..
                } = saved;
                self.partition
                    .restore(database, effects, version, saved.access, access)
            })
            .map_err(|problem| RecoveryError::Block {
                partition: id,
                problem,
            })?;
            entries += count;
        }
        if let Some(start) = checkpoint.start(id) {
            self.start = start;
            self.partition.clock().observe(start);
        }
        Ok(entries)
    }

    /// Makes a change to a key unless the checkpoint has it.
    fn replay(
        &mut self,
        version: Version,
        database: DatabaseId,
        key: &[u8],
        effect: &Effect<'_>,
        access: &AccessClock,
    ) {
        if version <= self.start {
            return;
        }
        let present = self.partition.version_of(database, key);
        if present.is_none_or(|present| present < version) {
            apply(&mut self.partition, database, effect, version, access);
        }
    }

    fn replay_everywhere(
        &mut self,
        version: Version,
        database: DatabaseId,
        effect: &Effect<'_>,
        access: &AccessClock,
    ) {
        if version <= self.start {
            return;
        }
        // A `Clear` may remove what the checkpoint has from after it: that is in the log, and comes again.
        apply(&mut self.partition, database, effect, version, access);
    }
}

fn apply(
    partition: &mut Partition,
    database: DatabaseId,
    effect: &Effect<'_>,
    version: Version,
    access: &AccessClock,
) {
    partition.apply(database, effect, version, access);
    // Large values that a replay replaces are freed here: nobody waits.
    drop(partition.take_garbage());
}
