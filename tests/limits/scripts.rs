//! Scripts that don't end, or want all the memory, are stopped. What they and their transaction had changed is taken
//! back, and the server goes on.

use std::time::Duration;

use crate::common::{Connection, Options, Program, Reply, Server, wait_until};

const LOOPS: [&str; 15] = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "local function f() return f() end return f()",
    "while true do redis.call('incr', KEYS[1]) end",
    "local t = {} for i = 1, 1e9 do t[i] = tostring(i) end",
    "while true do coroutine.wrap(function() for j = 1, 5000 do
       coroutine.wrap(function() for i = 1, 40000 do end end)() end end)() end",
    "xpcall(function() while true do end end, function() while true do end end)",
    "string.find(string.rep('a', 30), string.rep('a*', 30) .. 'b')",
    "string.gsub(string.rep('a', 1e6), '.-b', 'x')",
    "string.find(string.rep('a', 5e6), string.rep('a', 2e6) .. 'b', 1, true)",
    "while true do string.rep('', 1e9) end",
    "while true do table.sort({3, 2, 1, 4}, function() return false end) end",
    "local t = {1} for i = 1, 60 do t = {t, t} end return #cjson.encode(t)",
    "table.insert({}, -2147483647, 1)",
    "while true do pcall(table.insert, {}, -1e7, 1) end",
];
const HOGS: [&str; 6] = [
    "local s = 'x' while true do s = s .. s end",
    "return string.rep('x', 600000000)",
    "local s = string.rep('x', 1e7) local t = {} for i = 1, 100 do t[i] = s end return #cjson.encode(t)",
    "local s = string.rep('x', 1e7) local t = {} for i = 1, 100 do t[i] = s end return #cmsgpack.pack(t)",
    "local s = string.rep('x', 1e7) local t = {} for i = 1, 100 do t[i] = s end return {map = t}",
    "local s = string.rep('x', 1e7) local t = {} for i = 1, 100 do t[i] = s end redis.call(unpack(t))",
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
        assert!(reply.text().contains("taken back"), "{body}: {reply}");
        assert_taken_back(&mut connection, body, &reply);
        assert_eq!(connection.run("EVAL 'return 7' 0"), Reply::Integer(7));
    }
    // Filled in small steps, so that nothing is left for the least.
    assert!(connection.run("CONFIG SET lua-time-limit 60000").is_ok());
    let body = "local t = {} local i = 0 while true do i = i + 1 t[i] = {i} end";
    let reply = connection.call(&eval(body));
    assert!(reply.text().contains("not enough memory"), "{reply}");
    assert_taken_back(&mut connection, body, &reply);
    for number in 0..8 {
        let reply = server.connect().run(&format!("EVAL 'return {number}' 0"));
        assert_eq!(reply, Reply::Integer(number));
    }
}

#[test]
fn an_error_of_a_script_keeps_what_it_has_changed() {
    for program in [Program::Subject, Program::Oracle] {
        let server = Server::start(Options::new(program));
        let mut connection = server.connect();
        for body in [
            "local function f(n) return 1 + f(n + 1) end return f(1)",
            "error('not enough memory')",
        ] {
            let reply = connection.call(&eval(body));
            assert!(reply.is_error("ERR"), "{body}: {reply}");
            assert_eq!(connection.run("GET key").text(), "1", "{body}");
            connection.run("DEL key");
        }
    }
}

#[test]
fn no_script_changes_what_others_find() {
    if !Program::Subject.is_coterie() {
        return;
    }
    let server = server();
    let mut connection = server.connect();
    let text = "local _, r = pairs(redis) pcall(function() r.call = function() return 'hijacked' end end) return 1";
    connection.call(&["EVAL", text, "0"]);
    for _ in 0..8 {
        let reply = server
            .connect()
            .call(&["EVAL", "return redis.call('PING')", "0"]);
        assert_eq!(reply.text(), "PONG");
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
    // Connections that come while it runs are served by another thread, if all there are are held up too.
    let options = Options::new(Program::Subject).coterie_flag("threads", "2");
    let mut server = Server::start(options.flag("lua-time-limit", "100"));
    let mut control = server.connect();
    assert!(control.run("SCRIPT KILL").is_error("NOTBUSY"));
    let words = eval("while true do end");
    // Long enough to be told before it is stopped anyway.
    assert!(control.run("CONFIG SET lua-time-limit 2000").is_ok());
    control
        .send(&crate::common::encode_command(&words))
        .expect("it is taken");
    // One more thread waits for the key.
    let mut waiting = server.connect();
    waiting.send(b"GET key\r\n").expect("it is taken");
    let mut others = Vec::new();
    wait_until("somebody is told that the server is busy", || {
        let mut other = server.connect();
        other.send(b"PING\r\n").expect("it is taken");
        let reply = other.read_within(Duration::from_millis(100));
        others.push(other);
        reply.is_some_and(|reply| reply.is_error("BUSY"))
    });
    let mut other = others.pop().expect("there is one");
    assert!(other.run("SCRIPT KILL").is_ok());
    let reply = control.read();
    assert_taken_back(&mut control, "SCRIPT KILL", &reply);
    assert!(server.is_running());
}
