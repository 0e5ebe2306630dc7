//! Coterie: a Redis-compatible, durable, distributed key-value database.

mod background;
pub mod clock;
pub mod commands;
pub mod config;
pub mod effect;
mod embed;
pub mod engine;
mod monitor;
pub mod node;
mod pause;
pub mod running;
pub mod server;
pub mod session;
mod slowlog;
pub mod statistics;
pub mod store;
pub mod wal;

pub use embed::{Builder, CallError, Database, Node};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
