//! What a client may send without end, and what it may leave unread.

use crate::common::{Options, Program, Reply, Server, encode_command, escape, wait_until};
use crate::{info, same_on_both};

const MEGABYTE: usize = 1 << 20;

#[test]
fn proto_max_bulk_len() {
    same_on_both(
        |options| options.flag("proto-max-bulk-len", "1mb"),
        |server| {
            let mut c = server.connect();
            let largest = "x".repeat(MEGABYTE);
            let mut replies = vec![c.call(&["SET", "k", &largest]), c.run("STRLEN k")];
            for line in [
                "APPEND k y",
                "SETRANGE k 1048576 y",
                "SETRANGE k 1048575 yy",
                "SETRANGE k 1048575 y",
                "SETBIT bits 8388608 1",
                "SETBIT bits 8388607 1",
                "BITFIELD bits SET u8 8388608 1",
                "STRLEN k",
            ] {
                replies.push(c.run(line));
            }
            c.send(b"*2\r\n$4\r\nECHO\r\n$1048577\r\n")
                .expect("the server listens");
            let (bytes, closed) = c.read_bytes_until(|_| false);
            (replies, escape(&bytes), closed)
        },
    );
}

#[test]
fn query_buffer_limit() {
    let server =
        Server::start(Options::new(Program::Subject).flag("client-query-buffer-limit", "1mb"));
    let mut other = server.connect();
    let mut c = server.connect();
    assert!(c.call(&["SET", "k", &"x".repeat(900_000)]).is_ok());
    // The server may hang up while this is being written.
    let _ = c.send(&encode_command(&["SET", "k", &"y".repeat(5_000_000)]));
    let (bytes, closed) = c.read_bytes_until(|_| false);
    assert!(closed, "a client above the limit stays connected");
    assert_eq!(escape(&bytes), "");
    assert_eq!(other.run("STRLEN k").integer(), Some(900_000));
}

#[test]
fn announced_lengths_allocate_nothing() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: a Redis allocates what is announced");
        return;
    }
    let server = Server::subject();
    let mut other = server.connect();
    let before = info(&mut other, "used_memory");
    let mut sent = info(&mut other, "total_net_input_bytes");
    let inputs: [&[u8]; 2] = [
        b"*2\r\n$4\r\nECHO\r\n$536870912\r\nabc",
        b"*1000000\r\n$3\r\nDEL\r\n$1\r\n",
    ];
    let mut announcing = Vec::new();
    for input in inputs.iter().cycle().take(50) {
        let mut c = server.connect();
        c.send(input).expect("the server listens");
        sent += input.len() as u64;
        announcing.push(c);
    }
    wait_until("all of it has been read", || {
        info(&mut other, "total_net_input_bytes") >= sent
    });
    let after = info(&mut other, "used_memory");
    assert!(
        after < before + 20_000_000,
        "used_memory rose from {before} to {after}"
    );
    drop(announcing);
}

#[test]
fn output_buffer_hard_limit() {
    let server = Server::subject();
    let mut other = server.connect();
    assert!(
        other
            .run("CONFIG SET client-output-buffer-limit \"normal 1mb 0 0\"")
            .is_ok()
    );
    assert!(other.call(&["SET", "big", &"x".repeat(100_000)]).is_ok());
    let mut c = server.connect();
    let _ = c.send(&"GET big\r\n".repeat(UNREAD).into_bytes());
    wait_until("the client is cut off", || {
        info(&mut other, "connected_clients") == 1
    });
    // What was on its way before.
    let (bytes, closed) = c.read_bytes_until(|_| false);
    let received = bytes.len();
    assert!(closed);
    assert!(
        received < TOTAL_UNREAD,
        "all {received} bytes came, far above the limit"
    );
    assert_eq!(other.run("STRLEN big").integer(), Some(100_000));
}

#[test]
fn output_buffer_soft_limit() {
    let server = Server::subject();
    let mut other = server.connect();
    assert!(
        other
            .run("CONFIG SET client-output-buffer-limit \"normal 0 1mb 1\"")
            .is_ok()
    );
    assert!(other.call(&["SET", "big", &"x".repeat(100_000)]).is_ok());
    let mut c = server.connect();
    let _ = c.send(&"GET big\r\n".repeat(UNREAD).into_bytes());
    wait_until("the client is cut off", || {
        info(&mut other, "connected_clients") == 1
    });
}

/// Replies asked for by a client that reads none: more than the socket's buffers hold.
const UNREAD: usize = 500;
const TOTAL_UNREAD: usize = UNREAD * 100_000;

#[test]
fn pipelines_of_any_depth() {
    // A client that writes everything before it reads anything, as redis-cli --pipe may.
    const DEPTH: usize = 300_000;
    let server = Server::subject();
    let mut c = server.connect();
    let mut bytes = "ECHO abcdefghijklmnop\r\n".repeat(DEPTH).into_bytes();
    bytes.extend_from_slice(b"PING the-end\r\n");
    c.send(&bytes).expect("the server takes the whole pipeline");
    for _ in 0..DEPTH {
        assert_eq!(c.read(), Reply::Bulk(b"abcdefghijklmnop".to_vec()));
    }
    assert_eq!(c.read().text(), "the-end");
}

#[test]
fn large_values_come_back() {
    let server = Server::subject();
    let mut c = server.connect();
    for length in [1, 100, 16 * 1024, MEGABYTE - 1, 20 * MEGABYTE] {
        let value: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        assert!(c.call(&[b"SET".as_slice(), b"k", &value]).is_ok());
        assert!(
            c.run("GET k").bytes() == Some(&value[..]),
            "a value of {length} bytes changed"
        );
    }
}

#[test]
fn memory_of_gone_clients_is_freed() {
    let server = Server::subject();
    let mut other = server.connect();
    let before = info(&mut other, "used_memory");
    for _ in 0..20 {
        let mut c = server.connect();
        let _ = c.send(b"*2\r\n$4\r\nECHO\r\n$5000000\r\n");
        let _ = c.send(&vec![b'x'; 2_000_000]);
    }
    wait_until("the clients are gone", || {
        info(&mut other, "connected_clients") == 1
    });
    wait_until("their memory is free", || {
        info(&mut other, "used_memory") < before + 5_000_000
    });
}
