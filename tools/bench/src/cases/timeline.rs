//! Three nodes under a steady load while one of them is killed and comes back.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cases::{Case, Entry, Settings},
    error::{Context, Result},
    generator::{Generator, Pacing, Until},
    group::Group,
    interrupt,
    proc::Others,
    report::{Metric, OTHER_CPU, Sample, hint},
    server::{Contender, Durability},
    timeline::{
        clients::{Plan, Seen, run, sum_counters},
        picture::svg,
        series::{Marks, STEP, Step, Timeline, milliseconds},
    },
    workload::Sequence,
};

const METRICS: &[Metric] = &[
    hint("ops/s before", 0),
    hint("ops/s while one is dead", 0),
    hint("errors, living nodes", 0),
    hint("longest stall before, ms", 1),
    hint("longest stall from the kill on, ms", 1),
    hint("median p99 of 0.1 s, ms before", 2),
    hint("median p99 of 0.1 s, ms from the kill on", 2),
    hint("errors, killed node", 0),
    hint("lost increments", 0),
    hint("answers after s", 2),
    OTHER_CPU,
];
const NODES: usize = 3;
/// The one that is killed: the last, which is no Redis master.
const VICTIM: usize = NODES - 1;
const CLIENTS: usize = 8;
const KEYS: u64 = 10_000;
const VALUE: usize = 64;
const COUNTERS: u64 = 100;

pub fn entries() -> Vec<Entry> {
    let description = format!(
        "GET, SET, INCR and HSET at a fixed rate on {NODES} nodes, {CLIENTS} clients each, six times as \
         long as other runs; one node is killed (-9) after a quarter of that and started again after a half"
    );
    vec![Entry::new("timeline", description, |settings| Kill {
        contender: Contender {
            product: settings.subject,
            durability: Durability::Everysec,
        },
    })]
}

struct Kill {
    contender: Contender,
}

impl Case for Kill {
    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn labels(&self) -> Vec<String> {
        vec![self.contender.label()]
    }

    fn measure(&mut self, settings: &Settings, _: usize) -> Result<Sample> {
        let mut group = Group::start(&settings.launcher, self.contender, NODES)?;
        let ports: Vec<u16> = group.servers().iter().map(|s| s.port()).collect();
        fill(&group)?;
        let plan = Plan {
            ports,
            clients: CLIENTS,
            rate: settings.timeline_rate,
            length: Duration::from_secs_f64(settings.seconds * 6.0),
            keys: KEYS,
            value: VALUE,
            counters: COUNTERS,
        };
        let (mut seen, (marks, other_percent)) = run(&plan, |start| {
            kill_and_return(settings, &mut group, start, plan.length)
        })?;
        group.wait_until_complete()?;

        let acknowledged: u64 = seen.iter().map(|seen| seen.increments).sum();
        let counted = sum_counters(plan.ports[0], COUNTERS)?;
        let victim = seen.remove(VICTIM);
        let living = seen.into_iter().fold(Seen::default(), Seen::and);
        tell(&living, &victim);
        let timeline = Timeline::new(living.answers, victim.answers, marks, plan.length);
        if let Some(path) = &settings.picture {
            draw(&timeline, &self.contender, settings, path)?;
        }
        let lost = (acknowledged as f64 - counted as f64).max(0.0);
        Ok(figures(&timeline, plan.length, lost, other_percent))
    }
}

fn fill(group: &Group) -> Result<()> {
    let mut generator = Generator::connect_to(&group.entrances(), CLIENTS, None)?;
    let pacing = Pacing::Closed { pipeline: 16 };
    generator.run(&mut Sequence::set(KEYS, VALUE), pacing, Until::Exhausted)?;
    group.settle(VALUE)
}

/// Returns what happened when, and how much others disturbed the machine before that.
fn kill_and_return(
    settings: &Settings,
    group: &mut Group,
    start: Instant,
    length: Duration,
) -> Result<(Marks, f64)> {
    let others = Others::watch(group.pids());
    sleep_until(start + length / 4)?;
    let other_percent = others.percent();
    let killed = start.elapsed();
    group.server_mut(VICTIM).kill();
    sleep_until(start + length / 2)?;
    let started = start.elapsed();
    settings.launcher.start_again(group.server_mut(VICTIM))?;
    sleep_until(start + length)?;
    let marks = Marks {
        killed,
        started,
        served: None,
    };
    Ok((marks, other_percent))
}

fn sleep_until(time: Instant) -> Result<()> {
    const AT_MOST: Duration = Duration::from_millis(50);
    while let Some(left) = time.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        thread::sleep(left.min(AT_MOST));
    }
    Ok(())
}

/// Says which errors there were.
fn tell(living: &Seen, victim: &Seen) {
    for (whose, seen) in [("living nodes", living), ("killed node", victim)] {
        for (error, count) in &seen.errors {
            eprintln!("  {whose}: {count} x {error}");
        }
    }
}

fn draw(
    timeline: &Timeline,
    contender: &Contender,
    settings: &Settings,
    path: &Path,
) -> Result<()> {
    let title = format!(
        "{}: {NODES} nodes, {:.0} requests/s (GET, SET, INCR, HSET), one node is killed and comes back",
        contender.label(),
        settings.timeline_rate
    );
    let write = |path: &Path, text: String| {
        fs::write(path, text).context(format!("writing {}", path.display()))
    };
    write(path, svg(timeline, &title))?;
    write(&path.with_extension("csv"), timeline.csv())
}

fn figures(timeline: &Timeline, length: Duration, lost: f64, other_percent: f64) -> Sample {
    let marks = timeline.marks;
    // The first steps hold the connecting.
    let before = timeline.living_between(marks.killed / 4, marks.killed);
    let dead = timeline.living_between(marks.killed, marks.started);
    let after = timeline.living_between(marks.killed, length);
    let errors = |steps: &[Step]| steps.iter().map(|step| step.errors).sum::<u64>() as f64;
    let longest = |steps: &[Step]| {
        let longest = steps.iter().map(|step| step.max).max();
        milliseconds(longest.unwrap_or_default())
    };
    let p99 = |steps: &[Step]| {
        let mut values: Vec<Duration> = steps.iter().map(|step| step.p99).collect();
        values.sort_unstable();
        milliseconds(values.get(values.len() / 2).copied().unwrap_or_default())
    };
    let rate = |steps: &[Step]| {
        let operations: u64 = steps.iter().map(|step| step.operations).sum();
        operations as f64 / (steps.len() as f64 * STEP.as_secs_f64())
    };
    vec![
        rate(before),
        rate(dead),
        errors(&timeline.living),
        longest(before),
        longest(after),
        p99(before),
        p99(after),
        errors(&timeline.killed),
        lost,
        marks
            .served
            .map_or(f64::NAN, |at| (at - marks.started).as_secs_f64()),
        other_percent,
    ]
}
