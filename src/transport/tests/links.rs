//! What links do while all agree, and while connections break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coterie_protocol::internal::Service;

use super::super::{CallError, SendError};
use super::{Node, Relay, eventually, node, options, pair};

fn numbers(node: &Node, service: Service) -> Vec<u32> {
    let received = node.recorder.received.lock();
    received
        .iter()
        .filter(|(_, to, _)| *to == service)
        .map(|(_, _, body)| u32::from_le_bytes(body[..4].try_into().unwrap()))
        .collect()
}

#[tokio::test]
async fn calls_and_messages_arrive_in_order_and_replies_return() {
    let (a, b, link) = pair().await;
    let mut replies = Vec::new();
    for number in 0..500u32 {
        link.send(Service::Records, &number.to_le_bytes()).unwrap();
        let body = number.to_le_bytes();
        replies.push(link.call(Service::Execute, &body));
    }
    for (number, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.await.unwrap()[..], (number as u32).to_le_bytes());
    }
    let received = b.recorder.received.lock().clone();
    assert_eq!(received.len(), 1000);
    for (index, (from, service, body)) in received.iter().enumerate() {
        assert_eq!(*from, a.id());
        let expected = [Service::Records, Service::Execute][index % 2];
        assert_eq!(
            (*service, &body[..]),
            (expected, &(index as u32 / 2).to_le_bytes()[..])
        );
    }
    // A large one, and what the acceptor says unasked.
    let large = vec![7; 3 << 20];
    assert_eq!(link.call(Service::Execute, &large).await.unwrap(), large);
    let inbound = b.recorder.inbound.lock().clone().unwrap();
    assert!(inbound.push(Service::Acknowledge, b"so far"));
    eventually("pushed", || a.recorder.pushed.lock().len() == 1).await;
    assert_eq!(a.recorder.pushed.lock()[0], "so far");
    eventually("round trip", || !link.status().round_trip.is_zero()).await;
    let status = link.status();
    assert_eq!((status.version, status.reconnects), (1, 0));
    assert!(status.bytes_sent > 3 << 20 && status.bytes_received > 3 << 20);
    assert!(a.transport.counters().bytes_sent >= status.bytes_sent);
    assert!(b.transport.counters().bytes_received > 3 << 20);
    assert_eq!(*a.recorder.changes.lock(), [(b.id(), true)]);
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_queued() {
    let mut small = options(1);
    small.body_limit = 1000;
    let (a, b) = (Node::start(small).await, Node::start(options(2)).await);
    let link = a.link_to(&b).await;
    assert_eq!(
        link.send(Service::Records, &[0; 1001]),
        Err(SendError::TooLarge)
    );
    assert_eq!(
        link.call(Service::Records, &[0; 1001]).await,
        Err(CallError::Send(SendError::TooLarge))
    );
    link.send(Service::Records, &[0; 1000]).unwrap();
    eventually("arrived", || b.recorder.received.lock().len() == 1).await;
}

#[tokio::test]
async fn calls_end_as_broken_when_the_connection_does_and_the_link_returns() {
    let (a, b) = (Node::start(options(1)).await, Node::start(options(2)).await);
    let relay = Relay::to(b.address()).await;
    let link = a.link_at(&b, relay.address).await;
    let open: Vec<_> = (0..10)
        .map(|_| link.call(Service::Digests, b"never answered"))
        .collect();
    eventually("arrived", || b.recorder.received.lock().len() == 10).await;
    relay.cut();
    for call in open {
        assert_eq!(call.await, Err(CallError::Broken));
    }
    eventually("up again", || link.status().reconnects == 1 && link.is_up()).await;
    assert_eq!(
        link.call(Service::Execute, b"again").await.unwrap(),
        "again"
    );
    let changes = a.recorder.changes.lock().clone();
    assert_eq!(changes, [(b.id(), true), (b.id(), false), (b.id(), true)]);
}

#[tokio::test]
async fn order_holds_over_broken_connections() {
    let (a, b) = (Node::start(options(1)).await, Node::start(options(2)).await);
    let relay = Relay::to(b.address()).await;
    let link = a.link_at(&b, relay.address).await;
    let done = Arc::new(AtomicBool::new(false));
    let sender = tokio::spawn({
        let (link, done) = (link.clone(), done.clone());
        async move {
            let mut number = 0u32;
            while !done.load(Ordering::Relaxed) {
                if link.send(Service::Records, &number.to_le_bytes()).is_ok() {
                    number += 1;
                }
                tokio::task::yield_now().await;
            }
            number
        }
    });
    for cut in 1..=5 {
        let before = numbers(&b, Service::Records).len();
        eventually("more arrive", || {
            numbers(&b, Service::Records).len() > before + 20
        })
        .await;
        relay.cut();
        eventually("up again", || link.status().reconnects == cut).await;
    }
    done.store(true, Ordering::Relaxed);
    let sent = sender.await.unwrap();
    assert!(
        link.call(Service::Execute, &sent.to_le_bytes())
            .await
            .is_ok()
    );
    let arrived = numbers(&b, Service::Records);
    // Some are lost with a connection; none twice, none late.
    assert!(arrived.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(arrived.last(), Some(&(sent - 1)));
}

#[tokio::test]
async fn a_full_buffer_is_busy_until_the_peer_reads_again() {
    let mut bounded = options(1);
    bounded.output_limit = 64 << 10;
    bounded.broken_after = Duration::from_secs(3600);
    let mut patient = options(2);
    patient.broken_after = Duration::from_secs(3600);
    let (a, b) = (Node::start(bounded).await, Node::start(patient).await);
    let relay = Relay::to(b.address()).await;
    let link = a.link_at(&b, relay.address).await;
    relay.hold_forward.send_replace(true);
    let body = vec![0; 32 << 10];
    // The sockets between take some as well, but not without end.
    let mut queued = 0;
    let mut busy_in_a_row = 0;
    while busy_in_a_row < 50 {
        match link.send(Service::Records, &body) {
            Ok(()) => (queued, busy_in_a_row) = (queued + 1, 0),
            Err(SendError::Busy) => busy_in_a_row += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(queued < 10_000, "it never was full");
    }
    assert!(link.status().bytes_waiting < (64 << 10) + (33 << 10));
    let call = link.call(Service::Execute, b"x").await;
    assert_eq!(call, Err(CallError::Send(SendError::Busy)));
    relay.hold_forward.send_replace(false);
    link.writable().await;
    link.send(Service::Records, &body).unwrap();
    eventually("all arrive", || {
        b.recorder.received.lock().len() == queued + 1
    })
    .await;
    assert_eq!(link.status().reconnects, 0);
}

#[tokio::test]
async fn a_dialler_that_does_not_read_is_disconnected() {
    let mut bounded = options(2);
    bounded.reply_limit = 64 << 10;
    let (a, b) = (Node::start(options(1)).await, Node::start(bounded).await);
    let relay = Relay::to(b.address()).await;
    let link = a.link_at(&b, relay.address).await;
    link.call(Service::Execute, b"hello").await.unwrap();
    let inbound = b.recorder.inbound.lock().clone().unwrap();
    relay.hold_backward.send_replace(true);
    let body = vec![0; 32 << 10];
    let mut pushed = 0;
    while inbound.push(Service::Acknowledge, &body) {
        pushed += 1;
        assert!(pushed < 10_000, "it never was full");
        tokio::task::yield_now().await;
    }
    assert!(!inbound.is_open());
    relay.hold_backward.send_replace(false);
    eventually("up again", || link.status().reconnects == 1 && link.is_up()).await;
}

#[tokio::test]
async fn a_silent_peer_is_not_responsive_but_up_until_it_is_given_up() {
    let mut patient = options(1);
    patient.broken_after = Duration::from_secs(3600);
    let (a, b) = (Node::start(patient).await, Node::start(options(2)).await);
    let relay = Relay::to(b.address()).await;
    let link = a.link_at(&b, relay.address).await;
    eventually("responsive", || link.is_responsive()).await;
    relay.hold_backward.send_replace(true);
    eventually("silent", || !link.is_responsive()).await;
    assert!(link.is_up());
    assert!(link.status().silent_for.unwrap() > Duration::from_millis(60));
    relay.hold_backward.send_replace(false);
    eventually("responsive", || link.is_responsive()).await;
    assert_eq!(link.status().reconnects, 0);
    // One that gives up sooner.
    let mut hasty = options(3);
    hasty.broken_after = Duration::from_millis(300);
    let c = Node::start(hasty).await;
    let link = c.link_at(&b, relay.address).await;
    relay.hold_backward.send_replace(true);
    eventually("given up", || !link.is_up()).await;
    relay.hold_backward.send_replace(false);
    eventually("up again", || link.is_up()).await;
}

#[tokio::test]
async fn stopping_lets_queued_messages_leave_and_breaks_calls() {
    let (a, b, link) = pair().await;
    let back = b.link_to(&a).await;
    let open = back.call(Service::Digests, b"never answered");
    link.send(Service::Records, b"the last words").unwrap();
    a.transport.stop().await;
    eventually("last words", || {
        let received = b.recorder.received.lock();
        received.iter().any(|(_, _, body)| body == "the last words")
    })
    .await;
    assert_eq!(open.await, Err(CallError::Broken));
    eventually("down", || !back.is_up()).await;
    assert_eq!(link.send(Service::Records, b"more"), Err(SendError::Down));
    // The ports are free again.
    assert!(std::net::TcpListener::bind(a.address()).is_ok());
    a.transport.stop().await;
}

#[tokio::test]
async fn a_node_that_dials_us_is_dialled_at_once() {
    let mut other = options(2);
    other.cluster = coterie_protocol::ClusterId(8);
    let mut lazy = options(1);
    lazy.backoff_limit = Duration::from_secs(3600);
    let (a, b) = (Node::start(lazy).await, Node::start(other).await);
    let link = a.dial_at(&b, b.address());
    // A refusal makes the pause the longest: an hour.
    eventually("refused", || !a.recorder.refusals.lock().is_empty()).await;
    b.transport.set_cluster(a.transport.cluster());
    b.link_to(&a).await;
    eventually("up", || link.is_up()).await;
}

#[tokio::test]
async fn peers_come_go_and_move() {
    let (a, b, link) = pair().await;
    a.transport
        .set_peers([(a.id(), a.address()), (b.id(), b.address())]);
    assert!(Arc::ptr_eq(&link, &a.transport.link(b.id()).unwrap()));
    assert!(link.is_up() && a.transport.link(a.id()).is_none());
    let relay = Relay::to(b.address()).await;
    a.transport.set_peers([(b.id(), relay.address)]);
    eventually("moved", || link.is_up() && link.status().reconnects == 1).await;
    assert_eq!(link.status().address, relay.address);
    a.transport.set_peers([]);
    assert!(a.transport.link(b.id()).is_none());
    eventually("closed", || b.transport.inbound().is_empty()).await;
    assert_eq!(link.send(Service::Records, b"x"), Err(SendError::Down));
    assert!(a.transport.link(node(9)).is_none());
}
