//! The failure detector: SWIM with suspicion and refutation (Das, Gupta, Motivala: "SWIM: Scalable
//! Weakly-consistent Infection-style Process Group Membership Protocol", 2002), by the crate foca.
//!
//! A plain state machine: time and datagrams go in, datagrams and states come out.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::NodeId;
use foca::{
    AccumulatingRuntime, Config, Foca, Member, NoCustomBroadcast, PeriodicParams, PostcardCodec,
    State, Timer,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::Liveness;

/// How often [`Detector::advance`] is to be called.
pub const TICK: Duration = Duration::from_millis(20);
/// Time that passed between two calls counts for no more than this: who was stopped does not take the
/// time as his peers' silence.
const LONGEST_STEP: Duration = Duration::from_millis(100);
/// The largest message: with our header and those of UDP and IPv6 it fits into an Ethernet frame.
pub const LARGEST_DATAGRAM: usize = 1300;
/// The largest state that is merged, in bytes.
const LARGEST_STATE: usize = 1 << 20;

/// One member is asked for a sign of life in each such period.
const PROBE_PERIOD: Duration = Duration::from_millis(200);
/// After this time others are asked to ask it.
const PROBE_TIMEOUT: Duration = Duration::from_millis(80);
/// How long a suspected member may take to refute it, in clusters up to [`SUSPICION_SIZE`]; longer
/// in larger ones, as news takes longer there.
const SUSPICION: Duration = Duration::from_millis(1400);
const SUSPICION_SIZE: f64 = 64.0;
/// While there is news, so often it is told to some.
const GOSSIP_PERIOD: Duration = Duration::from_millis(100);
const GOSSIP_TO: usize = 3;
/// Members that are not known to be alive are greeted so often, and some others now and then.
const GREETING_PERIOD: Duration = Duration::from_millis(500);
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(10);
/// For how long it is remembered that one was down; afterwards it may return with the same incarnation.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

const fn count(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).expect("a constant that is not zero")
}

/// A life of a node as SWIM sees it. The incarnation starts with the wall clock in milliseconds, so
/// that a restarted node supersedes what was said of it before, and grows when the node has to
/// contradict that it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    node: NodeId,
    incarnation: u64,
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Identity {
            incarnation: self.incarnation.checked_add(1)?,
            ..*self
        })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.incarnation > adversary.incarnation
    }
}

/// Who is alive, from one node's point of view.
pub struct Detector {
    foca: Foca<Identity, PostcardCodec, StdRng, NoCustomBroadcast>,
    effects: AccumulatingRuntime<Identity>,
    /// By when they are due (in awake time) and the order in which they were set.
    timers: BTreeMap<(Duration, u64), Timer<Identity>>,
    timers_set: u64,
    /// The latest time that was passed in.
    now: Option<Duration>,
    /// The time that passed while this node was awake.
    awake: Duration,
    greet_at: Duration,
    members: BTreeSet<NodeId>,
    left: bool,
}

impl Detector {
    /// A detector that knows nobody yet. `incarnation` is the wall clock in milliseconds at the start;
    /// `seed` decides whom it asks in which order.
    pub fn new(node: NodeId, incarnation: u64, seed: u64) -> Detector {
        let identity = Identity { node, incarnation };
        let random = StdRng::seed_from_u64(seed);
        Detector {
            foca: Foca::new(identity, config(1), random, PostcardCodec),
            effects: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            now: None,
            awake: Duration::ZERO,
            greet_at: Duration::ZERO,
            members: BTreeSet::new(),
            left: false,
        }
    }

    /// These are the members from now on, whoever else is heard of is ignored. This node itself may be
    /// among them.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = NodeId>) {
        let own = self.foca.identity().node;
        let members: BTreeSet<_> = members.into_iter().filter(|node| *node != own).collect();
        if members == self.members {
            return;
        }
        let gone: Vec<_> = (self.foca.iter_members())
            .filter(|member| !members.contains(&member.id().node))
            .map(|member| Member::new(*member.id(), member.incarnation(), State::Down))
            .collect();
        self.members = members;
        let told = self
            .foca
            .apply_many(gone.into_iter(), false, &mut self.effects);
        note(told);
        note(self.foca.set_config(config(self.members.len() + 1)));
        self.greet_at = self.awake;
        self.settle();
    }

    /// Time passes; call this every [`TICK`]. `now` is any clock that does not go backwards.
    pub fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now.unwrap_or(now));
        self.awake += passed.min(LONGEST_STEP);
        self.now = Some(now);
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > self.awake {
                break;
            }
            let timer = entry.remove();
            note(self.foca.handle_timer(timer, &mut self.effects));
            self.settle();
        }
        if self.awake >= self.greet_at && !self.left {
            self.greet_at = self.awake + GREETING_PERIOD;
            self.greet();
        }
    }

    /// Greets the members that are not known to be alive.
    fn greet(&mut self) {
        let states = self.states();
        for (node, state) in states {
            if matches!(state, Liveness::Unknown | Liveness::Down) {
                self.greet_one(node);
            }
        }
    }

    /// Greets a member: it can be reached since just now.
    pub fn reachable(&mut self, node: NodeId) {
        if self.members.contains(&node) && !self.left {
            self.greet_one(node);
        }
    }

    fn greet_one(&mut self, node: NodeId) {
        // A greeting arrives at whatever incarnation the node has.
        let anyone = Identity {
            node,
            incarnation: 0,
        };
        note(self.foca.announce(anyone, &mut self.effects));
        self.settle();
    }

    /// A message of a member's detector arrived.
    pub fn receive(&mut self, from: NodeId, message: &[u8]) {
        if self.members.contains(&from) && !self.left {
            note(self.foca.handle_data(message, &mut self.effects));
            self.settle();
        }
    }

    /// All that this node knows, to be merged by another; for the ordered path, as it may be large.
    pub fn state(&self) -> Vec<u8> {
        let own = Member::alive(*self.foca.identity());
        let known: Vec<_> = std::iter::once(&own)
            .chain(self.foca.iter_membership_state())
            .collect();
        postcard::to_stdvec(&known).unwrap_or_default()
    }

    /// Takes over what another member knows.
    pub fn merge(&mut self, from: NodeId, state: &[u8]) {
        if !self.members.contains(&from) || self.left || state.len() > LARGEST_STATE {
            return;
        }
        let known: Vec<Member<Identity>> = match postcard::from_bytes(state) {
            Ok(known) => known,
            Err(error) => return tracing::debug!(%error, "a malformed state of membership"),
        };
        let own = self.foca.identity().node;
        let known = known.into_iter().filter(|member| {
            let node = member.id().node;
            node == own || self.members.contains(&node)
        });
        note(self.foca.apply_many(known, true, &mut self.effects));
        self.settle();
    }

    /// Tells the others that this node goes. It is silent afterwards.
    pub fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            note(self.foca.leave_cluster(&mut self.effects));
            self.settle();
        }
    }

    /// Sets the timers that were asked for.
    fn settle(&mut self) {
        while let Some((after, timer)) = self.effects.to_schedule() {
            self.timers_set += 1;
            let due = (self.awake + after, self.timers_set);
            self.timers.insert(due, timer);
        }
        // States are read from the members instead.
        while self.effects.to_notify().is_some() {}
    }

    /// The next message to be sent, if there is one.
    pub fn outgoing(&mut self) -> Option<(NodeId, Bytes)> {
        loop {
            let (to, message) = self.effects.to_send()?;
            debug_assert!(message.len() <= LARGEST_DATAGRAM);
            // Others may be heard of in the news of a member that knows a newer or older topology.
            if self.members.contains(&to.node) {
                return Some((to.node, message));
            }
        }
    }

    /// What is known of each member.
    pub fn states(&self) -> BTreeMap<NodeId, Liveness> {
        let mut states: BTreeMap<_, _> = (self.members.iter())
            .map(|node| (*node, Liveness::Unknown))
            .collect();
        for member in self.foca.iter_membership_state() {
            if let Some(state) = states.get_mut(&member.id().node) {
                *state = match member.state() {
                    State::Alive => Liveness::Up,
                    State::Suspect => Liveness::Suspect,
                    State::Down => Liveness::Down,
                };
            }
        }
        states
    }
}

/// Settings for a cluster of so many nodes.
fn config(nodes: usize) -> Config {
    let nodes = nodes.max(1) as f64;
    let patience = (nodes.ln() / SUSPICION_SIZE.ln()).max(1.0);
    // Infection takes O(log n) rounds; the factor makes up for what gets lost.
    let transmissions = (4.0 * (nodes + 1.0).log2()).clamp(6.0, 255.0) as u8;
    let periodic = |frequency, members| {
        Some(PeriodicParams {
            frequency,
            num_members: count(members),
        })
    };
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_TIMEOUT,
        num_indirect_probes: count(3),
        max_transmissions: NonZeroU8::new(transmissions).unwrap_or(NonZeroU8::MAX),
        suspect_to_down_after: SUSPICION.mul_f64(patience),
        remove_down_after: Some(REMEMBERED),
        max_packet_size: count(LARGEST_DATAGRAM),
        notify_down_members: true,
        periodic_announce: periodic(ANNOUNCE_PERIOD, 1),
        // Done by `greet`, which needs no connected state.
        periodic_announce_to_down_members: None,
        periodic_gossip: periodic(GOSSIP_PERIOD, GOSSIP_TO),
    }
}

/// No error changes what to do next: a message is ignored, a timer comes again.
fn note(result: Result<(), foca::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "membership");
    }
}
