//! What the leader does without being asked: it keeps the group of voters and learners, and drives the moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::NodeId;
use openraft::{ChangeMembers, EmptyNode, ServerState};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::handle::Core;
use super::types::{Fetch, TopologyAnswer, TopologyRequest};
use super::voters::choose_voters;
use crate::topology::{Change, Topology};

/// The longest time for one change of the group or the topology.
const WITHIN: Duration = Duration::from_secs(5);
/// An order that has not been followed is given again after this time.
const ORDER_AGAIN: Duration = Duration::from_secs(1);
/// A node that does not vote yet may be this many entries behind to become a voter.
const LAG: u64 = 50;

/// See the module. Only the leader's does anything.
pub(super) struct Steward {
    core: Arc<Core>,
    /// How often it looks after who is alive.
    tick: Duration,
    calls: JoinSet<(NodeId, bool)>,
    /// What was ordered, and when it is ordered again.
    ordered: BTreeMap<NodeId, (Vec<Fetch>, Instant)>,
}

impl Steward {
    pub(super) fn new(core: Arc<Core>, tick: Duration) -> Steward {
        Steward {
            core,
            tick,
            calls: JoinSet::new(),
            ordered: BTreeMap::new(),
        }
    }

    /// Runs until the node stops.
    pub(super) async fn run(mut self) {
        let mut metrics = self.core.raft.server_metrics();
        let mut topologies = self.core.published.watch();
        loop {
            let core = Arc::clone(&self.core);
            let leads = metrics.borrow_and_update().state == ServerState::Leader;
            let founded = topologies.borrow_and_update().is_founded();
            if leads && founded {
                self.keep_group().await;
                self.drive_moves().await;
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                changed = topologies.changed() => if changed.is_err() { return },
                Some(called) = self.calls.join_next() => self.called(called.ok()),
                () = core.wake.notified() => {}
                () = tokio::time::sleep(self.tick), if leads => {}
            }
        }
    }

    /// One change of the group at a time: new members learn, voters are chosen, those that left are left out.
    async fn keep_group(&self) {
        let Some(change) = self.group_change() else {
            return;
        };
        let retain = !matches!(change, ChangeMembers::RemoveNodes(_));
        tracing::info!(?change, "the group that agrees on the topology changes");
        let changed = self.core.raft.change_membership(change, retain);
        match tokio::time::timeout(WITHIN, changed).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the group was not changed"),
            Err(_) => tracing::warn!("the group was not changed in time"),
        }
    }

    fn group_change(&self) -> Option<ChangeMembers<NodeId, EmptyNode>> {
        let topology = self.core.published.current();
        let metrics = self.core.raft.metrics().borrow().clone();
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let group: BTreeSet<NodeId> = membership.nodes().map(|(id, _)| *id).collect();
        let new: BTreeMap<NodeId, EmptyNode> = (topology.members.keys())
            .filter(|node| !group.contains(node))
            .map(|node| (*node, EmptyNode::new()))
            .collect();
        if !new.is_empty() {
            return Some(ChangeMembers::AddNodes(new));
        }
        let last = metrics.last_log_index.unwrap_or(0);
        let ready = |node: NodeId| {
            let replication = metrics.replication.as_ref();
            let matching = replication.and_then(|replication| *replication.get(&node)?);
            matching.is_some_and(|id| id.index + LAG >= last)
        };
        let live = |node| node == self.core.node || (self.core.live)(node);
        let wanted = choose_voters(&topology, &voters, self.core.node, live, ready);
        let joint = membership.get_joint_config().len() > 1;
        if wanted != voters || joint {
            return Some(ChangeMembers::ReplaceAllVoters(wanted));
        }
        let gone: BTreeSet<NodeId> = (group.into_iter())
            .filter(|node| !topology.members.contains_key(node) && !voters.contains(node))
            .collect();
        (!gone.is_empty()).then_some(ChangeMembers::RemoveNodes(gone))
    }

    /// Takes all steps that can be taken, and orders what the next ones need.
    async fn drive_moves(&mut self) {
        let core = Arc::clone(&self.core);
        let live = |node| node == core.node || (core.live)(node);
        loop {
            let topology = core.published.current();
            let (planning, next) = {
                let mut mover = core.mover.lock();
                mover.prune(&topology);
                let planning = mover.wants_plan(&topology);
                (planning, mover.next(&topology, &live))
            };
            let change = match next {
                _ if planning => match plan(&topology).await {
                    Some(plan) => plan,
                    None => continue,
                },
                Some(change) => change,
                None => {
                    let fetches = core.mover.lock().fetches(&topology, &live);
                    self.order(fetches);
                    return;
                }
            };
            match core.propose_here(&change, WITHIN).await {
                TopologyAnswer::Proposed(response) => {
                    if let Err(refusal) = response.0 {
                        core.mover.lock().plan_again();
                        // Someone else changed the same; what there is now is looked at next time.
                        tracing::debug!(%refusal, "a step was not taken");
                        return;
                    }
                }
                // There is another leader, or no quorum.
                _ => {
                    core.mover.lock().plan_again();
                    return;
                }
            }
        }
    }

    /// Tells nodes what to fetch, unless they were told a moment ago.
    fn order(&mut self, fetches: BTreeMap<NodeId, Vec<Fetch>>) {
        self.ordered.retain(|node, _| fetches.contains_key(node));
        for (node, fetches) in fetches {
            let key = |fetches: &[Fetch]| -> Vec<_> {
                fetches
                    .iter()
                    .map(|fetch| (fetch.partition, fetch.since))
                    .collect()
            };
            let told = self
                .ordered
                .get(&node)
                .is_some_and(|(before, at)| key(before) == key(&fetches) && Instant::now() < *at);
            if told {
                continue;
            }
            self.ordered
                .insert(node, (fetches.clone(), Instant::now() + ORDER_AGAIN));
            if node == self.core.node {
                // If there are too many, it is ordered again.
                let _full = self.core.orders.try_send(fetches);
                continue;
            }
            let core = Arc::clone(&self.core);
            self.calls.spawn(async move {
                let request = TopologyRequest::Synchronize(fetches);
                let answer = core.ask(node, &request, ORDER_AGAIN).await;
                (node, matches!(answer, TopologyAnswer::Accepted))
            });
        }
    }

    /// An order that did not arrive is given again.
    fn called(&mut self, called: Option<(NodeId, bool)>) {
        if let Some((node, false)) = called
            && let Some((_, at)) = self.ordered.get_mut(&node)
        {
            *at = (*at).min(Instant::now() + self.tick);
        }
    }
}

/// Where partitions should move, computed beside the runtime: it takes milliseconds for large clusters.
async fn plan(topology: &Arc<Topology>) -> Option<Change> {
    let topology = Arc::clone(topology);
    let moves = tokio::task::spawn_blocking(move || topology.plan()).await;
    let moves = moves.unwrap_or_default();
    (!moves.is_empty()).then_some(Change::Plan { moves })
}
