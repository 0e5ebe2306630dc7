//! A lasting connection to one peer, opened by this node and opened again when it breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use coterie_protocol::NodeId;
use coterie_protocol::internal::handshake::Purpose;
use coterie_protocol::internal::{Refusal, Service};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Shared;
use super::error::{CallError, Ended, SendError};
use super::handshake::{self, Opened};
use super::session::{Session, ticks};
use super::traffic::Traffic;

/// The link to one peer. Its methods work from any thread and never block.
pub struct Link {
    peer: NodeId,
    address: Mutex<SocketAddr>,
    session: ArcSwapOption<Session>,
    silent_after: u32,
    retry: Notify,
    removed: AtomicBool,
    traffic: Traffic,
    connects: AtomicU64,
    last_error: Mutex<Option<String>>,
    ping_interval: Duration,
}

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Where the peer is dialled.
    pub address: SocketAddr,
    /// Since when it is up, if it is.
    pub connected_since: Option<Instant>,
    /// The version of the internal protocol that is spoken, 0 while down.
    pub version: u16,
    /// The latest time from a ping to its answer; zero before the first.
    pub round_trip: Duration,
    /// How far the peer's clock is ahead, in milliseconds, beyond what the round trip explains.
    pub clock_offset_ms: i64,
    /// See [`Link::silent_for`].
    pub silent_for: Option<Duration>,
    /// Bytes received, over all connections of the link.
    pub bytes_received: u64,
    /// Bytes sent, likewise.
    pub bytes_sent: u64,
    /// Bytes that wait to be sent.
    pub bytes_waiting: usize,
    /// How often it was connected again after the first time.
    pub reconnects: u64,
    /// Why it is down, if it is and this is known.
    pub last_error: Option<String>,
}

impl Link {
    pub(super) fn new(peer: NodeId, address: SocketAddr, shared: &Shared) -> Link {
        let options = &shared.options;
        Link {
            peer,
            address: Mutex::new(address),
            session: ArcSwapOption::empty(),
            silent_after: ticks(options.silence, options.ping_interval),
            retry: Notify::new(),
            removed: AtomicBool::new(false),
            traffic: Traffic::within(&shared.traffic),
            connects: AtomicU64::new(0),
            last_error: Mutex::default(),
            ping_interval: options.ping_interval,
        }
    }

    /// The peer.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Where it is dialled.
    pub fn address(&self) -> SocketAddr {
        *self.address.lock()
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session
            .load_full()
            .filter(|session| !session.output.is_closed())
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.session
            .load()
            .as_ref()
            .is_some_and(|session| !session.output.is_closed())
    }

    /// Whether there is a connection and the peer was heard on it lately (`Options::silence`).
    pub fn is_responsive(&self) -> bool {
        self.session.load().as_ref().is_some_and(|session| {
            session.silence.ticks() <= self.silent_after && !session.output.is_closed()
        })
    }

    /// How long nothing was heard, in steps of the ping interval; `None` while it is down.
    pub fn silent_for(&self) -> Option<Duration> {
        let session = self.session();
        session.map(|session| session.silence.ticks() * self.ping_interval)
    }

    /// Queues a message without a reply. What one thread sends and calls arrives in that order, unless
    /// the connection breaks.
    pub fn send(&self, service: Service, body: &[u8]) -> Result<(), SendError> {
        match &*self.session.load() {
            Some(session) => session.send(service, body),
            None => Err(SendError::Down),
        }
    }

    /// Queues a call at once; the future is its reply. It ends as broken as soon as the connection
    /// does; it has no time limit of its own. Dropping it forgets the reply.
    pub fn call(
        &self,
        service: Service,
        body: &[u8],
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + 'static + use<> {
        let pending = match self.session.load_full() {
            Some(session) => session.call(service, body),
            None => Err(SendError::Down),
        };
        async move { pending?.wait().await }
    }

    /// Until less than half of the buffer is used. Returns at once while the link is down.
    pub async fn writable(&self) {
        if let Some(session) = self.session() {
            session.output.writable().await;
        }
    }

    /// Dials at once if the link waits to be dialled again.
    pub fn retry_now(&self) {
        self.retry.notify_one();
    }

    /// How it is.
    pub fn status(&self) -> LinkStatus {
        let session = self.session();
        let session = session.as_deref();
        LinkStatus {
            address: self.address(),
            connected_since: session.map(|session| session.since),
            version: session.map_or(0, |session| session.peer.version),
            round_trip: session.map_or(Duration::ZERO, Session::round_trip),
            clock_offset_ms: session.map_or(0, Session::clock_offset_ms),
            silent_for: self.silent_for(),
            bytes_received: self.traffic.received(),
            bytes_sent: self.traffic.sent(),
            bytes_waiting: session.map_or(0, |session| session.output.waiting()),
            reconnects: self.connects.load(Relaxed).saturating_sub(1),
            last_error: self.last_error.lock().clone(),
        }
    }

    /// The peer lives elsewhere now.
    pub(super) fn move_to(&self, address: SocketAddr) {
        let before = std::mem::replace(&mut *self.address.lock(), address);
        if before != address {
            self.disconnect();
            self.retry_now();
        }
    }

    /// Closes the connection, if there is one; it is opened again.
    pub(super) fn disconnect(&self) {
        if let Some(session) = self.session.load_full() {
            session.close();
        }
    }

    /// The peer is none any more.
    pub(super) fn remove(&self) {
        self.removed.store(true, Relaxed);
        self.disconnect();
        self.retry_now();
    }

    /// Keeps the link connected until it is removed.
    pub(super) async fn maintain(self: Arc<Self>, shared: Arc<Shared>) {
        let options = &shared.options;
        let mut pause = options.backoff;
        while !self.removed.load(Relaxed) {
            let address = self.address();
            let dialled = handshake::dial(
                &shared,
                address,
                Some(self.peer),
                Purpose::Link,
                &self.traffic,
            );
            let ended = match dialled.await {
                Ok(opened) => {
                    pause = options.backoff;
                    self.connected(&shared, opened).await
                }
                Err(ended) => ended,
            };
            let refused = matches!(ended, Ended::Refusing(_) | Ended::Refused(_));
            self.explain(&shared, address, ended);
            if refused {
                // It will hardly change its mind at once.
                pause = options.backoff_limit;
            }
            // The shortest pause even if hinted, so that two nodes can't drive each other.
            sleep(options.backoff.min(pause)).await;
            tokio::select! {
                () = sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {
                    pause = (pause * 2).min(options.backoff_limit);
                }
                () = self.retry.notified() => pause = options.backoff,
            }
        }
    }

    async fn connected(self: &Arc<Self>, shared: &Arc<Shared>, opened: Opened) -> Ended {
        let session = Arc::new(Session::new(opened.peer.clone(), &shared.options));
        self.connects.fetch_add(1, Relaxed);
        *self.last_error.lock() = None;
        tracing::info!(peer = %self.peer, address = %self.address(), version = opened.peer.version, "link up");
        // A task of its own, so that a panic in the handler ends the connection and not the link.
        let running = tokio::spawn({
            let (link, shared, session) = (self.clone(), shared.clone(), session.clone());
            async move {
                let _closing = Closing(&link, &session);
                link.session.store(Some(session.clone()));
                if link.removed.load(Relaxed) {
                    return Ended::Here;
                }
                shared.handler.link_changed(link.peer, true);
                session.run(&shared, opened, &link.traffic).await
            }
        });
        let ended = running
            .await
            .unwrap_or_else(|panic| Ended::Io(std::io::Error::other(panic)));
        shared.handler.link_changed(self.peer, false);
        ended
    }

    fn explain(&self, shared: &Shared, address: SocketAddr, ended: Ended) {
        if let Ended::Refused(refusal) = &ended {
            shared.refused(address, refusal);
        }
        let text = ended.to_string();
        let mut last = self.last_error.lock();
        if last.as_ref() != Some(&text) && !self.removed.load(Relaxed) {
            tracing::warn!(peer = %self.peer, %address, reason = %text, "link down");
        }
        *last = Some(text);
    }
}

/// Takes the session off the link, also if its task panics or is dropped.
struct Closing<'a>(&'a Link, &'a Arc<Session>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.session.store(None);
        self.1.close();
    }
}

/// One call over a connection of its own.
pub(super) async fn call_once(
    shared: Arc<Shared>,
    address: SocketAddr,
    service: Service,
    body: Bytes,
) -> Result<Bytes, CallError> {
    let traffic = Traffic::within(&shared.traffic);
    let opened = handshake::dial(&shared, address, None, Purpose::Call, &traffic)
        .await
        .map_err(|ended| failed(&shared, address, ended))?;
    let session = Arc::new(Session::new(opened.peer.clone(), &shared.options));
    let pending = session.clone().call(service, &body)?;
    let result = tokio::select! {
        reply = pending.wait() => reply,
        ended = session.run(&shared, opened, &traffic) => Err(failed(&shared, address, ended)),
    };
    session.close();
    result
}

fn failed(shared: &Shared, address: SocketAddr, ended: Ended) -> CallError {
    let refuse = |refusal: Refusal| CallError::Refused(refusal);
    match ended {
        Ended::Refusing(refusal) => refuse(refusal),
        Ended::Refused(refusal) => {
            shared.refused(address, &refusal);
            refuse(refusal)
        }
        Ended::Io(error) => CallError::Unreachable(error.to_string()),
        Ended::Handshake => CallError::Unreachable(ended.to_string()),
        Ended::ByPeer | Ended::Here | Ended::Silent | Ended::Stuck => CallError::Broken,
    }
}
