//! How a node takes its place: in the cluster its data directory knows, in the one it is told to join, or in one of
//! its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::{ClusterId, NodeId};
use tokio::time::Instant;

use super::Cluster;
use super::handler::{Calls, Dispatch};
use super::plane::Plane;
use super::seed::internal_address;
use crate::background;
use crate::cluster_view::{self, own_id};
use crate::config::Config;
use crate::membership::Membership;
use crate::node::Node;
use crate::replication::{self, Replication};
use crate::topology::{
    self, Change, Description, JOIN_VERSION, JoinError, JoinRequest, Joined, Options, Policy,
    Timing, TopologyHandle,
};
use crate::transport::{self, CallError, Secret, Service, Transport};
use crate::wal;

/// How long a node tries to join before it gives up.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// Time for one attempt.
const JOIN_ATTEMPT: Duration = Duration::from_secs(10);
/// Pause between attempts.
const JOIN_PAUSE: Duration = Duration::from_millis(200);
/// A connection on which nothing was heard for so long is made anew.
const BROKEN_AFTER: Duration = Duration::from_secs(2);
/// Partitions that move at a time.
const MOVES_AT_ONCE: usize = 16;

/// Why a node can't be part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The port for other nodes.
    #[error("can't listen for other nodes: {0}")]
    Transport(#[from] transport::StartError),
    /// The topology's files or its consensus.
    #[error(transparent)]
    Topology(#[from] topology::StartError),
    /// An address to join that is none.
    #[error("'{0}' in 'join' can't be resolved")]
    Address(String),
    /// The cluster does not want it.
    #[error("can't join the cluster: {0}")]
    Join(#[from] JoinError),
    /// Nobody answered.
    #[error("can't join the cluster at {address}: {error}")]
    Unreachable {
        /// Who was asked last.
        address: String,
        /// What came of it.
        error: CallError,
    },
    /// It holds data or another topology already.
    #[error(
        "the data directory {0} is in use already: a node joins with an empty one (its old data would not be the cluster's)"
    )]
    Occupied(PathBuf),
    /// The secret.
    #[error("can't read 'cluster-secret-file' {path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nodes need a port.
    #[error("there is no port for other nodes: set 'cluster-port'")]
    Port,
    /// Its thread.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where the topology is kept.
fn topology_directory(config: &Config) -> PathBuf {
    config.dir.join("topology")
}

/// What the cluster that the data directory belongs to seeds the hashes of keys with; `None` if it belongs to none.
pub fn known_seed(config: &Config) -> Result<Option<u64>, ClusterError> {
    let directory = topology_directory(config);
    if !directory.is_dir() {
        // Who opens the data directory says what is wrong with that.
        return Ok(None);
    }
    let cluster = TopologyHandle::cluster_of(&directory).map_err(topology::StartError::from)?;
    Ok(cluster.map(ClusterId::seed))
}

/// Makes the node part of its cluster. `None` if it is one that nobody can join: without a port for other nodes, or with
/// one that is taken, when it was not told to join.
pub fn start(node: &Arc<Node>) -> Result<Option<Arc<Cluster>>, ClusterError> {
    let config = node.config.load_full();
    let directory = topology_directory(&config);
    let is_member = TopologyHandle::exists(&directory);
    let must = is_member || !config.join.is_empty() || config.cluster_port != 0;
    let client_port = config.port;
    if client_port == 0 && config.cluster_port == 0 {
        return if config.join.is_empty() {
            Ok(None)
        } else {
            Err(ClusterError::Port)
        };
    }
    let started = start_on(node, &config, directory);
    match started {
        Ok(cluster) => Ok(Some(cluster)),
        Err(error @ (ClusterError::Transport(_) | ClusterError::Port)) if !must => {
            tracing::warn!(%error, "no other node can join this one");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn start_on(
    node: &Arc<Node>,
    config: &Arc<Config>,
    directory: PathBuf,
) -> Result<Arc<Cluster>, ClusterError> {
    let own = own_id(node.engine.log().id());
    let cluster = Cluster::new(own, node.clone());
    let description = describe(config);
    let options = transport_options(node, config, own, &description)?;
    if options.secret.is_none() {
        tracing::info!("no cluster-secret: other nodes are spoken to on this machine only");
    }
    let transport = wait(Transport::start(
        options,
        Arc::new(Dispatch(cluster.clone())),
    ))??;
    let _ = cluster.transport.set(transport.clone());
    let begin = Begin {
        cluster: cluster.clone(),
        transport: transport.clone(),
        config: config.clone(),
        description,
        directory,
    };
    // Everything of the cluster belongs to the transport's runtime.
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    transport.runtime().spawn(async move {
        let _ = send.send(begin.run().await);
    });
    receive
        .recv()
        .map_err(|_| std::io::Error::other("the thread 'cluster' ended"))??;
    Ok(cluster)
}

/// Waits for a future that needs no particular runtime.
fn wait<T: Send>(future: impl Future<Output = T> + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(future))
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("a thread panicked")))
    })
}

fn transport_options(
    node: &Arc<Node>,
    config: &Config,
    own: NodeId,
    description: &Description,
) -> Result<transport::Options, ClusterError> {
    let port = cluster_view::internal_port(config, config.port).ok_or(ClusterError::Port)?;
    let bind = if config.cluster_bind.is_empty() {
        &config.bind
    } else {
        &config.cluster_bind
    };
    let secret = secret(config)?;
    let ip = match secret {
        // Nobody else is spoken to anyway.
        None => Ipv4Addr::LOCALHOST.into(),
        Some(_) => listen_ip(bind),
    };
    let partitions = node.engine.store().layout();
    let listen = SocketAddr::new(ip, port);
    let mut options = transport::Options::new(listen, ClusterId::default(), own, partitions);
    options.advertise = Some(description.internal);
    // The largest value, with its key and what is around it.
    let largest = usize::try_from(config.proto_max_bulk_len).unwrap_or(usize::MAX);
    options.body_limit = options.body_limit.max(largest.saturating_add(1 << 20));
    // The largest record, and what is sent with it.
    options.node_body_limit = wal::MAX_PAYLOAD + (1 << 20);
    options.secret = secret;
    options.clock = node.clock().clone();
    // Sooner than TCP would repeat what was lost in a cut that is over.
    options.broken_after = BROKEN_AFTER;
    options.max_drift = Duration::from_millis(config.max_drift_ms.into());
    Ok(options)
}

fn secret(config: &Config) -> Result<Option<Secret>, ClusterError> {
    let text = match &config.cluster_secret_file {
        Some(path) => {
            let text = std::fs::read(path).map_err(|source| ClusterError::Secret {
                path: path.clone(),
                source,
            })?;
            text.trim_ascii().to_vec()
        }
        None => config.cluster_secret.expose().as_bytes().to_vec(),
    };
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

/// The address to listen on: the only one, or every address.
fn listen_ip(bind: &[String]) -> IpAddr {
    match bind {
        [only] => only
            .trim_start_matches('-')
            .parse()
            .unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// What this node says of itself.
fn describe(config: &Config) -> Description {
    let mut member = cluster_view::own_member(config, config.port);
    if member.address.ip().is_unspecified() {
        member.address.set_ip(outgoing_ip());
    }
    let has_secret = !config.cluster_secret.is_empty() || config.cluster_secret_file.is_some();
    if member.internal.ip().is_unspecified() {
        member.internal.set_ip(if has_secret {
            outgoing_ip()
        } else {
            Ipv4Addr::LOCALHOST.into()
        });
    }
    Description {
        address: member.address,
        hostname: member.hostname,
        internal: member.internal,
        zone: member.zone,
        weight: member.weight,
    }
}

/// The address this machine would use to reach others. Sends nothing: the address asked about is one for documents.
fn outgoing_ip() -> IpAddr {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    found.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// What is left to do on the cluster's own runtime.
struct Begin {
    cluster: Arc<Cluster>,
    transport: Arc<Transport>,
    config: Arc<Config>,
    description: Description,
    directory: PathBuf,
}

impl Begin {
    async fn run(self) -> Result<(), ClusterError> {
        let topology = self.topology().await?;
        let current = topology.current();
        self.transport.set_cluster(current.cluster);
        let node = &self.cluster.node;
        let replication = self.replication(current).await?;
        self.compare_policy(&topology.current());
        replication.configure(&self.config);
        let _ = self.cluster.topology.set(topology.clone());
        let members = topology.current();
        let membership = Membership::start(
            self.transport.clone(),
            node.clock(),
            members.members.keys().copied(),
        );
        let _ = self.cluster.membership.set(membership.clone());
        // What is executed from here on is replicated: for other nodes at once, and for clients, who are let in later.
        let _ = node.replication.set(replication.clone());
        let _ = node.cluster.set(self.cluster.clone());
        let _ = self.cluster.replication.set(replication.clone());
        // Links, and what has changed meanwhile.
        set_topology(&replication, topology.current()).await;
        topology.run_moves(Arc::new(Plane(replication.clone())));
        tokio::spawn(follow(replication.clone(), topology.clone(), membership));
        tokio::spawn(follow_log(replication.clone()));
        tokio::spawn(replication::watch_silence(replication.clone()));
        tokio::spawn(replication::sync_rounds(replication.clone()));
        tokio::spawn(background::retain_log(node.clone(), replication.clone()));
        tokio::spawn(renew_actor(
            self.cluster.own,
            topology.clone(),
            replication.clone(),
        ));
        tokio::spawn(introduce(self.cluster.own, topology, self.description));
        Ok(())
    }

    /// The quorum path, under the topology that is known. The first of several nodes walks over all its data: not on the
    /// thread of the links.
    async fn replication(
        &self,
        topology: Arc<topology::Topology>,
    ) -> Result<Arc<Replication>, ClusterError> {
        let node = &self.cluster.node;
        let (own, engine) = (self.cluster.own, node.engine.clone());
        let (transport, clock) = (self.transport.clone(), node.clock().clone());
        let made = tokio::task::spawn_blocking(move || {
            Replication::new(own, engine, transport, topology, clock)
        });
        Ok(made.await.map_err(std::io::Error::other)?)
    }

    /// Says so if this node's settings would have databases replicated in another way than the cluster does.
    fn compare_policy(&self, topology: &topology::Topology) {
        let configured = cluster_view::configured_policy(&self.config);
        let agreed = Policy {
            durability: None,
            ..topology.default_policy
        };
        if configured != agreed {
            tracing::warn!(
                ?configured,
                ?agreed,
                "the settings replicas, write-quorum, read-quorum, hinted-handoff and sloppy-quorum of this node are not \
                 in force: the cluster has agreed on others (COTERIE.POLICY SET DEFAULT changes them)"
            );
        }
    }

    async fn topology(&self) -> Result<TopologyHandle, ClusterError> {
        let calls = Arc::new(Calls(self.transport.clone()));
        let cluster = Arc::downgrade(&self.cluster);
        let options = Options {
            node: self.cluster.own,
            directory: self.directory.clone(),
            timing: Timing::default(),
            propose_within: Duration::from_secs(10),
            moves_at_once: MOVES_AT_ONCE,
            live: Arc::new(move |id| cluster.upgrade().is_some_and(|c| c.is_live(id))),
        };
        if TopologyHandle::exists(&self.directory) {
            let handle = TopologyHandle::restart(options, calls).await?;
            let members = handle.current().members.len();
            if !self.config.join.is_empty() && members == 1 {
                handle.shutdown().await;
                return Err(ClusterError::Occupied(self.config.dir.clone()));
            }
            self.transport.set_cluster(handle.current().cluster);
            return Ok(handle);
        }
        if self.config.join.is_empty() {
            let partitions = self.cluster.node.engine.store().layout().count();
            let description = self.description.clone();
            let seed = self.cluster.node.engine.store().seed();
            let id = ClusterId::new(rand::random(), seed);
            let policy = cluster_view::configured_policy(&self.config);
            let founded =
                TopologyHandle::create(options, calls, id, partitions, description, policy);
            return Ok(founded.await?);
        }
        if self.cluster.node.engine.store().has_keys() {
            return Err(ClusterError::Occupied(self.config.dir.clone()));
        }
        let joined = self.join().await?;
        let id = joined.topology.cluster;
        self.transport.set_cluster(id);
        self.cluster.node.engine.store().reseed(id.seed());
        Ok(TopologyHandle::join(options, calls, joined).await?)
    }

    /// Asks the nodes it was told of, one after the other, to be let in.
    async fn join(&self) -> Result<Joined, ClusterError> {
        let request = JoinRequest {
            version: JOIN_VERSION,
            node: self.cluster.own,
            description: self.description.clone(),
            partitions: self.cluster.node.engine.store().layout().count(),
        };
        let body = request.encode();
        let give_up = Instant::now() + JOIN_WITHIN;
        loop {
            let mut last = None;
            for name in &self.config.join {
                let address = internal_address(name).await?;
                let deadline = std::time::Instant::now() + JOIN_ATTEMPT;
                let called = self
                    .transport
                    .call_address(address, Service::Join, &body, deadline);
                match called.await {
                    Ok(answer) => match topology::decode_answer(&answer) {
                        Ok(joined) => {
                            tracing::info!(cluster = %joined.topology.cluster, seed = name, "joined the cluster");
                            return Ok(joined);
                        }
                        Err(error @ (JoinError::Unavailable(_) | JoinError::Unreadable)) => {
                            tracing::warn!(seed = name, %error, "not joined yet");
                            last = Some(ClusterError::Join(error));
                        }
                        Err(error) => return Err(error.into()),
                    },
                    Err(error @ CallError::Refused(_)) => {
                        let address = name.clone();
                        return Err(ClusterError::Unreachable { address, error });
                    }
                    Err(error) => {
                        tracing::warn!(seed = name, %error, "not joined yet");
                        let address = name.clone();
                        last = Some(ClusterError::Unreachable { address, error });
                    }
                }
            }
            if let Some(error) = last
                && Instant::now() >= give_up
            {
                return Err(error);
            }
            tokio::time::sleep(JOIN_PAUSE).await;
        }
    }
}

/// The first of several nodes walks over all its data once: not on the thread of the links.
async fn set_topology(replication: &Arc<Replication>, topology: Arc<topology::Topology>) {
    let replication = replication.clone();
    let runtime = tokio::runtime::Handle::current();
    let set = tokio::task::spawn_blocking(move || {
        let _context = runtime.enter();
        replication.set_topology(topology);
    });
    // It fails when the runtime ends.
    let _ = set.await;
}

/// Puts each new topology in force.
async fn follow(
    replication: Arc<Replication>,
    topology: TopologyHandle,
    membership: Arc<Membership>,
) {
    let mut watch = topology.watch();
    loop {
        let current = watch.borrow_and_update().clone();
        membership.set_members(current.members.keys().copied());
        set_topology(&replication, current).await;
        if watch.changed().await.is_err() {
            return;
        }
    }
}

/// What is durable here may be what a reply waits for.
async fn follow_log(replication: Arc<Replication>) {
    let mut progress = replication.engine.log().progress_watch();
    while progress.changed().await.is_ok() {
        replication.waiters.marks_moved();
    }
}

/// A node that lost the end of its log (a power loss) goes on as a new actor: what it wrote under the old one is
/// known to others by offsets that would be given out twice.
async fn renew_actor(own: NodeId, topology: TopologyHandle, replication: Arc<Replication>) {
    loop {
        replication.log_lost.notified().await;
        let Some(from) = replication.actor() else {
            continue;
        };
        let change = Change::RenewActor { node: own, from };
        match topology.propose(change).await {
            Ok(epoch) => {
                tracing::warn!(%epoch, "the end of the log was lost: this node has a new actor")
            }
            Err(error) => {
                tracing::warn!(%error, "the end of the log was lost, and no new actor given out yet")
            }
        }
    }
}

/// Has the topology tell what this node says of itself now, if it was started with other addresses than before.
async fn introduce(own: NodeId, topology: TopologyHandle, description: Description) {
    loop {
        let current = topology.current();
        let Some(member) = current.members.get(&own) else {
            return;
        };
        let is_same = member.address == description.address
            && member.internal == description.internal
            && member.hostname == description.hostname
            && member.zone == description.zone
            && member.weight == description.weight;
        if is_same {
            return;
        }
        let change = Change::UpdateMember {
            node: own,
            description: description.clone(),
        };
        match topology.propose(change).await {
            Ok(epoch) => {
                tracing::info!(%epoch, "the cluster knows this node's new description");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the cluster does not know this node's new description yet")
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
