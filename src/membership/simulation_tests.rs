//! Many detectors over a simulated network, in simulated time, from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::NodeId;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Detector, Liveness, TICK};

const MS: Duration = Duration::from_millis(1);
/// Bytes of our header, UDP and IPv4 before a message.
const OVERHEAD: usize = 100 + 28;

fn id(number: usize) -> NodeId {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    NodeId(bytes)
}

fn number(node: NodeId) -> usize {
    u64::from_be_bytes(*node.0.first_chunk().unwrap()) as usize
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    Runs,
    /// Until then it neither reads nor sends; what arrives waits.
    Stopped(Duration),
    Dead,
}

/// When, a number, for whom, and from whom which message; without one it is a tick.
type Event = (Duration, u64, usize, Option<(usize, Bytes)>);

struct Simulation {
    now: Duration,
    random: StdRng,
    nodes: Vec<Detector>,
    processes: Vec<Process>,
    /// Ticks and messages, the earliest first.
    events: BinaryHeap<Reverse<Event>>,
    events_made: u64,
    /// The part of messages that get lost.
    loss: f64,
    /// Nodes below this number and others don't hear each other.
    cut: usize,
    messages: u64,
    bytes: u64,
    /// How often a living node was taken for down.
    false_alarms: u64,
}

impl Simulation {
    fn new(nodes: usize, seed: u64) -> Simulation {
        let mut simulation = Simulation {
            now: Duration::ZERO,
            random: StdRng::seed_from_u64(seed),
            nodes: Vec::new(),
            processes: vec![Process::Runs; nodes],
            events: BinaryHeap::new(),
            events_made: 0,
            loss: 0.0,
            cut: 0,
            messages: 0,
            bytes: 0,
            false_alarms: 0,
        };
        for node in 0..nodes {
            let seed = simulation.random.random();
            let mut detector = Detector::new(id(node), 1000, seed);
            detector.set_members((0..nodes).map(id));
            simulation.nodes.push(detector);
            let offset = MS.mul_f64(simulation.random.random_range(0.0..20.0));
            simulation.at(offset, node, None);
        }
        simulation
    }

    fn at(&mut self, when: Duration, node: usize, message: Option<(usize, Bytes)>) {
        self.events_made += 1;
        let event = (when, self.events_made, node, message);
        self.events.push(Reverse(event));
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(Reverse((when, ..))) = self.events.peek()
            && *when <= end
            && let Some(Reverse((when, _, node, message))) = self.events.pop()
        {
            self.now = when;
            match (self.processes[node], message) {
                (Process::Dead, _) => {}
                (Process::Stopped(until), message) if until > when => self.at(until, node, message),
                (_, None) => {
                    let before = self.alive_but_down(node);
                    self.nodes[node].advance(when);
                    let after = self.alive_but_down(node);
                    self.false_alarms += after.saturating_sub(before) as u64;
                    self.at(when + TICK, node, None);
                }
                (_, Some((from, message))) => self.nodes[node].receive(id(from), &message),
            }
            self.send_from(node);
        }
        self.now = end;
    }

    fn send_from(&mut self, from: usize) {
        while let Some((to, message)) = self.nodes[from].outgoing() {
            let to = number(to);
            self.messages += 1;
            self.bytes += (message.len() + OVERHEAD) as u64;
            let cut = (from < self.cut) != (to < self.cut);
            if !cut && !self.random.random_bool(self.loss) {
                let latency = MS.mul_f64(self.random.random_range(0.1..1.0));
                self.at(self.now + latency, to, Some((from, message)));
            }
        }
    }

    /// How many that run this node takes for down.
    fn alive_but_down(&self, node: usize) -> usize {
        (self.nodes[node].states().iter())
            .filter(|(other, state)| {
                **state == Liveness::Down && self.processes[number(**other)] != Process::Dead
            })
            .count()
    }

    /// Whether every running node thinks so of `of` (other than itself).
    fn all_say(&self, of: usize, state: Liveness) -> bool {
        self.count_saying(of, &[state]) == self.watchers(of)
    }

    fn watchers(&self, of: usize) -> usize {
        (0..self.nodes.len())
            .filter(|node| *node != of && self.processes[*node] == Process::Runs)
            .count()
    }

    fn count_saying(&self, of: usize, states: &[Liveness]) -> usize {
        (0..self.nodes.len())
            .filter(|node| *node != of && self.processes[*node] == Process::Runs)
            .filter(|node| states.contains(&self.nodes[*node].states()[&id(of)]))
            .count()
    }

    fn all_up(&self) -> bool {
        (0..self.nodes.len())
            .filter(|node| self.processes[*node] == Process::Runs)
            .all(|node| self.all_say(node, Liveness::Up))
    }

    /// Simulated time until the condition holds; fails after a minute.
    fn until(&mut self, what: &str, condition: impl Fn(&Simulation) -> bool) -> Duration {
        let start = self.now;
        while !condition(self) {
            self.run_until(self.now + 10 * MS);
            assert!(self.now < start + Duration::from_secs(60), "{what}");
        }
        self.now - start
    }
}

#[test]
fn all_learn_of_a_death_and_of_the_return() {
    for nodes in [2, 3, 5, 20] {
        let mut simulation = Simulation::new(nodes, nodes as u64);
        simulation.until("all up", Simulation::all_up);
        simulation.processes[1] = Process::Dead;
        simulation.until("down", |it| it.all_say(1, Liveness::Down));
        // After a long absence under the same id, knowing nothing.
        let absence = if nodes == 3 { 3600 } else { 60 };
        simulation.run_until(simulation.now + Duration::from_secs(absence));
        let clock = 1000 + simulation.now.as_millis() as u64;
        simulation.nodes[1] = Detector::new(id(1), clock, 77);
        simulation.nodes[1].set_members((0..nodes).map(id));
        simulation.processes[1] = Process::Runs;
        simulation.at(simulation.now, 1, None);
        simulation.until("all up", Simulation::all_up);
        assert_eq!(simulation.false_alarms, 0);
    }
}

#[test]
fn a_busy_node_is_suspected_at_most() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(5, seed);
        simulation.until("all up", Simulation::all_up);
        let wakes = simulation.now + 1500 * MS;
        simulation.processes[2] = Process::Stopped(wakes);
        simulation.until("suspected", |it| {
            it.count_saying(2, &[Liveness::Suspect]) > 0
        });
        simulation.run_until(wakes);
        simulation.processes[2] = Process::Runs;
        simulation.until("refuted", Simulation::all_up);
        assert_eq!(simulation.false_alarms, 0, "seed {seed}");
    }
}

#[test]
fn one_that_was_stopped_for_long_returns_and_blames_nobody() {
    let mut simulation = Simulation::new(5, 4);
    simulation.until("all up", Simulation::all_up);
    let wakes = simulation.now + Duration::from_secs(30);
    simulation.processes[2] = Process::Stopped(wakes);
    simulation.until("down", |it| it.all_say(2, Liveness::Down));
    let alarms = simulation.false_alarms;
    simulation.run_until(wakes);
    simulation.processes[2] = Process::Runs;
    simulation.until("returned", Simulation::all_up);
    assert_eq!(simulation.false_alarms, alarms);
}

#[test]
fn two_sides_of_a_cut_find_each_other_again() {
    let mut simulation = Simulation::new(7, 5);
    simulation.until("all up", Simulation::all_up);
    simulation.cut = 3;
    simulation.until("apart", |it| {
        (0..7).all(|node| {
            let others = if node < 3 { 4 } else { 3 };
            it.count_saying(node, &[Liveness::Down]) == others
        })
    });
    simulation.cut = 0;
    simulation.until("together", Simulation::all_up);
}

#[test]
fn who_leaves_is_down_at_once_and_returns_as_another_life() {
    let mut simulation = Simulation::new(5, 6);
    simulation.until("all up", Simulation::all_up);
    simulation.nodes[3].leave();
    simulation.send_from(3);
    simulation.processes[3] = Process::Dead;
    let took = simulation.until("left", |it| it.all_say(3, Liveness::Down));
    // Told by gossip: nobody had to suspect it first.
    assert!(took < Duration::from_secs(1), "{took:?}");
    simulation.nodes[3] = Detector::new(id(3), 50_000, 78);
    simulation.nodes[3].set_members((0..5).map(id));
    simulation.processes[3] = Process::Runs;
    simulation.at(simulation.now, 3, None);
    simulation.until("all up", Simulation::all_up);
}

#[test]
fn only_members_count() {
    let mut simulation = Simulation::new(4, 7);
    simulation.until("all up", Simulation::all_up);
    for node in 0..3 {
        simulation.nodes[node].set_members((0..3).map(id));
    }
    simulation.run_until(simulation.now + Duration::from_secs(5));
    for node in 0..3 {
        let states: BTreeMap<_, _> = simulation.nodes[node].states();
        assert_eq!(states.len(), 2);
        assert!(states.values().all(|state| *state == Liveness::Up));
    }
    // A member again.
    for node in 0..3 {
        simulation.nodes[node].set_members((0..4).map(id));
    }
    simulation.until("all up", Simulation::all_up);
}

#[test]
fn lossy_links_delay_and_do_not_deceive_for_long() {
    let mut simulation = Simulation::new(16, 8);
    simulation.loss = 0.1;
    simulation.until("all up", Simulation::all_up);
    simulation.processes[9] = Process::Dead;
    simulation.until("down", |it| it.all_say(9, Liveness::Down));
    simulation.loss = 0.0;
    simulation.until("all others up", Simulation::all_up);
}

#[test]
fn a_state_sent_over_the_ordered_path_is_merged() {
    let mut simulation = Simulation::new(5, 9);
    simulation.until("all up", Simulation::all_up);
    let state = simulation.nodes[0].state();
    let mut new = Detector::new(id(4), 90_000, 1);
    new.set_members((0..4).map(id));
    new.merge(id(7), &state);
    assert!(
        new.states()
            .values()
            .all(|state| *state == Liveness::Unknown)
    );
    new.merge(id(0), b"garbage");
    new.merge(id(0), &state[..state.len() / 2]);
    new.merge(id(0), &state);
    assert!(new.states().values().all(|state| *state == Liveness::Up));
}

proptest! {
    #[test]
    fn arbitrary_messages_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut simulation = Simulation::new(3, 10);
        simulation.until("all up", Simulation::all_up);
        let detector = &mut simulation.nodes[0];
        detector.receive(id(1), &bytes);
        detector.merge(id(1), &bytes);
        // Nearly right.
        let mut state = detector.state();
        let bit = bit.index(state.len() * 8);
        state[bit / 8] ^= 1 << (bit % 8);
        detector.merge(id(1), &state);
        detector.reachable(id(1));
        let (_, mut message) = detector.outgoing().map(|(to, it)| (to, it.to_vec())).unwrap();
        let bit = bit % (message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        simulation.nodes[1].receive(id(0), &message);
        simulation.run_until(simulation.now + Duration::from_secs(1));
    }
}

/// `cargo test --release -p coterie --lib membership -- --ignored --nocapture`
#[test]
#[ignore = "prints numbers rather than testing"]
fn numbers() {
    println!(
        "nodes  loss  idle: msg/s and B/s a node   suspected first/all   down all   false alarms/node/h"
    );
    for nodes in [3, 5, 16, 64] {
        for loss in [0.0, 0.01, 0.05] {
            let (mut messages, mut bytes, mut alarms, mut node_seconds) = (0, 0, 0, 0.0);
            let (mut first, mut all, mut down) = (Vec::new(), Vec::new(), Vec::new());
            for seed in 0..10 {
                let mut simulation = Simulation::new(nodes, seed);
                simulation.loss = loss;
                simulation.until("all up", Simulation::all_up);
                simulation.run_until(simulation.now + Duration::from_secs(5));
                (
                    simulation.messages,
                    simulation.bytes,
                    simulation.false_alarms,
                ) = (0, 0, 0);
                let watched = 60;
                simulation.run_until(simulation.now + Duration::from_secs(watched));
                messages += simulation.messages;
                bytes += simulation.bytes;
                alarms += simulation.false_alarms;
                node_seconds += (watched as usize * nodes) as f64;
                let killed = simulation.now;
                simulation.processes[1] = Process::Dead;
                let known = [Liveness::Suspect, Liveness::Down];
                simulation.until("one suspects", |it| it.count_saying(1, &known) > 0);
                first.push(simulation.now - killed);
                simulation.until("all suspect", |it| it.count_saying(1, &known) == nodes - 1);
                all.push(simulation.now - killed);
                simulation.until("all say down", |it| it.all_say(1, Liveness::Down));
                down.push(simulation.now - killed);
            }
            let worst = |times: &[Duration]| times.iter().max().unwrap().as_millis();
            let mean = |times: &[Duration]| {
                (times.iter().sum::<Duration>() / times.len() as u32).as_millis()
            };
            println!(
                "{nodes:>5} {loss:>5} {:>10.1} {:>10.0} {:>12}/{} ms (worst {}/{}) {:>6} ms (worst {}) {:>8.2}",
                messages as f64 / node_seconds,
                bytes as f64 / node_seconds,
                mean(&first),
                mean(&all),
                worst(&first),
                worst(&all),
                mean(&down),
                worst(&down),
                alarms as f64 / node_seconds * 3600.0,
            );
        }
    }
}
