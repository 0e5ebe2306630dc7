//! A client that waits, wherever its keys are: until it is served, its time is over, or somebody unblocks it.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use coterie_protocol::{Epoch, OwnedRequest};
use tokio::time::Instant;

use super::attempt::{Attempt, attempt};
use super::elsewhere::{Absence, wait_there};
use super::{Patience, error, nothing};
use crate::blocking::{End, Waiting, Wake};
use crate::commands::call::Deferred;
use crate::commands::conclude::conclude;
use crate::commands::error::CommandError;
use crate::commands::execute::Batch;
use crate::commands::perform::settle;
use crate::commands::routing::{Router, Way};
use crate::commands::table;
use crate::node::Node;
use crate::replication::Peer;
use crate::session::{Origin, Session};

/// How often a waiter in a cluster looks whether its keys have moved to another node.
const ROUTE_CHECK: Duration = Duration::from_millis(500);
const UNBLOCKED: &[u8] = b"UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// Where a client waits.
pub enum Placed {
    /// In the queues of this node, at most so long.
    Here(Waiting, Option<Duration>),
    /// At another node, as known at this epoch.
    Elsewhere(Arc<Peer>, Epoch),
}

/// Waits until a request is served or its time is over; the encoded reply.
pub fn park(node: Arc<Node>, origin: Origin, request: OwnedRequest, placed: Placed) -> Deferred {
    Box::pin(async move {
        let client = Parked {
            node,
            origin,
            request,
            since: Instant::now(),
            tries: AtomicU8::new(0),
        };
        client.wait(placed).await
    })
}

/// A client that waits. There may be many, nearly all of which do nothing else: what comes after waiting is boxed.
pub struct Parked {
    /// The node it is connected to.
    pub node: Arc<Node>,
    /// What its request is executed with.
    pub origin: Origin,
    /// Its request.
    pub request: OwnedRequest,
    since: Instant,
    /// How often it was told to try again.
    tries: AtomicU8,
}

impl Parked {
    async fn wait(&self, mut placed: Placed) -> Vec<u8> {
        loop {
            let ended = match placed {
                Placed::Here(waiting, timeout) => {
                    let end = self.wait_here(&waiting, self.deadline(timeout)).await;
                    // It leaves its place before it waits for anything else.
                    drop(waiting);
                    match end {
                        Some(end) => Some(Box::pin(self.tell(end)).await),
                        None => None,
                    }
                }
                Placed::Elsewhere(peer, epoch) => Box::pin(wait_there(self, &peer, epoch)).await,
            };
            if let Some(reply) = ended {
                return reply;
            }
            // Its keys have moved, or the node was lost that it waited at.
            placed = match Box::pin(self.again()).await {
                Ok(placed) => placed,
                Err(reply) => return reply,
            };
        }
    }

    /// When its time is over.
    pub fn deadline(&self, timeout: Option<Duration>) -> Option<Instant> {
        timeout.and_then(|timeout| self.since.checked_add(timeout))
    }

    /// Whether it was told so often already to try again.
    pub fn is_tired(&self, tries_max: u8) -> bool {
        self.tries.fetch_add(1, Relaxed) >= tries_max
    }

    /// It got somewhere: from now on it may be told so often again.
    pub fn rest(&self) {
        self.tries.store(0, Relaxed);
    }

    /// The reply that an end of waiting makes.
    pub async fn tell(&self, end: End) -> Vec<u8> {
        match end {
            End::Served(mut out, outstanding) => {
                if !outstanding.is_empty() {
                    conclude(*outstanding, &self.node, &self.origin, &mut out).await;
                }
                out
            }
            End::TimedOut => nothing(self.origin.resp),
            End::Unblocked => error(self.origin.resp, UNBLOCKED),
        }
    }

    /// Waits in the queues of this node. `None` if its keys are elsewhere by now.
    async fn wait_here(&self, waiting: &Waiting, deadline: Option<Instant>) -> Option<End> {
        loop {
            tokio::select! {
                biased;
                wake = waiting.woken() => match wake {
                    Wake::Ended(end) => return Some(end),
                    Wake::Turn(key) => tokio::select! {
                        biased;
                        served = Box::pin(self.take_turn(waiting, &key)) => match served {
                            Turn::Over(end) => return Some(end),
                            Turn::Nothing => waiting.tried(),
                            Turn::Elsewhere => return None,
                        },
                        () = until(deadline) => return Some(End::TimedOut),
                    },
                },
                () = until(deadline) => {
                    // Else it is being served at this moment.
                    if waiting.time_out() {
                        return Some(End::TimedOut);
                    }
                    tokio::task::yield_now().await;
                }
                () = self.moved() => {
                    if waiting.take_turn() {
                        return None;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Executes the request, waiting for what it needs. It may be dropped while it waits: nothing was done then.
    async fn take_turn(&self, waiting: &Waiting, key: &[u8]) -> Turn {
        let mut session = self.origin.session();
        let mut out = Vec::new();
        let patience = Patience::Used(waiting.interest().kind, key);
        loop {
            match self.attempt(&mut session, patience, &mut out) {
                Attempt::Done => {
                    let outstanding = std::mem::take(&mut session.outstanding);
                    return Turn::Over(End::Served(out, outstanding.into()));
                }
                Attempt::Nothing | Attempt::Parked(..) => return Turn::Nothing,
                Attempt::Elsewhere(..) => return Turn::Elsewhere,
                Attempt::Later(outcome) => {
                    settle(&self.node, &mut session, outcome, &mut out).await;
                }
            }
        }
    }

    /// Executes the request as if it had just come. Returns where it waits now, or the reply.
    async fn again(&self) -> Result<Placed, Vec<u8>> {
        let mut session = self.origin.session();
        let mut out = Vec::new();
        loop {
            match self.attempt(&mut session, Patience::Allowed, &mut out) {
                Attempt::Done => {
                    let outstanding = std::mem::take(&mut session.outstanding);
                    return Err(self.tell(End::Served(out, outstanding.into())).await);
                }
                Attempt::Parked(waiting, timeout) => return Ok(Placed::Here(waiting, timeout)),
                Attempt::Elsewhere(peer, epoch) => return Ok(Placed::Elsewhere(peer, epoch)),
                Attempt::Nothing => return Err(nothing(self.origin.resp)),
                Attempt::Later(outcome) => {
                    settle(&self.node, &mut session, outcome, &mut out).await;
                }
            }
        }
    }

    fn attempt(&self, session: &mut Session, patience: Patience<'_>, out: &mut Vec<u8>) -> Attempt {
        let mut batch = Batch::begin(&self.node);
        let request = self.request.request();
        let attempt = attempt(&self.node, session, request, patience, out, &mut batch);
        batch.tally.flush(&self.node.statistics);
        attempt
    }

    /// Waits until another node is to execute the request.
    async fn moved(&self) {
        loop {
            tokio::time::sleep(ROUTE_CHECK).await;
            if !matches!(self.way(), None | Some(Ok(Way::Here(..)))) {
                return;
            }
        }
    }

    /// Where the request would be executed now; `None` on a single node.
    pub fn way(&self) -> Option<Result<Way, CommandError>> {
        let replication = self.node.replication.get()?;
        let routes = replication.is_clustered().then(|| replication.routes())?;
        let session = self.origin.session();
        let router = Router {
            node: &self.node,
            replication,
            routes: &routes,
            session: &session,
        };
        let request = self.request.request();
        let command = table::find(request);
        Some(command.and_then(|command| router.route(command.spec, request)))
    }
}

/// What taking a turn has come to.
enum Turn {
    Over(End),
    Nothing,
    Elsewhere,
}

/// Waits for a time; for ever, if there is none.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// An end that the node a client is connected to brings about while it waits elsewhere.
pub async fn ended(absence: &Absence, deadline: Option<Instant>) -> End {
    loop {
        tokio::select! {
            biased;
            wake = absence.waiting().woken() => if let Wake::Ended(end) = wake {
                return end;
            },
            () = until(deadline) => return End::TimedOut,
        }
    }
}
