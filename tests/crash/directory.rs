//! Clean restarts, and data directories that can't be used.

use std::fs;

use crate::common::{Options, Program, Protocol, Server};

#[test]
fn sigterm_and_restart_keep_everything() {
    for durability in ["always", "everysec", "os"] {
        let mut server = Server::start(Options::new(Program::Subject).durability(durability));
        fill(&server);
        let status = server.terminate();
        assert!(
            status.success(),
            "SIGTERM at durability {durability}: {status}\n{}",
            server.log_tail()
        );
        server.restart();
        check(&server);
        // A second time: now the data comes from what the restart has read.
        assert!(server.terminate().success());
        server.restart();
        check(&server);
    }
}

#[test]
fn shutdown_command_and_restart_keep_everything() {
    let mut server = Server::subject();
    fill(&server);
    let mut client = server.connect();
    client.send(b"SHUTDOWN\r\n").expect("the server listens");
    assert!(client.is_closed(), "SHUTDOWN answers by hanging up");
    let status = server.wait_exit();
    assert!(
        status.success(),
        "SHUTDOWN: {status}\n{}",
        server.log_tail()
    );
    server.restart();
    check(&server);
}

#[test]
fn kill_after_a_checkpoint_keeps_everything() {
    let mut server = Server::subject();
    fill(&server);
    let mut client = server.connect();
    let saved = client.run("SAVE");
    assert!(saved.is_ok(), "SAVE: {saved}");
    client.run("SET after-checkpoint yes");
    client.run("DEL key:1");
    server.kill();
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.run("GET after-checkpoint").text(), "yes");
    assert_eq!(client.run("EXISTS key:1").integer(), Some(0));
    assert_eq!(client.run("DBSIZE").integer(), Some(KEYS));
    assert_eq!(client.run("GET key:2").text(), "value:2");
}

#[test]
fn flush_and_swap_survive_a_kill() {
    let mut server = Server::subject();
    let mut client = server.connect();
    for line in [
        "SET a 0",
        "SELECT 1",
        "SET a 1",
        "SELECT 2",
        "SET a 2",
        "FLUSHDB",
        "SWAPDB 0 1",
        "SELECT 3",
        "SET a 3",
    ] {
        assert!(client.run(line).is_ok(), "{line}");
    }
    assert_eq!(client.run("MOVE a 4").integer(), Some(1));
    server.kill();
    server.restart();
    let mut client = server.connect();
    let found: Vec<_> = (0..5)
        .map(|database| {
            client.run(&format!("SELECT {database}"));
            client.run("GET a").text()
        })
        .collect();
    assert_eq!(found, ["1", "0", "(nil)", "(nil)", "3"]);
    assert!(client.run("FLUSHALL").is_ok());
    server.kill();
    server.restart();
    let mut client = server.connect_as(Protocol::Resp3);
    for database in 0..5 {
        client.run(&format!("SELECT {database}"));
        assert_eq!(client.run("DBSIZE").integer(), Some(0));
    }
}

#[test]
fn expiries_survive_a_kill() {
    let mut server = Server::subject();
    let mut client = server.connect();
    client.run("SET later v PXAT 99999999999123");
    client.run("SET kept v EX 100");
    client.run("PERSIST kept");
    client.run("SET soon v PX 20");
    server.kill();
    std::thread::sleep(std::time::Duration::from_millis(30));
    server.restart();
    let mut client = server.connect();
    assert_eq!(
        client.run("PEXPIRETIME later").integer(),
        Some(99_999_999_999_123)
    );
    assert_eq!(client.run("TTL kept").integer(), Some(-1));
    assert_eq!(client.run("GET soon").text(), "(nil)");
    assert_eq!(client.run("EXISTS soon later kept").integer(), Some(2));
}

#[test]
fn a_second_server_on_the_directory_is_refused() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: a Redis doesn't lock its directory");
        return;
    }
    let mut first = Server::subject();
    first.connect().run("SET k v");
    let second = Server::try_start(Options::new(Program::Subject).dir(&first.dir()));
    let log = second.err().expect("the second server must not start");
    assert!(
        log.to_lowercase().contains("lock") || log.to_lowercase().contains("in use"),
        "{log}"
    );
    assert!(
        log.contains(&*first.dir().to_string_lossy()),
        "the message names the directory: {log}"
    );
    assert_eq!(
        first.connect().run("GET k").text(),
        "v",
        "the first server goes on"
    );
    first.kill();
    first.restart();
    assert_eq!(
        first.connect().run("GET k").text(),
        "v",
        "a killed server leaves no lock behind"
    );
}

#[test]
fn a_directory_that_is_no_directory_is_refused() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: a Redis has messages of its own");
        return;
    }
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let path = temporary.path().join("file");
    fs::write(&path, "not a directory").expect("the file");
    let log = Server::try_start(Options::new(Program::Subject).dir(&path))
        .err()
        .expect("it must not start");
    assert!(
        log.contains(&*path.to_string_lossy()),
        "the message names the path: {log}"
    );
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_read_only_directory_is_refused() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: a Redis starts and fails later");
        return;
    }
    // Nobody can create files in there, not even root, on no system.
    let path = std::path::Path::new("/proc/self");
    let log = Server::try_start(Options::new(Program::Subject).dir(path))
        .err()
        .expect("it must not start");
    assert!(
        log.contains("/proc/self"),
        "the message names the directory: {log}"
    );
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn another_number_of_partitions_is_refused() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: a Redis has no partitions");
        return;
    }
    let mut server = Server::subject();
    fill(&server);
    assert!(server.terminate().success());
    let refused =
        server.try_restart_with(|options| options.flags.push(("partitions".into(), "16".into())));
    let log = refused.expect_err("partitions are fixed when the directory is created");
    assert!(log.contains("partitions"), "{log}");
    server.restart_with(|options| options.flags.clear());
    check(&server);
}

const KEYS: i64 = 1000;

fn fill(server: &Server) {
    let mut client = server.connect();
    let sets: Vec<_> = (0..KEYS)
        .map(|n| vec!["SET".to_owned(), format!("key:{n}"), format!("value:{n}")])
        .collect();
    assert!(
        client
            .pipeline(&sets)
            .iter()
            .all(crate::common::Reply::is_ok)
    );
}

fn check(server: &Server) {
    let mut client = server.connect();
    let gets: Vec<_> = (0..KEYS)
        .map(|n| vec!["GET".to_owned(), format!("key:{n}")])
        .collect();
    for (n, reply) in client.pipeline(&gets).iter().enumerate() {
        assert_eq!(reply.text(), format!("value:{n}"));
    }
    assert_eq!(client.run("DBSIZE").integer(), Some(KEYS));
}
