//! Keys that are only set and read behave as if there were one copy of each, whatever happens to nodes and network: every history is
//! linearizable. A write whose answer is an error that leaves it open may take effect at any time, or never.
//!
//! Since no value is written twice the check is simple (Gibbons and Korach, "Testing Shared Memories", 1997): all that
//! is done with a value, its write and the reads that saw it, takes place in one *zone* of time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Cluster, Connection, Door, Link, Path, Reply, Setup, seed};

const KEYS: usize = 6;
/// Clients of each node.
const CLIENTS: usize = 3;

/// A value that was written or read.
#[derive(Clone, Copy, Debug)]
struct Operation {
    node: usize,
    key: usize,
    /// 0 for none.
    value: u64,
    writes: bool,
    start: Instant,
    /// `None` if it may still take effect.
    end: Option<Instant>,
}

/// All that was done with a value.
#[derive(Clone, Copy, Debug)]
struct Zone {
    value: u64,
    /// When the first operation had ended, unless none ever has.
    first_end: Option<Instant>,
    /// When the last one began.
    last_start: Instant,
    written: Option<Instant>,
}

impl Zone {
    /// Where the value must have been there: from the end of one operation to the beginning of another.
    fn forward(&self) -> Option<(Instant, Instant)> {
        let first_end = self.first_end?;
        (first_end < self.last_start).then_some((first_end, self.last_start))
    }

    /// Whether there is a moment outside this time at which it may have been there and gone at once.
    fn fits_outside(&self, (start, end): (Instant, Instant)) -> bool {
        self.last_start < start || self.first_end.is_none_or(|first_end| first_end > end)
    }
}

/// What makes the history of a key impossible with one copy.
fn violation(history: &[Operation], began: Instant) -> Option<String> {
    let mut zones = HashMap::from([(
        0,
        Zone {
            value: 0,
            first_end: Some(began),
            last_start: began,
            written: Some(began),
        },
    )]);
    for operation in history {
        let zone = zones.entry(operation.value).or_insert(Zone {
            value: operation.value,
            first_end: None,
            last_start: operation.start,
            written: None,
        });
        zone.last_start = zone.last_start.max(operation.start);
        zone.first_end = match (zone.first_end, operation.end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if operation.writes {
            zone.written = Some(operation.start);
        }
    }
    for operation in history.iter().filter(|operation| !operation.writes) {
        match zones[&operation.value].written {
            None => return Some(format!("nobody wrote {}", operation.value)),
            Some(start) if operation.end.is_some_and(|end| end < start) => {
                return Some(format!(
                    "{} was read before it was written",
                    operation.value
                ));
            }
            Some(_) => {}
        }
    }
    let zones: Vec<Zone> = zones.into_values().collect();
    for zone in &zones {
        let Some(time) = zone.forward() else {
            continue;
        };
        for other in zones.iter().filter(|other| other.value != zone.value) {
            let is_apart = match other.forward() {
                Some((start, end)) => end <= time.0 || start >= time.1,
                None => other.fits_outside(time),
            };
            if !is_apart {
                return Some(format!(
                    "{} was there and {} in between:{}",
                    zone.value,
                    other.value,
                    around(history, [zone, other], began)
                ));
            }
        }
    }
    None
}

/// What was done with values, and at the same time.
fn around(history: &[Operation], zones: [&Zone; 2], began: Instant) -> String {
    let of_zones = |it: &&Operation| zones.iter().any(|zone| zone.value == it.value);
    let times = history.iter().filter(of_zones);
    let start = times.clone().map(|it| it.start).min().unwrap_or(began);
    let end = times.map(|it| it.start.max(it.end.unwrap_or(began))).max();
    let mut all: Vec<&Operation> = history
        .iter()
        .filter(|it| it.end.is_none_or(|end| end >= start) && Some(it.start) <= end)
        .collect();
    all.sort_by_key(|it| it.start);
    let lines = all.iter().map(|it| {
        let micros = |at: Instant| at.duration_since(began).as_micros();
        let what = if it.writes { "SET" } else { "GET" };
        let end = it.end.map(micros);
        let (start, value, node) = (micros(it.start), it.value, it.node);
        format!("\n  {start} - {end:?} us, node {node}: {what} {value}")
    });
    lines.collect()
}

struct Client {
    node: usize,
    door: Door,
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    random: StdRng,
}

impl Client {
    fn run(mut self) -> Vec<Operation> {
        let mut history = Vec::new();
        let mut connection: Option<Connection> = None;
        while !self.stop.load(Ordering::SeqCst) {
            let Some(open) = connection.take().or_else(|| self.door.enter().ok()) else {
                continue;
            };
            connection = self.operate(open, &mut history);
        }
        history
    }

    /// One operation. Returns the connection if it is still good.
    fn operate(
        &mut self,
        mut connection: Connection,
        history: &mut Vec<Operation>,
    ) -> Option<Connection> {
        let key = self.random.random_range(0..KEYS);
        let writes = self.random.random_bool(0.5);
        let mut value = 0;
        let line = if writes {
            value = self.next.fetch_add(1, Ordering::SeqCst);
            format!("SET register:{key} {value}")
        } else {
            format!("GET register:{key}")
        };
        let words: Vec<&str> = line.split(' ').collect();
        let start = Instant::now();
        let reply = connection.try_call(&words);
        let end = Some(Instant::now());
        let node = self.node;
        let mut note = |value, end| {
            history.push(Operation {
                node,
                key,
                value,
                writes,
                start,
                end,
            });
        };
        match &reply {
            Ok(Reply::Error(text)) if text.starts_with(b"NOREPLICAS") => {}
            Ok(Reply::Error(_)) | Err(_) if writes => note(value, None),
            Ok(Reply::Error(_)) | Err(_) => {}
            Ok(_) if writes => note(value, end),
            Ok(reply) => note(reply.text().parse().unwrap_or_default(), end),
        }
        reply.is_ok().then_some(connection)
    }
}

/// What happens to the network next.
fn network_fault(cluster: &mut Cluster, random: &mut StdRng) {
    let network = cluster.network();
    let nodes = cluster.len();
    let one = random.random_range(0..nodes);
    let others: Vec<usize> = (0..nodes).filter(|node| *node != one).collect();
    let other = others[random.random_range(0..others.len())];
    let delay = Duration::from_millis(random.random_range(1..40));
    match random.random_range(0..6) {
        0 => network.set_between(&[one], &others, Path::CUT),
        1 => network.set_between(&[one], &[other], Path::CUT),
        2 => network.set(one, other, Path::CUT),
        3 => others
            .iter()
            .for_each(|other| network.set(one, *other, Path::CUT)),
        4 => network.set_between(
            &[one],
            &others,
            Path {
                delay,
                ..Path::default()
            },
        ),
        _ => network.heal(),
    }
}

/// What happens to a node next; afterwards it goes on.
fn node_fault(cluster: &mut Cluster, random: &mut StdRng) {
    let node = random.random_range(0..cluster.len());
    let pause = Duration::from_millis(random.random_range(20..1500));
    if random.random_bool(0.7) {
        cluster.stop(node);
        std::thread::sleep(pause);
        cluster.cont(node);
    } else {
        cluster.kill(node);
        std::thread::sleep(pause);
        cluster.restart(node);
    }
}

fn every_history_is_linearizable(
    setup: Setup,
    faults: usize,
    fault: fn(&mut Cluster, &mut StdRng),
) {
    println!("COTERIE_TEST_SEED={} chooses the same requests", setup.seed);
    let mut random = StdRng::seed_from_u64(setup.seed);
    let mut cluster = Cluster::start(setup.flag("write-timeout-ms", "600"));
    let (stop, next) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(1)),
    );
    let began = Instant::now();
    let clients: Vec<JoinHandle<Vec<Operation>>> = (0..cluster.len() * CLIENTS)
        .map(|number| {
            let client = Client {
                node: number % cluster.len(),
                door: cluster.door(number % cluster.len()),
                stop: stop.clone(),
                next: next.clone(),
                random: StdRng::seed_from_u64(random.random()),
            };
            std::thread::spawn(|| client.run())
        })
        .collect();
    for _ in 0..faults {
        fault(&mut cluster, &mut random);
        let pause = random.random_range(20..700);
        std::thread::sleep(Duration::from_millis(pause));
    }
    cluster.network().heal();
    cluster.wait_until_settled(cluster.len());
    stop.store(true, Ordering::SeqCst);
    let histories = clients
        .into_iter()
        .map(|client| client.join().expect("no panic"));
    let mut history: Vec<Operation> = histories.flatten().collect();
    // What every node reads in the end, too.
    cluster.wait_until_replicas_agree(cluster.len());
    for node in 0..cluster.len() {
        let mut client = cluster.client(node);
        for key in 0..KEYS {
            let start = Instant::now();
            let reply = client.run(&format!("GET register:{key}"));
            history.push(Operation {
                node,
                key,
                value: reply.text().parse().unwrap_or_default(),
                writes: false,
                start,
                end: Some(Instant::now()),
            });
        }
    }
    let open = history.iter().filter(|it| it.end.is_none()).count();
    println!("{} operations, {open} of them open", history.len());
    assert!(history.len() > 1000, "{}", history.len());
    for key in 0..KEYS {
        let mut of_key = history.clone();
        of_key.retain(|operation| operation.key == key);
        if let Some(violation) = violation(&of_key, began) {
            panic!("register:{key}: {violation}");
        }
    }
}

fn setup(nodes: usize) -> Setup {
    let mut setup = Setup::new(nodes, Link::Network);
    setup.seed = seed();
    setup
}

#[test]
fn three_nodes_are_one_copy_whatever_the_network_does() {
    every_history_is_linearizable(setup(3), 25, network_fault);
}

#[test]
fn five_nodes_with_clocks_apart_are_one_copy_whatever_the_network_does() {
    let setup = setup(5).node_flag(1, "debug-clock-offset-ms", "150");
    let setup = setup.node_flag(3, "debug-clock-offset-ms", "-150");
    every_history_is_linearizable(setup, 25, network_fault);
}

#[test]
fn three_nodes_that_freeze_and_die_are_one_copy() {
    every_history_is_linearizable(setup(3), 12, node_fault);
}

/// The check itself: it finds what it is to find, and nothing else.
#[test]
fn impossible_histories_are_found() {
    let began = Instant::now();
    let at = |ms: u64| began + Duration::from_millis(ms);
    let operation = |value, writes, start, end: Option<u64>| Operation {
        node: 0,
        key: 0,
        value,
        writes,
        start: at(start),
        end: end.map(at),
    };
    let write = |value, start, end| operation(value, true, start, Some(end));
    let read = |value, start, end| operation(value, false, start, Some(end));
    let open = |value, start| operation(value, true, start, None);
    let possible = [
        vec![
            write(1, 10, 20),
            read(1, 30, 40),
            write(2, 35, 50),
            read(2, 55, 60),
        ],
        // At the same time, either way.
        vec![write(1, 10, 40), read(0, 20, 30), read(1, 25, 35)],
        // An open write takes effect late, or never.
        vec![
            open(1, 10),
            write(2, 20, 30),
            read(2, 40, 50),
            read(1, 60, 70),
        ],
        vec![open(1, 10), write(2, 20, 30), read(2, 40, 50)],
    ];
    for history in possible {
        assert_eq!(violation(&history, began), None, "{history:?}");
    }
    let impossible = [
        // A lost write.
        vec![write(1, 10, 20), read(0, 30, 40)],
        // One that is back.
        vec![write(1, 10, 20), write(2, 30, 40), read(1, 50, 60)],
        // Reads that go back.
        vec![write(1, 10, 90), read(1, 20, 30), read(0, 40, 50)],
        vec![open(1, 10), read(1, 20, 30), read(0, 40, 50)],
        // From nowhere, or too early.
        vec![read(7, 20, 30)],
        vec![read(1, 10, 20), write(1, 30, 40)],
    ];
    for history in impossible {
        assert!(violation(&history, began).is_some(), "{history:?}");
    }
}
