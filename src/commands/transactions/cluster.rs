//! Transactions in a cluster: all keys are in one partition, whose first live replica executes the commands as one.
//!
//! Commands without keys (`PING`, `SELECT`, `CLIENT …`) are about the connection and executed where that is, in their
//! order, before the others.

use std::future::ready;
use std::sync::{Arc, OnceLock};

use coterie_protocol::internal::unit;
use coterie_protocol::{
    DatabaseId, Frame, OwnedRequest, PartitionId, ReplyWriter, Request, RespVersion, frame,
};

use super::exec::execute_all;
use super::queue::{Queue, Queued, Seen, Watched};
use crate::commands::acl;
use crate::commands::call::{Call, Deferred};
use crate::commands::error::{CommandError, CommandResult};
use crate::commands::execute::write_error;
use crate::commands::perform::perform;
use crate::commands::record::{Pending, finish};
use crate::commands::routing::Router;
use crate::commands::run::run;
use crate::commands::scripts;
use crate::commands::spec::{CommandSpec, Flags, Handler};
use crate::commands::table;
use crate::commands::unit::Opening;
use crate::config::Redirect;
use crate::node::Node;
use crate::session::Session;

/// The command that executes a transaction of another node: [`unit::Unit`], then all its keys.
pub const UNIT: &str = "coterie.unit";
/// The command that tells the fingerprints of keys, as of the replica that would execute a transaction with them.
pub const SEEN: &str = "coterie.seen";

const CROSS_SLOT: CommandError =
    CommandError::line("CROSSSLOT Keys in request don't hash to the same slot");
const SPREAD: CommandError = CommandError::line(
    "ERR This command is not allowed in a transaction in a cluster of several nodes",
);
const DATABASES: CommandError = CommandError::line(
    "ERR A transaction in a cluster of several nodes is about keys of one database",
);
const MALFORMED: CommandError = CommandError::line("ERR malformed transaction");

/// Whether a command is executed where the keys are. A script without keys can be executed anywhere.
fn is_about_keys(spec: &CommandSpec, request: Request<'_>) -> bool {
    match spec.handler {
        Handler::Data(_) => true,
        Handler::Script(_) => spec.keys.of(request).len() > 0,
        _ => false,
    }
}

/// Whether a command can be queued.
///
/// # Errors
/// It is about another partition than those before it, or about all.
pub fn check(
    node: &Node,
    session: &Session,
    queue: &Queue,
    spec: &CommandSpec,
    request: Request<'_>,
) -> Result<Option<PartitionId>, CommandError> {
    let is_control = matches!(spec.handler, Handler::Control(_));
    if spec.locks.is_all() && !is_control {
        return Err(SPREAD);
    }
    let mut partition = queue.partition;
    for key in spec.keys.of(request) {
        let other = node.engine.store().partition_of(key);
        if *partition.get_or_insert(other) != other {
            return Err(CROSS_SLOT);
        }
    }
    if !is_about_keys(spec, request) {
        return if spec.keys.of(request).len() == 0 {
            Ok(partition)
        } else {
            Err(SPREAD)
        };
    }
    if node.config.load().redirect == Redirect::Moved
        && let Some(replication) = node.replication.get()
    {
        let router = Router {
            node,
            replication,
            routes: &replication.routes(),
            session,
        };
        router.route(spec, request)?;
    }
    Ok(partition)
}

/// `WATCH`.
pub fn watch(
    node: &Arc<Node>,
    session: &mut Session,
    request: Request<'_>,
) -> Result<Deferred, CommandError> {
    let keys: Vec<&[u8]> = request.iter().skip(1).collect();
    let store = node.engine.store();
    let partition = store.partition_of(keys[0]);
    if keys.iter().any(|key| store.partition_of(key) != partition) {
        return Err(CROSS_SLOT);
    }
    let mut words = vec![SEEN.as_bytes()];
    let mut answers = Vec::new();
    for key in keys {
        let database = session.database;
        let is_it = |watched: &Watched| watched.database == database && watched.key == key;
        if session.watched.iter().any(is_it) {
            continue;
        }
        let answer = Arc::new(OnceLock::new());
        words.push(key);
        answers.push(answer.clone());
        session.watched.push(Watched {
            database,
            key: key.to_vec(),
            seen: Seen::There(answer),
        });
    }
    let request = OwnedRequest::new(&words);
    let (node, mut session) = (node.clone(), session.origin().internal_session());
    Ok(Box::pin(async move {
        let mut out = Vec::new();
        if !answers.is_empty() {
            let reply = perform(&node, &mut session, &request).await;
            match fingerprints(&reply) {
                Some(seen) if seen.len() == answers.len() => {
                    for (answer, seen) in answers.iter().zip(seen) {
                        // Only this future sets it.
                        let _ = answer.set(seen);
                    }
                }
                _ => return reply,
            }
        }
        ReplyWriter::new(&mut out, session.resp).ok();
        out
    }))
}

fn fingerprints(reply: &[u8]) -> Option<Vec<u64>> {
    let Ok(Some((Frame::Array { data, .. }, _))) = frame::decode(reply) else {
        return None;
    };
    let number = |frame: Frame| match frame {
        Frame::Number { data, .. } => Some(data as u64),
        _ => None,
    };
    data.into_iter().map(number).collect()
}

/// Executes [`SEEN`].
pub fn seen(call: &mut Call<'_, '_>) -> CommandResult {
    let keys = call.request.skip(1);
    call.reply.array(keys.len());
    for key in keys.iter() {
        let fingerprint = call.transaction.fingerprint(call.database, key);
        call.reply.integer(fingerprint as i64);
    }
    Ok(())
}

/// The reply to one command of a transaction.
enum Part {
    Here(Vec<u8>),
    Later(Pending),
    /// The next one of those that come from elsewhere.
    There,
}

/// `EXEC`.
pub fn exec(opening: Opening<'_>, queue: &Queue) -> Result<Deferred, CommandError> {
    let Opening {
        node,
        session,
        batch,
        ..
    } = opening;
    let watched = std::mem::take(&mut session.watched);
    let mut target = Target::default();
    let mut sent = unit::Unit::default();
    let mut is_known = true;
    let checked = watched.iter().try_for_each(|watched| {
        is_known &= watched.seen.fingerprint().is_some();
        let fingerprint = watched.seen.fingerprint().unwrap_or_default();
        sent.watched.push((&watched.key, fingerprint));
        target.add(node, watched.database, &watched.key)
    });
    // What another node may not know by its name.
    let spelled_out = queue.commands.iter().map(Queued::request);
    let spelled_out: Vec<Option<OwnedRequest>> = spelled_out
        .map(|request| {
            scripts::remember(node, request);
            scripts::spelled_out(node, request)
        })
        .collect();
    let mut parts = Vec::new();
    let began = batch.ticks;
    let result = checked.and_then(|()| {
        for (queued, spelled_out) in queue.commands.iter().zip(&spelled_out) {
            let (spec, request) = (queued.spec(), queued.request());
            if let Err(error) = acl::admit_queued(node, session, queued.command, request) {
                let mut out = Vec::new();
                write_error(node, session.resp, &error, &mut out);
                parts.push(Part::Here(out));
            } else if is_about_keys(spec, request) {
                if let Some(tracked) = &session.tracking
                    && spec.flags.contains(Flags::READONLY)
                {
                    tracked.remember(spec.keys.of(request));
                }
                for key in spec.keys.of(request) {
                    target.add(node, session.database, key)?;
                }
                let words = spelled_out.as_ref().map_or(request, OwnedRequest::request);
                sent.requests.push(words.iter().collect());
                parts.push(Part::There);
            } else {
                parts.push(execute_here(
                    Opening {
                        node,
                        session,
                        batch,
                        here: None,
                        unsent_bytes: 0,
                    },
                    queued,
                ));
            }
        }
        Ok(())
    });
    session.end_transaction();
    // It takes as long as all of them.
    batch.ticks = began;
    result?;
    let (node, mut other) = (node.clone(), session.origin().internal_session());
    if !is_known {
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, session.resp).null_array();
        return Ok(Box::pin(ready(out)));
    }
    other.database = target.database.unwrap_or(session.database);
    // For the scripts among its commands; those by themselves are admitted already.
    other.user.clone_from(&session.user);
    let blob = sent.encode();
    let mut words = vec![UNIT.as_bytes(), &blob];
    words.extend(&target.keys);
    let request = (!target.keys.is_empty()).then(|| OwnedRequest::new(&words));
    Ok(Box::pin(async move {
        let mut reply = Vec::new();
        if let Some(request) = request {
            reply = perform(&node, &mut other, &request).await;
            if !reply.starts_with(b"*") || reply.starts_with(b"*-1") {
                return reply;
            }
        }
        merge(&node, other.resp, &reply, parts).await
    }))
}

/// What a transaction is about.
#[derive(Default)]
struct Target<'k> {
    database: Option<DatabaseId>,
    partition: Option<PartitionId>,
    keys: Vec<&'k [u8]>,
}

impl<'k> Target<'k> {
    fn add(&mut self, node: &Node, database: DatabaseId, key: &'k [u8]) -> CommandResult {
        let partition = node.engine.store().partition_of(key);
        if *self.partition.get_or_insert(partition) != partition {
            return Err(CROSS_SLOT);
        }
        if *self.database.get_or_insert(database) != database {
            return Err(DATABASES);
        }
        self.keys.push(key);
        Ok(())
    }
}

/// Executes a command that is about the connection.
fn execute_here(mut opening: Opening<'_>, queued: &Queued) -> Part {
    let (command, request) = (queued.command, queued.request());
    let mut out = Vec::new();
    let result = run(opening.reborrow(), command.spec, request, &mut out);
    let Opening {
        node,
        session,
        batch,
        ..
    } = opening;
    match result {
        Ok(Some(reply)) => {
            let began = batch.ticks;
            batch.ticks = node.ticks.raw();
            let pending = Pending::new(node, reply, command, request, session, began, false);
            return Part::Later(pending);
        }
        Ok(None) => {}
        Err(error) => {
            out.clear();
            write_error(node, session.resp, &error, &mut out);
        }
    }
    finish(node, session, command, request, batch);
    Part::Here(out)
}

/// Puts the replies of all commands together.
async fn merge(node: &Node, resp: RespVersion, reply: &[u8], parts: Vec<Part>) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, resp).array(parts.len());
    let head = reply.iter().position(|&byte| byte == b'\n');
    let mut rest = head.map_or(reply, |end| &reply[end + 1..]);
    for part in parts {
        match part {
            Part::Here(reply) => out.extend_from_slice(&reply),
            Part::Later(pending) => out.extend_from_slice(&pending.wait(node).await),
            Part::There => {
                let length = match frame::decode(rest) {
                    Ok(Some((_, length))) => length,
                    _ => rest.len(),
                };
                out.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
            }
        }
    }
    out
}

/// Whether keys were watched for a transaction.
pub fn is_watching(request: Request<'_>) -> bool {
    unit::Unit::decode(request.arg(1)).is_ok_and(|unit| !unit.watched.is_empty())
}

/// Executes [`UNIT`].
pub fn unit(
    mut opening: Opening<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Deferred>, CommandError> {
    let unit = unit::Unit::decode(request.arg(1)).map_err(|_| MALFORMED)?;
    let requests: Vec<OwnedRequest> = unit.requests.iter().map(|r| OwnedRequest::new(r)).collect();
    let mut commands = Vec::with_capacity(requests.len());
    for request in &requests {
        let command = table::find(request.request())?;
        if !is_about_keys(command.spec, request.request()) || command.spec.locks.is_all() {
            return Err(MALFORMED);
        }
        commands.push((command, request.request()));
    }
    let database = opening.session.database;
    let watched: Vec<_> = unit
        .watched
        .iter()
        .map(|(key, seen)| (database, *key, Some(*seen)))
        .collect();
    let mut payload = std::mem::take(&mut opening.session.payload);
    let done = execute_all(opening.reborrow(), &watched, &commands, &mut payload, out);
    opening.session.payload = payload;
    done.map(|later| {
        debug_assert!(later.is_empty());
        None
    })
}
