//! `coterie-ctl node`: takes nodes out of a cluster, and follows what that moves.

use std::io::Write;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::progress::Progress;
use super::topology::Topology;
use crate::Error;
use crate::client::{Client, ClientError, Target};

/// Time from one look at the topology to the next.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a node may not answer before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub enum Command {
    /// Moves the partitions of a node elsewhere, so that it can be stopped
    Drain {
        /// The node's id, or its first digits
        node: String,
        #[command(flatten)]
        options: Options,
    },
    /// Takes a node out of the cluster that is drained, or gone for good
    Remove {
        /// The node's id, or its first digits
        node: String,
        #[command(flatten)]
        options: Options,
    },
    /// Gives the partitions of a node to another member, which takes its place
    Replace {
        /// The id of the node that goes, or its first digits
        old: String,
        /// The id of the node that takes over, or its first digits
        new: String,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Return as soon as the change is agreed on, without following the move
    #[arg(long)]
    no_wait: bool,
}

/// What is to become of the node that goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// It holds nothing.
    Empty,
    /// It holds nothing and is no member.
    Gone,
}

pub fn run(command: Command, output: &mut dyn Write) -> Result<ExitCode, Error> {
    match command {
        Command::Drain { node, options } => {
            change(&options, "DRAIN", &node, None, Aim::Empty, output)
        }
        Command::Remove { node, options } => {
            change(&options, "REMOVE", &node, None, Aim::Gone, output)
        }
        Command::Replace { old, new, options } => {
            let replaced = change(&options, "REPLACE", &old, Some(&new), Aim::Empty, output)?;
            if options.no_wait || replaced != ExitCode::SUCCESS {
                return Ok(replaced);
            }
            change(&options, "REMOVE", &old, None, Aim::Gone, output)
        }
    }
}

fn change(
    options: &Options,
    subcommand: &str,
    node: &str,
    other: Option<&str>,
    aim: Aim,
    output: &mut dyn Write,
) -> Result<ExitCode, Error> {
    let mut client = Client::connect(&options.target)?;
    let before = Topology::ask(&mut client)?;
    let index = before.find(node).ok_or_else(|| {
        ClientError::Refused(format!(
            "no member's id, or more than one, begins with '{node}'"
        ))
    })?;
    let id = before.members[index].id.clone();
    let mut words = vec!["COTERIE.NODE", subcommand, &id];
    words.extend(other);
    client.call(&words)?;
    if options.no_wait {
        writeln!(
            output,
            "agreed; coterie-ctl cluster status shows how far it is"
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    follow(&options.target, client, &id, before.held_by(&id), aim)?;
    match aim {
        Aim::Empty => writeln!(output, "{id} holds no partitions any more")?,
        Aim::Gone => writeln!(output, "{id} is no member any more")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how a node's partitions become fewer until the aim is reached. A node that does not answer for a while
/// is asked again.
fn follow(
    target: &Target,
    client: Client,
    id: &str,
    total: usize,
    aim: Aim,
) -> Result<(), ClientError> {
    let mut progress = Progress::new();
    let mut client = Some(client);
    let mut answered = Instant::now();
    loop {
        let asked = match client.take() {
            Some(client) => Ok(client),
            None => Client::connect(target),
        };
        let asked = asked.and_then(|mut asked| {
            let topology = Topology::ask(&mut asked)?;
            client = Some(asked);
            Ok(topology)
        });
        match asked {
            Ok(topology) => {
                answered = Instant::now();
                let left = topology.held_by(id);
                progress.show(total.saturating_sub(left), total);
                if is_reached(&topology, id, aim) {
                    progress.end();
                    return Ok(());
                }
            }
            Err(error) if error.is_passing() && answered.elapsed() < PATIENCE => {}
            Err(error) => {
                progress.end();
                return Err(error);
            }
        }
        sleep(INTERVAL);
    }
}

fn is_reached(topology: &Topology, id: &str, aim: Aim) -> bool {
    let is_member = topology.members.iter().any(|member| member.id == id);
    topology.held_by(id) == 0 && (aim == Aim::Empty || !is_member)
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::topology;
    use super::*;

    #[test]
    fn a_node_is_drained_when_it_holds_nothing_and_removed_when_it_is_gone() {
        let id = "a".repeat(40);
        let mut now = topology();
        assert!(!is_reached(&now, &id, Aim::Empty));
        now.moves.clear();
        now.partitions = vec![vec![1, 2]; 4];
        assert!(is_reached(&now, &id, Aim::Empty));
        assert!(!is_reached(&now, &id, Aim::Gone));
        now.members.remove(0);
        now.partitions = vec![vec![0, 1]; 4];
        assert!(is_reached(&now, &id, Aim::Gone));
    }
}
