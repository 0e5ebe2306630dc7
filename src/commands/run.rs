//! A command that is executed here: its locks, its handler, its record, and what its reply waits for.

use std::time::Duration;

use coterie_protocol::{PartitionId, ReplyWriter, Request};

use super::blocking::{self, Patience, Placed};
use super::call::{Call, Control, Deferred};
use super::error::{CommandError, CommandResult};
use super::execute::Batch;
use super::once::{Begun, Once};
use super::routing::Levels;
use super::spec::{CommandSpec, Flags, Handler, Locks, ScriptHandler};
use super::unit::{Opening, Reach, Unit};
use crate::blocking::Waiting;
use crate::engine::Scope;
use crate::node::Node;
use crate::outstanding::Outstanding;
use crate::replication::ReadKey;
use crate::session::Session;
use crate::wal::LogOffset;

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
    let outstanding = &mut session.outstanding;
    // Who changes several databases does so as safely as any of them wants it.
    let is_wide = spec.locks.is_all() || !transaction.changes_only(database);
    let synced = if is_wide {
        node.has_synced(&batch.config)
    } else {
        node.is_synced(&batch.config, database)
    };
    if !transaction.has_changes() {
        await_record(node, outstanding, levels, synced, None);
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
        await_record(node, outstanding, levels, synced, Some(offset));
    }
    Ok(Ran::Replied)
}

/// Lets an answer wait for the record of its transaction. Without one it waits for what was read, which may be another
/// connection's write that is not on the disk yet, or not on enough replicas: an answer that tells of it, an error or that
/// nothing was to be done too, would be wrong if it were lost.
pub(super) fn await_record(
    node: &Node,
    outstanding: &mut Outstanding,
    levels: Option<&Levels>,
    synced: bool,
    record: Option<LogOffset>,
) {
    let barrier = &mut outstanding.barrier;
    let offset = || record.unwrap_or_else(|| node.engine.log().appended());
    match levels {
        Some(levels) => {
            outstanding.records.extend(record);
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
