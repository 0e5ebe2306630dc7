//! Coterie: a Redis-compatible, durable, distributed key-value database.

pub mod acl;
mod background;
pub mod blocking;
pub mod clients;
pub mod clock;
mod cluster;
pub mod cluster_view;
pub mod commands;
pub mod config;
pub mod effect;
mod embed;
pub mod engine;
pub mod events;
pub mod functions;
pub mod glob;
pub mod hyperloglog;
pub mod latency;
pub mod membership;
mod memory;
mod monitor;
pub mod node;
mod notify;
pub mod outstanding;
mod pause;
mod priority;
pub mod pubsub;
pub mod rates;
mod rdb;
pub mod replication;
pub mod report;
pub mod running;
pub mod scripting;
pub mod scripts;
pub mod server;
pub mod session;
mod slowlog;
pub mod statistics;
pub mod store;
pub mod topology;
pub mod tracking;
pub mod transport;
pub mod wal;

pub use embed::{Batch, Builder, CallError, Commands, Database, Level, Node};
/// The Redis version whose behaviour this server shows to clients.
pub const REDIS_VERSION: &str = "7.0.15";

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
