//! `COTERIE.…`: what this server has beyond Redis: consistency and policies, the members, the topology.

mod consistency;
mod node;
mod policy;
mod table;
#[cfg(test)]
mod tests;
mod topology;

use coterie_protocol::{ReplyWriter, RespVersion};

use super::{CommandError, CommandResult, Control, Deferred};
use crate::cluster_view::{Proposal, ProposalError};

pub use table::COMMANDS;

const HELP: &[&str] = &[
    "COTERIE.CONSISTENCY [READ <quorum>] [WRITE <quorum>]",
    "    Choose how many replicas the requests of this connection wait for: one, majority,",
    "    all, or a number. Without arguments, tell what is chosen.",
    "COTERIE.CONSISTENCY DEFAULT",
    "    Go back to the policy of each database.",
    "COTERIE.NODE HELP",
    "    Explain how to see and change the members.",
    "COTERIE.POLICY HELP",
    "    Explain how to see and change how a database is replicated.",
    "COTERIE.TOPOLOGY",
    "    Tell who holds which partition, and what moves, for programs.",
];

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    super::help::help(call.reply, "COTERIE", HELP);
    Ok(())
}

/// Proposes a change. The answer tells the epoch in which it was agreed on.
fn propose(call: &Control<'_, '_>, change: Proposal) -> Result<Deferred, CommandError> {
    let resp = call.session.resp;
    let cluster = call.node.cluster.get().ok_or_else(|| {
        CommandError::err("This node is no part of a cluster; its settings hold its policy")
    })?;
    let agreed = cluster.propose(change);
    Ok(Box::pin(async move {
        let answer = agreed.await.map(|epoch| epoch.0);
        encode(resp, &answer)
    }))
}

fn encode(resp: RespVersion, answer: &Result<u64, ProposalError>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, resp);
    match answer {
        Ok(epoch) => reply.integer(*epoch as i64),
        Err(error) => reply.error_display(error),
    }
    out
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
