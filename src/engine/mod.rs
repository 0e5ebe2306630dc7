//! Executes transactions: locks partitions, applies effects, appends their record to the log. Around that,
//! what keeps state and log in shape: recovery, checkpoints, expiry, eviction.

mod checkpoint;
mod eviction;
mod expiry;
#[cfg(test)]
mod operation_tests;
mod reclaimer;
mod recovery;
#[cfg(test)]
mod recovery_tests;
mod replicated;
#[cfg(test)]
mod replicated_tests;
#[cfg(test)]
mod replicated_world;
mod spread;
mod transaction;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use coterie_protocol::{PartitionId, Partitions};

use crate::blocking::Waiters;
use crate::store::{AccessClock, Store};
use crate::wal::{self, Log, LogOffset};

pub use checkpoint::{CheckpointClaim, CheckpointError, CheckpointStatus, Checkpoints};
pub use eviction::{EvictionPolicy, EvictionSettings, OutOfMemory};
pub use expiry::ExpiryCycle;
pub use recovery::{RecoveryError, RecoverySummary};
pub use replicated::{
    COORDINATED, FORGET, RECEIVED, Received, Repeat, coordinated_by, effects_of, operation_of,
};
pub use transaction::{Scope, Transaction};
pub use watch::{Notice, Wanted, Watch, Watcher};

/// Kind of a log record whose payload is a sequence of effects.
pub const EFFECTS: u8 = 1;

/// Kind of the first record of a log: its payload is the number of partitions and [`FORMAT`], little-endian `u16`s.
pub const LAYOUT: u8 = 2;

/// Format of records and checkpoints. Others are refused.
pub const FORMAT: u16 = 4;

/// Partition of a record whose effects belong to several.
pub const MANY: PartitionId = PartitionId(u16::MAX);

/// The instant a batch of commands sees, read once for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// What a use of an entry now leaves in it.
    pub access: AccessClock,
    /// Whether reading counts as use (not for clients with `NO-TOUCH`).
    pub touch: bool,
    /// Whose commands they are: the id of a client, 0 for nobody's.
    pub client: u64,
}

/// What an engine is opened with.
pub struct EngineOptions {
    /// Directory of log and checkpoints.
    pub directory: PathBuf,
    /// Number of databases.
    pub databases: u32,
    /// How slots map to partitions; fixed when a directory is created.
    pub partitions: Partitions,
    /// Seed of the keys' hashes; `None` for one of the directory's own. It decides the order of `SCAN`, so it must stay
    /// once there are keys, and be the same on all nodes of a cluster.
    pub seed: Option<u64>,
    /// Threads that load and replay.
    pub threads: usize,
    /// The log's own options.
    pub log: wal::Options,
}

/// State in memory and its log.
pub struct Engine {
    store: Store,
    log: Arc<Log>,
    reclaimer: reclaimer::Reclaimer,
    eviction: eviction::Pool,
    checkpoints: Checkpoints,
    marks: replicated::Marks,
    waiters: Arc<Waiters>,
    watch: Watch,
    spread: spread::Spread,
    segment_bytes: u32,
}

impl Engine {
    /// Opens a data directory, recovering what it holds.
    pub fn open(options: EngineOptions) -> Result<(Engine, RecoverySummary), RecoveryError> {
        recovery::open(options)
    }

    /// Locks what the scope names. `payload` is scratch space, kept by the caller to spare allocations.
    #[inline]
    pub fn begin<'a>(
        &'a self,
        scope: Scope<'_, '_>,
        moment: Moment,
        payload: &'a mut Vec<u8>,
    ) -> Transaction<'a> {
        Transaction::begin(self, scope, moment, payload)
    }

    /// Adds a clean end to the log, so that nothing waits for a sync any more.
    pub fn close(&self) -> std::io::Result<()> {
        self.log.close()
    }

    /// The data.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who waits for its keys.
    pub fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// About how many bytes the log has grown by since the last checkpoint began: what a start would replay.
    pub fn log_growth(&self) -> u64 {
        let (now, then) = (self.log.appended(), self.checkpoints.status().log_start);
        let segments = u64::from(now.segment().saturating_sub(then.segment().max(1)));
        (segments * u64::from(self.segment_bytes) + u64::from(now.position()))
            .saturating_sub(u64::from(then.position()))
    }

    /// About where the log was this many bytes ago.
    pub fn log_back(&self, bytes: u64) -> LogOffset {
        let now = self.log.appended();
        let segments = bytes.div_ceil(u64::from(self.segment_bytes));
        let segments = u32::try_from(segments).unwrap_or(u32::MAX);
        LogOffset::new(now.segment().saturating_sub(segments), now.position())
    }

    /// Checkpoints: the running one, the last one, and how to start one.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }
}
