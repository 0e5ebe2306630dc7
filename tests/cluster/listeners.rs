//! What clients of one node hear of what happens at others.

use std::collections::BTreeSet;

use crate::common::{Cluster, Connection, Link, Protocol, Reply, Setup};

fn words(words: &[&str]) -> Vec<Reply> {
    let bulk = |word: &&str| Reply::Bulk(word.as_bytes().to_vec());
    words.iter().map(bulk).collect()
}

fn is_ok(client: &mut Connection, line: &str) {
    let reply = client.run(line);
    assert!(reply.is_ok(), "{line}: {reply}");
}

/// A client that speaks RESP3.
fn modern(cluster: &Cluster, node: usize) -> Connection {
    let mut client = cluster.client(node);
    client.set_protocol(Protocol::Resp3);
    client.run("HELLO 3");
    client
}

#[test]
fn messages_reach_the_listeners_of_every_node() {
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let mut listeners: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    for listener in &mut listeners {
        listener.run("SUBSCRIBE news");
        listener.run("PSUBSCRIBE sp*");
        listener.run("SSUBSCRIBE shard");
    }
    for node in 0..3 {
        let mut client = cluster.client(node);
        for n in 0..100 {
            let text = format!("{node}:{n}");
            // It counts the listeners of its own node.
            assert_eq!(client.call(&["PUBLISH", "news", &text]), Reply::Integer(1));
            client.call(&["PUBLISH", "sport", &text]);
            client.call(&["SPUBLISH", "shard", &text]);
        }
        for listener in &mut listeners {
            for n in 0..100 {
                let text = format!("{node}:{n}");
                for expected in [
                    words(&["message", "news", &text]),
                    words(&["pmessage", "sp*", "sport", &text]),
                    words(&["smessage", "shard", &text]),
                ] {
                    assert_eq!(listener.read(), Reply::Array(expected));
                }
            }
        }
    }
}

#[test]
fn events_are_told_once_at_every_node() {
    let setup = Setup::new(3, Link::Loopback).flag("notify-keyspace-events", "EA");
    let cluster = Cluster::start(setup);
    let mut listeners: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    for listener in &mut listeners {
        listener.run("PSUBSCRIBE __keyevent@0__:*");
    }
    // They are told from when the others know that someone listens.
    let mut clients: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    let mut known = BTreeSet::new();
    cluster.eventually(|| {
        for (node, client) in clients.iter_mut().enumerate() {
            client.run(&format!("SET probe:{node} x"));
        }
        for (at, listener) in listeners.iter_mut().enumerate() {
            while let Some(event) = listener.read_within(std::time::Duration::from_millis(50)) {
                known.insert((at, event.items()[3].text()));
            }
        }
        match known.len() {
            9 => Ok(()),
            count => Err(format!("{count} of 9 ways")),
        }
    });
    let mut expected = BTreeSet::new();
    for n in 0..60 {
        let (key, client) = (format!("key:{n}"), &mut clients[n % 3]);
        is_ok(client, &format!("SET {key} 1"));
        client.run(&format!("INCR {key}"));
        client.run(&format!("PEXPIRE {key} 1"));
        for event in ["set", "incrby", "expire", "expired"] {
            expected.insert((event.to_owned(), key.clone()));
        }
    }
    for listener in &mut listeners {
        let mut told = BTreeSet::new();
        for _ in 0..expected.len() {
            let event = listener.read().items();
            let name = event[2].text().replace("__keyevent@0__:", "");
            let is_new = told.insert((name, event[3].text()));
            assert!(is_new, "told twice: {event:?}");
        }
        assert_eq!(told, expected);
    }
}

/// Clients that have read keys are told when others change them at other nodes, whether their node holds the keys.
fn caches_are_told(replicas: usize) {
    let mut setup = Setup::new(3, Link::Loopback);
    setup.replicas = replicas;
    let cluster = Cluster::start(setup);
    let mut writers: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    let mut readers: Vec<_> = (0..3).map(|node| modern(&cluster, node)).collect();
    for reader in &mut readers {
        is_ok(reader, "CLIENT TRACKING on");
    }
    for n in 0..60 {
        let key = format!("key:{n}");
        is_ok(&mut writers[n % 3], &format!("SET {key} old"));
        for reader in &mut readers {
            assert_eq!(reader.run(&format!("GET {key}")).text(), "old");
        }
        is_ok(&mut writers[(n + 1) % 3], &format!("SET {key} new"));
        for reader in &mut readers {
            // Told of this key, and perhaps of others once more.
            let expected = vec![
                Reply::Bulk(b"invalidate".to_vec()),
                Reply::Array(words(&[&key])),
            ];
            while reader.read() != Reply::Push(expected.clone()) {}
        }
        for reader in &mut readers {
            cluster.eventually(|| match reader.run(&format!("GET {key}")) {
                // Told once more: the reply follows.
                Reply::Push(_) => Err("a push".to_owned()),
                reply if reply.text() == "new" => Ok(()),
                other => Err(other.to_string()),
            });
        }
        // Forget what is left unread.
        readers = (0..3).map(|node| modern(&cluster, node)).collect();
        for reader in &mut readers {
            is_ok(reader, "CLIENT TRACKING on");
        }
    }
}

#[test]
fn caches_of_replicas_are_told() {
    caches_are_told(3);
}

#[test]
fn caches_of_other_nodes_are_told() {
    caches_are_told(1);
}
