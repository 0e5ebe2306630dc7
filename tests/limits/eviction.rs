//! `maxmemory` and the eight eviction policies.

use std::time::Duration;

use crate::common::{Connection, Options, Program, Reply, Server};
use crate::info;

const MEGABYTE: u64 = 1 << 20;
const VALUE: usize = 1000;
/// Keys of about a kilobyte each: five megabytes.
const KEPT: usize = 2000;
const VOLATILE: usize = 3000;

struct Filled {
    server: Server,
    client: Connection,
    maxmemory: u64,
}

/// A server with keys that expire and keys that don't, and room for as much again.
fn fill(policy: &str) -> Filled {
    let server = Server::start(Options::new(Program::Subject).flag("maxmemory-policy", policy));
    let mut client = server.connect();
    let value = "x".repeat(VALUE);
    let set = |key: String| vec!["SET".to_owned(), key, value.clone()];
    let kept: Vec<_> = (0..KEPT).map(|n| set(format!("kept:{n}"))).collect();
    let volatile: Vec<_> = (0..VOLATILE)
        .map(|n| {
            let mut command = set(format!("volatile:{n}"));
            // The first third expires soonest.
            let seconds = if n < VOLATILE / 3 { 10_000 } else { 1_000_000 };
            command.extend(["EX".to_owned(), (seconds + n).to_string()]);
            command
        })
        .collect();
    assert!(client.pipeline(&kept).iter().all(Reply::is_ok));
    assert!(client.pipeline(&volatile).iter().all(Reply::is_ok));
    let maxmemory = info(&mut client, "used_memory") + 2 * MEGABYTE;
    assert!(
        client
            .run(&format!("CONFIG SET maxmemory {maxmemory}"))
            .is_ok()
    );
    Filled {
        server,
        client,
        maxmemory,
    }
}

impl Filled {
    /// Writes further keys, with or without an expiry, and returns the first refusal.
    fn write(&mut self, count: usize, expiring: bool) -> Option<Reply> {
        let value = "y".repeat(VALUE);
        (0..count).find_map(|n| {
            let key = format!("new:{n}");
            let mut command = vec!["SET", &key, &value];
            if expiring {
                command.extend(["EX", "2000000"]);
            }
            let reply = self.client.call(&command);
            (!reply.is_ok()).then_some(reply)
        })
    }

    fn count(&mut self, prefix: &str, keys: std::ops::Range<usize>) -> usize {
        let commands: Vec<_> = keys
            .map(|n| vec!["EXISTS".to_owned(), format!("{prefix}:{n}")])
            .collect();
        self.client
            .pipeline(&commands)
            .iter()
            .filter(|reply| reply.integer() == Some(1))
            .count()
    }

    fn assert_within_limit(&mut self) {
        let used = info(&mut self.client, "used_memory");
        // One write may be in before memory is looked at again, and so may buffers.
        let limit = self.maxmemory + MEGABYTE;
        assert!(
            used <= limit,
            "used_memory {used} is above maxmemory {}",
            self.maxmemory
        );
        assert!(info(&mut self.client, "evicted_keys") > 0);
    }
}

const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

#[test]
fn noeviction() {
    let mut filled = fill("noeviction");
    let refusal = filled.write(6000, false).expect("a refusal");
    assert_eq!(refusal, Reply::Error(OUT_OF_MEMORY.into()));
    assert_eq!(info(&mut filled.client, "evicted_keys"), 0);
    assert_eq!(filled.count("kept", 0..KEPT), KEPT);
    let c = &mut filled.client;
    for line in [
        "APPEND kept:0 y",
        "INCR n",
        "SETBIT bits 100000 1",
        "MSET a 1 b 2",
        "COPY kept:0 copy",
        "GETSET g v",
    ] {
        assert_eq!(c.run(line), Reply::Error(OUT_OF_MEMORY.into()), "{line}");
    }
    assert_eq!(
        c.run("STRLEN kept:0").integer(),
        Some(1000),
        "a refused write has no effect"
    );
    for line in [
        "GET kept:0",
        "EXPIRE kept:0 100",
        "PERSIST kept:0",
        "RENAME kept:0 kept:0",
        "GETDEL kept:1",
        "PING",
    ] {
        assert!(!c.run(line).is_error("OOM"), "{line} needs no memory");
    }
    let deletes: Vec<_> = (2..KEPT)
        .map(|n| vec!["DEL".to_owned(), format!("kept:{n}")])
        .collect();
    c.pipeline(&deletes);
    crate::common::wait_until("there is memory again", || c.run("SET a v").is_ok());
}

fn all_keys_policy(policy: &str) {
    let mut filled = fill(policy);
    assert_eq!(filled.write(8000, false), None);
    filled.assert_within_limit();
    assert!(filled.server.is_running());
}

#[test]
fn allkeys_random() {
    all_keys_policy("allkeys-random");
}

#[test]
fn allkeys_lru() {
    all_keys_policy("allkeys-lru");
    used_keys_stay("allkeys-lru");
}

#[test]
fn allkeys_lfu() {
    all_keys_policy("allkeys-lfu");
    used_keys_stay("allkeys-lfu");
}

/// Of the keys that are read all the time, a larger part stays than of those that are not.
fn used_keys_stay(policy: &str) {
    const HOT: usize = 500;
    let mut filled = fill(policy);
    let read_hot = |c: &mut Connection| {
        let reads: Vec<_> = (0..HOT)
            .map(|n| vec!["GET".to_owned(), format!("kept:{n}")])
            .collect();
        c.pipeline(&reads);
    };
    // Redis' clock for idleness counts seconds.
    std::thread::sleep(Duration::from_millis(2100));
    for _ in 0..50 {
        read_hot(&mut filled.client);
    }
    // Well above the room that was left, whatever buffers are given back meanwhile.
    assert_eq!(filled.write(6000, false), None);
    let hot = filled.count("kept", 0..HOT) * 100 / HOT;
    let cold = filled.count("kept", HOT..KEPT) * 100 / (KEPT - HOT);
    assert!(
        hot > cold + 10,
        "{policy}: {hot} % of the used and {cold} % of the unused keys stay"
    );
}

/// Only keys that expire are evicted; when there are none left, writes are refused.
fn volatile_policy(policy: &str) {
    let mut filled = fill(policy);
    assert_eq!(filled.write(8000, true), None);
    filled.assert_within_limit();
    assert_eq!(
        filled.count("kept", 0..KEPT),
        KEPT,
        "{policy} evicted keys that don't expire"
    );
    let mut filled = fill(policy);
    let refusal = filled
        .write(8000, false)
        .expect("a refusal when no key that expires is left");
    assert_eq!(refusal, Reply::Error(OUT_OF_MEMORY.into()));
    assert_eq!(filled.count("volatile", 0..VOLATILE), 0);
    assert_eq!(filled.count("kept", 0..KEPT), KEPT);
}

#[test]
fn volatile_random() {
    volatile_policy("volatile-random");
}

#[test]
fn volatile_lru() {
    volatile_policy("volatile-lru");
}

#[test]
fn volatile_lfu() {
    volatile_policy("volatile-lfu");
}

#[test]
fn volatile_ttl() {
    volatile_policy("volatile-ttl");
    let mut filled = fill("volatile-ttl");
    assert_eq!(filled.write(4500, false), None);
    let sooner = filled.count("volatile", 0..VOLATILE / 3) * 100 / (VOLATILE / 3);
    let later = filled.count("volatile", VOLATILE / 3..VOLATILE) * 100 / (VOLATILE - VOLATILE / 3);
    println!("{sooner} % of those that expire sooner and {later} % of the others stay");
    assert!(
        later > sooner + 10,
        "{sooner} % of those that expire sooner and {later} % of the others stay"
    );
}
