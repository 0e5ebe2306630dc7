//! Server processes: the subject under test and the oracle it is compared with.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::connection::{Connection, Protocol};
use super::reply::Reply;
use super::wait::DEADLINE;

/// Which server a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The server under test: `coterie`, or what `COTERIE_TEST_SUBJECT` names.
    Subject,
    /// The reference: `redis-server`, or what `COTERIE_TEST_ORACLE` names.
    Oracle,
}

impl Program {
    pub(super) fn path(self) -> String {
        match self {
            Self::Subject => std::env::var("COTERIE_TEST_SUBJECT")
                .unwrap_or_else(|_| env!("CARGO_BIN_EXE_coterie").to_owned()),
            Self::Oracle => {
                std::env::var("COTERIE_TEST_ORACLE").unwrap_or_else(|_| "redis-server".to_owned())
            }
        }
    }

    /// Is this Coterie itself, and not a Redis in its place?
    pub fn is_coterie(self) -> bool {
        self == Self::Subject && !self.path().contains("redis-server")
    }
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    pub program: Program,
    /// `always`, `everysec` or `os`.
    pub durability: &'static str,
    /// Further flags, as `("maxclients", "10")`.
    pub flags: Vec<(String, String)>,
    /// The data directory; a temporary one when there is none.
    pub dir: Option<PathBuf>,
    /// A program and arguments to start the server with, such as `prlimit --fsize=1000`.
    pub launcher: Vec<String>,
}

impl Options {
    pub fn new(program: Program) -> Self {
        Self {
            program,
            durability: "os",
            flags: Vec::new(),
            dir: None,
            launcher: Vec::new(),
        }
    }

    #[must_use]
    pub fn durability(mut self, durability: &'static str) -> Self {
        self.durability = durability;
        self
    }

    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A flag that only Coterie has; left out for a Redis in its place.
    #[must_use]
    pub fn coterie_flag(self, name: &str, value: &str) -> Self {
        if self.program.is_coterie() {
            self.flag(name, value)
        } else {
            self
        }
    }

    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    #[must_use]
    pub fn launcher(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().map(|&word| word.to_owned()).collect();
        self
    }
}

/// A running server; dropping it kills the process and removes its directory.
pub struct Server {
    options: Options,
    port: u16,
    child: Child,
    /// Holds the log, and the data unless the options name a directory.
    temporary: TempDir,
}

impl Server {
    /// Starts the subject with default options.
    pub fn subject() -> Self {
        Self::start(Options::new(Program::Subject))
    }

    /// Starts the oracle with default options.
    pub fn oracle() -> Self {
        Self::start(Options::new(Program::Oracle))
    }

    /// Starts a server on a free port and waits until it answers; panics with its log when it doesn't.
    pub fn start(options: Options) -> Self {
        match Self::try_start(options) {
            Ok(server) => server,
            Err(log) => panic!("the server didn't start:\n{log}"),
        }
    }

    /// As [`start`](Self::start).
    ///
    /// # Errors
    /// The end of the log of a server that exited instead of answering.
    pub fn try_start(options: Options) -> Result<Self, String> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let temporary = tempfile::tempdir().expect("a temporary directory");
            let port = free_port();
            let child = spawn(&options, port, temporary.path());
            let mut server = Self {
                options: options.clone(),
                port,
                child,
                temporary,
            };
            match server.wait_until_ready() {
                Ok(()) => return Ok(server),
                // Another process took the port in between.
                Err(log) if attempt < 5 && is_port_collision(&log) => {}
                Err(log) => return Err(log),
            }
        }
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the process can be waited for")
            {
                return Err(format!("exited with {status}\n{}", self.log_tail()));
            }
            if let Ok(mut connection) = Connection::open(self.port, Protocol::Resp2) {
                match connection.try_call(&["PING"]) {
                    // Another process may answer on this port: ours must be alive still.
                    Ok(reply) if !reply.is_error("LOADING") && self.owns_port(&mut connection) => {
                        return Ok(());
                    }
                    _ => {}
                }
            }
            if started.elapsed() > DEADLINE {
                return Err(format!(
                    "no answer to PING in {DEADLINE:?}\n{}",
                    self.log_tail()
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn owns_port(&mut self, connection: &mut Connection) -> bool {
        if !self.options.launcher.is_empty() {
            return true;
        }
        match connection.try_call(&["INFO", "server"]) {
            Ok(Reply::Bulk(info)) => {
                let wanted = format!("process_id:{}\r\n", self.child.id());
                String::from_utf8_lossy(&info).contains(&wanted)
            }
            // A password is asked for first: trust the port.
            _ => true,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The data directory.
    pub fn dir(&self) -> PathBuf {
        data_dir(&self.options, self.temporary.path())
    }

    pub fn url(&self, database: u32) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// A RESP2 connection.
    pub fn connect(&self) -> Connection {
        self.connect_as(Protocol::Resp2)
    }

    pub fn connect_as(&self, protocol: Protocol) -> Connection {
        match Connection::open(self.port, protocol) {
            Ok(connection) => connection,
            Err(e) => panic!("can't connect: {e}\n{}", self.log_tail()),
        }
    }

    /// Kills the process as a power switch would (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to stop (SIGTERM) and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), Signal::TERM).expect("the process is ours");
        self.wait_exit()
    }

    /// Waits for the process to end by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the process can be waited for")
            {
                return status;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "the server doesn't stop\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Starts the stopped server again on the same directory and port; panics with the log when it doesn't come up.
    pub fn restart(&mut self) {
        self.restart_with(|_| {});
    }

    /// As [`restart`](Self::restart), with changed options.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut Options)) {
        if let Err(log) = self.try_restart_with(change) {
            panic!("the server didn't start again:\n{log}");
        }
    }

    /// As [`restart_with`](Self::restart_with).
    ///
    /// # Errors
    /// The end of the log of a server that exited instead of answering.
    pub fn try_restart_with(&mut self, change: impl FnOnce(&mut Options)) -> Result<(), String> {
        assert!(
            !self.is_running(),
            "restart is for a server that was stopped"
        );
        change(&mut self.options);
        self.child = spawn(&self.options, self.port, self.temporary.path());
        self.wait_until_ready()
    }

    /// Starts the stopped server again and kills it after `delay`, whatever it is doing then.
    pub fn start_and_kill(&mut self, delay: Duration) {
        assert!(
            !self.is_running(),
            "restart is for a server that was stopped"
        );
        self.child = spawn(&self.options, self.port, self.temporary.path());
        std::thread::sleep(delay);
        self.kill();
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 40;
        let log = fs::read(log_path(self.temporary.path())).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!(
            "--- log of {} (pid {})\n{tail}\n---",
            self.options.program.path(),
            self.child.id()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() && self.options.program == Program::Subject {
            eprintln!("{}", self.log_tail());
        }
    }
}

fn log_path(temporary: &Path) -> PathBuf {
    temporary.join("server.log")
}

fn data_dir(options: &Options, temporary: &Path) -> PathBuf {
    options
        .dir
        .clone()
        .unwrap_or_else(|| temporary.join("data"))
}

fn spawn(options: &Options, port: u16, temporary: &Path) -> Child {
    let dir = data_dir(options, temporary);
    if options.dir.is_none() {
        fs::create_dir_all(&dir).expect("the data directory");
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_path(temporary))
        .expect("the log file");
    let program = options.program.path();
    let mut words = options.launcher.clone();
    words.push(program.clone());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
        .args(["--port", &port.to_string(), "--dir"])
        .arg(&dir);
    command.args(["--enable-debug-command", "yes"]);
    if options.program.is_coterie() {
        command.args(["--durability", options.durability]);
        // The default of 64 MB would have many servers write many zeros at once.
        if !options
            .flags
            .iter()
            .any(|(name, _)| name == "log-segment-size")
        {
            command.args(["--log-segment-size", "4mb"]);
        }
    } else {
        command.args(["--save", "", "--bind", "127.0.0.1", "--appendonly"]);
        // A Redis puts writes off while a sync is under way, so `everysec` loses some also when only the process dies.
        let fsync = if options.durability == "os" {
            "no"
        } else {
            "always"
        };
        let persistent = options.program == Program::Subject;
        command.args([
            if persistent { "yes" } else { "no" },
            "--appendfsync",
            fsync,
        ]);
    }
    for (name, value) in &options.flags {
        command.args([&format!("--{name}"), value]);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log file"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("can't start {program}: {e} (is it installed?)"))
}

/// A port that nobody listens on at this moment.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address: io::Result<_> = listener.local_addr();
    address.expect("a bound socket has an address").port()
}

pub(super) fn is_port_collision(log: &str) -> bool {
    let log = log.to_lowercase();
    log.contains("address already in use") || log.contains("failed listening")
}
