//! What the leader decides about moves. Plain state, no I/O.

use std::collections::{BTreeMap, BTreeSet};

use coterie_protocol::{Epoch, NodeId, PartitionId};

use crate::topology::consensus::{Fetch, Report};
use crate::topology::{Change, MemberState, Move, Placement, Policy, Stage, Step, Topology};

/// What the plan depends on.
type PlanInput = (Vec<(NodeId, String, u32, MemberState)>, usize);

/// What a node has reported.
#[derive(Default)]
struct Reported {
    drained: Epoch,
    in_step: BTreeSet<(PartitionId, Epoch)>,
}

/// See the module.
pub(in crate::topology) struct Mover {
    /// The most partitions that move at a time.
    limit: usize,
    reports: BTreeMap<NodeId, Reported>,
    planned_for: Option<(PlanInput, Epoch)>,
}

impl Mover {
    pub(in crate::topology) fn new(limit: usize) -> Mover {
        Mover {
            limit: limit.max(1),
            reports: BTreeMap::new(),
            planned_for: None,
        }
    }

    /// Takes note of what a node says. Returns whether that is new.
    pub(in crate::topology) fn report(&mut self, from: NodeId, report: Report) -> bool {
        let known = self.reports.entry(from).or_default();
        let mut new = report.drained > known.drained;
        known.drained = known.drained.max(report.drained);
        for step in report.in_step {
            new |= known.in_step.insert(step);
        }
        new
    }

    /// Forgets what no longer matters.
    pub(in crate::topology) fn prune(&mut self, topology: &Topology) {
        self.reports
            .retain(|node, _| topology.members.contains_key(node));
        for reported in self.reports.values_mut() {
            reported.in_step.retain(|&(partition, since)| {
                let placement = topology.placements.get(partition.index());
                let change = placement.and_then(|placement| placement.change.as_ref());
                // What was reported of an epoch that is not known here yet is kept.
                since > topology.epoch || change.is_some_and(|change| change.since == since)
            });
        }
    }

    /// Whether a plan should be made: when members have changed, or when all is quiet again. Answers so once.
    pub(in crate::topology) fn wants_plan(&mut self, topology: &Topology) -> bool {
        let member = |(&node, member): (&NodeId, &crate::topology::Member)| {
            (node, member.zone.clone(), member.weight, member.state)
        };
        let members = topology.members.iter().map(member).collect();
        let input = (members, topology.wanted_replicas());
        let quiet = topology.placements.iter().all(|p| p.under_way().is_none());
        let due = match &self.planned_for {
            Some((known, epoch)) => *known != input || (quiet && *epoch != topology.epoch),
            None => true,
        };
        if due {
            self.planned_for = Some((input, topology.epoch));
        }
        due
    }

    /// What was planned last has not been agreed.
    pub(in crate::topology) fn plan_again(&mut self) {
        self.planned_for = None;
    }

    /// The next steps of all moves that can take one, if any can.
    pub(in crate::topology) fn next(
        &self,
        topology: &Topology,
        live: &dyn Fn(NodeId) -> bool,
    ) -> Option<Change> {
        let counts = topology.replica_counts();
        let mut lost = Vec::new();
        let mut ready = Vec::new();
        let mut under_way = 0;
        for (partition, placement, change) in changes(topology) {
            let stage = Stage {
                partition,
                step: change.step,
                since: change.since,
            };
            let joining = placement.joining(&counts);
            match change.step {
                Step::Planned => {}
                Step::WriteBothReadOld => {
                    under_way += 1;
                    let in_step = |node| self.in_step(node, partition, change.since);
                    if !joining.iter().copied().all(live) {
                        lost.push(stage);
                    } else if self.barrier(topology, placement, change, live)
                        && joining.into_iter().all(in_step)
                    {
                        ready.push(stage);
                    }
                }
                Step::WriteBothReadNew => {
                    under_way += 1;
                    if self.barrier(topology, placement, change, live) {
                        ready.push(stage);
                    }
                }
            }
        }
        if !lost.is_empty() {
            return Some(Change::RollBack { stages: lost });
        }
        let room = self.limit.saturating_sub(under_way);
        ready.extend(self.begin(topology, &counts, room, live));
        (!ready.is_empty()).then_some(Change::Advance { stages: ready })
    }

    /// Planned moves that can begin: those that need no data all, of others as many as there is room for.
    fn begin(
        &self,
        topology: &Topology,
        counts: &BTreeSet<usize>,
        mut room: usize,
        live: &dyn Fn(NodeId) -> bool,
    ) -> Vec<Stage> {
        let mut stages = Vec::new();
        for (partition, placement, change) in changes(topology) {
            if change.step != Step::Planned {
                continue;
            }
            let alive = change.to.iter().filter(|&&node| live(node)).count();
            let can_write = 2 * alive > change.to.len();
            let can_fetch = placement.joining(counts).into_iter().all(live);
            let free = placement.same_sets(counts);
            if free || (can_write && can_fetch && room > 0) {
                room -= usize::from(!free);
                stages.push(Stage {
                    partition,
                    step: change.step,
                    since: change.since,
                });
            }
        }
        stages
    }

    /// What new replicas should fetch now.
    pub(in crate::topology) fn fetches(
        &self,
        topology: &Topology,
        live: &dyn Fn(NodeId) -> bool,
    ) -> BTreeMap<NodeId, Vec<Fetch>> {
        let counts = topology.replica_counts();
        let mut fetches: BTreeMap<NodeId, Vec<Fetch>> = BTreeMap::new();
        for (partition, placement, change) in changes(topology) {
            if change.step != Step::WriteBothReadOld
                || !self.barrier(topology, placement, change, live)
            {
                continue;
            }
            let drained = |node: &NodeId| live(*node) && self.drained(*node) >= change.since;
            let from: Vec<NodeId> = placement.replicas.iter().copied().filter(drained).collect();
            for node in placement.joining(&counts) {
                if live(node) && !self.in_step(node, partition, change.since) {
                    fetches.entry(node).or_default().push(Fetch {
                        partition,
                        since: change.since,
                        from: from.clone(),
                    });
                }
            }
        }
        fetches
    }

    fn drained(&self, node: NodeId) -> Epoch {
        let reported = self.reports.get(&node);
        reported.map_or(Epoch::default(), |reported| reported.drained)
    }

    fn in_step(&self, node: NodeId, partition: PartitionId, since: Epoch) -> bool {
        let reported = self.reports.get(&node);
        reported.is_some_and(|reported| reported.in_step.contains(&(partition, since)))
    }

    /// Whether no request of an epoch before the step is in flight: every member that lives has drained them, and
    /// those old replicas that have not can't make a quorum with each other. The latter leaves out a dead node that the
    /// operator has drained or replaced: it does not come back.
    fn barrier(
        &self,
        topology: &Topology,
        placement: &Placement,
        change: &Move,
        live: &dyn Fn(NodeId) -> bool,
    ) -> bool {
        let drained = |node: NodeId| self.drained(node) >= change.since;
        if !topology
            .members
            .keys()
            .all(|&node| !live(node) || drained(node))
        {
            return false;
        }
        let given_up = |node: NodeId| {
            let state = topology.members.get(&node).map(|member| member.state);
            state != Some(MemberState::Normal) && !live(node)
        };
        let policies = topology.policies.values().copied();
        policies.chain([topology.default_policy]).all(|policy| {
            let count = usize::from(policy.replicas).min(placement.replicas.len());
            let old = &placement.replicas[..count];
            let open = old
                .iter()
                .filter(|&&node| !drained(node) && !given_up(node));
            open.count() < least_quorum(policy, count)
        })
    }
}

/// The smallest number of replicas that can make a promise together: of a policy whose quorums do not intersect, which
/// promises nothing, more than half.
fn least_quorum(policy: Policy, replicas: usize) -> usize {
    let read = policy.read_quorum.of(replicas);
    let write = policy.write_quorum.of(replicas);
    if read + write > replicas {
        read.min(write)
    } else {
        replicas / 2 + 1
    }
}

fn changes(topology: &Topology) -> impl Iterator<Item = (PartitionId, &Placement, &Move)> {
    (topology.placements.iter().enumerate()).filter_map(|(index, placement)| {
        let change = placement.change.as_ref()?;
        Some((PartitionId(index as u16), placement, change))
    })
}
