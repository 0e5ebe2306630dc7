//! Several transports in one process, over loopback.

mod datagrams;
mod links;
mod refusals;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coterie_protocol::internal::{Refusal, Secret, Service};
use coterie_protocol::{ClusterId, NodeId, Partitions};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{CallId, Handler, Inbound, Link, Options, Transport};

/// The node with this number.
fn node(number: u8) -> NodeId {
    NodeId([number; 20])
}

fn options(number: u8) -> Options {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let partitions = Partitions::new(16).unwrap();
    Options {
        secret: Some(Secret::new("a secret")),
        backoff_limit: Duration::from_millis(50),
        ..Options::new(listen, ClusterId(7), node(number), partitions)
    }
}

/// Waits for a condition, and fails after a time that only a fault can take.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Notes all that arrives. Calls of `Execute` are echoed, those of `Join` answered, others left open.
#[derive(Default)]
struct Recorder {
    received: Mutex<Vec<(NodeId, Service, Bytes)>>,
    pushed: Mutex<Vec<Bytes>>,
    changes: Mutex<Vec<(NodeId, bool)>>,
    datagrams: Mutex<Vec<(NodeId, Bytes)>>,
    refusals: Mutex<Vec<Refusal>>,
    inbound: Mutex<Option<Arc<Inbound>>>,
}

impl Handler for Recorder {
    fn received(&self, from: &Arc<Inbound>, service: Service, call: Option<CallId>, body: Bytes) {
        *self.inbound.lock() = Some(from.clone());
        match (service, call) {
            (Service::Execute, Some(call)) => from.reply(call, &body),
            (Service::Join, Some(call)) => from.reply(call, b"welcome"),
            _ => {}
        }
        self.received.lock().push((from.node(), service, body));
    }

    fn pushed(&self, _from: NodeId, _service: Service, body: Bytes) {
        self.pushed.lock().push(body);
    }

    fn link_changed(&self, peer: NodeId, up: bool) {
        self.changes.lock().push((peer, up));
    }

    fn datagram(&self, from: NodeId, _address: SocketAddr, payload: Bytes) {
        self.datagrams.lock().push((from, payload));
    }

    fn refused(&self, _address: SocketAddr, refusal: &Refusal) {
        self.refusals.lock().push(refusal.clone());
    }
}

struct Node {
    transport: Arc<Transport>,
    recorder: Arc<Recorder>,
}

impl Node {
    async fn start(options: Options) -> Node {
        let recorder = Arc::new(Recorder::default());
        let transport = Transport::start(options, recorder.clone()).await.unwrap();
        Node {
            transport,
            recorder,
        }
    }

    fn id(&self) -> NodeId {
        self.transport.node()
    }

    fn address(&self) -> SocketAddr {
        self.transport.listening()
    }

    /// Dials another node, at `address`; the link need not come up.
    fn dial_at(&self, other: &Node, address: SocketAddr) -> Arc<Link> {
        self.transport.set_peers([(other.id(), address)]);
        self.transport.link(other.id()).unwrap()
    }

    async fn link_to(&self, other: &Node) -> Arc<Link> {
        self.link_at(other, other.address()).await
    }

    async fn link_at(&self, other: &Node, address: SocketAddr) -> Arc<Link> {
        let link = self.dial_at(other, address);
        eventually("link up", || link.is_up()).await;
        link
    }
}

/// Two nodes, the first linked to the second.
async fn pair() -> (Node, Node, Arc<Link>) {
    let (a, b) = (Node::start(options(1)).await, Node::start(options(2)).await);
    let link = a.link_to(&b).await;
    (a, b, link)
}

/// A TCP relay that can cut its connections and hold back what flows one way.
struct Relay {
    address: SocketAddr,
    cut: watch::Sender<u32>,
    hold_forward: watch::Sender<bool>,
    hold_backward: watch::Sender<bool>,
}

impl Relay {
    async fn to(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let relay = Relay {
            address: listener.local_addr().unwrap(),
            cut: watch::channel(0).0,
            hold_forward: watch::channel(false).0,
            hold_backward: watch::channel(false).0,
        };
        let cut = relay.cut.subscribe();
        let forward = relay.hold_forward.subscribe();
        let backward = relay.hold_backward.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut cut = cut.clone();
                cut.mark_unchanged();
                let (forward, backward) = (forward.clone(), backward.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::select! {
                        () = copy(near_read, far_write, forward) => {}
                        () = copy(far_read, near_write, backward) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        relay
    }

    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut hold: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 4096];
    loop {
        if hold.wait_for(|hold| !hold).await.is_err() {
            return;
        }
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if hold.wait_for(|hold| !hold).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
