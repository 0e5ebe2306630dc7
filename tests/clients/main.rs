//! Real clients against the server: redis-cli and redis-benchmark, redis-py, ioredis, and the `redis` crate.
//!
//! The Python and Node packages are installed below `target/` at the first run, from the pinned versions in
//! `tests/clients/`.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use redis::{AsyncCommands, Commands};

use common::{Cluster, Link, Options, Program, Reply, Server, Setup, encode_command};

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs a command to its end; panics with its output when it fails, and with `hint` when it isn't there.
fn run(command: &mut Command, hint: &str) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("can't run {command:?}: {e}: {hint}"));
    assert!(
        output.status.success(),
        "{command:?}: {}: {hint}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Makes `directory` by `install` unless it is there for the same `pins`.
fn install_once(directory: &Path, pins: &str, install: impl FnOnce()) {
    let done = directory.join("installed");
    if fs::read_to_string(&done).is_ok_and(|found| found == pins) {
        return;
    }
    // What an interrupted or older installation left behind.
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("a directory below target/");
    install();
    fs::write(done, pins).expect("the mark of a complete installation");
}

/// Runs a script that prints `restart` when the server is to be killed and started again, and `done` at its end.
fn run_application(server: &mut Server, command: &mut Command) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("can't run {command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stderr = child.stderr.take().expect("a pipe");
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut done = false;
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        match line.expect("text").as_str() {
            "restart" => {
                server.kill();
                server.restart();
                stdin.write_all(b"\n").expect("the script waits");
            }
            "done" => done = true,
            other => println!("{other}"),
        }
    }
    let status = child.wait().expect("the script's end");
    let errors = errors.join().expect("the reader of errors");
    assert!(status.success() && done, "{command:?}: {status}\n{errors}");
}

/// A Python with redis-py.
fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let requirements = scripts().join("requirements.txt");
        let pins = fs::read_to_string(&requirements).expect("requirements.txt");
        let python = directory.join("environment/bin/python");
        install_once(&directory, &pins, || {
            let environment = directory.join("environment");
            run(
                Command::new("python3")
                    .args(["-m", "venv"])
                    .arg(&environment),
                "python3 with venv is needed",
            );
            let install = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ];
            run(
                Command::new(&python).args(install).arg(&requirements),
                "redis-py must be installable by pip",
            );
        });
        python
    };
    PYTHON.get_or_init(install).clone()
}

/// A directory with ioredis and the scripts.
fn node_packages() -> PathBuf {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
        let lock = scripts().join("package-lock.json");
        let pins = fs::read_to_string(lock).expect("package-lock.json");
        install_once(&directory, &pins, || {
            for file in ["package.json", "package-lock.json"] {
                fs::copy(scripts().join(file), directory.join(file)).expect("a copy below target/");
            }
            let install = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
            run(
                Command::new("npm").args(install).current_dir(&directory),
                "npm is needed, and ioredis must be installable",
            );
        });
        // Node looks for packages beside the script.
        for script in ["application.mjs", "cluster.mjs"] {
            fs::copy(scripts().join(script), directory.join(script)).expect("a copy below target/");
        }
        directory
    };
    PACKAGES.get_or_init(install).clone()
}

#[test]
fn redis_py() {
    for protocol in ["2", "3"] {
        let mut server = Server::subject();
        let mut command = Command::new(python());
        command.arg(scripts().join("application.py"));
        command.args([&server.url(5), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn redis_py_listeners() {
    for protocol in ["2", "3"] {
        let mut server = Server::subject();
        let mut command = Command::new(python());
        command.arg(scripts().join("listeners.py"));
        command.args([&server.url(5), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn ioredis() {
    for protocol in ["2", "3"] {
        let mut server = Server::subject();
        let mut command = Command::new("node");
        command.arg(node_packages().join("application.mjs"));
        command.args([&server.url(6), protocol]);
        run_application(&mut server, &mut command);
    }
}

/// A server that calls itself a cluster.
fn cluster_of_one() -> Server {
    let options = Options::new(Program::Subject);
    Server::start(options.coterie_flag("cluster-enabled", "yes"))
}

#[test]
fn redis_py_cluster() {
    for protocol in ["2", "3"] {
        let mut server = cluster_of_one();
        let mut command = Command::new(python());
        command.arg(scripts().join("cluster.py"));
        command.args([&server.port().to_string(), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn ioredis_cluster() {
    for protocol in ["2", "3"] {
        let mut server = cluster_of_one();
        let mut command = Command::new("node");
        command.arg(node_packages().join("cluster.mjs"));
        command.args([&server.port().to_string(), protocol]);
        run_application(&mut server, &mut command);
    }
}

#[test]
fn redis_crate_cluster() {
    let server = cluster_of_one();
    let client = redis::cluster::ClusterClient::new([server.url(0)]).expect("a URL");
    let mut c = client.get_connection().expect("a connection");
    for n in 0..200 {
        let () = c.set(format!("key:{n}"), n).expect("SET");
    }
    for n in 0..200 {
        assert_eq!(c.get(format!("key:{n}")), Ok(n));
    }
    assert_eq!(c.mget(&["{t}a", "{t}b"]), Ok([None::<i64>, None]));
    assert_eq!(c.incr("{t}a", 2), Ok(2));
    let builder = redis::cluster::ClusterClientBuilder::new([server.url(0)]);
    let reader = builder
        .read_routing_strategy(redis::cluster_read_routing::RandomReplicaStrategy)
        .build()
        .expect("a client");
    let mut reader = reader.get_connection().expect("a connection");
    assert_eq!(reader.get("key:9"), Ok(9));
}

#[test]
fn redis_cli_in_cluster_mode() {
    let server = cluster_of_one();
    let cli = |arguments: &[&str]| redis_cli(&server, arguments, b"");
    assert_eq!(cli(&["-c", "SET", "a", "1"]), "OK\n");
    assert_eq!(cli(&["-c", "GET", "a"]), "1\n");
    let address = format!("127.0.0.1:{}", server.port());
    let check = cli(&["--cluster", "check", &address]);
    assert!(check.contains("[OK] All 16384 slots covered."), "{check}");
    assert!(check.contains("1 keys in 1 masters"), "{check}");
}

#[test]
fn redis_cli_and_redis_benchmark_on_three_nodes() {
    let mut setup = Setup::new(3, Link::Loopback).flag("cluster-enabled", "yes");
    setup = setup.flag("redirect", "moved").flag("replicas", "2");
    setup.replicas = 2;
    let cluster = Cluster::start(setup);
    let port = |node: usize| cluster.address(node).port().to_string();
    let call = |node: usize, words: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-c", "-p", &port(node)]).args(words);
        let output = run(&mut command, "redis-cli (package redis-tools) is needed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // Whichever node is asked, some of these are of others.
    for n in 0..9 {
        let (key, value) = (format!("key:{n}"), format!("value {n}"));
        assert_eq!(call(n % 3, &["SET", &key, &value]), "OK\n");
        assert_eq!(call((n + 1) % 3, &["GET", &key]), value + "\n");
    }
    let address = cluster.address(1).to_string();
    let check = call(1, &["--cluster", "check", &address]);
    assert!(check.contains("[OK] All 16384 slots covered."), "{check}");
    for pipeline in ["1", "8"] {
        let mut command = Command::new("redis-benchmark");
        command.args(["--cluster", "-p", &port(2), "-q", "-n", "2000", "-c", "12"]);
        command.args(["-P", pipeline, "-r", "1000", "-t", "set,get,incr,mset,hset"]);
        let output = run(
            &mut command,
            "redis-benchmark (package redis-tools) is needed",
        );
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        for name in ["SET: ", "GET: ", "INCR: ", "MSET (", "HSET: "] {
            assert!(text.contains(name), "{name}{text}");
        }
        assert!(!text.to_lowercase().contains("error"), "{text}");
    }
    // Its keys are all there: it has incremented and set what its pattern says, at whatever node.
    let mut client = cluster.client(0);
    let Reply::Integer(keys) = client.run("DBSIZE") else {
        panic!("no number of keys");
    };
    assert!(keys > 9 + 1000, "{keys}");
}

#[test]
fn redis_crate() {
    let mut server = Server::subject();
    let client = redis::Client::open(server.url(3)).expect("a URL");
    let mut c = client.get_connection().expect("a connection");
    let binary: Vec<u8> = (0..=255).chain(*b"\r\n").collect();
    let () = c.set("binary", &binary).expect("SET");
    assert_eq!(c.get::<_, Vec<u8>>("binary"), Ok(binary.clone()));
    assert_eq!(c.incr::<_, _, i64>("n", 5), Ok(5));
    assert_eq!(
        c.mget::<_, (i64, Option<String>)>(&["n", "nosuch"]),
        Ok((5, None))
    );
    assert_eq!(c.expire::<_, bool>("n", 100), Ok(true));
    assert!(
        c.ttl::<_, i64>("n")
            .is_ok_and(|ttl| (99..=100).contains(&ttl))
    );
    let error = c.incr::<_, _, i64>("binary", 1).expect_err("no integer");
    assert!(error.to_string().contains("not an integer"), "{error}");

    let mut pipeline = redis::pipe();
    for n in 0..200 {
        pipeline.set(format!("scan:{n}"), n).ignore();
    }
    let (size, n): (i64, i64) = pipeline
        .cmd("DBSIZE")
        .get("n")
        .query(&mut c)
        .expect("a pipeline");
    assert_eq!((size, n), (202, 5));
    let scanned: Vec<String> = c
        .scan_match("scan:*")
        .expect("SCAN")
        .collect::<Result<_, _>>()
        .expect("keys");
    assert_eq!(
        scanned
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        200
    );
    let info: redis::InfoDict = redis::cmd("INFO").query(&mut c).expect("INFO");
    assert_eq!(
        info.get::<String>("redis_mode").as_deref(),
        Some("standalone")
    );

    server.kill();
    assert!(c.get::<_, Option<i64>>("n").is_err(), "the server is gone");
    server.restart();
    let mut c = client.get_connection().expect("a new connection");
    assert_eq!(c.get::<_, i64>("n"), Ok(5));
    assert_eq!(c.get::<_, Vec<u8>>("binary"), Ok(binary));
}

#[test]
fn redis_crate_asynchronous() {
    let server = Server::subject();
    let url = format!("{}?protocol=resp3", server.url(4));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let client = redis::Client::open(url).expect("a URL");
        let c = client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let mut c = c.clone();
                tokio::spawn(async move {
                    let () = c.set(format!("key:{n}"), n).await.expect("SET");
                    let () = c.incr("total", n).await.expect("INCRBY");
                    c.get::<_, i64>(format!("key:{n}")).await.expect("GET")
                })
            })
            .collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await.expect("the task"), n);
        }
        let mut c = c;
        assert_eq!(c.get::<_, i64>("total").await, Ok((0..100).sum()));
        assert_eq!(c.exists::<_, bool>("nosuch").await, Ok(false));
        let deleted: i64 = c
            .del((0..100).map(|n| format!("key:{n}")).collect::<Vec<_>>())
            .await
            .expect("DEL");
        assert_eq!(deleted, 100);
    });
}

/// `redis-cli` on this server, with its output as text.
fn redis_cli(server: &Server, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("redis-cli");
    command
        .args(["-p", &server.port().to_string()])
        .args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("can't run redis-cli: {e}: redis-tools is needed"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("redis-cli's end");
    feeder
        .join()
        .expect("the feeder")
        .expect("redis-cli reads its input");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "redis-cli {arguments:?}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn redis_cli_commands() {
    let server = Server::subject();
    let cli = |arguments: &[&str]| redis_cli(&server, arguments, b"");
    assert_eq!(cli(&["SET", "a", "1"]), "OK\n");
    assert_eq!(cli(&["GET", "a"]), "1\n");
    assert_eq!(cli(&["--no-raw", "GET", "nosuch"]), "(nil)\n");
    assert_eq!(cli(&["--no-raw", "INCR", "a"]), "(integer) 2\n");
    assert_eq!(
        cli(&["--no-raw", "-3", "MGET", "a", "nosuch"]),
        "1) \"2\"\n2) (nil)\n"
    );
    assert_eq!(cli(&["-n", "7", "SET", "seven", "7"]), "OK\n");
    assert_eq!(cli(&["-u", &server.url(7), "GET", "seven"]), "7\n");
    assert_eq!(cli(&["-r", "3", "INCR", "a"]), "3\n4\n5\n");
    assert!(cli(&["FOO"]).starts_with("ERR unknown command 'FOO'"));
    assert!(cli(&["-3", "HELLO"]).contains("proto 3"));
    assert!(cli(&["CONFIG", "GET", "maxmemory*"]).contains("maxmemory-policy\nnoeviction\n"));
    let typed = redis_cli(
        &server,
        &[],
        b"SET b \"x\\x00y\"\nSTRLEN b\nSELECT 7\nGET seven\n",
    );
    assert_eq!(typed, "OK\n3\nOK\n7\n");
    assert_eq!(
        redis_cli(&server, &["-x", "SET", "from-stdin"], b"abc"),
        "OK\n"
    );
    assert_eq!(cli(&["GET", "from-stdin"]), "abc\n");
}

#[test]
fn redis_cli_pipe_scan_and_reports() {
    let server = Server::subject();
    let mut input = Vec::new();
    for n in 0..10_000 {
        input.extend(encode_command(&[
            "SET",
            &format!("key:{n}"),
            &"v".repeat(n % 100),
        ]));
    }
    input.extend(encode_command(&["INCR", "key:50"]));
    let mut command = Command::new("redis-cli");
    command
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .expect("redis-cli (package redis-tools) is needed");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(&input)
        .expect("redis-cli reads its input");
    let output = child.wait_with_output().expect("redis-cli's end");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("errors: 1, replies: 10001"), "{text}");

    let cli = |arguments: &[&str]| redis_cli(&server, arguments, b"");
    assert_eq!(cli(&["DBSIZE"]), "10000\n");
    let mut scanned: Vec<_> = cli(&["--scan"]).lines().map(str::to_owned).collect();
    scanned.sort();
    scanned.dedup();
    assert_eq!(scanned.len(), 10_000);
    assert_eq!(cli(&["--scan", "--pattern", "key:99?"]).lines().count(), 10);
    let big = cli(&["--bigkeys"]);
    assert!(big.contains("Sampled 10000 keys in the keyspace!"), "{big}");
    assert!(
        big.contains("Biggest string found") && big.contains("has 99 bytes"),
        "{big}"
    );
    let memory = cli(&["--memkeys"]);
    assert!(
        memory.contains("Sampled 10000 keys in the keyspace!"),
        "{memory}"
    );
    assert!(memory.contains("Biggest string found"), "{memory}");
}

#[test]
fn redis_cli_stat() {
    let server = Server::subject();
    redis_cli(&server, &["MSET", "a", "1", "b", "2"], b"");
    let mut child = Command::new("redis-cli")
        .args(["-p", &server.port().to_string(), "--stat", "-i", "0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli (package redis-tools) is needed");
    let lines: Vec<_> = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .take(5)
        .map(|line| line.expect("text"))
        .collect();
    child.kill().expect("it runs until it is stopped");
    child.wait().expect("its end");
    assert!(
        lines[0].contains("data") && lines[1].starts_with("keys"),
        "{lines:?}"
    );
    // keys, mem, clients, blocked, requests, connections
    let words: Vec<_> = lines[3].split_whitespace().collect();
    assert_eq!(words[0], "2", "{lines:?}");
    assert!(words[1].ends_with(['K', 'M']), "{lines:?}");
    assert_eq!(&words[2..4], ["1", "0"], "{lines:?}");
}

#[test]
fn redis_benchmark() {
    let server = Server::subject();
    for pipeline in ["1", "16"] {
        let output = run(
            Command::new("redis-benchmark")
                .args([
                    "-p",
                    &server.port().to_string(),
                    "-q",
                    "-n",
                    "5000",
                    "-c",
                    "20",
                    "-P",
                    pipeline,
                ])
                .args([
                    "-r",
                    "1000",
                    "-t",
                    "ping_inline,ping_mbulk,set,get,incr,mset",
                ]),
            "redis-benchmark (package redis-tools) is needed",
        );
        let text = String::from_utf8_lossy(&output.stdout);
        for name in ["PING_INLINE", "SET", "GET", "INCR", "MSET"] {
            assert!(
                text.contains(&format!("{name}: ")) || text.contains(&format!("{name} (")),
                "{name}: {text}"
            );
        }
        assert!(!text.contains("Error"), "{text}");
    }
}
