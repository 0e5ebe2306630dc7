//! Redis commands: one file per family, one static table that drives everything about them.

mod bitmaps;
mod call;
mod client;
mod command;
mod config;
mod connection;
mod debug;
mod error;
mod execute;
mod expiry;
mod info;
mod keys;
mod latency;
mod memory;
mod object;
mod perform;
mod redact;
mod scan;
mod server;
mod slowlog;
mod spec;
mod strings;
pub mod table;

/// The version of Redis that clients are told, in `HELLO` and `INFO`: the one whose commands and replies these are.
pub const REDIS_VERSION: &str = "7.0.15";

pub use call::{Call, Control, Deferred};
pub use error::{CommandError, CommandResult};
pub use execute::{Batch, Outcome, execute, prefetch};
pub use perform::{perform, settle};
pub use spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys, Locks,
};
