//! Clusters of real server processes, which tests kill, stop, cut off and grow.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::connection::{Connection, Protocol};
use crate::common::network::{Host, Network, Remote};
use crate::common::reply::Reply;
use crate::common::server::{Program, free_port, is_port_collision};
use crate::common::wait::DEADLINE;

mod observe;
mod setup;

pub use setup::{Link, Setup};

/// The ports of nodes that have a host of their own.
const CLIENT_PORT: u16 = 6379;
const CLUSTER_PORT: u16 = 16379;

/// Where clients of one node connect.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    remote: Option<Remote>,
}

impl Door {
    /// To a server of this host.
    pub fn local(port: u16) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            remote: None,
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// The connection can't be made.
    pub fn enter(&self) -> io::Result<Connection> {
        let address = self.address;
        let open = move || Connection::open_at(address, Protocol::Resp2);
        match &self.remote {
            Some(remote) => remote.run(open),
            None => open(),
        }
    }
}

struct Node {
    /// Where clients connect.
    address: SocketAddr,
    cluster_port: u16,
    host: Option<Host>,
    child: Option<Child>,
    /// Data directories this node has had; the last one counts.
    lives: usize,
}

/// Running nodes; dropping it kills all of them and removes their directories.
pub struct Cluster {
    setup: Setup,
    nodes: Vec<Node>,
    // After the nodes: hosts go before their network.
    network: Option<Network>,
    temporary: TempDir,
    // Last: until all is gone.
    _turn: MutexGuard<'static, ()>,
}

/// One cluster at a time: several nodes want the whole machine, and must not be taken for dead.
static TURN: Mutex<()> = Mutex::new(());

impl Cluster {
    /// Starts a cluster and waits until it is complete and nothing moves any more.
    pub fn start(setup: Setup) -> Self {
        let nodes = setup.nodes;
        let mut cluster = Self::empty(setup);
        for _ in 0..nodes {
            cluster.add();
        }
        cluster.wait_until_settled(nodes);
        cluster
    }

    /// A cluster without nodes. Waits until no other test has one; there must be none in the same test.
    pub fn empty(setup: Setup) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            _turn: turn,
            network: (setup.link == Link::Network).then(|| Network::new(setup.seed)),
            nodes: Vec::new(),
            temporary: tempfile::tempdir().expect("a temporary directory"),
            setup,
        }
    }

    /// Starts one more node, joining the first if there is one, and waits until it answers.
    pub fn add(&mut self) -> usize {
        match self.try_add() {
            Ok(index) => index,
            Err(log) => panic!("node {} didn't start:\n{log}", self.nodes.len() - 1),
        }
    }

    /// As [`add`](Self::add).
    ///
    /// # Errors
    /// The end of the log of a node that exited instead of answering. It counts as a node nevertheless.
    pub fn try_add(&mut self) -> Result<usize, String> {
        let index = self.spawn_new();
        let mut attempt = 1;
        loop {
            match self.wait_until_ready(index) {
                Ok(()) => return Ok(index),
                // Another process took a port in between.
                Err(log)
                    if self.nodes[index].host.is_none()
                        && attempt < 5
                        && is_port_collision(&log) =>
                {
                    attempt += 1;
                    self.kill(index);
                    self.choose_ports(index);
                    self.spawn(index, Self::first);
                }
                Err(log) => return Err(log),
            }
        }
    }

    /// As [`add`](Self::add), without waiting for an answer.
    pub fn spawn_new(&mut self) -> usize {
        let index = self.new_node();
        self.spawn(index, Self::first);
        index
    }

    fn new_node(&mut self) -> usize {
        let index = self.nodes.len();
        let host = self.network.as_ref().map(Network::add_host);
        let address = host
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, |host| host.address());
        self.nodes.push(Node {
            address: SocketAddr::from((address, CLIENT_PORT)),
            cluster_port: CLUSTER_PORT,
            host,
            child: None,
            lives: 1,
        });
        if self.nodes[index].host.is_none() {
            self.choose_ports(index);
        }
        index
    }

    /// A node that isn't started yet, with a copy of the directory of another, which must not run.
    pub fn prepare_copy(&mut self, of: usize) -> usize {
        assert!(!self.is_running(of), "a running node changes its directory");
        let index = self.new_node();
        copy_directory(&self.dir(of), &self.dir(index)).expect("the copy");
        index
    }

    /// Starts a node that was only prepared.
    pub fn spawn_prepared(&mut self, index: usize) {
        self.spawn(index, Self::first);
    }

    fn choose_ports(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.address.set_port(free_port());
        node.cluster_port = free_cluster_port(node.address.port());
    }

    /// What a new node joins: the first node, which is a cluster of its own at first.
    fn first(&self, index: usize) -> Vec<SocketAddr> {
        let first = self.nodes.first().filter(|_| index > 0);
        first.map(|node| node.address).into_iter().collect()
    }

    fn others(&self, index: usize) -> Vec<SocketAddr> {
        let others = self.nodes.iter().enumerate().filter(|(at, node)| {
            // One that is dead would only cost time.
            *at != index && node.child.is_some()
        });
        others.map(|(_, node)| node.address).collect()
    }

    fn spawn(&mut self, index: usize, join: impl Fn(&Self, usize) -> Vec<SocketAddr>) {
        let join = join(self, index);
        let node = &self.nodes[index];
        assert!(node.child.is_none(), "node {index} runs already");
        let dir = self.dir(index);
        fs::create_dir_all(&dir).expect("the data directory");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(index))
            .expect("the log");
        // The kernel ends the node when the thread that started it ends, however that happens.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", &Program::Subject.path()]);
        command.args(["--port", &node.address.port().to_string()]);
        command.args(["--cluster-port", &node.cluster_port.to_string()]);
        command.args(["--bind", &node.address.ip().to_string()]);
        command.arg("--dir").arg(&dir);
        command.args(["--enable-debug-command", "yes"]);
        let flags = self.setup.flags.iter();
        let own = self.setup.node_flags.get(&index);
        let named = |name: &str| {
            let own = own.into_iter().flatten();
            self.setup.flags.iter().chain(own).any(|(n, _)| n == name)
        };
        for (name, value) in [
            ("durability", "os"),
            ("log-segment-size", "4mb"),
            ("threads", "2"),
        ] {
            if !named(name) {
                command.args([&format!("--{name}"), value]);
            }
        }
        for (name, value) in flags.chain(own.into_iter().flatten()) {
            command.args([&format!("--{name}"), value]);
        }
        if !join.is_empty() {
            command.arg("--join");
            command.args(join.iter().map(SocketAddr::to_string));
        }
        command.stdin(Stdio::null());
        command
            .stdout(log.try_clone().expect("the log"))
            .stderr(log);
        let child = run_on(node.host.as_ref(), move || command.spawn());
        let child = child.unwrap_or_else(|e| panic!("can't start node {index}: {e}"));
        self.nodes[index].child = Some(child);
    }

    /// Waits until a node answers its clients.
    ///
    /// # Errors
    /// The end of its log if it exited or doesn't answer.
    pub fn wait_until_ready(&mut self, index: usize) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let child = self.nodes[index].child.as_mut();
            let ended = child.and_then(|c| c.try_wait().expect("it is our child"));
            if let Some(status) = ended {
                self.nodes[index].child = None;
                return Err(format!("exited with {status}\n{}", self.log_tail(index)));
            }
            if self.answers(index) {
                return Ok(());
            }
            if started.elapsed() > DEADLINE {
                return Err(format!(
                    "no answer in {DEADLINE:?}\n{}",
                    self.log_tail(index)
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Does this very process answer (and not another one at its port)?
    fn answers(&self, index: usize) -> bool {
        let pid = self.nodes[index].child.as_ref().map(Child::id);
        let info = self
            .try_client(index)
            .and_then(|mut client| client.try_call(&["INFO", "server"]));
        match (pid, info) {
            (Some(pid), Ok(Reply::Bulk(info))) => {
                String::from_utf8_lossy(&info).contains(&format!("process_id:{pid}\r\n"))
            }
            _ => false,
        }
    }

    /// The number of nodes that were ever started.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_running(&self, index: usize) -> bool {
        self.nodes[index].child.is_some()
    }

    /// The nodes with a process.
    pub fn running(&self) -> Vec<usize> {
        (0..self.len()).filter(|&at| self.is_running(at)).collect()
    }

    /// The network between the nodes; panics on loopback.
    pub fn network(&self) -> &Network {
        self.network
            .as_ref()
            .expect("the cluster has Link::Network")
    }

    /// Where clients of a node connect, from its host.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.nodes[index].address
    }

    /// Where other nodes connect.
    pub fn cluster_address(&self, index: usize) -> SocketAddr {
        let node = &self.nodes[index];
        SocketAddr::new(node.address.ip(), node.cluster_port)
    }

    /// Runs `job` where the node runs, so that it reaches the node whatever is cut.
    pub fn run_beside<T: Send + 'static>(
        &self,
        index: usize,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        run_on(self.nodes[index].host.as_ref(), job)
    }

    /// Makes clients of a node, on its host, also in other threads.
    pub fn door(&self, index: usize) -> Door {
        let node = &self.nodes[index];
        Door {
            address: node.address,
            remote: node.host.as_ref().map(Host::remote),
        }
    }

    /// A client of a node, on its host.
    pub fn client(&self, index: usize) -> Connection {
        match self.try_client(index) {
            Ok(client) => client,
            Err(e) => panic!("no connection to node {index}: {e}"),
        }
    }

    /// As [`client`](Self::client).
    ///
    /// # Errors
    /// The connection can't be made.
    pub fn try_client(&self, index: usize) -> io::Result<Connection> {
        self.door(index).enter()
    }

    /// Kills a node as a power switch would (SIGKILL).
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.nodes[index].child.take() {
            // It may be gone already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks a node to stop (SIGTERM) and waits for its end.
    pub fn terminate(&mut self, index: usize) {
        self.signal(index, Signal::TERM);
        self.wait_until_exit(index);
    }

    /// Waits until a node has ended by itself.
    pub fn wait_until_exit(&mut self, index: usize) {
        let mut child = self.nodes[index].child.take().expect("it runs");
        let started = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if started.elapsed() > DEADLINE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("node {index} doesn't stop\n{}", self.log_tail(index));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Freezes a node (SIGSTOP): it is silent, and its connections stay.
    pub fn stop(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// Lets a frozen node go on (SIGCONT).
    pub fn cont(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        let child = self.nodes[index].child.as_ref().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("the process is ours");
    }

    /// Starts a stopped node again, with its data, and waits until it answers.
    pub fn restart(&mut self, index: usize) {
        self.spawn(index, Self::first);
        self.expect_ready(index);
    }

    /// Starts a stopped node again without its data: as a new node, which joins the others.
    pub fn restart_empty(&mut self, index: usize) {
        self.nodes[index].lives += 1;
        self.spawn(index, Self::others);
        self.expect_ready(index);
    }

    /// Starts a stopped node again without its data, where it was: as a cluster of its own.
    pub fn restart_alone(&mut self, index: usize) {
        self.nodes[index].lives += 1;
        self.spawn(index, |_, _| Vec::new());
        self.expect_ready(index);
    }

    fn expect_ready(&mut self, index: usize) {
        if let Err(log) = self.wait_until_ready(index) {
            panic!("node {index} didn't start again:\n{log}");
        }
    }

    /// The data directory of a node.
    pub fn dir(&self, index: usize) -> PathBuf {
        let life = self.nodes[index].lives;
        self.temporary.path().join(format!("node{index}-{life}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.len() {
            self.kill(index);
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

fn run_on<T: Send + 'static>(host: Option<&Host>, job: impl FnOnce() -> T + Send + 'static) -> T {
    match host {
        Some(host) => host.run(job),
        None => job(),
    }
}

/// A port that nobody has at this moment, for neither TCP nor UDP.
fn free_cluster_port(not: u16) -> u16 {
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        if port != not && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
