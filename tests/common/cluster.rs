//! Clusters of real server processes, which tests kill, stop, cut off and grow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::connection::{Connection, Protocol};
use super::network::{Host, Network, Remote};
use super::reply::Reply;
use super::server::{Program, free_port, is_port_collision};
use super::wait::DEADLINE;

/// The ports of nodes that have a host of their own.
const CLIENT_PORT: u16 = 6379;
const CLUSTER_PORT: u16 = 16379;
/// Partitions of a cluster by default.
const PARTITIONS: usize = 256;

/// How the nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// All over loopback, each with ports of its own, and without a secret.
    Loopback,
    /// Each has a host of its own, see [`Network`].
    Network,
}

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Setup {
    pub nodes: usize,
    pub link: Link,
    /// Replicas of each key once there are enough nodes.
    pub replicas: usize,
    /// Flags of all nodes.
    pub flags: Vec<(String, String)>,
    /// Further flags of single nodes.
    pub node_flags: BTreeMap<usize, Vec<(String, String)>>,
    /// Of the network's losses.
    pub seed: u64,
}

impl Setup {
    pub fn new(nodes: usize, link: Link) -> Self {
        let mut flags = Vec::new();
        if link == Link::Network {
            flags.push(("cluster-secret".to_owned(), "one for all".to_owned()));
            flags.push(("protected-mode".to_owned(), "no".to_owned()));
        }
        Self {
            nodes,
            link,
            replicas: 3,
            flags,
            node_flags: BTreeMap::new(),
            seed: 0,
        }
    }

    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.retain(|(old, _)| old != name);
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn node_flag(mut self, node: usize, name: &str, value: &str) -> Self {
        let flags = self.node_flags.entry(node).or_default();
        flags.push((name.to_owned(), value.to_owned()));
        self
    }
}

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

    fn expect_ready(&mut self, index: usize) {
        if let Err(log) = self.wait_until_ready(index) {
            panic!("node {index} didn't start again:\n{log}");
        }
    }

    /// The id that a node has in the cluster.
    pub fn node_id(&self, index: usize) -> String {
        self.client(index).run("CLUSTER MYID").text()
    }

    /// A field of `CLUSTER INFO`, if the node answers.
    pub fn cluster_info(&self, index: usize, field: &str) -> Option<String> {
        let mut client = self.try_client(index).ok()?;
        let reply = client.try_call(&["CLUSTER", "INFO"]).ok()?;
        let text = String::from_utf8_lossy(reply.bytes()?).into_owned();
        let prefix = format!("{field}:");
        let value = text.lines().find_map(|line| line.strip_prefix(&prefix))?;
        Some(value.to_owned())
    }

    /// Waits until every running node knows `members` nodes, all of them alive, finds the cluster in order, and no
    /// partition moves.
    pub fn wait_until_settled(&self, members: usize) {
        let members = members.to_string();
        for index in self.running() {
            for (field, wanted) in [
                ("cluster_known_nodes", members.as_str()),
                ("cluster_state", "ok"),
                ("cluster_moving_partitions", "0"),
            ] {
                self.eventually(|| match self.cluster_info(index, field) {
                    Some(value) if value == wanted => Ok(()),
                    other => Err(format!("node {index}: {field} is {other:?}, not {wanted}")),
                });
            }
            self.eventually(|| match self.nodes_of(index) {
                Some(nodes) if !nodes.contains("fail") => Ok(()),
                other => Err(format!("node {index} thinks that some are down: {other:?}")),
            });
        }
    }

    /// Waits until every other running node takes this one for down.
    pub fn wait_until_seen_down(&self, down: usize) {
        for index in self.running().into_iter().filter(|&at| at != down) {
            self.eventually(|| match self.sees_down(index, down) {
                Some(true) => Ok(()),
                _ => Err(format!("node {index} thinks that node {down} is up")),
            });
        }
    }

    /// Whether a node takes another for down; `None` if it doesn't say.
    pub fn sees_down(&self, index: usize, other: usize) -> Option<bool> {
        let nodes = self.nodes_of(index)?;
        let line = self.line_of(&nodes, other)?;
        // Not `fail?`, which is a suspicion.
        let flags = line.split(' ').nth(2)?;
        Some(flags.split(',').any(|flag| flag == "fail"))
    }

    /// The id of a node, dead or alive, as another knows it.
    pub fn id_of(&self, node: usize, through: usize) -> String {
        let nodes = self.nodes_of(through).expect("it answers");
        let line = self.line_of(&nodes, node);
        let line = line.unwrap_or_else(|| panic!("node {node} isn't in CLUSTER NODES:\n{nodes}"));
        line.split(' ').next().unwrap_or_default().to_owned()
    }

    fn nodes_of(&self, index: usize) -> Option<String> {
        let mut client = self.try_client(index).ok()?;
        let reply = client.try_call(&["CLUSTER", "NODES"]).ok()?;
        Some(String::from_utf8_lossy(reply.bytes()?).into_owned())
    }

    fn line_of<'a>(&self, nodes: &'a str, node: usize) -> Option<&'a str> {
        let address = format!(" {}@", self.address(node));
        nodes.lines().find(|line| line.contains(&address))
    }

    /// Polls `check` until it succeeds; panics with its last error when that takes too long.
    pub fn eventually(&self, mut check: impl FnMut() -> Result<(), String>) {
        let started = Instant::now();
        while let Err(why) = check() {
            assert!(started.elapsed() < DEADLINE, "gave up waiting: {why}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The digest of each partition on a node; `None` for those it has no replica of.
    ///
    /// # Errors
    /// The node doesn't answer, or not with digests.
    pub fn try_digests(&self, index: usize) -> io::Result<Vec<Option<String>>> {
        let mut client = self.try_client(index)?;
        let mut requests = Vec::new();
        for partition in 0..PARTITIONS {
            let number = partition.to_string();
            let words = ["DEBUG", "CLUSTER-DIGEST", &number];
            requests.extend(super::encode_command(&words));
        }
        client.send(&requests)?;
        let digest = |reply| match reply {
            Reply::Null => Ok(None),
            Reply::Bulk(digest) | Reply::Simple(digest) => {
                Ok(Some(String::from_utf8_lossy(&digest).into_owned()))
            }
            other => Err(io::Error::other(format!("DEBUG CLUSTER-DIGEST: {other}"))),
        };
        (0..PARTITIONS)
            .map(|_| client.read_raw().and_then(|(reply, _)| digest(reply)))
            .collect()
    }

    /// Waits until every partition has its replicas among the running nodes, and they agree.
    pub fn wait_until_replicas_agree(&self, members: usize) {
        let replicas = self.setup.replicas.min(members);
        self.eventually(|| self.agreement(replicas));
    }

    fn agreement(&self, replicas: usize) -> Result<(), String> {
        let mut digests = Vec::new();
        for index in self.running() {
            match self.try_digests(index) {
                Ok(all) => digests.push((index, all)),
                Err(e) => return Err(format!("node {index}: {e}")),
            }
        }
        for partition in 0..PARTITIONS {
            let held: Vec<_> = digests
                .iter()
                .filter_map(|(index, all)| Some((*index, all[partition].as_ref()?)))
                .collect();
            let equal = held.iter().all(|(_, digest)| *digest == held[0].1);
            if held.len() != replicas || !equal {
                return Err(format!(
                    "partition {partition} should have {replicas} equal replicas: {held:?}"
                ));
            }
        }
        Ok(())
    }

    /// Runs `coterie-ctl` on the host of a node, with the node's client address as the one to talk to.
    pub fn ctl(&self, index: usize, words: &[&str]) -> Output {
        let program = std::env::var_os("COTERIE_TEST_CTL").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_coterie")).with_file_name("coterie-ctl"),
            PathBuf::from,
        );
        assert!(
            program.exists(),
            "{} isn't there: cargo build --workspace makes it",
            program.display()
        );
        let mut command = Command::new(program);
        command.args(words);
        command.args(["--node", &self.address(index).to_string()]);
        command.stdin(Stdio::null());
        self.run_beside(index, move || command.output())
            .expect("coterie-ctl runs")
    }

    /// As [`ctl`](Self::ctl); it has to succeed.
    pub fn operate(&self, index: usize, words: &[&str]) -> String {
        let output = self.ctl(index, words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "coterie-ctl {}: {}\n{text}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// The data directory of a node.
    pub fn dir(&self, index: usize) -> PathBuf {
        let life = self.nodes[index].lives;
        self.temporary.path().join(format!("node{index}-{life}"))
    }

    fn log_path(&self, index: usize) -> PathBuf {
        self.temporary.path().join(format!("node{index}.log"))
    }

    /// What a node has logged so far, in all its lives.
    pub fn log(&self, index: usize) -> String {
        let log = fs::read(self.log_path(index)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until a node has logged a line with all of these words, in any case.
    pub fn wait_for_log(&self, index: usize, words: &[&str]) {
        self.eventually(|| {
            let found = self.log(index).lines().any(|line| {
                let line = line.to_lowercase();
                words.iter().all(|word| line.contains(word))
            });
            let missing = || format!("node {index} has logged nothing with {words:?}");
            if found { Ok(()) } else { Err(missing()) }
        });
    }

    /// The last lines of a node's log.
    pub fn log_tail(&self, index: usize) -> String {
        const LINES: usize = 30;
        let log = self.log(index);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("--- log of node {index}\n{tail}\n---")
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        let tails: Vec<_> = (0..self.len()).map(|index| self.log_tail(index)).collect();
        tails.join("\n")
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
