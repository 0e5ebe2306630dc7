//! Clients that write to chosen nodes while things break, and remember what they were told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Connection, Door, Reply, Server, encode_command, wait_until};
use crate::model::{Cell, Model, Outcome, Value};

/// Keys and fields that one worker has to itself.
const CELLS: usize = 40;
/// Counters that all workers share, of each kind.
const COUNTERS: usize = 6;
/// Requests in one write.
const PIPELINE: usize = 8;
/// Longer than a node takes to give up a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Errors that promise that nothing was done.
const REFUSALS: [&str; 5] = [
    "NOREPLICAS",
    "LOADING",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MISCONF",
];

/// Running workers; dropping it stops them.
pub struct Workload {
    stop: Arc<AtomicBool>,
    workers: Vec<Worker>,
    clocks_agree: bool,
    seed: u64,
}

struct Worker {
    home: usize,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Model>>,
}

/// What others see of a worker.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    /// Requests about keys and fields that failed, for whatever reason; of those to counters there may be some
    /// whenever the node that serialises them goes.
    failures: AtomicU64,
    counter_failures: AtomicU64,
    first_failure: Mutex<Option<String>>,
    longest_stall_ms: AtomicU64,
}

impl Workload {
    /// `clocks_agree` says that what a node was told earlier has the lower stamp, whichever node.
    pub fn new(clocks_agree: bool, seed: u64) -> Self {
        Self {
            stop: Arc::default(),
            workers: Vec::new(),
            clocks_agree,
            seed,
        }
    }

    /// Starts a worker on the host of a node, which talks to that node only.
    pub fn add(&mut self, home: usize, door: Door) {
        let number = self.workers.len();
        let progress = Arc::new(Progress::default());
        let state = State {
            door,
            stop: self.stop.clone(),
            progress: progress.clone(),
            rng: StdRng::seed_from_u64(self.seed.wrapping_add(number as u64)),
            clocks_agree: self.clocks_agree,
            model: Model::default(),
            cells: (0..CELLS).map(|n| cell(number, n, 0)).collect(),
            number,
            generation: 0,
            count: 0,
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(|| state.run());
        self.workers.push(Worker {
            home,
            progress,
            thread: Some(thread.expect("a thread")),
        });
    }

    /// Waits until every worker of these nodes has had so many more requests answered with success.
    pub fn wait_for_progress(&self, homes: &[usize], requests: u64) {
        for worker in self.workers.iter().filter(|w| homes.contains(&w.home)) {
            let count = || worker.progress.acknowledged.load(Ordering::SeqCst);
            let target = count() + requests;
            let what = format!("the clients of node {} go on", worker.home);
            wait_until(&what, || count() >= target || worker.has_ended());
            assert!(!worker.has_ended(), "a worker at node {} died", worker.home);
        }
    }

    /// Asserts that no request about a key or field has failed for clients of these nodes.
    pub fn expect_no_failure(&self, homes: &[usize]) {
        for worker in self.workers.iter().filter(|w| homes.contains(&w.home)) {
            let failures = worker.progress.failures.load(Ordering::SeqCst);
            let first = worker.progress.first_failure.lock().expect("no panic");
            assert_eq!(failures, 0, "a client of node {}: {first:?}", worker.home);
        }
    }

    /// Stops all workers and returns what all of them know; says on the way how they fared.
    pub fn finish(mut self) -> Model {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Model::default();
        for worker in &mut self.workers {
            let progress = &worker.progress;
            let thread = worker.thread.take().expect("it is joined once");
            let model = thread.join().expect("no reply contradicted the model");
            println!(
                "client of node {}: {} done, {} failed, {} of counters failed, longest pause {} ms; first failure: {:?}",
                worker.home,
                progress.acknowledged.load(Ordering::SeqCst),
                progress.failures.load(Ordering::SeqCst),
                progress.counter_failures.load(Ordering::SeqCst),
                progress.longest_stall_ms.load(Ordering::SeqCst),
                progress.first_failure.lock().expect("no panic")
            );
            all.merge(model);
        }
        all
    }
}

impl Worker {
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

fn cell(worker: usize, n: usize, generation: u64) -> Cell {
    if n.is_multiple_of(2) {
        Cell::Key(format!("key:{worker}:{n}:{generation}"))
    } else {
        let hash = format!("hash:{worker}:{}", n % 5);
        Cell::Field(hash, format!("{n}:{generation}"))
    }
}

fn counter(n: usize) -> Cell {
    if n.is_multiple_of(2) {
        Cell::Key(format!("counter:{n}"))
    } else {
        Cell::Field("counters".to_owned(), n.to_string())
    }
}

enum Request {
    Read(Cell),
    Write(Cell, Value),
    Add(Cell, i64),
}

impl Request {
    fn command(&self) -> Vec<String> {
        match self {
            Self::Read(cell) => cell.read(),
            Self::Write(cell, value) => cell.write(value),
            Self::Add(cell, amount) => cell.add(*amount),
        }
    }
}

struct State {
    door: Door,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    rng: StdRng,
    clocks_agree: bool,
    model: Model,
    /// Those in use.
    cells: Vec<Cell>,
    number: usize,
    generation: u64,
    count: u64,
}

impl State {
    fn run(mut self) -> Model {
        let mut connection: Option<Connection> = None;
        let mut last_success = Instant::now();
        while !self.stop.load(Ordering::SeqCst) {
            let Some(client) = &mut connection else {
                match self.door.enter() {
                    Ok(client) => {
                        client.set_read_timeout(PATIENCE);
                        connection = Some(client);
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
                continue;
            };
            let batch = self.batch();
            if !self.exchange(client, batch, &mut last_success) {
                connection = None;
            }
            self.replace_retired();
        }
        self.model
    }

    fn batch(&mut self) -> VecDeque<Request> {
        let length = self.rng.random_range(1..=PIPELINE);
        (0..length).map(|_| self.request()).collect()
    }

    fn request(&mut self) -> Request {
        self.count += 1;
        let cell = self.cells[self.rng.random_range(0..CELLS)].clone();
        match self.rng.random_range(0..100) {
            0..25 => Request::Read(cell),
            25..40 => Request::Write(cell, None),
            40..80 => Request::Write(cell, Some(format!("{}.{}", self.number, self.count))),
            _ => {
                let counter = counter(self.rng.random_range(0..COUNTERS));
                Request::Add(counter, self.rng.random_range(1..10))
            }
        }
    }

    /// Sends requests and reads the replies; `false` when the connection is lost.
    fn exchange(
        &mut self,
        client: &mut Connection,
        mut batch: VecDeque<Request>,
        last_success: &mut Instant,
    ) -> bool {
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|request| encode_command(&request.command()))
            .collect();
        // Replies to the part that was sent may come even if sending fails.
        let mut connected = client.send(&bytes).is_ok();
        while let Some(request) = batch.pop_front() {
            let reply = client.read_raw().map(|(reply, _)| reply);
            match reply {
                Ok(reply) => {
                    if self.answered(request, &reply) {
                        let stall = last_success.elapsed().as_millis() as u64;
                        *last_success = Instant::now();
                        let longest = &self.progress.longest_stall_ms;
                        longest.fetch_max(stall, Ordering::SeqCst);
                    }
                }
                Err(error) => {
                    self.failed(request, &error.to_string(), Outcome::Abandoned);
                    for request in batch.drain(..) {
                        self.failed(request, "the connection was lost", Outcome::Abandoned);
                    }
                    connected = false;
                }
            }
        }
        connected
    }

    /// Takes note of a reply; `true` if it is a success.
    fn answered(&mut self, request: Request, reply: &Reply) -> bool {
        if let Reply::Error(_) = reply {
            let outcome = if reply.is_error("NOQUORUM") {
                Outcome::Undecided
            } else {
                let refused = REFUSALS.iter().any(|prefix| reply.is_error(prefix));
                assert!(refused, "{:?}: {reply}", request.command());
                Outcome::Refused
            };
            self.failed(request, &reply.text(), outcome);
            return false;
        }
        match &request {
            Request::Read(cell) => {
                let register = self.model.registers.entry(cell.clone()).or_default();
                if let Err(why) = register.read(&value_of(reply)) {
                    panic!("{cell:?}: {why}");
                }
            }
            Request::Write(Cell::Key(_), Some(_)) => assert!(reply.is_ok(), "{reply}"),
            Request::Write(..) | Request::Add(..) => {
                assert!(
                    reply.integer().is_some(),
                    "{:?}: {reply}",
                    request.command()
                );
            }
        }
        match request {
            Request::Write(cell, None) if reply.integer() == Some(0) => {
                self.model.registers.entry(cell).or_default().found_absent();
            }
            request => self.note(request, Outcome::Acknowledged),
        }
        self.progress.acknowledged.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn failed(&mut self, request: Request, why: &str, outcome: Outcome) {
        let failures = match request {
            Request::Add(..) => &self.progress.counter_failures,
            Request::Read(_) | Request::Write(..) => &self.progress.failures,
        };
        failures.fetch_add(1, Ordering::SeqCst);
        let mut first = self.progress.first_failure.lock().expect("no panic");
        first.get_or_insert_with(|| format!("{:?}: {why}", request.command()));
        drop(first);
        self.note(request, outcome);
    }

    fn note(&mut self, request: Request, mut outcome: Outcome) {
        // Where clocks differ, what was not decided may turn out to be later than what is acknowledged next.
        if outcome == Outcome::Undecided && !self.clocks_agree {
            outcome = Outcome::Abandoned;
        }
        match request {
            Request::Read(_) => {}
            Request::Write(cell, value) => {
                let register = self.model.registers.entry(cell).or_default();
                register.written(value, outcome);
            }
            Request::Add(cell, amount) => {
                let counter = self.model.counters.entry(cell).or_default();
                counter.added(amount, outcome);
            }
        }
    }

    /// Takes new cells in place of those whose contents may change without us.
    fn replace_retired(&mut self) {
        for n in 0..CELLS {
            let register = self.model.registers.get(&self.cells[n]);
            if register.is_some_and(|register| register.retired) {
                self.generation += 1;
                self.cells[n] = cell(self.number, n, self.generation);
            }
        }
    }
}

fn value_of(reply: &Reply) -> Value {
    match reply {
        Reply::Null => None,
        Reply::Bulk(value) => Some(String::from_utf8_lossy(value).into_owned()),
        other => panic!("no value: {other}"),
    }
}

/// Checks that a client finds what it may through every node, and the same as through the others.
///
/// # Errors
/// What it finds else.
pub fn check(doors: &[(usize, Door)], model: &mut Model) -> Result<(), String> {
    assert!(!model.registers.is_empty() && !model.counters.is_empty());
    let mut wrong = Vec::new();
    let mut seen: Option<Vec<Value>> = None;
    for (node, door) in doors {
        let mut client = door.enter().map_err(|e| format!("node {node}: {e}"))?;
        let cells: Vec<_> = model
            .registers
            .keys()
            .chain(model.counters.keys())
            .collect();
        let values = read_all(&mut client, &cells);
        let mut complain =
            |cell: &Cell, why: String| wrong.push(format!("{cell:?} at node {node}: {why}"));
        for (at, cell) in cells.iter().enumerate() {
            let first = seen.as_ref().map(|seen| &seen[at]);
            if let Some(first) = first.filter(|first| **first != values[at]) {
                complain(cell, format!("{:?}, elsewhere {first:?}", values[at]));
            }
        }
        let mut read = values.iter();
        for (cell, register) in &mut model.registers {
            let value = read.next().expect("one for each cell");
            if let Err(why) = register.read(value) {
                complain(cell, why);
            }
        }
        for (cell, counter) in &model.counters {
            let value = read.next().expect("one for each cell").as_deref();
            let value = value.map_or(0, |text| text.parse().expect("an integer"));
            if let Err(why) = counter.check(value) {
                complain(cell, why);
            }
        }
        seen = Some(values);
    }
    let deleted = model.registers.values().filter(|r| r.is_deleted()).count();
    println!(
        "checked {} keys and fields ({deleted} deleted) and {} counters",
        model.registers.len(),
        model.counters.len()
    );
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

fn read_all(client: &mut Connection, cells: &[&Cell]) -> Vec<Value> {
    let mut values = Vec::new();
    for some in cells.chunks(200) {
        let commands: Vec<_> = some.iter().map(|cell| cell.read()).collect();
        values.extend(client.pipeline(&commands).iter().map(value_of));
    }
    values
}

/// The checks find out a server that forgets, brings back or counts twice: the oracle, made to.
#[test]
fn the_checks_notice_what_is_wrong() {
    let server = Server::oracle();
    let door = Door::local(server.port());
    let mut workload = Workload::new(true, 1);
    for home in 0..2 {
        workload.add(home, door.clone());
    }
    workload.wait_for_progress(&[0, 1], 500);
    workload.expect_no_failure(&[0, 1]);
    let model = workload.finish();
    let doors = [(0, door)];
    check(&doors, &mut model.clone()).expect("a single server does all right");
    let mut client = server.connect();
    let key_where = |deleted: bool| {
        let mut registers = model.registers.iter();
        let found = registers.find_map(|(cell, register)| match cell {
            Cell::Key(key) if register.is_deleted() == deleted => Some(key.clone()),
            _ => None,
        });
        found.expect("there are such keys")
    };
    for (harm, cure) in [
        (format!("COPY {} kept", key_where(false)), None),
        (
            format!("DEL {}", key_where(false)),
            Some(format!("COPY kept {}", key_where(false))),
        ),
        (
            format!("SET {} again", key_where(true)),
            Some(format!("DEL {}", key_where(true))),
        ),
        (
            "INCR counter:0".to_owned(),
            Some("DECR counter:0".to_owned()),
        ),
    ] {
        client.run(&harm);
        assert_eq!(
            check(&doors, &mut model.clone()).is_ok(),
            cure.is_none(),
            "{harm}"
        );
        if let Some(cure) = cure {
            client.run(&cure);
            check(&doors, &mut model.clone()).expect("it is right again");
        }
    }
}
