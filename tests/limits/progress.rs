//! Large operations of one client don't keep others from being served. Judged by progress, not by time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::common::{Connection, Program, Server, wait_until};
use crate::info;

const KEYS: usize = 200_000;

fn fill(c: &mut Connection) {
    for batch in 0..KEYS / 1000 {
        let mut command = vec!["MSET".to_owned()];
        for n in 0..1000 {
            command.extend([format!("key:{batch}:{n}"), "v".repeat(50)]);
        }
        assert!(c.call(&command).is_ok());
    }
    assert_eq!(c.run("DBSIZE").integer(), i64::try_from(KEYS).ok());
}

/// How many round trips another client made while `operation` ran.
fn round_trips_during(server: &Server, operation: impl FnOnce()) -> u64 {
    let stop = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let mut during = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut c = server.connect();
            while !stop.load(Ordering::Relaxed) {
                assert!(c.run("SET other:key v").is_ok());
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        wait_until("the other client is at work", || {
            count.load(Ordering::Relaxed) > 10
        });
        let before = count.load(Ordering::Relaxed);
        operation();
        during = count.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
    });
    during
}

#[test]
fn keys_and_scan_of_everything() {
    if !Program::Subject.is_coterie() {
        eprintln!("not run: a Redis does stall");
        return;
    }
    let server = Server::subject();
    let mut c = server.connect();
    fill(&mut c);
    for line in ["KEYS nosuch*x*y*z", "SCAN 0 COUNT 10000000 MATCH nosuch*"] {
        const TIMES: usize = 20;
        let commands = vec![line.split(' ').collect(); TIMES];
        let trips = round_trips_during(&server, || {
            let replies = c.pipeline(&commands);
            assert!(
                replies.iter().all(|reply| !reply.is_error("")),
                "{line}: {}",
                replies[0]
            );
        });
        assert!(
            trips >= TIMES as u64,
            "{line}: only {trips} round trips during {TIMES} of them"
        );
    }
}

#[test]
fn flushall_and_large_deletes() {
    let server = Server::subject();
    let mut c = server.connect();
    let empty = info(&mut c, "used_memory");
    fill(&mut c);
    let full = info(&mut c, "used_memory");
    let trips = round_trips_during(&server, || {
        assert!(c.run("FLUSHALL ASYNC").is_ok());
        wait_until("the memory is free", || {
            info(&mut c, "used_memory") < empty + (full - empty) / 10
        });
    });
    assert!(trips > 0, "nobody else was served");
    assert!(c.run("DBSIZE").integer() <= Some(1));

    assert_eq!(
        c.run("SETRANGE big 100000000 x").integer(),
        Some(100_000_001)
    );
    let large = info(&mut c, "used_memory");
    assert!(large > 100_000_000);
    let trips = round_trips_during(&server, || {
        assert_eq!(c.run("UNLINK big").integer(), Some(1));
        wait_until("the memory is free", || {
            info(&mut c, "used_memory") < large - 90_000_000
        });
    });
    assert!(trips > 0, "nobody else was served");
}

#[test]
fn a_checkpoint_lets_others_write() {
    let server = Server::subject();
    let mut c = server.connect();
    fill(&mut c);
    let saved = c.run("LASTSAVE").integer();
    let trips = round_trips_during(&server, || {
        // LASTSAVE counts seconds: until one that began later than the last has ended.
        wait_until("a checkpoint is complete", || {
            c.run("BGSAVE");
            c.run("LASTSAVE").integer() > saved
        });
    });
    assert!(trips > 0, "nobody else was served");
    assert_eq!(c.run("GET key:7:7").text(), "v".repeat(50));
}
