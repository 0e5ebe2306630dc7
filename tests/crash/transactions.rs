//! SIGKILL in the middle of transactions: each has taken effect whole, or not at all.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Connection, Options, Program, Reply, Server, encode_command};
use crate::start::{options, seeded};

const KILLS: u64 = 12;
const CONNECTIONS: usize = 3;
/// Keys of a transaction, in as many partitions.
const KEYS: usize = 8;

#[test]
fn transactions_are_whole_durability_always() {
    kill_again_and_again("always");
}

#[test]
fn transactions_are_whole_durability_everysec() {
    kill_again_and_again("everysec");
}

/// What one connection has sent: transaction `n` leaves `n` in all its keys.
#[derive(Clone, Copy, Default)]
struct Progress {
    acknowledged: u64,
    sent: u64,
}

fn kill_again_and_again(durability: &'static str) {
    let (seed, mut rng) = seeded();
    let mut server = Server::start(options(durability));
    let mut progress = [Progress::default(); CONNECTIONS];
    for kill in 1..=KILLS {
        progress = write_until_killed(&mut server, progress, &mut rng);
        server.restart();
        for (index, progress) in progress.iter_mut().enumerate() {
            let found = read(&mut connect(&server, index));
            let what = format!("durability {durability}, seed {seed}, kill {kill}: {index}");
            let first = found[0];
            assert!(found.iter().all(|n| *n == first), "{what}: {found:?}");
            let possible = progress.acknowledged..=progress.sent;
            assert!(possible.contains(&first), "{what}: {first} in {possible:?}");
            progress.acknowledged = first;
            progress.sent = first;
        }
    }
    assert!(
        progress.iter().any(|p| p.acknowledged > KILLS),
        "next to nothing was written"
    );
}

/// Each connection has a database of its own.
fn connect(server: &Server, index: usize) -> Connection {
    let mut client = server.connect();
    assert!(client.run(&format!("SELECT {index}")).is_ok());
    client
}

fn read(client: &mut Connection) -> Vec<u64> {
    let mut found = Vec::new();
    for key in 0..KEYS {
        for line in [format!("GET string:{key}"), format!("HGET hash:{key} f")] {
            let reply = client.run(&line);
            let text = if reply == Reply::Null {
                "0".to_owned()
            } else {
                reply.text()
            };
            let number = text.trim_end_matches('.');
            found.push(number.parse().unwrap_or_else(|_| panic!("{line}: {text}")));
        }
    }
    found
}

fn transaction(number: u64, rng: &mut StdRng) -> Vec<Vec<String>> {
    let mut lines = vec!["MULTI".to_owned()];
    if rng.random_bool(0.2) {
        lines.push("FLUSHDB".into());
    }
    let padding = ".".repeat(rng.random_range(0..300));
    for key in 0..KEYS {
        lines.extend([
            format!("SET string:{key} {number}"),
            format!("APPEND string:{key} {padding}").trim_end().into(),
            format!("HSET hash:{key} f {number} g {number}"),
            format!("DEL other:{key}"),
            format!("SET other:{key} x PX 1"),
        ]);
    }
    lines.retain(|line| !line.starts_with("APPEND") || !padding.is_empty());
    lines.push("EXEC".into());
    let words = |line: &String| line.split(' ').map(str::to_owned).collect();
    lines.iter().map(words).collect()
}

fn write_until_killed(
    server: &mut Server,
    progress: [Progress; CONNECTIONS],
    rng: &mut StdRng,
) -> [Progress; CONNECTIONS] {
    let mut index = 0;
    let writers = progress.map(|progress| {
        let client = connect(server, index);
        index += 1;
        let rng = StdRng::seed_from_u64(rng.random());
        thread::spawn(move || write_until_hung_up(client, progress, rng))
    });
    thread::sleep(Duration::from_millis(rng.random_range(1..80)));
    if rng.random_bool(0.5) {
        // It may be refused, where one is under way already.
        server.connect().run("BGSAVE");
        thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
    }
    server.kill();
    writers.map(|writer| writer.join().expect("the writer"))
}

fn write_until_hung_up(
    mut client: Connection,
    mut progress: Progress,
    mut rng: StdRng,
) -> Progress {
    loop {
        let commands = transaction(progress.sent + 1, &mut rng);
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|command| encode_command(command))
            .collect();
        progress.sent += 1;
        // Also when sending fails: it may have arrived.
        let hung_up = client.send(&bytes).is_err();
        for (n, command) in commands.iter().enumerate() {
            let Ok((reply, _)) = client.read_raw() else {
                return progress;
            };
            let is_last = n + 1 == commands.len();
            let is_good = match &reply {
                Reply::Array(replies) => is_last && !replies.iter().any(|reply| reply.is_error("")),
                reply => !is_last && ["OK", "QUEUED"].contains(&reply.text().as_str()),
            };
            assert!(is_good, "{command:?}: {reply}");
        }
        progress.acknowledged = progress.sent;
        if hung_up {
            return progress;
        }
    }
}

/// Runs commands as one transaction. `None` if the connection ends.
fn run_all(client: &mut Connection, lines: &[&str]) -> Option<Reply> {
    for line in [&["MULTI"], lines].concat() {
        let reply = client.run(line);
        assert!(
            ["OK", "QUEUED"].contains(&reply.text().as_str()),
            "{line}: {reply}"
        );
    }
    client.try_call(&["EXEC"]).ok()
}

/// The record is larger than a segment of the log, which shows when some of the changes are made already.
#[test]
fn a_transaction_larger_than_a_segment_is_executed_once() {
    let options = Options::new(Program::Subject).coterie_flag("log-segment-size", "1mb");
    let mut server = Server::start(options);
    let mut client = server.connect();
    assert!(client.call(&["SET", "k", &"x".repeat(700_000)]).is_ok());
    let lines = [
        "SELECT 1",
        "INCR n",
        "SELECT 0",
        "INCR n",
        "COPY k k2",
        "COPY k k3",
        "SWAPDB 0 2",
        "SELECT 2",
        "COPY k k4",
        "COPY k k5",
        "INCR n",
        "FLUSHDB",
        "SELECT 3",
        "INCR n",
        "SWAPDB 2 1",
        "DBSIZE",
    ];
    let reply = run_all(&mut client, &lines).expect("a reply");
    let texts: Vec<_> = reply.items().iter().map(Reply::text).collect();
    let expected = [
        "OK", "1", "OK", "1", "1", "1", "OK", "OK", "1", "1", "2", "OK", "OK", "1", "OK", "1",
    ];
    assert_eq!(texts, expected);
    let digest = client.run("DEBUG DIGEST");
    server.kill();
    server.restart();
    assert_eq!(server.connect().run("DEBUG DIGEST"), digest);
}

#[test]
fn a_panic_in_a_transaction_takes_everything_back() {
    let server = Server::subject();
    let mut client = server.connect();
    for line in [
        "MSET a 1 b 2 c 3",
        "HSET h f v",
        "SELECT 1",
        "SET a x",
        "SELECT 0",
    ] {
        client.run(line);
    }
    let digest = client.run("DEBUG DIGEST");
    let lines = [
        "SET a 9",
        "DEL b",
        "HDEL h f",
        "SWAPDB 0 1",
        "FLUSHDB",
        "SET c 9",
        "FLUSHALL",
        "SWAPDB 1 2",
        "SET a 9",
        "DEBUG PANIC",
    ];
    assert_eq!(run_all(&mut client, &lines), None);
    let mut client = server.connect();
    assert_eq!(client.run("DEBUG DIGEST"), digest);
    assert_eq!(client.run("GET a").text(), "1");
}
