//! Transactions: `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`.

mod cluster;
mod exec;
mod queue;
mod table;

use std::sync::Arc;

use coterie_protocol::{ReplyWriter, Request};

use super::call::{Control, Deferred};
use super::error::{CommandError, CommandResult};
use super::execute::Batch;
use super::spec::{CommandSpec, Flags};
use super::table::Command;
use super::unit::Opening;
use crate::engine::Scope;
use crate::node::Node;
use crate::session::Session;

pub use cluster::{SEEN, UNIT, is_watching};
pub use queue::{Queue, Watched};
pub use table::COMMANDS;

use queue::Seen;

/// Said of `EXEC` after a command that was refused.
const ABORTED: CommandError =
    CommandError::line("EXECABORT Transaction discarded because of previous errors.");

/// Whether a command is queued, rather than executed.
pub fn is_queued(session: &Session, spec: &CommandSpec) -> bool {
    session.queue.is_some()
        && !matches!(
            spec.name,
            "multi" | "exec" | "discard" | "watch" | "quit" | "reset"
        )
}

/// The flags of what a command executes: those of the queued commands for `EXEC`.
pub fn flags(session: &Session, spec: &CommandSpec) -> Flags {
    match &session.queue {
        Some(queue) if spec.name == "exec" => spec.flags.union(queue.flags()),
        _ => spec.flags,
    }
}

/// Whether a command is refused when memory is over its limit. Queueing takes memory, whatever the command.
pub fn needs_memory(session: &Session, spec: &CommandSpec) -> bool {
    flags(session, spec).contains(Flags::DENYOOM)
        || session.queue.is_some() && !matches!(spec.name, "exec" | "discard" | "quit" | "reset")
}

/// Queues a command, and answers so.
///
/// # Errors
/// It can't be part of this transaction.
pub fn enqueue(
    node: &Node,
    session: &mut Session,
    command: &'static Command,
    request: Request<'_>,
    out: &mut Vec<u8>,
    batch: &Batch,
) -> CommandResult {
    let resp = session.resp;
    // It is shared only while it is executed.
    if batch.routes.is_some()
        && let Some(queue) = &session.queue
    {
        let partition = cluster::check(node, session, queue, command.spec, request)?;
        if let Some(queue) = session.queue.as_mut().and_then(Arc::get_mut) {
            queue.partition = partition;
        }
    }
    if let Some(queue) = session.queue.as_mut().and_then(Arc::get_mut) {
        queue.push(command, request);
    }
    ReplyWriter::new(out, resp).simple("QUEUED");
    Ok(())
}

/// A command was refused. What is said of it, in place of the error.
pub fn refused(
    session: &mut Session,
    spec: Option<&CommandSpec>,
    error: &CommandError,
) -> Option<CommandError> {
    if spec.is_some_and(|spec| spec.name == "exec") {
        session.end_transaction();
        let line = error.to_line();
        let line = line.strip_prefix(b"ERR ").unwrap_or(&line);
        let before = b"EXECABORT Transaction discarded because of: ";
        return Some(CommandError::Bytes([before.as_slice(), line].concat()));
    }
    if let Some(queue) = session.queue.as_mut().and_then(Arc::get_mut) {
        queue.failed = true;
    }
    None
}

fn multi(call: &mut Control<'_, '_>) -> CommandResult {
    if call.session.queue.is_some() {
        return Err(CommandError::line("ERR MULTI calls can not be nested"));
    }
    call.session.queue = Some(Arc::default());
    call.reply.ok();
    Ok(())
}

fn discard(call: &mut Control<'_, '_>) -> CommandResult {
    if call.session.queue.is_none() {
        return Err(CommandError::line("ERR DISCARD without MULTI"));
    }
    call.session.end_transaction();
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut Control<'_, '_>) -> CommandResult {
    call.session.watched.clear();
    call.reply.ok();
    Ok(())
}

fn watch(
    opening: Opening<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Deferred>, CommandError> {
    let Opening {
        node,
        session,
        batch,
        ..
    } = opening;
    if session.queue.is_some() {
        return Err(CommandError::line("ERR WATCH inside MULTI is not allowed"));
    }
    if batch.routes.is_some() {
        return cluster::watch(node, session, request).map(Some);
    }
    let database = session.database;
    let mut keys = request.iter().skip(1);
    let scope = Scope::Keys(&mut keys);
    let mut transaction = node.engine.begin(scope, batch.moment, &mut session.payload);
    for key in request.iter().skip(1) {
        let is_it = |watched: &Watched| watched.database == database && watched.key == key;
        if !session.watched.iter().any(is_it) {
            session.watched.push(Watched {
                database,
                key: key.to_vec(),
                seen: Seen::Here(transaction.fingerprint(database, key)),
            });
        }
    }
    drop(transaction);
    ReplyWriter::new(out, session.resp).ok();
    Ok(None)
}
