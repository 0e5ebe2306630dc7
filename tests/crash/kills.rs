//! SIGKILL in the middle of pipelined writes, over and over, at each durability.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Connection, Protocol, Server, encode_command};
use crate::model::{Model, Write, read_state};
use crate::start::{options, seeded};

/// Kills for each durability.
const KILLS: u64 = 18;
const CONNECTIONS: usize = 4;

#[test]
fn kills_durability_always() {
    kill_again_and_again("always");
}

#[test]
fn kills_durability_everysec() {
    kill_again_and_again("everysec");
}

#[test]
fn kills_durability_os() {
    kill_again_and_again("os");
}

fn kill_again_and_again(durability: &'static str) {
    let (seed, mut rng) = seeded();
    let mut server = Server::start(options(durability));
    let mut models: Vec<Model> = (0..CONNECTIONS).map(|_| Model::default()).collect();
    for kill in 0..KILLS {
        models = write_until_killed(&mut server, models, &mut rng);
        if rng.random_bool(0.25) {
            // Also in the middle of a recovery.
            server.start_and_kill(Duration::from_micros(rng.random_range(0..20_000)));
        }
        server.restart();
        for (index, model) in models.iter_mut().enumerate() {
            let mut client = connect(&server, index);
            if let Err(why) = model.settle(read_state(&mut client, index)) {
                panic!(
                    "durability {durability}, seed {seed}, after kill {}: connection {index}: {why}",
                    kill + 1
                );
            }
        }
    }
    let written: u64 = models.iter().map(|model| model.count).sum();
    println!("{KILLS} kills, {written} writes");
    assert!(written > KILLS, "the load wrote next to nothing");
}

/// Writes from several connections, kills the server at a random moment, and returns what each knows.
fn write_until_killed(server: &mut Server, models: Vec<Model>, rng: &mut StdRng) -> Vec<Model> {
    let writers: Vec<_> = models
        .into_iter()
        .enumerate()
        .map(|(index, model)| {
            let client = connect(server, index);
            let rng = StdRng::seed_from_u64(rng.random());
            thread::spawn(move || write_until_hung_up(client, index, model, rng))
        })
        .collect();
    let mut client = server.connect();
    thread::sleep(Duration::from_millis(rng.random_range(1..60)));
    if rng.random_bool(0.5) {
        // It may be refused, where one is under way already.
        client.run("BGSAVE");
        thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
    }
    server.kill();
    writers
        .into_iter()
        .map(|writer| writer.join().expect("the writer"))
        .collect()
}

/// Each connection's keys are in a database of its own, or share one.
fn connect(server: &Server, index: usize) -> Connection {
    let mut client = server.connect_as(if index.is_multiple_of(2) {
        Protocol::Resp2
    } else {
        Protocol::Resp3
    });
    let reply = client.run(&format!("SELECT {}", index % 3));
    assert!(reply.is_ok(), "SELECT: {reply}");
    client
}

fn write_until_hung_up(
    mut client: Connection,
    index: usize,
    mut model: Model,
    mut rng: StdRng,
) -> Model {
    loop {
        let batch: Vec<Write> = (0..rng.random_range(1..40))
            .map(|_| {
                model.count += 1;
                Write::random(&mut rng, index, model.count)
            })
            .collect();
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|write| encode_command(&write.command()))
            .collect();
        model.sent.extend(batch);
        // Also when sending fails: replies to the part that arrived may have come.
        let hung_up = client.send(&bytes).is_err();
        while !model.sent.is_empty() {
            let Ok((reply, _)) = client.read_raw() else {
                return model;
            };
            let write = model.sent.pop_front().expect("a write that waits");
            assert!(write.accepts(&reply), "{write:?} got {reply}");
            write.apply(&mut model.acknowledged);
        }
        if hung_up {
            return model;
        }
    }
}
