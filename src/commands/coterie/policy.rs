//! `COTERIE.POLICY`: how each database is replicated.

use coterie_protocol::text::{parse_i64, parse_u64};
use coterie_protocol::{DatabaseId, ReplyWriter};

use super::consistency::quorum;
use crate::cluster_view::{ClusterView, Proposal};
use crate::commands::{CommandError, CommandResult, Control, Deferred};
use crate::topology::Policy;
use crate::wal::Durability;

/// Most replicas a key can have.
const REPLICAS_MAX: u64 = 16;

const HELP: &[&str] = &[
    "GET <database>|DEFAULT",
    "    Tell how a database is replicated.",
    "SET <database>|DEFAULT <name> <value> [<name> <value> ...]",
    "    Change that, for the whole cluster, or for all databases of which nothing else is said: replicas (a number), write_quorum and read_quorum",
    "    (one, majority, all or a number), hinted_handoff and sloppy_quorum (yes or no), durability",
    "    (always, everysec, os, or default for what each server is set to).",
];

pub fn help(call: &mut Control<'_, '_>) -> CommandResult {
    super::super::help::help(call.reply, "COTERIE.POLICY", HELP);
    Ok(())
}

pub fn get(call: &mut Control<'_, '_>) -> CommandResult {
    let policy = of(call, database(call)?);
    call.reply.map(FIELDS);
    write_fields(&policy, call.reply);
    Ok(())
}

pub fn set(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let database = database(call)?;
    let words: Vec<&[u8]> = call.request.iter().skip(3).collect();
    let policy = changed(of(call, database), &words)?;
    let proposal = match database {
        Some(database) => Proposal::SetPolicy(database, policy),
        None => Proposal::SetDefaultPolicy(policy),
    };
    super::propose(call, proposal)
}

/// The policy of a database, or the default one.
fn of(call: &Control<'_, '_>, database: Option<DatabaseId>) -> Policy {
    let topology = ClusterView::of(call.node).topology;
    database.map_or(topology.default_policy, |database| {
        topology.policy(database)
    })
}

/// A policy after the changes that these words tell.
pub(super) fn changed(mut policy: Policy, words: &[&[u8]]) -> Result<Policy, CommandError> {
    let (pairs, []) = words.as_chunks::<2>() else {
        return Err(CommandError::Syntax);
    };
    for [name, value] in pairs {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match name.replace('-', "_").as_str() {
            "replicas" => policy.replicas = replicas(value)?,
            "write_quorum" => policy.write_quorum = quorum(value)?,
            "read_quorum" => policy.read_quorum = quorum(value)?,
            "hinted_handoff" => policy.hinted_handoff = switch(value)?,
            "sloppy_quorum" => policy.sloppy_quorum = switch(value)?,
            "durability" => policy.durability = durability(value)?,
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(policy)
}

fn replicas(value: &[u8]) -> Result<u8, CommandError> {
    let number = parse_u64(value).filter(|number| (1..=REPLICAS_MAX).contains(number));
    number
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| {
            CommandError::err(format_args!(
                "replicas is a number from 1 to {REPLICAS_MAX}"
            ))
        })
}

fn durability(value: &[u8]) -> Result<Option<Durability>, CommandError> {
    let word = value.to_ascii_lowercase();
    let named = |durability: &Durability| durability.name().as_bytes() == word;
    match Durability::ALL.iter().find(|durability| named(durability)) {
        None if word != b"default" => Err(CommandError::line(
            "ERR durability is one of always, everysec, os, default",
        )),
        found => Ok(found.copied()),
    }
}

fn switch(value: &[u8]) -> Result<bool, CommandError> {
    match value.to_ascii_lowercase().as_slice() {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err(CommandError::line("ERR argument must be 'yes' or 'no'")),
    }
}

/// The database that a command is about; `None` for all of which nothing else is said.
fn database(call: &Control<'_, '_>) -> Result<Option<DatabaseId>, CommandError> {
    if call.request.arg(2).eq_ignore_ascii_case(b"default") {
        return Ok(None);
    }
    let number = parse_i64(call.request.arg(2)).ok_or(CommandError::NotInteger)?;
    u16::try_from(number)
        .ok()
        .filter(|number| u32::from(*number) < call.node.engine.store().databases())
        .map(|number| Some(DatabaseId(number)))
        .ok_or(CommandError::DatabaseOutOfRange)
}

/// How many pairs [`write_fields`] writes.
pub(super) const FIELDS: usize = 6;

/// Writes what a policy says, as names and values.
pub(super) fn write_fields(policy: &Policy, reply: &mut ReplyWriter<'_>) {
    reply.bulk(b"replicas");
    reply.integer(policy.replicas.into());
    reply.bulk(b"write_quorum");
    reply.bulk_display(policy.write_quorum);
    reply.bulk(b"read_quorum");
    reply.bulk_display(policy.read_quorum);
    reply.bulk(b"hinted_handoff");
    reply.bulk(super::yes_or_no(policy.hinted_handoff).as_bytes());
    reply.bulk(b"sloppy_quorum");
    reply.bulk(super::yes_or_no(policy.sloppy_quorum).as_bytes());
    reply.bulk(b"durability");
    let durability = policy.durability.map_or("default", Durability::name);
    reply.bulk(durability.as_bytes());
}
