//! SIGKILL while streams are written to and read in a group: what was added or acknowledged is, after it.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use rand::RngExt;

use crate::common::{Connection, Reply, Server};
use crate::start::{options, seeded};

const KILLS: u64 = 10;

/// What is known of a stream and its group.
#[derive(Default)]
struct Progress {
    added: BTreeSet<String>,
    /// Given out, with a reply.
    delivered: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
    /// Sent, and without a reply: the id of an acknowledgement.
    in_doubt: Option<String>,
}

#[test]
fn streams_survive_durability_always() {
    kill_again_and_again("always");
}

#[test]
fn streams_survive_durability_everysec() {
    kill_again_and_again("everysec");
}

fn kill_again_and_again(durability: &'static str) {
    let (seed, mut rng) = seeded();
    let mut server = Server::start(options(durability));
    let mut client = server.connect();
    assert!(client.run("XGROUP CREATE s g 0 MKSTREAM").is_ok());
    let mut progress = Progress::default();
    for kill in 1..=KILLS {
        let mut clients = (server.connect(), server.connect());
        let worker = thread::spawn(move || {
            let mut made = Progress::default();
            while work(&mut clients.0, &mut clients.1, &mut made).is_some() {}
            made
        });
        thread::sleep(Duration::from_millis(rng.random_range(5..120)));
        if rng.random_bool(0.5) {
            server.connect().run("BGSAVE");
            thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        }
        server.kill();
        let made = worker.join().expect("the worker");
        progress.added.extend(made.added);
        progress.delivered.extend(made.delivered);
        progress.acknowledged.extend(made.acknowledged);
        progress.in_doubt = made.in_doubt;
        server.restart();
        let what = format!("durability {durability}, seed {seed}, kill {kill}");
        check(&mut server.connect(), &mut progress, &what);
    }
    assert!(progress.acknowledged.len() > KILLS as usize);
}

/// Adds an entry, reads some, and acknowledges one of them. `None` once the connection ends.
fn work(producer: &mut Connection, consumer: &mut Connection, made: &mut Progress) -> Option<()> {
    let added = producer
        .try_call(&["XADD", "s", "MAXLEN", "~", "100000", "*", "f", "v"])
        .ok()?;
    made.added.insert(added.text());
    let read = [
        "XREADGROUP",
        "GROUP",
        "g",
        "c",
        "COUNT",
        "2",
        "STREAMS",
        "s",
        ">",
    ];
    let delivered = ids_of(&consumer.try_call(&read).ok()?);
    made.delivered.extend(delivered.iter().cloned());
    let Some(id) = delivered.into_iter().next_back() else {
        return Some(());
    };
    made.in_doubt = Some(id.clone());
    let reply = consumer.try_call(&["XACK", "s", "g", &id]).ok()?;
    assert_eq!(reply, Reply::Integer(1));
    made.in_doubt = None;
    made.acknowledged.insert(id);
    // What was left to a consumer once more.
    let history = [
        "XREADGROUP",
        "GROUP",
        "g",
        "c",
        "COUNT",
        "1",
        "STREAMS",
        "s",
        "0",
    ];
    consumer.try_call(&history).ok()?;
    Some(())
}

/// The ids in what one stream was read of.
fn ids_of(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Array(streams) => entry_ids(&streams[0].items()[1]),
        _ => Vec::new(),
    }
}

fn entry_ids(entries: &Reply) -> Vec<String> {
    let entries = entries.items().into_iter();
    entries.map(|entry| entry.items()[0].text()).collect()
}

fn check(client: &mut Connection, progress: &mut Progress, what: &str) {
    let there: BTreeSet<String> = entry_ids(&client.run("XRANGE s - +")).into_iter().collect();
    let lost: Vec<_> = progress.added.difference(&there).collect();
    assert!(lost.is_empty(), "{what}: lost {lost:?}");
    let pending = client.run("XPENDING s g - + 1000000");
    let pending: BTreeSet<String> = entry_ids(&pending).into_iter().collect();
    let back: Vec<_> = pending.intersection(&progress.acknowledged).collect();
    assert!(back.is_empty(), "{what}: pending again {back:?}");
    for id in &progress.delivered {
        let is_known = pending.contains(id)
            || progress.acknowledged.contains(id)
            || progress.in_doubt.as_ref() == Some(id);
        assert!(is_known, "{what}: nobody has {id}");
    }
    if let Some(id) = progress.in_doubt.take()
        && !pending.contains(&id)
    {
        progress.acknowledged.insert(id);
    }
    let last = client.run("XINFO GROUPS s").items()[0].items()[7].text();
    let delivered = progress.delivered.iter().map(|id| parse(id)).max();
    assert!(Some(parse(&last)) >= delivered, "{what}: {last}");
}

fn parse(id: &str) -> (u64, u64) {
    let (ms, sequence) = id.split_once('-').expect("an id");
    let number = |text: &str| text.parse().expect("a number");
    (number(ms), number(sequence))
}
