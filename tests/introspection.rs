//! What the server tells of itself and how it is administered, where a comparison with Redis can't show it.

mod common;

use std::fs;
use std::thread;

use common::{Connection, Options, Program, Reply, Server, wait_until};

/// A field of `INFO`.
fn field(connection: &mut Connection, name: &str) -> String {
    let text = connection.run("INFO everything").text();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(field, _)| *field == name)
        .unwrap_or_else(|| panic!("INFO lacks {name}"))
        .1
        .trim_end()
        .to_owned()
}

fn number(connection: &mut Connection, name: &str) -> u64 {
    field(connection, name).parse().expect("a number")
}

/// The lines `MONITOR` shows of a command that another connection sends.
fn shown(monitor: &mut Connection, other: &mut Connection, line: &str) -> Vec<String> {
    other.run(line);
    other.run("ECHO marker");
    let mut lines = Vec::new();
    loop {
        let line = monitor.read().text();
        if line.contains("marker") {
            return lines;
        }
        lines.push(line);
    }
}

/// All scalars of a reply, a line each.
fn write_text(reply: &Reply, text: &mut String) {
    match reply {
        Reply::Array(items) => items.iter().for_each(|item| write_text(item, text)),
        scalar => {
            text.push_str(&scalar.text());
            text.push('\n');
        }
    }
}

#[test]
fn changes_of_settings_at_the_same_time_are_all_kept() {
    let server = Server::subject();
    let settings = [
        "timeout",
        "tcp-keepalive",
        "maxmemory-samples",
        "lfu-decay-time",
    ];
    thread::scope(|scope| {
        for setting in settings {
            let mut connection = server.connect();
            scope.spawn(move || {
                for value in 1..=200 {
                    assert_eq!(
                        connection
                            .run(&format!("CONFIG SET {setting} {value}"))
                            .text(),
                        "OK"
                    );
                }
            });
        }
    });
    let mut connection = server.connect();
    for setting in settings {
        let reply = connection.run(&format!("CONFIG GET {setting}"));
        assert_eq!(
            reply,
            Reply::Array(vec![Reply::Bulk(setting.into()), Reply::Bulk("200".into())])
        );
    }
}

#[test]
fn settings_survive_in_the_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("coterie.toml");
    fs::write(&file, "# mine\ntimeout = 3\n").expect("a file");
    let path = file.to_str().expect("a path of text");
    let mut server = Server::start(Options::new(Program::Subject).flag("config", path));
    let mut connection = server.connect();
    connection.run("CONFIG SET timeout 77 maxmemory-policy allkeys-lru");
    assert_eq!(connection.run("CONFIG REWRITE").text(), "OK");
    let text = fs::read_to_string(&file).expect("the file");
    assert!(text.starts_with("# mine\ntimeout = 77\n"), "{text}");
    server.terminate();
    server.restart();
    let mut connection = server.connect();
    assert_eq!(field(&mut connection, "maxmemory_policy"), "allkeys-lru");
    assert_eq!(field(&mut connection, "config_file"), path);
}

#[test]
fn passwords_are_shown_to_nobody() {
    let server = Server::subject();
    let (mut monitor, mut other) = (server.connect(), server.connect());
    other.run("CONFIG SET slowlog-log-slower-than 0");
    assert_eq!(monitor.run("MONITOR").text(), "OK");
    for line in [
        "AUTH hunter2",
        "auth default hunter2",
        "HELLO 2 AUTH default hunter2 SETNAME me",
        "CONFIG SET requirepass hunter2",
        "AUTH hunter2",
        "CONFIG SET timeout 0 requirepass hunter2 masterauth hunter2",
        "CONFIG SET requirepass \"\"",
    ] {
        for line in shown(&mut monitor, &mut other, line) {
            assert!(!line.contains("hunter2"), "{line}");
            assert!(line.contains("\"(redacted)\""), "{line}");
        }
    }
    let mut log = String::new();
    write_text(&other.run("SLOWLOG GET -1"), &mut log);
    assert!(
        log.contains("(redacted)") && !log.contains("hunter2"),
        "{log}"
    );
}

#[test]
fn who_was_in_stays_in_when_a_password_comes() {
    let server = Server::subject();
    let (mut early, mut admin) = (server.connect(), server.connect());
    early.run("PING");
    admin.run("CONFIG SET requirepass secret");
    assert_eq!(early.run("PING").text(), "PONG");
    let mut late = server.connect();
    assert!(late.run("PING").is_error("NOAUTH"));
    admin.run("CONFIG SET requirepass \"\"");
    assert_eq!(late.run("PING").text(), "PONG");
}

#[test]
fn a_panic_ends_one_connection() {
    let server = Server::subject();
    let mut others: Vec<Connection> = (0..4).map(|_| server.connect()).collect();
    let mut broken = server.connect();
    broken.run("SET k v");
    assert!(broken.try_call(&["DEBUG", "PANIC"]).is_err());
    for other in &mut others {
        assert_eq!(other.run("GET k"), Reply::Bulk("v".into()));
    }
    wait_until("the connection is gone", || {
        number(&mut others[0], "connected_clients") == 4
    });
}

#[test]
fn a_sleep_holds_up_nobody_else() {
    let server = Server::subject();
    let mut sleeper = server.connect();
    sleeper
        .send(b"DEBUG SLEEP 1000000\r\n")
        .expect("the server reads");
    // More connections than threads: one of them shares the sleeper's.
    let mut others: Vec<Connection> = (0..16).map(|_| server.connect()).collect();
    for other in &mut others {
        assert_eq!(other.run("PING").text(), "PONG");
    }
    wait_until("it sleeps", || {
        number(&mut others[0], "blocked_clients") == 1
    });
}

#[test]
fn checkpoints_by_command() {
    let server = Server::subject();
    let mut connection = server.connect();
    connection.run("DEBUG POPULATE 20000 key 100");
    assert_eq!(
        number(&mut connection, "rdb_changes_since_last_save"),
        20_000
    );
    assert_eq!(connection.run("SAVE").text(), "OK");
    assert_eq!(number(&mut connection, "rdb_changes_since_last_save"), 0);
    connection.run("SET one more");
    assert_eq!(number(&mut connection, "rdb_changes_since_last_save"), 1);
    let replies = connection.pipeline(&[vec!["BGSAVE"], vec!["BGSAVE"], vec!["BGREWRITEAOF"]]);
    assert_eq!(replies[0].text(), "Background saving started");
    assert!(replies[1].is_error("ERR") || replies[1].text() == "Background saving started");
    wait_until("all are made", || {
        // In this order: what is no longer scheduled has begun.
        number(&mut connection, "aof_rewrite_scheduled") == 0
            && number(&mut connection, "rdb_bgsave_in_progress") == 0
    });
    assert!(number(&mut connection, "rdb_saves") >= 3);
    assert_eq!(number(&mut connection, "rdb_changes_since_last_save"), 0);
}

#[test]
fn every_way_to_stop_keeps_the_data() {
    let mut server = Server::subject();
    server.connect().run("DEBUG POPULATE 2000");
    for words in [
        &["SHUTDOWN"][..],
        &["SHUTDOWN", "NOSAVE", "NOW"],
        &["SHUTDOWN", "SAVE"],
        &["SHUTDOWN", "SAVE", "FORCE"],
    ] {
        let (mut connection, mut other) = (server.connect(), server.connect());
        connection.call(&["INCR", words[words.len() - 1]]);
        let digest = connection.run("DEBUG DIGEST").text();
        assert!(connection.try_call(words).is_err(), "{words:?} answered");
        assert!(server.wait_exit().success());
        assert!(other.try_call(&["PING"]).is_err());
        server.restart();
        assert_eq!(server.connect().run("DEBUG DIGEST").text(), digest);
    }
}

#[test]
fn the_digest_tells_data_apart() {
    let server = Server::subject();
    let mut connection = server.connect();
    let mut digests = Vec::new();
    for line in [
        "PING",
        "SET a 1",
        "SET b 1",
        "EXPIREAT a 9999999999",
        "DEL b",
        "SET a 2",
    ] {
        connection.run(line);
        digests.push(connection.run("DEBUG DIGEST").text());
    }
    connection.run("FLUSHALL");
    assert_eq!(connection.run("DEBUG DIGEST").text(), digests[0]);
    let mut different = digests.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), digests.len());
}

#[test]
fn spikes_and_slow_commands_are_remembered() {
    let server = Server::subject();
    let mut connection = server.connect();
    connection.run("CLIENT SETNAME snail");
    connection.run("CONFIG SET latency-monitor-threshold 20 slowlog-log-slower-than 20000");
    connection.run("DEBUG SLEEP 0.05");
    let Reply::Array(events) = connection.run("LATENCY LATEST") else {
        panic!("no list");
    };
    let Reply::Array(event) = &events[0] else {
        panic!("no event");
    };
    assert_eq!(event[0], Reply::Bulk("command".into()));
    assert!(matches!(event[3], Reply::Integer(50..)));
    let log = connection.run("SLOWLOG GET");
    let Reply::Array(entries) = &log else {
        panic!("no list")
    };
    let Reply::Array(entry) = entries.last().expect("an entry") else {
        panic!("no entry")
    };
    assert!(matches!(entry[2], Reply::Integer(50_000..)));
    let words = ["DEBUG", "SLEEP", "0.05"].map(|word| Reply::Bulk(word.into()));
    assert_eq!(entry[3], Reply::Array(words.to_vec()));
    assert_eq!(entry[5], Reply::Bulk("snail".into()));
    assert!(
        connection
            .run("LATENCY GRAPH command")
            .text()
            .contains("command - high")
    );
}

#[test]
fn counters_go_back_to_zero() {
    let server = Server::subject();
    let mut connection = server.connect();
    connection.run("SET gone v PX 1");
    wait_until("it expires", || {
        connection.run("EXISTS gone") == Reply::Integer(0)
    });
    connection.run("GET gone");
    connection.run("INCR");
    for name in ["expired_keys", "keyspace_misses", "total_error_replies"] {
        assert!(number(&mut connection, name) >= 1, "{name}");
    }
    assert_eq!(connection.run("CONFIG RESETSTAT").text(), "OK");
    for name in ["expired_keys", "keyspace_misses", "total_error_replies"] {
        assert_eq!(number(&mut connection, name), 0, "{name}");
    }
    let commands = connection.run("INFO commandstats errorstats").text();
    assert!(commands.contains("cmdstat_config|resetstat:calls=1,"));
    assert!(!commands.contains("cmdstat_get:") && !commands.contains("errorstat_"));
}

/// The memory account behind `maxmemory` is kept by allocator size classes, entry by entry; the allocator's own figure
/// must agree with it.
#[test]
fn the_account_of_data_agrees_with_the_allocator() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: the account is Coterie's");
        return;
    }
    let server = Server::subject();
    let mut c = server.connect();
    let figures = |c: &mut Connection| {
        let data = number(c, "used_memory_dataset") as f64;
        (data, number(c, "used_memory") as f64)
    };
    let (data_before, all_before) = figures(&mut c);
    for batch in 0..100 {
        let mut command = vec!["MSET".to_owned()];
        for n in 0..1000 {
            // Sizes in and above what an entry holds inline.
            let length = [10, 40, 100, 900, 3000][n % 5];
            command.extend([format!("key:{batch}:{n}"), "v".repeat(length)]);
        }
        assert!(c.call(&command).is_ok());
    }
    assert!(c.run("SETRANGE large 5000000 x").integer() > Some(0));
    let (data, all) = figures(&mut c);
    let (data, all) = (data - data_before, all - all_before);
    assert!(data > 80e6, "{data}");
    assert!(
        (all / data - 1.0).abs() < 0.05,
        "the account grew by {data} bytes, the allocator's figure by {all}"
    );
}
