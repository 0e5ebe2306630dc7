//! `MULTI`, `WATCH` and `EXEC` through any node.

use std::thread;

use crate::common::{Cluster, Connection, Door, Link, Protocol, Reply, Setup};

const CLIENTS: usize = 6;
const INCREMENTS: usize = 25;

fn three(link: Link) -> Cluster {
    Cluster::start(Setup::new(3, link))
}

fn run_all(client: &mut Connection, lines: &[&str]) -> Vec<Reply> {
    lines.iter().map(|line| client.run(line)).collect()
}

/// Adds one to a number that is read first, unless somebody else has changed it meanwhile. Returns whether it did.
fn increment(client: &mut Connection, key: &str) -> bool {
    assert!(client.run(&format!("WATCH {key}")).is_ok());
    let value = client.run(&format!("GET {key}"));
    let number: u64 = match &value {
        Reply::Null => 0,
        value => value.text().parse().unwrap_or_else(|_| panic!("{value}")),
    };
    let replies = run_all(
        client,
        &[
            "MULTI",
            &format!("SET {key} {}", number + 1),
            &format!("HINCRBY {{{key}}}:hash {key} 1"),
            "EXEC",
        ],
    );
    match &replies[3] {
        Reply::Null => false,
        Reply::Array(parts) => {
            assert_eq!(parts.len(), 2);
            assert!(parts[0].is_ok(), "{}", replies[3]);
            true
        }
        other => panic!("EXEC: {other}"),
    }
}

#[test]
fn optimistic_increments_are_never_lost() {
    let cluster = three(Link::Loopback);
    let doors: Vec<Door> = (0..CLIENTS).map(|n| cluster.door(n % 3)).collect();
    let workers: Vec<_> = doors
        .into_iter()
        .map(|door| {
            thread::spawn(move || {
                let mut client = door.enter().expect("a connection");
                let mut refused = 0;
                for n in 0..INCREMENTS {
                    let key = ["counter", "other"][n % 2];
                    while !increment(&mut client, key) {
                        refused += 1;
                    }
                }
                refused
            })
        })
        .collect();
    let refused: u32 = workers
        .into_iter()
        .map(|w| w.join().expect("a client"))
        .sum();
    println!("{refused} transactions did nothing");
    let total: i64 = ["counter", "other"]
        .iter()
        .map(|key| {
            let value = cluster.client(0).run(&format!("GET {key}")).text();
            let counted = cluster.client(1).run(&format!("HGET {{{key}}}:hash {key}"));
            assert_eq!(value, counted.text(), "{key}");
            value.parse::<i64>().expect("a number")
        })
        .sum();
    assert_eq!(total, (CLIENTS * INCREMENTS) as i64);
    cluster.wait_until_replicas_agree(3);
}

#[test]
fn a_transaction_is_executed_as_one_through_any_node() {
    let cluster = three(Link::Loopback);
    for n in 0..60 {
        let mut client = cluster.client(n % 3);
        let (a, b) = (format!("{{key:{n}}}a"), format!("{{key:{n}}}b"));
        let replies = run_all(
            &mut client,
            &[
                "MULTI",
                &format!("SET {a} 1"),
                "PING",
                &format!("INCR {a}"),
                "CLIENT SETNAME me",
                &format!("RENAME {a} {b}"),
                &format!("INCR {b}"),
                &format!("HGET {b} f"),
                &format!("EXISTS {a} {b}"),
                "CLIENT GETNAME",
                "EXEC",
            ],
        );
        let texts: Vec<_> = replies[10].items().iter().map(Reply::text).collect();
        assert_eq!(texts[..6], ["OK", "PONG", "2", "OK", "OK", "3"], "{n}");
        assert!(texts[6].contains("WRONGTYPE"), "{}", texts[6]);
        assert_eq!(texts[7..], ["1", "me"]);
        let mut other = cluster.client((n + 1) % 3);
        assert_eq!(other.run(&format!("GET {b}")).text(), "3");
    }
}

#[test]
fn what_cannot_be_one_transaction_is_refused_when_it_is_queued() {
    let cluster = three(Link::Loopback);
    let mut client = cluster.client(1);
    let replies = run_all(
        &mut client,
        &["MULTI", "SET a 1", "SET b 1", "EXEC", "GET a"],
    );
    assert!(replies[2].is_error("CROSSSLOT"), "{}", replies[2]);
    assert!(replies[3].is_error("EXECABORT"), "{}", replies[3]);
    assert_eq!(replies[4], Reply::Null);
    for line in ["FLUSHALL", "DBSIZE", "KEYS *", "MSET a 1 b 2"] {
        let replies = run_all(&mut client, &["MULTI", line, "EXEC"]);
        assert!(replies[1].is_error(""), "{line}: {}", replies[1]);
        assert!(replies[2].is_error("EXECABORT"), "{line}: {}", replies[2]);
    }
    assert!(client.run("WATCH a b").is_error("CROSSSLOT"));
    let replies = run_all(&mut client, &["WATCH a", "MULTI", "SET b 1", "EXEC"]);
    assert!(replies[3].is_error("CROSSSLOT"), "{}", replies[3]);
    let replies = run_all(
        &mut client,
        &["MULTI", "SET a 1", "SELECT 1", "SET a 1", "EXEC"],
    );
    assert!(replies[4].is_error("ERR"), "{}", replies[4]);
    assert!(client.run("SELECT 0").is_ok());
    assert_eq!(client.run("GET a"), Reply::Null);
    for line in ["COTERIE.UNIT x a", "COTERIE.SEEN a"] {
        assert!(client.run(line).is_error("ERR"), "{line}");
    }
    let replies = run_all(&mut client, &["MULTI", "EXEC", "EXEC"]);
    assert_eq!(replies[1].items().len(), 0);
    assert!(replies[2].is_error("ERR EXEC without MULTI"));
}

#[test]
fn a_watched_key_is_watched_through_any_node() {
    let cluster = three(Link::Loopback);
    let (mut one, mut two) = (cluster.client(0), cluster.client(1));
    one.set_protocol(Protocol::Resp2);
    for n in 0..30 {
        let key = format!("key:{n}");
        let watch = format!("WATCH {key}");
        let cases: [(&[String], bool); 7] = [
            (&[], true),
            (&[format!("SET {key} 1")], false),
            (&[format!("GET {key}")], true),
            (&[format!("SET {key} 1")], false),
            (&[format!("DEL {key}")], false),
            (&[], true),
            (&[format!("SET {key} 1"), format!("DEL {key}")], false),
        ];
        for (between, passes) in cases {
            assert!(one.run(&watch).is_ok());
            for line in between {
                two.run(line);
            }
            let replies = run_all(&mut one, &["MULTI", &format!("TYPE {key}"), "EXEC"]);
            assert_eq!(replies[2] != Reply::Null, passes, "{key}: {between:?}");
        }
    }
}

#[test]
fn a_transaction_goes_on_when_its_first_replica_dies() {
    let mut cluster = three(Link::Loopback);
    let mut client = cluster.client(0);
    for n in 0..30 {
        assert!(increment(&mut client, &format!("key:{n}")));
    }
    cluster.kill(2);
    cluster.wait_until_seen_down(2);
    for n in 0..30 {
        let key = format!("key:{n}");
        assert!(increment(&mut client, &key));
        assert_eq!(client.run(&format!("GET {key}")).text(), "2");
    }
}

#[test]
fn scripts_are_part_of_a_transaction() {
    let cluster = three(Link::Loopback);
    for n in 0..12 {
        let mut client = cluster.client(n % 3);
        let key = format!("key:{n}");
        let add = "return redis.call('incrby', KEYS[1], ARGV[1])";
        let name = client.call(&["SCRIPT", "LOAD", add]).text();
        assert!(client.run("MULTI").is_ok());
        client.run(&format!("SET {key} 1"));
        client.call(&["EVAL", add, "1", &key, "2"]);
        client.call(&["EVALSHA", &name, "1", &key, "3"]);
        client.call(&["EVAL", "return 'no keys'", "0"]);
        client.call(&[
            "EVAL",
            "return redis.call('set', 'elsewhere', 1)",
            "1",
            &key,
        ]);
        client.run(&format!("GET {key}"));
        let replies = client.run("EXEC");
        let replies = replies.items();
        assert_eq!(replies.len(), 6);
        assert_eq!(replies[1..3], [Reply::Integer(3), Reply::Integer(6)]);
        assert_eq!(replies[3].text(), "no keys");
        assert!(replies[4].is_error("ERR"), "{}", replies[4]);
        assert_eq!(replies[5].text(), "6");
    }
    assert_eq!(cluster.client(0).run("GET elsewhere"), Reply::Null);
}

#[test]
fn a_script_is_known_at_the_node_that_was_sent_it() {
    let cluster = three(Link::Loopback);
    let mut client = cluster.client(0);
    // Some of these are executed elsewhere.
    for n in 0..12 {
        let text = format!("return {{KEYS[1], {n}}}");
        client.call(&["EVAL", &text, "1", &format!("key:{n}")]);
        let name = cluster.client(1).call(&["SCRIPT", "LOAD", &text]).text();
        let known = client.call(&["SCRIPT", "EXISTS", &name]);
        assert_eq!(known.items(), [Reply::Integer(1)], "{n}");
        for key in ["a", "b", "c", "d"] {
            assert!(client.run("MULTI").is_ok());
            client.call(&["EVALSHA", &name, "1", key]);
            let replies = client.run("EXEC");
            assert_eq!(replies.items()[0].items()[0].text(), key, "{n}");
        }
    }
}
