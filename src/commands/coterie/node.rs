//! `COTERIE.NODE`: the members of the cluster.

use coterie_protocol::NodeId;

use super::topology::write_members;
use crate::cluster_view::{ClusterView, Proposal};
use crate::commands::{CommandError, CommandResult, Control, Deferred};

/// Digits that an abbreviated id has at least.
const PREFIX_MIN: usize = 4;

const HELP: &[&str] = &[
    "DRAIN <node-id>",
    "    Move the partitions of a node elsewhere.",
    "LIST",
    "    List the members.",
    "REMOVE <node-id>",
    "    Take a node out of the cluster that is drained, or gone for good.",
    "REPLACE <old-node-id> <new-node-id>",
    "    Give the partitions of a node to another member, which takes its place.",
    "An id can be abbreviated to its first digits, four at least.",
];

pub fn help(call: &mut Control<'_, '_>) -> CommandResult {
    super::super::help::help(call.reply, "COTERIE.NODE", HELP);
    Ok(())
}

pub fn list(call: &mut Control<'_, '_>) -> CommandResult {
    write_members(&ClusterView::of(call.node), call.reply);
    Ok(())
}

pub fn drain(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let id = member(&ClusterView::of(call.node), call.request.arg(2))?;
    super::propose(call, Proposal::Drain(id))
}

pub fn remove(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let id = member(&ClusterView::of(call.node), call.request.arg(2))?;
    super::propose(call, Proposal::Remove(id))
}

pub fn replace(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let view = ClusterView::of(call.node);
    let old = member(&view, call.request.arg(2))?;
    let new = member(&view, call.request.arg(3))?;
    if old == new {
        return Err(CommandError::err("A node can't replace itself"));
    }
    super::propose(call, Proposal::Replace { old, new })
}

/// The member whose id begins like this.
pub(super) fn member(view: &ClusterView, word: &[u8]) -> Result<NodeId, CommandError> {
    let unknown = || CommandError::quoting("ERR Unknown node ", word, "");
    let prefix = str::from_utf8(word).map_err(|_| unknown())?;
    let prefix = prefix.to_ascii_lowercase();
    if prefix.len() < PREFIX_MIN {
        return Err(unknown());
    }
    let members = view.topology.members.keys();
    let mut found = members.filter(|id| id.to_string().starts_with(&prefix));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(*id),
        (Some(_), Some(_)) => Err(CommandError::quoting(
            "ERR More than one node's id begins with ",
            word,
            "",
        )),
        (None, _) => Err(unknown()),
    }
}
