//! What the policy of a database changes in what it promises.

use crate::common::{Cluster, Connection, Link, Path, Reply, Setup};

/// Keys of many partitions, so that each node is the first replica of some.
fn keys() -> impl Iterator<Item = String> {
    (0..100).map(|n| format!("key:{n}"))
}

fn is_ok(client: &mut Connection, line: &str) {
    let reply = client.run(line);
    assert!(reply.is_ok(), "{line}: {reply}");
}

/// Changes a policy, and waits until every node knows.
fn set_policy(cluster: &Cluster, database: &str, words: &str) {
    let reply = cluster
        .client(0)
        .run(&format!("COTERIE.POLICY SET {database} {words}"));
    let Reply::Integer(epoch) = reply else {
        panic!("{words}: {reply}");
    };
    cluster.eventually(|| {
        for node in cluster.running() {
            let seen = cluster.cluster_info(node, "cluster_topology_epoch");
            let seen: Option<i64> = seen.and_then(|seen| seen.parse().ok());
            if seen < Some(epoch) {
                return Err(format!("node {node} is of epoch {seen:?}"));
            }
        }
        Ok(())
    });
}

fn in_database(cluster: &Cluster, node: usize, database: u8) -> Connection {
    let mut client = cluster.client(node);
    is_ok(&mut client, &format!("SELECT {database}"));
    client
}

#[test]
fn a_sloppy_database_goes_on_with_one_node_of_three() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    set_policy(&cluster, "1", "sloppy_quorum yes");
    let (mut strict, mut sloppy) = (in_database(&cluster, 0, 0), in_database(&cluster, 0, 1));
    for key in keys() {
        is_ok(&mut strict, &format!("SET {key} before"));
        is_ok(&mut sloppy, &format!("SET {key} before"));
    }
    for dead in [1, 2] {
        cluster.kill(dead);
        cluster.wait_until_seen_down(dead);
    }
    for (n, key) in keys().enumerate() {
        for line in [format!("SET {key} after"), format!("GET {key}")] {
            let reply = strict.run(&line);
            assert!(reply.is_error("NOREPLICAS"), "{line}: {reply}");
        }
        assert_eq!(sloppy.run(&format!("GET {key}")).text(), "before");
        is_ok(&mut sloppy, &format!("SET {key} {n}"));
        let next = Reply::Integer(n as i64 + 1);
        assert_eq!(sloppy.run(&format!("INCR {key}")), next, "{key}");
        assert_eq!(sloppy.run(&format!("GET {key}")).text(), next.text());
    }
    // Who asks for a level gets it, or nothing.
    is_ok(&mut sloppy, "COTERIE.CONSISTENCY WRITE majority");
    let reply = sloppy.run("SET key:0 strictly");
    assert!(reply.is_error("NOREPLICAS"), "{reply}");
    cluster.restart(1);
    cluster.restart(2);
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    for node in 0..3 {
        let mut strict = in_database(&cluster, node, 0);
        let mut sloppy = in_database(&cluster, node, 1);
        is_ok(&mut sloppy, "COTERIE.CONSISTENCY READ one");
        for (n, key) in keys().enumerate() {
            assert_eq!(strict.run(&format!("GET {key}")).text(), "before");
            let value = sloppy.run(&format!("GET {key}"));
            assert_eq!(value.text(), (n + 1).to_string(), "{key} at {node}");
        }
    }
}

#[test]
fn a_sloppy_write_does_not_wait_for_a_replica_that_falls_silent() {
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    set_policy(&cluster, "DEFAULT", "sloppy_quorum yes write_quorum all");
    let mut client = cluster.client(0);
    is_ok(&mut client, "SET key before");
    cluster.stop(2);
    // It counts as there at first, and is waited for until it does not.
    is_ok(&mut client, "SET key after");
    cluster.cont(2);
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
}

#[test]
fn without_hints_anti_entropy_brings_what_a_node_missed() {
    // So seldom that rounds play no part: a node that comes back compares at once.
    let setup = Setup::new(3, Link::Loopback)
        .flag("anti-entropy-interval", "3600")
        .flag("log-segment-size", "1mb")
        .flag("checkpoint-log-size", "2mb");
    let mut cluster = Cluster::start(setup);
    set_policy(&cluster, "DEFAULT", "hinted_handoff no");
    set_policy(&cluster, "1", "hinted_handoff yes");
    let mut client = cluster.client(0);
    for key in keys() {
        is_ok(&mut client, &format!("SET {key} before"));
    }
    cluster.wait_until_replicas_agree(3);
    cluster.kill(2);
    cluster.wait_until_seen_down(2);
    for key in keys() {
        is_ok(&mut client, &format!("SET {key} after"));
    }
    assert_eq!(client.run("DEL key:0"), Reply::Integer(1));
    assert_eq!(client.run("WAIT 2 100"), Reply::Integer(1));
    // The log of this does not stay for the dead node.
    let value = "x".repeat(64 * 1024);
    for n in 0..500 {
        let words = ["SET".to_owned(), format!("large:{}", n % 10), value.clone()];
        assert!(client.pipeline(&[words.to_vec()])[0].is_ok());
    }
    for node in 0..2 {
        cluster.eventually(|| {
            let info = cluster.client(node).run("INFO persistence").text();
            let segments = info
                .lines()
                .find_map(|line| line.strip_prefix("log_segments:"))
                .and_then(|count| count.trim().parse::<u32>().ok());
            match segments {
                Some(0..20) => Ok(()),
                other => Err(format!("node {node} has {other:?} segments")),
            }
        });
    }
    cluster.restart(2);
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    let mut back = cluster.client(2);
    is_ok(&mut back, "COTERIE.CONSISTENCY READ one");
    assert_eq!(back.run("GET key:0"), Reply::Null);
    for key in keys().skip(1) {
        assert_eq!(back.run(&format!("GET {key}")).text(), "after", "{key}");
    }
    // From there on it is sent what is written, as any other.
    is_ok(&mut client, "SET key:0 again");
    assert_eq!(client.run("WAIT 2 0"), Reply::Integer(2));
}

#[test]
fn without_hints_no_acknowledged_write_is_lost_by_cuts() {
    let setup = Setup::new(3, Link::Network).flag("write-timeout-ms", "500");
    let cluster = Cluster::start(setup);
    set_policy(&cluster, "DEFAULT", "hinted_handoff no");
    let mut client = cluster.client(0);
    let mut acknowledged = Vec::new();
    // Each cut leaves this node another one to make a majority with, right after that one came back.
    for turn in 0..6 {
        let (gone, there) = if turn % 2 == 0 { (1, 2) } else { (2, 1) };
        cluster.network().set_between(&[0], &[gone], Path::CUT);
        for n in 0..50 {
            let key = format!("key:{turn}:{n}");
            let reply = client.run(&format!("SET {key} {turn}"));
            if reply.is_ok() {
                acknowledged.push((key, turn, there));
            } else {
                let refused = reply.is_error("NOREPLICAS") || reply.is_error("NOQUORUM");
                assert!(refused, "{reply}");
            }
        }
        cluster.network().heal();
    }
    assert!(!acknowledged.is_empty());
    // The node that acknowledged them is cut off: a majority of the others has every one.
    cluster.network().set_between(&[0], &[1, 2], Path::CUT);
    cluster.wait_until_seen_down(0);
    let mut other = cluster.client(1);
    for (key, turn, _) in &acknowledged {
        let value = other.run(&format!("GET {key}"));
        assert_eq!(value.text(), turn.to_string(), "{key}");
    }
    cluster.network().heal();
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
}

/// Syncs of each node's log since its start.
fn syncs(cluster: &Cluster) -> Vec<u64> {
    let of = |node: usize| {
        let info = cluster.client(node).run("INFO persistence").text();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("log_syncs:"));
        line.expect("log_syncs").trim().parse().expect("a number")
    };
    cluster.running().into_iter().map(of).collect()
}

#[test]
fn a_durable_database_is_on_every_disk_that_counts() {
    // The servers themselves never sync.
    let cluster = Cluster::start(Setup::new(3, Link::Loopback).flag("durability", "os"));
    set_policy(&cluster, "1", "durability always write_quorum all");
    let (mut plain, mut durable) = (in_database(&cluster, 0, 0), in_database(&cluster, 0, 1));
    is_ok(&mut plain, "COTERIE.CONSISTENCY WRITE all");
    let before = syncs(&cluster);
    for key in keys() {
        is_ok(&mut plain, &format!("SET {key} value"));
    }
    let between = syncs(&cluster);
    for (node, (before, after)) in before.iter().zip(&between).enumerate() {
        assert!(after - before < 20, "node {node}: {before} to {after}");
    }
    for key in keys() {
        is_ok(&mut durable, &format!("SET {key} value"));
    }
    // One after the other, so they could share none.
    for (node, (before, after)) in between.iter().zip(syncs(&cluster)).enumerate() {
        assert!(after - before >= 100, "node {node}: {before} to {after}");
    }
}

#[test]
fn a_durable_database_of_a_server_that_is_alone() {
    let cluster = Cluster::start(Setup::new(1, Link::Loopback).flag("durability", "os"));
    set_policy(&cluster, "1", "durability always");
    let (mut plain, mut durable) = (in_database(&cluster, 0, 0), in_database(&cluster, 0, 1));
    let before = syncs(&cluster)[0];
    for key in keys() {
        is_ok(&mut plain, &format!("SET {key} value"));
    }
    let between = syncs(&cluster)[0];
    assert!(between - before < 20, "{before} to {between}");
    for key in keys() {
        is_ok(&mut durable, &format!("SET {key} value"));
    }
    // A change of another database, too.
    assert_eq!(plain.run("COPY key:0 other DB 1"), Reply::Integer(1));
    assert!(syncs(&cluster)[0] - between >= 101);
    assert_eq!(durable.run("GET other").text(), "value");
}

#[test]
fn the_default_policy_is_that_of_the_first_node_until_it_is_changed() {
    let setup = Setup::new(3, Link::Loopback)
        .node_flag(0, "read-quorum", "1")
        .node_flag(1, "read-quorum", "all");
    let cluster = Cluster::start(setup);
    for node in 0..3 {
        let policy = cluster.client(node).run("COTERIE.POLICY GET 7");
        assert_eq!(policy.items()[5].text(), "1", "{policy}");
    }
    cluster.wait_for_log(1, &["read-quorum", "not in force"]);
    set_policy(&cluster, "DEFAULT", "read_quorum majority");
    for node in 0..3 {
        let policy = cluster.client(node).run("COTERIE.POLICY GET 7");
        assert_eq!(policy.items()[5].text(), "majority", "{policy}");
    }
}
