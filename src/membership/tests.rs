//! Membership over real transports.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coterie_protocol::{ClusterId, NodeId, Partitions};

use super::{Liveness, Membership, SILENCE, judge};
use crate::clock::Clock;
use crate::transport::{CallId, Handler, Inbound, Options, Secret, Service, Transport};

#[derive(Default)]
struct Wiring(OnceLock<Arc<Membership>>);

impl Handler for Wiring {
    fn received(&self, from: &Arc<Inbound>, _service: Service, _call: Option<CallId>, body: Bytes) {
        if let Some(membership) = self.0.get() {
            membership.received(from.node(), &body);
        }
    }

    fn pushed(&self, _from: NodeId, _service: Service, _body: Bytes) {}

    fn link_changed(&self, peer: NodeId, up: bool) {
        if let Some(membership) = self.0.get() {
            membership.link_changed(peer, up);
        }
    }

    fn datagram(&self, from: NodeId, _address: SocketAddr, payload: Bytes) {
        if let Some(membership) = self.0.get() {
            membership.datagram(from, &payload);
        }
    }
}

fn node(number: u8) -> NodeId {
    NodeId([number; 20])
}

async fn start(number: u8, port: u16) -> Arc<Membership> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let partitions = Partitions::new(16).unwrap();
    let mut options = Options::new(listen, ClusterId(7), node(number), partitions);
    options.secret = Some(Secret::new("a secret"));
    let wiring = Arc::new(Wiring::default());
    let transport = Transport::start(options, wiring.clone()).await.unwrap();
    let membership = Membership::start(transport, &Clock::System, (1..=3).map(node));
    assert!(wiring.0.set(membership.clone()).is_ok());
    membership
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn introduce(nodes: &[Arc<Membership>]) {
    for one in nodes {
        let peers = nodes
            .iter()
            .map(|other| (other.transport.node(), other.transport.listening()));
        one.transport.set_peers(peers.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn three_nodes_see_each_other_come_leave_die_and_return() {
    let mut nodes = vec![start(1, 0).await, start(2, 0).await, start(3, 0).await];
    introduce(&nodes);
    let all = |nodes: &[Arc<Membership>], of: u8, state| {
        nodes
            .iter()
            .filter(|one| one.transport.node() != node(of))
            .all(|one| one.state(node(of)) == state)
    };
    let all_up = |nodes: &[Arc<Membership>]| (1..=3).all(|of| all(nodes, of, Liveness::Up));
    eventually("up", || all_up(&nodes)).await;
    assert_eq!(nodes[0].state(node(1)), Liveness::Up);
    assert_eq!(nodes[0].state(node(9)), Liveness::Unknown);
    let mut watch = nodes[0].watch();
    watch.mark_unchanged();

    // It dies, and returns at the same place.
    let dead = nodes.pop().unwrap();
    let port = dead.transport.listening().port();
    dead.transport.stop().await;
    eventually("down", || all(&nodes, 3, Liveness::Down)).await;
    assert!(watch.has_changed().unwrap());
    assert_eq!(watch.borrow_and_update()[&node(3)], Liveness::Down);
    nodes.push(start(3, port).await);
    introduce(&nodes);
    eventually("up again", || all_up(&nodes)).await;

    // It leaves in good order.
    let gone = nodes.pop().unwrap();
    gone.leave();
    gone.transport.stop().await;
    eventually("left", || all(&nodes, 3, Liveness::Down)).await;
    for one in &nodes {
        one.set_members([node(1), node(2)]);
        assert_eq!(one.state(node(3)), Liveness::Unknown);
        one.transport.stop().await;
    }
}

#[test]
fn the_link_has_a_say() {
    use Liveness::{Down, Suspect, Unknown, Up};
    let (short, long) = (Some(SILENCE / 2), Some(SILENCE));
    for (said, silent, expected) in [
        (Up, None, Up),
        (Up, long, Up),
        (Suspect, short, Suspect),
        (Suspect, long, Suspect),
        (Suspect, None, Down),
        (Down, short, Suspect),
        (Down, long, Down),
        (Down, None, Down),
        (Unknown, None, Unknown),
    ] {
        assert_eq!(judge(said, silent), expected, "{said:?} {silent:?}");
    }
}
