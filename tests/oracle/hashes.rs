//! Properties of hash commands whose replies are random or depend on positions, and of hashes on the disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Connection, Options, Program, Reply, Server, wait_until};

/// More fields than are listed for a choice, or returned by HSCAN at once.
const FIELDS: usize = 3000;

/// A hash `h` with fields `f0`, `f1`, … and values `v0`, `v1`, ….
fn fill(connection: &mut Connection, fields: usize) {
    let mut command = vec!["HSET".to_owned(), "h".to_owned()];
    for number in 0..fields {
        command.extend([format!("f{number}"), format!("v{number}")]);
    }
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    assert_eq!(connection.call(&command).integer(), Some(fields as i64));
}

fn texts(reply: &Reply) -> Vec<String> {
    reply.items().iter().map(Reply::text).collect()
}

/// Whether these are fields of the hash, each followed by its value.
fn assert_pairs(words: &[String]) {
    for pair in words.chunks(2) {
        let number = pair[0].strip_prefix('f').expect("a field");
        assert!(number.parse::<usize>().expect("a number") < FIELDS);
        assert_eq!(pair[1].strip_prefix('v'), Some(number));
    }
}

#[test]
fn random_fields_are_fields_and_differ_where_they_must() {
    for server in [Server::subject(), Server::oracle()] {
        let mut connection = server.connect();
        for fields in [1, 10, 500, FIELDS] {
            connection.run("DEL h");
            fill(&mut connection, fields);
            for count in [1, 2, 5, 200, 1000, 2999, 3000, 5000] {
                let distinct = texts(&connection.run(&format!("HRANDFIELD h {count}")));
                let unique: BTreeSet<_> = distinct.iter().collect();
                assert_eq!(distinct.len(), fields.min(count));
                assert_eq!(unique.len(), distinct.len());
                let pairs = texts(&connection.run(&format!("HRANDFIELD h {count} WITHVALUES")));
                assert_eq!(pairs.len(), 2 * fields.min(count));
                assert_pairs(&pairs);
                let any = texts(&connection.run(&format!("HRANDFIELD h -{count} WITHVALUES")));
                assert_eq!(any.len(), 2 * count);
                assert_pairs(&any);
            }
        }
    }
}

/// What is there during a whole HSCAN is told exactly once, whatever else changes.
#[test]
fn a_scan_tells_every_field_that_stays_once() {
    let server = Server::subject();
    let mut connection = server.connect();
    fill(&mut connection, FIELDS);
    let mut told = BTreeMap::<String, u32>::new();
    let (mut cursor, mut calls) = ("0".to_owned(), 0);
    loop {
        let reply = connection
            .run(&format!("HSCAN h {cursor} COUNT 20"))
            .items();
        for pair in texts(&reply[1]).chunks(2) {
            *told.entry(pair[0].clone()).or_default() += 1;
        }
        cursor = reply[0].text();
        if cursor == "0" {
            break;
        }
        // Every third field goes, one after the other, and others come.
        connection.run(&format!("HDEL h f{}", 3 * calls));
        for number in 0..20 {
            connection.run(&format!("HSET h new{calls}-{number} x"));
        }
        calls += 1;
    }
    assert!(calls > 100);
    for number in (0..FIELDS).filter(|number| number % 3 != 0) {
        assert_eq!(told.get(&format!("f{number}")), Some(&1), "f{number}");
    }
}

/// What the log holds of a hash makes the same hash, also where it was replaced or its time was over.
#[test]
fn hashes_survive_the_end_of_the_process() {
    let options = Options::new(Program::Subject).flag("enable-debug-command", "yes");
    let mut server = Server::start(options);
    let mut connection = server.connect();
    fill(&mut connection, FIELDS);
    for line in [
        "HDEL h f1 f2 nosuch",
        "HINCRBY h count 5",
        "HINCRBY h count -7",
        "HINCRBYFLOAT h float 10.5",
        "HINCRBYFLOAT h float 0.1",
        "HSETNX h once 1",
        "HSETNX h once 2",
        "COPY h copy",
        "HSET copy f3 other",
        "EXPIREAT copy 10000000000",
        "RENAME copy moved",
        "COPY moved there DB 3",
        "HSET gone a 1 b 2",
        "HDEL gone a b",
        "SET text x",
        "COPY h text REPLACE",
        "HSET over a 1",
        "SET over text",
        "HSET expired old 1",
        "PEXPIRE expired 1",
    ] {
        let reply = connection.run(line);
        assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply}");
    }
    wait_until("the expiry of a hash", || {
        connection.run("EXISTS expired").integer() == Some(0)
    });
    connection.run("HSET expired new 1");
    let reads = [
        "HLEN h",
        "HMGET h f0 f1 f2 f3 count float once",
        "HLEN moved",
        "HGET moved f3",
        "PEXPIRETIME moved",
        "EXISTS copy gone",
        "HLEN text",
        "TTL text",
        "GET over",
        "HGETALL expired",
        "TTL expired",
        "DBSIZE",
        "DEBUG DIGEST",
    ];
    let before = reads.map(|read| connection.run(read));
    assert_eq!(before[9].items().len(), 2);
    drop(connection);
    server.kill();
    server.restart();
    let mut connection = server.connect();
    for (read, before) in reads.iter().zip(before) {
        assert_eq!(connection.run(read), before, "{read}");
    }
}

/// Redis would go on until its memory is full.
#[test]
fn a_short_request_for_a_huge_reply_is_refused() {
    let server = Server::start(Options::new(Program::Subject).flag("proto-max-bulk-len", "1mb"));
    let mut connection = server.connect();
    fill(&mut connection, 10);
    for count in ["-9223372036854775807", "-174763", "-140000"] {
        let reply = connection.run(&format!("HRANDFIELD h {count}"));
        assert!(reply.is_error("ERR the reply would be longer"), "{reply}");
    }
    assert_eq!(
        connection.run("HRANDFIELD h -100000").items().len(),
        100_000
    );
}
