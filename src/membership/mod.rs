//! Who is alive, and nothing else: who owns data is decided by the topology.
//!
//! The word of the [`Detector`] is weighed with what this node's own link to the member says: see
//! [`judge`].

mod detector;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coterie_protocol::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use detector::{Detector, LARGEST_DATAGRAM, TICK};

use crate::clock::{self, Clock};
use crate::transport::{Service, Transport};

/// A member that is heard within this time is not down, whatever others say. The promise is: a killed
/// node is down within it, and a node that is busy for less never is.
pub const SILENCE: Duration = Duration::from_secs(2);
/// So often the whole state is sent to one member over its link.
const STATE_PERIOD: Duration = Duration::from_secs(10);

/// Whether a member is alive, from this node's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It answers.
    Up,
    /// It did not answer somebody lately, and has not contradicted yet.
    Suspect,
    /// It is gone.
    Down,
    /// Nothing was heard of it yet, or it is no member.
    Unknown,
}

/// The state of every member except this node.
pub type States = Arc<BTreeMap<NodeId, Liveness>>;

/// Membership of a running node.
pub struct Membership {
    transport: Arc<Transport>,
    detector: Mutex<Detector>,
    started: Instant,
    states: watch::Sender<States>,
}

impl Membership {
    /// Starts watching these members (this node may be among them). Runs on the transport's thread, as
    /// long as the result lives. The transport's handler has to pass on what arrives: see
    /// [`datagram`](Self::datagram), [`received`](Self::received) and
    /// [`link_changed`](Self::link_changed).
    pub fn start(
        transport: Arc<Transport>,
        clock: &Clock,
        members: impl IntoIterator<Item = NodeId>,
    ) -> Arc<Membership> {
        let mut detector = Detector::new(transport.node(), clock.now_ms(), rand::random());
        detector.set_members(members);
        let runtime = transport.runtime();
        let membership = Arc::new(Membership {
            states: watch::channel(Arc::new(detector.states())).0,
            transport,
            detector: Mutex::new(detector),
            started: Instant::now(),
        });
        let running = Arc::downgrade(&membership);
        runtime.spawn(async move {
            let mut timer = clock::ticks(TICK);
            let mut ticks = 0u64;
            loop {
                timer.tick().await;
                let Some(membership) = running.upgrade() else {
                    return;
                };
                ticks += 1;
                membership.tick(ticks);
            }
        });
        membership
    }

    /// Whether a member is alive. [`Liveness::Unknown`] for others; this node itself is up.
    pub fn state(&self, node: NodeId) -> Liveness {
        if node == self.transport.node() {
            return Liveness::Up;
        }
        let states = self.states.borrow();
        states.get(&node).copied().unwrap_or(Liveness::Unknown)
    }

    /// The states of all members, and a signal whenever one changes.
    pub fn watch(&self) -> watch::Receiver<States> {
        self.states.subscribe()
    }

    /// The members of the topology from now on.
    pub fn set_members(&self, members: impl IntoIterator<Item = NodeId>) {
        self.detector.lock().set_members(members);
        self.refresh();
    }

    /// Tells the others that this node goes; to be followed by the end of the transport.
    pub fn leave(&self) {
        self.detector.lock().leave();
        self.send_outgoing();
    }

    /// A datagram arrived: the handler's `datagram`.
    pub fn datagram(&self, from: NodeId, payload: &[u8]) {
        self.detector.lock().receive(from, payload);
        self.send_outgoing();
    }

    /// A message of [`Service::Membership`] arrived: the handler's `received`.
    pub fn received(&self, from: NodeId, body: &[u8]) {
        self.detector.lock().merge(from, body);
        self.send_outgoing();
    }

    /// A link went up or down: the handler's `link_changed`.
    pub fn link_changed(&self, peer: NodeId, up: bool) {
        if up {
            self.detector.lock().reachable(peer);
            self.send_state(peer);
            self.send_outgoing();
        }
        self.refresh();
    }

    fn tick(&self, ticks: u64) {
        self.detector.lock().advance(self.started.elapsed());
        self.send_outgoing();
        self.refresh();
        let period = (STATE_PERIOD.as_millis() / TICK.as_millis()) as u64;
        if ticks.is_multiple_of(period) {
            let links = self.transport.links();
            if !links.is_empty() {
                let chosen = rand::random_range(0..links.len());
                self.send_state(links[chosen].peer());
            }
        }
    }

    fn send_state(&self, to: NodeId) {
        let state = self.detector.lock().state();
        if let Some(link) = self.transport.link(to) {
            // If this gets lost, the next one will do.
            let _ = link.send(Service::Membership, &state);
        }
    }

    fn send_outgoing(&self) {
        loop {
            let Some((to, message)) = self.detector.lock().outgoing() else {
                return;
            };
            if let Err(error) = self.transport.send_datagram(to, &message) {
                tracing::trace!(peer = %to, %error, "membership message not sent");
            }
        }
    }

    /// Publishes the states and says what changed.
    fn refresh(&self) {
        let mut states = self.detector.lock().states();
        for (node, state) in &mut states {
            let link = self.transport.link(*node);
            *state = judge(*state, link.and_then(|link| link.silent_for()));
        }
        self.states.send_if_modified(|published| {
            if **published == states {
                return false;
            }
            for (node, state) in &states {
                let before = published.get(node).unwrap_or(&Liveness::Unknown);
                match state {
                    _ if state == before => {}
                    Liveness::Up => tracing::info!(peer = %node, "node is up"),
                    Liveness::Suspect => {
                        tracing::warn!(peer = %node, "node is suspected to be down")
                    }
                    Liveness::Down => tracing::warn!(peer = %node, "node is down"),
                    Liveness::Unknown => tracing::info!(peer = %node, "nothing is known of a node"),
                }
            }
            *published = Arc::new(states);
            true
        });
    }
}

/// What to think of a member of which the detector says `said`, and on whose link nothing was heard for
/// `silent` (`None`: there is no connection).
///
/// A connection is closed at once when a process dies, but stays while it is merely busy: a suspect
/// without one is down. And who is heard on the link is not down, even if others can't reach it.
pub fn judge(said: Liveness, silent: Option<Duration>) -> Liveness {
    match (said, silent) {
        (Liveness::Suspect, None) => Liveness::Down,
        (Liveness::Down, Some(silent)) if silent < SILENCE => Liveness::Suspect,
        (said, _) => said,
    }
}
