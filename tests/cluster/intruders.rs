//! Who must not get in, and what must not come in: nothing changes, and the log says why.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Cluster, DEADLINE, Link, Setup};

/// A cluster of two, and a third node with these flags of its own that must not get in. Who is refused says why in
/// its log, and if it got as far as the first node, that one does too.
fn refused(name: &str, value: &str, says: &[&str], first_says: &[&str]) {
    let setup = Setup::new(2, Link::Network).node_flag(2, name, value);
    let mut cluster = Cluster::start(setup);
    let third = cluster.spawn_new();
    cluster.wait_for_log(third, says);
    cluster.wait_for_log(0, first_says);
    cluster.kill(third);
    cluster.wait_until_settled(2);
    assert_eq!(cluster.client(1).run("SET key value").text(), "OK");
}

#[test]
fn a_wrong_secret_is_refused() {
    let words = ["refuse", "secret"];
    refused("cluster-secret", "another", &words, &words);
}

#[test]
fn a_missing_secret_is_refused() {
    refused("cluster-secret", "", &["secret"], &[]);
}

#[test]
fn a_clock_that_is_far_off_is_refused() {
    let words = ["refuse", "clock"];
    refused("debug-clock-offset-ms", "60000", &words, &words);
}

#[test]
fn a_copied_directory_is_refused() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Network));
    cluster.terminate(2);
    let copy = cluster.prepare_copy(2);
    cluster.restart(2);
    cluster.wait_until_settled(3);
    cluster.spawn_prepared(copy);
    cluster.wait_for_log(copy, &["refuse", "duplicate"]);
    cluster.kill(copy);
    cluster.wait_until_settled(3);
}

/// Sends bytes to the internal port and waits until the node hangs up.
fn is_hung_up_on(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).expect("the port listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    // The node may hang up in the middle.
    let _ = stream.write_all(bytes);
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn garbage_at_the_internal_port_is_refused() {
    let mut rng = StdRng::seed_from_u64(3);
    let cluster = Cluster::start(Setup::new(2, Link::Network));
    let before = memory_of(&cluster);
    let mut inputs = vec![
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        // A frame that announces 4 GiB, and one that announces nothing.
        vec![0xff; 64],
        vec![0; 64],
    ];
    for length in [1, 7, 64, 4000, 100_000] {
        inputs.push((0..length).map(|_| rng.random()).collect());
    }
    let address = cluster.cluster_address(0);
    for bytes in inputs.clone() {
        let start = bytes[..bytes.len().min(20)].escape_ascii().to_string();
        let hung_up = cluster.run_beside(1, move || is_hung_up_on(address, &bytes));
        assert!(hung_up, "{start}…\n{}", cluster.logs());
    }
    cluster.wait_for_log(0, &["refused", "garbage"]);
    cluster.run_beside(1, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        for bytes in inputs {
            let datagram = &bytes[..bytes.len().min(8000)];
            socket.send_to(datagram, address).expect("sent");
        }
    });
    cluster.wait_until_settled(2);
    assert_eq!(cluster.client(1).run("SET key value").text(), "OK");
    assert!(memory_of(&cluster) < before + (64 << 20));
}

fn memory_of(cluster: &Cluster) -> u64 {
    let info = cluster.client(0).run("INFO memory").text();
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    used.and_then(|text| text.parse().ok())
        .expect("used_memory")
}

#[test]
fn a_silent_connection_to_the_internal_port_is_closed() {
    let cluster = Cluster::start(Setup::new(2, Link::Network));
    let address = cluster.cluster_address(0);
    assert!(cluster.run_beside(1, move || is_hung_up_on(address, b"")));
}

#[test]
fn a_node_without_a_secret_speaks_over_loopback_only() {
    let setup = Setup::new(1, Link::Network).flag("cluster-secret", "");
    let cluster = Cluster::start(setup);
    cluster.wait_for_log(0, &["secret", "this machine"]);
    let stranger = cluster.network().add_host();
    let address = cluster.cluster_address(0);
    let refused = stranger.run(move || {
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err()
            || is_hung_up_on(address, b"")
    });
    assert!(refused);
}
