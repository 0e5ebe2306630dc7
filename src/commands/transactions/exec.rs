//! `EXEC`.

use std::sync::Arc;

use coterie_protocol::{DatabaseId, ReplyWriter, Request};

use super::queue::{Queue, Watched};
use super::{ABORTED, cluster};
use crate::commands::acl;
use crate::commands::call::Deferred;
use crate::commands::error::CommandError;
use crate::commands::execute::write_error;
use crate::commands::record::Pending;
use crate::commands::table::Command;
use crate::commands::unit::{Opening, Reach, Unit, later_bytes};
use crate::node::Node;
use crate::session::{ReplyMode, Session};
use crate::wal::NoRoom;

/// Executes what was queued since `MULTI`.
pub fn exec(
    mut opening: Opening<'_>,
    _request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Deferred>, CommandError> {
    let Some(queue) = opening.session.queue.clone() else {
        return Err(CommandError::line("ERR EXEC without MULTI"));
    };
    if queue.failed {
        opening.session.end_transaction();
        return Err(ABORTED);
    }
    if opening.batch.routes.is_some() {
        return cluster::exec(opening, &queue).map(Some);
    }
    let start = out.len();
    let mut payload = std::mem::take(&mut opening.session.payload);
    let done = run(opening.reborrow(), &queue, &mut payload, out);
    let Opening { node, session, .. } = opening;
    session.payload = payload;
    // What has to be done again finds the queue as it was.
    if !matches!(&done, Err(CommandError::NoRoom(NoRoom::Preparing, _))) {
        session.end_transaction();
    }
    let later = done?;
    if later.is_empty() {
        return Ok(None);
    }
    let (node, written) = (node.clone(), out.split_off(start));
    Ok(Some(Box::pin(async move {
        complete(&node, &written, start, later).await
    })))
}

/// What a client has chosen, to take it back.
fn choices(session: &Session) -> impl FnOnce(&mut Session) + use<> {
    let (origin, reply_mode) = (session.origin(), session.reply_mode);
    let (authenticated, last_write) = (session.authenticated, session.last_write);
    let user = session.user.clone();
    move |session| {
        session.database = origin.database;
        session.set_resp(origin.resp);
        session.no_touch = origin.no_touch;
        session.consistency = origin.consistency;
        session.reply_mode = reply_mode;
        if let Some(user) = &user {
            session.log_in(user);
        }
        session.authenticated = authenticated;
        session.last_write = last_write;
    }
}

/// Executes what was queued, unless a watched key was changed. Returns the replies that are still to come, and where
/// they belong.
fn run(
    mut opening: Opening<'_>,
    queue: &Queue,
    payload: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Vec<(usize, Pending)>, CommandError> {
    let watched = std::mem::take(&mut opening.session.watched);
    let seen = |watched: &Watched| watched.seen.fingerprint();
    let states: Vec<_> = watched
        .iter()
        .map(|watched| (watched.database, watched.key.as_slice(), seen(watched)))
        .collect();
    let commands: Vec<_> = queue
        .commands
        .iter()
        .map(|queued| (queued.command, queued.request()))
        .collect();
    let take_back = choices(opening.session);
    let mode = opening.session.reply_mode;
    let result = execute_all(opening.reborrow(), &states, &commands, payload, out);
    let session = opening.session;
    match &result {
        Err(CommandError::NoRoom(NoRoom::Preparing, _)) => {
            take_back(session);
            session.watched = watched;
        }
        // Commands inside have decided which of their replies the client wants.
        _ => session.answered = mode != ReplyMode::Skip,
    }
    result
}

/// A key, and the fingerprint it must have; `None` if that is not known.
pub type State<'k> = (DatabaseId, &'k [u8], Option<u64>);

/// Executes commands as one unit, unless a key has another fingerprint than it must have.
pub fn execute_all<'k>(
    mut opening: Opening<'_>,
    watched: &[State<'k>],
    commands: &[(&'static Command, Request<'k>)],
    payload: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Vec<(usize, Pending)>, CommandError> {
    let mut reach = Reach::default();
    let is_clustered = opening.batch.routes.is_some();
    for (command, request) in commands {
        reach.add(command.spec, *request, is_clustered);
    }
    let mut left = reach.bytes;
    reach.keys.extend(watched.iter().map(|(_, key, _)| key));
    let began = opening.batch.ticks;
    let done = (|| {
        let mode = opening.session.reply_mode;
        let mut unit = Unit::begin(opening.reborrow(), &reach, payload)?;
        let resp = unit.session().resp;
        let transaction = unit.transaction();
        let is_same = |(database, key, seen): &State<'k>| {
            *seen == Some(transaction.fingerprint(*database, key))
        };
        if !watched.iter().all(is_same) {
            ReplyWriter::new(out, resp).null_array();
            return Ok(unit.commit());
        }
        if mode == ReplyMode::On {
            ReplyWriter::new(out, resp).array(commands.len());
        }
        for &(command, request) in commands {
            let start = out.len();
            left = left.saturating_sub(later_bytes(command.spec, request));
            let node = unit.node();
            match acl::admit_queued(node, unit.session(), command, request) {
                Ok(()) => unit.run(command, request, left, out)?,
                Err(error) => write_error(node, unit.session().resp, &error, out),
            }
            if unit.session().reply_mode == ReplyMode::Off {
                out.truncate(start);
            }
        }
        Ok(unit.commit())
    })();
    // What opened it took as long as all of it, also if it is undone.
    opening.batch.ticks = began;
    done
}

/// Puts the replies that come later in their places.
async fn complete(
    node: &Arc<Node>,
    written: &[u8],
    start: usize,
    later: Vec<(usize, Pending)>,
) -> Vec<u8> {
    let mut reply = Vec::with_capacity(written.len() + 64 * later.len());
    let mut copied = 0;
    for (at, pending) in later {
        reply.extend_from_slice(&written[copied..at - start]);
        copied = at - start;
        reply.extend_from_slice(&pending.wait(node).await);
    }
    reply.extend_from_slice(&written[copied..]);
    reply
}
