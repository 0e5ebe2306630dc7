//! Fields that expire: commands of Redis 7.4, which the oracle does not have. What is expected is what their
//! documentation says.

use std::time::{Duration, Instant};

use crate::common::{Connection, Protocol, Server};

/// Commands with their replies; where the reply is a time, `~` stands for it.
const SCRIPT: &[(&str, &str)] = &[
    ("HEXPIRE none 10 FIELDS 2 a b", "[:-2, :-2]"),
    ("HTTL none FIELDS 2 a b", "[:-2, :-2]"),
    ("HPERSIST none FIELDS 1 a", "[:-2]"),
    ("EXISTS none", ":0"),
    ("HSET h a 1 b 2 c 3", ":3"),
    ("HTTL h FIELDS 2 a nosuch", "[:-1, :-2]"),
    ("HEXPIRE h 100 FIELDS 3 a b nosuch", "[:1, :1, :-2]"),
    ("HTTL h FIELDS 3 a b c", "[:100, :100, :-1]"),
    ("HGETALL h", "[\"a\", \"1\", \"b\", \"2\", \"c\", \"3\"]"),
    ("HPERSIST h FIELDS 4 a c nosuch a", "[:1, :-1, :-2, :-1]"),
    ("HTTL h FIELDS 2 a b", "[:-1, :100]"),
    // Conditions.
    ("HEXPIRE h 200 NX FIELDS 2 a b", "[:1, :0]"),
    ("HEXPIRE h 300 XX FIELDS 2 a c", "[:1, :0]"),
    ("HEXPIRE h 250 GT FIELDS 3 a b c", "[:0, :1, :0]"),
    ("HEXPIRE h 260 LT FIELDS 3 a b c", "[:1, :0, :1]"),
    ("HTTL h FIELDS 3 a b c", "[:260, :250, :260]"),
    ("hexpire h 10 nx fields 1 a", "[:0]"),
    // What sets a field lets it live for ever; what changes its value does not.
    ("HSET h a 5", ":0"),
    ("HTTL h FIELDS 1 a", "[:-1]"),
    ("HEXPIRE h 100 FIELDS 1 a", "[:1]"),
    ("HINCRBY h a 2", ":7"),
    ("HINCRBYFLOAT h a 0.5", "\"7.5\""),
    ("HTTL h FIELDS 1 a", "[:100]"),
    ("HSETNX h a 9", ":0"),
    ("HTTL h FIELDS 1 a", "[:100]"),
    ("HMSET h a 1", "+OK"),
    ("HTTL h FIELDS 1 a", "[:-1]"),
    ("HEXPIRE h 100 FIELDS 1 a", "[:1]"),
    ("HDEL h a", ":1"),
    ("HSET h a 1", ":1"),
    ("HTTL h FIELDS 1 a", "[:-1]"),
    // Absolute times.
    ("HEXPIREAT h 33000000000 FIELDS 1 a", "[:1]"),
    ("HEXPIRETIME h FIELDS 3 a c x", "[:33000000000, ~, :-2]"),
    ("HPEXPIREAT h 33000000000001 FIELDS 1 a", "[:1]"),
    ("HPEXPIRETIME h FIELDS 1 a", "[:33000000000001]"),
    ("HEXPIRETIME h FIELDS 1 a", "[:33000000001]"),
    ("HPERSIST h FIELDS 1 a", "[:1]"),
    ("HPEXPIRETIME h FIELDS 1 a", "[:-1]"),
    // Copies keep the times.
    ("HPEXPIREAT h 33000000000001 FIELDS 1 a", "[:1]"),
    ("RENAME h g", "+OK"),
    ("HPEXPIRETIME g FIELDS 1 a", "[:33000000000001]"),
    ("COPY g h", ":1"),
    ("HPEXPIRETIME h FIELDS 1 a", "[:33000000000001]"),
    ("MULTI", "+OK"),
    ("HPERSIST h FIELDS 1 a", "+QUEUED"),
    ("HPEXPIRETIME h FIELDS 1 a", "+QUEUED"),
    ("EXEC", "[[:1], [:-1]]"),
    // Times that have passed.
    ("HEXPIREAT h 1 FIELDS 2 a a", "[:2, :-2]"),
    ("HEXISTS h a", ":0"),
    ("HPEXPIRE h 0 FIELDS 2 b c", "[:2, :2]"),
    ("EXISTS h", ":0"),
    ("HSET h a 1", ":1"),
    ("HEXPIREAT h 1 XX FIELDS 1 a", "[:0]"),
    ("HEXPIREAT h 1 GT FIELDS 1 a", "[:0]"),
    ("HEXPIREAT h 1 LT FIELDS 1 a", "[:2]"),
    ("EXISTS h", ":0"),
    // Errors change nothing.
    ("SET s text", "+OK"),
    (
        "HEXPIRE s 10 FIELDS 1 a",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
    ),
    (
        "HTTL s FIELDS 1 a",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
    ),
    (
        "HPERSIST s FIELDS 1 a",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
    ),
    ("HSET h a 1", ":1"),
    (
        "HEXPIRE h 10 FIELDS 1",
        "-ERR wrong number of arguments for 'hexpire' command",
    ),
    (
        "HTTL h FIELDS 1",
        "-ERR wrong number of arguments for 'httl' command",
    ),
    (
        "HEXPIRE h ten FIELDS 1 a",
        "-ERR value is not an integer or out of range",
    ),
    (
        "HEXPIRE h -1 FIELDS 1 a",
        "-ERR invalid expire time, must be >= 0",
    ),
    (
        "HEXPIRE h 9223372036854775807 FIELDS 1 a",
        "-ERR invalid expire time in 'hexpire' command",
    ),
    (
        "HPEXPIREAT h 70368744177664 FIELDS 1 a",
        "-ERR invalid expire time in 'hpexpireat' command",
    ),
    (
        "HEXPIRE h 10 NX XX FIELDS 1 a",
        "-ERR Mandatory argument FIELDS is missing or not at the right position",
    ),
    (
        "HEXPIRE h 10 FELDS 1 a",
        "-ERR Mandatory argument FIELDS is missing or not at the right position",
    ),
    (
        "HEXPIRE h 10 FIELDS 0 a",
        "-ERR Parameter `numFields` should be greater than 0",
    ),
    (
        "HEXPIRE h 10 FIELDS 2 a",
        "-ERR The `numfields` parameter must match the number of arguments",
    ),
    (
        "HEXPIRE h 10 FIELDS 1 a b",
        "-ERR The `numfields` parameter must match the number of arguments",
    ),
    (
        "HPERSIST h FIELDS 0 a",
        "-ERR Number of fields must be a positive integer",
    ),
    (
        "HTTL h FIELDS x a",
        "-ERR Number of fields must be a positive integer",
    ),
    (
        "HTTL h FILEDS 1 a",
        "-ERR Mandatory argument FIELDS is missing or not at the right position",
    ),
    ("HTTL h FIELDS 1 a", "[:-1]"),
];

#[test]
fn replies_are_those_of_the_documentation() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let server = Server::subject();
        let mut connection = server.connect_as(protocol);
        for (line, expected) in SCRIPT {
            let reply = connection.run(line).to_string();
            let reply = reply.replace("map[", "[").replace("\\'", "'");
            assert!(is_like(&reply, expected), "{line}: {reply}, not {expected}");
        }
    }
}

/// Whether a reply is the expected one, but for times. Fields of a whole hash come in any order.
fn is_like(reply: &str, expected: &str) -> bool {
    let parts = |text: &str| -> Vec<String> { text.split(", ").map(str::to_owned).collect() };
    let (mut ours, mut theirs) = (parts(reply), parts(expected));
    if expected.starts_with("[\"") {
        let trimmed = |text: &String| text.trim_matches(['[', ']']).to_owned();
        ours = ours.iter().map(trimmed).collect();
        theirs = theirs.iter().map(trimmed).collect();
        ours.sort();
        theirs.sort();
    }
    let same = |(our, their): (&String, &String)| our == their || their == "~";
    ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same)
}

/// Runs a command until it replies as expected.
fn wait_for(connection: &mut Connection, line: &str, expected: &str) {
    let start = Instant::now();
    loop {
        let reply = connection.run(line).to_string();
        if reply == expected {
            return;
        }
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(20), "{line}: {reply}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_field_past_its_time_is_gone_for_every_command() {
    let server = Server::subject();
    let mut connection = server.connect();
    connection.run("CONFIG SET notify-keyspace-events KEA");
    let mut listener = server.connect();
    listener.run("SUBSCRIBE __keyspace@0__:h");
    for is_active in [1, 0] {
        connection.run(&format!("DEBUG SET-ACTIVE-EXPIRE {is_active}"));
        assert_eq!(connection.run("HSET h a 1 b 2 c 3").to_string(), ":3");
        assert_eq!(
            connection.run("HPEXPIRE h 30 FIELDS 2 a b").to_string(),
            "[:1, :1]"
        );
        wait_for(&mut connection, "HLEN h", ":1");
        for (line, expected) in [
            ("HGETALL h", "[\"c\", \"3\"]"),
            ("HKEYS h", "[\"c\"]"),
            ("HVALS h", "[\"3\"]"),
            ("HGET h a", "(nil)"),
            ("HEXISTS h a", ":0"),
            ("HSTRLEN h a", ":0"),
            ("HMGET h a c", "[(nil), \"3\"]"),
            ("HSCAN h 0", "[\"0\", [\"c\", \"3\"]]"),
            ("HRANDFIELD h", "\"c\""),
            ("HRANDFIELD h -3", "[\"c\", \"c\", \"c\"]"),
            ("HTTL h FIELDS 2 a c", "[:-2, :-1]"),
            ("HEXPIRE h 5 FIELDS 1 a", "[:-2]"),
            ("HPERSIST h FIELDS 1 a", "[:-2]"),
            ("HDEL h a", ":0"),
            ("HINCRBY h a 1", ":1"),
            ("HTTL h FIELDS 1 a", "[:-1]"),
            ("HPEXPIRE h 30 FIELDS 2 a c", "[:1, :1]"),
        ] {
            assert_eq!(connection.run(line).to_string(), expected, "{line}");
        }
        wait_for(&mut connection, "EXISTS h", ":0");
        assert_eq!(connection.run("TYPE h").to_string(), "+none");
        let mut events = Vec::new();
        while events.last().is_none_or(|event| event != "del") {
            let message = listener.read_within(Duration::from_secs(20));
            events.push(message.expect("an event").items()[2].text());
        }
        let expected = [
            "hset", "hexpire", "hexpired", "hincrby", "hexpire", "hexpired", "del",
        ];
        let mut told = events
            .iter()
            .filter(|event| *event != "new")
            .collect::<Vec<_>>();
        // Both of a pair may go in one step or in two.
        told.dedup();
        assert_eq!(told, expected);
    }
}

#[test]
fn redis_reads_a_dump_without_the_times() {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    let (mut ours, mut theirs) = (subject.connect(), oracle.connect());
    ours.run("HSET h a 1 b 2");
    ours.run("HEXPIRE h 1000 FIELDS 1 a");
    let payload = ours.run("DUMP h");
    let payload = payload.bytes().expect("a dump");
    for client in [&mut theirs, &mut ours] {
        assert!(
            client
                .call(&[b"RESTORE", &b"copy"[..], b"0", payload])
                .is_ok()
        );
        assert_eq!(client.run("HMGET copy a b").to_string(), "[\"1\", \"2\"]");
    }
    assert_eq!(ours.run("HTTL copy FIELDS 2 a b").to_string(), "[:-1, :-1]");
}
