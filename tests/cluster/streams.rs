//! A queue in a stream, with producers and consumers at every node, one of which is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::common::{Cluster, Connection, Door, Link, Reply, Setup, wait_until};

/// The streams are in partitions of which each node is the first replica of some.
const STREAMS: usize = 12;
/// Who is killed.
const VICTIM: usize = 0;
/// Items that show that the queue is at work.
const PROGRESS: usize = 150;

/// What clients were told.
#[derive(Default)]
struct Told {
    /// Items whose `XADD` was answered.
    added: BTreeMap<String, String>,
    /// Items that some consumer was given.
    delivered: BTreeSet<String>,
    /// Ids, with their streams, whose `XACK` was answered.
    acknowledged: BTreeSet<(usize, String)>,
}

struct Queue {
    told: Mutex<Told>,
    stop: AtomicBool,
    next: AtomicUsize,
}

impl Queue {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().expect("no panic")
    }
}

/// Repeats a step on connections to a node as long as the queue is at work.
fn work(
    queue: &Arc<Queue>,
    door: Door,
    step: impl Fn(&Queue, &mut Connection) -> std::io::Result<()> + Send + 'static,
) -> thread::JoinHandle<()> {
    let queue = queue.clone();
    thread::spawn(move || {
        while !queue.is_over() {
            let Ok(mut client) = door.enter() else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            while !queue.is_over() && step(&queue, &mut client).is_ok() {}
        }
    })
}

fn produce(queue: &Queue, client: &mut Connection) -> std::io::Result<()> {
    let number = queue.next.fetch_add(1, Ordering::Relaxed);
    let (stream, item) = (
        format!("queue:{}", number % STREAMS),
        format!("item:{number}"),
    );
    let reply = client.try_call(&["XADD", &stream, "*", "item", &item])?;
    if let Reply::Bulk(_) = reply {
        queue.told().added.insert(item, reply.text());
    }
    Ok(())
}

fn consume(queue: &Queue, client: &mut Connection, name: &str) -> std::io::Result<()> {
    let stream = queue.next.fetch_add(STREAMS + 1, Ordering::Relaxed) % STREAMS;
    let key = format!("queue:{stream}");
    let words = format!("XREADGROUP GROUP g {name} COUNT 3 BLOCK 20 STREAMS {key} >");
    let read = client.try_call(&words.split(' ').collect::<Vec<_>>())?;
    for (id, item) in entries(&read) {
        queue.told().delivered.insert(item);
        acknowledge(queue, client, stream, &id)?;
    }
    Ok(())
}

fn acknowledge(
    queue: &Queue,
    client: &mut Connection,
    stream: usize,
    id: &str,
) -> std::io::Result<()> {
    let reply = client.try_call(&["XACK", &format!("queue:{stream}"), "g", id])?;
    if reply == Reply::Integer(1) {
        queue.told().acknowledged.insert((stream, id.to_owned()));
    }
    Ok(())
}

/// Ids and items in what one stream was read of.
fn entries(reply: &Reply) -> Vec<(String, String)> {
    match reply {
        Reply::Array(streams) => items(&streams[0].items()[1]),
        _ => Vec::new(),
    }
}

fn items(entries: &Reply) -> Vec<(String, String)> {
    let entries = entries.items().into_iter();
    let pair = |entry: Reply| {
        let parts = entry.items();
        (parts[0].text(), parts[1].items()[1].text())
    };
    entries.map(pair).collect()
}

#[test]
fn a_queue_keeps_every_item_when_a_node_dies() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let mut client = cluster.client(1);
    for stream in 0..STREAMS {
        let line = format!("XGROUP CREATE queue:{stream} g 0 MKSTREAM");
        let reply = client.run(&line);
        assert!(reply.is_ok(), "{reply}");
    }
    let queue = Arc::new(Queue {
        told: Mutex::default(),
        stop: AtomicBool::new(false),
        next: AtomicUsize::new(0),
    });
    let mut workers = Vec::new();
    for node in 0..3 {
        workers.push(work(&queue, cluster.door(node), produce));
        let name = format!("consumer-{node}");
        workers.push(work(&queue, cluster.door(node), move |queue, client| {
            consume(queue, client, &name)
        }));
    }
    let is_ahead_of = |before: usize| queue.told().acknowledged.len() >= before + PROGRESS;
    wait_until("the queue works", || is_ahead_of(0));
    cluster.kill(VICTIM);
    cluster.wait_until_seen_down(VICTIM);
    let before = queue.told().acknowledged.len();
    wait_until("the queue works without the node", || is_ahead_of(before));
    cluster.restart(VICTIM);
    let before = queue.told().acknowledged.len();
    wait_until("the queue works with it again", || is_ahead_of(before));
    queue.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("a client");
    }
    cluster.wait_until_settled(3);
    check(&cluster, &queue);
}

/// What is left is taken over and acknowledged. Then everything was delivered, and nothing is pending.
fn check(cluster: &Cluster, queue: &Queue) {
    let mut client = cluster.client(1);
    let before = queue.told().acknowledged.clone();
    for stream in 0..STREAMS {
        let key = format!("queue:{stream}");
        let pending = client.run(&format!("XPENDING {key} g - + 100000"));
        for entry in pending.items() {
            let id = entry.items()[0].text();
            let is_back = before.contains(&(stream, id.clone()));
            assert!(!is_back, "{key}: {id} was acknowledged");
        }
        let claimed = client.run(&format!("XAUTOCLAIM {key} g last 0 0 COUNT 100000"));
        let read = format!("XREADGROUP GROUP g last STREAMS {key} >");
        let rest = items(&claimed.items()[1]).into_iter();
        let rest: Vec<_> = rest.chain(entries(&client.run(&read))).collect();
        for (id, item) in rest {
            queue.told().delivered.insert(item);
            let acknowledged = acknowledge(queue, &mut client, stream, &id);
            acknowledged.expect("a reply");
        }
        let summary = client.run(&format!("XPENDING {key} g"));
        assert_eq!(summary.items()[0], Reply::Integer(0), "{key}: {summary}");
    }
    let told = queue.told();
    let lost: Vec<_> = told
        .added
        .iter()
        .filter(|(item, _)| !told.delivered.contains(*item))
        .collect();
    assert!(lost.is_empty(), "not delivered: {lost:?}");
    let ids: BTreeSet<_> = told.added.values().collect();
    assert!(ids.len() > PROGRESS, "next to nothing was added");
}
