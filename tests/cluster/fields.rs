//! Fields that expire in a cluster: given a time at one node, gone at all, and not brought back by a node's death.

use crate::common::{Cluster, Link, Reply, Setup};

/// The hashes are in partitions of which each node is the first replica of some.
const KEYS: usize = 12;
const NODES: usize = 3;
/// Who is killed.
const VICTIM: usize = 0;
/// A time that is far off, Unix milliseconds.
const LATE: i64 = 9_999_999_999_999;

#[test]
fn fields_that_expired_stay_gone() {
    let mut cluster = Cluster::start(Setup::new(NODES, Link::Loopback));
    give_times(&cluster);
    let all: Vec<usize> = (0..NODES).collect();
    check(&cluster, &all);
    cluster.kill(VICTIM);
    cluster.wait_until_seen_down(VICTIM);
    let others: Vec<usize> = all.iter().copied().filter(|node| *node != VICTIM).collect();
    check(&cluster, &others);
    // Written anew by the others, without a time.
    let mut client = cluster.client(others[0]);
    for key in 0..KEYS {
        let reply = client.run(&format!("HSET fields:{key} again {key}"));
        assert_eq!(reply, Reply::Integer(1));
    }
    cluster.restart(VICTIM);
    cluster.wait_until_settled(NODES);
    cluster.wait_until_replicas_agree(NODES);
    for &node in &all {
        let mut client = cluster.client(node);
        for key in 0..KEYS {
            let reply = client.run(&format!("HPTTL fields:{key} FIELDS 2 again soon"));
            assert_eq!(numbers(&reply), [-1, -2], "fields:{key}");
        }
    }
    let mut client = cluster.client(VICTIM);
    for key in 0..KEYS {
        let removed = client.run(&format!("HDEL fields:{key} again"));
        assert_eq!(removed, Reply::Integer(1));
    }
    check(&cluster, &all);
}

/// Each step at another node than the one before.
fn give_times(cluster: &Cluster) {
    for key in 0..KEYS {
        let run = |step: usize, line: &str| {
            let mut client = cluster.client((key + step) % NODES);
            client.run(&line.replace("KEY", &format!("fields:{key}")))
        };
        let added = run(0, "HSET KEY soon 1 again 1 late 2 kept 3 cleared 4");
        assert_eq!(added, Reply::Integer(5));
        let late = format!("HPEXPIREAT KEY {LATE} FIELDS 1 late");
        assert_eq!(numbers(&run(1, &late)), [1]);
        assert_eq!(
            numbers(&run(2, "HPEXPIRE KEY 600000 FIELDS 1 cleared")),
            [1]
        );
        assert_eq!(run(0, "HSET KEY cleared 5"), Reply::Integer(0));
        assert_eq!(
            numbers(&run(1, "HPEXPIRE KEY 300 FIELDS 2 soon again")),
            [1, 1]
        );
    }
}

/// Waits until the fields are gone whose time it is, at these nodes, and looks at the others.
fn check(cluster: &Cluster, nodes: &[usize]) {
    for &node in nodes {
        let mut client = cluster.client(node);
        for key in 0..KEYS {
            let key = format!("fields:{key}");
            let gone = format!("HPTTL {key} FIELDS 2 soon again");
            cluster.eventually(|| match client.run(&gone) {
                reply if reply.items().len() == 2 && numbers(&reply) == [-2, -2] => Ok(()),
                reply => Err(format!("node {node}, {key}: {reply}")),
            });
            assert_eq!(client.run(&format!("HLEN {key}")), Reply::Integer(3));
            let values = client.run(&format!("HMGET {key} late kept cleared"));
            let values: Vec<_> = values.items().iter().map(Reply::text).collect();
            assert_eq!(values, ["2", "3", "5"], "node {node}, {key}");
            let times = format!("HPEXPIRETIME {key} FIELDS 3 late kept cleared");
            assert_eq!(
                numbers(&client.run(&times)),
                [LATE, -1, -1],
                "node {node}, {key}"
            );
        }
    }
}

fn numbers(reply: &Reply) -> Vec<i64> {
    let items = reply.items().into_iter();
    items.filter_map(|item| item.integer()).collect()
}
