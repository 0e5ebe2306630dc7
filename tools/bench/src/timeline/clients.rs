//! Clients that send at a fixed rate and go on whatever happens: each keeps to its node, and connects
//! to it again when the connection breaks.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    control::Control,
    error::{Context, Error, Result},
    generator::check,
    interrupt,
    resp::scan,
    workload::{Expected, KEY, Rng, Template, key_name, value as value_of},
};

/// Who sends what, where.
pub struct Plan {
    pub ports: Vec<u16>,
    /// Clients of each node.
    pub clients: usize,
    /// Requests per second over all clients of all nodes.
    pub rate: f64,
    pub length: Duration,
    /// There are values of this many bytes under as many keys.
    pub keys: u64,
    pub value: usize,
    pub counters: u64,
}

/// One request that was answered, or failed.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// When the answer came, since the beginning.
    pub at: Duration,
    /// Since the request was due, or was sent if the client was late without the server's doing.
    pub latency: Duration,
    pub is_error: bool,
}

/// What the clients of one node saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub answers: Vec<Answer>,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Increments that were acknowledged.
    pub increments: u64,
}

/// A server that does not answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends as planned, while `meanwhile` does to the nodes what it does (its argument is when the
/// clients began). Returns what was seen at each node, in the order of the ports.
pub fn run<T>(plan: &Plan, meanwhile: impl FnOnce(Instant) -> Result<T>) -> Result<(Vec<Seen>, T)> {
    let (start, stop) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients * plan.ports.len())
            .map(|number| {
                let node = number % plan.ports.len();
                let (client, stop) = (Client::new(plan, number, node), &stop);
                (node, scope.spawn(move || client.run(start, stop)))
            })
            .collect();
        let done = meanwhile(start);
        if done.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let mut seen: Vec<Seen> = plan.ports.iter().map(|_| Seen::default()).collect();
        for (node, client) in clients {
            let client = client.join().map_err(|_| Error::Closed)?;
            let so_far = std::mem::take(&mut seen[node]);
            seen[node] = so_far.and(client);
        }
        interrupt::check()?;
        Ok((seen, done?))
    })
}

impl Seen {
    /// What both saw.
    pub fn and(mut self, other: Seen) -> Seen {
        self.answers.extend(other.answers);
        self.increments += other.increments;
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self
    }

    fn record(&mut self, answer: Answer, result: &Result<Kind>) {
        self.answers.push(answer);
        match result {
            Ok(Kind::Increment) => self.increments += 1,
            Ok(_) => {}
            Err(error) => *self.errors.entry(error.to_string()).or_default() += 1,
        }
    }
}

/// The name of counter number `number`, on which clients do INCR.
pub fn counter_name(number: u64) -> Vec<u8> {
    [b"count:", &*key_name(number)].concat()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
    Increment,
    HashSet,
}

impl Kind {
    /// Of ten requests, four GET, three SET, two INCR and one HSET.
    fn any(random: &mut Rng) -> Kind {
        match random.below(10) {
            0..4 => Kind::Get,
            4..7 => Kind::Set,
            7..9 => Kind::Increment,
            _ => Kind::HashSet,
        }
    }

    fn template(self, value: usize) -> Template {
        let value = value_of(value);
        match self {
            Kind::Get => Template::get(),
            Kind::Set => Template::new(&[b"SET", KEY, &value]),
            Kind::Increment => Template::new(&[b"INCR", &counter_name(0)]),
            Kind::HashSet => Template::new(&[b"HSET", &[b"hash:", KEY].concat(), b"field", &value]),
        }
    }
}

struct Client<'a> {
    plan: &'a Plan,
    /// Its place in the order in which clients send.
    number: usize,
    port: u16,
    stream: Option<TcpStream>,
    random: Rng,
    templates: [(Kind, Template); 4],
    buffer: Vec<u8>,
    seen: Seen,
}

impl<'a> Client<'a> {
    fn new(plan: &'a Plan, number: usize, node: usize) -> Self {
        let kinds = [Kind::Get, Kind::Set, Kind::Increment, Kind::HashSet];
        Self {
            plan,
            number,
            port: plan.ports[node],
            stream: None,
            random: Rng::new(number as u64),
            templates: kinds.map(|kind| (kind, kind.template(plan.value))),
            buffer: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn run(mut self, start: Instant, stop: &AtomicBool) -> Seen {
        let clients = self.plan.clients * self.plan.ports.len();
        let interval = Duration::from_secs_f64(clients as f64 / self.plan.rate);
        let mut due = interval.mul_f64(self.number as f64 / clients as f64);
        let mut free_since = Duration::ZERO;
        while due < self.plan.length && !stop.load(Ordering::Relaxed) && interrupt::check().is_ok()
        {
            thread::sleep(due.saturating_sub(start.elapsed()));
            // Waking up late is no fault of the server; answering the last request late is.
            let since = if free_since > due {
                due
            } else {
                start.elapsed()
            };
            let result = self.request();
            free_since = start.elapsed();
            let answer = Answer {
                at: free_since,
                latency: free_since - since,
                is_error: result.is_err(),
            };
            self.seen.record(answer, &result);
            due += interval;
        }
        self.seen
    }

    /// Sends one request and waits for its answer. After an error reply the connection goes on, after
    /// any other failure the next request begins with a new one.
    fn request(&mut self) -> Result<Kind> {
        let kind = Kind::any(&mut self.random);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let result = self.exchange(&mut stream, kind);
        if matches!(result, Ok(_) | Err(Error::Refused(_))) {
            self.stream = Some(stream);
        }
        result.map(|()| kind)
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("connecting")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        stream.set_read_timeout(Some(PATIENCE)).context("timeout")?;
        Ok(stream)
    }

    fn exchange(&mut self, stream: &mut TcpStream, kind: Kind) -> Result<()> {
        let (keys, expected) = match kind {
            Kind::Get => (self.plan.keys, Expected::Bulk(self.plan.value)),
            Kind::Set => (self.plan.keys, Expected::Ok),
            Kind::Increment => (self.plan.counters, Expected::Integer),
            Kind::HashSet => (self.plan.keys, Expected::Integer),
        };
        let key = self.random.below(keys);
        self.buffer.clear();
        for (of, template) in &self.templates {
            if *of == kind {
                template.write(&mut self.buffer, key);
            }
        }
        stream.write_all(&self.buffer).context("sending")?;
        self.buffer.clear();
        loop {
            let mut chunk = [0; 1024];
            match stream.read(&mut chunk) {
                Ok(0) => return Err(Error::Closed),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).context("receiving"),
            }
            if let Some((reply, _)) = scan(&self.buffer)? {
                return check(expected, &reply);
            }
        }
    }
}

/// The sum of all counters.
pub fn sum_counters(port: u16, counters: u64) -> Result<i64> {
    let mut control = Control::connect(port)?;
    (0..counters)
        .map(|number| control.number(&counter_name(number)))
        .sum()
}
