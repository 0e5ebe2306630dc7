//! Connections that other nodes, or native clients, opened to this one.

use std::any::Any;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::NodeId;
use coterie_protocol::internal::handshake::Purpose;
use coterie_protocol::internal::{Frame, Kind, Reason, Refusal, Service};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{Ended, SendError};
use super::handshake::{self, Opened, Peer};
use super::output::Output;
use super::session::ticks;
use super::stream::{FrameReader, Silence, farewell, write_queued};
use super::traffic::{Counts, Traffic};
use super::{CallId, Shared};
use crate::clock;

/// How often it is looked whether a dialler is silent.
const TICK: Duration = Duration::from_millis(250);
/// A dialler that was heard within so many ticks is alive.
const ALIVE: u32 = 4;
/// The pause after a failed accept (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that another node opened. Its methods work from any thread and never block.
pub struct Inbound {
    peer: Peer,
    output: Output,
    silence: Silence,
    traffic: Traffic,
    state: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Inbound {
    fn new(peer: Peer, shared: &Shared) -> Inbound {
        let body_limit = shared.options.body_limit_of(peer.who.is_client());
        Inbound {
            peer,
            output: Output::new(shared.options.reply_limit, body_limit),
            silence: Silence::default(),
            traffic: Traffic::within(&shared.traffic),
            state: OnceLock::new(),
        }
    }

    /// Who opened it. Native clients have the id 0.
    pub fn node(&self) -> NodeId {
        self.peer.who.node
    }

    /// Whether a native client opened it, which may only use [`Service::Client`].
    pub fn is_client(&self) -> bool {
        self.peer.who.is_client()
    }

    /// What the handler keeps for this connection, made when it is first asked for, dropped with the connection.
    /// `None` if something of another type was kept before.
    pub fn state<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.state.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// Where that node wants to be dialled; of a client, where it comes from.
    pub fn address(&self) -> SocketAddr {
        self.peer.who.address
    }

    /// Whether that node is in no cluster yet; it may then only use [`Service::Join`].
    pub fn is_joining(&self) -> bool {
        self.peer.joining
    }

    /// The largest body of a frame on it, in bytes.
    pub fn body_limit(&self) -> usize {
        self.output.body_limit()
    }

    /// The version of the internal protocol that is spoken on it.
    pub fn version(&self) -> u16 {
        self.peer.version
    }

    /// How far that node's clock was ahead at the handshake, in milliseconds.
    pub fn clock_offset_ms(&self) -> i64 {
        self.peer.clock_offset_ms
    }

    /// Bytes that wait for the dialler to read them.
    pub fn bytes_waiting(&self) -> usize {
        self.output.waiting()
    }

    /// Answers a call. A dialler that lets too many answers wait is disconnected.
    pub fn reply(&self, call: CallId, body: &[u8]) {
        self.queue(Kind::Reply, 0, call, body);
    }

    /// Says something unasked; false if the connection is closed, or is now because too much waits.
    pub fn push(&self, service: Service, body: &[u8]) -> bool {
        self.queue(Kind::Push, service as u8, 0, body)
    }

    fn queue(&self, kind: Kind, service: u8, call: CallId, body: &[u8]) -> bool {
        match self.output.push(kind, service, call, body) {
            Ok(()) => true,
            Err(SendError::Down) => false,
            Err(reason @ (SendError::Busy | SendError::TooLarge)) => {
                tracing::warn!(peer = %self.node(), %reason, bytes = body.len(), "disconnecting a dialler");
                self.output.close();
                false
            }
        }
    }

    /// Whether it is not closed.
    pub fn is_open(&self) -> bool {
        !self.output.is_closed()
    }

    /// Closes it once what is queued is sent.
    pub fn close(&self) {
        self.output.close();
    }

    fn is_alive(&self) -> bool {
        self.is_open() && self.silence.ticks() < ALIVE
    }

    /// Until the connection breaks or is closed.
    async fn run(self: &Arc<Self>, shared: &Shared, opened: Opened) -> Ended {
        let Opened {
            mut reader,
            mut writer,
            ..
        } = opened;
        let stuck_after = shared.options.broken_after;
        let mut writing = std::pin::pin!(write_queued(
            &self.output,
            &mut writer,
            &self.traffic,
            stuck_after
        ));
        let ended = tokio::select! {
            ended = self.read(shared, &mut reader) => ended,
            ended = self.watch(shared) => ended,
            ended = &mut writing => return ended,
        };
        if let Ended::Refusing(refusal) = &ended {
            shared.refusing(self.address(), refusal);
            self.output.push_control(Kind::Refuse, 0, &refusal.encode());
            farewell(&self.output, writing, &mut reader).await;
        }
        ended
    }

    async fn read(self: &Arc<Self>, shared: &Shared, reader: &mut FrameReader) -> Ended {
        loop {
            // Who does not read answers gets no more of them.
            self.output.writable().await;
            let handled = match reader.next(&self.traffic, &self.silence).await {
                Ok((frame, body)) => self.handle(shared, frame, body),
                Err(ended) => Err(ended),
            };
            if let Err(ended) = handled {
                return ended;
            }
        }
    }

    fn handle(self: &Arc<Self>, shared: &Shared, frame: Frame, body: Bytes) -> Result<(), Ended> {
        let refuse = |reason, detail| Err(Ended::Refusing(Refusal::new(reason, detail)));
        match (frame.kind, Service::new(frame.service)) {
            (Kind::Call | Kind::Send, Some(service)) => {
                if self.peer.joining && service != Service::Join {
                    let detail = format!("node {} has not joined this cluster", self.node());
                    return refuse(Reason::NotJoined, detail);
                }
                if self.is_client() != (service == Service::Client) {
                    let detail =
                        "the service Client is for native clients, all others are for nodes";
                    return refuse(Reason::Garbage, detail.to_owned());
                }
                let call = (frame.kind == Kind::Call).then_some(frame.call);
                shared.handler.received(self, service, call, body);
                Ok(())
            }
            (Kind::Ping, _) => {
                let now = shared.options.clock.now_ms().to_le_bytes();
                self.output.push_control(Kind::Pong, frame.call, &now);
                Ok(())
            }
            (Kind::Refuse, _) => Err(Ended::Refused(Refusal::decode(&body))),
            (kind, _) => refuse(
                Reason::Garbage,
                format!("a frame {kind:?} of service {}", frame.service),
            ),
        }
    }

    async fn watch(&self, shared: &Shared) -> Ended {
        let most = ticks(shared.options.broken_after, TICK);
        let mut timer = clock::ticks(TICK);
        loop {
            timer.tick().await;
            if self.silence.tick() > most {
                return Ended::Silent;
            }
        }
    }
}

/// The connections that are open, by who opened them.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<NodeId, Vec<Arc<Inbound>>>>);

impl Registry {
    /// Refuses a second process of the same node; otherwise takes the connection, and closes the one
    /// that it replaces.
    fn admit(&self, new: &Arc<Inbound>) -> Result<(), Refusal> {
        let mut nodes = self.0.lock();
        let open = nodes.entry(new.node()).or_default();
        if new.is_client() {
            open.push(new.clone());
            return Ok(());
        }
        if let Some(other) = open
            .iter()
            .find(|other| other.is_alive() && is_duplicate(&other.peer, &new.peer))
        {
            return Err(duplicate(&other.peer, &new.peer));
        }
        if new.peer.who.purpose == Purpose::Link {
            open.iter()
                .filter(|other| other.peer.who.purpose == Purpose::Link)
                .for_each(|other| other.close());
        }
        open.push(new.clone());
        Ok(())
    }

    fn forget(&self, gone: &Arc<Inbound>) {
        let mut nodes = self.0.lock();
        if let Some(open) = nodes.get_mut(&gone.node()) {
            open.retain(|other| !Arc::ptr_eq(other, gone));
            if open.is_empty() {
                nodes.remove(&gone.node());
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Inbound>> {
        self.0.lock().values().flatten().cloned().collect()
    }
}

fn is_duplicate(one: &Peer, other: &Peer) -> bool {
    one.who.life != other.who.life && one.who.address != other.who.address
}

fn duplicate(one: &Peer, other: &Peer) -> Refusal {
    Refusal::new(
        Reason::Duplicate,
        format!(
            "two processes say they are node {}, at {} and {}: is a data directory copied?",
            one.who.node, one.who.address, other.who.address
        ),
    )
}

/// Takes connections until the runtime ends.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(shared.options.inbound_limit));
    let client_permits = Arc::new(Semaphore::new(shared.options.client_limit));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection from a node");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            shared.refusing(
                address,
                &Refusal::new(Reason::Busy, "too many connections from other nodes"),
            );
            continue;
        };
        let permits = Permits {
            current: permit,
            clients: client_permits.clone(),
        };
        let shared = shared.clone();
        tokio::spawn(async move { serve(&shared, stream, address, permits).await });
    }
}

/// The right to be connected: of a node until it turns out to be a client, so that clients leave room for nodes.
struct Permits {
    current: OwnedSemaphorePermit,
    clients: Arc<Semaphore>,
}

impl Permits {
    fn for_client(&mut self) -> Result<(), Refusal> {
        let permit = self.clients.clone().try_acquire_owned();
        self.current = permit.map_err(|_| Refusal::new(Reason::Busy, "too many native clients"))?;
        Ok(())
    }
}

async fn serve(shared: &Arc<Shared>, stream: TcpStream, address: SocketAddr, mut permits: Permits) {
    let mut admitted = None;
    let traffic = Traffic::within(&shared.traffic);
    let opened = handshake::accept(shared, stream, address, &traffic, async |peer| {
        if peer.who.is_client() {
            permits.for_client()?;
        }
        let link = shared.link(peer.who.node);
        if let Some(session) = link
            .filter(|link| link.is_responsive())
            .and_then(|link| link.session())
            && is_duplicate(&session.peer, peer)
        {
            return Err(duplicate(&session.peer, peer));
        }
        let inbound = Arc::new(Inbound::new(peer.clone(), shared));
        shared.inbound.admit(&inbound)?;
        admitted = Some(Registered(shared, inbound));
        Ok(())
    })
    .await;
    let ended = match (opened, &admitted) {
        (Ok(opened), Some(Registered(_, inbound))) => {
            Counts::one(&shared.counts.accepted);
            if let Some(link) = shared.link(inbound.node()) {
                link.retry_now();
            }
            tracing::debug!(peer = %inbound.node(), %address, "connection accepted");
            inbound.run(shared, opened).await
        }
        (Ok(_), None) => Ended::Here,
        (Err(ended), _) => ended,
    };
    match &ended {
        // Said already.
        Ended::Refusing(_) => {}
        Ended::Refused(refusal) => shared.refused(address, refusal),
        reason => tracing::debug!(%address, %reason, "connection closed"),
    }
}

/// An admitted connection; closed and forgotten when it ends, however it does.
struct Registered<'a>(&'a Shared, Arc<Inbound>);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.1.close();
        self.0.inbound.forget(&self.1);
    }
}
