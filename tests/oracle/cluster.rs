//! A cluster of one node, compared with a Redis Cluster of one.

use std::net::TcpListener;

use crate::common::{Connection, Options, Program, Protocol, Reply, Server, escape, wait_until};
use crate::runner::report;

/// Answers that must be the same to the byte, once ids and ports are taken out.
const SAME: &[&str] = &[
    "SET foo 1",
    "SET {foo}bar 2",
    "CLUSTER KEYSLOT foo",
    "CLUSTER KEYSLOT {foo}bar",
    "CLUSTER KEYSLOT",
    "CLUSTER KEYSLOT a b",
    "CLUSTER COUNTKEYSINSLOT 12182",
    "CLUSTER COUNTKEYSINSLOT 12183",
    "CLUSTER COUNTKEYSINSLOT 16384",
    "CLUSTER COUNTKEYSINSLOT -1",
    "CLUSTER COUNTKEYSINSLOT x",
    "CLUSTER GETKEYSINSLOT 12182 1 1",
    "CLUSTER GETKEYSINSLOT 12182 0",
    "CLUSTER GETKEYSINSLOT 12183 10",
    "CLUSTER GETKEYSINSLOT 16384 10",
    "CLUSTER GETKEYSINSLOT 1 -1",
    "CLUSTER GETKEYSINSLOT x 10",
    "CLUSTER GETKEYSINSLOT 1 x",
    "DEL {foo}bar",
    "CLUSTER GETKEYSINSLOT 12182 10",
    "CLUSTER SLOTS",
    "CLUSTER SLOTS x",
    "CLUSTER SHARDS",
    "CLUSTER LINKS",
    "CLUSTER REPLICAS nosuch",
    "CLUSTER SLAVES nosuch",
    "CLUSTER COUNT-FAILURE-REPORTS nosuch",
    "CLUSTER NOSUCH",
    "CLUSTER MYSHARDID",
    "CLUSTER",
    "CLUSTER MEET a",
    "CLUSTER ADDSLOTS",
    "CLUSTER ADDSLOTSRANGE 1",
    "CLUSTER DELSLOTSRANGE 1",
    "CLUSTER SETSLOT 1",
    "CLUSTER FORGET",
    "CLUSTER REPLICATE",
    "CLUSTER BUMPEPOCH x",
    "CLUSTER FLUSHSLOTS x",
    "CLUSTER SAVECONFIG x",
    "CLUSTER SET-CONFIG-EPOCH",
    "READONLY",
    "GET foo",
    "READWRITE",
    "READWRITE x",
    "ASKING",
    "ASKING x",
    "WAIT 0 0",
    "WAIT 1 10",
    "WAIT -1 10",
    "WAIT 0 -1",
    "WAIT 0 x",
    "WAIT x x",
    "WAIT x -1",
    "WAIT 0 99999999999999999999",
    "WAIT 99999999999999999999 0",
    "WAIT 1",
    "WAIT 0 9223372036854775807",
    "INFO cluster",
];

fn start(program: Program) -> Server {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let port = port.expect("a free port").port();
    let server = Server::start(
        Options::new(program)
            .flag("cluster-enabled", "yes")
            .flag("cluster-announce-ip", "127.0.0.1")
            // Without it, the server's port may be too high.
            .flag("cluster-port", &port.to_string()),
    );
    if !program.is_coterie() {
        let mut connection = server.connect();
        connection.run("CLUSTER ADDSLOTSRANGE 0 16383");
        wait_until("the oracle's cluster is up", || {
            let info = connection.run("CLUSTER INFO").text();
            info.contains("cluster_state:ok")
        });
    }
    server
}

/// A server, a connection, and what to replace in its answers.
struct Side {
    connection: Connection,
    id: String,
    port: String,
    _server: Server,
}

impl Side {
    fn new(program: Program, protocol: Protocol) -> Side {
        let server = start(program);
        let mut connection = server.connect_as(protocol);
        Side {
            id: connection.run("CLUSTER MYID").text(),
            port: server.port().to_string(),
            connection,
            _server: server,
        }
    }

    fn answer(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let (_, raw) = self.connection.try_call_raw(&words).expect("an answer");
        escape(&raw)
            .replace(&self.id, "<id>")
            .replace(&self.port, "<port>")
    }
}

fn compare(protocol: Protocol) {
    let mut ours = Side::new(Program::Subject, protocol);
    let mut theirs = Side::new(Program::Oracle, protocol);
    let mut differences = Vec::new();
    for line in SAME {
        let (our, their) = (ours.answer(line), theirs.answer(line));
        if our != their {
            differences.push(format!("{line}\n  oracle:  {their}\n  subject: {our}"));
        }
    }
    let id = |side: &Side| side.id.clone();
    let (our, their) = (id(&ours), id(&theirs));
    for line in [
        "CLUSTER REPLICAS",
        "CLUSTER SLAVES",
        "CLUSTER COUNT-FAILURE-REPORTS",
    ] {
        let our = ours.answer(&format!("{line} {our}"));
        let their = theirs.answer(&format!("{line} {their}"));
        if our != their {
            differences.push(format!("{line}\n  oracle:  {their}\n  subject: {our}"));
        }
    }
    report(&differences);
}

#[test]
fn a_cluster_of_one_resp2() {
    compare(Protocol::Resp2);
}

#[test]
fn a_cluster_of_one_resp3() {
    compare(Protocol::Resp3);
}

/// The words of the only line of CLUSTER NODES, but for the epoch and ports: those are counted otherwise.
fn node_line(side: &mut Side) -> Vec<String> {
    let reply = side.connection.run("CLUSTER NODES");
    let text = reply.text();
    assert!(text.ends_with('\n'), "{text:?}");
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words[0] = words[0].replace(&side.id, "<id>");
    words[1] = words[1]
        .split('@')
        .next()
        .expect("a word")
        .replace(&side.port, "<port>");
    words.remove(6);
    words
}

#[test]
fn nodes_and_info_have_the_words_that_tools_look_for() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut ours = Side::new(Program::Subject, protocol);
        let mut theirs = Side::new(Program::Oracle, protocol);
        assert_eq!(node_line(&mut ours), node_line(&mut theirs));
        let names = |side: &mut Side| -> Vec<String> {
            let text = side.connection.run("CLUSTER INFO").text();
            let names = text.lines().filter_map(|line| line.split(':').next());
            names.map(str::to_owned).collect()
        };
        let (our, their) = (names(&mut ours), names(&mut theirs));
        for name in &their {
            assert!(our.contains(name), "{name}: {our:?}");
        }
        for name in ["state", "slots_assigned", "slots_ok", "known_nodes", "size"] {
            let line = |side: &mut Side| {
                let text = side.connection.run("CLUSTER INFO").text();
                let line = text
                    .lines()
                    .find(|line| line.starts_with(&format!("cluster_{name}:")));
                line.map(str::to_owned)
            };
            assert_eq!(line(&mut ours), line(&mut theirs));
        }
        let mode = |side: &mut Side| {
            let text = side.connection.run("INFO server").text();
            let line = text.lines().find(|line| line.starts_with("redis_mode:"));
            line.map(str::to_owned)
        };
        assert_eq!(mode(&mut ours), mode(&mut theirs));
    }
}

/// What changes a Redis Cluster is refused here, and tells what to do.
#[test]
fn manual_changes_are_refused_in_words() {
    let mut side = Side::new(Program::Subject, Protocol::Resp2);
    if !Program::Subject.is_coterie() {
        return;
    }
    for line in [
        "MEET 127.0.0.1 7001",
        "ADDSLOTS 1",
        "ADDSLOTSRANGE 1 2",
        "DELSLOTS 1",
        "DELSLOTSRANGE 1 2",
        "FLUSHSLOTS",
        "SETSLOT 1 STABLE",
        "REPLICATE 0000000000000000000000000000000000000000",
        "FAILOVER",
        "FORGET 0000000000000000000000000000000000000000",
        "RESET HARD",
        "SET-CONFIG-EPOCH 1",
        "BUMPEPOCH",
        "SAVECONFIG",
    ] {
        let reply = side.connection.run(&format!("CLUSTER {line}"));
        let name = line.split(' ').next().expect("a word");
        let expected = format!("-ERR CLUSTER {name} is not how this cluster is run: ");
        assert!(reply.to_string().starts_with(&expected), "{reply}");
        assert!(matches!(reply, Reply::Error(_)));
    }
}
