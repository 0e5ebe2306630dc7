//! redis-cli and redis-benchmark.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::cluster_of_one;
use crate::common::{Cluster, Link, Reply, Server, Setup, encode_command};
use crate::packages::run;

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

/// What redis-benchmark tries, with the beginning of what it prints of it, in upper case.
const BENCHMARKS: [(&str, &str); 20] = [
    ("ping_inline", "PING_INLINE: "),
    ("ping_mbulk", "PING_MBULK: "),
    ("set", "SET: "),
    ("get", "GET: "),
    ("incr", "INCR: "),
    ("lpush", "LPUSH: "),
    ("rpush", "RPUSH: "),
    ("lpop", "LPOP: "),
    ("rpop", "RPOP: "),
    ("sadd", "SADD: "),
    ("hset", "HSET: "),
    ("spop", "SPOP: "),
    ("zadd", "ZADD: "),
    ("zpopmin", "ZPOPMIN: "),
    ("lrange", "LPUSH (NEEDED TO BENCHMARK LRANGE): "),
    ("lrange_100", "LRANGE_100 ("),
    ("lrange_300", "LRANGE_300 ("),
    ("lrange_500", "LRANGE_500 ("),
    ("lrange_600", "LRANGE_600 ("),
    ("mset", "MSET ("),
];

#[test]
fn redis_benchmark() {
    let server = Server::subject();
    let port = server.port().to_string();
    let names = BENCHMARKS.map(|(name, _)| name).join(",");
    for flags in [&["-P", "1"][..], &["-P", "16"], &["-P", "4", "-3"]] {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port, "-q", "-n", "3000", "-c", "20", "-r", "1000"]);
        command.args(["-t", &names]).args(flags);
        let output = run(
            &mut command,
            "redis-benchmark (package redis-tools) is needed",
        );
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let text = text.to_uppercase();
        for (_, printed) in BENCHMARKS {
            assert!(text.contains(printed), "{printed}: {text}");
        }
        assert!(!text.contains("ERR"), "{text}");
    }
}
