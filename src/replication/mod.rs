//! The quorum path: how writes reach replicas, and how reads know that they are not behind.
//!
//! | module | its one job |
//! | --- | --- |
//! | `peers` | other nodes, and how far each has followed this node's log |
//! | `barrier` | what replies wait for |
//! | `waiters` | who waits for it, and how they are woken |
//! | `routes` | where each partition's requests go |
//! | `epochs` | which epochs still have requests under way |
//! | `hints` | what a replica that was away is not sent |
//! | `stream`, `receive` | the log of a coordinator, sent and taken in |
//! | `repeat` | writes that met something newer |
//! | `awaited` | who waits for which write |
//! | `operations` | writes that must be executed exactly once |
//! | `pulse` | whether this node stands still |
//! | `read` | digest reads |
//! | `sync` | anti-entropy, moves, the stable horizon |
//! | `wire` | bodies of frames |

mod awaited;
pub mod barrier;
mod epochs;
mod hints;
mod operations;
pub mod peers;
mod pulse;
mod read;
mod receive;
mod repeat;
pub mod routes;
mod stream;
mod sync;
mod waiters;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use coterie_protocol::{Actor, DatabaseId, Epoch, NodeId, PartitionId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

pub use awaited::{Awaited, Executing, Sent, Standing, Unanswered};
pub use barrier::{Barrier, Local, Quorum, Terms};
pub use epochs::{EpochGuard, Epochs};
pub use operations::{Operation, Operations};
pub use peers::{Peer, Peers};
pub use pulse::Pulse;
pub use read::ReadKey;
pub use routes::{Route, Routes};
pub use sync::{run as sync_rounds, watch_silence};
pub use waiters::{TimedOut, Waiters};

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::topology::{Member, Policy, Topology};
use crate::transport::{CallId, Inbound, Service, Transport};
use crate::wal::{Durability, LogOffset};
use receive::Receivers;
use repeat::Repetitions;

/// How long other nodes may take to see that this one is there.
const NOTICED_AFTER: Duration = Duration::from_millis(300);

/// What the quorum path of a node consists of.
pub struct Replication {
    /// State and log.
    pub engine: Arc<Engine>,
    /// Other nodes.
    pub peers: Arc<Peers>,
    /// Who waits for replicas.
    pub waiters: Waiters,
    /// Requests under way.
    pub epochs: Arc<Epochs>,
    /// Connections to other nodes.
    pub transport: Arc<Transport>,
    /// Who waits for which write.
    pub awaited: Awaited,
    /// What is forwarded and must be executed exactly once.
    pub operations: Operations,
    clock: Clock,
    /// By how much the clocks of nodes may differ, in milliseconds.
    max_drift_ms: AtomicU64,
    /// How long a client waits for replicas, in milliseconds.
    write_timeout_ms: AtomicU64,
    in_force: ArcSwap<InForce>,
    epoch: watch::Sender<Epoch>,
    /// 0 before the topology gave one out.
    actor: AtomicU16,
    clustered: AtomicBool,
    receivers: Receivers,
    /// By partition: since when this node may have missed writes of it, in calls of `set_behind`; 0 for in step.
    behind: Box<[AtomicU64]>,
    behind_marks: AtomicU64,
    set_behind_at: Mutex<Instant>,
    /// Whether others may have gone on without this node.
    pub pulse: Pulse,
    /// Limit of what a comparison exchanges; 0 for none.
    pub sync_bytes_per_second: AtomicU64,
    /// Pause between rounds of anti-entropy, in milliseconds; 0 for no rounds.
    pub round_interval_ms: AtomicU64,
    /// Keys that anti-entropy found different since the start.
    pub repaired_keys: AtomicU64,
    streams: Mutex<Vec<NodeId>>,
    repetitions: Mutex<Repetitions>,
    /// Told when a peer knows more of this node's log than there is: its end was lost, and with it the right to give
    /// out versions under the same actor.
    pub log_lost: Notify,
    /// Of databases whose policy says nothing of it; a [`Durability`].
    durability: AtomicU8,
    /// Whether any policy does.
    has_durabilities: AtomicBool,
}

/// Where requests go, and a guard that keeps that epoch from being over as long as new ones may be routed by it.
struct InForce {
    routes: Arc<Routes>,
    guard: Arc<EpochGuard>,
}

impl InForce {
    fn new(routes: Routes, epochs: &Arc<Epochs>) -> Self {
        InForce {
            guard: Arc::new(epochs.enter(routes.epoch)),
            routes: Arc::new(routes),
        }
    }
}

/// Has the partitions that are on their way to this node begin with nothing.
fn join_partitions(engine: &Engine, topology: &Topology, own: NodeId) {
    for (index, placement) in topology.placements.iter().enumerate() {
        if let Some(since) = placement.joins_since(own) {
            engine.join(PartitionId(index as u16), since);
        }
    }
}

impl Replication {
    /// The quorum path of a node, under the topology it knows. Blocks like [`Replication::set_topology`].
    pub fn new(
        own: NodeId,
        engine: Arc<Engine>,
        transport: Arc<Transport>,
        topology: Arc<Topology>,
        clock: Clock,
    ) -> Arc<Replication> {
        let peers = Arc::new(Peers::new(own));
        let epoch = topology.epoch;
        let partitions = topology.placements.len();
        let routes = Routes::new(topology.clone(), &peers, None)
            .unwrap_or_else(|| unreachable!("a topology of fewer nodes than a set has bits"));
        let epochs = Arc::default();
        let replication = Replication {
            waiters: Waiters::new(engine.log().clone(), peers.clone()),
            engine,
            peers,
            in_force: ArcSwap::from_pointee(InForce::new(routes, &epochs)),
            epochs,
            transport,
            awaited: Awaited::default(),
            operations: Operations::new(clock.now_ms()),
            clock,
            max_drift_ms: AtomicU64::new(0),
            write_timeout_ms: AtomicU64::new(0),
            epoch: watch::Sender::new(epoch),
            actor: AtomicU16::new(0),
            clustered: AtomicBool::new(false),
            receivers: Receivers::default(),
            behind: (0..partitions).map(|_| AtomicU64::new(1)).collect(),
            behind_marks: AtomicU64::new(1),
            set_behind_at: Mutex::new(Instant::now()),
            pulse: Pulse::default(),
            sync_bytes_per_second: AtomicU64::new(0),
            round_interval_ms: AtomicU64::new(10_000),
            repaired_keys: AtomicU64::new(0),
            streams: Mutex::default(),
            repetitions: Mutex::default(),
            log_lost: Notify::new(),
            durability: AtomicU8::new(Durability::default() as u8),
            has_durabilities: AtomicBool::new(false),
        };
        replication.take_part(&topology);
        replication.lead(&replication.routes());
        join_partitions(&replication.engine, &topology, own);
        Arc::new(replication)
    }

    /// Executes for a cluster of several nodes from now on, if it is one: all data gets stamps and tombstones.
    fn take_part(&self, topology: &Topology) {
        let Some(member) = topology.members.get(&self.peers.own().id) else {
            return;
        };
        let before = self.actor.swap(member.actor.0, Ordering::AcqRel);
        let is_renewed = self.is_clustered() && before != member.actor.0;
        if is_renewed || topology.members.len() > 1 && !self.is_clustered() {
            self.engine.store().set_replicated(Some(member.actor));
            self.clustered.store(true, Ordering::Release);
            tracing::info!(actor = %member.actor, "the node is one of several from now on");
        }
    }

    /// Has the engine know which partitions this node is the first replica of.
    fn lead(&self, routes: &Routes) {
        for (partition, route) in routes.partitions() {
            let leads = route.first().is_none_or(|first| first.index == 0);
            self.engine.set_leading(partition, leads);
        }
    }

    /// Takes over settings that can be changed while it runs.
    pub fn configure(&self, config: &Config) {
        self.sync_bytes_per_second
            .store(config.sync_rate, Ordering::Relaxed);
        (self.max_drift_ms).store(config.max_drift_ms.into(), Ordering::Relaxed);
        (self.write_timeout_ms).store(config.write_timeout_ms.into(), Ordering::Relaxed);
        let interval_ms = u64::from(config.anti_entropy_interval) * 1000;
        self.round_interval_ms.store(interval_ms, Ordering::Relaxed);
        let durability = crate::running::log_durability(config.durability);
        self.durability.store(durability as u8, Ordering::Release);
        self.adjust_log();
    }

    /// Has the log sync as often as all databases together need it.
    fn adjust_log(&self) {
        let routes = self.routes();
        let mut own = routes.durabilities().peekable();
        let has_any = own.peek().is_some();
        self.has_durabilities.store(has_any, Ordering::Release);
        let wanted = Durability::of_all(own.chain([self.durability()]));
        if self.engine.log().durability() != wanted {
            self.engine.log().set_durability(wanted);
        }
    }

    /// The durability of databases whose policy says nothing of it.
    fn durability(&self) -> Durability {
        Durability::from_u8(self.durability.load(Ordering::Acquire))
    }

    /// How safe a write is when it is acknowledged.
    pub fn durability_of(&self, policy: &Policy) -> Durability {
        policy.durability.unwrap_or_else(|| self.durability())
    }

    /// Whether writes of a database are acknowledged only when they are on the disk.
    #[inline]
    pub fn is_synced(&self, database: DatabaseId) -> bool {
        let durability = if self.has_durabilities.load(Ordering::Acquire) {
            self.durability_of(&self.in_force.load().routes.policy(database))
        } else {
            self.durability()
        };
        durability == Durability::Always
    }

    /// Whether those of any database are.
    pub fn has_synced(&self) -> bool {
        let routes = self.routes();
        let mut all = routes.durabilities().chain([self.durability()]);
        all.any(|one| one == Durability::Always)
    }

    /// Where requests go now.
    pub fn routes(&self) -> Arc<Routes> {
        self.in_force.load().routes.clone()
    }

    /// Where requests go now, and a guard that keeps that epoch from being over.
    pub fn enter(&self) -> (Arc<Routes>, Arc<EpochGuard>) {
        let in_force = self.in_force.load();
        (in_force.routes.clone(), in_force.guard.clone())
    }

    /// Whether there is any other node. If not, requests are executed without this module.
    #[inline]
    pub fn is_clustered(&self) -> bool {
        self.clustered.load(Ordering::Acquire)
    }

    /// The tie-break of this node's versions, once it has one.
    pub fn actor(&self) -> Option<Actor> {
        match self.actor.load(Ordering::Acquire) {
            0 => None,
            actor => Some(Actor(actor)),
        }
    }

    /// Whether this node may have missed writes of a partition it replicates.
    pub fn is_behind(&self, partition: PartitionId) -> bool {
        self.behind_since(partition).is_some()
    }

    fn behind_since(&self, partition: PartitionId) -> Option<u64> {
        let mark = self.behind[partition.index()].load(Ordering::Acquire);
        (mark > 0).then_some(mark)
    }

    /// This node may miss writes from now on.
    fn set_behind(&self, partition: PartitionId) {
        let mark = self.behind_marks.fetch_add(1, Ordering::Relaxed) + 1;
        self.behind[partition.index()].store(mark, Ordering::Release);
    }

    /// This node may have missed anything.
    fn set_all_behind(&self) {
        *self.set_behind_at.lock() = Instant::now();
        for (partition, _) in self.routes().partitions() {
            self.set_behind(partition);
        }
    }

    /// Whether nothing could be missed for so long that all others have noticed this node: who stood in for it as the
    /// first replica does not any more, and has its last writes acknowledged.
    fn has_been_in_touch(&self) -> bool {
        self.set_behind_at.lock().elapsed() > NOTICED_AFTER
    }

    /// This node may miss what a peer writes.
    fn set_behind_with(&self, peer: &Peer) {
        *self.set_behind_at.lock() = Instant::now();
        for (partition, route) in self.routes().partitions() {
            if route.all_holders() & peer.bit() != 0 {
                self.set_behind(partition);
            }
        }
    }

    /// It agrees with a quorum, and was not set behind again since the mark.
    fn caught_up(&self, partition: PartitionId, mark: u64) {
        let _ = self.behind[partition.index()].compare_exchange(
            mark,
            0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Puts a new topology in force.
    ///
    /// Before the first request is routed to another node, all data gets stamps and tombstones. That takes a walk
    /// over everything, so it blocks; call it where that is allowed.
    pub fn set_topology(self: &Arc<Self>, topology: Arc<Topology>) {
        let own = self.peers.own().id;
        self.take_part(&topology);
        let before = self.routes();
        if topology.epoch < before.epoch {
            return;
        }
        let Some(routes) = Routes::new(topology.clone(), &self.peers, Some(&before)) else {
            tracing::error!(
                "too many nodes have come and gone since the start: restart this one to go on"
            );
            return;
        };
        let epoch = routes.epoch;
        self.lead(&routes);
        // Nothing of that epoch is taken in before.
        join_partitions(&self.engine, &topology, own);
        let in_force = InForce::new(routes, &self.epochs);
        self.in_force.store(Arc::new(in_force));
        self.adjust_log();
        self.epoch.send_replace(epoch);
        // A node that lost its data comes back as another, at the same address: the old one is not to be dialled.
        let is_succeeded = |member: &Member| {
            let mut members = topology.members.values();
            members.any(|other| other.internal == member.internal && other.actor > member.actor)
        };
        let others = topology
            .members
            .iter()
            .filter(|(id, member)| **id != own && !is_succeeded(member))
            .map(|(id, member)| (*id, member.internal));
        self.transport.set_peers(others);
        for id in topology.members.keys().filter(|id| **id != own) {
            self.start_stream(*id);
        }
    }

    fn start_stream(self: &Arc<Self>, id: NodeId) {
        let mut streams = self.streams.lock();
        if streams.contains(&id) {
            return;
        }
        if let Some(peer) = self.peers.get_or_add(id) {
            streams.push(id);
            peer.set_link(self.transport.link(id));
            self.transport
                .runtime()
                .spawn(stream::run(self.clone(), peer));
        }
    }

    /// Whether requests are routed by a topology of this epoch or a later one.
    #[inline]
    pub fn has_reached(&self, epoch: Epoch) -> bool {
        self.in_force.load().routes.epoch >= epoch
    }

    /// Waits until this node has a topology of this epoch or a later one.
    pub async fn reached(&self, epoch: Epoch) {
        let mut reached = self.epoch.subscribe();
        // The sender lives as long as `self`.
        let _ = reached.wait_for(|reached| *reached >= epoch).await;
    }

    /// A link to a peer came up or broke.
    pub fn link_changed(&self, id: NodeId, up: bool) {
        let Some(peer) = self.peers.find(id) else {
            return;
        };
        peer.set_link(self.transport.link(id));
        if up {
            peer.set_back_at(self.engine.log().appended());
        }
        peer.notify();
        // When it is up again, too: what the peer did meanwhile is not here yet.
        tracing::trace!(peer = %id, up, "link changed");
        self.set_behind_with(&peer);
        // Who counts as live has changed.
        self.waiters.marks_moved();
    }

    /// A frame from a node that connected to this one.
    pub fn received(
        self: &Arc<Self>,
        from: &Arc<Inbound>,
        service: Service,
        call: Option<CallId>,
        body: Bytes,
    ) {
        match (service, call) {
            (Service::Records, Some(call)) => self.receivers.asked(self, from, call, body),
            (Service::Records, None) => self.receivers.received(self, from, false, body),
            (Service::DurableRecords, None) => self.receivers.received(self, from, true, body),
            (Service::Digests, Some(call)) => {
                let compared = self.answer_digests(&body).unwrap_or_else(|error| {
                    tracing::debug!(peer = %from.node(), %error, "comparison refused");
                    read::Compared {
                        answer: vec![read::REFUSED],
                        synced: None,
                    }
                });
                let log = self.engine.log();
                self.is_read_by(from.node());
                match compared.synced.filter(|offset| log.durable() < *offset) {
                    None => from.reply(call, &compared.answer),
                    Some(offset) => {
                        let (log, from) = (log.clone(), from.clone());
                        tokio::spawn(async move {
                            log.wait_until_synced(offset).await;
                            from.reply(call, &compared.answer);
                        });
                    }
                }
            }
            (Service::Sync, Some(call)) => {
                let (replication, from) = (self.clone(), from.clone());
                tokio::spawn(async move {
                    match replication.answer_sync(&from, &body).await {
                        Ok(answer) => {
                            from.reply(call, &answer);
                        }
                        Err(error) => {
                            tracing::warn!(peer = %from.node(), %error, "bad synchronisation request");
                        }
                    }
                });
            }
            _ => tracing::debug!(peer = %from.node(), ?service, "unexpected frame"),
        }
    }

    /// Before a node is answered what this one knows of keys.
    fn is_read_by(&self, node: NodeId) {
        if let Some(peer) = self.peers.find(node) {
            peer.reading(self.engine.log().appended());
        }
    }

    /// A frame from a node this one connected to.
    pub fn pushed(self: &Arc<Self>, from: NodeId, service: Service, body: &[u8]) {
        let Some(peer) = self.peers.find(from) else {
            return;
        };
        match service {
            Service::Acknowledge => match wire::read_acknowledgement(body) {
                Ok((offset, superseded)) => self.acknowledged(&peer, offset, superseded),
                Err(error) => tracing::warn!(peer = %from, %error, "bad acknowledgement"),
            },
            Service::Records => {
                if let Ok(epoch) = wire::Reader::new(body).u64() {
                    tracing::debug!(peer = %from, epoch, "log stream fenced");
                    // Epoch 0 would be none.
                    peer.set_fence(Epoch(epoch.max(1)));
                }
            }
            _ => tracing::debug!(peer = %from, ?service, "unexpected push"),
        }
    }

    fn acknowledged(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        offset: LogOffset,
        superseded: Vec<wire::Superseded>,
    ) {
        if !superseded.is_empty() {
            self.superseded(peer, superseded);
        }
        if peer.acknowledge(offset) {
            self.waiters.marks_moved();
        }
        peer.notify();
    }
}
