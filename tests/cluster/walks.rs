//! Walks over keys and fields, by clients that go from node to node.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Cluster, Connection, Door, Link, Reply, Setup};

/// Many enough for several calls in every partition.
const KEYS: usize = 4000;
/// Too many for a hash that is told at once.
const FIELDS: usize = 3000;

/// Writes what is there throughout.
fn fill(client: &mut Connection, keys: usize) -> BTreeSet<String> {
    let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let names: BTreeSet<_> = (0..keys).map(|n| format!("stays:{n}")).collect();
    let mut lines: Vec<_> = names
        .iter()
        .map(|key| words(format!("SET {key} v")))
        .collect();
    for first in (0..FIELDS).step_by(100) {
        let fields = (first..first + 100).map(|n| format!(" field:{n} v"));
        lines.push(words(format!("HSET hash{}", fields.collect::<String>())));
    }
    for reply in client.pipeline(&lines) {
        assert!(!matches!(reply, Reply::Error(_)), "{reply}");
    }
    names
}

fn fields() -> BTreeSet<String> {
    (0..FIELDS).map(|n| format!("field:{n}")).collect()
}

/// The elements that a walk has seen; `call` answers one cursor after the other.
fn walk(mut call: impl FnMut(usize, &str) -> Reply) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for number in 0.. {
        let reply = call(number, &cursor);
        let parts = reply.items();
        let [next, elements] = &parts[..] else {
            panic!("call {number} with {cursor}: {reply}");
        };
        seen.extend(elements.items().iter().map(Reply::text));
        cursor = next.text();
        if cursor == "0" {
            break;
        }
    }
    seen
}

fn scan(clients: &mut [Connection]) -> BTreeSet<String> {
    walk(|number, cursor| {
        let client = &mut clients[number % clients.len()];
        client.run(&format!("SCAN {cursor} COUNT 10 MATCH stays:*"))
    })
}

fn scan_hash(clients: &mut [Connection]) -> BTreeSet<String> {
    walk(|number, cursor| {
        let client = &mut clients[number % clients.len()];
        client.run(&format!("HSCAN hash {cursor} COUNT 10 MATCH field:*"))
    })
}

fn clients(cluster: &Cluster) -> Vec<Connection> {
    let running = cluster.running();
    running
        .into_iter()
        .map(|node| cluster.client(node))
        .collect()
}

/// How many are missing, and some of them.
fn assert_all(expected: &BTreeSet<String>, seen: &BTreeSet<String>) {
    let missing: Vec<_> = expected.difference(seen).collect();
    let some = &missing[..missing.len().min(5)];
    assert!(
        missing.is_empty(),
        "{} are missing: {some:?}",
        missing.len()
    );
}

/// Makes keys and fields come and go until it is told to stop.
fn churn(door: &Door, stop: &AtomicBool) {
    let mut client = door.enter().expect("a client");
    for n in (0..2000).cycle() {
        for line in [
            format!("SET goes:{n} v"),
            format!("DEL goes:{}", (n + 1000) % 2000),
            format!("HSET hash gone:{n} v"),
            format!("HDEL hash gone:{}", (n + 1000) % 2000),
        ] {
            client.run(&line);
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Says so when it is dropped, however the test ends.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_walk_may_change_nodes_with_every_call() {
    // No node has everything. The first one had its keys before others joined.
    let mut setup = Setup::new(3, Link::Loopback).flag("replicas", "2");
    setup.replicas = 2;
    let mut cluster = Cluster::empty(setup);
    cluster.add();
    let keys = fill(&mut cluster.client(0), KEYS);
    cluster.add();
    cluster.add();
    cluster.wait_until_settled(3);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| churn(&cluster.door(1), &stop));
        let _stopping = Stopping(&stop);
        let mut clients = clients(&cluster);
        assert_all(&keys, &scan(&mut clients));
        assert_all(&fields(), &scan_hash(&mut clients));
    });
    // It is the cluster's order that nodes come back with.
    for node in [0, 2] {
        cluster.terminate(node);
        cluster.restart(node);
    }
    cluster.wait_until_settled(3);
    assert_all(&keys, &scan(&mut clients(&cluster)));
    assert_all(&fields(), &scan_hash(&mut clients(&cluster)));
}

#[test]
fn a_walk_goes_on_when_its_node_dies() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let mut keys = fill(&mut cluster.client(0), KEYS);
    cluster.wait_until_replicas_agree(3);
    let mut connections = clients(&cluster);
    let found = walk(|number, cursor| {
        // Half of the walk at the node that dies, the other half at others.
        if number == KEYS / 20 {
            cluster.kill(2);
        }
        let node = if number < KEYS / 20 { 2 } else { number % 2 };
        connections[node].run(&format!("SCAN {cursor} COUNT 10 MATCH stays:*"))
    });
    assert_all(&keys, &found);
    let found = walk(|number, cursor| {
        connections[number % 2].run(&format!("HSCAN hash {cursor} COUNT 10 MATCH field:*"))
    });
    assert_all(&fields(), &found);
    // Nor does one that has just come back leave out what it missed.
    keys.extend(fill(&mut connections[0], 2 * KEYS));
    cluster.restart(2);
    assert_all(&keys, &scan(&mut [cluster.client(2)]));
    let Reply::Integer(size) = cluster.client(2).run("DBSIZE") else {
        panic!("no number of keys");
    };
    assert_eq!(size, 2 * KEYS as i64 + 1);
}
