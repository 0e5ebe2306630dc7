//! Writes of a node that was cut off, which meet something newer when they reach the others.

use std::time::Duration;

use crate::common::{Cluster, Connection, Link, Path, Reply, Setup, encode_command};

/// Who is cut off.
const LONE: usize = 2;

fn three(write_timeout_ms: u64) -> Cluster {
    let setup = Setup::new(3, Link::Network);
    Cluster::start(setup.flag("write-timeout-ms", &write_timeout_ms.to_string()))
}

/// A key of which the lone node coordinates read-modify-writes.
fn key_of_the_lone(cluster: &Cluster, client: &mut Connection) -> String {
    let lone = cluster.node_id(LONE);
    let ranges = client.run("CLUSTER SLOTS");
    let is_its = |slot: i64| {
        let is_it = |range: &&Reply| {
            let range = range.items();
            let [start, end] = [0, 1].map(|at: usize| range[at].integer().expect("a slot"));
            (start..=end).contains(&slot) && range[2].items()[2].text() == lone
        };
        ranges.items().iter().any(|range| is_it(&range))
    };
    let slot = |client: &mut Connection, key: &str| {
        let slot = client.run(&format!("CLUSTER KEYSLOT {key}"));
        slot.integer().expect("a slot")
    };
    let mut keys = (0..).map(|number| format!("key:{number}"));
    keys.find(|key| is_its(slot(client, key))).expect("many")
}

fn heal(cluster: &Cluster) {
    cluster.network().heal();
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
}

/// Cuts the lone node off; a client writes there, and then elsewhere.
fn write_on_both_sides(prepare: &str, is_told: fn(&Reply) -> bool) {
    let cluster = three(300);
    let mut lone = cluster.client(LONE);
    let mut other = cluster.client(0);
    assert!(lone.run(prepare).is_ok());
    cluster.network().set_between(&[0, 1], &[LONE], Path::CUT);
    let reply = lone.run("SET key old");
    assert!(is_told(&reply), "{reply}");
    cluster.wait_until_seen_down(LONE);
    assert!(other.run("SET key new").is_ok());
    heal(&cluster);
    for client in [&mut lone, &mut other] {
        assert_eq!(client.run("GET key").text(), "new");
    }
}

/// A client that was told that its write may have taken effect goes on elsewhere.
#[test]
fn what_a_client_gave_up_does_not_come_back_over_what_it_wrote_next() {
    write_on_both_sides("SELECT 0", |reply| reply.is_error("NOQUORUM"));
}

/// One that was told that it is written has been told so long ago, too.
#[test]
fn what_one_replica_acknowledged_does_not_come_back_over_what_was_written_later() {
    write_on_both_sides("COTERIE.CONSISTENCY READ one WRITE one", Reply::is_ok);
}

/// One of two is no majority.
#[test]
fn what_one_of_two_acknowledged_does_not_come_back_over_what_was_written_later() {
    let cluster = Cluster::start(Setup::new(2, Link::Network));
    let mut clients = [cluster.client(0), cluster.client(1)];
    for client in &mut clients {
        assert!(client.run("COTERIE.CONSISTENCY READ one WRITE one").is_ok());
    }
    cluster.network().set_between(&[0], &[1], Path::CUT);
    assert!(clients[1].run("SET key old").is_ok());
    // The later stamp wins, which tells milliseconds apart.
    std::thread::sleep(Duration::from_millis(50));
    assert!(clients[0].run("SET key new").is_ok());
    cluster.network().heal();
    cluster.wait_until_replicas_agree(2);
    for client in &mut clients {
        assert_eq!(client.run("GET key").text(), "new");
    }
}

/// Sends a write through the lone node, and has it reach node `near`, whose acknowledgement does not come back. Then the
/// lone node hears nobody.
fn write_unheard(
    cluster: &Cluster,
    lone: &mut Connection,
    near: usize,
    write: &[&str],
    value: &str,
) {
    let network = cluster.network();
    network.set_between(&[1 - near], &[LONE], Path::CUT);
    network.set(near, LONE, Path::CUT);
    lone.send(&encode_command(write)).expect("sent");
    let mut client = cluster.client(near);
    assert!(client.run("READONLY").is_ok());
    cluster.eventually(|| match client.run(&format!("GET {}", write[1])) {
        reply if reply.text() == value => Ok(()),
        other => Err(other.to_string()),
    });
    network.set(LONE, near, Path::CUT);
}

/// What the others have of it, they have taken over.
#[test]
fn what_others_have_counted_is_not_added_once_more() {
    let cluster = three(30_000);
    let mut other = cluster.client(0);
    let key = key_of_the_lone(&cluster, &mut other);
    let mut lone = cluster.client(LONE);
    assert_eq!(lone.run(&format!("INCRBY {key} 1")), Reply::Integer(1));
    cluster.wait_until_replicas_agree(3);
    write_unheard(&cluster, &mut lone, 0, &["INCRBY", &key, "10"], "11");
    assert_eq!(other.run(&format!("INCRBY {key} 100")), Reply::Integer(111));

    // The one that has not had it from there is heard first.
    cluster
        .network()
        .set_between(&[1], &[LONE], Path::default());
    let told = lone.read();
    heal(&cluster);
    for client in [&mut lone, &mut other] {
        let value = client.run(&format!("GET {key}"));
        assert_eq!(value.text(), "111", "the client was told: {told}");
    }
}

/// Others have read it and gone on from there.
#[test]
fn what_others_have_read_does_not_come_back_over_what_they_wrote_next() {
    let cluster = three(30_000);
    let mut lone = cluster.client(LONE);
    let mut other = cluster.client(0);
    assert!(other.run("SET key first").is_ok());
    cluster.wait_until_replicas_agree(3);
    write_unheard(&cluster, &mut lone, 1, &["SET", "key", "second"], "second");
    cluster.eventually(|| match other.run("GET key") {
        reply if reply.text() == "second" => Ok(()),
        reply => Err(reply.to_string()),
    });
    assert!(other.run("SET key third").is_ok());
    cluster
        .network()
        .set_between(&[0], &[LONE], Path::default());
    let told = lone.read();
    heal(&cluster);
    for client in [&mut lone, &mut other] {
        let value = client.run("GET key");
        assert_eq!(value.text(), "third", "the client was told: {told}");
    }
}

/// Nothing is lost, and nothing is said to be.
#[test]
fn one_replica_is_enough_through_any_node() {
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    for node in 0..3 {
        let mut client = cluster.client(node);
        assert!(client.run("COTERIE.CONSISTENCY WRITE one").is_ok());
        for key in 0..60 {
            let number = client.run(&format!("INCR counter:{key}"));
            assert!(number.integer().is_some(), "{number}");
            let number = client.run(&format!("APPEND text:{key} x"));
            assert!(number.integer().is_some(), "{number}");
        }
        cluster.wait_until_replicas_agree(3);
    }
    let mut client = cluster.client(1);
    for key in 0..60 {
        assert_eq!(client.run(&format!("GET counter:{key}")).text(), "3");
        assert_eq!(client.run(&format!("GET text:{key}")).text(), "xxx");
    }
}
