//! Differential tests: the same input goes to the server under test and to `redis-server`, and the replies must agree.

#[path = "../common/mod.rs"]
mod common;

mod intended;
mod raw;
mod runner;
mod script;
mod scripts;
