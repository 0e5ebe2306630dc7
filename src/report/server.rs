//! The process and its build; its place among others.

use std::sync::atomic::Ordering::Relaxed;

use super::value::{Field, Value};
use crate::REDIS_VERSION;
use crate::cluster_view::is_cluster;
use crate::node::Node;
use crate::store::access;

pub(super) fn server(node: &Node) -> Vec<Field> {
    let config = node.config.load();
    let now_ms = node.now_ms();
    let uptime = now_ms.saturating_sub(node.started_ms) / 1000;
    let path = |path: Option<&std::path::Path>| {
        Value::text(path.map_or_else(String::new, |path| path.display().to_string()))
    };
    let hz = Value::count(config.hz);
    let threads = node.threads.load(Relaxed);
    vec![
        Field::new("redis_version", Value::text(REDIS_VERSION)),
        Field::new("coterie_version", Value::text(env!("CARGO_PKG_VERSION"))),
        Field::new("redis_mode", Value::text(mode(node))),
        Field::new("os", Value::text(operating_system())),
        Field::new("arch_bits", Value::count(usize::BITS)),
        Field::new("multiplexing_api", Value::text("epoll")),
        Field::new("process_id", Value::count(std::process::id())),
        Field::new("run_id", Value::text(&*node.run_id)),
        Field::new("tcp_port", Value::count(node.port.load(Relaxed))),
        Field::new("server_time_usec", Value::count(node.now_micros())),
        Field::new("uptime_in_seconds", Value::count(uptime)),
        Field::new("uptime_in_days", Value::count(uptime / 86_400)),
        Field::new("hz", hz.clone()),
        Field::new("configured_hz", hz),
        Field::new("lru_clock", Value::count(access::lru_clock(now_ms))),
        Field::new("executable", path(std::env::current_exe().ok().as_deref())),
        Field::new("config_file", path(config.file())),
        // Every connection is read and written by one of several threads.
        Field::new("io_threads_active", Value::flag(threads > 1)),
        Field::new("threads", Value::count(threads)),
    ]
}

fn operating_system() -> String {
    let name = rustix::system::uname();
    let part = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    [name.sysname(), name.release(), name.machine()]
        .map(part)
        .join(" ")
}

/// There are no replicas in Redis' sense: a node alone, whose stream nobody reads.
pub(super) fn replication(node: &Node) -> Vec<Field> {
    let history = format!("{:040x}", node.engine.log().id());
    vec![
        Field::new("role", Value::text("master")),
        Field::new("connected_slaves", Value::count(0)),
        Field::new("master_failover_state", Value::text("no-failover")),
        Field::new("master_replid", Value::text(history)),
        Field::new("master_replid2", Value::text("0".repeat(40))),
        Field::new("master_repl_offset", Value::count(0)),
        Field::new("second_repl_offset", Value::Integer(-1)),
        Field::new("repl_backlog_active", Value::count(0)),
        Field::new("repl_backlog_size", Value::count(0)),
        Field::new("repl_backlog_first_byte_offset", Value::count(0)),
        Field::new("repl_backlog_histlen", Value::count(0)),
    ]
}

pub(super) fn cluster(node: &Node) -> Vec<Field> {
    let enabled = Value::flag(is_cluster(node));
    vec![Field::new("cluster_enabled", enabled)]
}

/// What clients are told to be connected to, in Redis' words.
pub fn mode(node: &Node) -> &'static str {
    if is_cluster(node) {
        "cluster"
    } else {
        "standalone"
    }
}
