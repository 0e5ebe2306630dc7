//! SCAN's guarantee while keys come and go, and expiry without access.

use std::collections::HashSet;

use crate::common::{Connection, Reply, Server, wait_until};
use crate::info;

const STABLE: usize = 3000;

/// One step of a scan: the next cursor and the keys.
fn scan(c: &mut Connection, cursor: &str, count: usize) -> (String, Vec<String>) {
    let reply = c.run(&format!("SCAN {cursor} COUNT {count}")).items();
    (
        reply[0].text(),
        reply[1].items().iter().map(Reply::text).collect(),
    )
}

fn set(c: &mut Connection, keys: impl Iterator<Item = String>) {
    let commands: Vec<_> = keys
        .map(|key| vec!["SET".to_owned(), key, "v".to_owned()])
        .collect();
    assert!(c.pipeline(&commands).iter().all(Reply::is_ok));
}

fn delete(c: &mut Connection, keys: impl Iterator<Item = String>) {
    let commands: Vec<_> = keys.map(|key| vec!["DEL".to_owned(), key]).collect();
    c.pipeline(&commands);
}

/// Every key that is there from the beginning to the end of a scan is returned, and none that never was.
#[test]
fn scan_while_the_table_grows_and_shrinks() {
    let server = Server::subject();
    let mut c = server.connect();
    let mut other = server.connect();
    for (count, grows_first) in [(10, true), (10, false), (1, true), (100, false)] {
        assert!(c.run("FLUSHALL").is_ok());
        set(&mut c, (0..STABLE).map(|n| format!("stable:{n}")));
        set(&mut c, (0..100).map(|n| format!("gone:{n}")));
        delete(&mut c, (0..100).map(|n| format!("gone:{n}")));
        if !grows_first {
            set(&mut c, (0..40_000).map(|n| format!("extra:{n}")));
        }
        let mut seen = HashSet::new();
        let mut cursor = "0".to_owned();
        let mut steps = 0;
        loop {
            let (next, keys) = scan(&mut c, &cursor, count);
            seen.extend(keys);
            if next == "0" {
                break;
            }
            cursor = next;
            steps += 1;
            if steps > 100 && steps < 500 {
                let keys = (steps * 100..(steps + 1) * 100).map(|n| format!("extra:{n}"));
                if (steps < 300) == grows_first {
                    set(&mut other, keys);
                } else {
                    delete(
                        &mut other,
                        (0..200).map(|n| format!("extra:{}", (500 - steps) * 100 + n)),
                    );
                }
            }
            assert!(steps < 1_000_000, "the scan doesn't end");
        }
        for n in 0..STABLE {
            assert!(
                seen.contains(&format!("stable:{n}")),
                "COUNT {count}: stable:{n} was not returned"
            );
        }
        assert!(
            !seen.iter().any(|key| key.starts_with("gone:")),
            "a key that was gone before was returned"
        );
    }
}

#[test]
fn scan_with_filters_returns_exactly_what_matches() {
    let server = Server::subject();
    let mut c = server.connect();
    set(&mut c, (0..2000).map(|n| format!("a:{n}")));
    set(&mut c, (0..2000).map(|n| format!("b:{n}")));
    for options in [
        "MATCH a:* COUNT 7",
        "MATCH a:* COUNT 100 TYPE string",
        "TYPE hash",
        "MATCH a:1999",
    ] {
        let mut seen = HashSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let reply = c.run(&format!("SCAN {cursor} {options}")).items();
            seen.extend(reply[1].items().iter().map(Reply::text));
            cursor = reply[0].text();
            if cursor == "0" {
                break;
            }
        }
        let expected = match options {
            "TYPE hash" => 0,
            "MATCH a:1999" => 1,
            _ => 2000,
        };
        assert_eq!(seen.len(), expected, "{options}");
        assert!(seen.iter().all(|key| key.starts_with("a:")), "{options}");
    }
}

#[test]
fn keys_expire_without_access() {
    let server = Server::subject();
    let mut c = server.connect();
    let before = info(&mut c, "expired_keys");
    for database in [0, 5] {
        c.run(&format!("SELECT {database}"));
        let sets: Vec<_> = (0..2000)
            .map(|n| {
                vec![
                    "SET".to_owned(),
                    format!("key:{n}"),
                    "v".to_owned(),
                    "PX".to_owned(),
                    "30".to_owned(),
                ]
            })
            .collect();
        assert!(c.pipeline(&sets).iter().all(Reply::is_ok));
        c.run("SET kept v");
        c.run("SET later v EX 10000");
    }
    for database in [0, 5] {
        c.run(&format!("SELECT {database}"));
        wait_until("they are gone", || c.run("DBSIZE").integer() == Some(2));
    }
    assert_eq!(info(&mut c, "expired_keys"), before + 4000);
    assert_eq!(c.run("EXISTS kept later").integer(), Some(2));
    wait_until("their memory is counted out", || {
        c.run("INFO keyspace")
            .text()
            .contains("db5:keys=2,expires=1,")
    });
}

#[test]
fn randomkey_reaches_every_key() {
    let server = Server::subject();
    let mut c = server.connect();
    set(&mut c, (0..20).map(|n| format!("key:{n}")));
    let mut seen = HashSet::new();
    wait_until("every key comes up", || {
        seen.insert(c.run("RANDOMKEY").text());
        seen.len() == 20
    });
}

#[test]
fn idle_time_and_frequency_follow_access() {
    let server = Server::subject();
    let mut c = server.connect();
    c.run("SET k v");
    wait_until("the key is idle for a second", || {
        c.run("OBJECT IDLETIME k").integer() >= Some(1)
    });
    c.run("GET k");
    assert_eq!(c.run("OBJECT IDLETIME k").integer(), Some(0));
    assert!(c.run("CONFIG SET maxmemory-policy allkeys-lfu").is_ok());
    c.run("SET f v");
    let first = c.run("OBJECT FREQ f").integer();
    let reads = vec![vec!["GET", "f"]; 5000];
    c.pipeline(&reads);
    assert!(c.run("OBJECT FREQ f").integer() > first);
}
