//! What a checkpoint (Redis: BGSAVE) costs the clients and in memory while writes go on.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    cases::{Case, Entry, Settings, fill, labels},
    error::{Error, Result},
    generator::{Generator, Pacing, Tally, Until},
    proc::{Memory, Others, proportional_with_children},
    report::{Metric, OTHER_CPU, Sample, compared, hint},
    server::{Contender, Durability, Server},
    workload::Random,
};

const METRICS: &[Metric] = &[
    hint("writes/s", 0),
    compared("BGSAVE s", 2),
    compared("p99 ms before", 2),
    compared("p99 ms during", 2),
    compared("p99 during/before", 2),
    compared("max ms before", 1),
    compared("max ms during", 1),
    hint("PSS MiB before", 0),
    hint("PSS MiB peak", 0),
    compared("PSS growth, % of data", 1),
    compared("anonymous growth, % of data", 1),
    OTHER_CPU,
];
const KEY: u64 = 16;
const VALUE: usize = 200;
const CONNECTIONS: usize = 50;
const SAMPLE_EVERY: Duration = Duration::from_millis(10);

pub fn entries() -> Vec<Entry> {
    let description = format!(
        "SET of {VALUE}-byte values at a fixed rate (half of what the slower server reaches), \
         {CONNECTIONS} connections, before and during BGSAVE; data = keys x {} bytes",
        KEY + VALUE as u64
    );
    vec![Entry::new("checkpoint", description, |settings| {
        Checkpoint {
            contenders: settings.contenders(&[Durability::Everysec], Durability::Everysec),
            servers: Vec::new(),
            rate: 0.0,
        }
    })]
}

struct Checkpoint {
    contenders: Vec<Contender>,
    servers: Vec<Server>,
    /// Writes per second, the same for all.
    rate: f64,
}

impl Case for Checkpoint {
    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn labels(&self) -> Vec<String> {
        labels(&self.contenders)
    }

    fn prepare(&mut self, settings: &Settings) -> Result<()> {
        let mut slowest = f64::INFINITY;
        for &contender in &self.contenders {
            let server = settings.launcher.start(contender)?;
            fill(&server, settings.many_keys, VALUE)?;
            slowest = slowest.min(max_rate(&server, settings)?);
            self.servers.push(server);
        }
        self.rate = slowest / 2.0;
        Ok(())
    }

    fn measure(&mut self, settings: &Settings, contender: usize) -> Result<Sample> {
        let server = &self.servers[contender];
        let seconds = Duration::from_secs_f64(settings.seconds);
        let mut load = Load {
            generator: Generator::connect(server.port(), CONNECTIONS)?,
            workload: Random::set(settings.many_keys, VALUE),
            pacing: Pacing::Fixed { rate: self.rate },
        };
        load.run(Until::Elapsed(seconds / 4))?;
        let others = Others::watch([server.pid()]);
        let before = load.run(Until::Elapsed(seconds))?;
        let (during, save_time) = saves(&mut load, server, seconds / 4)?;
        let other_percent = others.percent();
        // Reading a large process's page tables takes milliseconds, so memory has runs of its own.
        let usual = peak_memory(server, || load.run(Until::Elapsed(seconds / 4)))?;
        let peak = peak_memory(server, || saves(&mut load, server, Duration::ZERO))?;
        load.generator.drain()?;

        let data = (settings.many_keys * (KEY + VALUE as u64)) as f64;
        let growth = |peak: u64, usual: u64| 100.0 * peak.saturating_sub(usual) as f64 / data;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let p99 = |tally: &Tally| tally.milliseconds_at(0.99);
        Ok(vec![
            self.rate,
            save_time.as_secs_f64(),
            p99(&before),
            p99(&during),
            p99(&during) / p99(&before),
            before.milliseconds_at(1.0),
            during.milliseconds_at(1.0),
            mib(usual.total),
            mib(peak.total),
            growth(peak.total, usual.total),
            growth(peak.anonymous, usual.anonymous),
            other_percent,
        ])
    }
}

struct Load {
    generator: Generator,
    workload: Random,
    pacing: Pacing,
}

impl Load {
    fn run(&mut self, until: Until<'_>) -> Result<Tally> {
        self.generator.run(&mut self.workload, self.pacing, until)
    }
}

/// Writes per second of the same connections in a closed loop.
fn max_rate(server: &Server, settings: &Settings) -> Result<f64> {
    let mut generator = Generator::connect(server.port(), CONNECTIONS)?;
    let mut workload = Random::set(settings.many_keys, VALUE);
    let until = Until::Elapsed(Duration::from_secs_f64(settings.seconds / 2.0));
    let tally = generator.run(&mut workload, Pacing::Closed { pipeline: 1 }, until)?;
    generator.drain()?;
    Ok(tally.per_second())
}

/// Writes on while the server saves, one save after the other until they have taken `at_least`
/// together. Returns the load's latencies and the mean time of a save.
fn saves(load: &mut Load, server: &Server, at_least: Duration) -> Result<(Tally, Duration)> {
    let mut control = server.control()?;
    let start = Instant::now();
    let mut total: Option<Tally> = None;
    let mut count = 0;
    while count == 0 || start.elapsed() < at_least {
        let done = AtomicBool::new(false);
        let tally = thread::scope(|scope| {
            let save = scope.spawn(|| {
                let saved = control.background_save();
                done.store(true, Ordering::Release);
                saved
            });
            let tally = load.run(Until::Set(&done));
            save.join().unwrap_or(Err(Error::Closed))?;
            tally
        })?;
        match &mut total {
            None => total = Some(tally),
            Some(total) => total.merge(&tally),
        }
        count += 1;
    }
    let total = total.ok_or(Error::Closed)?;
    let mean = total.elapsed / count;
    Ok((total, mean))
}

/// The largest memory of the server and its children while `work` goes on.
fn peak_memory<T>(server: &Server, work: impl FnOnce() -> Result<T>) -> Result<Memory> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = Memory::default();
            while !done.load(Ordering::Acquire) {
                peak = peak.max(proportional_with_children(server.pid()));
                thread::sleep(SAMPLE_EVERY);
            }
            peak
        });
        let result = work();
        done.store(true, Ordering::Release);
        let peak = sampler.join().map_err(|_| Error::Closed);
        result.and(peak)
    })
}
