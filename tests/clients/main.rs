//! Real clients against the server, and what people run on Redis: redis-cli and redis-benchmark, redis-py, ioredis, the
//! `redis` crate, queues and locks.
//!
//! The Python and Node packages are installed below `target/` at the first run, from the pinned versions in
//! `python/` and `node/`.

#[path = "../common/mod.rs"]
mod common;

mod libraries;
mod packages;
mod programs;
mod redis_crate;
mod tools;

use common::{Options, Program, Server};

/// A server that calls itself a cluster.
fn cluster_of_one() -> Server {
    let options = Options::new(Program::Subject);
    Server::start(options.coterie_flag("cluster-enabled", "yes"))
}
