//! Which datagrams are handed on.

use std::net::UdpSocket;

use coterie_protocol::ClusterId;
use coterie_protocol::internal::Secret;
use coterie_protocol::internal::datagram::{Header, seal};

use super::super::{Counters, DatagramError};
use super::{Node, eventually, node, options, pair};

fn received(node: &Node) -> Vec<String> {
    let datagrams = node.recorder.datagrams.lock();
    datagrams
        .iter()
        .map(|(_, payload)| String::from_utf8_lossy(payload).into_owned())
        .collect()
}

#[tokio::test]
async fn arrive_signed_both_ways() {
    let (a, b, _link) = pair().await;
    // b knows a from a's handshake alone.
    for (from, to) in [(&a, &b), (&b, &a)] {
        eventually("sent", || {
            from.transport.send_datagram(to.id(), b"hello").is_ok()
        })
        .await;
        eventually("arrived", || received(to) == ["hello"]).await;
        assert_eq!(to.recorder.datagrams.lock()[0].0, from.id());
    }
    let counters = a.transport.counters();
    assert_eq!(
        (counters.datagrams_sent, counters.datagrams_received),
        (1, 1)
    );
    assert_eq!(counters.datagram_bytes_sent, 105);
    let unknown = a.transport.send_datagram(node(9), b"x");
    assert!(matches!(unknown, Err(DatagramError::Unknown)));
    let large = a.transport.send_datagram(b.id(), &[0; 1401]);
    assert!(matches!(large, Err(DatagramError::TooLarge)));
    a.transport.send_datagram(b.id(), &[b'x'; 1400]).unwrap();
    eventually("arrived", || received(&b).len() == 2).await;
}

#[tokio::test]
async fn replayed_forged_and_foreign_ones_are_dropped() {
    let (a, b, _link) = pair().await;
    let right = Header {
        version: 1,
        cluster: ClusterId(7),
        sender: a.id(),
        receiver: b.id(),
        sender_life: a.transport.shared.life,
        receiver_life: b.transport.shared.life,
        sequence: 1000,
    };
    let secret = Secret::new("a secret");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| socket.send_to(bytes, b.address()).unwrap();
    let sealed = |header: Header, payload: &[u8]| send(&seal(&header, payload, &secret));
    let dropped = |read: fn(&Counters) -> u64| {
        let transport = b.transport.clone();
        async move |count| {
            eventually("dropped", || read(&transport.counters()) == count).await;
        }
    };

    sealed(right, b"first");
    eventually("arrived", || received(&b) == ["first"]).await;
    sealed(right, b"first");
    dropped(|counters| counters.datagrams_replayed)(1).await;

    send(&seal(&right, b"forged", &Secret::new("another")));
    send(&seal(&right, b"forged", &Secret::default()));
    let mut bent = seal(
        &Header {
            sequence: 1001,
            ..right
        },
        b"bent",
        &secret,
    );
    bent[102] ^= 1;
    send(&bent);
    dropped(|counters| counters.datagrams_forged)(3).await;

    send(b"");
    send(b"some garbage");
    send(&[b'C'; 300]);
    sealed(
        Header {
            version: 9,
            ..right
        },
        b"of another version",
    );
    dropped(|counters| counters.datagrams_malformed)(4).await;

    let next = Header {
        sequence: 1002,
        ..right
    };
    sealed(
        Header {
            cluster: ClusterId(8),
            ..next
        },
        b"foreign",
    );
    sealed(
        Header {
            sender: node(9),
            ..next
        },
        b"foreign",
    );
    sealed(
        Header {
            receiver: node(9),
            ..next
        },
        b"foreign",
    );
    sealed(
        Header {
            sender_life: 1,
            ..next
        },
        b"foreign",
    );
    sealed(
        Header {
            receiver_life: 1,
            ..next
        },
        b"foreign",
    );
    dropped(|counters| counters.datagrams_foreign)(5).await;

    sealed(next, b"second");
    eventually("arrived", || received(&b) == ["first", "second"]).await;
    let counters = b.transport.counters();
    assert_eq!(counters.datagrams_received, 2);
}

#[tokio::test]
async fn those_of_an_earlier_life_are_dropped() {
    let (a, b, _link) = pair().await;
    eventually("sent", || a.transport.send_datagram(b.id(), b"one").is_ok()).await;
    eventually("arrived", || received(&b) == ["one"]).await;
    let recorded = seal(
        &Header {
            version: 1,
            cluster: ClusterId(7),
            sender: a.id(),
            receiver: b.id(),
            sender_life: a.transport.shared.life,
            receiver_life: b.transport.shared.life,
            sequence: 50,
        },
        b"of yesterday",
        &Secret::new("a secret"),
    );
    a.transport.stop().await;
    let mut again = options(1);
    again.listen = a.address();
    let a = Node::start(again).await;
    a.link_to(&b).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&recorded, b.address()).unwrap();
    eventually("dropped", || b.transport.counters().datagrams_foreign == 1).await;
    eventually("sent", || a.transport.send_datagram(b.id(), b"two").is_ok()).await;
    eventually("arrived", || received(&b) == ["one", "two"]).await;
}
