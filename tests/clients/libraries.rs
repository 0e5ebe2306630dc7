//! redis-py and ioredis.

use crate::cluster_of_one;
use crate::common::Server;
use crate::packages::{node_script, python_script, run_application};

#[test]
fn redis_py() {
    for protocol in ["2", "3"] {
        let mut server = Server::subject();
        let mut command = python_script("application.py");
        command.args([&server.url(5), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn redis_py_restricted() {
    for protocol in ["2", "3"] {
        let mut server = Server::subject();
        let mut command = python_script("restricted.py");
        command.args([&server.url(5), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn redis_py_listeners() {
    for protocol in ["2", "3"] {
        let mut server = Server::subject();
        let mut command = python_script("listeners.py");
        command.args([&server.url(5), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn ioredis() {
    for protocol in ["2", "3"] {
        let mut server = Server::subject();
        let mut command = node_script("application.mjs");
        command.args([&server.url(6), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn redis_py_cluster() {
    for protocol in ["2", "3"] {
        let mut server = cluster_of_one();
        let mut command = python_script("cluster.py");
        command.args([&server.port().to_string(), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn ioredis_cluster() {
    for protocol in ["2", "3"] {
        let mut server = cluster_of_one();
        let mut command = node_script("cluster.mjs");
        command.args([&server.port().to_string(), protocol]);
        run_application(&mut server, &mut command);
    }
}
