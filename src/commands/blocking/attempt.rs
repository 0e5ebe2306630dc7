//! One execution of a request that may wait, through the ordinary path. It is not counted as a command: the one that
//! waits is.

use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::{Epoch, Request};

use super::Patience;
use crate::blocking::Waiting;
use crate::commands::admission::check_resources;
use crate::commands::dispatch::{Routed, route, subject_of};
use crate::commands::error::CommandError;
use crate::commands::execute::{Batch, Outcome, note_outstanding, write_error};
use crate::commands::routing::Way;
use crate::commands::run::{Data, Ran, run_data};
use crate::commands::spec::{Flags, Handler};
use crate::commands::table;
use crate::node::Node;
use crate::replication::Peer;
use crate::session::Session;
use crate::wal::NoRoom;

/// What an execution has come to.
pub enum Attempt {
    /// The reply is there, be it an error.
    Done,
    /// There was nothing; it has waited before, and goes on.
    Nothing,
    /// There was nothing; now it waits, at most so long.
    Parked(Waiting, Option<Duration>),
    /// Another node executes it, as known at this epoch.
    Elsewhere(Arc<Peer>, Epoch),
    /// Nothing was done, and this has to be waited for first.
    Later(Outcome),
}

/// Executes a request of a command that may wait, appending the reply, if there is one, to `out`.
pub fn attempt(
    node: &Arc<Node>,
    session: &mut Session,
    request: Request<'_>,
    patience: Patience<'_>,
    out: &mut Vec<u8>,
    batch: &mut Batch,
) -> Attempt {
    let start = out.len();
    let tried = try_once(node, session, request, patience, out, batch);
    tried.unwrap_or_else(|error| {
        out.truncate(start);
        if let CommandError::NoRoom(NoRoom::Preparing, bytes) = error {
            return Attempt::Later(Outcome::NoRoom(bytes));
        }
        write_error(node, session.resp, &error, out);
        Attempt::Done
    })
}

fn try_once(
    node: &Arc<Node>,
    session: &mut Session,
    request: Request<'_>,
    patience: Patience<'_>,
    out: &mut Vec<u8>,
    batch: &mut Batch,
) -> Result<Attempt, CommandError> {
    let start = out.len();
    let spec = table::find(request)?.spec;
    let Handler::Data(handler) = spec.handler else {
        debug_assert!(false, "only data is waited for");
        return Err(CommandError::Arity(spec.name.into()));
    };
    let may_write = spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
    if let Some(until_ms) = node.pause.holds(may_write, batch.moment.now_ms) {
        return Ok(Attempt::Later(Outcome::Paused(until_ms)));
    }
    check_resources(node, session, spec, request, batch)?;
    let routed = route(node, session, spec, request, batch)?;
    if !matches!(routed, Routed::Later(_)) {
        session.refreshed = None;
        session.waits = 0;
    }
    let here = match routed {
        Routed::Here(here) => here,
        Routed::Elsewhere(Way::Forward(_, peer)) => {
            session.outstanding.release();
            return Ok(Attempt::Elsewhere(peer, batch.epoch()));
        }
        Routed::Elsewhere(_) => {
            debug_assert!(false, "what waits is about one partition");
            return Err(CommandError::Syntax);
        }
        Routed::Later(outcome) => return Ok(Attempt::Later(outcome)),
    };
    let data = Data {
        spec,
        request,
        handler,
        here: here.as_ref(),
        patience,
    };
    match run_data(node, session, &data, out, batch)? {
        Ran::Replied => {}
        Ran::Nothing => {
            out.truncate(start);
            session.outstanding.release();
            return Ok(Attempt::Nothing);
        }
        Ran::Parked(waiting, timeout) => {
            out.truncate(start);
            session.outstanding.release();
            return Ok(Attempt::Parked(waiting, timeout));
        }
    }
    if let Some((partition, _)) = here {
        let subject = subject_of(spec, request, partition);
        note_outstanding(session, batch, subject, request, start..out.len());
    }
    Ok(Attempt::Done)
}
