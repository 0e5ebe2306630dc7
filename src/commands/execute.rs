//! From a request to its reply: which checks it goes through, in which order, and where it is executed.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use coterie_protocol::{Epoch, OwnedRequest, PartitionId, ReplyWriter, Request, RespVersion};

use super::admission::{admit, check_resources};
use super::blocking;
use super::call::Deferred;
use super::dispatch::{Routed, route, subject_of};
use super::error::CommandError;
use super::once::only_field;
use super::record::{Pending, finish};
use super::routing::{Way, is_plain};
use super::run::run;
use super::scripts;
use super::spanning;
use super::spec::{Categories, CommandSpec, Flags, Handler};
use super::table::{self, Command};
use super::transactions;
use super::unit::Opening;
use crate::config::Config;
use crate::engine::Moment;
use crate::node::Node;
use crate::outstanding::{Forward, Read, Subject};
use crate::replication::{EpochGuard, ReadKey, Routes};
use crate::session::Session;
use crate::statistics::Tally;
use crate::wal::NoRoom;
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
    pub(super) seen: Vec<ReadKey>,
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
                    && only_field(spec, request).is_none()
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
    use crate::clients::Client;
    use crate::clock::Clock;
    use crate::config::Durability;
    use crate::engine::{Engine, EngineOptions};
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
