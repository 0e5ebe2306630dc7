//! What Redis Cluster's operators do by hand and this cluster does otherwise: an error that tells how.

use crate::commands::{CommandError, CommandResult, Control};

/// The words for a subcommand.
pub fn words(subcommand: &str) -> &'static str {
    match subcommand {
        "meet" => "a node joins when it is started with --join HOST:PORT of any member",
        "addslots" | "addslotsrange" | "delslots" | "delslotsrange" | "flushslots" | "setslot" => {
            "slots are assigned by agreement, from the weight and zone of each node; see COTERIE.NODE and coterie-ctl cluster partitions"
        }
        "replicate" => {
            "every node holds replicas of partitions, by the policy of each database; see COTERIE.POLICY"
        }
        "failover" => {
            "any replica takes writes, so there is nothing to fail over; COTERIE.NODE DRAIN empties a node before maintenance"
        }
        "forget" => "COTERIE.NODE REMOVE takes a node out of the cluster",
        "reset" => {
            "COTERIE.NODE DRAIN and REMOVE take a node out of the cluster; it can join one again with an empty directory"
        }
        "set-config-epoch" | "bumpepoch" => {
            "epochs count the agreed changes of the topology; see COTERIE.TOPOLOGY"
        }
        // What is left is `saveconfig`.
        _ => "every node keeps the agreed topology in its data directory on its own",
    }
}

/// Answers any of them.
pub fn refuse(call: &mut Control<'_, '_>) -> CommandResult {
    let word = call.request.arg(1).to_ascii_lowercase();
    let subcommand = String::from_utf8_lossy(&word);
    Err(CommandError::err(format_args!(
        "CLUSTER {} is not how this cluster is run: {}",
        subcommand.to_ascii_uppercase(),
        words(&subcommand)
    )))
}
