//! From a request to its reply: the checks every command goes through, its locks, its handler, its record.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use coterie_protocol::{Epoch, OwnedRequest, PartitionId, ReplyWriter, Request, RespVersion};

use super::acl;
use super::blocking::{self, Patience, Placed};
use super::call::{Call, Control, Deferred};
use super::dispatch::{Routed, route, subject_of};
use super::error::{CommandError, CommandResult};
use super::once::{Begun, Once};
use super::record::{Pending, finish};
use super::routing::{Levels, Way, is_plain};
use super::scripts;
use super::spanning;
use super::spec::{Categories, CommandSpec, Flags, Handler, Locks, ScriptHandler};
use super::table::{self, Command};
use super::transactions;
use super::unit::{Opening, Reach, Unit};
use crate::blocking::Waiting;
use crate::config::Config;
use crate::effect::Effect;
use crate::engine::{Moment, Scope};
use crate::node::Node;
use crate::outstanding::{Forward, Read, Subject};
use crate::replication::{Barrier, EpochGuard, ReadKey, Routes};
use crate::session::Session;
use crate::statistics::Tally;
use crate::wal::{LogOffset, NoRoom};
use tokio::time::Instant;

/// What the commands of one batch share.
pub struct Batch {
    /// The time they see.
    pub moment: Moment,
    /// The settings they see.
    pub config: Arc<Config>,
    /// Reading of the node's tick counter at the end of the last command.
    pub ticks: u64,
    /// What they did.
    pub tally: Tally,
    /// Where they are routed, if the node is one of several.
    pub routes: Option<(Arc<Routes>, Arc<EpochGuard>)>,
    /// What the last command has read, for comparing.
    seen: Vec<ReadKey>,
}

impl Batch {
    /// A batch that begins now.
    pub fn begin(node: &Node) -> Self {
        let config = node.config.load_full();
        let replication = node.replication.get();
        Batch {
            moment: node.moment(&config),
            config,
            ticks: node.ticks.raw(),
            tally: Tally::default(),
            routes: replication.filter(|r| r.is_clustered()).map(|r| r.enter()),
            seen: Vec::new(),
        }
    }

    /// The epoch of its routes.
    pub(super) fn epoch(&self) -> Epoch {
        self.routes
            .as_ref()
            .map_or(Epoch::default(), |(routes, _)| routes.epoch)
    }

    /// Sees what a command of the batch may have changed for those after it: settings.
    pub(super) fn refresh_settings(&mut self, node: &Node) {
        self.config = node.config.load_full();
        self.moment = node.moment(&self.config);
    }
}

/// What became of a request.
pub enum Outcome {
    /// The reply is written.
    Replied,
    /// Nothing was done: the log has to prepare room for this many bytes first. Execute it again then.
    NoRoom(usize),
    /// Nothing was done: a pause lasts until then, in Unix milliseconds. Execute it again then.
    Paused(u64),
    /// The reply comes from this future, in the order of requests.
    Deferred(Pending),
    /// Nothing was done: the replies before it have to be completed first. Execute it again then.
    Conclude,
    /// Nothing was done: its partition is on its way to a replica that is not connected yet. Execute it again in a
    /// moment.
    Moving,
    /// Nothing was done: what this node knows of these keys has to be compared with other replicas first. Execute it
    /// again then.
    Refresh(Vec<ReadKey>),
    /// Nothing was done: the request may have been executed by a node that is gone, which has to be found out first.
    /// Execute it again then. The partition, and the keys.
    Settle(PartitionId, Vec<Vec<u8>>),
}

/// Brings near the data a request will touch, while others before it are executed.
#[inline]
pub fn prefetch(node: &Node, session: &Session, request: Request<'_>) {
    if let Some(command) = table::by_name(request.name())
        && let Some(index) = command.spec.keys.single()
        && let Some(key) = request.get(index)
    {
        node.engine.store().prefetch(session.database, key);
    }
}

/// Executes a request, appending its reply to `out`.
pub fn execute(
    node: &Arc<Node>,
    session: &mut Session,
    request: Request<'_>,
    out: &mut Vec<u8>,
    batch: &mut Batch,
) -> Outcome {
    let start = out.len();
    let command = match table::find(request) {
        Ok(command) => command,
        Err(error) => return refuse(node, session, request, &error, out),
    };
    session.last_command = command.spec.name;
    if let Err(error) = admit(node, session, command, request) {
        return reject(node, session, Some(command), &error, out);
    }
    let spec = command.spec;
    let flags = transactions::flags(session, spec);
    let may_write = flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
    if let Some(until_ms) = node.pause.holds(may_write, batch.moment.now_ms) {
        return Outcome::Paused(until_ms);
    }
    if let Err(error) = check_resources(node, session, spec, request, batch) {
        if let CommandError::NoRoom(NoRoom::Preparing, bytes) = error {
            return Outcome::NoRoom(bytes);
        }
        return reject(node, session, Some(command), &error, out);
    }
    if transactions::is_queued(session, spec) {
        return enqueue(node, session, command, request, out, batch);
    }
    let routed = route(node, session, spec, request, batch);
    if !matches!(routed, Ok(Routed::Later(_))) {
        session.refreshed = None;
        session.waits = 0;
    }
    let here = match routed {
        Ok(Routed::Here(here)) => here,
        Ok(Routed::Elsewhere(way)) => {
            return execute_elsewhere(node, session, command, request, out, batch, way);
        }
        Ok(Routed::Later(outcome)) => return outcome,
        Err(error) => return reject(node, session, Some(command), &error, out),
    };
    if let Some(tracked) = &session.tracking
        && spec.flags.contains(Flags::READONLY)
        && !matches!(spec.handler, Handler::Data(_))
    {
        tracked.remember(spec.keys.of(request));
    }
    let began = batch.ticks;
    let opening = Opening {
        node,
        session,
        batch,
        here: here.as_ref(),
        unsent_bytes: start,
    };
    let result = run(opening, spec, request, out);
    match result {
        Ok(None) => {}
        Ok(Some(reply)) => {
            out.truncate(start);
            return defer(node, session, command, request, batch, reply);
        }
        Err(CommandError::NoRoom(NoRoom::Preparing, bytes)) => {
            out.truncate(start);
            return Outcome::NoRoom(bytes);
        }
        Err(error) => {
            out.truncate(start);
            node.statistics
                .command(command.index)
                .failed
                .fetch_add(1, Relaxed);
            write_error(node, session.resp, &error, out);
        }
    }
    debug_assert!(batch.ticks == began || spec.flags.contains(Flags::ADMIN));
    if let Some((partition, _)) = here {
        let subject = subject_of(spec, request, partition);
        note_outstanding(session, batch, subject, request, start..out.len());
    }
    if spec.flags.contains(Flags::ADMIN) {
        batch.refresh_settings(node);
    }
    finish(node, session, command, request, batch);
    if session.end_command() {
        out.truncate(start);
        session.outstanding.withhold_from(start);
    }
    if node.engine.waiters().has_work() {
        blocking::serve(node);
    }
    Outcome::Replied
}

/// Queues a command for `EXEC`.
fn enqueue(
    node: &Node,
    session: &mut Session,
    command: &'static Command,
    request: Request<'_>,
    out: &mut Vec<u8>,
    batch: &mut Batch,
) -> Outcome {
    let start = out.len();
    if let Err(error) = transactions::enqueue(node, session, command, request, out, batch) {
        return reject(node, session, Some(command), &error, out);
    }
    batch.ticks = node.ticks.raw();
    if session.end_command() {
        out.truncate(start);
    }
    Outcome::Replied
}

/// Whether a command can be executed once more where it is not known what became of it: what else is done to its values
/// can be written over. What a unit has come to is not noted with its record.
fn is_operation(spec: &CommandSpec) -> bool {
    let elements = Categories::LIST
        | Categories::SET
        | Categories::SORTED_SET
        | Categories::GEO
        | Categories::STREAM;
    matches!(spec.handler, Handler::Data(_)) && !spec.categories.intersects(elements)
}

/// Has a request executed by another node, or in parts.
fn execute_elsewhere(
    node: &Arc<Node>,
    session: &mut Session,
    command: &'static Command,
    request: Request<'_>,
    out: &mut Vec<u8>,
    batch: &mut Batch,
    way: Way,
) -> Outcome {
    if let Some(tracked) = &session.tracking
        && command.spec.flags.contains(Flags::READONLY)
    {
        tracked.remember(command.spec.keys.of(request));
    }
    match way {
        Way::Forward(_, peer) if command.spec.flags.contains(Flags::BLOCKING) => {
            let reply = blocking::elsewhere(node, session, request, peer, batch.epoch());
            defer(node, session, command, request, batch, reply)
        }
        Way::Forward(partition, peer) => {
            let spec = command.spec;
            let writes = spec.flags.intersects(Flags::WRITE);
            let is_plain = is_plain(spec.name, request);
            // What may be done twice, and would take writing whole collections or several keys to be done once.
            let is_wide = is_plain
                && (spec.categories.intersects(Categories::HASH)
                    || spec.keys.of(request).len() > 1);
            let epoch = batch.epoch();
            let operation = match &session.operation {
                None if !writes || !is_operation(spec) || is_wide => None,
                None => {
                    let (database, level) = (session.database, session.consistency.write);
                    let replication = node.replication.get();
                    replication.and_then(|r| r.begin_operation(partition, database, level))
                }
                given => given.clone(),
            };
            // Who has seen the effect of a write, and changed the key since, must not see it come again.
            let repeatable = !writes || operation.is_none() && is_plain;
            let told = operation.as_ref();
            let sent_ms = node.now_ms();
            scripts::remember(node, request);
            let spelled_out = scripts::spelled_out(node, request);
            let sent = spelled_out.as_ref().map_or(request, OwnedRequest::request);
            let answer = spanning::forward(&peer, session, epoch, sent_ms, &[], told, sent);
            if let Some(operation) = told {
                operation.given_to(peer.id);
            }
            let at = out.len();
            session.outstanding.forwards.push(Forward {
                at,
                withheld: false,
                subject: subject_of(spec, request, partition),
                writes: spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE),
                peer,
                request: OwnedRequest::from(sent),
                repeatable,
                operation,
                sent: Instant::now(),
                answer,
            });
            finish(node, session, command, request, batch);
            if session.end_command() {
                session.outstanding.withhold_from(at);
            }
            Outcome::Replied
        }
        Way::Parts | Way::Here(..) => match spanning::parts(node, session, command.spec, request) {
            Ok(reply) => defer(node, session, command, request, batch, reply),
            Err(error) => reject(node, session, Some(command), &error, out),
        },
    }
}

fn defer(
    node: &Node,
    session: &mut Session,
    command: &'static Command,
    request: Request<'_>,
    batch: &mut Batch,
    reply: Deferred,
) -> Outcome {
    let withheld = session.end_command();
    let began = batch.ticks;
    batch.ticks = node.ticks.raw();
    Outcome::Deferred(Pending::new(
        node, reply, command, request, session, began, withheld,
    ))
}

/// Notes what the reply that was just written waits for.
pub(super) fn note_outstanding(
    session: &mut Session,
    batch: &mut Batch,
    subject: Subject,
    request: Request<'_>,
    reply: Range<usize>,
) {
    if !batch.seen.is_empty() {
        session.outstanding.reads.push(Read {
            reply,
            subject,
            request: OwnedRequest::from(request),
            keys: std::mem::take(&mut batch.seen),
        });
    } else if !session.outstanding.barrier.conditions().is_empty() {
        session.outstanding.writes.push(reply);
        session.outstanding.changed.push(subject);
    }
}

/// Answers a request that is no command, or has the wrong number of arguments for it.
fn refuse(
    node: &Node,
    session: &mut Session,
    request: Request<'_>,
    error: &CommandError,
    out: &mut Vec<u8>,
) -> Outcome {
    session.last_command = match error {
        CommandError::Arity(Cow::Borrowed(name)) => name,
        _ => "NULL",
    };
    if is_http(request) {
        tracing::debug!(
            address = session.client.address,
            "closed: speaks HTTP, not RESP"
        );
        session.close_after_reply = true;
        return Outcome::Replied;
    }
    let named = table::by_name(session.last_command.as_bytes());
    reject(node, session, named, error, out)
}

/// Whether a request comes from a browser, which some web page may have made send it: `POST / HTTP/1.1`, `Host: …`.
fn is_http(request: Request<'_>) -> bool {
    let name = request.name();
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

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
fn admit(node: &Node, session: &Session, command: &Command, request: Request<'_>) -> CommandResult {
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
        let evicted = node.engine.evict(&settings, batch.moment);
        if let Ok(count) = evicted
            && count > 0
        {
            node.statistics.evicted_keys.fetch_add(count, Relaxed);
        }
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

/// Executes a command, where it belongs.
pub(super) fn run(
    opening: Opening<'_>,
    spec: &'static CommandSpec,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Deferred>, CommandError> {
    match spec.handler {
        Handler::Unit(handler) => return handler(opening, request, out),
        Handler::Script(handler) => return run_script(opening, spec, handler, request, out),
        _ => {}
    }
    let Opening {
        node,
        session,
        batch,
        here,
        unsent_bytes,
    } = opening;
    if let Handler::Data(handler) = spec.handler {
        let data = Data {
            spec,
            request,
            handler,
            here,
            patience: Patience::Allowed,
        };
        return Ok(match run_data(node, session, &data, out, batch)? {
            Ran::Parked(waiting, timeout) => {
                let placed = Placed::Here(waiting, timeout);
                let origin = session.origin();
                Some(blocking::park(node.clone(), origin, request.into(), placed))
            }
            Ran::Replied | Ran::Nothing => None,
        });
    }
    let is_control = matches!(spec.handler, Handler::Control(_));
    if !is_control || !spec.flags.contains(Flags::FAST) {
        // What it tells or resets includes the commands before it.
        batch.tally.flush(&node.statistics);
    }
    let mut reply = ReplyWriter::new(out, session.resp);
    let mut control = Control {
        request,
        session,
        node,
        reply: &mut reply,
        transaction: None,
        unsent_bytes,
        now_ms: batch.moment.now_ms,
    };
    match spec.handler {
        Handler::Control(handler) => handler(&mut control).map(|()| None),
        Handler::Deferred(handler) => handler(&mut control).map(Some),
        Handler::Data(_) | Handler::Unit(_) | Handler::Script(_) | Handler::Container => {
            Err(CommandError::Arity(spec.name.into()))
        }
    }
}

/// Executes a script in a unit of its own. One that needs more than the keys it declares is executed once more, with
/// everything locked.
fn run_script(
    mut opening: Opening<'_>,
    spec: &'static CommandSpec,
    handler: ScriptHandler,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Deferred>, CommandError> {
    let start = out.len();
    let began = opening.batch.ticks;
    let mut reach = Reach {
        keys: spec.keys.of(request).collect(),
        ..Reach::default()
    };
    loop {
        let mut payload = std::mem::take(&mut opening.session.payload);
        let done = Unit::begin(opening.reborrow(), &reach, &mut payload).and_then(|mut unit| {
            handler(&mut unit, request, out)?;
            let later = unit.commit();
            debug_assert!(later.is_empty());
            Ok(())
        });
        opening.session.payload = payload;
        // It takes as long as all of its commands, also if they are undone.
        opening.batch.ticks = began;
        match done {
            Err(CommandError::NotLocked) if !reach.everything && opening.batch.routes.is_none() => {
                out.truncate(start);
                reach.everything = true;
            }
            done => return done.map(|()| None),
        }
    }
}

/// A data command that is executed here.
pub(super) struct Data<'r> {
    /// The command.
    pub spec: &'static CommandSpec,
    /// Its arguments.
    pub request: Request<'r>,
    /// What it does.
    pub handler: fn(&mut Call<'_, '_>) -> CommandResult,
    /// What it has to reach in a cluster.
    pub here: Option<&'r (PartitionId, Levels)>,
    /// Whether it has waited.
    pub patience: Patience<'r>,
}

/// What a data command has come to.
pub(super) enum Ran {
    /// The reply is written.
    Replied,
    /// There was nothing; now it waits, at most so long.
    Parked(Waiting, Option<Duration>),
    /// There was nothing; it has waited before.
    Nothing,
}

/// Executes a data command under its locks.
pub(super) fn run_data(
    node: &Node,
    session: &mut Session,
    data: &Data<'_>,
    out: &mut Vec<u8>,
    batch: &mut Batch,
) -> Result<Ran, CommandError> {
    let Data { spec, request, .. } = *data;
    let origin = spec
        .flags
        .contains(Flags::BLOCKING)
        .then(|| session.origin());
    let mut keys = spec.keys.of(request);
    let once = data.here.and(session.operation.clone());
    let once = once.map(|operation| Once::new(operation, spec, request, session.database));
    let overwrites = once.as_ref().is_some_and(Once::overwrites);
    let scope = match spec.locks {
        locks if locks.covers_everything(request) => Scope::All,
        Locks::Keys | Locks::Asked(_) if keys.len() == 1 && !overwrites => {
            Scope::Key(keys.next().unwrap_or_default())
        }
        _ => Scope::Keys(&mut keys),
    };
    let database = session.database;
    let start = out.len();
    let mut moment = batch.moment;
    moment.touch = !session.no_touch;
    moment.client = session.client.id;
    let mut transaction = node.engine.begin(scope, moment, &mut session.payload);
    if spec.flags.contains(Flags::READONLY) {
        transaction.count_lookups();
    }
    if let (Some(once), Some((partition, levels))) = (&once, data.here)
        && once.begin(
            node,
            &mut transaction,
            &mut ReplyWriter::new(out, session.resp),
        )? == Begun::Done
    {
        drop(transaction);
        let offset = once.append_state(node, *partition);
        for quorum in &levels.write {
            session.outstanding.barrier.add(*quorum, offset);
        }
        return Ok(Ran::Replied);
    }
    let handled = (data.handler)(&mut Call {
        request,
        transaction: &mut transaction,
        reply: &mut ReplyWriter::new(out, session.resp),
        database,
        patience: data.patience,
        node,
    });
    if let (Err(CommandError::Blocked(wait)), Some(origin)) = (&handled, origin) {
        return Ok(match data.patience {
            Patience::Used(..) => Ran::Nothing,
            // While the keys are locked: from now on no change is missed.
            Patience::Allowed => {
                let interest = wait.interest(request, origin);
                Ran::Parked(node.engine.waiters().add(interest), wait.timeout())
            }
        });
    }
    let levels = data.here.map(|(_, levels)| levels);
    if let Some((partition, quorum)) = data.here.and_then(|(id, levels)| Some((id, levels.read?))) {
        batch.seen.clear();
        let seen = spec.keys.of(request).map(|key| ReadKey {
            partition: *partition,
            database,
            key: key.to_vec(),
            digest: transaction.digest(database, key),
            quorum,
        });
        batch.seen.extend(seen);
    }
    let barrier = &mut session.outstanding.barrier;
    // Who changes several databases does so as safely as any of them wants it.
    let is_wide = spec.locks.is_all() || !transaction.changes_only(database);
    let synced = if is_wide {
        node.has_synced(&batch.config)
    } else {
        node.is_synced(&batch.config, database)
    };
    if !transaction.has_changes() {
        await_record(node, barrier, levels, synced, None);
    }
    if let Some(tracked) = &session.tracking
        && spec.flags.contains(Flags::READONLY)
    {
        transaction.tell_now();
        tracked.remember(spec.keys.of(request));
    }
    handled?;
    if let Some(once) = &once {
        once.note(&mut transaction, &out[start..]);
    }
    if transaction.counts_lookups() {
        batch.tally.looked_up(transaction.lookups());
    }
    // A record of its own stands behind everything the command has seen.
    if let Some(offset) = transaction.commit() {
        batch.tally.changes += 1;
        session.last_write = Some(offset);
        await_record(node, barrier, levels, synced, Some(offset));
    }
    Ok(Ran::Replied)
}

/// Lets an answer wait for the record of its transaction. Without one it waits for what was read, which may be another
/// connection's write that is not on the disk yet, or not on enough replicas: an answer that tells of it, an error or that
/// nothing was to be done too, would be wrong if it were lost.
pub(super) fn await_record(
    node: &Node,
    barrier: &mut Barrier,
    levels: Option<&Levels>,
    synced: bool,
    record: Option<LogOffset>,
) {
    let offset = || record.unwrap_or_else(|| node.engine.log().appended());
    match levels {
        Some(levels) => {
            for quorum in &levels.write {
                barrier.add(quorum.synced(synced), offset());
            }
            if synced && levels.write.is_empty() {
                barrier.add_local(offset(), true);
            }
        }
        None if record.is_some() || synced => barrier.add_local(offset(), synced),
        None => {}
    }
}

/// Answers a request that is not executed with an error.
fn reject(
    node: &Node,
    session: &mut Session,
    command: Option<&Command>,
    error: &CommandError,
    out: &mut Vec<u8>,
) -> Outcome {
    if let Some(command) = command {
        node.statistics
            .command(command.index)
            .rejected
            .fetch_add(1, Relaxed);
    }
    let start = out.len();
    let aborted = transactions::refused(session, command.map(|command| command.spec), error);
    write_error(node, session.resp, aborted.as_ref().unwrap_or(error), out);
    if session.end_command() {
        out.truncate(start);
    }
    Outcome::Replied
}

/// Appends an error, which is counted.
pub(super) fn write_error(node: &Node, resp: RespVersion, error: &CommandError, out: &mut Vec<u8>) {
    let line = error.to_line();
    node.statistics.count_error(&String::from_utf8_lossy(&line));
    ReplyWriter::new(out, resp).error(line);
}

#[cfg(test)]
mod tests {
    use coterie_protocol::{OwnedRequest, Partitions};

    use super::*;
    use crate::clock::Clock;
    use crate::config::Durability;
    use crate::engine::{Engine, EngineOptions};
    use crate::clients::Client;
    use crate::wal;

    fn run(node: &Arc<Node>, session: &mut Session, arguments: &[&str]) -> Vec<u8> {
        let request = OwnedRequest::new(arguments);
        let mut out = Vec::new();
        let mut batch = Batch::begin(node);
        execute(node, session, request.request(), &mut out, &mut batch);
        out
    }

    /// Who reads what is not durable yet waits for it as the writer does.
    #[test]
    fn with_always_a_read_waits_for_the_writes_it_saw() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.durability = Durability::Always;
        let mut log = wal::Options::new(directory.path());
        log.segment_bytes = wal::MIN_SEGMENT_BYTES;
        log.durability = wal::Durability::Always;
        let options = EngineOptions {
            directory: directory.path().to_owned(),
            databases: 1,
            partitions: Partitions::default(),
            seed: None,
            threads: 1,
            log,
        };
        let (engine, _) = Engine::open(options).unwrap();
        let node = Node::new(engine, config, Clock::System);
        let session = |id| {
            let client = Client::new(id, "a:1".into(), "b:2".into(), true, -1, 0);
            Session::new(client.into(), true)
        };
        let (mut writer, mut reader) = (session(1), session(2));
        assert_eq!(run(&node, &mut writer, &["SET", "k", "v"]), b"+OK\r\n");
        assert_eq!(run(&node, &mut reader, &["GET", "k"]), b"$1\r\nv\r\n");
        let waits_for = |session: &Session| session.outstanding.barrier.local().synced;
        assert!(waits_for(&writer).is_some() && waits_for(&reader) >= waits_for(&writer));
        let mut loser = session(3);
        assert_eq!(run(&node, &mut loser, &["SETNX", "k", "w"]), b":0\r\n");
        assert!(waits_for(&loser) >= waits_for(&writer));
        node.engine.close().unwrap();
    }
}
