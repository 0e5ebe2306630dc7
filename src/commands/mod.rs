//! Redis commands: one file per family, one static table that drives everything about them.

mod acl;
mod admission;
mod bitmaps;
mod blocking;
mod call;
pub mod categories;
mod client;
mod cluster;
pub mod command;
mod conclude;
mod config;
mod connection;
mod coterie;
mod debug;
mod dispatch;
mod dump;
mod error;
mod execute;
mod expiry;
mod functions;
mod geo;
mod hashes;
mod help;
mod hyperloglog;
mod info;
mod keys;
mod latency;
mod lists;
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
mod run;
mod sampling;
mod scan;
mod scripts;
mod server;
mod sets;
mod slowlog;
mod sort;
mod sorted_sets;
mod spanning;
mod spec;
mod streams;
mod strings;
pub mod table;
mod transactions;
mod unit;
mod value;
mod wait;

pub use acl::load_at_start as load_users;
pub use blocking::{Patience, Wait, serve_always};
pub use call::{Call, Control, Deferred};
pub use conclude::conclude;
pub use error::{CommandError, CommandResult};
pub use execute::{Batch, Outcome, execute, prefetch};
pub use functions::{
    hear as hear_of_library, open as open_functions, tell_again as tell_of_libraries,
};
pub use native::{NativeClients, perform_all};
pub use perform::{perform, settle};
pub use record::Pending;
pub use remote::Executors;
pub use spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys, Locks,
};
pub use transactions::{Queue, Watched};
