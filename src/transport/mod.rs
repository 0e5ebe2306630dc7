//! Speaks with the other nodes: links, replies and datagrams.
//!
//! The bytes are documented in [`coterie_protocol::internal`]. Everything runs on one thread, `cluster`,
//! with its own runtime, so that a node that is busy with clients still answers its peers at once.

mod datagrams;
mod error;
mod handshake;
mod inbound;
mod link;
mod options;
mod output;
mod refusals;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coterie_protocol::internal::handshake::{Introduction, Purpose};
pub use coterie_protocol::internal::{Reason, Refusal, Secret, Service};
use coterie_protocol::{ClusterId, NodeId};
use parking_lot::RwLock;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use datagrams::Datagrams;
pub use error::{CallError, DatagramError, SendError};
pub use inbound::Inbound;
use inbound::Registry;
pub use link::{Link, LinkStatus};
pub use options::Options;
use refusals::{Refusals, Refused};
pub use traffic::Counters;
use traffic::{Counts, Traffic};

/// The number of a call on its connection.
pub type CallId = u64;

/// How long what is queued may take to leave when the transport stops.
const FLUSH: Duration = Duration::from_millis(250);
/// How many free ports are tried until one is free for TCP and UDP.
const PORT_ATTEMPTS: u32 = 32;

/// Who takes what arrives. Called on the transport's runtime, in order for each connection; must not block.
pub trait Handler: Send + Sync + 'static {
    /// A message on a connection that another node opened; with `call` it wants a reply, now or later.
    fn received(&self, from: &Arc<Inbound>, service: Service, call: Option<CallId>, body: Bytes);

    /// What the acceptor pushed on a connection that we opened.
    fn pushed(&self, from: NodeId, service: Service, body: Bytes);

    /// The link that we opened is up, or down.
    fn link_changed(&self, peer: NodeId, up: bool);

    /// A datagram; signed by `from`, once.
    fn datagram(&self, from: NodeId, address: SocketAddr, payload: Bytes) {
        let _ = (from, address, payload);
    }

    /// The node at `address` refuses to speak to this one.
    fn refused(&self, address: SocketAddr, refusal: &Refusal) {
        let _ = (address, refusal);
    }
}

/// What all connections share.
pub(crate) struct Shared {
    options: Options,
    /// Where others shall dial.
    advertised: SocketAddr,
    /// Tells this process from others that use the same data directory.
    life: u64,
    started: Instant,
    cluster: RwLock<ClusterId>,
    handler: Arc<dyn Handler>,
    links: RwLock<HashMap<NodeId, Arc<Link>>>,
    inbound: Registry,
    datagrams: Datagrams,
    traffic: Arc<Traffic>,
    counts: Counts,
    refusals: Refusals,
}

impl Shared {
    fn cluster(&self) -> ClusterId {
        *self.cluster.read()
    }

    fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.links.read().get(&node).cloned()
    }

    fn introduction(&self, purpose: Purpose) -> Introduction {
        Introduction {
            purpose,
            cluster: self.cluster(),
            node: self.options.node,
            life: self.life,
            partitions: self.options.partitions.count(),
            clock_ms: self.options.clock.now_ms(),
            address: self.advertised,
        }
    }

    /// This node refuses a peer.
    fn refusing(&self, address: SocketAddr, refusal: &Refusal) {
        Counts::one(&self.counts.refused);
        if self.is_news(Refused::Connection(address.ip(), refusal.reason)) {
            tracing::warn!(%address, reason = ?refusal.reason, "refused a node: {refusal}");
        }
    }

    fn is_news(&self, refused: Refused) -> bool {
        self.refusals.is_news(refused, self.started.elapsed())
    }

    /// A peer refuses this node.
    fn refused(&self, address: SocketAddr, refusal: &Refusal) {
        if self.is_news(Refused::Connection(address.ip(), refusal.reason)) {
            tracing::warn!(%address, reason = ?refusal.reason, "a node refuses this one: {refusal}");
        }
        self.handler.refused(address, refusal);
    }

    /// Nothing more is queued; what is, may leave.
    fn close_all(&self) {
        for link in self.links.write().drain().map(|(_, link)| link) {
            link.remove();
        }
        for inbound in self.inbound.all() {
            inbound.close();
        }
    }
}

/// Why a transport does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("can't listen for other nodes on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The thread or its runtime can't be started.
    #[error("can't start the thread of the cluster: {0}")]
    Thread(#[source] io::Error),
}

/// This node's side of the network between the nodes.
pub struct Transport {
    shared: Arc<Shared>,
    runtime: Handle,
    listening: SocketAddr,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

impl Transport {
    /// Listens with TCP and UDP on the same port, and starts the thread.
    pub async fn start(
        options: Options,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<Transport>, StartError> {
        let (tcp, udp) = bind(options.listen).map_err(|source| StartError::Listen {
            address: options.listen,
            source,
        })?;
        Transport::start_on(options, handler, tcp, udp).map_err(StartError::Thread)
    }

    fn start_on(
        options: Options,
        handler: Arc<dyn Handler>,
        tcp: TcpListener,
        udp: UdpSocket,
    ) -> io::Result<Arc<Transport>> {
        let listening = tcp.local_addr()?;
        let advertised = options.advertise.unwrap_or_else(|| reachable(listening));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared {
            advertised,
            life: rand::random(),
            started: Instant::now(),
            cluster: RwLock::new(options.cluster),
            handler,
            links: RwLock::default(),
            inbound: Registry::default(),
            datagrams: Datagrams::new(udp.try_clone()?),
            traffic: Arc::default(),
            counts: Counts::default(),
            refusals: Refusals::default(),
            options,
        });
        {
            let _inside = runtime.enter();
            runtime.spawn(inbound::listen(
                shared.clone(),
                tokio::net::TcpListener::from_std(tcp)?,
            ));
            runtime.spawn(datagrams::receive(
                shared.clone(),
                tokio::net::UdpSocket::from_std(udp)?,
            ));
        }
        if shared.options.secret.is_none() {
            tracing::warn!(
                "no cluster secret is set: this node speaks to other nodes over loopback only"
            );
        }
        tracing::info!(%listening, %advertised, node = %shared.options.node, "listening for other nodes");
        let (stop, stopping) = watch::channel(false);
        let (done, stopped) = watch::channel(false);
        let transport = Arc::new(Transport {
            shared: shared.clone(),
            runtime: runtime.handle().clone(),
            listening,
            stop,
            stopped,
        });
        std::thread::Builder::new()
            .name("cluster".into())
            .spawn(move || run(runtime, &shared, stopping, &done))?;
        Ok(transport)
    }

    /// Where it listens.
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// Where it tells others to dial.
    pub fn advertised(&self) -> SocketAddr {
        self.shared.advertised
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.options.node
    }

    /// The runtime of the thread `cluster`. What is spawned there must not block, and ends when the
    /// transport stops.
    pub fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// The cluster; 0 for none yet.
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster()
    }

    /// This node belongs to this cluster from now on. Links to nodes of another one break.
    pub fn set_cluster(&self, cluster: ClusterId) {
        let before = std::mem::replace(&mut *self.shared.cluster.write(), cluster);
        if before != cluster {
            for link in self.shared.links.read().values() {
                link.disconnect();
                link.retry_now();
            }
        }
    }

    /// The nodes to be linked to from now on: new ones are dialled, others are dropped. This node itself
    /// may be among them.
    pub fn set_peers(&self, peers: impl IntoIterator<Item = (NodeId, SocketAddr)>) {
        let mut links = self.shared.links.write();
        let mut gone = std::mem::take(&mut *links);
        for (node, address) in peers {
            if node == self.node() {
                continue;
            }
            if let Some(link) = gone.remove(&node) {
                link.move_to(address);
                links.insert(node, link);
            } else if let Entry::Vacant(place) = links.entry(node) {
                let link = Arc::new(Link::new(node, address, &self.shared));
                place.insert(link.clone());
                self.runtime.spawn(link.maintain(self.shared.clone()));
            }
        }
        drop(links);
        for (node, link) in gone {
            link.remove();
            self.shared.datagrams.forget(node);
        }
    }

    /// The link to a peer; `None` if it is none. It stays the same as long as the node is a peer.
    pub fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.shared.link(node)
    }

    /// All links, in no order.
    pub fn links(&self) -> Vec<Arc<Link>> {
        self.shared.links.read().values().cloned().collect()
    }

    /// The open connections from other nodes, in no order.
    pub fn inbound(&self) -> Vec<Arc<Inbound>> {
        self.shared.inbound.all()
    }

    /// One call to a node that is not known yet, over a connection of its own.
    pub async fn call_address(
        &self,
        address: SocketAddr,
        service: Service,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let body = Bytes::copy_from_slice(body);
        let call = link::call_once(self.shared.clone(), address, service, body);
        let mut task = self.runtime.spawn(async move {
            tokio::time::timeout_at(deadline.into(), call)
                .await
                .unwrap_or(Err(CallError::Timeout))
        });
        // Ends with the caller, and with the runtime.
        let _abort = AbortOnDrop(task.abort_handle());
        (&mut task).await.unwrap_or(Err(CallError::Broken))
    }

    /// Sends a datagram to a node that has introduced itself in a handshake, from any thread. It may
    /// get lost, as datagrams do.
    pub fn send_datagram(&self, to: NodeId, payload: &[u8]) -> Result<(), DatagramError> {
        self.shared.datagrams.send(&self.shared, to, payload)
    }

    /// What crossed the network so far.
    pub fn counters(&self) -> Counters {
        Counters::read(&self.shared.traffic, &self.shared.counts)
    }

    /// Sends what is queued (within a quarter of a second), closes everything and ends the thread. Calls
    /// that wait end as broken. What was spawned on the runtime is dropped.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut stopped = self.stopped.clone();
        // An error says that the thread is gone already.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The life of the thread.
fn run(
    runtime: Runtime,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
    stopped: &watch::Sender<bool>,
) {
    runtime.block_on(async {
        // An error says that nobody is left to stop it.
        let _ = stop.wait_for(|stop| *stop).await;
        let sessions: Vec<_> = (shared.links.read().values())
            .filter_map(|link| link.session())
            .collect();
        let inbound = shared.inbound.all();
        shared.close_all();
        let flushed = async {
            let waiting = || {
                sessions.iter().any(|session| session.output.waiting() > 0)
                    || inbound.iter().any(|inbound| inbound.bytes_waiting() > 0)
            };
            while waiting() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(FLUSH, flushed).await;
    });
    drop(runtime);
    shared.datagrams.close();
    stopped.send_replace(true);
}

/// Sockets for TCP and UDP on the same port.
fn bind(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempt = 0;
    loop {
        let tcp = TcpListener::bind(address)?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => {
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                return Ok((tcp, udp));
            }
            Err(error) if address.port() != 0 || attempt == PORT_ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

/// An address that can be dialled on this machine.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        listening.set_ip(match listening {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    listening
}
