//! What a node tells of itself: values gathered once, for `INFO` as text and for metrics as numbers.

mod activity;
mod clients;
mod commands;
mod memory;
mod persistence;
mod process;
mod server;
pub mod totals;
mod value;

pub use clients::Buffers;
pub use memory::{MemoryFigures, excess, ratio};
pub use server::mode;
pub use value::{Field, Section, Value, human_bytes, render};

use crate::node::Node;
use crate::store::View;

/// A group of values: one section of `INFO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// The process and its build.
    Server,
    /// Connections.
    Clients,
    /// Memory.
    Memory,
    /// Log and checkpoints.
    Persistence,
    /// What was done.
    Stats,
    /// Masters and replicas, in Redis' sense.
    Replication,
    /// Processor time.
    Cpu,
    /// Loaded modules.
    Modules,
    /// Each command's counters.
    Commandstats,
    /// Error replies by their code.
    Errorstats,
    /// Each command's latency percentiles.
    Latencystats,
    /// Redis Cluster.
    Cluster,
    /// Keys of each database.
    Keyspace,
}

impl Topic {
    /// Every topic, in `INFO`'s order.
    pub const ALL: [Topic; 13] = [
        Topic::Server,
        Topic::Clients,
        Topic::Memory,
        Topic::Persistence,
        Topic::Stats,
        Topic::Replication,
        Topic::Cpu,
        Topic::Modules,
        Topic::Commandstats,
        Topic::Errorstats,
        Topic::Latencystats,
        Topic::Cluster,
        Topic::Keyspace,
    ];

    /// The section's title.
    pub fn title(self) -> &'static str {
        match self {
            Topic::Server => "Server",
            Topic::Clients => "Clients",
            Topic::Memory => "Memory",
            Topic::Persistence => "Persistence",
            Topic::Stats => "Stats",
            Topic::Replication => "Replication",
            Topic::Cpu => "CPU",
            Topic::Modules => "Modules",
            Topic::Commandstats => "Commandstats",
            Topic::Errorstats => "Errorstats",
            Topic::Latencystats => "Latencystats",
            Topic::Cluster => "Cluster",
            Topic::Keyspace => "Keyspace",
        }
    }

    /// Whether `INFO` without arguments shows it.
    pub fn is_default(self) -> bool {
        !matches!(self, Topic::Commandstats | Topic::Latencystats)
    }
}

/// The present values of a topic; `data` is what is looked into.
pub fn gather(node: &Node, data: &dyn View, topic: Topic) -> Section {
    let fields = match topic {
        Topic::Server => server::server(node),
        Topic::Clients => clients::clients(node),
        Topic::Memory => memory::memory(node, data),
        Topic::Persistence => persistence::persistence(node, data),
        Topic::Stats => activity::stats(node, data),
        Topic::Replication => server::replication(node),
        Topic::Cpu => process::cpu(),
        // There are none: modules are not part of this server.
        Topic::Modules => Vec::new(),
        Topic::Commandstats => commands::counters(node),
        Topic::Errorstats => commands::errors(node),
        Topic::Latencystats => commands::percentiles(node),
        Topic::Cluster => server::cluster(node),
        Topic::Keyspace => totals::keyspace(node, data),
    };
    Section {
        title: topic.title(),
        fields,
    }
}
