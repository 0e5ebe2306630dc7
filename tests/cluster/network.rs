//! That the network the other tests rely on does what it is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, Host, Network, Path};

/// Sends datagrams until one arrives, or for as long as `patience`.
fn reaches(from: &Host, to: &Host, patience: Duration) -> bool {
    let address: Ipv4Addr = to.address();
    // Any port: one that was just used may still be open in a process that another test is starting.
    let receiver = to.run(move || UdpSocket::bind((address, 0)).expect("bind"));
    let target = receiver.local_addr().expect("bound");
    receiver
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("not zero");
    let sender = from.run(|| UdpSocket::bind("0.0.0.0:0").expect("bind"));
    let started = Instant::now();
    while started.elapsed() < patience {
        sender.send_to(b"hello", target).expect("send");
        if receiver.recv(&mut [0; 10]).is_ok() {
            return true;
        }
    }
    false
}

#[test]
fn paths_are_cut_in_one_direction_or_both_and_heal() {
    const SOON: Duration = Duration::from_millis(300);
    let network = Network::new(1);
    let hosts: Vec<_> = (0..3).map(|_| network.add_host()).collect();
    assert!(reaches(&hosts[0], &hosts[1], DEADLINE));
    let cut = Path {
        cut: true,
        ..Path::default()
    };
    network.set(0, 1, cut);
    assert!(!reaches(&hosts[0], &hosts[1], SOON));
    assert!(reaches(&hosts[1], &hosts[0], DEADLINE));
    network.set_between(&[0], &[1, 2], cut);
    assert!(!reaches(&hosts[2], &hosts[0], SOON));
    assert!(reaches(&hosts[2], &hosts[1], DEADLINE));
    network.heal();
    assert!(reaches(&hosts[0], &hosts[1], DEADLINE));
    assert!(reaches(&hosts[2], &hosts[0], DEADLINE));
}

/// Sends `bytes` over TCP and returns how long it took until the other side had them all.
fn transfer(from: &Host, to: &Host, bytes: usize) -> Duration {
    let address = to.address();
    let listener = to.run(move || TcpListener::bind((address, 0)).expect("bind"));
    let target = listener.local_addr().expect("bound");
    let started = Instant::now();
    let mut sender = from.run(move || TcpStream::connect(target).expect("connect"));
    let (mut receiver, _) = listener.accept().expect("accept");
    let received = std::thread::spawn(move || {
        let mut data = Vec::new();
        receiver.read_to_end(&mut data).expect("read");
        data
    });
    let data: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    sender.write_all(&data).expect("write");
    drop(sender);
    assert!(received.join().expect("no panic") == data);
    started.elapsed()
}

#[test]
fn slow_and_lossy_paths_carry_all_of_a_stream() {
    let network = Network::new(2);
    let hosts: Vec<_> = (0..2).map(|_| network.add_host()).collect();
    transfer(&hosts[0], &hosts[1], 8 << 20);
    let delay = Duration::from_millis(50);
    network.set(
        0,
        1,
        Path {
            delay,
            ..Path::default()
        },
    );
    // The handshake and the data pass one after the other. A lower bound: no machine is too slow for it.
    assert!(transfer(&hosts[0], &hosts[1], 1000) >= 2 * delay);
    network.set_between(
        &[0],
        &[1],
        Path {
            loss: 0.05,
            bytes_per_second: Some(4 << 20),
            ..Path::default()
        },
    );
    assert!(transfer(&hosts[0], &hosts[1], 2 << 20) >= Duration::from_millis(400));
}
