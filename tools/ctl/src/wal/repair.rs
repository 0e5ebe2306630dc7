//! `coterie-ctl wal repair`: gives up the damaged end of a log.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use coterie::wal::{inspect, repair};

use super::replay_start;
use crate::Error;

#[derive(clap::Args)]
pub struct Arguments {
    /// The data directory of the node, which must not be running
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Do it; without this, only say what is wrong
    #[arg(long)]
    yes: bool,
}

pub fn run(arguments: &Arguments, output: &mut dyn Write) -> Result<ExitCode, Error> {
    let directory = &arguments.directory;
    let start = replay_start(directory)?;
    if arguments.yes {
        let steps = repair(directory, start)?;
        for step in &steps {
            writeln!(output, "{step}")?;
        }
        if steps.is_empty() {
            writeln!(output, "the log needs no repair")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    match inspect(directory, start)?.end {
        Ok(end) => {
            writeln!(output, "the log needs no repair; it ends at {end}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            writeln!(output, "{error}")?;
            writeln!(
                output,
                "with --yes, the log is cut at the first bad record; everything from there on is \
                 moved to files that end in .removed. In a cluster, replacing this node's data \
                 from its peers loses less"
            )?;
            Ok(ExitCode::FAILURE)
        }
    }
}
