//! Moves among nodes that die at any step, with writes going on: nothing acknowledged is lost, and quorums of epochs that
//! are alive at once intersect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coterie_protocol::{Epoch, NodeId, PartitionId};
use parking_lot::Mutex;
use rand::RngExt;

use super::changes::{Alive, intersect_alive};
use super::cluster::{Cluster, PARTITIONS, until};
use super::node;
use crate::topology::{
    BoxFuture, Change, DataPlane, Placement, Policy, Quorum, Step, SyncSummary, Topology,
};

type Token = u32;

/// What all nodes have on their disks, and what they are doing.
#[derive(Default)]
struct State {
    data: BTreeMap<(NodeId, PartitionId), BTreeSet<Token>>,
    /// Requests of an epoch before this one are refused.
    fences: BTreeMap<NodeId, Epoch>,
    /// Epochs of the writes that each node coordinates.
    in_flight: BTreeMap<NodeId, Vec<Epoch>>,
    acknowledged: Vec<(PartitionId, Token)>,
    up: BTreeSet<NodeId>,
    /// Placements by epoch, as far as they were seen.
    seen: BTreeMap<Epoch, Vec<Placement>>,
    known: BTreeMap<NodeId, Epoch>,
    /// Since when partitions are on a node that began them with nothing.
    joined: BTreeMap<(NodeId, PartitionId), Epoch>,
    forgotten: usize,
    /// The tasks that tell what each node learns, in its present life.
    followers: BTreeMap<NodeId, tokio::task::AbortHandle>,
    next: Token,
}

impl State {
    /// The lowest epoch that a node may still act on.
    fn oldest(&self, node: NodeId) -> Epoch {
        let in_flight = self
            .in_flight
            .get(&node)
            .and_then(|epochs| epochs.iter().min());
        let known = self.known.get(&node).copied().unwrap_or_default();
        in_flight.copied().unwrap_or(known).min(known)
    }

    /// A node acts on a topology from now on.
    fn learn(&mut self, node: NodeId, topology: &Topology) {
        self.seen
            .entry(topology.epoch)
            .or_insert_with(|| topology.placements.clone());
        self.known.insert(node, topology.epoch);
        for (index, placement) in topology.placements.iter().enumerate() {
            let here = (node, PartitionId(index as u16));
            if let Some(since) = placement.joins_since(node)
                && self.joined.insert(here, since) != Some(since)
            {
                self.data.remove(&here);
            }
        }
        self.check();
    }

    /// I9: whoever lives reads what whoever lives writes, with the policy that all databases have here.
    fn check(&self) {
        let alive: BTreeSet<Epoch> = (self.up.iter())
            .flat_map(|&node| {
                let known = self.known.get(&node).copied().unwrap_or_default();
                [self.oldest(node), known]
            })
            .collect();
        for &a in &alive {
            for &b in alive.range(a..) {
                self.check_epochs(a, b);
            }
        }
    }

    fn check_epochs(&self, a: Epoch, b: Epoch) {
        let (Some(at_a), Some(at_b)) = (self.seen.get(&a), self.seen.get(&b)) else {
            return;
        };
        let accepts =
            |epoch: Epoch, node: NodeId| self.fences.get(&node).is_none_or(|&f| f <= epoch);
        for (placement, other) in at_a.iter().zip(at_b) {
            let a = Alive {
                placement,
                accepts: &|node| accepts(a, node),
            };
            let b = Alive {
                placement: other,
                accepts: &|node| accepts(b, node),
            };
            let safe = placement == other || intersect_alive(a, b, Policy::default());
            assert!(safe, "{placement:?} and {other:?} are alive at once");
        }
    }
}

#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

/// The data path of one node.
struct Plane {
    node: NodeId,
    world: World,
}

async fn a_moment() {
    let moment = rand::rng().random_range(0..4);
    tokio::time::sleep(Duration::from_millis(moment)).await;
}

impl DataPlane for Plane {
    fn synchronize(
        &self,
        partition: PartitionId,
        since: Epoch,
        from: Vec<NodeId>,
    ) -> BoxFuture<'static, Result<SyncSummary, String>> {
        let (world, node) = (self.world.clone(), self.node);
        Box::pin(async move {
            while world.0.lock().known[&node] < since {
                a_moment().await;
            }
            for other in &from {
                a_moment().await;
                let mut state = world.0.lock();
                if !state.up.contains(other) {
                    return Err(format!("{other} is gone"));
                }
                let theirs = state
                    .data
                    .get(&(*other, partition))
                    .cloned()
                    .unwrap_or_default();
                state
                    .data
                    .entry((node, partition))
                    .or_default()
                    .extend(theirs);
            }
            Ok(SyncSummary::default())
        })
    }

    fn drained(&self, epoch: Epoch) -> BoxFuture<'static, ()> {
        let (world, node) = (self.world.clone(), self.node);
        Box::pin(async move {
            loop {
                a_moment().await;
                let mut state = world.0.lock();
                let in_flight = state.in_flight.entry(node).or_default();
                if in_flight.iter().all(|&other| other >= epoch) {
                    let fence = state.fences.entry(node).or_default();
                    *fence = epoch.max(*fence);
                    return;
                }
            }
        })
    }

    fn forget(&self, partition: PartitionId, left: Epoch) {
        let mut state = self.world.0.lock();
        let joined = state.joined.get(&(self.node, partition));
        if joined.is_some_and(|joined| *joined > left) {
            return;
        }
        let had = state.data.remove(&(self.node, partition));
        state.forgotten += usize::from(had.is_some_and(|tokens| !tokens.is_empty()));
    }
}

impl World {
    /// Attaches a node that has just started.
    fn attach(&self, cluster: &Cluster, number: u8) {
        let handle = cluster.handle(number);
        let this = node(number);
        {
            let mut state = self.0.lock();
            state.in_flight.remove(&this);
            state.up.insert(this);
            state.learn(this, &handle.current());
        }
        let world = self.clone();
        handle.run_moves(Arc::new(Plane {
            node: this,
            world: self.clone(),
        }));
        let mut watch = handle.watch();
        let follower = tokio::spawn(async move {
            while watch.changed().await.is_ok() {
                let topology = Arc::clone(&watch.borrow_and_update());
                let mut state = world.0.lock();
                if state.up.contains(&this) {
                    state.learn(this, &topology);
                }
            }
        });
        let mut state = self.0.lock();
        state.followers.insert(this, follower.abort_handle());
    }

    async fn kill(&self, cluster: &Cluster, number: u8) {
        {
            let mut state = self.0.lock();
            state.up.remove(&node(number));
            // What it had not yet learnt in this life must not reach it in the next.
            if let Some(follower) = state.followers.remove(&node(number)) {
                follower.abort();
            }
            state.in_flight.remove(&node(number));
        }
        cluster.kill(number).await;
    }

    async fn restart(&self, cluster: &Cluster, number: u8) {
        cluster.restart(number).await;
        self.attach(cluster, number);
    }

    /// One write by a node, on the topology that it knows.
    async fn write(&self, coordinator: NodeId, partition: PartitionId) {
        let (epoch, placement, token) = {
            let mut state = self.0.lock();
            let Some(&epoch) = state.known.get(&coordinator) else {
                return;
            };
            if !state.up.contains(&coordinator) {
                return;
            }
            state.next += 1;
            let token = state.next;
            state.in_flight.entry(coordinator).or_default().push(epoch);
            let placement = state.seen[&epoch][partition.index()].clone();
            (epoch, placement, token)
        };
        let (old, new) = placement.write_sets(3);
        let all: BTreeSet<NodeId> = old.iter().chain(new.unwrap_or_default()).copied().collect();
        let mut reached = BTreeSet::new();
        for replica in all {
            a_moment().await;
            let mut state = self.0.lock();
            if !state.up.contains(&coordinator) {
                return;
            }
            let fence = state.fences.get(&replica).copied().unwrap_or_default();
            let knows = state.known.get(&replica).is_some_and(|&e| e >= epoch);
            if state.up.contains(&replica) && fence <= epoch && knows {
                state
                    .data
                    .entry((replica, partition))
                    .or_default()
                    .insert(token);
                reached.insert(replica);
            }
        }
        let enough = |set: &[NodeId]| {
            let count = set.iter().filter(|node| reached.contains(node)).count();
            count >= Quorum::Majority.of(set.len())
        };
        let mut state = self.0.lock();
        if enough(old) && new.is_none_or(enough) {
            state.acknowledged.push((partition, token));
        }
        if let Some(epochs) = state.in_flight.get_mut(&coordinator)
            && let Some(at) = epochs.iter().position(|&other| other == epoch)
        {
            epochs.swap_remove(at);
        }
    }

    /// Every acknowledged write is seen by each quorum of reads.
    fn check_data(&self, topology: &Topology) {
        let state = self.0.lock();
        assert!(!state.acknowledged.is_empty(), "some writes succeed");
        for (partition, token) in &state.acknowledged {
            let read_set = topology.placement(*partition).read_set(3);
            let has = |node: &&NodeId| {
                let data = state.data.get(&(**node, *partition));
                data.is_some_and(|tokens| tokens.contains(token))
            };
            let missing = read_set.len() - read_set.iter().filter(has).count();
            let read = Quorum::Majority.of(read_set.len());
            assert!(
                missing < read,
                "write {token} of partition {partition} is lost"
            );
        }
    }
}

struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(world: &World) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |_| {
            let (world, stop) = (world.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let coordinator = {
                        let state = world.0.lock();
                        let at = rand::rng().random_range(0..state.up.len().max(1));
                        state.up.iter().nth(at).copied()
                    };
                    let partition = PartitionId(rand::rng().random_range(0..PARTITIONS));
                    match coordinator {
                        Some(coordinator) => world.write(coordinator, partition).await,
                        None => a_moment().await,
                    }
                }
            })
        };
        let tasks = (0..4).map(writer).collect();
        Writers { stop, tasks }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Waits until all partitions are where they should be.
async fn settled(cluster: &Cluster) -> Arc<Topology> {
    let done = || {
        cluster.handles().iter().all(|handle| {
            let topology = handle.current();
            topology.placements.iter().all(|p| p.change.is_none()) && topology.plan().is_empty()
        })
    };
    let waited = tokio::time::timeout(Duration::from_secs(40), until("the end", done)).await;
    if waited.is_err() {
        for handle in cluster.handles() {
            let topology = handle.current();
            let moving = topology.placements.iter().filter(|p| p.change.is_some());
            eprintln!("{:?} {:?}", handle.status(), topology.epoch);
            moving.for_each(|placement| eprintln!("  {placement:?}"));
        }
        panic!("the moves do not end");
    }
    cluster.agreed().await
}

async fn start(count: u8) -> (Cluster, World, Writers) {
    let cluster = Cluster::new();
    let world = World::default();
    cluster.create(1).await;
    world.attach(&cluster, 1);
    let writers = Writers::start(&world);
    for number in 2..=count {
        cluster.join(number, 1).await;
        world.attach(&cluster, number);
    }
    settled(&cluster).await;
    (cluster, world, writers)
}

async fn finish(cluster: Cluster, world: World, writers: Writers) {
    let topology = settled(&cluster).await;
    writers.stop().await;
    world.check_data(&topology);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_drain_and_leave_under_writes() {
    let (cluster, world, writers) = start(4).await;
    let topology = settled(&cluster).await;
    for number in 1..=4 {
        assert_eq!(
            topology.holds(node(number)),
            usize::from(PARTITIONS) * 3 / 4
        );
    }
    // The leader itself: it must hand over its vote as well.
    let leader = cluster.leader().await;
    let other = 1 + leader % 4;
    cluster
        .handle(other)
        .propose(Change::Drain { node: node(leader) })
        .await
        .unwrap();
    let handle = cluster.handle(other);
    until("it is drained", || {
        handle.current().holds(node(leader)) == 0
    })
    .await;
    handle
        .propose(Change::RemoveMember { node: node(leader) })
        .await
        .unwrap();
    until("it is out of the group", || {
        let status = handle.status();
        let group = [status.voters, status.learners].concat();
        !group.contains(&node(leader)) && status.leader.is_some_and(|id| id != node(leader))
    })
    .await;
    world.kill(&cluster, leader).await;
    assert!(world.0.lock().forgotten > 0, "what moved away is forgotten");
    finish(cluster, world, writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced() {
    let (cluster, world, writers) = start(3).await;
    let leader = cluster.leader().await;
    let dead = 1 + leader % 3;
    world.kill(&cluster, dead).await;
    cluster.join(4, leader).await;
    world.attach(&cluster, 4);
    let (old, new) = (node(dead), node(4));
    let handle = cluster.handle(leader);
    handle.propose(Change::Replace { old, new }).await.unwrap();
    until("nothing is left to the dead one", || {
        handle.current().holds(old) == 0
    })
    .await;
    handle
        .propose(Change::RemoveMember { node: old })
        .await
        .unwrap();
    let topology = settled(&cluster).await;
    assert_eq!(topology.holds(new), usize::from(PARTITIONS));
    finish(cluster, world, writers).await;
}

/// Who dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    New,
    Old,
    Leader,
}

/// A fourth node joins; when a move reaches a step, someone dies and is back a little later.
async fn death_at(step: Step, victim: Victim) {
    let (cluster, world, writers) = start(3).await;
    cluster.until_voters(3).await;
    let leader = cluster.leader().await;
    let mut watch = cluster.handle(leader).watch();
    cluster.join(4, leader).await;
    world.attach(&cluster, 4);
    let reached = |topology: &Arc<Topology>| {
        let placement = topology.placements.iter().find(|placement| {
            let change = placement.change.as_ref();
            change.is_some_and(|change| change.step == step && change.to.contains(&node(4)))
        });
        placement.cloned()
    };
    let seen = watch.wait_for(|topology| reached(topology).is_some());
    // The move may be over this step already where it is short; then another one gets there, or all are done.
    let seen = tokio::time::timeout(Duration::from_secs(5), seen).await;
    let placement = seen.ok().and_then(|seen| reached(&seen.unwrap()));
    let old = placement.map_or(node(2), |placement| placement.replicas[0]);
    let dies = match victim {
        Victim::New => 4,
        Victim::Old => old.0[0],
        Victim::Leader => leader,
    };
    world.kill(&cluster, dies).await;
    tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..1500))).await;
    world.restart(&cluster, dies).await;
    let topology = settled(&cluster).await;
    assert_eq!(topology.holds(node(4)), usize::from(PARTITIONS) * 3 / 4);
    assert!(cluster.is_up(4));
    finish(cluster, world, writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_while_moves_are_planned() {
    death_at(Step::Planned, Victim::New).await;
    death_at(Step::Planned, Victim::Leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_dies_while_it_fetches() {
    death_at(Step::WriteBothReadOld, Victim::New).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_replica_dies_while_it_is_fetched_from() {
    death_at(Step::WriteBothReadOld, Victim::Old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_while_replicas_fetch() {
    death_at(Step::WriteBothReadOld, Victim::Leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anyone_dies_when_there_is_no_way_back() {
    death_at(Step::WriteBothReadNew, Victim::New).await;
    death_at(Step::WriteBothReadNew, Victim::Old).await;
    death_at(Step::WriteBothReadNew, Victim::Leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_that_stays_dead_leaves_no_move_behind() {
    let (cluster, world, writers) = start(3).await;
    let leader = cluster.leader().await;
    cluster.join(4, leader).await;
    // It never takes part: it has no data path. So its moves stay at their first steps until it dies.
    let handle = cluster.handle(leader);
    until("a move", || handle.current().progress().moving > 0).await;
    cluster.kill(4).await;
    until("its moves are rolled back", || {
        handle.current().progress().moving == 0
    })
    .await;
    handle
        .propose(Change::Drain { node: node(4) })
        .await
        .unwrap();
    until("no plan has it", || handle.current().holds(node(4)) == 0).await;
    handle
        .propose(Change::RemoveMember { node: node(4) })
        .await
        .unwrap();
    finish(cluster, world, writers).await;
}
