//! A network of the tests' own: hosts in network namespaces, and a switch between them that loses, delays and
//! throttles packets as it is told.
//!
//! Each host has one TUN device, whose other end the switch holds; so every packet between two hosts passes through
//! this process. Needs the rights to make namespaces and TUN devices: root, or `unshare -Ur cargo test …` where users
//! may have namespaces. Everything vanishes with the process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::ioctl;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Larger than the loss-free default, so that moving data takes few packets.
const MTU: usize = 9000;
/// What a path holds back at most; more is lost, as in a router.
const HELD_BACK: usize = 32 << 20;
/// As many datagrams are recorded at most.
const RECORDED: usize = 10_000;
/// How far behind a throttled path may be before it loses packets.
const LONGEST_QUEUE: Duration = Duration::from_secs(1);

/// How packets fare from one host to another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// Nothing arrives.
    pub cut: bool,
    /// How long each packet takes.
    pub delay: Duration,
    /// The share of packets that is lost, 0 to 1.
    pub loss: f64,
    /// What passes in a second.
    pub bytes_per_second: Option<u64>,
}

impl Path {
    /// Nothing passes.
    pub const CUT: Self = Self {
        cut: true,
        delay: Duration::ZERO,
        loss: 0.0,
        bytes_per_second: None,
    };
}

/// What is set about paths, by (from, to); others are perfect.
type Paths = BTreeMap<(usize, usize), Path>;

/// The hosts' network; dropping it stops the switch.
pub struct Network {
    shared: Arc<Shared>,
    wake: PipeWriter,
    switch: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    paths: Mutex<Paths>,
    devices: Mutex<Vec<Arc<File>>>,
    /// Datagrams seen while recording.
    recorded: Mutex<Option<Vec<Datagram>>>,
    stop: AtomicBool,
}

/// A recorded UDP packet, headers included.
#[derive(Clone)]
pub struct Datagram {
    pub from: usize,
    pub to: usize,
    packet: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Network {
    /// A network without hosts; `seed` decides which packets are lost.
    pub fn new(seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let (woken, wake) = io::pipe().expect("a pipe");
        let switch = Switch {
            shared: shared.clone(),
            woken,
            random: StdRng::seed_from_u64(seed),
            delayed: BinaryHeap::new(),
            sequence: 0,
            held_back: 0,
            free_at: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("switch".to_owned())
            .spawn(|| switch.run());
        Self {
            shared,
            wake,
            switch: Some(thread.expect("a thread")),
        }
    }

    /// Adds a host. The first is number 0.
    pub fn add_host(&self) -> Host {
        let mut devices = lock(&self.shared.devices);
        let address = address_of(devices.len());
        let (host, device) = Host::start(address).unwrap_or_else(|error| {
            panic!(
                "can't make a network namespace with a TUN device: {error}\n\
                 (this test needs root, or to be run under `unshare -Ur`)"
            )
        });
        devices.push(Arc::new(device));
        drop(devices);
        self.wake();
        host
    }

    /// Sets how packets fare from one host to another.
    pub fn set(&self, from: usize, to: usize, path: Path) {
        lock(&self.shared.paths).insert((from, to), path);
    }

    /// As [`set`](Self::set), in both directions between any of one group and any of the other.
    pub fn set_between(&self, some: &[usize], others: &[usize], path: Path) {
        for &one in some {
            for &other in others {
                self.set(one, other, path);
                self.set(other, one, path);
            }
        }
    }

    /// Makes all paths perfect again.
    pub fn heal(&self) {
        lock(&self.shared.paths).clear();
    }

    /// Records UDP packets from now on; returns those recorded so far.
    pub fn record(&self) -> Vec<Datagram> {
        lock(&self.shared.recorded)
            .replace(Vec::new())
            .unwrap_or_default()
    }

    /// How many packets were recorded from one host to another.
    pub fn recorded(&self, from: usize, to: usize) -> usize {
        let recorded = lock(&self.shared.recorded);
        let recorded = recorded.iter().flatten();
        recorded.filter(|d| (d.from, d.to) == (from, to)).count()
    }

    /// Delivers a packet once more, whatever is set about its path.
    pub fn replay(&self, datagram: &Datagram) {
        let device = lock(&self.shared.devices)[datagram.to].clone();
        deliver(&device, &datagram.packet);
    }

    fn wake(&self) {
        // The pipe holds more than is ever written to it.
        let _ = (&self.wake).write_all(&[0]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(switch) = self.switch.take() {
            let _ = switch.join();
        }
    }
}

fn address_of(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        10,
        99,
        0,
        u8::try_from(host + 1).expect("less than 255 hosts"),
    )
}

fn host_of(address: [u8; 4]) -> Option<usize> {
    match address {
        [10, 99, 0, last] => usize::from(last).checked_sub(1),
        _ => None,
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// One host: a thread in a network namespace, in which others have their sockets and processes made.
pub struct Host {
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

/// Runs jobs on a host, as long as there is one.
#[derive(Clone)]
pub struct Remote {
    address: Ipv4Addr,
    /// `None` ends the host.
    jobs: mpsc::Sender<Option<Job>>,
}

impl Host {
    fn start(address: Ipv4Addr) -> io::Result<(Self, File)> {
        let (jobs, todo) = mpsc::channel::<Option<Job>>();
        let (made, device) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("host-{address}"))
            .spawn(move || {
                let device = enter_namespace(address);
                let failed = device.is_err();
                if made.send(device).is_err() || failed {
                    return;
                }
                while let Ok(Some(job)) = todo.recv() {
                    job();
                }
            })?;
        let device = device
            .recv()
            .map_err(|_| io::Error::other("the thread ended"))??;
        let host = Self {
            remote: Remote { address, jobs },
            thread: Some(thread),
        };
        Ok((host, device))
    }

    pub fn address(&self) -> Ipv4Addr {
        self.remote.address
    }

    /// For other threads.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// See [`Remote::run`].
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.remote.run(job)
    }
}

impl Remote {
    /// Runs `job` on the host: sockets it makes and processes it starts belong to the host.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.send(Some(job)).expect("the host's thread runs");
        result.recv().expect("the job doesn't panic")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.remote.jobs.send(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves the calling thread to a network namespace of its own, with one device at `address`.
fn enter_namespace(address: Ipv4Addr) -> io::Result<File> {
    // SAFETY: only a new network namespace is entered; file descriptors stay shared with the other threads.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    let device = open_tun(b"cluster0")?;
    let mtu = MTU.to_string();
    let address = format!("{address}/24");
    for words in [
        vec!["link", "set", "lo", "up"],
        vec!["addr", "add", &address, "dev", "cluster0"],
        vec![
            "link",
            "set",
            "cluster0",
            "mtu",
            &mtu,
            "txqueuelen",
            "10000",
            "up",
        ],
    ] {
        let output = Command::new("ip").args(&words).output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("ip {}: {why}", words.join(" "))));
        }
    }
    Ok(device)
}

/// `struct ifreq` as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

fn open_tun(name: &[u8]) -> io::Result<File> {
    const TUNSETIFF: ioctl::Opcode = ioctl::opcode::write::<i32>(b'T', 202);
    const IFF_TUN: u16 = 1;
    const IFF_NO_PI: u16 = 0x1000;
    let device = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open("/dev/net/tun")?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TUN | IFF_NO_PI,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name);
    // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq`, whose layout the type has.
    unsafe { ioctl::ioctl(&device, ioctl::Setter::<TUNSETIFF, _>::new(request)) }?;
    Ok(device)
}

/// A packet on its way; ordered by when it arrives.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    due: Instant,
    sequence: u64,
    to: usize,
    packet: Vec<u8>,
}

struct Switch {
    shared: Arc<Shared>,
    woken: PipeReader,
    random: StdRng,
    delayed: BinaryHeap<Reverse<Delayed>>,
    sequence: u64,
    held_back: usize,
    /// When a throttled path has passed what it was given.
    free_at: BTreeMap<(usize, usize), Instant>,
}

impl Switch {
    fn run(mut self) {
        let mut buffer = vec![0; MTU + 100];
        loop {
            let devices = lock(&self.shared.devices).clone();
            let ready = self.wait(&devices);
            if self.shared.stop.load(Ordering::SeqCst) {
                return;
            }
            for from in ready {
                self.forward_from(from, &devices, &mut buffer);
            }
            self.deliver_due(&devices);
        }
    }

    /// Waits for packets, or until one is due; returns where there are some.
    fn wait(&mut self, devices: &[Arc<File>]) -> Vec<usize> {
        let timeout = self.delayed.peek().map(|Reverse(next)| {
            let left = next.due.saturating_duration_since(Instant::now());
            Timespec::try_from(left).expect("a second or so")
        });
        let mut descriptors: Vec<_> = devices
            .iter()
            .map(|device| PollFd::new(device, PollFlags::IN))
            .chain([PollFd::new(&self.woken, PollFlags::IN)])
            .collect();
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("polling the devices: {error}"),
        }
        let woken = descriptors
            .pop()
            .is_some_and(|d| d.revents().contains(PollFlags::IN));
        let ready = descriptors
            .iter()
            .enumerate()
            .filter(|(_, d)| d.revents().contains(PollFlags::IN))
            .map(|(at, _)| at)
            .collect();
        drop(descriptors);
        if woken {
            let _ = self.woken.read(&mut [0; 64]);
        }
        ready
    }

    fn forward_from(&mut self, from: usize, devices: &[Arc<File>], buffer: &mut [u8]) {
        // Not for ever: others want to be heard, and paths change.
        for _ in 0..64 {
            let Ok(length) = (&*devices[from]).read(buffer) else {
                return;
            };
            let packet = &buffer[..length];
            // IPv4 only; the system's own IPv6 chatter goes nowhere.
            if length < 20 || packet[0] >> 4 != 4 {
                continue;
            }
            let destination = [packet[16], packet[17], packet[18], packet[19]];
            if let Some(to) = host_of(destination).filter(|&to| to < devices.len()) {
                self.forward(from, to, packet, devices);
            }
        }
    }

    fn forward(&mut self, from: usize, to: usize, packet: &[u8], devices: &[Arc<File>]) {
        const UDP: u8 = 17;
        if packet[9] == UDP
            && let Some(recorded) = &mut *lock(&self.shared.recorded)
            && recorded.len() < RECORDED
        {
            let packet = packet.to_vec();
            recorded.push(Datagram { from, to, packet });
        }
        let path = lock(&self.shared.paths).get(&(from, to)).copied();
        let Some(path) = path else {
            deliver(&devices[to], packet);
            return;
        };
        if path.cut || (path.loss > 0.0 && self.random.random_bool(path.loss)) {
            return;
        }
        let now = Instant::now();
        let mut due = now + path.delay;
        if let Some(rate) = path.bytes_per_second {
            let free_at = self.free_at.entry((from, to)).or_insert(now);
            let start = (*free_at).max(now);
            if start - now > LONGEST_QUEUE {
                return;
            }
            *free_at = start + Duration::from_secs_f64(packet.len() as f64 / rate.max(1) as f64);
            due = *free_at + path.delay;
        }
        if due <= now {
            deliver(&devices[to], packet);
        } else if self.held_back + packet.len() <= HELD_BACK {
            self.held_back += packet.len();
            self.sequence += 1;
            self.delayed.push(Reverse(Delayed {
                due,
                sequence: self.sequence,
                to,
                packet: packet.to_vec(),
            }));
        }
    }

    fn deliver_due(&mut self, devices: &[Arc<File>]) {
        let now = Instant::now();
        while let Some(Reverse(next)) = self.delayed.peek()
            && next.due <= now
            && let Some(Reverse(next)) = self.delayed.pop()
        {
            self.held_back -= next.packet.len();
            deliver(&devices[next.to], &next.packet);
        }
    }
}

fn deliver(device: &File, packet: &[u8]) {
    // A host that takes no more loses packets, as hosts do.
    let _ = { device }.write(packet);
}
