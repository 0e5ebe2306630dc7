//! What can go wrong in a bench run, in words for the person who started it.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "redis-server not found as {0:?}: install it (Debian: apt install redis-server) or give --redis-server PATH"
    )]
    RedisMissing(PathBuf),
    #[error("no Coterie binary at {0:?}: run `cargo build --release` first or give --coterie PATH")]
    CoterieMissing(PathBuf),
    #[error("{server} ended with {status} before it was ready; the end of its output:\n{output}")]
    Ended {
        server: String,
        status: String,
        output: String,
    },
    #[error("{server} did not answer within {seconds} s")]
    NotReady { server: String, seconds: u64 },
    #[error(
        "cannot run on CPU {cpus:?}: {source}; choose others with --server-cpu and --client-cpu, or --no-pin"
    )]
    Affinity { cpus: Vec<usize>, source: io::Error },
    #[error("the server answered with an error: {0}")]
    Refused(String),
    #[error("the server's reply is not the expected one: {0}")]
    WrongReply(String),
    #[error("the server closed a connection")]
    Closed,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the {nodes} servers did not become one group within {seconds} s: {state}")]
    NoGroup {
        nodes: usize,
        seconds: u64,
        state: String,
    },
    #[error("no case is named {0:?}; --list shows the names")]
    UnknownCase(String),
    #[error("interrupted")]
    Interrupted,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what was being done when an I/O call failed.
pub trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what.into(),
            source: source.into(),
        })
    }
}
