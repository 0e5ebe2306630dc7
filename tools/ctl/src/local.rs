//! `coterie-ctl local`: a cluster of real processes on this machine, for trying it out.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Error;
use crate::client::{Client, Target};
use crate::cluster::topology::Topology;

/// Time from one look at the processes to the next.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long the nodes may take to become one cluster.
const START: Duration = Duration::from_secs(60);
/// How long a node may take to stop before it is killed: it waits for writes under way.
const STOP: Duration = Duration::from_secs(15);
/// Lines of a log that are shown when its node does not start.
const TAIL: usize = 20;

/// Runs a cluster of several processes on this machine, until Ctrl-C.
#[derive(Args)]
pub struct Arguments {
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Port of the first node; the others have the next ones, and internal ports are 10000 higher
    #[arg(long, default_value_t = 7001, value_parser = clap::value_parser!(u16).range(1..=55_000))]
    port: u16,
    /// Directory of data and logs; what an earlier start left there is gone on with
    #[arg(long, default_value = "local-cluster")]
    directory: PathBuf,
    /// The server's program; without it, the one beside this program
    #[arg(long)]
    server: Option<PathBuf>,
}

/// Why there is no local cluster.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(
        "there is no server at {0}: build it with `cargo build --release`, or name one with --server"
    )]
    NoServer(PathBuf),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("signals: {0}")]
    Signals(io::Error),
    #[error("the node at port {port} stopped ({status}); the end of {log}:\n{tail}")]
    Stopped {
        port: u16,
        status: String,
        log: PathBuf,
        tail: String,
    },
    #[error("the nodes did not become one cluster in {} s; see {}", START.as_secs(), .0.display())]
    TooSlow(PathBuf),
}

impl LocalError {
    fn file(path: &Path, source: io::Error) -> LocalError {
        LocalError::File {
            path: path.to_owned(),
            source,
        }
    }
}

pub fn run(arguments: &Arguments, output: &mut dyn Write) -> Result<ExitCode, Error> {
    let server = match &arguments.server {
        Some(path) => path.clone(),
        None => beside_this_program().map_err(|error| LocalError::file(Path::new("."), error))?,
    };
    if !server.is_file() {
        return Err(LocalError::NoServer(server).into());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).map_err(LocalError::Signals)?;
    }
    let mut cluster = Cluster {
        server,
        directory: arguments.directory.clone(),
        first_port: arguments.port,
        nodes: Vec::new(),
    };
    cluster.start(arguments.nodes, &stop)?;
    if !stop.load(Ordering::Relaxed) {
        cluster.introduce(output)?;
        output.flush()?;
    }
    while !stop.load(Ordering::Relaxed) {
        cluster.report_stopped(output)?;
        output.flush()?;
        sleep(INTERVAL);
    }
    writeln!(output, "stopping")?;
    output.flush()?;
    cluster.stop();
    Ok(ExitCode::SUCCESS)
}

fn beside_this_program() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("coterie"))
}

/// A process that was started.
struct Node {
    port: u16,
    child: Child,
    is_running: bool,
}

/// The processes; dropping it stops them.
struct Cluster {
    server: PathBuf,
    directory: PathBuf,
    first_port: u16,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts the nodes, and waits until they are one cluster or that is called off.
    fn start(&mut self, count: u16, stop: &AtomicBool) -> Result<(), LocalError> {
        let deadline = Instant::now() + START;
        for port in (self.first_port..).take(count.into()) {
            self.spawn(port)?;
            // The others find it listening.
            self.wait(deadline, stop, || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            })?;
        }
        let ports: Vec<u16> = self.nodes.iter().map(|node| node.port).collect();
        self.wait(deadline, stop, || {
            ports.iter().all(|port| sees_cluster(*port, count))
        })
    }

    /// Waits until something is so, or that is called off.
    fn wait(
        &mut self,
        deadline: Instant,
        stop: &AtomicBool,
        is_so: impl Fn() -> bool,
    ) -> Result<(), LocalError> {
        loop {
            // First, as another program may answer at the port of one that could not have it.
            self.check()?;
            if is_so() || stop.load(Ordering::Relaxed) {
                break;
            }
            if Instant::now() > deadline {
                return Err(LocalError::TooSlow(self.directory.clone()));
            }
            sleep(INTERVAL);
        }
        Ok(())
    }

    fn spawn(&mut self, port: u16) -> Result<(), LocalError> {
        let data = self.directory.join(port.to_string());
        fs::create_dir_all(&data).map_err(|error| LocalError::file(&data, error))?;
        let log = self.log(port);
        let file = fs::File::options().create(true).append(true).open(&log);
        let file = file.map_err(|error| LocalError::file(&log, error))?;
        let errors = file.try_clone();
        let errors = errors.map_err(|error| LocalError::file(&log, error))?;
        let child = self
            .command(port)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            // So that Ctrl-C at the terminal reaches this program only, which then stops them in order.
            .process_group(0)
            .spawn();
        self.nodes.push(Node {
            port,
            child: child.map_err(|error| LocalError::file(&self.server, error))?,
            is_running: true,
        });
        Ok(())
    }

    /// How a node is started: the first one begins a cluster, the others join it.
    fn command(&self, port: u16) -> Command {
        let mut command = Command::new(&self.server);
        command.args(["--port", &port.to_string(), "--cluster-enabled", "yes"]);
        command
            .arg("--dir")
            .arg(self.directory.join(port.to_string()));
        if port != self.first_port {
            let first = format!("127.0.0.1:{}", self.first_port);
            command.args(["--join", &first]);
        }
        command
    }

    fn log(&self, port: u16) -> PathBuf {
        self.directory.join(format!("{port}.log"))
    }

    /// Fails if a node stopped.
    fn check(&mut self) -> Result<(), LocalError> {
        let Some((port, status)) = self.next_stopped() else {
            return Ok(());
        };
        let log = self.log(port);
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        Err(LocalError::Stopped {
            port,
            status,
            log,
            tail: lines[lines.len().saturating_sub(TAIL)..].join("\n"),
        })
    }

    /// A node that stopped since the last look, and how.
    fn next_stopped(&mut self) -> Option<(u16, String)> {
        let running = self.nodes.iter_mut().filter(|node| node.is_running);
        for node in running {
            if let Ok(Some(status)) = node.child.try_wait() {
                node.is_running = false;
                return Some((node.port, status.to_string()));
            }
        }
        None
    }

    fn report_stopped(&mut self, output: &mut dyn Write) -> io::Result<()> {
        while let Some((port, status)) = self.next_stopped() {
            writeln!(
                output,
                "\nThe node at port {port} stopped ({status}). To start it again:"
            )?;
            writeln!(output, "  {}", shown(&self.command(port)))?;
        }
        Ok(())
    }

    /// Tells how to use it.
    fn introduce(&self, output: &mut dyn Write) -> io::Result<()> {
        let first = self.first_port;
        let directory = self.directory.display();
        writeln!(output, "{} nodes are one cluster:", self.nodes.len())?;
        for node in &self.nodes {
            let (port, id) = (node.port, node.child.id());
            writeln!(
                output,
                "  127.0.0.1:{port}  process {id}, log {directory}/{port}.log"
            )?;
        }
        writeln!(
            output,
            "\nTalk to any of them, as to one server or as to a Redis Cluster:"
        )?;
        writeln!(output, "  redis-cli -p {first}")?;
        writeln!(output, "  redis-cli -c -p {first}")?;
        writeln!(
            output,
            "Watch it, or see what happens when a process is killed:"
        )?;
        writeln!(
            output,
            "  coterie-ctl cluster nodes --address 127.0.0.1:{first}"
        )?;
        writeln!(
            output,
            "Ctrl-C stops all; the same command goes on with their data."
        )
    }

    /// Asks all to stop, and kills those that don't.
    fn stop(&mut self) {
        let running = self.nodes.iter_mut().filter(|node| node.is_running);
        let mut running: Vec<&mut Node> = running.collect();
        for node in &running {
            let id = i32::try_from(node.child.id()).ok().and_then(Pid::from_raw);
            if let Some(id) = id {
                // It may have stopped by itself, which is what is wanted.
                let _ = kill_process(id, Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP;
        while !running.is_empty() {
            running.retain_mut(|node| {
                node.is_running = matches!(node.child.try_wait(), Ok(None));
                node.is_running
            });
            if Instant::now() > deadline {
                for node in &mut running {
                    let _ = node.child.kill();
                    let _ = node.child.wait();
                    node.is_running = false;
                }
                return;
            }
            sleep(INTERVAL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether the node at a port sees this many members, and all of them up.
fn sees_cluster(port: u16, count: u16) -> bool {
    let target = Target {
        address: format!("127.0.0.1:{port}"),
        password: None,
    };
    let topology = Client::connect(&target).and_then(|mut client| Topology::ask(&mut client));
    topology.is_ok_and(|topology| {
        let members = &topology.members;
        members.len() >= count.into() && members.iter().all(|member| member.liveness == "up")
    })
}

/// A command as a shell would take it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}
