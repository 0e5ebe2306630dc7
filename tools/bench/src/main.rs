//! `coterie-bench`: Coterie and redis-server side by side on the same processor core, under the
//! same load, in the same minutes.

mod cases;
mod control;
mod error;
mod generator;
mod group;
mod interrupt;
mod listeners;
mod proc;
mod report;
mod resp;
mod server;
mod sockets;
mod timeline;
mod workload;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::{
    cases::Settings,
    error::{Context, Result},
    report::combined,
    server::{Launcher, Product},
};

/// Compare Coterie with redis-server: throughput, latency, CPU per operation, memory, restart,
/// checkpoints. Starts both servers on free ports of 127.0.0.1 and removes their data at the end.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Coterie's server binary [default: `coterie` next to this program].
    #[arg(long, value_name = "PATH")]
    coterie: Option<PathBuf>,
    /// redis-server's binary.
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    redis_server: PathBuf,
    /// A further argument for Coterie (repeat as needed).
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    coterie_arg: Vec<OsString>,
    /// Run only this case (repeat as needed; --list shows the names).
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Show the cases and end.
    #[arg(long)]
    list: bool,
    /// Rounds of each case; the figures are medians over them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Length of each measured run [default: 4; with --quick 0.5].
    #[arg(long)]
    seconds: Option<f64>,
    /// Keys in the cases memory, restart and checkpoint [default: 1000000; with --quick 50000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..1_000_000_000))]
    keys: Option<u64>,
    /// Short runs and few keys: shows that everything works; the figures say little.
    #[arg(long)]
    quick: bool,
    /// Measure a disturbed round again, at most twice, and take the least disturbed: when other
    /// processes used more than this percentage of one processor.
    #[arg(long, value_name = "PERCENT")]
    max_other: Option<f64>,
    /// Processors for the servers, e.g. 0 or 0,1 (Coterie gets as many threads).
    #[arg(long, value_delimiter = ',', default_value = "0")]
    server_cpu: Vec<usize>,
    /// Processors for the load generator.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    client_cpu: Vec<usize>,
    /// Leave the choice of processors to the kernel.
    #[arg(long)]
    no_pin: bool,
    /// Where the servers' data directories are made [default: the directory for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the figures as Markdown tables at the end.
    #[arg(long)]
    markdown: bool,
    /// Requests per second in the case timeline, over all its clients.
    #[arg(long, value_name = "NUMBER", default_value_t = 6000.0, value_parser = rate)]
    timeline_rate: f64,
    /// Where the case timeline draws its picture (SVG), with its figures beside it (CSV); of several
    /// rounds, the last.
    #[arg(long, value_name = "PATH")]
    picture: Option<PathBuf>,
    /// What is compared with redis-server.
    #[arg(long, value_enum, default_value = "coterie", hide = true)]
    subject: Subject,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    Coterie,
    Redis,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a number from 1 to 1000000 is needed".into()),
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("coterie-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let cases = cases::select(&args.cases)?;
    if args.list {
        for case in &cases {
            println!("{:<20} {}", case.name, case.description);
        }
        return Ok(());
    }
    interrupt::install()?;
    let settings = settings(args)?;
    let facts = facts(args, &settings)?;
    for (name, value) in &facts {
        println!("{name}: {value}");
    }
    let pinned = (!args.no_pin).then_some(&*args.client_cpu);
    let outcomes = proc::on_cpus(pinned, || {
        let mut outcomes = Vec::new();
        for case in &cases {
            let outcome = case.run(&settings)?;
            println!(
                "\n{}: {}\n{}",
                case.name,
                case.description,
                outcome.table().to_text()
            );
            outcomes.push(outcome);
        }
        Ok(outcomes)
    })??;
    if args.markdown {
        println!();
        for (name, value) in &facts {
            println!("- {name}: {value}");
        }
        for outcome in &outcomes {
            println!("- `{}`: {}", outcome.case, outcome.description);
        }
        for table in combined(&outcomes) {
            println!("\n{}", table.to_markdown().trim_end());
        }
    }
    Ok(())
}

fn settings(args: &Args) -> Result<Settings> {
    let beside = || {
        let own = std::env::current_exe().context("finding this program")?;
        Ok(own.with_file_name("coterie"))
    };
    Ok(Settings {
        launcher: Launcher {
            redis: args.redis_server.clone(),
            coterie: args.coterie.clone().map_or_else(beside, Ok)?,
            coterie_args: args.coterie_arg.clone(),
            cpus: (!args.no_pin).then(|| args.server_cpu.clone()),
            data: args.dir.clone().unwrap_or_else(std::env::temp_dir),
        },
        subject: match args.subject {
            Subject::Coterie => Product::Coterie,
            Subject::Redis => Product::Redis,
        },
        rounds: args.rounds.into(),
        seconds: args.seconds.unwrap_or(if args.quick { 0.5 } else { 4.0 }),
        max_other: args.max_other,
        many_keys: args
            .keys
            .unwrap_or(if args.quick { 50_000 } else { 1_000_000 }),
        timeline_rate: args.timeline_rate,
        picture: args.picture.clone(),
    })
}

/// The machine, the versions and the conditions that the figures depend on.
fn facts(args: &Args, settings: &Settings) -> Result<Vec<(String, String)>> {
    let launcher = &settings.launcher;
    let mut facts = proc::machine_facts();
    facts.push(("redis-server".into(), launcher.version(Product::Redis)?));
    if settings.subject == Product::Coterie {
        facts.push(("coterie".into(), launcher.version(Product::Coterie)?));
    }
    let cpus = match args.no_pin {
        true => "chosen by the kernel".to_owned(),
        false => format!(
            "servers {:?}, load generator {:?}",
            args.server_cpu, args.client_cpu
        ),
    };
    facts.push(("processors".into(), cpus));
    let (rounds, seconds, keys) = (settings.rounds, settings.seconds, settings.many_keys);
    let runs = format!(
        "median of {rounds} interleaved rounds of {seconds} s; {keys} keys in the cases memory, restart and checkpoint"
    );
    facts.push(("runs".into(), runs));
    Ok(facts)
}
