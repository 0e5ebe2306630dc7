//! Redis commands: one file per family, one static table that drives everything about them.

mod bitmaps;
mod call;
mod client;
mod cluster;
mod command;
mod conclude;
mod config;
mod connection;
mod coterie;
mod debug;
mod dispatch;
mod error;
mod execute;
mod expiry;
mod hashes;
mod help;
mod info;
mod keys;
mod latency;
mod long_double;
mod memory;
mod native;
mod object;
mod once;
mod perform;
mod pubsub;
mod record;
mod redaction;
mod remote;
mod routing;
mod scan;
mod server;
mod slowlog;
mod spanning;
mod spec;
mod strings;
pub mod table;
mod transactions;
mod unit;
mod value;
mod wait;

pub use call::{Call, Control, Deferred};
pub use conclude::conclude;
pub use error::{CommandError, CommandResult};
pub use execute::{Batch, Outcome, execute, prefetch};
pub use native::{NativeClients, perform_all};
pub use perform::{perform, settle};
pub use record::Pending;
pub use remote::Executors;
pub use spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys, Locks,
};
pub use transactions::{Queue, Watched};
