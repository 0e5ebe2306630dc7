//! What the consistency levels promise, one at a time.

use crate::common::{Cluster, Connection, Link, Path, Reply, Setup};

fn three(link: Link) -> Cluster {
    Cluster::start(Setup::new(3, link))
}

fn is_ok(client: &mut Connection, line: &str) {
    let reply = client.run(line);
    assert!(reply.is_ok(), "{line}: {reply}");
}

/// Sets so many keys that some are of every partition's first replica.
fn keys() -> impl Iterator<Item = String> {
    (0..300).map(|n| format!("key:{n}"))
}

#[test]
fn what_is_acknowledged_is_read_at_every_node() {
    let cluster = three(Link::Loopback);
    let mut clients: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    for (n, key) in keys().enumerate() {
        is_ok(&mut clients[n % 3], &format!("SET {key} {n}"));
        let number = clients[(n + 1) % 3].run(&format!("INCR {key}"));
        assert_eq!(number, Reply::Integer(n as i64 + 1), "{key}");
        let value = clients[(n + 2) % 3].run(&format!("GET {key}"));
        assert_eq!(value.text(), (n + 1).to_string(), "{key}");
    }
    // One replica is asked for each partition, which need not have what was acknowledged last yet.
    cluster.wait_until_replicas_agree(3);
    for client in &mut clients {
        assert_eq!(client.run("DBSIZE"), Reply::Integer(300));
    }
}

#[test]
fn a_pipeline_reads_what_it_wrote_and_keeps_its_order() {
    let cluster = three(Link::Loopback);
    let mut client = cluster.client(1);
    let mut commands = Vec::new();
    for (n, key) in keys().enumerate() {
        for line in [
            format!("SET {key} {n}"),
            format!("GET {key}"),
            format!("HSET hash:{key} field {n}"),
            format!("HGET hash:{key} field"),
            format!("DEL {key}"),
            format!("GET {key}"),
        ] {
            commands.push(line.split(' ').map(str::to_owned).collect());
        }
    }
    for (n, replies) in client.pipeline(&commands).chunks(6).enumerate() {
        let texts: Vec<_> = replies.iter().map(Reply::text).collect();
        let n = n.to_string();
        assert_eq!(texts, ["OK", &n, "1", &n, "1", "(nil)"]);
    }
}

#[test]
fn a_pipeline_reads_and_then_writes_what_it_wrote() {
    let cluster = three(Link::Loopback);
    // Each of them executes the first command of a key itself; the second, one of the three does.
    for node in 0..3 {
        let mut client = cluster.client(node);
        for key in keys() {
            let lines = [
                format!("SET {key} a"),
                format!("APPEND {key} b"),
                format!("HSET hash:{key} field 1"),
                format!("HINCRBY hash:{key} field 9"),
                format!("ZADD ranking:{key} 1 member"),
                format!("ZINCRBY ranking:{key} 1 member"),
                format!("DEL hash:{key}"),
                format!("HSETNX hash:{key} field x"),
            ];
            let commands = lines.map(|line| line.split(' ').map(str::to_owned).collect());
            let texts: Vec<_> = client.pipeline(&commands).iter().map(Reply::text).collect();
            assert_eq!(&texts[..2], ["OK", "2"], "{key} at {node}");
            assert_eq!(texts[3], "10", "{key} at {node}");
            assert_eq!(texts[5], "2", "{key} at {node}");
            assert_eq!(texts[7], "1", "{key} at {node}");
        }
    }
}

#[test]
fn a_minority_refuses_before_it_does_anything() {
    let cluster = three(Link::Network);
    let mut client = cluster.client(2);
    for key in keys() {
        is_ok(&mut client, &format!("SET {key} before"));
    }
    cluster.network().set_between(&[0, 1], &[2], Path::CUT);
    cluster.eventually(
        || match cluster.sees_down(2, 0).zip(cluster.sees_down(2, 1)) {
            Some((true, true)) => Ok(()),
            other => Err(format!(
                "the node that is alone takes others for down: {other:?}"
            )),
        },
    );
    for key in keys() {
        for line in [
            format!("SET {key} after"),
            format!("DEL {key}"),
            format!("APPEND {key} more"),
            format!("GET {key}"),
        ] {
            let reply = client.run(&line);
            assert!(reply.is_error("NOREPLICAS"), "{line}: {reply}");
        }
    }
    // On the other side they are all there.
    let mut majority = cluster.client(0);
    for key in keys() {
        assert_eq!(majority.run(&format!("GET {key}")).text(), "before");
    }
    cluster.network().heal();
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    for key in keys() {
        assert_eq!(client.run(&format!("GET {key}")).text(), "before");
    }
}

#[test]
fn a_connection_chooses_its_level() {
    let mut cluster = three(Link::Loopback);
    let mut client = cluster.client(0);
    is_ok(&mut client, "COTERIE.CONSISTENCY READ all WRITE all");
    is_ok(&mut client, "SET key all");
    cluster.kill(2);
    cluster.wait_until_seen_down(2);
    for line in ["SET key other", "GET key"] {
        let reply = client.run(line);
        assert!(reply.is_error("NOREPLICAS"), "{line}: {reply}");
    }
    is_ok(
        &mut client,
        "COTERIE.CONSISTENCY READ majority WRITE majority",
    );
    is_ok(&mut client, "SET key majority");
    cluster.kill(1);
    cluster.wait_until_seen_down(1);
    for line in ["SET key other", "GET key"] {
        let reply = client.run(line);
        assert!(reply.is_error("NOREPLICAS"), "{line}: {reply}");
    }
    is_ok(&mut client, "COTERIE.CONSISTENCY READ one WRITE one");
    assert_eq!(client.run("GET key").text(), "majority");
    is_ok(&mut client, "SET key one");
    cluster.restart(1);
    cluster.restart(2);
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    for node in 0..3 {
        assert_eq!(cluster.client(node).run("GET key").text(), "one");
    }
}

#[test]
fn wait_tells_how_many_replicas_have_it() {
    let mut cluster = three(Link::Loopback);
    let mut client = cluster.client(0);
    is_ok(&mut client, "SET key value");
    assert_eq!(client.run("WAIT 2 0"), Reply::Integer(2));
    cluster.kill(1);
    is_ok(&mut client, "SET key other");
    assert_eq!(client.run("WAIT 2 200"), Reply::Integer(1));
    cluster.restart(1);
    assert_eq!(client.run("WAIT 2 0"), Reply::Integer(2));
}

/// Deletes everything while one node is away, in the way that `away` and `back` say.
fn deleted_while_one_is_away(link: Link, away: fn(&mut Cluster), back: fn(&mut Cluster)) {
    let mut cluster = three(link);
    let mut client = cluster.client(0);
    for key in keys() {
        is_ok(&mut client, &format!("SET {key} value"));
        client.run(&format!("HSET hash:{key} one 1 two 2"));
    }
    cluster.wait_until_replicas_agree(3);
    away(&mut cluster);
    cluster.wait_until_seen_down(2);
    for key in keys() {
        assert_eq!(client.run(&format!("DEL {key}")), Reply::Integer(1));
        assert_eq!(
            client.run(&format!("HDEL hash:{key} one")),
            Reply::Integer(1)
        );
    }
    back(&mut cluster);
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    for node in 0..3 {
        let mut client = cluster.client(node);
        is_ok(&mut client, "COTERIE.CONSISTENCY READ one WRITE majority");
        for key in keys() {
            assert_eq!(
                client.run(&format!("GET {key}")),
                Reply::Null,
                "{key} at {node}"
            );
            let fields = client.run(&format!("HKEYS hash:{key}"));
            assert_eq!(fields, Reply::Array(vec![Reply::Bulk(b"two".to_vec())]));
        }
        assert_eq!(client.run("DBSIZE"), Reply::Integer(300));
    }
}

#[test]
fn what_was_deleted_while_a_node_was_dead_stays_deleted() {
    deleted_while_one_is_away(
        Link::Loopback,
        |cluster| cluster.kill(2),
        |cluster| cluster.restart(2),
    );
}

#[test]
fn what_was_deleted_while_a_node_was_cut_off_stays_deleted() {
    deleted_while_one_is_away(
        Link::Network,
        |cluster| cluster.network().set_between(&[0, 1], &[2], Path::CUT),
        |cluster| cluster.network().heal(),
    );
}

#[test]
fn both_sides_of_a_cut_merge() {
    let cluster = three(Link::Network);
    let mut majority = cluster.client(0);
    let mut minority = cluster.client(2);
    is_ok(&mut majority, "SET counter 10");
    majority.run("HSET hash both before");
    cluster.wait_until_replicas_agree(3);
    cluster.network().set_between(&[0, 1], &[2], Path::CUT);
    is_ok(&mut minority, "COTERIE.CONSISTENCY READ one WRITE one");
    cluster.wait_until_seen_down(2);
    cluster.eventually(|| match minority.run("INCRBY counter 5") {
        // It counts from what it has.
        Reply::Integer(15) => Ok(()),
        Reply::Error(why) if why.starts_with(b"NOREPLICAS") => Err("refused".to_owned()),
        other => panic!("{other}"),
    });
    minority.run("HSET hash minority 1");
    assert_eq!(majority.run("INCRBY counter 100"), Reply::Integer(110));
    majority.run("HSET hash majority 1");
    cluster.network().heal();
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    for client in [&mut majority, &mut minority] {
        assert_eq!(client.run("GET counter").text(), "115");
        let fields = client.run("HGETALL hash").sorted();
        assert_eq!(fields.items().len(), 6, "{fields}");
    }
}

#[test]
fn replayed_datagrams_revive_nobody() {
    let mut cluster = three(Link::Network);
    cluster.network().record();
    cluster.eventually(|| match cluster.network().recorded(2, 0) {
        0..10 => Err("node 2 hardly speaks to node 0".to_owned()),
        _ => Ok(()),
    });
    let datagrams = cluster.network().record();
    cluster.kill(2);
    cluster.wait_until_seen_down(2);
    for _ in 0..10 {
        for datagram in datagrams.iter().filter(|datagram| datagram.from == 2) {
            cluster.network().replay(datagram);
        }
        for node in 0..2 {
            assert_eq!(cluster.sees_down(node, 2), Some(true));
        }
    }
    cluster.restart(2);
    cluster.wait_until_settled(3);
}
