//! Read-modify-writes are executed exactly once, and without an error, for clients of nodes that stay alive while the
//! node that executes them dies or freezes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::{Cluster, Connection, Door, Link, Reply, Setup, encode_command, wait_until};

/// Who dies. All keys are of partitions whose first replica it is.
const VICTIM: usize = 0;
/// Clients of each of the others.
const CLIENTS: usize = 4;
/// Counters that all clients share, and as many fields.
const COUNTERS: usize = 3;
/// Batches of a client that show that it goes on.
const PROGRESS: u64 = 40;
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names of keys, in the order of their numbers, that the victim is the first replica of.
struct Names {
    /// By slot.
    is_victims: Vec<bool>,
}

impl Names {
    fn of(cluster: &Cluster) -> Self {
        let mut client = cluster.client(1);
        let port = i64::from(cluster.address(VICTIM).port());
        let mut is_victims = vec![false; 16384];
        for range in client.run("CLUSTER SLOTS").items() {
            let range = range.items();
            let [start, end] =
                [0, 1].map(|at: usize| range[at].integer().expect("a slot") as usize);
            let first = range[2].items()[1].integer().expect("a port");
            is_victims[start..=end].fill(first == port);
        }
        Self { is_victims }
    }

    /// A key of the victim's that begins like this.
    fn find(&self, client: &mut Connection, prefix: &str) -> String {
        let is_victims = |key: &String| {
            let slot = client.run(&format!("CLUSTER KEYSLOT {key}"));
            self.is_victims[slot.integer().expect("a slot") as usize]
        };
        let keys = (0..).map(|number| format!("{prefix}:{number}"));
        keys.into_iter().find(is_victims).expect("there are many")
    }
}

struct Shared {
    stop: AtomicBool,
    /// Acknowledged additions to each of the counters and fields.
    added: Vec<AtomicU64>,
    counters: Vec<String>,
    hash: String,
}

struct Client {
    door: Door,
    shared: Arc<Shared>,
    progress: Arc<AtomicU64>,
    /// All that it has appended.
    text: String,
    text_key: String,
    /// Its keys have this hash tag.
    tag: String,
}

/// What it has done in the end.
struct Done {
    text_key: String,
    text: String,
    tag: String,
    batches: u64,
}

impl Client {
    fn run(mut self) -> Done {
        let mut connection = self.door.enter().expect("its node lives");
        connection.set_read_timeout(PATIENCE);
        let mut batches = 0;
        while !self.shared.stop.load(Ordering::SeqCst) {
            self.batch(&mut connection, batches);
            batches += 1;
            self.progress.store(batches, Ordering::SeqCst);
        }
        Done {
            text_key: self.text_key,
            text: self.text,
            tag: self.tag,
            batches,
        }
    }

    fn batch(&mut self, connection: &mut Connection, number: u64) {
        let shared = &self.shared;
        let counter = number as usize % COUNTERS;
        let word = format!("{number};");
        let lock = format!("{{{}}}:{number}", self.tag);
        let (field, mine) = (counter.to_string(), number.to_string());
        let commands: [&[&str]; 7] = [
            &["INCR", &shared.counters[counter]],
            &["APPEND", &self.text_key, &word],
            &["SETNX", &lock, &mine],
            &["HINCRBY", &shared.hash, &field, "1"],
            &["INCR", &shared.counters[counter]],
            &["GET", &lock],
            &["SETNX", &lock, "another"],
        ];
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|words| encode_command(words))
            .collect();
        connection.send(&bytes).expect("its node lives");
        let replies: Vec<Reply> = commands.iter().map(|_| connection.read()).collect();
        for (reply, words) in replies.iter().zip(&commands) {
            assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply}");
        }
        self.text += &word;
        assert_eq!(replies[1], Reply::Integer(self.text.len() as i64), "APPEND");
        assert_eq!(replies[2], Reply::Integer(1), "SETNX {lock}");
        assert_eq!(replies[5].text(), mine, "GET {lock}");
        assert_eq!(replies[6], Reply::Integer(0), "the second SETNX {lock}");
        self.shared.added[counter].fetch_add(2, Ordering::SeqCst);
        self.shared.added[COUNTERS + counter].fetch_add(1, Ordering::SeqCst);
    }
}

struct Load {
    shared: Arc<Shared>,
    clients: Vec<(Arc<AtomicU64>, Option<JoinHandle<Done>>)>,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let names = Names::of(cluster);
        let mut asked = cluster.client(1);
        let mut find = |prefix: &str| names.find(&mut asked, prefix);
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            added: (0..2 * COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            counters: (0..COUNTERS)
                .map(|n| find(&format!("counter:{n}")))
                .collect(),
            hash: find("counters"),
        });
        let homes = (0..cluster.len()).filter(|&node| node != VICTIM);
        let clients = homes.flat_map(|node| std::iter::repeat_n(node, CLIENTS));
        let clients = clients.enumerate().map(|(number, node)| {
            let progress = Arc::new(AtomicU64::new(0));
            let client = Client {
                door: cluster.door(node),
                shared: shared.clone(),
                progress: progress.clone(),
                text: String::new(),
                text_key: find(&format!("text:{number}")),
                tag: find(&format!("lock:{number}")),
            };
            (progress, Some(std::thread::spawn(|| client.run())))
        });
        let clients = clients.collect();
        Self { shared, clients }
    }

    fn wait_for_progress(&self) {
        for (progress, thread) in &self.clients {
            let target = progress.load(Ordering::SeqCst) + PROGRESS;
            let is_over = || thread.as_ref().is_none_or(JoinHandle::is_finished);
            wait_until("a client goes on", || {
                progress.load(Ordering::SeqCst) >= target || is_over()
            });
            assert!(!is_over(), "a client has failed");
        }
    }

    /// Stops, and compares what every node has with what was acknowledged.
    fn finish(mut self, cluster: &Cluster) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let threads = self
            .clients
            .iter_mut()
            .filter_map(|(_, thread)| thread.take());
        let threads: Vec<_> = threads.collect();
        let done = threads
            .into_iter()
            .map(|thread| thread.join().expect("no error"));
        let done: Vec<Done> = done.collect();
        cluster.wait_until_settled(cluster.len());
        // The first look is what clients see at once, the second what is everywhere in the end.
        self.compare(cluster, &done);
        cluster.wait_until_replicas_agree(cluster.len());
        self.compare(cluster, &done);
    }

    fn compare(&self, cluster: &Cluster, done: &[Done]) {
        let shared = &self.shared;
        for node in cluster.running() {
            let mut client = cluster.client(node);
            for number in 0..COUNTERS {
                let added = |at: usize| shared.added[at].load(Ordering::SeqCst).to_string();
                let counter = client.run(&format!("GET {}", shared.counters[number]));
                assert_eq!(counter.text(), added(number), "INCR, as node {node} has it");
                let field = client.run(&format!("HGET {} {number}", shared.hash));
                let added = added(COUNTERS + number);
                assert_eq!(field.text(), added, "HINCRBY, as node {node} has it");
            }
            for done in done {
                let text = client.run(&format!("GET {}", done.text_key));
                assert_eq!(text.text(), done.text, "APPEND, as node {node} has it");
                let gets = (0..done.batches)
                    .map(|n| vec!["GET".to_owned(), format!("{{{}}}:{n}", done.tag)]);
                let gets: Vec<_> = gets.collect();
                for (number, reply) in client.pipeline(&gets).iter().enumerate() {
                    assert_eq!(
                        reply.text(),
                        number.to_string(),
                        "SETNX, as node {node} has it"
                    );
                }
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self
            .clients
            .iter_mut()
            .filter_map(|(_, thread)| thread.take())
        {
            let _ = thread.join();
        }
    }
}

#[test]
fn no_write_fails_or_is_done_twice_when_a_node_is_killed() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let load = Load::start(&cluster);
    for _ in 0..5 {
        load.wait_for_progress();
        cluster.kill(VICTIM);
        load.wait_for_progress();
        cluster.restart(VICTIM);
        cluster.wait_until_settled(3);
    }
    load.wait_for_progress();
    load.finish(&cluster);
}

#[test]
fn no_write_fails_or_is_done_twice_when_a_node_is_killed_and_is_back_at_once() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let load = Load::start(&cluster);
    for _ in 0..5 {
        load.wait_for_progress();
        cluster.kill(VICTIM);
        cluster.restart(VICTIM);
    }
    load.wait_for_progress();
    load.finish(&cluster);
}

#[test]
fn no_write_fails_or_is_done_twice_when_a_node_freezes() {
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let load = Load::start(&cluster);
    for _ in 0..2 {
        load.wait_for_progress();
        cluster.stop(VICTIM);
        load.wait_for_progress();
        cluster.wait_until_seen_down(VICTIM);
        cluster.cont(VICTIM);
        cluster.wait_until_settled(3);
    }
    load.wait_for_progress();
    load.finish(&cluster);
}
