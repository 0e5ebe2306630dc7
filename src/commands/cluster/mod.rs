//! `CLUSTER` and its relatives: the cluster as clients of Redis Cluster know it. It changes by other means, so what
//! would change it is refused with words that tell which.

mod keys;
mod layout;
mod nodes;
mod ranges;
mod refusal;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use coterie_protocol::{NodeId, Slot};

use super::{CommandError, CommandResult, Control};
use crate::cluster_view::ClusterView;
use layout::Endpoints;

pub use table::COMMANDS;

const HELP: &[&str] = &[
    "COUNT-FAILURE-REPORTS <node-id>",
    "    Tell how many members suspect <node-id> of being dead.",
    "COUNTKEYSINSLOT <slot>",
    "    Tell how many keys of <slot> this node has, in the selected database.",
    "GETKEYSINSLOT <slot> <count>",
    "    List up to <count> of these keys.",
    "INFO",
    "    Tell the state of the cluster.",
    "KEYSLOT <key>",
    "    Tell the slot of <key>.",
    "LINKS",
    "    List the connections to other nodes.",
    "MYID",
    "    Tell the id of this node.",
    "NODES",
    "    List the members, a line each:",
    "    <id> <ip:port@cport,hostname> <flags> <master> <ping> <pong> <epoch> <link> <slot> ...",
    "REPLICAS <node-id>",
    "    List the members that hold slots which <node-id> is asked for first.",
    "SHARDS",
    "    List the groups of slots with the same replicas, and their nodes.",
    "SLOTS",
    "    List the ranges of slots and their nodes, the one to ask first first.",
];

fn view(call: &Control<'_, '_>) -> (ClusterView, Endpoints) {
    (ClusterView::of(call.node), Endpoints::of(call.session))
}

fn info(call: &mut Control<'_, '_>) -> CommandResult {
    let text = summary::text(&ClusterView::of(call.node));
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn nodes(call: &mut Control<'_, '_>) -> CommandResult {
    let (view, endpoints) = view(call);
    let text = nodes::lines(&view, endpoints);
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn slots(call: &mut Control<'_, '_>) -> CommandResult {
    let (view, endpoints) = view(call);
    ranges::write_slots(&view, endpoints, call.reply);
    Ok(())
}

fn shards(call: &mut Control<'_, '_>) -> CommandResult {
    let (view, endpoints) = view(call);
    ranges::write_shards(&view, endpoints, call.reply);
    Ok(())
}

fn my_id(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.bulk_display(ClusterView::of(call.node).own);
    Ok(())
}

fn key_slot(call: &mut Control<'_, '_>) -> CommandResult {
    let slot = Slot::of(call.request.arg(2));
    call.reply.integer(slot.number().into());
    Ok(())
}

/// The member that an argument names.
fn member(view: &ClusterView, word: &[u8]) -> Result<NodeId, CommandError> {
    let id = str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    let known = id.filter(|id| view.topology.members.contains_key(id));
    known.ok_or_else(|| CommandError::quoting("ERR Unknown node ", word, ""))
}

fn replicas(call: &mut Control<'_, '_>) -> CommandResult {
    let (view, endpoints) = view(call);
    let lines = nodes::replicas(&view, endpoints, member(&view, call.request.arg(2))?);
    call.reply.array(lines.len());
    for line in lines {
        call.reply.bulk(line.as_bytes());
    }
    Ok(())
}

fn count_failure_reports(call: &mut Control<'_, '_>) -> CommandResult {
    let view = ClusterView::of(call.node);
    let peer = view.peer(member(&view, call.request.arg(2))?);
    call.reply.integer(peer.suspicions as i64);
    Ok(())
}

/// The connections that this node opened; those it accepted carry the answers of others.
fn links(call: &mut Control<'_, '_>) -> CommandResult {
    let view = ClusterView::of(call.node);
    let connected = view.peers.iter().filter(|(_, peer)| peer.connected);
    let reply = &mut *call.reply;
    reply.array(connected.clone().count());
    for (id, peer) in connected {
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(b"to");
        reply.bulk(b"node");
        reply.bulk_display(id);
        reply.bulk(b"create-time");
        reply.integer(peer.connected_ms as i64);
        reply.bulk(b"events");
        reply.bulk(if peer.unsent_bytes > 0 { b"rw" } else { b"r" });
        reply.bulk(b"send-buffer-allocated");
        reply.integer(peer.buffer_bytes as i64);
        reply.bulk(b"send-buffer-used");
        reply.integer(peer.unsent_bytes as i64);
    }
    Ok(())
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    super::help::help(call.reply, "CLUSTER", HELP);
    Ok(())
}

fn read_only(call: &mut Control<'_, '_>) -> CommandResult {
    call.session.consistency.local_reads = true;
    call.reply.ok();
    Ok(())
}

fn read_write(call: &mut Control<'_, '_>) -> CommandResult {
    call.session.consistency.local_reads = false;
    call.reply.ok();
    Ok(())
}

/// No node answers with a redirection that asks for this; clients that send it anyway mean well.
fn asking(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.ok();
    Ok(())
}
