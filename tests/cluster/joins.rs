//! What was deleted or expired, and has been forgotten by all, while a node was on its way into the cluster or dead: it does
//! not come back, and swallows nothing that is written in its place.

use crate::common::{Cluster, Connection, Link, Reply, Setup};

const KEYS: usize = 200;
const VALUE_BYTES: usize = 10_000;

/// A field of `INFO stats`.
fn stat(client: &mut Connection, field: &str) -> u64 {
    let text = client.run("INFO stats").text();
    let prefix = format!("{field}:");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

/// Waits until these nodes remember nothing of what is gone.
fn wait_until_forgotten(cluster: &Cluster, nodes: &[usize]) {
    for &node in nodes {
        let mut client = cluster.client(node);
        cluster.eventually(|| match stat(&mut client, "tombstones") {
            0 => Ok(()),
            some => Err(format!("node {node} remembers {some}")),
        });
    }
}

#[test]
fn what_is_deleted_while_a_joining_node_stands_still_stays_deleted() {
    let setup = Setup::new(3, Link::Loopback)
        .flag("anti-entropy-interval", "1")
        // The copy takes so long that the node stands still in the middle of it.
        .flag("sync-rate", "200kb");
    let mut cluster = Cluster::start(setup);
    let mut client = cluster.client(0);
    let value = "v".repeat(VALUE_BYTES);
    for key in 0..KEYS {
        assert!(client.run(&format!("SET {{a}}{key} {value}")).is_ok());
        assert!(client.run(&format!("SET key:{key} {value}")).is_ok());
    }
    let joiner = cluster.add();
    let used = |cluster: &Cluster| {
        let text = cluster.client(joiner).run("INFO memory").text();
        let field = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory_dataset:"));
        field
            .and_then(|bytes| bytes.parse::<usize>().ok())
            .expect("a number")
    };
    let empty = used(&cluster);
    cluster.eventually(|| match used(&cluster) > empty + 3 * VALUE_BYTES {
        true => Ok(()),
        false => Err("nothing was copied".to_owned()),
    });
    let moving = cluster.cluster_info(0, "cluster_moving_partitions");
    assert_ne!(moving.as_deref(), Some("0"), "it has been copied already");
    cluster.stop(joiner);
    cluster.wait_until_seen_down(joiner);
    for key in 0..KEYS {
        for name in [format!("{{a}}{key}"), format!("key:{key}")] {
            assert_eq!(
                client.run(&format!("DEL {name}")),
                Reply::Integer(1),
                "{name}"
            );
        }
    }
    // Partitions that moved for good keep a place for it, and what was deleted there is remembered.
    std::thread::sleep(std::time::Duration::from_secs(4));
    cluster.cont(joiner);
    cluster.wait_until_settled(4);
    cluster.wait_until_replicas_agree(4);
    wait_until_forgotten(&cluster, &[0, 1, 2, joiner]);
    for node in 0..4 {
        let mut client = cluster.client(node);
        assert_eq!(client.run("DBSIZE"), Reply::Integer(0), "at node {node}");
        assert!(
            client
                .run("COTERIE.CONSISTENCY READ one WRITE majority")
                .is_ok()
        );
        for key in 0..KEYS {
            assert_eq!(client.run(&format!("GET {{a}}{key}")), Reply::Null);
            assert_eq!(client.run(&format!("GET key:{key}")), Reply::Null);
        }
    }
}

/// Counters and collections that are begun again where others have expired, as limiters do.
#[test]
fn what_is_begun_again_after_it_expired_survives_the_death_of_all_nodes() {
    let setup = Setup::new(3, Link::Loopback).flag("anti-entropy-interval", "1");
    let mut cluster = Cluster::start(setup);
    let write = |cluster: &Cluster| {
        for node in 0..3 {
            let mut client = cluster.client(node);
            for key in (node..KEYS).step_by(3) {
                assert_eq!(client.run(&format!("INCR count:{key}")), Reply::Integer(1));
                assert_eq!(
                    client.run(&format!("HINCRBY hash:{key} f 2")),
                    Reply::Integer(2)
                );
                assert_eq!(
                    client.run(&format!("SADD set:{key} a b")),
                    Reply::Integer(2)
                );
            }
        }
    };
    write(&cluster);
    let mut client = cluster.client(0);
    for key in 0..KEYS {
        for kind in ["count", "hash", "set"] {
            let expire = format!("PEXPIRE {kind}:{key} 300");
            assert_eq!(client.run(&expire), Reply::Integer(1));
        }
    }
    // Some are looked for when their time is over, by one node only.
    for key in (0..KEYS).step_by(2) {
        let get = format!("GET count:{key}");
        cluster.eventually(|| match client.run(&get) {
            Reply::Null => Ok(()),
            other => Err(format!("{get}: {other}")),
        });
    }
    cluster.eventually(|| match client.run("DBSIZE") {
        Reply::Integer(0) => Ok(()),
        other => Err(format!("{other} keys")),
    });
    wait_until_forgotten(&cluster, &[0, 1, 2]);
    write(&cluster);
    for node in 0..3 {
        cluster.kill(node);
    }
    for node in 0..3 {
        cluster.restart(node);
    }
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    for node in 0..3 {
        let mut client = cluster.client(node);
        for key in 0..KEYS {
            assert_eq!(client.run(&format!("GET count:{key}")).text(), "1");
            assert_eq!(client.run(&format!("HGET hash:{key} f")).text(), "2");
            assert_eq!(client.run(&format!("SCARD set:{key}")), Reply::Integer(2));
        }
    }
}

/// Elements that are gone of collections which stay.
#[test]
fn a_queue_that_is_never_empty_forgets_what_was_taken() {
    let setup = Setup::new(3, Link::Loopback).flag("anti-entropy-interval", "1");
    let cluster = Cluster::start(setup);
    let mut client = cluster.client(0);
    assert_eq!(client.run("RPUSH queue first"), Reply::Integer(1));
    for item in 0..100 {
        assert_eq!(
            client.run(&format!("RPUSH queue {item}")),
            Reply::Integer(2)
        );
        assert!(!matches!(client.run("LPOP queue"), Reply::Error(_)));
    }
    wait_until_forgotten(&cluster, &[0, 1, 2]);
    assert_eq!(client.run("LRANGE queue 0 -1").items().len(), 1);
}
