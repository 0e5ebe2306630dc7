//! Limits and resources: connections, buffers, passwords, memory, and that nobody stalls anybody.

#[path = "../common/mod.rs"]
mod common;

mod buffers;
mod clients;
mod connections;
mod eviction;
mod keyspace;
mod listeners;
mod progress;
mod scripts;

use common::{Connection, Options, Program, Server};

/// Runs the same steps on the subject and on the oracle; the outcomes must be equal.
fn same_on_both<T: PartialEq + std::fmt::Debug>(
    options: impl Fn(Options) -> Options,
    steps: impl Fn(&Server) -> T,
) -> T {
    let ours = steps(&Server::start(options(Options::new(Program::Subject))));
    let theirs = steps(&Server::start(options(Options::new(Program::Oracle))));
    assert_eq!(
        ours, theirs,
        "the subject (left) does otherwise than the oracle (right)"
    );
    ours
}

/// A number from `INFO`.
fn info(connection: &mut Connection, field: &str) -> u64 {
    let text = connection.run("INFO everything").text();
    let prefix = format!("{field}:");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    let value = value.unwrap_or_else(|| panic!("INFO lacks {field}"));
    value
        .parse()
        .unwrap_or_else(|e| panic!("{field}:{value}: {e}"))
}
