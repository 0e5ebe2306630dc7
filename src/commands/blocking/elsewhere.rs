//! A client whose request another node executes: it has a place in the queues there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::{Epoch, OwnedRequest, Request};
use tokio::time::{Instant, timeout_at};

use super::error;
use super::park::{Parked, Placed, ended, park};
use super::places::{AWAIT_MAX, Answer, Verb};
use crate::blocking::{Interest, Waiting};
use crate::commands::call::Deferred;
use crate::commands::conclude::{READ_FAILED, RETRY_AFTER, TRIES_MAX, TRY_AGAIN, WRITE_UNKNOWN};
use crate::commands::routing::Way;
use crate::commands::spanning;
use crate::commands::spec::Flags;
use crate::commands::table;
use crate::node::Node;
use crate::replication::Peer;
use crate::session::Session;
use crate::store::Kind;
use crate::topology::BoxFuture;
use crate::transport::CallError;

/// A node that has not answered so long after the longest it waits is lost.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// Pause before it is looked whether a node is connected again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Waits for what another node finds; the encoded reply.
pub fn elsewhere(
    node: &Arc<Node>,
    session: &Session,
    request: Request<'_>,
    peer: Arc<Peer>,
    epoch: Epoch,
) -> Deferred {
    let request = OwnedRequest::from(request);
    let placed = Placed::Elsewhere(peer, epoch);
    park(node.clone(), session.origin(), request, placed)
}

/// A client that waits at another node, as the node it is connected to knows it.
pub struct Absence(Waiting);

impl Absence {
    fn new(parked: &Parked) -> Self {
        Absence(parked.node.engine.waiters().add(Interest {
            origin: parked.origin.clone(),
            request: parked.request.clone(),
            kind: Kind::String,
            keys: Vec::new(),
        }))
    }

    /// What it is woken by.
    pub fn waiting(&self) -> &Waiting {
        &self.0
    }
}

/// A place in another node's queues, which is given up with it.
struct Place<'p> {
    parked: &'p Parked,
    peer: &'p Arc<Peer>,
    epoch: Epoch,
    /// 0 for none.
    id: u64,
}

impl Place<'_> {
    fn call(&self, verb: Verb) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let Parked { node, origin, .. } = self.parked;
        let request = verb.request(self.id, &self.parked.request);
        // Only what is executed can come too late.
        let sent_ms = if verb == Verb::Try { node.now_ms() } else { 0 };
        let session = origin.session();
        spanning::forward(
            self.peer,
            &session,
            self.epoch,
            sent_ms,
            &[],
            None,
            request.request(),
        )
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            // Sent at once; nobody is interested in the answer.
            drop(self.call(Verb::Leave));
        }
    }
}

/// Waits at another node. `None` if the request is to be routed again.
pub async fn wait_there(parked: &Parked, peer: &Arc<Peer>, epoch: Epoch) -> Option<Vec<u8>> {
    let absence = Absence::new(parked);
    let mut place = Place {
        parked,
        peer,
        epoch,
        id: 0,
    };
    loop {
        let timeout = match try_there(&mut place).await {
            Tried::Over(reply) => return Some(reply),
            Tried::Lost => return None,
            Tried::Parked(timeout) => timeout,
        };
        let deadline = parked.deadline(timeout);
        loop {
            let awaited = timeout_at(
                Instant::now() + AWAIT_MAX + ANSWER_MARGIN,
                place.call(Verb::Await),
            );
            let answer = tokio::select! {
                biased;
                end = ended(&absence, deadline) => return Some(parked.tell(end).await),
                answer = awaited => answer,
            };
            let answer = answer.ok().and_then(Result::ok);
            match answer.as_deref().and_then(Answer::read) {
                Some(Answer::Turn) => break,
                Some(Answer::Patience) if is_at(parked, peer) => {}
                // It has forgotten the place, is gone, or is not the one any more: nothing was done there.
                _ => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    return None;
                }
            }
        }
    }
}

/// Whether it is still this node that executes the request.
fn is_at(parked: &Parked, peer: &Arc<Peer>) -> bool {
    matches!(parked.way(), Some(Ok(Way::Forward(_, at))) if Arc::ptr_eq(&at, peer))
}

/// What having a request executed has come to.
enum Tried {
    Over(Vec<u8>),
    /// There was nothing, and it waits there, at most so long.
    Parked(Option<Duration>),
    Lost,
}

async fn try_there(place: &mut Place<'_>) -> Tried {
    let parked = place.parked;
    let Parked { node, origin, .. } = parked;
    if !place.peer.is_connected() {
        // Nothing is sent. Soon another node is to execute it, or this one is back.
        if parked.is_tired(TRIES_MAX) {
            return Tried::Over(error(origin.resp, READ_FAILED));
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
        return Tried::Lost;
    }
    let write_timeout = Duration::from_millis(node.config.load().write_timeout_ms.into());
    let answer = timeout_at(Instant::now() + write_timeout, place.call(Verb::Try)).await;
    let reply = match answer {
        Ok(Ok(reply)) => reply,
        _ => {
            let request = parked.request.request();
            let spec = table::find(request).map(|command| command.spec);
            let writes = spec.is_ok_and(|spec| spec.flags.intersects(Flags::WRITE));
            place.id = 0;
            // It may have been executed.
            let line = if writes { WRITE_UNKNOWN } else { READ_FAILED };
            return Tried::Over(error(origin.resp, line));
        }
    };
    if let Some(Answer::Parked(id, timeout)) = Answer::read(&reply) {
        place.id = id;
        parked.rest();
        return Tried::Parked(timeout);
    }
    place.id = 0;
    if reply.starts_with(TRY_AGAIN) && !parked.is_tired(TRIES_MAX) {
        tokio::time::sleep(RETRY_AFTER).await;
        return Tried::Lost;
    }
    Tried::Over(reply.to_vec())
}
