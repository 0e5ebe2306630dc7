//! Three servers that hold the same data: what a replicated write and a read cost over all of them.

use std::time::Duration;

use crate::{
    cases::{Case, Entry, Settings, expect_keys},
    error::Result,
    generator::{Generator, Pacing, Until},
    group::Group,
    proc::Others,
    report::{Metric, OTHER_CPU, Sample, compared},
    server::{Contender, Durability, Product},
    sockets::Traffic,
    workload::{Expected, Mix, Random, Sequence, Template, Wait, Workload},
};

const METRICS: &[Metric] = &[
    compared("ops/CPU s", 0),
    compared("CPU us/op", 2),
    compared("ops/s", 0),
    compared("p50 ms", 2),
    compared("p99 ms", 2),
    compared("node-to-node B/op", 0),
    compared("with headers B/op", 0),
    OTHER_CPU,
];
const KEYS: u64 = 100_000;
const VALUE: usize = 64;
const CONNECTIONS: usize = 50;
const NODES: usize = 3;

type Command = &'static [&'static [u8]];

#[derive(Debug, Clone, Copy)]
enum Commands {
    Get,
    Set,
    /// SETs, with a WAIT for one replica after each so many.
    SetWait(usize),
}

impl Commands {
    fn workload(self) -> Box<dyn Workload> {
        match self {
            Commands::Get => Box::new(Random::get(KEYS, VALUE)),
            Commands::Set => Box::new(Random::set(KEYS, VALUE)),
            Commands::SetWait(every) => {
                let set = Random::new(Template::set(VALUE), KEYS, Expected::Unconfirmed);
                Box::new(Mix::new(every as u32, set, Wait::after(every as u64)))
            }
        }
    }

    /// Requests that go out together for this many operations.
    fn requests(self, operations: usize) -> usize {
        match self {
            Commands::Get | Commands::Set => operations,
            Commands::SetWait(every) => operations + operations / every,
        }
    }
}

/// One side of the comparison.
#[derive(Debug, Clone, Copy)]
struct Side {
    product: Product,
    nodes: usize,
    commands: Commands,
    /// What each connection begins with.
    greeting: Option<Command>,
    /// What is particular about it, for its label.
    manner: &'static str,
}

impl Side {
    /// Redis' master with replicas.
    fn redis(commands: Commands, manner: &'static str) -> Self {
        Self {
            product: Product::Redis,
            nodes: NODES,
            commands,
            greeting: None,
            manner,
        }
    }

    fn cluster(
        settings: &Settings,
        commands: Commands,
        greeting: Option<Command>,
        manner: &'static str,
    ) -> Self {
        Self {
            product: settings.subject,
            nodes: NODES,
            commands,
            greeting: greeting.filter(|_| settings.subject == Product::Coterie),
            manner,
        }
    }

    fn single(settings: &Settings, commands: Commands) -> Self {
        Self {
            nodes: 1,
            ..Self::cluster(settings, commands, None, "")
        }
    }

    fn label(&self) -> String {
        let product = match self.product {
            Product::Redis => "Redis",
            Product::Coterie => "Coterie",
        };
        match self.nodes {
            1 => format!("{product} x1"),
            nodes => format!("{product} x{nodes}, {}", self.manner),
        }
    }

    /// All write logs that are synced once a second.
    fn contender(&self) -> Contender {
        Contender {
            product: self.product,
            durability: Durability::Everysec,
        }
    }
}

pub fn entries() -> Vec<Entry> {
    const PIPELINES: [usize; 2] = [1, 30];
    const NAMES: [[&str; 2]; 4] = [
        ["cluster-set-p1", "cluster-set-p30"],
        ["cluster-set-one-p1", "cluster-set-one-p30"],
        ["cluster-get-one-p1", "cluster-get-one-p30"],
        ["cluster-get-majority-p1", "cluster-get-majority-p30"],
    ];
    let mut entries = Vec::new();
    for (names, sides) in NAMES
        .into_iter()
        .zip([majority, one, get_one, get_majority])
    {
        for (name, pipeline) in names.into_iter().zip(PIPELINES) {
            entries.push(entry(name, pipeline, sides));
        }
    }
    entries
}

fn entry(name: &'static str, pipeline: usize, sides: fn(&Settings, usize) -> Vec<Side>) -> Entry {
    let command = match name.contains("set") {
        true => "SET",
        false => "GET",
    };
    let description = format!(
        "{command} on servers with the same data, logs synced each second, {VALUE}-byte values, \
         {KEYS} keys uniformly random, {CONNECTIONS} connections, pipeline {pipeline}; CPU of all servers"
    );
    Entry::new(name, description, move |settings| Cluster {
        sides: sides(settings, pipeline),
        pipeline,
        groups: Vec::new(),
    })
}

/// Writes that two of three have before they are answered.
fn majority(settings: &Settings, pipeline: usize) -> Vec<Side> {
    let mut sides = vec![Side::redis(Commands::SetWait(1), "WAIT 1 after each write")];
    if pipeline > 1 {
        sides.push(Side::redis(
            Commands::SetWait(pipeline),
            "one WAIT 1 a batch",
        ));
    }
    sides.push(Side::redis(Commands::Set, "no WAIT"));
    let subject = Side::cluster(settings, Commands::Set, None, "write majority");
    sides.push(subject);
    sides
}

/// Writes that are answered before another node has them.
fn one(settings: &Settings, _: usize) -> Vec<Side> {
    const ONE: Command = &[b"COTERIE.CONSISTENCY", b"WRITE", b"one"];
    vec![
        Side::redis(Commands::Set, "no WAIT"),
        Side::cluster(settings, Commands::Set, Some(ONE), "write one"),
    ]
}

fn get_one(settings: &Settings, _: usize) -> Vec<Side> {
    const ONE: Command = &[b"COTERIE.CONSISTENCY", b"READ", b"one"];
    vec![
        Side::single(settings, Commands::Get),
        Side::cluster(settings, Commands::Get, Some(ONE), "read one"),
    ]
}

fn get_majority(settings: &Settings, _: usize) -> Vec<Side> {
    const MAJORITY: Command = &[b"COTERIE.CONSISTENCY", b"READ", b"majority"];
    vec![
        Side::single(settings, Commands::Get),
        Side::cluster(settings, Commands::Get, Some(MAJORITY), "read majority"),
    ]
}

struct Cluster {
    sides: Vec<Side>,
    pipeline: usize,
    /// All up for the whole case, as their rounds interleave; sides that want the same servers
    /// share them.
    groups: Vec<(Product, usize, Group)>,
}

impl Cluster {
    fn group(&self, side: Side) -> Option<&Group> {
        let mut groups = self.groups.iter();
        let found = groups.find(|(product, nodes, _)| (*product, *nodes) == side_key(side));
        found.map(|(_, _, group)| group)
    }
}

fn side_key(side: Side) -> (Product, usize) {
    (side.product, side.nodes)
}

impl Case for Cluster {
    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn labels(&self) -> Vec<String> {
        self.sides.iter().map(Side::label).collect()
    }

    fn prepare(&mut self, settings: &Settings) -> Result<()> {
        for side in self.sides.clone() {
            if self.group(side).is_some() {
                continue;
            }
            let group = Group::start(&settings.launcher, side.contender(), side.nodes)?;
            fill(&group)?;
            self.groups.push((side.product, side.nodes, group));
        }
        Ok(())
    }

    fn measure(&mut self, settings: &Settings, contender: usize) -> Result<Sample> {
        let side = self.sides[contender];
        let Some(group) = self.group(side) else {
            unreachable!("every side has its servers since the case was prepared")
        };
        let mut generator = Generator::connect_to(&group.entrances(), CONNECTIONS, side.greeting)?;
        let mut workload = side.commands.workload();
        let pipeline = side.commands.requests(self.pipeline);
        let pacing = Pacing::Closed { pipeline };
        let seconds = Duration::from_secs_f64(settings.seconds);
        generator.run(&mut *workload, pacing, Until::Elapsed(seconds / 4))?;
        generator.drain()?;
        group.settle(VALUE)?;

        let others = Others::watch(group.pids());
        let before = (group.cpu(), group.traffic());
        let tally = generator.run(&mut *workload, pacing, Until::Elapsed(seconds))?;
        let rest = generator.drain()?;
        group.settle(VALUE)?;
        let after = (group.cpu(), group.traffic());
        let other_percent = others.percent();

        let operations = (tally.operations + rest.operations) as f64;
        let cpu = (after.0 - before.0).as_secs_f64();
        let traffic = before
            .1
            .zip(after.1)
            .map(|(before, after)| after.since(before));
        let per_operation = |bytes: fn(Traffic) -> u64| {
            traffic.map_or(f64::NAN, |traffic| bytes(traffic) as f64 / operations)
        };
        Ok(vec![
            operations / cpu,
            cpu * 1e6 / operations,
            tally.per_second(),
            tally.milliseconds_at(0.5),
            tally.milliseconds_at(0.99),
            per_operation(|traffic| traffic.bytes),
            per_operation(Traffic::wire_bytes),
            other_percent,
        ])
    }
}

/// Fills all servers of a group, and checks that they have it all.
fn fill(group: &Group) -> Result<()> {
    let mut generator = Generator::connect_to(&group.entrances(), CONNECTIONS, None)?;
    let pacing = Pacing::Closed { pipeline: 16 };
    let mut keys = Sequence::set(KEYS, VALUE);
    generator.run(&mut keys, pacing, Until::Exhausted)?;
    group.settle(VALUE)?;
    for server in group.servers() {
        expect_keys(server, KEYS)?;
    }
    Ok(())
}
