//! Crash tests: what was acknowledged survives SIGKILL, restarts and full disks.

#[path = "../common/mod.rs"]
mod common;

mod directory;
mod fields;
mod full_disk;
mod functions;
mod kills;
mod model;
mod start;
mod streams;
mod transactions;
