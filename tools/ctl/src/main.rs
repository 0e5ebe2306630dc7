//! Operates and inspects Coterie nodes.

mod wal;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Operates and inspects Coterie nodes.
#[derive(Parser)]
#[command(name = "coterie-ctl", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Looks into the log and the checkpoints of a node, and repairs the log
    #[command(subcommand)]
    Wal(wal::Command),
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Log(#[from] coterie::wal::OpenError),
    #[error(transparent)]
    Checkpoint(#[from] coterie::wal::checkpoint::CheckpointError),
    #[error("writing the output: {0}")]
    Output(#[from] io::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = io::BufWriter::new(io::stdout().lock());
    let result = match arguments.command {
        Command::Wal(command) => wal::run(command, &mut output),
    };
    let result = result.and_then(|code| {
        io::Write::flush(&mut output)?;
        Ok(code)
    });
    match result {
        Ok(code) => code,
        // The reader has seen enough, as in `… | head`.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // What was found so far is worth seeing even if the pipe is gone by now.
            let _ = io::Write::flush(&mut output);
            eprintln!("coterie-ctl: {error}");
            ExitCode::FAILURE
        }
    }
}
