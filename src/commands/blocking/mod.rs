//! Commands that wait for data: what a handler says that found nothing, how its client waits, and how those who wait
//! are served.
//!
//! A change of a key leaves a note with [`Waiters`](crate::blocking::Waiters). Whoever made it executes the requests of
//! those who wait, in their order, as long as there is something; what can't be executed at once (no room in the log,
//! a pause, another node) is handed over to the task of the client.
//!
//! In a cluster a client waits at the replica that executes its request. From another node it is given a *place* in
//! the queues there (see [`Places`]): when its turn comes the node is told, and only then sends the request again. So
//! nothing is taken out of a key for a client whose node may be gone.

mod attempt;
mod elsewhere;
mod park;
mod places;
mod serve;
mod timeout;

use std::ops::Range;
use std::time::Duration;

use coterie_protocol::{OwnedRequest, ReplyWriter, Request, RespVersion};

use super::call::Call;
use super::error::{CommandError, CommandResult};
use crate::blocking::Interest;
use crate::session::Origin;
use crate::store::{Entry, Kind};

pub(super) use elsewhere::elsewhere;
pub(super) use park::{Placed, park};
pub(super) use places::{Places, Verb};
pub use serve::{serve, serve_always};
pub use timeout::timeout;

/// What a command waits for that found nothing.
#[derive(Debug)]
pub struct Wait {
    kind: Kind,
    timeout: Option<Duration>,
    keys: Range<usize>,
    repeated: Option<OwnedRequest>,
    denied_with_null: bool,
}

impl Wait {
    /// Until one of the keys at these arguments has something of this kind; `None` for however long.
    pub fn new(kind: Kind, timeout: Option<Duration>, keys: Range<usize>) -> Self {
        Wait {
            kind,
            timeout,
            keys,
            repeated: None,
            denied_with_null: false,
        }
    }

    /// What is executed once there may be something, where that is not the request itself: `$` of `XREAD` means
    /// what is last at this moment.
    pub fn repeating(self, request: OwnedRequest) -> Self {
        Wait {
            repeated: Some(request),
            ..self
        }
    }

    /// Where it must not wait, the answer is a null and not a null array.
    pub fn denied_with_null(self) -> Self {
        Wait {
            denied_with_null: true,
            ..self
        }
    }

    /// Answers where nobody can wait: in transactions and scripts.
    pub fn deny(&self, reply: &mut ReplyWriter<'_>) {
        if self.denied_with_null {
            reply.null();
        } else {
            reply.null_array();
        }
    }

    /// For how long.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The interest of the client whose request it is.
    pub fn interest(&self, request: Request<'_>, origin: Origin) -> Interest {
        let keys = self.keys.clone().map(|index| request.arg(index).to_vec());
        let repeated = self.repeated.clone();
        Interest {
            origin,
            kind: self.kind,
            keys: keys.collect(),
            request: repeated.unwrap_or_else(|| request.into()),
        }
    }
}

/// Whether a call may wait, or has waited.
#[derive(Clone, Copy)]
pub enum Patience<'c> {
    /// It may.
    Allowed,
    /// It has, for this kind, and its turn is for this key.
    Used(Kind, &'c [u8]),
}

impl Patience<'_> {
    /// Whether a key is to be passed over: who waits is served only from the key it was woken for, and a value of
    /// another kind is nothing to it.
    pub fn ignores(&self, key: &[u8], entry: Option<&Entry>) -> bool {
        match *self {
            Patience::Allowed => false,
            Patience::Used(kind, ready) => {
                ready != key || entry.is_some_and(|entry| entry.kind() != kind)
            }
        }
    }
}

impl Call<'_, '_> {
    /// Says that there is nothing yet. Called before any change is made; what it returns is the handler's result.
    pub fn wait(&mut self, wait: Wait) -> CommandResult {
        Err(CommandError::Blocked(Box::new(wait)))
    }
}

/// The answer of who has waited in vain.
fn nothing(resp: RespVersion) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, resp).null_array();
    out
}

/// An error as an encoded reply.
fn error(resp: RespVersion, line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, resp).error(line);
    out
}
