//! The checks that every command goes through before anything is done.

use coterie_protocol::{Request, RespVersion};

use super::acl;
use super::error::{CommandError, CommandResult};
use super::execute::Batch;
use super::spec::{CommandSpec, Flags};
use super::table::Command;
use super::transactions;
use crate::effect::Effect;
use crate::node::Node;
use crate::session::Session;

/// What a client may send that listens to channels, in RESP2.
const WHILE_LISTENING: [&str; 9] = [
    "subscribe",
    "unsubscribe",
    "psubscribe",
    "punsubscribe",
    "ssubscribe",
    "sunsubscribe",
    "ping",
    "quit",
    "reset",
];

/// The checks on a command that need nothing but session and settings.
pub(super) fn admit(
    node: &Node,
    session: &Session,
    command: &Command,
    request: Request<'_>,
) -> CommandResult {
    let spec = command.spec;
    if node.scripts.is_busy() && !spec.flags.contains(Flags::ALLOW_BUSY) {
        return Err(CommandError::line(
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        ));
    }
    if session.needs_password() && !spec.flags.contains(Flags::NO_AUTH) {
        return Err(CommandError::line("NOAUTH Authentication required."));
    }
    if session.queue.is_some() && spec.flags.contains(Flags::NO_MULTI) {
        return Err(CommandError::line(
            "ERR Command not allowed inside a transaction",
        ));
    }
    acl::admit(node, session, command, request)?;
    if session.is_subscriber()
        && session.resp == RespVersion::Resp2
        && !WHILE_LISTENING.contains(&spec.name)
    {
        return Err(CommandError::err(format_args!(
            "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            spec.name
        )));
    }
    if spec.flags.contains(Flags::INTERNAL) && !session.internal {
        return Err(CommandError::line(
            "ERR This command is only for the nodes of a cluster",
        ));
    }
    let keys = Flags::READONLY | Flags::WRITE | Flags::MAY_REPLICATE;
    if session.monitor && spec.flags.intersects(keys) {
        // Redis treats a monitor like a replica, and says so.
        return Err(CommandError::line(
            "ERR Replica can't interact with the keyspace",
        ));
    }
    Ok(())
}

/// Memory and log room, before anything is changed.
pub(super) fn check_resources(
    node: &Node,
    session: &Session,
    spec: &CommandSpec,
    request: Request<'_>,
    batch: &Batch,
) -> CommandResult {
    // A pause of writes keeps the data as it is, evictions included.
    let is_frozen = node.pause.holds(true, batch.moment.now_ms).is_some();
    if !is_frozen && let Some(settings) = node.eviction(&batch.config) {
        let evicted = node.evict(&settings, batch.moment);
        if evicted.is_err() && transactions::needs_memory(session, spec) {
            return Err(CommandError::line(
                "OOM command not allowed when used memory > 'maxmemory'.",
            ));
        }
    }
    if spec.flags.contains(Flags::WRITE) {
        let bytes = record_bytes(request);
        node.engine
            .log()
            .room(bytes)
            .map_err(|error| CommandError::NoRoom(error, bytes))?;
    }
    Ok(())
}

/// Upper bound of the record of a command whose effects hold nothing but its arguments.
pub(super) fn record_bytes(request: Request<'_>) -> usize {
    request
        .iter()
        .map(|argument| Effect::encoded_bytes_max(argument.len(), argument.len()))
        .sum()
}
