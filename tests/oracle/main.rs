//! Differential tests: the same input goes to the server under test and to `redis-server`, and the replies must agree.

#[path = "../common/mod.rs"]
mod common;

mod acl;
mod blocking;
mod cluster;
mod command_table;
mod dump;
mod field_expiry;
mod generated;
mod hashes;
mod info;
mod intended;
mod mutated;
mod raw;
mod runner;
mod script;
mod scripts;
mod streams;
mod streams_blocking;
mod transactions;
