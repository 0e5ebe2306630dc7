//! Throughput, latency and CPU per operation of single commands, closed loop.

use std::time::Duration;

use crate::{
    cases::{Case, Entry, Settings, fill, labels},
    error::{Error, Result},
    generator::{Generator, Pacing, Until},
    listeners::Listeners,
    proc::{Others, threads_cpu},
    report::{Metric, OTHER_CPU, Sample, compared, hint},
    server::{Contender, Durability, Server},
    workload::{Expected, KEY, Mix, Random, Template, Turns, Workload},
};

const METRICS: &[Metric] = &[
    compared("ops/s", 0),
    compared("p50 ms", 2),
    compared("p99 ms", 2),
    compared("p99.9 ms", 2),
    compared("server CPU us/op", 2),
    hint("generator CPU %", 0),
    OTHER_CPU,
];
const KEYS: u64 = 100_000;
const VALUE: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Commands {
    Get,
    Set,
    /// Ten GET to one SET.
    Mixed,
    /// Requests of a kind of data, one after the other.
    Turns(
        &'static str,
        &'static [(&'static [&'static [u8]], Expected)],
    ),
}

const ITEM: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SET_QUEUED: (&[&[u8]], Expected) = (&[b"SET", KEY, ITEM], Expected::Queued);
const LIST: Commands = Commands::Turns(
    "LPUSH, LPOP",
    &[
        (&[b"LPUSH", b"list", KEY], Expected::Integer),
        (&[b"LPOP", b"list"], Expected::Answer),
    ],
);
const HASH: Commands = Commands::Turns(
    "HSET, HGET",
    &[
        (&[b"HSET", b"hash", KEY, ITEM], Expected::Integer),
        (&[b"HGET", b"hash", KEY], Expected::Answer),
    ],
);
const MEMBERS: Commands = Commands::Turns("SADD", &[(&[b"SADD", b"set", KEY], Expected::Integer)]);
const RANKED: Commands = Commands::Turns(
    "ZADD, ZRANGE of 10",
    &[
        (&[b"ZADD", b"zset", b"1", KEY], Expected::Integer),
        (&[b"ZRANGE", b"zset", b"0", b"9"], Expected::Answer),
    ],
);
const STREAM: Commands = Commands::Turns(
    "XADD, at most about 1000 entries",
    &[(
        &[
            b"XADD", b"stream", b"MAXLEN", b"~", b"1000", b"*", b"field", KEY,
        ],
        Expected::Answer,
    )],
);
const SCRIPT: Commands = Commands::Turns(
    "EVAL of a SET",
    &[(
        &[
            b"EVAL",
            b"return redis.call('set', KEYS[1], ARGV[1])",
            b"1",
            KEY,
            ITEM,
        ],
        Expected::Ok,
    )],
);
const TRANSACTION: Commands = Commands::Turns(
    "MULTI of 10 SET",
    &[
        (&[b"MULTI"], Expected::Unconfirmed),
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        SET_QUEUED,
        (&[b"EXEC"], Expected::Answer),
    ],
);

const CHANNEL: &[u8] = b"channel";
const MESSAGE: Commands = Commands::Turns(
    "PUBLISH",
    &[(&[b"PUBLISH", CHANNEL, ITEM], Expected::Integer)],
);

impl Commands {
    fn workload(self) -> Box<dyn Workload> {
        match self {
            Commands::Get => Box::new(Random::get(KEYS, VALUE)),
            Commands::Set => Box::new(Random::set(KEYS, VALUE)),
            Commands::Mixed => {
                let (get, set) = (Random::get(KEYS, VALUE), Random::set(KEYS, VALUE));
                Box::new(Mix::new(10, get, set))
            }
            Commands::Turns(_, requests) => {
                let random = |(words, expected): &(&[&[u8]], Expected)| {
                    Random::new(Template::new(words), KEYS, *expected)
                };
                Box::new(Turns::new(requests.iter().map(random).collect()))
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Commands::Get => "GET",
            Commands::Set => "SET",
            Commands::Mixed => "10 GET : 1 SET",
            Commands::Turns(words, _) => words,
        }
    }
}

pub fn entries() -> Vec<Entry> {
    use Commands::{Get, Mixed, Set};
    use Durability::{Always, Everysec, None};
    // Coterie is never without its log; Redis is shown both ways.
    let usual: &[Durability] = &[None, Everysec];
    let plain = |name, commands, pipeline| entry(name, commands, 50, pipeline, usual, Everysec);
    vec![
        plain("get-p1", Get, 1),
        plain("set-p1", Set, 1),
        plain("mixed-p1", Mixed, 1),
        plain("get-p30", Get, 30),
        plain("set-p30", Set, 30),
        plain("mixed-p30", Mixed, 30),
        plain("list-p1", LIST, 1),
        plain("hash-p1", HASH, 1),
        plain("sadd-p1", MEMBERS, 1),
        plain("zset-p1", RANKED, 1),
        plain("xadd-p1", STREAM, 1),
        plain("eval-p1", SCRIPT, 1),
        plain("multi-p12", TRANSACTION, 12),
        plain("list-p30", LIST, 30),
        plain("hash-p30", HASH, 30),
        plain("sadd-p30", MEMBERS, 30),
        plain("zset-p30", RANKED, 30),
        plain("xadd-p30", STREAM, 30),
        plain("eval-p30", SCRIPT, 30),
        publish("publish-1", 1),
        publish("publish-100", 100),
        publish("publish-1000", 1000),
        entry("set-everysec-50", Set, 50, 1, &[Everysec], Everysec),
        entry("set-always-1", Set, 1, 1, &[Always], Always),
        entry("set-always-50", Set, 50, 1, &[Always], Always),
        entry("set-always-200", Set, 200, 1, &[Always], Always),
    ]
}

fn entry(
    name: &'static str,
    commands: Commands,
    connections: usize,
    pipeline: usize,
    redis: &'static [Durability],
    subject: Durability,
) -> Entry {
    let description = format!(
        "{}, {VALUE}-byte values, {KEYS} keys uniformly random, {connections} connections, pipeline {pipeline}",
        commands.words()
    );
    Entry::new(name, description, move |settings| Load {
        contenders: settings.contenders(redis, subject),
        commands,
        connections,
        listeners: 0,
        pacing: Pacing::Closed { pipeline },
        servers: Vec::new(),
    })
}

/// Messages to so many listeners.
fn publish(name: &'static str, listeners: usize) -> Entry {
    let description = format!(
        "PUBLISH to {listeners} listeners, {VALUE}-byte messages, 10 connections, pipeline 1"
    );
    Entry::new(name, description, move |settings| Load {
        contenders: settings.contenders(&[Durability::None], Durability::Everysec),
        commands: MESSAGE,
        connections: 10,
        listeners,
        pacing: Pacing::Closed { pipeline: 1 },
        servers: Vec::new(),
    })
}

struct Load {
    contenders: Vec<Contender>,
    commands: Commands,
    connections: usize,
    /// Who listens to what is published.
    listeners: usize,
    pacing: Pacing,
    /// All up for the whole case: their rounds interleave.
    servers: Vec<Server>,
}

impl Case for Load {
    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn labels(&self) -> Vec<String> {
        labels(&self.contenders)
    }

    fn prepare(&mut self, settings: &Settings) -> Result<()> {
        for &contender in &self.contenders {
            let server = settings.launcher.start(contender)?;
            fill(&server, KEYS, VALUE)?;
            self.servers.push(server);
        }
        Ok(())
    }

    fn measure(&mut self, settings: &Settings, contender: usize) -> Result<Sample> {
        let server = &self.servers[contender];
        let mut generator = Generator::connect(server.port(), self.connections)?;
        let mut workload = self.commands.workload();
        let listeners = (self.listeners > 0)
            .then(|| Listeners::start(server.port(), self.listeners, CHANNEL, ITEM))
            .transpose()?;
        let seconds = Duration::from_secs_f64(settings.seconds);
        let warm_up = generator.run(&mut *workload, self.pacing, Until::Elapsed(seconds / 4))?;

        let others = Others::watch([server.pid()]);
        let cpu = || (threads_cpu(server.pid()), threads_cpu(std::process::id()));
        let before = cpu();
        let tally = generator.run(&mut *workload, self.pacing, Until::Elapsed(seconds))?;
        let after = cpu();
        let other_percent = others.percent();
        let rest = generator.drain()?;
        if let Some(listeners) = listeners {
            let published = warm_up.operations + tally.operations + rest.operations;
            let (heard, sent) = (listeners.end()?, published * self.listeners as u64);
            if heard != sent {
                let lost = format!("{heard} messages heard of {sent}");
                return Err(Error::WrongReply(lost));
            }
        }

        let server_cpu = (after.0 - before.0).as_secs_f64();
        let own_cpu = (after.1 - before.1).as_secs_f64();
        Ok(vec![
            tally.per_second(),
            tally.milliseconds_at(0.5),
            tally.milliseconds_at(0.99),
            tally.milliseconds_at(0.999),
            server_cpu * 1e6 / tally.operations as f64,
            100.0 * own_cpu / tally.elapsed.as_secs_f64(),
            other_percent,
        ])
    }
}
