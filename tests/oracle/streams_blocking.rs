//! Clients that wait for entries of streams, on both servers.

use std::time::{Duration, Instant};

use crate::blocking::{compare, send};
use crate::common::wait_until;

#[test]
fn an_entry_serves_all_who_read() {
    compare(|stage| {
        stage.run("XADD k 1-1 a 1");
        let mut new = stage.waiter("XREAD BLOCK 0 STREAMS k $");
        let mut above = stage.waiter("XREAD BLOCK 0 COUNT 1 STREAMS other k 0 1-1");
        let mut later = stage.waiter("XREAD BLOCK 0 STREAMS k 5");
        let mut both = stage.waiter("XREAD BLOCK 0 STREAMS k k $ 1-1");
        // No entry.
        stage.run("XGROUP CREATE k g $");
        stage.run("XDEL k 1-1");
        stage.run("XADD k 2-1 a 2");
        stage.read("new", &mut new);
        stage.read("above", &mut above);
        stage.read("both", &mut both);
        stage.run("XADD k 4-1 a 2");
        stage.run("XADD k 6-1 a 3 b 4");
        stage.read("later", &mut later);
        stage.run("XLEN k");
    });
}

#[test]
fn an_entry_serves_one_of_a_group() {
    compare(|stage| {
        stage.run("XGROUP CREATE k g $ MKSTREAM");
        stage.run("XGROUP CREATE k h $");
        let mut first = stage.waiter("XREADGROUP GROUP g c BLOCK 0 STREAMS k >");
        let mut second = stage.waiter("XREADGROUP GROUP g d BLOCK 0 STREAMS k >");
        let mut other = stage.waiter("XREADGROUP GROUP h c BLOCK 0 NOACK STREAMS k >");
        let mut reader = stage.waiter("XREAD BLOCK 0 STREAMS k 0");
        stage.run("XINFO GROUPS k");
        stage.run("XADD k 1-1 a 1");
        stage.read("first", &mut first);
        stage.read("other", &mut other);
        stage.read("reader", &mut reader);
        stage.run("XPENDING k g");
        stage.run("XADD k 2-1 a 2");
        stage.read("second", &mut second);
        stage.run("XPENDING k g");
        stage.run("XPENDING k h");
        stage.run("XINFO GROUPS k");
        stage.run("XREADGROUP GROUP g c STREAMS k 0");
    });
}

#[test]
fn a_transaction_serves_with_all_of_its_entries() {
    compare(|stage| {
        stage.run("XGROUP CREATE k g $ MKSTREAM");
        let mut first = stage.waiter("XREADGROUP GROUP g c COUNT 2 BLOCK 0 STREAMS k >");
        let mut second = stage.waiter("XREADGROUP GROUP g d BLOCK 0 STREAMS k >");
        let mut reader = stage.waiter("XREAD BLOCK 0 COUNT 2 STREAMS k $");
        for line in [
            "MULTI",
            "XADD k 1-1 a 1",
            "XADD k 2-1 a 2",
            "XADD k 3-1 a 3",
            "EXEC",
        ] {
            stage.run(line);
        }
        stage.read("first", &mut first);
        stage.read("second", &mut second);
        stage.read("reader", &mut reader);
    });
}

#[test]
fn who_reads_in_a_group_is_told_that_it_is_gone() {
    compare(|stage| {
        for line in [
            "XGROUP DESTROY k g",
            "DEL k",
            "SET k v",
            "RENAME k k2",
            "RENAME str k",
            "FLUSHDB",
            "MULTI",
        ] {
            stage.run("FLUSHDB");
            stage.run("SET str v");
            stage.run("XGROUP CREATE k g $ MKSTREAM");
            let mut waiter = stage.waiter("XREADGROUP GROUP g c BLOCK 0 STREAMS k >");
            let mut reader = stage.waiter("XREAD BLOCK 0 STREAMS k 0");
            stage.run(line);
            if line == "MULTI" {
                stage.run("DEL k");
                stage.run("SADD k m");
                stage.run("EXEC");
            }
            stage.read(line, &mut waiter);
            stage.run("DEL k");
            stage.run("XADD k 1-1 a b");
            stage.read("reader", &mut reader);
        }
    });
}

#[test]
fn a_stream_that_comes_back_is_read() {
    compare(|stage| {
        let mut waiter = stage.waiter("XREAD BLOCK 0 STREAMS k nope $ 0");
        stage.run("SET k v");
        stage.run("DEL k");
        stage.run("RPUSH k v");
        stage.run("XADD other 1-1 a b");
        stage.run("RENAME other k");
        stage.read("renamed", &mut waiter);
        let mut waiter = stage.waiter("XREAD BLOCK 0 STREAMS nope 0");
        stage.run("COPY k nope");
        stage.read("copied", &mut waiter);
    });
}

#[test]
fn readers_are_unblocked_or_their_time_is_over() {
    compare(|stage| {
        stage.run("XGROUP CREATE k g $ MKSTREAM");
        for line in [
            "XREAD BLOCK 50 STREAMS k nope $ 0",
            "XREADGROUP GROUP g c BLOCK 50 STREAMS k >",
        ] {
            let began = Instant::now();
            stage.run(line);
            assert!(began.elapsed() >= Duration::from_millis(50));
        }
        for (line, how) in [
            ("XREAD BLOCK 0 STREAMS k nope $ 0", ""),
            ("XREADGROUP GROUP g c BLOCK 0 STREAMS k >", "ERROR"),
        ] {
            let mut waiter = stage.server.connect_as(stage.protocol);
            let id = waiter.run("CLIENT ID").integer().expect("an id");
            send(&mut waiter, line);
            wait_until("it waits", || stage.blocked() == 1);
            let reply = stage.control.run(&format!("CLIENT UNBLOCK {id} {how}"));
            stage.transcript.push(reply.to_string());
            stage.read(line, &mut waiter);
        }
        stage.run("XADD k 1-1 a b");
        stage.run("XINFO GROUPS k");
    });
}
