//! Who must not get in, and what must not come in: nothing changes, and the log says why.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use coterie_protocol::internal::datagram::{Header, seal};
use coterie_protocol::internal::handshake::{
    Hello, Introduction, NONCE, Purpose, Side, Transcript,
};
use coterie_protocol::internal::{
    Kind, NEWEST_VERSION, OLDEST_VERSION, Reason, Secret, Service, frame,
};
use coterie_protocol::{ClusterId, NodeId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Cluster, DEADLINE, Dialler, Link, Setup};

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

#[test]
fn other_partitions_are_refused() {
    let words = ["refuse", "partitions"];
    refused("partitions", "64", &words, &words);
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    assert_eq!(cluster.client(0).run("SET key value").text(), "OK");
    cluster.kill(2);
    cluster.wait_until_seen_down(2);
    let before = State::of(&cluster, &[0, 1]);
    // It founds a cluster where the others look for a node of theirs.
    cluster.restart_alone(2);
    let words = ["refuse", "cluster"];
    cluster.wait_for_log(0, &words);
    cluster.wait_for_log(2, &words);
    assert_eq!(
        cluster.cluster_info(2, "cluster_known_nodes").as_deref(),
        Some("1")
    );
    assert_eq!(cluster.client(2).run("DBSIZE").text(), "0");
    assert_eq!(cluster.sees_down(0, 2), Some(true));
    assert_eq!(State::of(&cluster, &[0, 1]), before);
    assert_eq!(cluster.client(1).run("SET key other").text(), "OK");
}

/// What must stay as it was, as nodes tell it.
#[derive(PartialEq, Debug)]
struct State {
    epochs: Vec<Option<String>>,
    members: Vec<Option<String>>,
    digests: Vec<Vec<String>>,
}

impl State {
    fn of(cluster: &Cluster, nodes: &[usize]) -> State {
        let said = |field: &str| {
            let nodes = nodes.iter();
            nodes
                .map(|&node| cluster.cluster_info(node, field))
                .collect()
        };
        let digests = |&node| cluster.try_digests(node).expect("digests");
        State {
            epochs: said("cluster_topology_epoch"),
            members: said("cluster_known_nodes"),
            digests: nodes.iter().map(digests).collect(),
        }
    }
}

const VERSIONS: std::ops::RangeInclusive<u16> = OLDEST_VERSION..=NEWEST_VERSION;

/// Two nodes with a secret and some data.
struct Guarded {
    cluster: Cluster,
    secret: Secret,
    /// Of the first node.
    address: SocketAddr,
    host: Introduction,
    before: State,
}

impl Guarded {
    fn start() -> Guarded {
        let setup = Setup::new(2, Link::Loopback).flag("cluster-secret", "ours");
        let cluster = Cluster::start(setup);
        let mut client = cluster.client(0);
        for n in 0..100 {
            assert_eq!(client.run(&format!("SET key:{n} {n}")).text(), "OK");
        }
        cluster.wait_until_replicas_agree(2);
        let (secret, address) = (Secret::new("ours"), cluster.cluster_address(0));
        let joiner = newcomer();
        let (_, host) = Dialler::shake(address, VERSIONS, &joiner, &secret).expect("welcome");
        Guarded {
            before: State::of(&cluster, &[0, 1]),
            cluster,
            secret,
            address,
            host,
        }
    }

    /// One that suits the cluster, and that nobody has asked for.
    fn stranger(&self) -> Introduction {
        Introduction {
            purpose: Purpose::Link,
            cluster: self.host.cluster,
            ..newcomer()
        }
    }

    fn dial(&self) -> Dialler {
        let shaken = Dialler::shake(self.address, VERSIONS, &self.stranger(), &self.secret);
        shaken.expect("welcome").0
    }

    /// The node has said in its log why it refused.
    fn log_has(&self, words: &[&str]) {
        let words = [&["refused"], words].concat();
        self.cluster.wait_for_log(0, &words);
    }

    fn assert_unharmed(&self) {
        self.cluster.wait_until_settled(2);
        assert_eq!(State::of(&self.cluster, &[0, 1]), self.before);
        for node in 0..2 {
            let reply = self.cluster.client(node).run("SET key:1 again");
            assert_eq!(reply.text(), "OK");
        }
    }
}

/// A node without a cluster.
fn newcomer() -> Introduction {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    Introduction {
        purpose: Purpose::Call,
        cluster: ClusterId(0),
        node: NodeId([0xee; 20]),
        life: 7,
        partitions: 256,
        clock_ms: since.expect("after 1970").as_millis() as u64,
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
    }
}

#[test]
fn handshakes_that_do_not_suit_are_refused() {
    let guarded = Guarded::start();
    let good = guarded.stranger();
    let with = |change: &dyn Fn(&mut Introduction)| {
        let mut who = good.clone();
        change(&mut who);
        who
    };
    let theirs = ClusterId(guarded.host.cluster.0 ^ 1);
    let far = 60_000;
    let cases = [
        (2..=9, good.clone(), Reason::Version, "no common version"),
        (
            VERSIONS,
            with(&|who| who.cluster = theirs),
            Reason::Cluster,
            "belongs to cluster",
        ),
        (
            VERSIONS,
            with(&|who| who.partitions = 64),
            Reason::Partitions,
            "64 partitions",
        ),
        (
            VERSIONS,
            with(&|who| who.clock_ms += far),
            Reason::Clock,
            "ahead of",
        ),
        (
            VERSIONS,
            with(&|who| who.clock_ms -= far),
            Reason::Clock,
            "behind",
        ),
        (
            VERSIONS,
            with(&|who| who.node = guarded.host.node),
            Reason::Duplicate,
            "copied",
        ),
    ];
    for (versions, who, reason, words) in cases {
        let refused = Dialler::shake(guarded.address, versions, &who, &guarded.secret);
        let refusal = refused.map(|_| ()).expect_err(words);
        assert_eq!(refusal.reason, reason, "{refusal}");
        assert!(refusal.detail.contains(words), "{refusal}");
        let logged = format!("{reason:?}").to_lowercase();
        guarded.log_has(&[&format!("reason={logged}")]);
    }
    for secret in [Secret::new("theirs"), Secret::default()] {
        let refused = Dialler::shake(guarded.address, VERSIONS, &good, &secret);
        let refusal = refused.map(|_| ()).expect_err("another secret");
        assert_eq!(refusal.reason, Reason::Secret);
    }
    guarded.log_has(&["secret"]);
    guarded.assert_unharmed();
}

#[test]
fn a_recorded_handshake_opens_nothing() {
    let guarded = Guarded::start();
    let hello = Hello {
        oldest: OLDEST_VERSION,
        newest: NEWEST_VERSION,
        nonce: [7; NONCE],
    };
    let hello = hello.encode();
    let challenged = || {
        let mut dialler = Dialler::connect(guarded.address).expect("the port listens");
        dialler.say(Kind::Hello, 0, 0, &hello);
        let (kind, challenge) = dialler.hear().expect("a challenge");
        assert_eq!(kind, Kind::Challenge);
        (dialler, challenge)
    };
    let (mut first, challenge) = challenged();
    let transcript = Transcript {
        hello: &hello,
        challenge: &challenge,
    };
    let proof = transcript.introduce(Side::Dialler, &guarded.stranger(), &guarded.secret);
    first.say(Kind::Proof, 0, 0, &proof);
    assert_eq!(first.hear().map(|(kind, _)| kind), Some(Kind::Welcome));
    let (mut second, _) = challenged();
    second.say(Kind::Proof, 0, 0, &proof);
    assert_eq!(second.hear_refusal().reason, Reason::Secret);
    guarded.log_has(&["secret"]);
    guarded.assert_unharmed();
}

#[test]
fn frames_that_are_none_are_refused() {
    let guarded = Guarded::start();
    let memory = memory_of(&guarded.cluster);
    let header = |length: u32| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0; 60]);
        bytes
    };
    let framed = |kind: Kind, service: u8, body: &[u8]| {
        let mut bytes = Vec::new();
        frame::encode(kind, service, 1, body, &mut bytes);
        bytes
    };
    let mut bent = framed(Kind::Call, Service::State as u8, b"body");
    bent[frame::HEADER] ^= 1;
    let mut unknown = framed(Kind::Call, Service::State as u8, b"body");
    unknown[8] = 99;
    for (bytes, reason) in [
        (header(u32::MAX), Reason::TooLarge),
        // More than the largest record, of 2 GiB, with what is around it.
        (header((2 << 30) + (2 << 20)), Reason::TooLarge),
        (header(3), Reason::Garbage),
        (bent, Reason::Garbage),
        (unknown, Reason::Garbage),
        (framed(Kind::Call, 77, b"body"), Reason::Garbage),
        (
            framed(Kind::Call, Service::Client as u8, b"body"),
            Reason::Garbage,
        ),
        (framed(Kind::Welcome, 0, b"body"), Reason::Garbage),
    ] {
        let mut dialler = guarded.dial();
        dialler.send(&bytes);
        let refusal = dialler.hear_refusal();
        assert_eq!(refusal.reason, reason, "{refusal}");
    }
    // Before the handshake the limit is far lower.
    let mut dialler = Dialler::connect(guarded.address).expect("the port listens");
    dialler.say(Kind::Hello, 0, 0, &[0; 2000]);
    assert_eq!(dialler.hear_refusal().reason, Reason::TooLarge);
    guarded.log_has(&["reason=toolarge", "announced"]);
    guarded.log_has(&["reason=garbage"]);
    assert!(memory_of(&guarded.cluster) < memory + (64 << 20));
    guarded.assert_unharmed();
}

/// From one that has the secret and makes proper frames, with something else in them than the services expect.
#[test]
fn messages_that_can_not_be_read_change_nothing() {
    let guarded = Guarded::start();
    let services = Service::ALL.into_iter().filter(|s| *s != Service::Client);
    for service in services {
        for body in [&b""[..], b"x", &[0xff; 100]] {
            for kind in [Kind::Call, Kind::Send] {
                let mut dialler = guarded.dial();
                dialler.say(kind, service as u8, 1, body);
                dialler.say(Kind::Ping, 0, 2, b"");
                // An answer, or the end of the connection: whatever the service does, it does not hang.
                while let Some((kind, _)) = dialler.hear() {
                    if kind == Kind::Pong {
                        break;
                    }
                }
            }
        }
    }
    guarded.assert_unharmed();
}

#[test]
fn datagrams_that_are_none_are_dropped() {
    let guarded = Guarded::start();
    let who = guarded.stranger();
    // From now on its datagrams are taken.
    let _dialler = guarded.dial();
    let header = |sequence| Header {
        version: NEWEST_VERSION,
        cluster: guarded.host.cluster,
        sender: who.node,
        receiver: guarded.host.node,
        sender_life: who.life,
        receiver_life: guarded.host.life,
        sequence,
    };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |bytes: &[u8]| socket.send_to(bytes, guarded.address).expect("sent");
    let mut rng = StdRng::seed_from_u64(5);
    for length in [0, 1, 99, 100, 101, 300, 1500, 8000] {
        let bytes: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        send(&bytes);
        // Proper ones from a node that membership knows nothing of, and with nothing in them that it could read.
        send(&seal(&header(1 + length), &bytes, &guarded.secret));
    }
    guarded.log_has(&["datagram", "garbage"]);
    for secret in [Secret::new("theirs"), Secret::default()] {
        send(&seal(&header(9000), b"payload", &secret));
    }
    guarded.log_has(&["datagram", "forged"]);
    let sealed = seal(&header(9001), b"payload", &guarded.secret);
    send(&sealed);
    send(&sealed);
    guarded.log_has(&["datagram", "replayed"]);
    guarded.assert_unharmed();
}
