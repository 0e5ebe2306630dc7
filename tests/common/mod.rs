//! What the black-box tests share: server processes, a blocking RESP client, and comparable replies.
#![allow(
    dead_code,
    unused_imports,
    reason = "every test binary uses its own part of this module"
)]

mod cluster;
mod connection;
mod internal;
mod network;
mod quoting;
mod reply;
mod resp3;
mod seed;
mod server;
mod wait;

pub use cluster::{Cluster, Door, Link, Setup};
pub use connection::{Connection, Protocol};
pub use internal::Dialler;
pub use network::{Datagram, Host, Network, Path};
pub use quoting::{encode_command, escape, glob_match, split_line};
pub use reply::Reply;
pub use seed::seed;
pub use server::{Options, Program, Server};
pub use wait::{DEADLINE, wait_until};
