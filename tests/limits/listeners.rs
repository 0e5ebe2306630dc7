//! Clients that listen: many of them, and some that do not read.

use crate::common::{Connection, Options, Program, Reply, Server, wait_until};
use crate::info;

fn message(channel: &str, message: &str) -> Reply {
    let words = ["message", channel, message];
    Reply::Array(
        words
            .iter()
            .map(|word| Reply::Bulk(word.as_bytes().to_vec()))
            .collect(),
    )
}

#[test]
fn a_thousand_listeners_get_every_message_in_order() {
    const LISTENERS: usize = 1000;
    const MESSAGES: usize = 20;
    let server = Server::subject();
    let mut listeners: Vec<Connection> = (0..LISTENERS).map(|_| server.connect()).collect();
    for listener in &mut listeners {
        let reply = listener.run("SUBSCRIBE news");
        assert_eq!(reply.items().len(), 3, "{reply}");
    }
    let mut c = server.connect();
    let numbers = c.run("PUBSUB NUMSUB news").items();
    assert_eq!(numbers[1], Reply::Integer(LISTENERS as i64));
    let commands: Vec<Vec<String>> = (0..MESSAGES)
        .map(|n| vec!["PUBLISH".into(), "news".into(), n.to_string()])
        .collect();
    for reply in c.pipeline(&commands) {
        assert_eq!(reply, Reply::Integer(LISTENERS as i64));
    }
    for listener in &mut listeners {
        for n in 0..MESSAGES {
            assert_eq!(listener.read(), message("news", &n.to_string()));
        }
    }
    drop(listeners);
    wait_until("nobody listens any more", || {
        info(&mut c, "pubsub_channels") == 0
    });
}

/// Publishes until the one listener that does not read is gone; another one gets everything.
fn is_closed_with(limit: &str) {
    let server = Server::start(Options::new(Program::Subject));
    let mut c = server.connect();
    let set = ["CONFIG", "SET", "client-output-buffer-limit", limit];
    assert!(c.call(&set).is_ok());
    let mut lazy = server.connect();
    lazy.run("SUBSCRIBE news");
    let mut eager = server.connect();
    eager.run("SUBSCRIBE news");
    let text = "x".repeat(100_000);
    let mut sent = 0;
    wait_until("the listener that does not read is closed", || {
        let receivers = c.call(&["PUBLISH", "news", &text]);
        assert_eq!(eager.read(), message("news", &text));
        sent += 1;
        receivers == Reply::Integer(1)
    });
    let (bytes, closed) = lazy.read_bytes_until(|_| false);
    assert!(closed && bytes.len() < sent * text.len(), "{sent} messages");
    assert_eq!(info(&mut c, "connected_clients"), 2);
}

#[test]
fn hard_limit() {
    is_closed_with("pubsub 1mb 0 0");
}

#[test]
fn soft_limit() {
    is_closed_with("pubsub 0 1mb 1");
}

/// The soft limit holds also when nothing more comes.
#[test]
fn soft_limit_of_a_silent_channel() {
    let server = Server::start(Options::new(Program::Subject));
    let mut c = server.connect();
    let set = "CONFIG SET client-output-buffer-limit \"pubsub 0 1mb 1\"";
    assert!(c.run(set).is_ok());
    let mut lazy = server.connect();
    lazy.run("SUBSCRIBE news");
    let text = "x".repeat(100_000);
    for _ in 0..300 {
        c.call(&["PUBLISH", "news", &text]);
    }
    wait_until("the listener that does not read is closed", || {
        info(&mut c, "connected_clients") == 1
    });
}
