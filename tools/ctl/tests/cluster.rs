//! `coterie-ctl local`, `cluster` and `node` with real processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const CTL: &str = env!("CARGO_BIN_EXE_coterie-ctl");
const DEADLINE: Duration = Duration::from_secs(60);

/// The server's program, beside the one under test.
fn server() -> PathBuf {
    let path = Path::new(CTL).with_file_name("coterie");
    if !path.is_file() {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--package", "coterie", "--bin", "coterie"])
            .status();
        assert!(status.unwrap().success());
    }
    path
}

/// A port that nobody listens on at this moment, and 10000 above it neither.
fn free_port() -> u16 {
    for _ in 0..1000 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if port <= 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
    panic!("no free port below 55000");
}

/// A running `coterie-ctl local`.
struct Local {
    child: Child,
    port: u16,
    /// What it printed.
    text: String,
    processes: Vec<Pid>,
}

impl Local {
    /// Starts it and waits until it says that the cluster is there.
    fn start(directory: &Path, port: u16, nodes: &str) -> Local {
        let mut child = Command::new(CTL)
            .args(["local", "--nodes", nodes, "--port", &port.to_string()])
            .arg("--directory")
            .arg(directory)
            .arg("--server")
            .arg(server())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut text = String::new();
        let mut processes = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some((_, after)) = line.split_once("  process ") {
                let id = after.split(',').next().unwrap().parse().unwrap();
                processes.push(Pid::from_raw(id).unwrap());
            }
            text += &format!("{line}\n");
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        Local {
            child,
            port,
            text,
            processes,
        }
    }

    /// An inline command's answer, which is one line.
    fn call(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "{command}\r\n").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }

    /// Stops it as Ctrl-C does.
    fn stop(mut self) -> String {
        let id = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(id, Signal::INT).unwrap();
        let mut rest = String::new();
        let mut output = self.child.stdout.take().unwrap();
        output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        for process in &self.processes {
            assert!(test_kill_process(*process).is_err(), "still running");
        }
        rest
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // After a test that failed: it stops its nodes.
        if let Some(id) = Pid::from_raw(self.child.id() as i32)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(id, Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn ctl(port: u16, words: &[&str]) -> Output {
    let mut command = Command::new(CTL);
    command.args(words);
    command.args(["--address", &format!("127.0.0.1:{port}")]);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_local_cluster_starts_stops_and_goes_on_with_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let local = Local::start(directory.path(), port, "1");
    assert!(
        local.text.starts_with("1 nodes are one cluster:\n"),
        "{}",
        local.text
    );
    assert!(local.text.contains(&format!("redis-cli -c -p {port}\n")));
    assert_eq!(local.processes.len(), 1);
    assert_eq!(local.call("SET k v"), "+OK\r\n");

    let status = ctl(port, &["cluster", "status"]);
    assert!(status.status.success(), "{}", text(&status));
    assert!(
        text(&status).contains("\nstate       ok\n"),
        "{}",
        text(&status)
    );
    assert!(text(&status).contains("\npartitions  256, 0 moving\n"));
    let nodes = text(&ctl(port, &["cluster", "nodes"]));
    let own: Vec<&str> = nodes.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(own[1], format!("127.0.0.1:{port}"));
    assert_eq!(own[3..], ["100", "normal", "up", "256", "256", "leader"]);
    let partitions = text(&ctl(port, &["cluster", "partitions"]));
    let row: Vec<&str> = partitions
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(row, ["0-255", "0-16383", own[0]]);

    let unknown = ctl(port, &["node", "drain", "ffff0000"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text(&unknown).contains("no member's id, or more than one"),
        "{}",
        text(&unknown)
    );
    assert_eq!(local.stop(), "stopping\n");
    assert!(directory.path().join(format!("{port}.log")).is_file());

    let again = Local::start(directory.path(), port, "1");
    assert_eq!(again.call("STRLEN k"), ":1\r\n");
    // A node that dies is reported, with the way to start it again.
    kill_process(again.processes[0], Signal::KILL).unwrap();
    let began = Instant::now();
    while test_kill_process(again.processes[0]).is_ok() {
        assert!(began.elapsed() < DEADLINE, "it is waited for");
        std::thread::sleep(Duration::from_millis(5));
    }
    let rest = again.stop();
    assert!(
        rest.contains(&format!("The node at port {port} stopped (signal: 9")),
        "{rest}"
    );
    assert!(
        rest.contains(&format!(
            "coterie --port {port} --cluster-enabled yes --dir"
        )),
        "{rest}"
    );
}

#[test]
fn what_goes_wrong_is_said() {
    let nobody_at = free_port();
    let nobody = ctl(nobody_at, &["cluster", "status"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        text(&nobody).contains(&format!("127.0.0.1:{nobody_at}: ")),
        "{}",
        text(&nobody)
    );
    let directory = tempfile::tempdir().unwrap();
    let missing = Command::new(CTL)
        .args(["local", "--server", "/nonexistent/coterie", "--directory"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("cargo build --release"));

    // A server that does not start: its log is shown, and nothing is left behind.
    let port = free_port();
    let unable = Command::new(CTL)
        .args(["local", "--nodes", "1", "--port", &port.to_string()])
        .arg("--directory")
        .arg(directory.path())
        .args(["--server", "/bin/false"])
        .output()
        .unwrap();
    assert_eq!(unable.status.code(), Some(1));
    assert!(
        text(&unable).contains("stopped (exit status: 1)"),
        "{}",
        text(&unable)
    );
}
