//! The cases: what is measured, on which contenders, with which figures.

mod checkpoint;
mod cluster;
mod load;
mod memory;
mod restart;
mod timeline;

use std::path::PathBuf;

use crate::{
    error::{Error, Result},
    generator::{Generator, Pacing, Until},
    report::{Metric, OTHER_CPU, Outcome, Sample},
    server::{Contender, Durability, Launcher, Product, Server},
    workload::Sequence,
};

/// How the bench runs, whatever the case.
pub struct Settings {
    pub launcher: Launcher,
    /// What is compared with Redis.
    pub subject: Product,
    pub rounds: usize,
    /// Length of a measured run.
    pub seconds: f64,
    /// Measure again, at most twice, while others used more of a processor than this (percent).
    pub max_other: Option<f64>,
    /// Keys in the cases about memory, restart and checkpoints.
    pub many_keys: u64,
    /// Requests per second in the case about a node that is killed.
    pub timeline_rate: f64,
    /// Where that case's picture goes, and beside it its figures.
    pub picture: Option<PathBuf>,
}

impl Settings {
    fn contenders(&self, redis: &[Durability], subject: Durability) -> Vec<Contender> {
        let product = Product::Redis;
        let mut contenders: Vec<_> = redis
            .iter()
            .map(|&durability| Contender {
                product,
                durability,
            })
            .collect();
        contenders.push(Contender {
            product: self.subject,
            durability: subject,
        });
        contenders
    }
}

/// A case that can be run; the trait's object holds its servers between rounds.
pub trait Case {
    fn metrics(&self) -> &'static [Metric];
    /// What is compared: references first, the subject last.
    fn labels(&self) -> Vec<String>;
    /// Before the first round.
    fn prepare(&mut self, _settings: &Settings) -> Result<()> {
        Ok(())
    }
    /// Measures one contender once.
    fn measure(&mut self, settings: &Settings, contender: usize) -> Result<Sample>;
}

type Make = dyn Fn(&Settings) -> Box<dyn Case>;

pub struct Entry {
    pub name: &'static str,
    pub description: String,
    make: Box<Make>,
}

impl Entry {
    fn new<C: Case + 'static>(
        name: &'static str,
        description: impl Into<String>,
        make: impl Fn(&Settings) -> C + 'static,
    ) -> Self {
        Self {
            name,
            description: description.into(),
            make: Box::new(move |settings| Box::new(make(settings))),
        }
    }

    /// Runs all rounds, the contenders in turn.
    pub fn run(&self, settings: &Settings) -> Result<Outcome> {
        let mut case = (self.make)(settings);
        case.prepare(settings)?;
        let labels = case.labels();
        let mut samples = vec![Vec::new(); labels.len()];
        for round in 1..=settings.rounds {
            for (contender, label) in labels.iter().enumerate() {
                eprintln!(
                    "{}: round {round} of {}, {label}",
                    self.name, settings.rounds
                );
                samples[contender].push(measure(&mut *case, settings, contender)?);
            }
        }
        Ok(Outcome {
            case: self.name.into(),
            description: self.description.clone(),
            metrics: case.metrics(),
            contenders: labels.into_iter().zip(samples).collect(),
        })
    }
}

/// Measures, and again while it was disturbed; returns the least disturbed measurement.
fn measure(case: &mut dyn Case, settings: &Settings, contender: usize) -> Result<Sample> {
    const REPEATS: usize = 2;
    let column = case
        .metrics()
        .iter()
        .position(|&metric| metric == OTHER_CPU);
    let mut once = || {
        settings.launcher.settle_disk()?;
        case.measure(settings, contender)
    };
    let mut best = once()?;
    let (Some(limit), Some(column)) = (settings.max_other, column) else {
        return Ok(best);
    };
    for _ in 0..REPEATS {
        if best[column] <= limit {
            break;
        }
        eprintln!(
            "  disturbed, others used {:.0} % of a processor at the least: again",
            best[column]
        );
        let sample = once()?;
        if sample[column] < best[column] {
            best = sample;
        }
    }
    Ok(best)
}

/// Every case, in the order they run.
pub fn all() -> Vec<Entry> {
    let mut cases = load::entries();
    cases.extend(memory::entries());
    cases.extend(restart::entries());
    cases.extend(checkpoint::entries());
    cases.extend(cluster::entries());
    cases.extend(timeline::entries());
    cases
}

/// The cases of these names; all when there are none.
pub fn select(names: &[String]) -> Result<Vec<Entry>> {
    let mut cases = all();
    if let Some(unknown) = names
        .iter()
        .find(|name| cases.iter().all(|case| case.name != **name))
    {
        return Err(Error::UnknownCase(unknown.clone()));
    }
    cases.retain(|case| names.is_empty() || names.iter().any(|name| name == case.name));
    Ok(cases)
}

fn labels(contenders: &[Contender]) -> Vec<String> {
    contenders.iter().map(Contender::label).collect()
}

/// Fills a server with keys 0 to `keys`, over the wire, and checks that they are there.
fn fill(server: &Server, keys: u64, value_len: usize) -> Result<()> {
    const CONNECTIONS: usize = 16;
    const PIPELINE: Pacing = Pacing::Closed { pipeline: 64 };
    let mut generator = Generator::connect(server.port(), CONNECTIONS)?;
    generator.run(
        &mut Sequence::set(keys, value_len),
        PIPELINE,
        Until::Exhausted,
    )?;
    expect_keys(server, keys)
}

fn expect_keys(server: &Server, keys: u64) -> Result<()> {
    let found = server.control()?.integer(&[b"DBSIZE"])?;
    if u64::try_from(found) == Ok(keys) {
        return Ok(());
    }
    Err(Error::WrongReply(format!("DBSIZE is {found}, not {keys}")))
}
