//! A running node: everything that its connections share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use coterie_protocol::{DatabaseId, PartitionId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::acl::Acl;
use crate::clients::Registry;
use crate::clock::Clock;
use crate::cluster_view::Cluster;
use crate::commands::table;
use crate::config::logging::LogControl;
use crate::config::{Config, Durability, RewriteError};
use crate::engine::{Engine, EvictionPolicy, EvictionSettings, Moment, OutOfMemory};
use crate::functions::Functions;
use crate::latency::LatencyMonitor;
use crate::monitor::Monitors;
use crate::pause::Pause;
use crate::pubsub::{PubSub, Remote};
use crate::replication::{Replication, Standing};
use crate::scripts::Scripts;
use crate::slowlog::SlowLog;
use crate::statistics::Statistics;
use crate::store::access::LfuSettings;
use crate::store::{AccessClock, Partition, View};
use crate::tracking::Tracking;

/// How far the node is with stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It serves.
    Running,
    /// It was asked to stop.
    Stopping {
        /// A checkpoint is made first.
        checkpoint: bool,
    },
}

/// Shutdowns that wait for a checkpoint.
#[derive(Default)]
pub struct Shutdowns {
    waiting: AtomicUsize,
    aborted: watch::Sender<u64>,
}

impl Shutdowns {
    /// Waits for what a shutdown needs. `None` if it is called off before.
    pub async fn wait_for<T>(&self, condition: impl Future<Output = T>) -> Option<T> {
        /// Counts down also when the one who waits leaves.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let mut aborted = self.aborted.subscribe();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        tokio::select! {
            result = condition => Some(result),
            _ = aborted.changed() => None,
        }
    }

    /// Calls all of them off. Returns whether there were any.
    pub fn abort(&self) -> bool {
        let any = self.waiting.load(Ordering::Relaxed) > 0;
        self.aborted.send_modify(|count| *count += 1);
        any
    }
}

/// See the module.
pub struct Node {
    /// The quorum path, once the node may have others beside it.
    pub replication: OnceLock<Arc<Replication>>,
    /// State and log.
    pub engine: Arc<Engine>,
    /// Settings in force; `CONFIG SET` replaces them.
    pub config: ArcSwap<Config>,
    /// Counters.
    pub statistics: Statistics,
    /// Users, and what they may do.
    pub acl: Acl,
    /// Connections.
    pub clients: Registry,
    /// `MONITOR`.
    pub monitors: Monitors,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// `SCRIPT`.
    pub scripts: Arc<Scripts>,
    /// `FUNCTION`.
    pub functions: Functions,
    /// Who listens to which channel.
    pub pubsub: PubSub,
    /// What clients of other nodes listen to.
    pub remote: Remote,
    /// What clients may have in caches of their own.
    pub tracking: Tracking,
    /// `SLOWLOG`.
    pub slow_log: SlowLog,
    /// `LATENCY`.
    pub latency: LatencyMonitor,
    /// Durations of commands.
    pub ticks: quanta::Clock,
    /// `INFO`'s `run_id`: 40 hexadecimal digits, new at each start.
    pub run_id: String,
    /// Unix milliseconds of the start.
    pub started_ms: u64,
    /// The port in use, also where 0 was configured.
    pub port: AtomicU64,
    /// Threads that serve clients.
    pub threads: AtomicUsize,
    /// Highest memory use seen, in bytes.
    pub peak_bytes: AtomicUsize,
    /// Least memory seen in use beside the data, in bytes: what an idle server needs.
    pub idle_bytes: AtomicUsize,
    /// Whether expired keys are removed before someone asks for them (`DEBUG SET-ACTIVE-EXPIRE`).
    pub active_expire: AtomicBool,
    /// Another checkpoint is to follow the one under way (`BGREWRITEAOF`).
    pub checkpoint_scheduled: AtomicBool,
    /// Shutdowns that can still be called off.
    pub shutdowns: Shutdowns,
    /// Held while settings are read and changed, so that no change is lost.
    config_change: Mutex<()>,
    /// Held while it is found out what is wanted of transactions.
    pub(crate) watching: Mutex<()>,
    /// Held while the configuration file is written.
    config_rewrite: Mutex<()>,
    /// Memory that is not data, in bytes; kept up while `maxmemory` is set.
    overhead_bytes: AtomicU64,
    /// The cluster it is part of, from when that is known.
    pub cluster: OnceLock<Arc<dyn Cluster>>,
    log_control: OnceLock<LogControl>,
    phase: watch::Sender<Phase>,
    clock: Clock,
}

/// The data of a node that has not begun on it.
impl View for Arc<Node> {
    fn look(&self, id: PartitionId, visit: &mut dyn FnMut(&Partition)) {
        self.engine.store().look(id, visit);
    }
}

impl Node {
    /// A node over an open engine.
    pub fn new(engine: Engine, config: Config, clock: Clock) -> Arc<Node> {
        let run_id: String = (0..40)
            .map(|_| char::from(b"0123456789abcdef"[rand::random_range(0..16)]))
            .collect();
        let node = Arc::new(Node {
            replication: OnceLock::new(),
            engine: engine.into(),
            acl: Acl::new(config.requirepass.expose().as_bytes()),
            config: ArcSwap::from_pointee(config),
            statistics: Statistics::new(table::len()),
            clients: Registry::default(),
            monitors: Monitors::default(),
            pause: Pause::default(),
            scripts: Arc::default(),
            functions: Functions::default(),
            pubsub: PubSub::default(),
            remote: Remote::default(),
            tracking: Tracking::default(),
            watching: Mutex::new(()),
            slow_log: SlowLog::default(),
            latency: LatencyMonitor::default(),
            ticks: quanta::Clock::new(),
            run_id,
            started_ms: clock.now_ms(),
            port: AtomicU64::new(0),
            threads: AtomicUsize::new(0),
            peak_bytes: AtomicUsize::new(0),
            idle_bytes: AtomicUsize::new(usize::MAX),
            active_expire: AtomicBool::new(true),
            checkpoint_scheduled: AtomicBool::new(false),
            shutdowns: Shutdowns::default(),
            config_change: Mutex::new(()),
            config_rewrite: Mutex::new(()),
            overhead_bytes: AtomicU64::new(0),
            cluster: OnceLock::new(),
            log_control: OnceLock::new(),
            phase: watch::Sender::new(Phase::Running),
            clock,
        });
        crate::notify::attach(&node);
        node
    }

    /// One over a fresh directory, for tests that need no more of it.
    #[cfg(test)]
    pub(crate) fn made_up(directory: &std::path::Path, config: Config) -> Arc<Node> {
        let mut log = crate::wal::Options::new(directory);
        log.segment_bytes = crate::wal::MIN_SEGMENT_BYTES;
        let options = crate::engine::EngineOptions {
            directory: directory.to_owned(),
            databases: 16,
            partitions: coterie_protocol::Partitions::new(4).unwrap(),
            seed: None,
            threads: 1,
            log,
        };
        let (engine, _) = Engine::open(options).unwrap();
        Node::new(engine, config, Clock::System)
    }

    /// The clock it reads.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Unix microseconds.
    pub fn now_micros(&self) -> u64 {
        self.clock.now_micros()
    }

    /// The present moment, under the settings given.
    pub fn moment(&self, config: &Config) -> Moment {
        let now_ms = self.now_ms();
        let settings = LfuSettings {
            log_factor: config.lfu_log_factor,
            decay_minutes: config.lfu_decay_time,
        };
        let lfu = EvictionPolicy::of(config.maxmemory_policy)
            .uses_frequency()
            .then_some(settings);
        Moment {
            now_ms,
            access: AccessClock::new(now_ms, lfu),
            touch: true,
            client: 0,
        }
    }

    /// The memory limit of the data and how it is kept, if there is one: `maxmemory` without what the process
    /// uses for other things, as of the last look.
    pub fn eviction(&self, config: &Config) -> Option<EvictionSettings> {
        let overhead = self.overhead_bytes.load(Ordering::Relaxed);
        (config.maxmemory > 0).then(|| EvictionSettings {
            limit_bytes: config.maxmemory.saturating_sub(overhead),
            policy: EvictionPolicy::of(config.maxmemory_policy),
            samples: config.maxmemory_samples as usize,
        })
    }

    /// Removes keys until memory is under its limit, or a bounded number of them. Returns how many.
    #[inline]
    pub fn evict(&self, settings: &EvictionSettings, moment: Moment) -> Result<usize, OutOfMemory> {
        let evicted = self.engine.evict(settings, moment)?;
        if !evicted.is_empty() {
            let count = evicted.len() as u64;
            (self.statistics.evicted_keys).fetch_add(count, Ordering::Relaxed);
            if let Some(replication) = self.replication.get() {
                replication.awaited.leave(&evicted, Standing::Left);
            }
        }
        Ok(evicted.len())
    }

    /// Whether memory is over its limit.
    pub fn is_out_of_memory(&self, config: &Config) -> bool {
        let settings = self.eviction(config);
        settings.is_some_and(|it| self.engine.store().allocated_bytes() as u64 > it.limit_bytes)
    }

    /// Hands over what `CONFIG SET loglevel` turns.
    pub fn set_log_control(&self, control: LogControl) {
        // A second one could only be the same.
        let _ = self.log_control.set(control);
    }

    /// Changes settings. Of two changes at the same time, the second sees the first.
    pub fn change_config<E>(
        &self,
        change: impl FnOnce(&Config) -> Result<Config, E>,
    ) -> Result<(), E> {
        let _changing = self.config_change.lock();
        self.set_config(change(&self.config.load())?);
        Ok(())
    }

    /// Writes the settings in force to the file they were loaded from. Blocks on the disk.
    pub fn rewrite_config(&self) -> Result<(), RewriteError> {
        // One at a time, and the last one writes the newest settings.
        let _rewriting = self.config_rewrite.lock();
        let mut config = Config::clone(&self.config.load());
        if config.aclfile.is_none() {
            let password = config.requirepass.expose().as_bytes();
            let lines = self.acl.lines_beside(password);
            config.user = lines.map_err(|_| RewriteError::Structure("user"))?;
        }
        config.rewrite()
    }

    /// Puts new settings in force.
    fn set_config(&self, config: Config) {
        if let Some(control) = self.log_control.get() {
            control.set_level(config.loglevel);
        }
        match self.replication.get() {
            Some(replication) => replication.configure(&config),
            None => (self.engine.log())
                .set_durability(crate::running::log_durability(config.durability)),
        }
        self.note_overhead(crate::memory::allocated_bytes());
        if config.requirepass != self.config.load().requirepass {
            let password = config.requirepass.expose().as_bytes();
            self.acl.set_default_password(password);
        }
        self.config.store(Arc::new(config));
        self.refresh_watch();
    }

    /// Whether writes of a database are acknowledged only when they are on the disk.
    #[inline]
    pub fn is_synced(&self, config: &Config, database: DatabaseId) -> bool {
        match self.replication.get() {
            Some(replication) => replication.is_synced(database),
            None => config.durability == Durability::Always,
        }
    }

    /// Whether those of any database are.
    pub fn has_synced(&self, config: &Config) -> bool {
        match self.replication.get() {
            Some(replication) => replication.has_synced(),
            None => config.durability == Durability::Always,
        }
    }

    /// Notes what of the allocator's bytes is not data.
    pub fn note_overhead(&self, allocated_bytes: usize) {
        let data = self.engine.store().allocated_bytes();
        let overhead = allocated_bytes.saturating_sub(data) as u64;
        self.overhead_bytes.store(overhead, Ordering::Relaxed);
    }

    /// Asks the node to stop.
    pub fn stop(&self, checkpoint: bool) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Stopping { checkpoint };
            }
            running
        });
    }

    /// Tells when the node is asked to stop.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Takes note of the present memory use. Returns the highest seen, and the lowest beside the data, in bytes.
    pub fn note_memory(&self, allocated_bytes: usize) -> (usize, usize) {
        let idle = allocated_bytes.saturating_sub(self.engine.store().allocated_bytes());
        let peak = self
            .peak_bytes
            .fetch_max(allocated_bytes, Ordering::Relaxed);
        let least = self.idle_bytes.fetch_min(idle, Ordering::Relaxed);
        (peak.max(allocated_bytes), least.min(idle))
    }
}
