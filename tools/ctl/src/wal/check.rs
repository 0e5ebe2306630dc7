//! `coterie-ctl wal check`: is everything readable that the node would need?

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use coterie::wal::checkpoint::{Checkpoint, CheckpointError};
use coterie::wal::{Inspection, LogOffset, inspect};

use crate::Error;

#[derive(clap::Args)]
pub struct Arguments {
    /// The data directory of the node, which may be running
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(arguments: &Arguments, output: &mut dyn Write) -> Result<ExitCode, Error> {
    let directory = &arguments.directory;
    let mut problems = 0;
    let start = checkpoints(directory, output, &mut problems)?;
    let inspection = inspect(directory, start)?;
    log(&inspection, start, output, &mut problems)?;
    if problems == 0 {
        writeln!(output, "no damage found")?;
        return Ok(ExitCode::SUCCESS);
    }
    if inspection.in_use {
        writeln!(
            output,
            "the log is in use and changes while it is read: check again to be sure"
        )?;
    }
    writeln!(output, "damaged: {problems}")?;
    Ok(ExitCode::FAILURE)
}

/// Verifies the checkpoints. Returns where replay starts by the newest sound one.
fn checkpoints(
    directory: &Path,
    output: &mut dyn Write,
    problems: &mut u32,
) -> Result<LogOffset, Error> {
    let mut start = LogOffset::ZERO;
    for path in Checkpoint::list(directory)? {
        match verify(&path) {
            Ok((checkpoint, blocks)) => {
                start = checkpoint.log_start();
                writeln!(
                    output,
                    "{}: {} bytes, {} partitions, {blocks} blocks, log from {start}",
                    path.display(),
                    checkpoint.size(),
                    checkpoint.partitions().count(),
                )?;
            }
            Err(error) => {
                *problems += 1;
                writeln!(output, "DAMAGED {error}")?;
            }
        }
    }
    Ok(start)
}

fn verify(path: &Path) -> Result<(Checkpoint, u64), CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    let blocks = checkpoint.verify()?;
    Ok((checkpoint, blocks))
}

fn log(
    inspection: &Inspection,
    start: LogOffset,
    output: &mut dyn Write,
    problems: &mut u32,
) -> Result<(), Error> {
    let in_use = if inspection.in_use { ", in use" } else { "" };
    writeln!(
        output,
        "log {:032x}{in_use}, replay from {start}",
        inspection.log_id
    )?;
    for path in &inspection.older {
        writeln!(output, "{}: no longer needed, not read", path.display())?;
    }
    for segment in &inspection.segments {
        writeln!(
            output,
            "{}: {} records, {} payload bytes, up to {}{}",
            segment.path().display(),
            segment.record_count(),
            segment.payload_bytes(),
            segment.end(),
            if segment.is_sealed() { ", sealed" } else { "" },
        )?;
    }
    for path in &inspection.prepared {
        writeln!(output, "{}: prepared for use", path.display())?;
    }
    if let Some(torn) = &inspection.torn_tail {
        writeln!(output, "torn tail, to be cut at the next start: {torn}")?;
    }
    match &inspection.end {
        Ok(end) => {
            let segments = inspection.segments.iter();
            let records: u64 = segments.map(|segment| segment.record_count()).sum();
            writeln!(output, "{records} records, the log ends at {end}")?;
        }
        Err(error) => {
            *problems += 1;
            writeln!(output, "DAMAGED {error}")?;
        }
    }
    Ok(())
}
