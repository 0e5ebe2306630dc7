//! This node's part in the agreement on the topology, as the rest of the node sees it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::{ClusterId, Epoch, NodeId};
use openraft::{EmptyNode, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::files;
use super::inbound;
use super::log::{LogStore, WriterThread};
use super::machine::{Machine, Published};
use super::network::Network;
use super::steward::Steward;
use super::types::{Channel, Fetch, Raft, RaftTransport, Report, TopologyAnswer, TopologyRequest};
use crate::topology::join::{Joined, encode};
use crate::topology::moves::mover::Mover;
use crate::topology::moves::participant::{Participant, Reporter};
use crate::topology::plane::BoxFuture;
use crate::topology::{Change, DataPlane, Description, Policy, Progress, Refusal, Topology};

/// The file with the topology that this node began with; where it is, the node is part of a cluster.
const KNOWN: &str = "known";
const KNOWN_HEAD: &[u8; 8] = b"COTTOPK\x02";
/// A snapshot is made after so many entries.
const SNAPSHOT_EVERY: u64 = 500;
/// So many entries that are in a snapshot stay in the log, for those that lag a little.
const KEEP: u64 = 200;
/// The longest time for one attempt to have a change agreed.
const ATTEMPT: Duration = Duration::from_secs(3);
/// The pause between attempts.
const PAUSE: Duration = Duration::from_millis(30);
/// The longest time for the log to be written at the end.
const CLOSE: Duration = Duration::from_secs(5);
/// The most orders of the leader that wait for this node.
const ORDERS: usize = 64;

/// Says of a node whether it seems alive.
pub type Liveness = Arc<dyn Fn(NodeId) -> bool + Send + Sync>;

/// How patient the nodes are with each other.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The leader is heard from this often.
    pub heartbeat: Duration,
    /// Without a leader for at least this long, others stand for election.
    pub election_min: Duration,
    /// At most this long.
    pub election_max: Duration,
}

impl Default for Timing {
    /// For one data centre, and nodes that may be busy for most of a second.
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(250),
            election_min: Duration::from_millis(1000),
            election_max: Duration::from_millis(2000),
        }
    }
}

/// What a node needs to take part.
#[derive(Clone)]
pub struct Options {
    /// This node.
    pub node: NodeId,
    /// Where its log and snapshots are; created if missing. Nothing else may be in it.
    pub directory: PathBuf,
    /// See [`Timing`].
    pub timing: Timing,
    /// How long [`TopologyHandle::propose`] tries.
    pub propose_within: Duration,
    /// The most partitions that move at a time.
    pub moves_at_once: usize,
    /// Who is alive, for the leader.
    pub live: Liveness,
}

/// Why a node can't take part.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file can't be read or written.
    #[error("topology: {0}")]
    Io(#[from] io::Error),
    /// A cluster is there already, or none is.
    #[error("the directory {0} belongs to a cluster")]
    Occupied(PathBuf),
    /// There is nothing to start from.
    #[error("the directory {0} belongs to no cluster")]
    Vacant(PathBuf),
    /// The library refused.
    #[error("consensus: {0}")]
    Consensus(String),
    /// The first change was not accepted.
    #[error("the cluster can't be created: {0}")]
    Found(#[from] ProposeError),
}

/// Why a change was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// It is not allowed; nothing is changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There was no agreement in time. The change may yet be made.
    #[error("no agreement in time: {0}")]
    Unavailable(String),
}

/// How the agreement is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The number of the election that made it leader.
    pub term: u64,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Whether the voters are being changed: then a majority of the old and of the new ones is needed.
    pub changing: bool,
    /// Who listens.
    pub learners: Vec<NodeId>,
    /// The last entry of this node's log.
    pub last_index: u64,
    /// The last entry that is part of this node's topology.
    pub applied_index: u64,
    /// Whether changes can be agreed, as far as this node knows.
    pub has_quorum: bool,
}

/// What all parts share.
pub(super) struct Core {
    pub(super) node: NodeId,
    pub(super) raft: Raft,
    pub(super) published: Arc<Published>,
    pub(super) transport: Arc<dyn RaftTransport>,
    pub(super) live: Liveness,
    pub(super) mover: Mutex<Mover>,
    /// Wakes the steward.
    pub(super) wake: Notify,
    /// To this node's participant in moves.
    pub(super) orders: mpsc::Sender<Vec<Fetch>>,
    propose_within: Duration,
    election_max: Duration,
}

struct Running {
    tasks: JoinSet<()>,
    orders: Option<mpsc::Receiver<Vec<Fetch>>>,
    writer: Option<WriterThread>,
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub struct TopologyHandle {
    pub(super) core: Arc<Core>,
    running: Arc<Mutex<Running>>,
}

impl TopologyHandle {
    /// Whether a directory is that of a node of a cluster, so that it is to be started with [`restart`](Self::restart).
    pub fn exists(directory: &Path) -> bool {
        directory.join(KNOWN).exists()
    }

    /// The cluster that a directory belongs to, if to any.
    pub fn cluster_of(directory: &Path) -> io::Result<Option<ClusterId>> {
        Ok(load_known(directory)?.map(|known| known.cluster))
    }

    /// Founds a cluster of this node alone, whose databases are replicated like this unless something else is said of
    /// them.
    pub async fn create(
        options: Options,
        transport: Arc<dyn RaftTransport>,
        cluster: ClusterId,
        partitions: u16,
        description: Description,
        policy: Policy,
    ) -> Result<TopologyHandle, StartError> {
        if Self::exists(&options.directory) {
            return Err(StartError::Occupied(options.directory));
        }
        let directory = options.directory.clone();
        let node = options.node;
        let (handle, empty) = Self::open(options, transport, Topology::empty()).await?;
        let consensus = |error: &dyn ToString| StartError::Consensus(error.to_string());
        if empty {
            let voters = [(node, EmptyNode::new())];
            let founded = handle
                .core
                .raft
                .initialize(std::collections::BTreeMap::from(voters));
            founded.await.map_err(|error| consensus(&error))?;
        } else {
            let elected = handle.core.raft.trigger().elect().await;
            elected.map_err(|error| consensus(&error))?;
        }
        // A start that was interrupted may have got so far.
        if !handle.current().is_founded() {
            let change = Change::Found {
                cluster,
                partitions,
                node,
                description,
                policy,
            };
            handle.propose(change).await?;
        }
        save_known(&directory, &handle.current()).await?;
        Ok(handle)
    }

    /// Takes part again, from what is in the directory. The last known topology is there at once.
    pub async fn restart(
        options: Options,
        transport: Arc<dyn RaftTransport>,
    ) -> Result<TopologyHandle, StartError> {
        let directory = options.directory.clone();
        let Some(known) = blocking(move || load_known(&directory)).await? else {
            return Err(StartError::Vacant(options.directory));
        };
        let node = options.node;
        let (handle, _) = Self::open(options, transport, known).await?;
        let alone = handle.status().voters == [node];
        if alone {
            // Nobody else can lead: no need to wait for the time of an election.
            let elected = handle.core.raft.trigger().elect().await;
            elected.map_err(|error| StartError::Consensus(error.to_string()))?;
        }
        Ok(handle)
    }

    /// Takes part in a cluster that has accepted this node.
    pub async fn join(
        options: Options,
        transport: Arc<dyn RaftTransport>,
        joined: Joined,
    ) -> Result<TopologyHandle, StartError> {
        if Self::exists(&options.directory) {
            return Err(StartError::Occupied(options.directory));
        }
        let directory = options.directory.clone();
        let (handle, _) = Self::open(options, transport, joined.topology.clone()).await?;
        save_known(&directory, &joined.topology).await?;
        Ok(handle)
    }

    /// Returns whether the log is empty, too.
    async fn open(
        options: Options,
        transport: Arc<dyn RaftTransport>,
        known: Topology,
    ) -> Result<(TopologyHandle, bool), StartError> {
        let published = Arc::new(Published::new(known));
        let directory = options.directory.clone();
        let shared = Arc::clone(&published);
        let opened = blocking(move || {
            std::fs::create_dir_all(&directory)?;
            let (log, writer) = LogStore::open(&directory)?;
            Ok((log, writer, Machine::open(&directory, shared)?))
        });
        let (log, writer, machine) = opened.await?;
        let empty = log.is_empty();
        let network = Network {
            transport: Arc::clone(&transport),
        };
        let config = Arc::new(config(options.timing)?);
        let raft = Raft::new(options.node, config, network, log, machine).await;
        let raft = raft.map_err(|error| StartError::Consensus(error.to_string()))?;
        let (orders, receiver) = mpsc::channel(ORDERS);
        let core = Arc::new(Core {
            node: options.node,
            raft,
            published,
            transport,
            live: options.live,
            mover: Mutex::new(Mover::new(options.moves_at_once)),
            wake: Notify::new(),
            orders,
            propose_within: options.propose_within,
            election_max: options.timing.election_max,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Steward::new(Arc::clone(&core), options.timing.heartbeat).run());
        let running = Arc::new(Mutex::new(Running {
            tasks,
            orders: Some(receiver),
            writer: Some(writer),
        }));
        Ok((TopologyHandle { core, running }, empty))
    }

    /// The newest topology that this node knows.
    pub fn current(&self) -> Arc<Topology> {
        self.core.published.current()
    }

    /// Changes with each epoch.
    pub fn watch(&self) -> watch::Receiver<Arc<Topology>> {
        self.core.published.watch()
    }

    /// How far the moves are.
    pub fn progress(&self) -> Progress {
        self.current().progress()
    }

    /// See [`Status`].
    pub fn status(&self) -> Status {
        self.core.status()
    }

    /// Has a change agreed, by whoever leads, and waits until this node knows of it. Returns the epoch that has it.
    pub async fn propose(&self, change: Change) -> Result<Epoch, ProposeError> {
        self.core.propose(change).await
    }

    /// Takes part in moves from now on. Once in the life of a handle.
    pub fn run_moves(&self, plane: Arc<dyn DataPlane>) {
        let mut running = self.running.lock();
        let Some(orders) = running.orders.take() else {
            debug_assert!(false, "moves run once");
            return;
        };
        let core = &self.core;
        let reporter = Arc::new(ToLeader(Arc::clone(core)));
        let participant = Participant::new(core.node, plane, reporter, self.current());
        let leaders = core.raft.server_metrics();
        running
            .tasks
            .spawn(participant.run(self.watch(), leaders, orders));
    }

    /// Answers another node's [`Channel::Raft`] call.
    pub async fn handle_raft(&self, _from: NodeId, request: &[u8]) -> Vec<u8> {
        super::network::answer(&self.core.raft, request).await
    }

    /// Answers another node's [`Channel::Topology`] call.
    pub async fn handle_topology(&self, from: NodeId, request: &[u8]) -> Vec<u8> {
        inbound::answer(&self.core, from, request).await
    }

    /// Answers a [`JoinRequest`](crate::topology::JoinRequest) of a node that is no member yet.
    pub async fn handle_join(&self, request: &[u8]) -> Vec<u8> {
        inbound::join(&self.core, request).await
    }

    /// Stops taking part. The topology that is known stays readable.
    pub async fn shutdown(&self) {
        let (mut tasks, writer) = {
            let mut running = self.running.lock();
            (std::mem::take(&mut running.tasks), running.writer.take())
        };
        tasks.shutdown().await;
        if let Err(error) = self.core.raft.shutdown().await {
            tracing::warn!(%error, "the consensus ended in disorder");
        }
        let Some(writer) = writer else {
            return;
        };
        let closed = tokio::task::spawn_blocking(|| writer.join());
        if tokio::time::timeout(CLOSE, closed).await.is_err() {
            tracing::warn!("the topology's log was not closed in time");
        }
    }
}

fn config(timing: Timing) -> Result<openraft::Config, StartError> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let config = openraft::Config {
        cluster_name: "topology".to_owned(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        install_snapshot_timeout: 5000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: KEEP,
        replication_lag_threshold: 2 * SNAPSHOT_EVERY,
        ..openraft::Config::default()
    };
    (config.validate()).map_err(|error| StartError::Consensus(error.to_string()))
}

fn load_known(directory: &Path) -> io::Result<Option<Topology>> {
    let path = directory.join(KNOWN);
    let Some(body) = files::load(&path, KNOWN_HEAD)? else {
        return Ok(None);
    };
    let known = postcard::from_bytes(&body).map_err(|_| files::unreadable(&path))?;
    Ok(Some(known))
}

async fn save_known(directory: &Path, topology: &Topology) -> Result<(), StartError> {
    let (path, body) = (directory.join(KNOWN), encode(topology));
    blocking(move || files::save(&path, KNOWN_HEAD, &body)).await?;
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Core {
    pub(super) fn is_leader(&self) -> bool {
        self.raft.server_metrics().borrow().state == ServerState::Leader
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow().current_leader
    }

    fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let has_quorum = match metrics.current_leader {
            Some(leader) if leader == self.node => {
                let longest = self.election_max.as_millis() as u64;
                let heard = metrics.millis_since_quorum_ack;
                voters == [self.node] || heard.is_some_and(|millis| millis < longest)
            }
            Some(leader) => (self.live)(leader),
            None => false,
        };
        Status {
            leader: metrics.current_leader,
            term: metrics.current_term,
            voters,
            changing: membership.get_joint_config().len() > 1,
            learners: membership.learner_ids().collect(),
            last_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.map_or(0, |id| id.index),
            has_quorum,
        }
    }

    pub(super) async fn propose(&self, change: Change) -> Result<Epoch, ProposeError> {
        let deadline = tokio::time::Instant::now() + self.propose_within;
        let mut uncertain = false;
        let mut reason = "no leader is known".to_owned();
        let mut hint = None;
        let mut turn = 0;
        loop {
            let attempt = ATTEMPT.min(deadline - tokio::time::Instant::now());
            let leader = hint.take().or_else(|| self.whom_to_ask(turn));
            turn += 1;
            let answer = match leader {
                Some(leader) if leader == self.node => self.propose_here(&change, attempt).await,
                Some(leader) => self.propose_to(leader, &change, attempt).await,
                None => TopologyAnswer::NotLeader(None),
            };
            match answer {
                TopologyAnswer::Proposed(response) => {
                    let epoch = self.settled(&change, response.0, uncertain)?;
                    self.wait_for(epoch, deadline).await;
                    return Ok(epoch);
                }
                TopologyAnswer::NotLeader(other) => {
                    // A hint is followed once; then it is asked around.
                    hint = other.filter(|other| Some(*other) != leader);
                }
                TopologyAnswer::Unavailable(what) => {
                    uncertain = true;
                    reason = what;
                }
                TopologyAnswer::Reported(_) | TopologyAnswer::Accepted => {
                    reason = "a senseless answer".to_owned();
                }
            }
            if tokio::time::Instant::now() + PAUSE >= deadline {
                return Err(ProposeError::Unavailable(reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The leader, if one is known and alive, else one voter after the other.
    fn whom_to_ask(&self, turn: usize) -> Option<NodeId> {
        let metrics = self.raft.server_metrics().borrow().clone();
        let known = metrics.current_leader;
        if known == Some(self.node)
            || turn.is_multiple_of(2) && known.is_some_and(|node| (self.live)(node))
        {
            return known;
        }
        let membership = metrics.membership_config.membership();
        let mut others: Vec<NodeId> = membership
            .voter_ids()
            .filter(|&id| id != self.node)
            .collect();
        if others.is_empty() {
            // A node that has just joined knows the members alone.
            let topology = self.published.current();
            others = topology
                .members
                .keys()
                .copied()
                .filter(|&id| id != self.node)
                .collect();
        }
        others.retain(|&node| (self.live)(node));
        (!others.is_empty()).then(|| others[turn / 2 % others.len()])
    }

    /// What an answer means, if an earlier attempt may have succeeded.
    fn settled(
        &self,
        change: &Change,
        result: Result<Epoch, Refusal>,
        uncertain: bool,
    ) -> Result<Epoch, ProposeError> {
        match (change, result) {
            (Change::RemoveMember { .. }, Err(Refusal::UnknownMember(_))) if uncertain => {
                Ok(self.published.current().epoch)
            }
            (_, result) => Ok(result?),
        }
    }

    /// Until this node knows of an epoch, or the time is up.
    async fn wait_for(&self, epoch: Epoch, deadline: tokio::time::Instant) {
        let mut watch = self.published.watch();
        let known = watch.wait_for(|topology| topology.epoch >= epoch);
        // That the change is made is sure already; this node learns of it soon.
        let _late = tokio::time::timeout_at(deadline, known).await;
    }

    /// Proposes on this node.
    pub(super) async fn propose_here(&self, change: &Change, within: Duration) -> TopologyAnswer {
        use openraft::error::{ClientWriteError, RaftError};
        let write = self.raft.client_write(change.clone());
        match tokio::time::timeout(within, write).await {
            Ok(Ok(written)) => TopologyAnswer::Proposed(written.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                TopologyAnswer::NotLeader(to.leader_id)
            }
            Ok(Err(error)) => TopologyAnswer::Unavailable(error.to_string()),
            Err(_) => TopologyAnswer::Unavailable("the leader reaches no quorum".to_owned()),
        }
    }

    async fn propose_to(&self, to: NodeId, change: &Change, within: Duration) -> TopologyAnswer {
        let request = TopologyRequest::Propose(change.clone());
        self.ask(to, &request, within).await
    }

    /// Calls another node.
    pub(super) async fn ask(
        &self,
        to: NodeId,
        request: &TopologyRequest,
        within: Duration,
    ) -> TopologyAnswer {
        let call = self.transport.call(to, Channel::Topology, encode(request));
        match tokio::time::timeout(within, call).await {
            Ok(Ok(answer)) => postcard::from_bytes(&answer)
                .unwrap_or_else(|error| TopologyAnswer::Unavailable(error.to_string())),
            Ok(Err(error)) => TopologyAnswer::Unavailable(error.to_string()),
            Err(_) => TopologyAnswer::Unavailable(format!("node {to} does not answer")),
        }
    }
}

/// Sends a node's reports to the leader.
struct ToLeader(Arc<Core>);

impl Reporter for ToLeader {
    fn report(&self, report: Report) -> BoxFuture<'static, Option<Epoch>> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            let leader = core.leader()?;
            if leader == core.node {
                return core.take_report(core.node, report);
            }
            match core
                .ask(leader, &TopologyRequest::Report(report), ATTEMPT)
                .await
            {
                TopologyAnswer::Reported(epoch) => Some(epoch),
                _ => None,
            }
        })
    }
}
