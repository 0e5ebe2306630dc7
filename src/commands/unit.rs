//! A unit: several commands executed one after another as one transaction, with one record. `MULTI` makes them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use coterie_protocol::{DatabaseId, PartitionId, ReplyWriter, Request};

use super::admission::record_bytes;
use super::blocking::Patience;
use super::call::{Call, Control, Deferred};
use super::error::CommandError;
use super::execute::{Batch, write_error};
use super::record::{Pending, finish};
use super::routing::Levels;
use super::run::await_record;
use super::spec::{CommandSpec, Flags, Handler, ScriptHandler};
use super::table::Command;
use crate::config::Config;
use crate::engine::{Scope, Transaction};
use crate::node::Node;
use crate::session::Session;
use crate::wal::NoRoom;

/// Changes of a unit in bytes, beyond which it makes no more: a record can't be larger, and a command may add the
/// largest value there is.
const CHANGED_BYTES_MAX: usize = 1 << 30;

/// A call of a command that opens a unit.
pub struct Opening<'c> {
    /// The server.
    pub node: &'c Arc<Node>,
    /// The connection's state.
    pub session: &'c mut Session,
    /// What its commands share with those around them.
    pub batch: &'c mut Batch,
    /// What it has to reach in a cluster.
    pub here: Option<&'c (PartitionId, Levels)>,
    /// Replies of earlier commands that are not sent yet, in bytes.
    pub unsent_bytes: usize,
}

impl Opening<'_> {
    /// The same, for a part of its time.
    pub fn reborrow(&mut self) -> Opening<'_> {
        Opening {
            node: self.node,
            session: self.session,
            batch: self.batch,
            here: self.here,
            unsent_bytes: self.unsent_bytes,
        }
    }
}

/// What a unit has to lock, gathered from its commands.
#[derive(Default)]
pub struct Reach<'k> {
    /// Keys.
    pub keys: Vec<&'k [u8]>,
    /// Whether it is about everything.
    pub everything: bool,
    /// Upper bound of what its changes add to the log, so far as it follows from arguments.
    pub bytes: usize,
}

impl<'k> Reach<'k> {
    /// Takes in what a command needs. `is_clustered`: not everything is here.
    pub fn add(&mut self, spec: &CommandSpec, request: Request<'k>, is_clustered: bool) {
        // What a script touches besides its keys is only known when it runs. In a cluster it may touch what is in their
        // partition.
        let is_open =
            matches!(spec.handler, Handler::Script(_)) || spec.locks.covers_everything(request);
        self.everything |= spec.locks.is_all() || is_open && !is_clustered;
        self.keys.extend(spec.keys.of(request));
        self.bytes += later_bytes(spec, request);
    }
}

/// Upper bound of what a command adds to the log, so far as it follows from its arguments.
pub fn later_bytes(spec: &CommandSpec, request: Request<'_>) -> usize {
    if spec.flags.contains(Flags::WRITE) {
        record_bytes(request)
    } else {
        0
    }
}

/// See the module. Dropped without [`Unit::commit`], it takes back what its commands have changed.
pub struct Unit<'u> {
    node: &'u Arc<Node>,
    session: &'u mut Session,
    batch: &'u mut Batch,
    here: Option<&'u (PartitionId, Levels)>,
    transaction: Transaction<'u>,
    unsent_bytes: usize,
    /// The database of its first command, and whether that is all it is about.
    database: DatabaseId,
    is_wide: bool,
    began: u64,
    later: Vec<(usize, Pending)>,
}

impl<'u> Unit<'u> {
    /// Locks what the commands to come are about, once there is room in the log for their changes. `payload` is scratch
    /// space.
    ///
    /// # Errors
    /// There is no room in the log.
    pub fn begin(
        opening: Opening<'u>,
        reach: &Reach<'_>,
        payload: &'u mut Vec<u8>,
    ) -> Result<Self, CommandError> {
        let Opening {
            node,
            session,
            batch,
            here,
            unsent_bytes,
        } = opening;
        let log = node.engine.log();
        log.room(reach.bytes)
            .map_err(|error| CommandError::NoRoom(error, reach.bytes))?;
        let mut keys = reach.keys.iter().copied();
        let scope = if reach.everything {
            Scope::All
        } else {
            Scope::Keys(&mut keys)
        };
        let mut moment = batch.moment;
        moment.client = session.client.id;
        let transaction = node.engine.begin(scope, moment, payload);
        Ok(Unit {
            began: batch.ticks,
            database: session.database,
            is_wide: reach.everything,
            node,
            session,
            batch,
            here,
            transaction: transaction.of_several(),
            unsent_bytes,
            later: Vec::new(),
        })
    }

    /// The transaction, to look at what its commands are about.
    pub fn transaction(&mut self) -> &mut Transaction<'u> {
        &mut self.transaction
    }

    /// The connection's state.
    pub fn session(&mut self) -> &mut Session {
        self.session
    }

    /// Whether everything a command is about is locked.
    pub fn covers(&self, spec: &CommandSpec, request: Request<'_>) -> bool {
        // In a cluster no command reads keys that only data tells.
        let asks = !self.transaction.is_replicated() && spec.locks.covers_everything(request);
        self.transaction.covers_everything()
            || !spec.locks.is_all()
                && !asks
                && spec
                    .keys
                    .of(request)
                    .all(|key| self.transaction.covers(key))
    }

    /// The server.
    pub fn node(&self) -> &'u Arc<Node> {
        self.node
    }

    /// The settings, as all of its batch sees them.
    pub fn config(&self) -> &Config {
        &self.batch.config
    }

    /// Whether its commands have changed anything so far.
    pub fn has_changes(&self) -> bool {
        self.transaction.has_changes()
    }

    /// Makes sure that the log has room for what a command adds, so far as it follows from its arguments.
    ///
    /// # Errors
    /// It has not, or not yet.
    pub fn reserve(
        &mut self,
        spec: &CommandSpec,
        request: Request<'_>,
    ) -> Result<(), CommandError> {
        let bytes = later_bytes(spec, request);
        let reserved = self.transaction.reserve(bytes);
        let total = self.transaction.changed_bytes() + bytes;
        reserved.map_err(|error| CommandError::NoRoom(error, total))
    }

    /// Executes the next command, appending its reply to `out`, be it an error. Those after it may change
    /// `later_bytes`.
    ///
    /// # Errors
    /// There is no room in the log yet: the unit is to be dropped, and begun anew. Or a script was stopped: nothing of
    /// the unit may last.
    pub fn run(
        &mut self,
        command: &'static Command,
        request: Request<'_>,
        later_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        self.execute(command, request, later_bytes, None, out)
    }

    /// Executes the next command to its end, for a script that needs the reply before it goes on. Asks now and then
    /// whether it may.
    ///
    /// # Errors
    /// There is no room in the log yet.
    pub fn run_to_end(
        &mut self,
        command: &'static Command,
        request: Request<'_>,
        may_go_on: &dyn Fn() -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        self.execute(command, request, 0, Some(may_go_on), out)
    }

    fn execute(
        &mut self,
        command: &'static Command,
        request: Request<'_>,
        later_bytes: usize,
        to_end: Option<&dyn Fn() -> bool>,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        debug_assert!(self.covers(command.spec, request));
        let start = out.len();
        if let Handler::Script(script) = command.spec.handler {
            return self.run_script(command, script, request, out);
        }
        self.transaction
            .begin_command(!self.session.no_touch, later_bytes);
        self.is_wide |= self.session.database != self.database;
        let result = self.handle(command.spec, request, out);
        let Unit {
            node,
            session,
            batch,
            ..
        } = self;
        match result {
            Ok(None) => {}
            Ok(Some(mut reply)) => {
                out.truncate(start);
                // What looks into the data has done so; what is left may wait, and does so without locks.
                let now = match to_end {
                    Some(may_go_on) => Some(complete(reply.as_mut(), session, may_go_on)),
                    None if command.spec.locks.is_all() => ready(reply.as_mut()),
                    None => None,
                };
                if let Some(reply) = now {
                    out.extend_from_slice(&reply);
                    finish(node, session, command, request, batch);
                    return Ok(());
                }
                let began = batch.ticks;
                batch.ticks = node.ticks.raw();
                let pending = Pending::new(node, reply, command, request, session, began, false);
                self.later.push((start, pending));
                return Ok(());
            }
            Err(CommandError::NoRoom(NoRoom::Preparing, bytes)) => {
                let bytes = self.transaction.changed_bytes() + bytes + later_bytes;
                return Err(CommandError::NoRoom(NoRoom::Preparing, bytes));
            }
            Err(error) => {
                out.truncate(start);
                let counters = node.statistics.command(command.index);
                counters.failed.fetch_add(1, Relaxed);
                write_error(node, session.resp, &error, out);
            }
        }
        if command.spec.flags.contains(Flags::ADMIN) {
            batch.refresh_settings(node);
        }
        finish(node, session, command, request, batch);
        Ok(())
    }

    fn run_script(
        &mut self,
        command: &'static Command,
        script: ScriptHandler,
        request: Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let start = out.len();
        match script(self, request, out) {
            Ok(()) => {}
            Err(
                error @ (CommandError::NoRoom(NoRoom::Preparing, _) | CommandError::Stopped(_)),
            ) => {
                return Err(error);
            }
            Err(error) => {
                out.truncate(start);
                write_error(self.node, self.session.resp, &error, out);
            }
        }
        finish(self.node, self.session, command, request, self.batch);
        Ok(())
    }

    fn handle(
        &mut self,
        spec: &'static CommandSpec,
        request: Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Deferred>, CommandError> {
        if let Some(tracked) = &self.session.tracking
            && spec.flags.contains(Flags::READONLY)
        {
            tracked.remember(spec.keys.of(request));
        }
        let mut reply = ReplyWriter::new(out, self.session.resp);
        let mut control = match spec.handler {
            Handler::Data(handler) => {
                let before = self.transaction.changed_bytes();
                if spec.flags.contains(Flags::WRITE) && before > CHANGED_BYTES_MAX {
                    return Err(CommandError::NoRoom(NoRoom::TooLarge { bytes: before }, 0));
                }
                if spec.flags.contains(Flags::READONLY) {
                    self.transaction.count_lookups();
                }
                let handled = handler(&mut Call {
                    request,
                    transaction: &mut self.transaction,
                    reply: &mut reply,
                    database: self.session.database,
                    patience: Patience::Allowed,
                    node: self.node,
                });
                match handled {
                    Err(CommandError::Blocked(wait)) => {
                        wait.deny(&mut ReplyWriter::new(out, self.session.resp));
                    }
                    handled => handled?,
                }
                if self.transaction.counts_lookups() {
                    self.batch.tally.looked_up(self.transaction.lookups());
                }
                self.batch.tally.changes += u64::from(self.transaction.changed_bytes() > before);
                return Ok(None);
            }
            _ => Control {
                request,
                session: self.session,
                node: self.node,
                reply: &mut reply,
                transaction: Some(&mut self.transaction),
                unsent_bytes: self.unsent_bytes,
                now_ms: self.batch.moment.now_ms,
            },
        };
        self.batch.tally.flush(&self.node.statistics);
        match spec.handler {
            Handler::Control(handler) => handler(&mut control).map(|()| None),
            Handler::Deferred(handler) => handler(&mut control).map(Some),
            // A unit has no units in it.
            Handler::Data(_) | Handler::Unit(_) | Handler::Script(_) | Handler::Container => {
                Err(CommandError::Arity(spec.name.into()))
            }
        }
    }

    /// Makes the changes last, and unlocks. Returns the replies that are still to come, and where in the output they
    /// belong.
    pub fn commit(self) -> Vec<(usize, Pending)> {
        let Unit {
            node,
            session,
            batch,
            here,
            transaction,
            ..
        } = self;
        let levels = here.map(|(_, levels)| levels);
        let synced = if self.is_wide || !transaction.changes_only(self.database) {
            node.has_synced(&batch.config)
        } else {
            node.is_synced(&batch.config, self.database)
        };
        let outstanding = &mut session.outstanding;
        if !transaction.has_changes() {
            await_record(node, outstanding, levels, synced, None);
        }
        if let Some(offset) = transaction.commit() {
            session.last_write = Some(offset);
            await_record(node, outstanding, levels, synced, Some(offset));
        }
        // What opened it took as long as all of it.
        batch.ticks = self.began;
        self.later
    }
}

/// The reply, if it is there.
fn ready(reply: Pin<&mut (impl Future<Output = Vec<u8>> + ?Sized)>) -> Option<Vec<u8>> {
    match reply.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => Some(reply),
        Poll::Pending => None,
    }
}

/// Goes on until the reply is there: nothing that gives way in between would be let on again while this thread has
/// the locks.
fn complete(
    mut reply: Pin<&mut (impl Future<Output = Vec<u8>> + ?Sized)>,
    session: &Session,
    may_go_on: &dyn Fn() -> bool,
) -> Vec<u8> {
    loop {
        if let Some(reply) = ready(reply.as_mut()) {
            return reply;
        }
        if !may_go_on() {
            let mut out = Vec::new();
            ReplyWriter::new(&mut out, session.resp).error("ERR the script is stopped");
            return out;
        }
        std::thread::yield_now();
    }
}
