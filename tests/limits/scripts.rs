//! Scripts that don't end, or want all the memory, are stopped. What they and their transaction had changed is taken
//! back, and the server goes on.

use std::time::Duration;

use crate::common::{Connection, Options, Program, Reply, Server, wait_until};

const LOOPS: [&str; 5] = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "local function f() return f() end return f()",
    "while true do redis.call('incr', KEYS[1]) end",
    "local t = {} for i = 1, 1e9 do t[i] = tostring(i) end",
];
const HOGS: [&str; 2] = [
    "local s = 'x' while true do s = s .. s end",
    "local function f(n) return 1 + f(n + 1) end return f(1)",
];

fn server() -> Server {
    let options = Options::new(Program::Subject).coterie_flag("threads", "2");
    Server::start(options.flag("lua-time-limit", "100"))
}

fn eval(body: &str) -> Vec<String> {
    let text = format!("redis.call('set', KEYS[1], '1') {body}");
    ["EVAL", &text, "1", "key"].map(str::to_owned).to_vec()
}

/// Whether a script was stopped: it says so, and nothing of it lasts.
fn assert_taken_back(connection: &mut Connection, body: &str, reply: &Reply) {
    assert!(reply.is_error("ERR"), "{body}: {reply}");
    let seen = connection.run("MGET key other");
    assert_eq!(seen.items(), [Reply::Null, Reply::Null], "{body}");
}

#[test]
fn what_does_not_end_is_stopped() {
    if !Program::Subject.is_coterie() {
        return;
    }
    let server = server();
    let mut connection = server.connect();
    for body in LOOPS {
        let reply = connection.call(&eval(body));
        assert!(reply.text().contains("taken back"), "{body}: {reply}");
        assert_taken_back(&mut connection, body, &reply);
    }
}

#[test]
fn what_takes_all_memory_ends_with_an_error() {
    if !Program::Subject.is_coterie() {
        return;
    }
    let server = server();
    let mut connection = server.connect();
    for body in HOGS {
        let reply = connection.call(&eval(body));
        assert!(reply.is_error("ERR"), "{body}: {reply}");
        connection.run("DEL key");
        assert_eq!(connection.run("EVAL 'return 7' 0"), Reply::Integer(7));
    }
}

#[test]
fn a_transaction_with_a_script_that_is_stopped_changes_nothing() {
    if !Program::Subject.is_coterie() {
        return;
    }
    let server = server();
    let mut connection = server.connect();
    assert!(connection.run("MULTI").is_ok());
    connection.run("SET other 1");
    connection.call(&eval("while true do end"));
    connection.run("SET other 2");
    let reply = connection.run("EXEC");
    assert_taken_back(&mut connection, "EXEC", &reply);
    assert_eq!(connection.run("MULTI").text(), "OK");
    assert_eq!(connection.run("EXEC").items().len(), 0);
}

#[test]
fn script_kill_stops_what_runs_for_long() {
    if !Program::Subject.is_coterie() {
        return;
    }
    let mut server = server();
    let mut control = server.connect();
    // Connections of the thread that executes the script wait for it: of several, one is of the other thread.
    let mut others: Vec<_> = (0..8).map(|_| server.connect()).collect();
    assert!(control.run("SCRIPT KILL").is_error("NOTBUSY"));
    let words = eval("while true do end");
    // Long enough to be told before it is stopped anyway.
    assert!(control.run("CONFIG SET lua-time-limit 2000").is_ok());
    control
        .send(&crate::common::encode_command(&words))
        .expect("it is taken");
    let mut killed = false;
    wait_until("somebody stops the script", || {
        for other in &mut others {
            other.send(b"SCRIPT KILL\r\n").expect("it is taken");
            if let Some(reply) = other.read_within(Duration::from_millis(50)) {
                killed |= reply.is_ok();
            }
        }
        killed
    });
    let reply = control.read();
    assert_taken_back(&mut control, "SCRIPT KILL", &reply);
    assert!(server.is_running());
}
