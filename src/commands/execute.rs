//! From a request to its reply: the checks every command goes through, its locks, its handler, its record.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use coterie_protocol::{ReplyWriter, Request, RespVersion};

use super::call::{Call, Control, Deferred};
use super::error::{CommandError, CommandResult};
use super::record::{Pending, finish};
use super::spec::{CommandSpec, Flags, Handler, Locks};
use super::table::{self, Command};
use crate::config::Config;
use crate::effect::Effect;
use crate::engine::{Moment, Scope};
use crate::node::Node;
use crate::session::{ReplyMode, Session};
use crate::statistics::Tally;
use crate::wal::NoRoom;

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
}

impl Batch {
    /// A batch that begins now.
    pub fn begin(node: &Node, session: &Session) -> Self {
        let config = node.config.load_full();
        Batch {
            moment: moment(node, session, &config),
            config,
            ticks: node.ticks.raw(),
            tally: Tally::default(),
        }
    }

    /// Sees what a command of the batch may have changed for those after it: settings.
    fn refresh(&mut self, node: &Node, session: &Session) {
        self.config = node.config.load_full();
        self.moment = moment(node, session, &self.config);
    }
}

fn moment(node: &Node, session: &Session, config: &Config) -> Moment {
    Moment {
        touch: !session.no_touch,
        ..node.moment(config)
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
        Err(error) => {
            let named = match &error {
                CommandError::Arity(name) => table::by_name(name.as_bytes()),
                _ => None,
            };
            return reject(node, session, named, &error, out);
        }
    };
    if let Err(error) = admit(session, command.spec, &batch.config) {
        return reject(node, session, Some(command), &error, out);
    }
    let spec = command.spec;
    let may_write = spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
    if let Some(until_ms) = node.pause.holds(may_write, batch.moment.now_ms)
        && !is_exempt_from_pause(spec)
    {
        return Outcome::Paused(until_ms);
    }
    if let Err(error) = check_resources(node, spec, request, batch) {
        if let CommandError::NoRoom(NoRoom::Preparing, bytes) = error {
            return Outcome::NoRoom(bytes);
        }
        return reject(node, session, Some(command), &error, out);
    }
    let began = batch.ticks;
    let result = run(node, session, spec, request, out, batch);
    let outcome = match result {
        Ok(None) => Outcome::Replied,
        Ok(Some(reply)) => {
            let withheld = withhold_reply(session, start, out);
            batch.ticks = node.ticks.raw();
            let pending = Pending::new(node, reply, command, request, session, began, withheld);
            return Outcome::Deferred(pending);
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
            Outcome::Replied
        }
    };
    if spec.flags.contains(Flags::ADMIN) {
        batch.refresh(node, session);
    }
    finish(node, session, command, request, batch);
    withhold_reply(session, start, out);
    outcome
}

/// The checks on a command that need nothing but session and settings.
fn admit(session: &Session, spec: &CommandSpec, config: &Config) -> CommandResult {
    let needs_password = !session.authenticated && !config.requirepass.is_empty();
    if needs_password && !spec.flags.contains(Flags::NO_AUTH) {
        return Err(CommandError::line("NOAUTH Authentication required."));
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

/// `CLIENT UNPAUSE` and the like must be able to end a pause.
fn is_exempt_from_pause(spec: &CommandSpec) -> bool {
    spec.name.starts_with("client|") || spec.name == "shutdown"
}

/// Memory and log room, before anything is changed.
fn check_resources(
    node: &Node,
    spec: &CommandSpec,
    request: Request<'_>,
    batch: &Batch,
) -> CommandResult {
    if let Some(settings) = Node::eviction(&batch.config) {
        let evicted = node.engine.evict(&settings, batch.moment);
        if let Ok(count) = evicted
            && count > 0
        {
            node.statistics.evicted_keys.fetch_add(count, Relaxed);
        }
        if evicted.is_err() && spec.flags.contains(Flags::DENYOOM) {
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
fn record_bytes(request: Request<'_>) -> usize {
    request
        .iter()
        .map(|argument| Effect::encoded_bytes_max(argument.len(), argument.len()))
        .sum()
}

fn run(
    node: &Arc<Node>,
    session: &mut Session,
    spec: &CommandSpec,
    request: Request<'_>,
    out: &mut Vec<u8>,
    batch: &mut Batch,
) -> Result<Option<Deferred>, CommandError> {
    let mut reply = ReplyWriter::new(out, session.resp);
    let now_ms = batch.moment.now_ms;
    match spec.handler {
        Handler::Data(handler) => {
            run_data(node, session, spec, request, &mut reply, batch, handler)?;
            Ok(None)
        }
        Handler::Control(handler) => {
            if !spec.flags.contains(Flags::FAST) {
                // What it tells or resets includes the commands before it.
                batch.tally.flush(&node.statistics);
            }
            handler(&mut Control {
                request,
                session,
                node,
                reply: &mut reply,
                now_ms,
            })?;
            Ok(None)
        }
        Handler::Deferred(handler) => {
            batch.tally.flush(&node.statistics);
            handler(&mut Control {
                request,
                session,
                node,
                reply: &mut reply,
                now_ms,
            })
            .map(Some)
        }
        Handler::Container => Err(CommandError::Arity(spec.name.into())),
    }
}

fn run_data<'x>(
    node: &'x Node,
    session: &'x mut Session,
    spec: &CommandSpec,
    request: Request<'_>,
    reply: &mut ReplyWriter<'x>,
    batch: &mut Batch,
    handler: fn(&mut Call<'_, '_>) -> CommandResult,
) -> CommandResult {
    let mut keys = spec.keys.of(request);
    let scope = match (spec.locks, spec.keys.single()) {
        (Locks::All, _) => Scope::All,
        (Locks::Keys, Some(index)) => Scope::Key(request.get(index).unwrap_or_default()),
        (Locks::Keys, None) => Scope::Keys(&mut keys),
    };
    let database = session.database;
    let mut transaction = node.engine.begin(scope, batch.moment, &mut session.payload);
    handler(&mut Call {
        request,
        transaction: &mut transaction,
        reply,
        database,
        node,
    })?;
    if spec.flags.contains(Flags::READONLY) {
        let (hits, misses) = transaction.lookups();
        batch.tally.hits += hits;
        batch.tally.misses += misses;
    }
    if let Some(offset) = transaction.commit() {
        batch.tally.changes += 1;
        session.barrier = session.barrier.max(Some(offset));
    }
    Ok(())
}

/// `CLIENT REPLY OFF|SKIP`: takes the reply back if the client does not want it. Returns whether it does not.
#[inline]
fn withhold_reply(session: &mut Session, start: usize, out: &mut Vec<u8>) -> bool {
    let next = match session.reply_mode {
        ReplyMode::On => return false,
        ReplyMode::Off => ReplyMode::Off,
        ReplyMode::Skip => ReplyMode::On,
        ReplyMode::SkipNext => ReplyMode::Skip,
    };
    session.reply_mode = next;
    out.truncate(start);
    true
}

/// Answers a request that is not executed with an error.
fn reject(
    node: &Node,
    session: &mut Session,
    command: Option<&Command>,
    error: &CommandError,
    out: &mut Vec<u8>,
) -> Outcome {
    let start = out.len();
    if let Some(command) = command {
        node.statistics
            .command(command.index)
            .rejected
            .fetch_add(1, Relaxed);
    }
    write_error(node, session.resp, error, out);
    withhold_reply(session, start, out);
    Outcome::Replied
}

fn write_error(node: &Node, resp: RespVersion, error: &CommandError, out: &mut Vec<u8>) {
    let line = error.to_string();
    node.statistics.count_error(&line);
    ReplyWriter::new(out, resp).error(line);
}
