//! Operates and inspects Coterie nodes.

mod client;
mod cluster;
mod local;
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
    /// Tells what a cluster looks like
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Takes nodes out of a cluster
    #[command(subcommand)]
    Node(cluster::node::Command),
    /// Runs a cluster of several processes on this machine, until Ctrl-C
    Local(local::Arguments),
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
    #[error(transparent)]
    Client(#[from] client::ClientError),
    #[error(transparent)]
    Local(#[from] local::LocalError),
    #[error("writing the output: {0}")]
    Output(#[from] io::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = io::BufWriter::new(io::stdout().lock());
    let result = match arguments.command {
        Command::Cluster(command) => cluster::run(command, &mut output),
        Command::Node(command) => cluster::node::run(command, &mut output),
        Command::Local(arguments) => local::run(&arguments, &mut output),
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
