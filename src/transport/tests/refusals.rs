//! Who is refused, and that both sides know why.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use coterie_protocol::internal::{Kind, PREAMBLE, Reason, Refusal, Scan, Secret, Service, frame};
use coterie_protocol::{ClusterId, Partitions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{CallError, Options};
use super::{Node, eventually, node, options, pair};
use crate::clock::Clock;

/// Starts two nodes, lets the first dial the second, and returns why either refused.
async fn refusal_between(a: Options, b: Options) -> Refusal {
    let (a, b) = (Node::start(a).await, Node::start(b).await);
    a.transport.set_peers([(node(2), b.address())]);
    let link = a.transport.link(node(2)).unwrap();
    eventually("refused", || {
        !a.recorder.refusals.lock().is_empty() || !b.recorder.refusals.lock().is_empty()
    })
    .await;
    assert!(!link.is_up());
    assert!(a.recorder.changes.lock().is_empty());
    let counted = |node: &Node| node.transport.counters().connections_refused;
    assert!(counted(&a) + counted(&b) > 0);
    eventually("explained", || link.status().last_error.is_some()).await;
    let refusal = a.recorder.refusals.lock().first().cloned();
    refusal.unwrap_or_else(|| b.recorder.refusals.lock()[0].clone())
}

/// Likewise with changed options for the second and then for the first; the reason is the same.
async fn refusal(change: impl Fn(&mut Options)) -> Refusal {
    let changed = |number| {
        let mut options = options(number);
        change(&mut options);
        options
    };
    let one = refusal_between(options(1), changed(2)).await;
    let other = refusal_between(changed(1), options(2)).await;
    assert_eq!(one.reason, other.reason);
    one
}

#[tokio::test]
async fn a_wrong_secret() {
    let wrong = refusal(|options| options.secret = Some(Secret::new("another"))).await;
    assert_eq!(wrong.reason, Reason::Secret);
    let none = refusal(|options| options.secret = None).await;
    assert_eq!(none.reason, Reason::Secret);
}

#[tokio::test]
async fn another_cluster() {
    let refusal = refusal(|options| options.cluster = ClusterId(8)).await;
    assert_eq!(refusal.reason, Reason::Cluster);
    assert!(
        refusal.detail.contains(&ClusterId(8).to_string()),
        "{refusal}"
    );
}

#[tokio::test]
async fn other_partitions() {
    let refusal = refusal(|options| options.partitions = Partitions::new(32).unwrap()).await;
    assert_eq!(refusal.reason, Reason::Partitions);
    assert!(
        refusal.detail.contains("32") && refusal.detail.contains("16"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_clock_that_is_far_off() {
    let now = Clock::System.now_ms();
    for wrong in [now - 60_000, now + 60_000] {
        let refusal = refusal(|options| {
            options.clock = Clock::Manual(Arc::new(AtomicU64::new(wrong)));
        })
        .await;
        assert_eq!(refusal.reason, Reason::Clock, "{refusal}");
    }
}

#[tokio::test]
async fn a_clock_that_goes_astray_later() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let with_clock = |number, clock: &Arc<AtomicU64>| Options {
        clock: Clock::Manual(clock.clone()),
        ..options(number)
    };
    let astray = Arc::new(AtomicU64::new(1_000_000));
    let a = Node::start(with_clock(1, &now)).await;
    let b = Node::start(with_clock(2, &astray)).await;
    let link = a.link_to(&b).await;
    astray.store(1_000_300, std::sync::atomic::Ordering::Relaxed);
    eventually("offset known", || link.status().clock_offset_ms == 300).await;
    assert!(link.is_up());
    astray.store(1_005_000, std::sync::atomic::Ordering::Relaxed);
    eventually("refused", || {
        let refusals = b.recorder.refusals.lock();
        refusals
            .iter()
            .any(|refusal| refusal.reason == Reason::Clock)
    })
    .await;
    eventually("down", || !link.is_up()).await;
}

#[tokio::test]
async fn no_common_version() {
    let refusal = refusal(|options| options.versions = 5..=6).await;
    assert_eq!(refusal.reason, Reason::Version);
    assert!(
        refusal.detail.contains("5..=6") && refusal.detail.contains("1..=1"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_newer_and_an_older_node_speak_the_older_version() {
    for (dialler, acceptor, spoken) in [(1..=3, 1..=1, 1), (1..=2, 2..=5, 2), (3..=4, 1..=9, 4)] {
        let (mut a, mut b) = (options(1), options(2));
        (a.versions, b.versions) = (dialler, acceptor);
        let (a, b) = (Node::start(a).await, Node::start(b).await);
        let link = a.link_to(&b).await;
        assert_eq!(link.status().version, spoken);
        link.call(Service::Execute, b"x").await.unwrap();
        let inbound = b.recorder.inbound.lock().clone().unwrap();
        assert_eq!(inbound.version(), spoken);
    }
}

#[tokio::test]
async fn another_node_than_expected() {
    let (a, b) = (Node::start(options(1)).await, Node::start(options(2)).await);
    a.transport.set_peers([(node(3), b.address())]);
    eventually("refused", || {
        let refusals = b.recorder.refusals.lock();
        refusals
            .iter()
            .any(|refusal| refusal.reason == Reason::Unexpected)
    })
    .await;
    assert!(!a.transport.link(node(3)).unwrap().is_up());
}

#[tokio::test]
async fn a_copied_data_directory() {
    // It dials the original.
    let (a, b, link) = pair().await;
    let copy = Node::start(options(1)).await;
    copy.transport.set_peers([(node(9), a.address())]);
    eventually("refused", || !copy.recorder.refusals.lock().is_empty()).await;
    assert_eq!(copy.recorder.refusals.lock()[0].reason, Reason::Duplicate);
    // It dials a third node, which speaks with the original.
    copy.dial_at(&b, b.address());
    eventually("refused", || copy.recorder.refusals.lock().len() > 1).await;
    let refusal = copy.recorder.refusals.lock().last().cloned().unwrap();
    assert_eq!(refusal.reason, Reason::Duplicate);
    assert!(
        refusal.detail.contains(&a.address().to_string()),
        "{refusal}"
    );
    assert!(link.is_up());
    // When the original is gone, it is that node, in a new place.
    a.transport.stop().await;
    let link = copy.transport.link(b.id()).unwrap();
    eventually("up", || link.is_up()).await;
}

#[tokio::test]
async fn a_node_that_dials_itself() {
    let a = Node::start(options(1)).await;
    a.transport.set_peers([(node(2), a.address())]);
    eventually("refused", || !a.recorder.refusals.lock().is_empty()).await;
    let refusal = a.recorder.refusals.lock()[0].clone();
    assert_eq!(refusal.reason, Reason::Duplicate);
    assert!(refusal.detail.contains("itself"), "{refusal}");
}

#[tokio::test]
async fn a_joiner_may_only_join() {
    let mut joiner = options(1);
    joiner.cluster = ClusterId(0);
    let (joiner, b) = (Node::start(joiner).await, Node::start(options(2)).await);
    let deadline = Instant::now() + Duration::from_secs(20);
    let call = |service| {
        let transport = joiner.transport.clone();
        let address = b.address();
        async move {
            transport
                .call_address(address, service, b"me", deadline)
                .await
        }
    };
    assert_eq!(call(Service::Join).await.unwrap(), "welcome");
    assert!(b.recorder.inbound.lock().as_ref().unwrap().is_joining());
    match call(Service::Execute).await {
        Err(CallError::Refused(refusal)) => assert_eq!(refusal.reason, Reason::NotJoined),
        other => panic!("{other:?}"),
    }
    // A node of the cluster is no better off with one that has not joined.
    let back = b.dial_at(&joiner, joiner.address());
    eventually("refused", || {
        let refusals = b.recorder.refusals.lock();
        refusals
            .iter()
            .any(|refusal| refusal.reason == Reason::Cluster)
    })
    .await;
    joiner.transport.set_cluster(b.transport.cluster());
    let link = joiner.link_to(&b).await;
    assert_eq!(link.call(Service::Execute, b"x").await.unwrap(), "x");
    eventually("up", || back.is_up()).await;
}

#[tokio::test]
async fn a_joiner_needs_the_secret() {
    let mut joiner = options(1);
    (joiner.cluster, joiner.secret) = (ClusterId(0), None);
    let (joiner, b) = (Node::start(joiner).await, Node::start(options(2)).await);
    let deadline = Instant::now() + Duration::from_secs(20);
    let call = joiner
        .transport
        .call_address(b.address(), Service::Join, b"me", deadline);
    match call.await {
        Err(CallError::Refused(refusal)) => assert_eq!(refusal.reason, Reason::Secret),
        other => panic!("{other:?}"),
    }
    assert!(b.recorder.received.lock().is_empty());
}

#[tokio::test]
async fn without_a_secret_only_loopback_is_dialled() {
    let mut open = options(1);
    open.secret = None;
    assert!(open.permits(([127, 0, 0, 1], 1).into()) && open.permits("[::1]:1".parse().unwrap()));
    assert!(open.permits("[::ffff:127.0.0.1]:1".parse().unwrap()));
    assert!(!open.permits(([192, 0, 2, 1], 1).into()));
    assert!(options(1).permits(([192, 0, 2, 1], 1).into()));
    let a = Node::start(open.clone()).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let call = a
        .transport
        .call_address(([192, 0, 2, 1], 1).into(), Service::Join, b"", deadline);
    match call.await {
        Err(CallError::Refused(refusal)) => assert_eq!(refusal.reason, Reason::Loopback),
        other => panic!("{other:?}"),
    }
    // Two without a secret speak over loopback.
    open.node = node(2);
    let b = Node::start(open).await;
    a.link_to(&b).await;
}

#[tokio::test]
async fn unreachable_and_late_calls() {
    let a = Node::start(options(1)).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let far = Instant::now() + Duration::from_secs(20);
    let call = a
        .transport
        .call_address(nobody, Service::Join, b"", far)
        .await;
    assert!(matches!(call, Err(CallError::Unreachable(_))), "{call:?}");
    let b = Node::start(options(2)).await;
    let call = a
        .transport
        .call_address(b.address(), Service::Digests, b"", Instant::now());
    assert_eq!(call.await, Err(CallError::Timeout));
}

/// Sends raw bytes to a node and returns the refusal that it answers before it closes.
async fn answer_to(bytes: &[u8], node: &Node) -> Refusal {
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let frames = answer.strip_prefix(&PREAMBLE[..]).unwrap();
    match frame::scan(frames, frame::HANDSHAKE_BODY_LIMIT) {
        Ok(Scan::Complete(frame)) if frame.kind == Kind::Refuse => {
            assert_eq!(frame.length, frames.len());
            Refusal::decode(&frames[frame::HEADER..])
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn garbage() {
    let b = Node::start(options(2)).await;
    let request = answer_to(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", &b).await;
    assert_eq!(request.reason, Reason::Garbage);
    let with = |rest: &[u8]| [&PREAMBLE[..], rest].concat();
    let huge = answer_to(&with(&[0xff; 64]), &b).await;
    assert_eq!(huge.reason, Reason::TooLarge);
    let mut hello = Vec::new();
    frame::encode(Kind::Hello, 0, 0, b"short", &mut hello);
    assert_eq!(answer_to(&with(&hello), &b).await.reason, Reason::Garbage);
    hello[10] ^= 1;
    assert_eq!(answer_to(&with(&hello), &b).await.reason, Reason::Garbage);
    let mut call = Vec::new();
    frame::encode(
        Kind::Call,
        Service::Execute as u8,
        1,
        b"no handshake",
        &mut call,
    );
    assert_eq!(answer_to(&with(&call), &b).await.reason, Reason::Garbage);
    assert!(b.recorder.received.lock().is_empty());
    assert_eq!(b.transport.counters().connections_refused, 5);
}

#[tokio::test]
async fn a_frame_over_the_limit() {
    let mut small = options(2);
    small.body_limit = 2000;
    let (a, b) = (Node::start(options(1)).await, Node::start(small).await);
    let link = a.link_to(&b).await;
    let large = link.call(Service::Execute, &vec![0; 1 << 20]);
    assert_eq!(large.await, Err(CallError::Broken));
    eventually("refused", || {
        let refusals = a.recorder.refusals.lock();
        refusals
            .iter()
            .any(|refusal| refusal.reason == Reason::TooLarge)
    })
    .await;
    assert!(b.recorder.received.lock().is_empty());
    eventually("up again", || link.is_up()).await;
    link.call(Service::Execute, &[0; 2000]).await.unwrap();
}

#[tokio::test]
async fn too_many_connections() {
    let mut small = options(2);
    small.inbound_limit = 1;
    let (a, b) = (Node::start(options(1)).await, Node::start(small).await);
    let link = a.link_to(&b).await;
    let c = Node::start(options(3)).await;
    let second = c.dial_at(&b, b.address());
    eventually("failed", || second.status().last_error.is_some()).await;
    assert!(link.is_up() && !second.is_up());
    a.transport.set_peers([]);
    eventually("up", || second.is_up()).await;
}
