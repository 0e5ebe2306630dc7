//! Starting and stopping a node: data directory, background work, server.

use std::sync::Arc;

use coterie_protocol::Partitions;
use tokio::task::JoinSet;

use crate::background;
use crate::clock::Clock;
use crate::cluster::{self, Cluster, ClusterError};
use crate::commands;
use crate::config::{Config, Durability};
use crate::engine::{Engine, EngineOptions, RecoveryError};
use crate::node::{Node, Phase};
use crate::server::{Server, StartError};
use crate::wal;

/// A node that serves until it is asked to stop.
pub struct Running {
    node: Arc<Node>,
    server: Server,
    background: JoinSet<()>,
    cluster: Option<Arc<Cluster>>,
}

/// A node that could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its data directory.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Its libraries of functions.
    #[error(transparent)]
    Functions(#[from] std::io::Error),
    /// Its place among other nodes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Its server.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its users.
    #[error("the users can't be loaded: {0}")]
    Users(String),
    /// A number of partitions that is none.
    #[error("'partitions' must be a power of two from 1 to 16384")]
    Partitions,
}

impl Running {
    /// Opens the data directory and starts to serve. Call within a tokio runtime. Recovery blocks it.
    pub fn start(config: Config) -> Result<Running, NodeError> {
        let (engine, summary) = Engine::open(engine_options(&config)?)?;
        tracing::info!(
            entries = summary.checkpoint_entries,
            records = summary.records,
            "data directory recovered"
        );
        if let Some(torn) = &summary.torn_tail {
            tracing::warn!(
                torn,
                "cut the end of the log: a record there was never completely written"
            );
        }
        let clock = match config.debug_clock_offset_ms {
            0 => Clock::System,
            offset => Clock::Offset(offset),
        };
        let node = Node::new(engine, config, clock);
        commands::load_users(&node).map_err(NodeError::Users)?;
        commands::open_functions(&node)?;
        // Before the first client: its requests must take the way through the cluster, if there is one.
        let cluster = cluster::start(&node)?;
        let server = Server::start(&node)?;
        let mut background = JoinSet::new();
        background.spawn(background::expire(node.clone()));
        background.spawn(background::evict(node.clone()));
        background.spawn(background::close_idle(node.clone()));
        background.spawn(background::tend_listeners(node.clone()));
        background.spawn(background::evict_clients(node.clone()));
        background.spawn(background::checkpoint(node.clone()));
        background.spawn(background::sample(node.clone()));
        background.spawn(commands::serve_always(node.clone()));
        Ok(Running {
            node,
            server,
            background,
            cluster,
        })
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Waits until the node is asked to stop, and stops it: no more connections, a checkpoint if that was
    /// asked for, the log synced.
    pub async fn until_stopped(mut self) -> std::io::Result<()> {
        let mut phase = self.node.phase();
        // The node keeps the sender.
        let asked = phase
            .wait_for(|phase| *phase != Phase::Running)
            .await
            .map(|phase| *phase);
        tracing::info!("stopping");
        self.background.shutdown().await;
        self.server.stop().await;
        if let Some(cluster) = self.cluster.take() {
            cluster.stop().await;
        }
        if matches!(asked, Ok(Phase::Stopping { checkpoint: true }))
            && let Err(error) = background::make_checkpoint_in_turn(&self.node).await
        {
            tracing::error!(%error, "no checkpoint at the end; the log has everything");
        }
        self.node.engine.close()?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn engine_options(config: &Config) -> Result<EngineOptions, NodeError> {
    let mut log = wal::Options::new(&config.dir);
    log.segment_bytes = u32::try_from(config.log_segment_size).unwrap_or(wal::MAX_SEGMENT_BYTES);
    log.durability = log_durability(config.durability);
    // What a checkpoint frees comes back as the segments up to the next one, without zero-filling.
    let between = config
        .checkpoint_log_size
        .div_ceil(config.log_segment_size.max(1));
    log.recycled_segments = usize::try_from(between)
        .unwrap_or(usize::MAX)
        .saturating_add(2);
    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    Ok(EngineOptions {
        directory: config.dir.clone(),
        databases: config.databases,
        partitions: Partitions::new(config.partitions).ok_or(NodeError::Partitions)?,
        seed: cluster::known_seed(config)?,
        threads,
        log,
    })
}

/// The log's word for a durability.
pub fn log_durability(durability: Durability) -> wal::Durability {
    match durability {
        Durability::Always => wal::Durability::Always,
        Durability::Everysec => wal::Durability::Everysec,
        Durability::Os => wal::Durability::Os,
    }
}
