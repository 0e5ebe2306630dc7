//! The load generator: one thread, many connections, closed loop or fixed rate.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};

use crate::{
    error::{Context, Error, Result},
    interrupt,
    resp::{Reply, scan, write_command},
    workload::{Expected, Workload},
};

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// Closed loop: each connection sends this many requests in one write, waits for all their
    /// replies, and sends the next batch.
    Closed { pipeline: usize },
    /// Open loop: requests are due at this rate per second over all connections. Latency counts
    /// from when a request was due, not from when it could be sent, so a stalled server is charged
    /// for the requests it held up (no coordinated omission).
    Fixed { rate: f64 },
}

/// When a run ends. Every run also ends when the workload does and all replies are in.
#[derive(Clone, Copy)]
pub enum Until<'a> {
    Exhausted,
    Elapsed(Duration),
    Set(&'a AtomicBool),
}

/// What a run measured.
pub struct Tally {
    pub operations: u64,
    pub elapsed: Duration,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        const ONE_MINUTE: u64 = 60_000_000_000;
        let latency = Histogram::new_with_bounds(1, ONE_MINUTE, 3);
        Self {
            operations: 0,
            elapsed: Duration::ZERO,
            latency: latency.expect("constant bounds are valid"),
        }
    }

    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Latency in milliseconds below which the fraction `quantile` of the requests stayed.
    pub fn milliseconds_at(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }

    /// Adds another run's measurements.
    pub fn merge(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.elapsed += other.elapsed;
        let merged = self.latency.add(&other.latency);
        debug_assert!(merged.is_ok(), "same bounds");
    }
}

/// Requests in flight on one connection at a fixed rate; more wait in the schedule.
const MAX_IN_FLIGHT: usize = 4096;
const READ_BYTES: usize = 256 * 1024;
const TIMER: u64 = u64::MAX;

struct Pending {
    expected: Expected,
    /// Nanoseconds of the generator's clock.
    since: u64,
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    in_flight: VecDeque<Pending>,
    /// The beginning of a reply whose end has not come yet.
    partial: Vec<u8>,
}

impl Connection {
    /// Writes what is left of `out`; the rest waits until the socket is writable.
    fn flush(&mut self) -> Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("sending requests"),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Consumes every whole reply in `bytes`, returning how many bytes that were.
    fn take_replies(&mut self, bytes: &[u8], now: u64, tally: &mut Tally) -> Result<usize> {
        let mut taken = 0;
        while let Some((reply, len)) = scan(&bytes[taken..])? {
            let Some(pending) = self.in_flight.pop_front() else {
                return Err(Error::WrongReply(format!("unasked {}", reply.describe())));
            };
            check(pending.expected, &reply)?;
            taken += len;
            let (operations, latency) = (
                pending.expected.operations(),
                now.saturating_sub(pending.since),
            );
            if operations > 0 {
                tally.operations += operations;
                tally
                    .latency
                    .saturating_record_n(latency.max(1), operations);
            }
        }
        Ok(taken)
    }
}

pub fn check(expected: Expected, reply: &Reply<'_>) -> Result<()> {
    if expected.accepts(reply) {
        return Ok(());
    }
    Err(match reply {
        Reply::Error(text) => Error::Refused(String::from_utf8_lossy(text).into_owned()),
        other => Error::WrongReply(format!("{}, not {expected:?}", other.describe())),
    })
}

/// Sends one request on a blocking connection, and checks that it is answered with OK.
fn greet(stream: &mut TcpStream, args: &[&[u8]]) -> Result<()> {
    let mut request = Vec::new();
    write_command(&mut request, args);
    stream.write_all(&request).context("greeting a server")?;
    let mut answer = Vec::new();
    loop {
        let mut chunk = [0; 256];
        match stream.read(&mut chunk).context("greeting a server")? {
            0 => return Err(Error::Closed),
            n => answer.extend_from_slice(&chunk[..n]),
        }
        if let Some((reply, _)) = scan(&answer)? {
            return check(Expected::Ok, &reply);
        }
    }
}

pub struct Generator {
    epoll: OwnedFd,
    timer: OwnedFd,
    clock: Instant,
    connections: Vec<Connection>,
    events: Vec<epoll::Event>,
    read_buffer: Vec<u8>,
    /// At a fixed rate: when the next request is due, and on which connection.
    next_due: Option<f64>,
    turn: usize,
    exhausted: bool,
}

impl Generator {
    /// Connections to one server.
    pub fn connect(port: u16, connections: usize) -> Result<Self> {
        Self::connect_to(&[port], connections, None)
    }

    /// Connections to several servers in turn. Each begins with a request that must be answered
    /// with OK, if one is given.
    pub fn connect_to(
        ports: &[u16],
        connections: usize,
        greeting: Option<&[&[u8]]>,
    ) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create")?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .context("timerfd_create")?;
        let edge = epoll::EventFlags::ET | epoll::EventFlags::IN;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), edge).context("epoll_ctl")?;
        let mut open = Vec::with_capacity(connections);
        for (id, &port) in ports.iter().cycle().take(connections).enumerate() {
            let mut stream =
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to server")?;
            stream.set_nodelay(true).context("TCP_NODELAY")?;
            if let Some(args) = greeting {
                greet(&mut stream, args)?;
            }
            stream.set_nonblocking(true).context("O_NONBLOCK")?;
            let data = epoll::EventData::new_u64(id as u64);
            epoll::add(&epoll, &stream, data, edge | epoll::EventFlags::OUT)
                .context("epoll_ctl")?;
            open.push(Connection {
                stream,
                out: Vec::new(),
                sent: 0,
                in_flight: VecDeque::new(),
                partial: Vec::new(),
            });
        }
        Ok(Self {
            epoll,
            timer,
            clock: Instant::now(),
            connections: open,
            events: Vec::with_capacity(connections + 1),
            read_buffer: vec![0; READ_BYTES],
            next_due: None,
            turn: 0,
            exhausted: false,
        })
    }

    /// Sends `workload` until the run ends. Requests still unanswered then are counted by the next
    /// run, so that runs follow each other without a gap; [`Generator::drain`] ends the sequence.
    pub fn run(
        &mut self,
        workload: &mut dyn Workload,
        pacing: Pacing,
        until: Until<'_>,
    ) -> Result<Tally> {
        let mut tally = Tally::new();
        self.exhausted = false;
        let start = self.now();
        if let Pacing::Closed { pipeline } = pacing {
            for id in 0..self.connections.len() {
                self.send_batch(id, workload, pipeline)?;
            }
        }
        loop {
            let now = self.now();
            let ended = match until {
                Until::Exhausted => false,
                Until::Elapsed(time) => now - start >= time.as_nanos() as u64,
                Until::Set(flag) => flag.load(Ordering::Acquire),
            };
            if ended || (self.exhausted && self.idle()) {
                tally.elapsed = Duration::from_nanos(now - start);
                return Ok(tally);
            }
            interrupt::check()?;
            if let Pacing::Fixed { rate } = pacing {
                self.send_due(workload, rate)?;
            }
            self.wait()?;
            let events = std::mem::take(&mut self.events);
            for event in &events {
                let data = event.data;
                let id = data.u64();
                if id == TIMER {
                    continue;
                }
                let id = id as usize;
                self.connections[id].flush()?;
                self.receive(id, &mut tally)?;
                if let Pacing::Closed { pipeline } = pacing {
                    self.send_batch(id, workload, pipeline)?;
                }
            }
            self.events = events;
        }
    }

    /// Waits for all unanswered requests, and returns what that measured.
    pub fn drain(&mut self) -> Result<Tally> {
        struct Nothing;
        impl Workload for Nothing {
            fn next(&mut self, _: &mut Vec<u8>) -> Option<Expected> {
                None
            }
        }
        self.next_due = None;
        self.run(
            &mut Nothing,
            Pacing::Closed { pipeline: 1 },
            Until::Exhausted,
        )
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn idle(&self) -> bool {
        self.connections.iter().all(|c| c.in_flight.is_empty())
    }

    fn wait(&mut self) -> Result<()> {
        // An upper bound, so that deadlines, flags and interrupts are looked at.
        let at_most = Timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000,
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&at_most),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e).context("epoll_wait"),
        }
    }

    /// Sends the next batch on a connection that waits for no reply.
    fn send_batch(
        &mut self,
        id: usize,
        workload: &mut dyn Workload,
        pipeline: usize,
    ) -> Result<()> {
        if self.exhausted || !self.connections[id].in_flight.is_empty() {
            return Ok(());
        }
        let since = self.now();
        let connection = &mut self.connections[id];
        for _ in 0..pipeline {
            let Some(expected) = workload.next(&mut connection.out) else {
                self.exhausted = true;
                break;
            };
            connection.in_flight.push_back(Pending { expected, since });
        }
        connection.flush()
    }

    /// Sends every request that is due, round robin, and sets the timer for the next one.
    fn send_due(&mut self, workload: &mut dyn Workload, rate: f64) -> Result<()> {
        let now = self.now();
        let interval = 1e9 / rate;
        let mut due = self.next_due.unwrap_or(now as f64);
        while due <= now as f64 && !self.exhausted {
            let connection = &mut self.connections[self.turn];
            if connection.in_flight.len() >= MAX_IN_FLIGHT {
                break;
            }
            match workload.next(&mut connection.out) {
                None => self.exhausted = true,
                Some(expected) => {
                    let since = due as u64;
                    connection.in_flight.push_back(Pending { expected, since });
                    connection.flush()?;
                    self.turn = (self.turn + 1) % self.connections.len();
                    due += interval;
                }
            }
        }
        self.next_due = Some(due);
        // epoll_wait's own timeout is too coarse: at 50,000 requests a second one is due every 20 us.
        let ahead = (due - self.now() as f64).max(1.0) as i64;
        let timer = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: ahead / 1_000_000_000,
                tv_nsec: ahead % 1_000_000_000,
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)
            .context("timerfd_settime")?;
        Ok(())
    }

    fn receive(&mut self, id: usize, tally: &mut Tally) -> Result<()> {
        loop {
            let read = self.connections[id].stream.read(&mut self.read_buffer);
            let n = match read {
                Ok(0) => return Err(Error::Closed),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).context("receiving replies"),
            };
            let now = self.now();
            let connection = &mut self.connections[id];
            let bytes = &self.read_buffer[..n];
            if connection.partial.is_empty() {
                let taken = connection.take_replies(bytes, now, tally)?;
                connection.partial.extend_from_slice(&bytes[taken..]);
            } else {
                let mut whole = std::mem::take(&mut connection.partial);
                whole.extend_from_slice(bytes);
                let taken = connection.take_replies(&whole, now, tally)?;
                whole.drain(..taken);
                connection.partial = whole;
            }
            // A short read has emptied the socket: the next byte raises a new edge (epoll(7)).
            if n < READ_BYTES {
                return Ok(());
            }
        }
    }
}
