//! Clients that look at, pause and end other clients.

use std::time::Duration;

use crate::common::{Program, Protocol, Reply, Server, wait_until};
use crate::same_on_both;

/// Long enough for a reply that should not come to come.
const QUIET: Duration = Duration::from_millis(100);

#[test]
fn list_shows_every_client() {
    let server = Server::subject();
    let mut one = server.connect();
    let mut two = server.connect_as(Protocol::Resp3);
    one.run("CLIENT SETNAME first");
    two.run("CLIENT SETNAME second");
    two.run("SELECT 3");
    two.run("GET k");
    let ids = [one.run("CLIENT ID").text(), two.run("CLIENT ID").text()];
    let list = one.run("CLIENT LIST").text();
    let line = |name: &str| {
        let needle = format!(" name={name} ");
        list.lines()
            .find(|line| line.contains(&needle))
            .unwrap_or_else(|| panic!("no {name} in {list}"))
    };
    assert!(line("first").contains(" db=0 ") && line("first").contains(" cmd=client|list "));
    assert!(
        line("second").contains(" db=3 ") && line("second").contains(" resp=3"),
        "{list}"
    );
    assert!(line("second").contains(&format!(" addr={} ", two.local_address())));
    let both = one
        .run(&format!("CLIENT LIST ID {} {} 999999", ids[0], ids[1]))
        .text();
    assert_eq!(both.lines().count(), 2, "{both}");
    let only = one.run(&format!("CLIENT LIST ID {}", ids[1])).text();
    assert!(
        only.starts_with(&format!("id={} ", ids[1])) && only.lines().count() == 1,
        "{only}"
    );
    drop(two);
    wait_until("it is gone from the list", || {
        !one.run("CLIENT LIST").text().contains("name=second")
    });
}

#[test]
fn no_evict_and_no_touch_show_as_flags() {
    let server = Server::subject();
    let mut c = server.connect();
    let flags = |info: &str| {
        let field = info
            .split(' ')
            .find_map(|field| field.strip_prefix("flags="));
        field.expect("flags").to_owned()
    };
    assert_eq!(flags(&c.run("CLIENT INFO").text()), "N");
    assert!(c.run("CLIENT NO-EVICT ON").is_ok());
    assert_eq!(flags(&c.run("CLIENT INFO").text()), "e");
    assert!(c.run("CLIENT NO-EVICT OFF").is_ok());
    assert_eq!(flags(&c.run("CLIENT INFO").text()), "N");
    if Program::Subject.is_coterie() {
        assert!(c.run("CLIENT NO-TOUCH ON").is_ok());
        assert_eq!(flags(&c.run("CLIENT INFO").text()), "T");
        assert!(c.run("CLIENT NO-TOUCH OFF").is_ok());
        assert!(c.run("CLIENT NO-TOUCH x").is_error("ERR syntax error"));
    }
}

/// CLIENT SETINFO came with Redis 7.2; client libraries send it, so Coterie has it.
#[test]
fn setinfo() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: Redis 7.0 has no CLIENT SETINFO");
        return;
    }
    let server = Server::subject();
    let mut c = server.connect();
    assert!(c.run("CLIENT SETINFO LIB-NAME redis-test").is_ok());
    assert!(c.run("CLIENT SETINFO lib-ver 1.2.3").is_ok());
    assert!(
        c.run("CLIENT SETINFO LIB-NAME \"with space\"")
            .is_error("ERR")
    );
    assert!(c.run("CLIENT SETINFO FOO x").is_error("ERR"));
    let info = c.run("CLIENT INFO").text();
    assert!(
        info.contains(" lib-name=redis-test lib-ver=1.2.3"),
        "{info}"
    );
}

#[test]
fn pause_writes() {
    let server = Server::subject();
    let mut admin = server.connect();
    let mut reader = server.connect();
    let mut writer = server.connect();
    assert!(admin.run("SET k old").is_ok());
    assert!(admin.run("CLIENT PAUSE 60000 WRITE").is_ok());
    writer
        .send(b"SET k new\r\nGET k\r\n")
        .expect("the server listens");
    assert_eq!(
        writer.read_within(QUIET),
        None,
        "a write went through the pause"
    );
    assert_eq!(reader.run("GET k").text(), "old");
    assert!(admin.run("CLIENT UNPAUSE").is_ok());
    assert!(writer.read().is_ok());
    assert_eq!(writer.read().text(), "new");
}

#[test]
fn pause_everything_ends_by_itself() {
    same_on_both(
        |options| options,
        |server| {
            let mut admin = server.connect();
            let mut other = server.connect();
            let paused = admin.run("CLIENT PAUSE 300");
            (paused, other.run("PING"), admin.run("PING"))
        },
    );
}

#[test]
fn a_killed_client_can_be_waiting_in_a_pause() {
    let server = Server::subject();
    let mut admin = server.connect();
    let mut writer = server.connect();
    let id = writer.run("CLIENT ID").text();
    assert!(admin.run("CLIENT PAUSE 60000 WRITE").is_ok());
    writer.send(b"SET k new\r\n").expect("the server listens");
    assert_eq!(writer.read_within(QUIET), None);
    assert_eq!(
        admin.run(&format!("CLIENT KILL ID {id}")),
        Reply::Integer(1)
    );
    assert!(writer.is_closed());
    assert!(admin.run("CLIENT UNPAUSE").is_ok());
    assert_eq!(
        admin.run("EXISTS k").integer(),
        Some(0),
        "the killed client's write was done"
    );
}

#[test]
fn kill_by_filter() {
    let server = Server::subject();
    let mut admin = server.connect();
    let mut others: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for other in &mut others {
        assert_eq!(other.run("PING").text(), "PONG");
    }
    wait_until("only four clients", || {
        admin.run("CLIENT LIST").text().lines().count() == 4
    });
    assert_eq!(
        admin.run("CLIENT KILL TYPE normal"),
        Reply::Integer(3),
        "all but the caller"
    );
    for mut other in others {
        assert!(other.is_closed());
    }
    assert_eq!(admin.run("PING").text(), "PONG");
}

#[test]
fn monitor_hides_passwords() {
    let server = Server::subject();
    let mut monitor = server.connect();
    assert!(monitor.run("MONITOR").is_ok());
    let mut other = server.connect();
    other.run("AUTH secret-word");
    other.run("HELLO 2 AUTH default secret-word");
    other.run("CONFIG SET requirepass secret-word");
    other.run("ECHO end");
    loop {
        let line = monitor.read().text();
        assert!(!line.contains("secret-word"), "{line}");
        if line.contains("\"end\"") {
            break;
        }
    }
}

#[test]
fn quit_and_reset_leave_monitor() {
    same_on_both(
        |options| options,
        |server| {
            let mut monitor = server.connect();
            let started = monitor.run("MONITOR");
            let reset = monitor.run("RESET");
            server.connect().run("PING unseen");
            (started, reset, monitor.run("PING seen"))
        },
    );
}
