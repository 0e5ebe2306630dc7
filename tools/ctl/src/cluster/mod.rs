//! `coterie-ctl cluster`: what a cluster looks like.

pub mod node;
mod progress;
mod table;
pub mod topology;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

use crate::Error;
use crate::client::{Client, Target};
use table::Table;
use topology::{Topology, text};

/// Digits of an id that are shown, and that tell nodes apart.
const ID_DIGITS: usize = 8;
/// Slots of all partitions together.
const SLOTS: usize = 16_384;

#[derive(Subcommand)]
pub enum Command {
    /// Tells how the cluster is; exit code 2 if part of it can't be written
    Status(#[command(flatten)] Target),
    /// Lists the members
    Nodes(#[command(flatten)] Target),
    /// Lists the partitions and who holds them
    Partitions(#[command(flatten)] Target),
}

pub fn run(command: Command, output: &mut dyn Write) -> Result<ExitCode, Error> {
    match command {
        Command::Status(target) => status(&mut Client::connect(&target)?, output),
        Command::Nodes(target) => {
            let topology = Topology::ask(&mut Client::connect(&target)?)?;
            nodes(&topology).write(output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Partitions(target) => {
            let topology = Topology::ask(&mut Client::connect(&target)?)?;
            partitions(&topology).write(output)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn status(client: &mut Client, output: &mut dyn Write) -> Result<ExitCode, Error> {
    let topology = Topology::ask(client)?;
    let info = client.call(&["CLUSTER", "INFO"])?;
    let info = text(&info).ok_or_else(|| client.unexpected())?;
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let is_ok = field("cluster_state") == Some("ok");
    let failed = field("cluster_slots_fail").unwrap_or("?");
    let state = match is_ok {
        true => "ok".to_owned(),
        false => format!("{failed} of {SLOTS} slots can't be written"),
    };
    let not_up = topology.members.iter().filter(|it| it.liveness != "up");
    let leader = topology.leader.as_deref().map_or("unknown", short);
    let mut table = Table::default();
    table.row([String::from("cluster"), topology.cluster.clone()]);
    table.row(["state".into(), state]);
    let (nodes, not_up) = (topology.members.len(), not_up.count());
    table.row(["nodes".into(), format!("{nodes}, {not_up} not up")]);
    let (partitions, moving) = (topology.partitions.len(), topology.moves.len());
    table.row([
        "partitions".into(),
        format!("{partitions}, {moving} moving"),
    ]);
    table.row(["epoch".into(), topology.epoch.to_string()]);
    let agreement = if topology.has_quorum {
        "possible"
    } else {
        "no quorum: the topology can't change"
    };
    table.row(["agreement".into(), format!("{agreement}, leader {leader}")]);
    table.write(output)?;
    Ok(if is_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn nodes(topology: &Topology) -> Table {
    let mut table = Table::default();
    table.row(
        [
            "ID", "ADDRESS", "ZONE", "WEIGHT", "STATE", "LIVENESS", "FIRST", "HOLDS", "",
        ]
        .map(str::to_owned),
    );
    for (index, member) in topology.members.iter().enumerate() {
        let index = index as i64;
        let first = topology.partitions.iter();
        let first = first.filter(|holders| holders.first() == Some(&index));
        let is_leader = topology.leader.as_ref() == Some(&member.id);
        table.row([
            short(&member.id).to_owned(),
            member.address.clone(),
            dash_if_empty(&member.zone),
            member.weight.to_string(),
            member.state.clone(),
            member.liveness.clone(),
            first.count().to_string(),
            topology.held_by(&member.id).to_string(),
            if is_leader { "leader" } else { "" }.to_owned(),
        ]);
    }
    table
}

/// Neighbours that have the same holders and the same way to go are one row.
fn partitions(topology: &Topology) -> Table {
    let slots_each = SLOTS / topology.partitions.len().max(1);
    let moves = |partition: usize| {
        let mut moves = topology.moves.iter();
        moves.find(|it| it.partition == partition as i64)
    };
    let name = |index: &i64| {
        let member = usize::try_from(*index)
            .ok()
            .and_then(|it| topology.members.get(it));
        member.map_or("?", |member| short(&member.id)).to_owned()
    };
    let names = |ids: &[i64]| ids.iter().map(name).collect::<Vec<_>>().join(" ");
    let look = |partition: usize| {
        let change = moves(partition);
        let change = change.map(|it| format!("to {} ({})", names(&it.to), it.step));
        (
            names(&topology.partitions[partition]),
            change.unwrap_or_default(),
        )
    };
    let range = |first: usize, last: usize| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let mut table = Table::default();
    table.row(["PARTITIONS", "SLOTS", "REPLICAS", "MOVE"].map(str::to_owned));
    let all: Vec<_> = (0..topology.partitions.len()).map(look).collect();
    let mut first = 0;
    for run in all.chunk_by(|left, right| left == right) {
        let last = first + run.len() - 1;
        let (replicas, change) = &run[0];
        table.row([
            range(first, last),
            range(first * slots_each, (last + 1) * slots_each - 1),
            replicas.clone(),
            change.clone(),
        ]);
        first = last + 1;
    }
    table
}

/// The beginning of an id.
fn short(id: &str) -> &str {
    id.get(..ID_DIGITS).unwrap_or(id)
}

fn dash_if_empty(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn partitions_with_the_same_replicas_are_one_row() {
        let expected = "\
PARTITIONS  SLOTS        REPLICAS           MOVE
0-1         0-8191       aaaaaaaa bbbbbbbb
2           8192-12287   bbbbbbbb cccccccc
3           12288-16383  aaaaaaaa cccccccc  to bbbbbbbb cccccccc (write-both-read-old)
";
        assert_eq!(written(&partitions(&topology::tests::topology())), expected);
    }

    #[test]
    fn nodes_tell_what_they_hold() {
        let text = written(&nodes(&topology::tests::topology()));
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|it| it.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            [
                "aaaaaaaa",
                "127.0.0.1:7001",
                "-",
                "100",
                "normal",
                "up",
                "3",
                "3"
            ]
        );
        assert_eq!(lines[2][6..], ["1", "4", "leader"]);
    }
}
