//! The servers under test: started, found ready, killed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    control::Control,
    error::{Context, Error, Result},
    interrupt,
    proc::on_cpus,
};

/// What a server does with a write before and after it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing is written to disk (Redis only).
    None,
    /// Synced about once a second, in the background.
    Everysec,
    /// Synced before the reply.
    Always,
}

impl Durability {
    fn name(self) -> &'static str {
        match self {
            Durability::None => "no persistence",
            Durability::Everysec => "everysec",
            Durability::Always => "always",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Redis,
    Coterie,
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    pub product: Product,
    pub durability: Durability,
}

impl Contender {
    pub fn label(&self) -> String {
        let product = match self.product {
            Product::Redis => "Redis",
            Product::Coterie => "Coterie",
        };
        format!("{product}, {}", self.durability.name())
    }
}

/// What a server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Alone,
    /// The first of a group (Redis: the master).
    First,
    /// Joins the first, which listens at this port (Redis: its replica).
    Follower {
        of: u16,
    },
}

/// How to start either server.
#[derive(Debug, Clone)]
pub struct Launcher {
    pub redis: PathBuf,
    pub coterie: PathBuf,
    pub coterie_args: Vec<OsString>,
    pub cpus: Option<Vec<usize>>,
    /// Where the servers' directories are made.
    pub data: PathBuf,
}

/// A running server with a directory of its own; both go when it is dropped.
pub struct Server {
    // Before the directory: fields are dropped in order.
    process: Process,
    contender: Contender,
    role: Role,
    dir: TempDir,
    port: u16,
}

/// A child process that is killed when dropped.
struct Process(Child);

impl Process {
    /// SIGKILL, and wait for the end. Both fail only when the process has ended already.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

const START_ATTEMPTS: u32 = 5;
const START_PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);
const OUTPUT: &str = "bench-server-output.txt";

impl Launcher {
    /// Starts a server of its own on an empty directory and waits until it answers.
    pub fn start(&self, contender: Contender) -> Result<Server> {
        self.start_as(contender, Role::Alone)
    }

    /// Starts a server on an empty directory and waits until it answers.
    pub fn start_as(&self, contender: Contender, role: Role) -> Result<Server> {
        let dir = tempfile::Builder::new()
            .prefix("coterie-bench-")
            .tempdir_in(&self.data)
            .context(format!("making a directory in {:?}", self.data))?;
        let (process, port) = self.start_in(contender, role, dir.path())?;
        Ok(Server {
            process,
            contender,
            role,
            dir,
            port,
        })
    }

    /// Has the kernel write what it holds for the data's file system, so that the measurement of one
    /// server is not slowed by what another wrote before.
    pub fn settle_disk(&self) -> Result<()> {
        let what = || format!("syncing {:?}", self.data);
        let dir = File::open(&self.data).context(what())?;
        rustix::fs::syncfs(dir).context(what())
    }

    /// What a server's binary says of its version.
    pub fn version(&self, product: Product) -> Result<String> {
        let binary = self.binary(product);
        let output = Command::new(binary).arg("--version").output();
        let output = output.map_err(|e| self.spawn_error(product, e))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Kills a server (SIGKILL), starts it again on its directory and waits until it answers.
    /// Returns the time from the start to the first answer.
    pub fn restart_after_kill(&self, server: &mut Server) -> Result<Duration> {
        server.process.kill();
        let start = Instant::now();
        (server.process, server.port) =
            self.start_in(server.contender, server.role, server.dir.path())?;
        Ok(start.elapsed())
    }

    /// Starts a killed server again, on its directory and its port, and waits until it answers.
    pub fn start_again(&self, server: &mut Server) -> Result<()> {
        let (contender, dir) = (server.contender, server.dir.path());
        server.process = self.spawn(contender, server.role, dir, server.port)?;
        wait_until_ready(&mut server.process.0, server.port, contender, dir)
    }

    /// Spawns a server on a free port and waits until it answers. Should another process take that
    /// port first, tries the next.
    fn start_in(&self, contender: Contender, role: Role, dir: &Path) -> Result<(Process, u16)> {
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            let mut process = self.spawn(contender, role, dir, port)?;
            match wait_until_ready(&mut process.0, port, contender, dir) {
                Ok(()) => return Ok((process, port)),
                Err(Error::Ended { output, .. })
                    if attempt < START_ATTEMPTS && output.contains("ddress already in use") =>
                {
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn spawn(&self, contender: Contender, role: Role, dir: &Path, port: u16) -> Result<Process> {
        let mut command = self.command(contender, role, dir, port);
        let child = on_cpus(self.cpus.as_deref(), || command.spawn())?;
        Ok(Process(
            child.map_err(|e| self.spawn_error(contender.product, e))?,
        ))
    }

    fn command(&self, contender: Contender, role: Role, dir: &Path, port: u16) -> Command {
        let mut command = match contender.product {
            Product::Redis => self.redis_command(contender.durability, role),
            Product::Coterie => self.coterie_command(contender.durability, role),
        };
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]);
        command.arg(dir);
        let output = File::create(dir.join(OUTPUT));
        let (out, err) = match output.and_then(|file| Ok((file.try_clone()?, file))) {
            Ok((out, err)) => (Stdio::from(out), Stdio::from(err)),
            Err(_) => (Stdio::null(), Stdio::null()),
        };
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // Ctrl-C is for the bench, which then stops its servers.
        command.process_group(0);
        command
    }

    fn redis_command(&self, durability: Durability, role: Role) -> Command {
        let mut command = Command::new(&self.redis);
        // No snapshots and no rewrite of the log by themselves: they would fall into some runs.
        command.args(["--save", "", "--auto-aof-rewrite-percentage", "0"]);
        match durability {
            Durability::None => command.args(["--appendonly", "no"]),
            Durability::Everysec => {
                command.args(["--appendonly", "yes", "--appendfsync", "everysec"])
            }
            Durability::Always => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
        };
        if role != Role::Alone {
            // A replica that lags for a moment is not cut off and sent everything again.
            command.args(["--client-output-buffer-limit", "replica 0 0 0"]);
            command.args(["--repl-diskless-sync-delay", "0"]);
        }
        if let Role::Follower { of } = role {
            command.args(["--replicaof", &format!("127.0.0.1 {of}")]);
            // The timeline writes to every node.
            command.args(["--replica-read-only", "no"]);
        }
        command
    }

    fn coterie_command(&self, durability: Durability, role: Role) -> Command {
        let mut command = Command::new(&self.coterie);
        let durability = match durability {
            Durability::None => "os",
            Durability::Everysec => "everysec",
            Durability::Always => "always",
        };
        command.args(["--durability", durability]);
        let threads = self.cpus.as_ref().map_or(1, Vec::len);
        command.args(["--threads", &threads.to_string()]);
        if role != Role::Alone {
            command.args(["--cluster-enabled", "yes"]);
        }
        if let Role::Follower { of } = role {
            command.args(["--join", &format!("127.0.0.1:{of}")]);
        }
        command.args(&self.coterie_args);
        command
    }

    fn binary(&self, product: Product) -> &PathBuf {
        match product {
            Product::Redis => &self.redis,
            Product::Coterie => &self.coterie,
        }
    }

    fn spawn_error(&self, product: Product, error: io::Error) -> Error {
        let binary = self.binary(product);
        match (error.kind(), product) {
            (io::ErrorKind::NotFound, Product::Redis) => Error::RedisMissing(binary.clone()),
            (io::ErrorKind::NotFound, Product::Coterie) => Error::CoterieMissing(binary.clone()),
            _ => Error::Io {
                what: format!("starting {binary:?}"),
                source: error,
            },
        }
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn product(&self) -> Product {
        self.contender.product
    }

    pub fn control(&self) -> Result<Control> {
        Control::connect(self.port)
    }

    /// SIGKILL, as [`Launcher::start_again`] expects it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Bytes of all files in the server's directory.
    pub fn disk_bytes(&self) -> u64 {
        bytes_below(self.dir.path())
    }
}

/// Asks PING until the answer is no error (Redis answers LOADING while it reads its data).
fn wait_until_ready(child: &mut Child, port: u16, contender: Contender, dir: &Path) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a server")? {
            return Err(Error::Ended {
                server: contender.label(),
                status: status.to_string(),
                output: tail(dir),
            });
        }
        let answer = Control::connect(port).and_then(|mut control| control.status(&[b"PING"]));
        if answer.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::NotReady {
                server: contender.label(),
                seconds: START_PATIENCE.as_secs(),
            });
        }
        interrupt::check()?;
        std::thread::sleep(POLL);
    }
}

/// A port that is free, and the one for the other nodes of a cluster, which is 10000 higher.
fn free_port() -> Result<u16> {
    const ATTEMPTS: u32 = 1000;
    const WHAT: &str = "looking for a free port";
    let is_free = |port| {
        let address = (Ipv4Addr::LOCALHOST, port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    for _ in 0..ATTEMPTS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(WHAT)?;
        let port = listener.local_addr().context(WHAT)?.port();
        if port.checked_add(10_000).is_some_and(is_free) {
            return Ok(port);
        }
    }
    Err(io::Error::from(io::ErrorKind::AddrInUse)).context(WHAT)
}

fn tail(dir: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read(dir.join(OUTPUT)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| {
            if meta.is_dir() {
                bytes_below(&path)
            } else {
                meta.len()
            }
        })
        .sum()
}
