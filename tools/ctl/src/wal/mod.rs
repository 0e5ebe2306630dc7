//! `coterie-ctl wal`: the log and the checkpoints of a node that is on this machine.

mod check;
mod dump;
mod repair;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use coterie::wal::LogOffset;
use coterie::wal::checkpoint::{Checkpoint, CheckpointError};

use crate::Error;

#[derive(Subcommand)]
pub enum Command {
    /// Verifies all segments and checkpoints; exit code 1 if something is damaged
    Check(check::Arguments),
    /// Prints the records of the log, one a line
    Dump(dump::Arguments),
    /// Cuts a damaged log at its first bad record; what is cut is kept in .removed files
    Repair(repair::Arguments),
}

pub fn run(command: Command, output: &mut dyn Write) -> Result<ExitCode, Error> {
    match command {
        Command::Check(arguments) => check::run(&arguments, output),
        Command::Dump(arguments) => dump::run(&arguments, output),
        Command::Repair(arguments) => repair::run(&arguments, output),
    }
}

/// Where replay would start: what the newest checkpoint says, or the beginning.
fn replay_start(directory: &Path) -> Result<LogOffset, CheckpointError> {
    match Checkpoint::list(directory)?.last() {
        Some(path) => Ok(Checkpoint::open(path)?.log_start()),
        None => Ok(LogOffset::ZERO),
    }
}
