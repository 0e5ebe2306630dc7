//! What people build on Redis: on one node, and through all nodes of a cluster.

use std::process::Command;

use crate::common::{Cluster, Link, Server, Setup};
use crate::packages::{node_script, python_script, run_application, run_script};

const PROTOCOLS: [&str; 2] = ["2", "3"];

/// Three nodes, and their URLs as scripts take them.
fn three() -> (Cluster, String) {
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let urls = (0..3).map(|node| format!("redis://{}/0", cluster.address(node)));
    let urls = urls.collect::<Vec<_>>().join(",");
    (cluster, urls)
}

/// Runs scripts, for each protocol, on a server and then through three nodes. Those that are told of one server ask for its restart.
fn everywhere(script: impl Fn() -> Command) {
    for protocol in PROTOCOLS {
        let mut server = Server::subject();
        let url = server.url(0);
        run_application(&mut server, script().args([&url, protocol]));
    }
    let (cluster, urls) = three();
    for protocol in PROTOCOLS {
        run_script(script().args([&urls, protocol]), |_| false);
        assert!(cluster.client(0).run("FLUSHALL").is_ok());
    }
}

#[test]
fn redis_py_patterns() {
    everywhere(|| python_script("patterns.py"));
}

#[test]
fn ioredis_patterns() {
    everywhere(|| node_script("patterns.mjs"));
}

#[test]
fn a_window_that_slides() {
    everywhere(|| {
        let mut script = python_script("limits.py");
        script.arg("window");
        script
    });
}

#[test]
fn redlock_on_three_servers() {
    for protocol in PROTOCOLS {
        let mut servers = [(); 3].map(|()| Server::subject());
        let urls = servers.each_ref().map(|server| server.url(0)).join(",");
        let mut script = python_script("limits.py");
        run_script(script.args(["redlock", &urls, protocol]), |line| {
            match line {
                "kill" => servers[1].kill(),
                "start" => servers[1].restart(),
                _ => return false,
            }
            true
        });
    }
}

#[test]
fn celery() {
    let server = Server::subject();
    run_script(python_script("queue_celery.py").arg(server.url(0)), |_| {
        false
    });
    let (_cluster, urls) = three();
    run_script(python_script("queue_celery.py").arg(&urls), |_| false);
}

/// On one node only: see the script.
#[test]
fn rq() {
    let server = Server::subject();
    let mut script = python_script("queue_rq.py");
    run_script(script.arg(server.url(0)), |_| false);
}

#[test]
fn bullmq() {
    everywhere(|| node_script("bullmq.mjs"));
}
