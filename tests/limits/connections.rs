//! Who may connect, for how long, and what they may do before they have a password.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::common::{Connection, Options, Protocol, Reply, Server, escape, wait_until};
use crate::{info, same_on_both};

#[test]
fn maxclients() {
    let server = Server::start(Options::new(crate::Program::Subject).flag("maxclients", "4"));
    let mut first = server.connect();
    // Until the connections that waited for the start are gone.
    wait_until("one client", || info(&mut first, "connected_clients") == 1);
    let rejected = info(&mut first, "rejected_connections");
    let mut others: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for other in &mut others {
        assert_eq!(other.run("PING").text(), "PONG");
    }
    let mut refused = Connection::open(server.port(), Protocol::Resp2).expect("the system accepts");
    let (bytes, closed) = refused.read_bytes_until(|_| false);
    assert_eq!(escape(&bytes), "-ERR max number of clients reached\\r\\n");
    assert!(closed);
    assert_eq!(info(&mut first, "rejected_connections"), rejected + 1);
    drop(others.pop());
    wait_until("room for a client", || {
        info(&mut first, "connected_clients") == 3
    });
    assert_eq!(server.connect().run("PING").text(), "PONG");
    assert!(first.run("CONFIG SET maxclients 20").is_ok());
    let mut many: Vec<_> = (0..10).map(|_| server.connect()).collect();
    assert!(
        many.iter_mut()
            .all(|client| client.run("PING").text() == "PONG")
    );
}

#[test]
fn many_clients_at_once() {
    let server = Server::subject();
    let mut clients: Vec<_> = (0..500).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"INCR n\r\n").expect("the server listens");
    }
    let mut numbers: Vec<_> = clients
        .iter_mut()
        .map(|client| client.read().integer())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=500).map(Some).collect::<Vec<_>>());
}

#[test]
fn idle_clients_are_disconnected() {
    let server = Server::subject();
    let mut idle = server.connect();
    let mut monitor = server.connect();
    assert!(monitor.run("MONITOR").is_ok());
    assert!(server.connect().run("CONFIG SET timeout 1").is_ok());
    let (bytes, closed) = idle.read_bytes_until(|_| false);
    assert_eq!(escape(&bytes), "");
    assert!(closed, "an idle client stays connected");
    wait_until("MONITOR shows that it isn't idle", || {
        server.connect().run("PING hello");
        monitor.read().text().contains("hello")
    });
}

#[test]
fn password() {
    same_on_both(
        |options| options.flag("requirepass", "secret word"),
        |server| {
            let mut c = server.connect();
            let lines = [
                "PING",
                "GET k",
                "SET k v",
                "AUTH wrong",
                "AUTH default wrong",
                "AUTH \"secret word\"",
                "SET k v",
                "GET k",
                "CONFIG SET requirepass other",
                "GET k",
                "RESET",
                "GET k",
                "AUTH \"secret word\"",
                "AUTH other",
                "GET k",
            ];
            lines.map(|line| c.run(line))
        },
    );
}

#[test]
fn unauthenticated_clients_may_send_little() {
    same_on_both(
        |options| options.flag("requirepass", "secret"),
        |server| {
            let inputs: [Vec<u8>; 5] = [
                b"*10\r\n$4\r\nPING\r\n".to_vec(),
                b"*11\r\n$4\r\nPING\r\n".to_vec(),
                b"*2\r\n$4\r\nPING\r\n$16384\r\n".to_vec(),
                b"*2\r\n$4\r\nPING\r\n$16385\r\n".to_vec(),
                b"*1\r\n$4\r\nPING\r\nAUTH secret\r\n*11\r\n".to_vec(),
            ];
            inputs.map(|input| {
                let mut c = server.connect();
                c.send(&input).expect("the server listens");
                c.shutdown_write();
                let (bytes, closed) = c.read_bytes_until(|_| false);
                (escape(&bytes), closed)
            })
        },
    );
}

#[test]
fn protected_mode_refuses_other_machines() {
    let options = |options: Options| options.flag("bind", "*");
    let reply = same_on_both(options, |server| {
        let mut stream = connect_from_elsewhere(server);
        let mut text = String::new();
        // A server that hangs up at once may reset the connection.
        let _ = stream.read_to_string(&mut text);
        text.split(' ').next().map(str::to_owned)
    });
    assert_eq!(reply.as_deref(), Some("-DENIED"));
    let unprotected = |options: Options| options.flag("bind", "*").flag("protected-mode", "no");
    let password = |options: Options| options.flag("bind", "*").flag("requirepass", "secret");
    let ping = |server: &Server| {
        let mut stream = connect_from_elsewhere(server);
        stream.write_all(b"PING\r\n").expect("the server listens");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(same_on_both(unprotected, ping), "+PONG");
    assert_eq!(same_on_both(password, ping), "-NOAU");
}

/// A connection whose own address is not 127.0.0.1.
fn connect_from_elsewhere(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
    socket
        .bind(&from.into())
        .expect("127.0.0.2 is an address of this machine");
    socket.connect(&to.into()).expect("the server listens");
    socket.into()
}

#[test]
fn concurrent_increments_all_count() {
    let server = Server::subject();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut c = server.connect();
                let increments: Vec<_> = (0..500).map(|_| vec!["INCR", "n"]).collect();
                let replies = c.pipeline(&increments);
                // Each sees its own increments in order.
                let numbers: Vec<_> = replies.iter().map(Reply::integer).collect();
                assert!(numbers.is_sorted() && numbers.iter().all(Option::is_some));
            });
        }
    });
    assert_eq!(server.connect().run("GET n").text(), "4000");
}
