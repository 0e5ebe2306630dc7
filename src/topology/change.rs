//! Changes of the topology, and the next topology that each makes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use coterie_protocol::{
    Actor, ClusterId, DatabaseId, Epoch, NodeId, PartitionId, Partitions, Quorum,
};
use serde::{Deserialize, Serialize};

use super::state::{Member, MemberState, Move, Placement, Policy, Step, Topology};

/// The most members of a cluster.
pub const MAX_MEMBERS: usize = 1024;
/// The most replicas a policy may ask for.
pub const MAX_REPLICAS: u8 = 16;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The name clients are told instead of the address, if there is one.
    pub hostname: Option<String>,
    /// Where nodes connect: TCP and UDP.
    pub internal: SocketAddr,
    /// Replicas of a partition are spread over zones.
    pub zone: String,
    /// Its share of the partitions, relative to others. 0 for none.
    pub weight: u32,
}

/// A step of a partition's move, named by where it starts, so that it is taken once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// The partition.
    pub partition: PartitionId,
    /// The step it is at.
    pub step: Step,
    /// The epoch that step began with.
    pub since: Epoch,
}

/// A change of the topology. Each that is not refused and changes something makes the next epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// The first: a cluster of one node that holds everything.
    Found {
        /// The new cluster.
        cluster: ClusterId,
        /// The number of partitions: a power of two up to 16384.
        partitions: u16,
        /// Its node.
        node: NodeId,
        /// What it says of itself.
        description: Description,
        /// How databases are replicated that have no policy of their own.
        policy: Policy,
    },
    /// A node joins. Nothing, if it is a member already and says the same.
    AddMember {
        /// The node.
        node: NodeId,
        /// What it says of itself.
        description: Description,
    },
    /// A member says something else of itself.
    UpdateMember {
        /// The node.
        node: NodeId,
        /// What it says of itself.
        description: Description,
    },
    /// A member has lost its data or was restored from a copy: it gets a new actor.
    RenewActor {
        /// The node.
        node: NodeId,
        /// The actor it had, so that it is renewed once.
        from: Actor,
    },
    /// A member's partitions shall move elsewhere.
    Drain {
        /// The node.
        node: NodeId,
    },
    /// A member that is drained or replaced shall hold partitions again.
    Resume {
        /// The node.
        node: NodeId,
    },
    /// A member shall take the places of another.
    Replace {
        /// The node to be replaced, alive or dead.
        old: NodeId,
        /// The node that takes its places.
        new: NodeId,
    },
    /// A member that is drained or replaced and holds nothing more leaves.
    RemoveMember {
        /// The node.
        node: NodeId,
    },
    /// A database is replicated in another way.
    SetPolicy {
        /// The database.
        database: DatabaseId,
        /// How.
        policy: Policy,
    },
    /// Databases without a policy of their own are replicated in another way.
    SetDefaultPolicy {
        /// How.
        policy: Policy,
    },
    /// Partitions shall move: to each the new replicas, the preferred coordinator first. Those that it has take a plan back.
    Plan {
        /// The plans. None of the partitions may be moving.
        moves: Vec<(PartitionId, Vec<NodeId>)>,
    },
    /// Moves take their next step; the last commits them.
    Advance {
        /// Where they are.
        stages: Vec<Stage>,
    },
    /// Moves that have no replica that reads go to are given up.
    RollBack {
        /// Where they are.
        stages: Vec<Stage>,
    },
}

/// Why a change is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// There is a cluster already.
    #[error("the cluster exists already")]
    Founded,
    /// There is no cluster yet.
    #[error("there is no cluster yet")]
    NotFounded,
    /// A number of partitions that can't be.
    #[error("the number of partitions must be a power of two from 1 to 16384, not {0}")]
    InvalidPartitions(u16),
    /// A node that is no member.
    #[error("node {0} is not a member")]
    UnknownMember(NodeId),
    /// A node that is a member and says something else of itself.
    #[error("node {0} is a member already")]
    DuplicateMember(NodeId),
    /// Two nodes with one address.
    #[error("address {address} is that of node {of}")]
    DuplicateAddress {
        /// The address.
        address: SocketAddr,
        /// The member that has it.
        of: NodeId,
    },
    /// More nodes than a cluster can have.
    #[error("a cluster has at most {MAX_MEMBERS} members")]
    TooManyMembers,
    /// No number is left.
    #[error("no actor is left: 65535 lives of nodes were part of this cluster")]
    OutOfActors,
    /// The last one that can hold partitions stays.
    #[error("no other node could hold the partitions of node {0}")]
    LastMember(NodeId),
    /// It must be drained or replaced first.
    #[error("node {0} must be drained or replaced before it is removed")]
    NotDrained(NodeId),
    /// It has partitions.
    #[error("node {node} still holds {partitions} partitions")]
    HoldsPartitions {
        /// The node.
        node: NodeId,
        /// How many.
        partitions: usize,
    },
    /// A node can't replace itself or one that is replaced already, nor do so while it is drained.
    #[error("node {new} can't replace node {old}")]
    InvalidReplacement {
        /// The node to be replaced.
        old: NodeId,
        /// The other.
        new: NodeId,
    },
    /// A policy that can't be met.
    #[error("replicas must be from 1 to {MAX_REPLICAS}, and quorums from 1 to that number")]
    InvalidPolicy,
    /// The number of replicas does not change during moves.
    #[error("partitions are moving; the number of replicas can be changed afterwards")]
    Moving,
    /// A partition that does not exist.
    #[error("there is no partition {0}")]
    UnknownPartition(PartitionId),
    /// New replicas that can't be.
    #[error("the new replicas of partition {0} are none, one twice, or no members")]
    InvalidTarget(PartitionId),
    /// One change at a time.
    #[error("partition {0} is moving already")]
    UnderWay(PartitionId),
    /// Someone else was faster.
    #[error("the move of partition {0} is not at this step")]
    OtherStep(PartitionId),
    /// Reads go to the new replicas already.
    #[error("the move of partition {0} can no longer be rolled back")]
    NoWayBack(PartitionId),
}

impl Topology {
    /// The topology after a change; the same one if the change changes nothing.
    pub fn apply(&self, change: &Change) -> Result<Topology, Refusal> {
        if !self.is_founded() && !matches!(change, Change::Found { .. }) {
            return Err(Refusal::NotFounded);
        }
        let mut next = self.clone();
        next.epoch = Epoch(self.epoch.0 + 1);
        match change {
            Change::Found {
                cluster,
                partitions,
                node,
                description,
                policy,
            } => {
                next.found(*cluster, *partitions, *node, description)?;
                next.default_policy = *policy;
            }
            Change::AddMember { node, description } => next.add(*node, description)?,
            Change::UpdateMember { node, description } => next.update(*node, description)?,
            Change::RenewActor { node, from } => next.renew_actor(*node, *from)?,
            Change::Drain { node } => next.drain(*node)?,
            Change::Resume { node } => next.member_mut(*node)?.state = MemberState::Normal,
            Change::Replace { old, new } => next.replace(*old, *new)?,
            Change::RemoveMember { node } => next.remove(*node)?,
            Change::SetPolicy { database, policy } => {
                next.check_policy(*policy, self.policy(*database))?;
                next.policies.insert(*database, *policy);
            }
            Change::SetDefaultPolicy { policy } => {
                next.check_policy(*policy, self.default_policy)?;
                next.default_policy = *policy;
            }
            Change::Plan { moves } => {
                moves
                    .iter()
                    .try_for_each(|(id, to)| next.plan_move(*id, to))?;
            }
            Change::Advance { stages } => {
                stages.iter().try_for_each(|stage| next.advance(*stage))?;
            }
            Change::RollBack { stages } => {
                stages.iter().try_for_each(|stage| next.roll_back(*stage))?;
            }
        }
        next.check();
        Ok(next.unless_equal(self))
    }

    /// The topology before, if nothing but the epoch differs.
    fn unless_equal(mut self, before: &Topology) -> Topology {
        let epoch = std::mem::replace(&mut self.epoch, before.epoch);
        if self != *before {
            self.epoch = epoch;
        }
        self
    }

    fn found(
        &mut self,
        cluster: ClusterId,
        partitions: u16,
        node: NodeId,
        description: &Description,
    ) -> Result<(), Refusal> {
        if self.cluster != ClusterId::default() {
            return Err(Refusal::Founded);
        }
        let count = Partitions::new(partitions).ok_or(Refusal::InvalidPartitions(partitions))?;
        self.cluster = cluster;
        self.add(node, description)?;
        self.placements = count
            .iter()
            .map(|_| Placement::stable(vec![node]))
            .collect();
        Ok(())
    }

    fn add(&mut self, node: NodeId, description: &Description) -> Result<(), Refusal> {
        if let Some(member) = self.members.get(&node) {
            let same = member.describes(description);
            return if same {
                Ok(())
            } else {
                Err(Refusal::DuplicateMember(node))
            };
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(Refusal::TooManyMembers);
        }
        let actor = self.next_actor()?;
        self.members.insert(node, Member::new(description, actor));
        Ok(())
    }

    fn update(&mut self, node: NodeId, description: &Description) -> Result<(), Refusal> {
        self.check_addresses(node, description)?;
        let member = self.member_mut(node)?;
        let state = member.state;
        *member = Member::new(description, member.actor);
        member.state = state;
        Ok(())
    }

    fn renew_actor(&mut self, node: NodeId, from: Actor) -> Result<(), Refusal> {
        if self.member_mut(node)?.actor == from {
            let actor = self.next_actor()?;
            self.member_mut(node)?.actor = actor;
        }
        Ok(())
    }

    fn drain(&mut self, node: NodeId) -> Result<(), Refusal> {
        if self.member_mut(node)?.state == MemberState::Normal {
            self.member_mut(node)?.state = MemberState::Draining;
        }
        self.check_left(node)
    }

    fn replace(&mut self, old: NodeId, new: NodeId) -> Result<(), Refusal> {
        self.member_mut(old)?;
        let takes = self.member_mut(new)?.state == MemberState::Normal;
        let before = self.member_mut(old)?.state;
        let again = before == MemberState::Replaced(new);
        if old == new || !takes || (matches!(before, MemberState::Replaced(_)) && !again) {
            return Err(Refusal::InvalidReplacement { old, new });
        }
        self.member_mut(old)?.state = MemberState::Replaced(new);
        self.check_left(old)
    }

    fn remove(&mut self, node: NodeId) -> Result<(), Refusal> {
        if self.member_mut(node)?.state == MemberState::Normal {
            return Err(Refusal::NotDrained(node));
        }
        let partitions = self.holds(node);
        if partitions > 0 {
            return Err(Refusal::HoldsPartitions { node, partitions });
        }
        self.members.remove(&node);
        // Nobody is replaced by a node that is gone.
        for member in self.members.values_mut() {
            if member.state == MemberState::Replaced(node) {
                member.state = MemberState::Draining;
            }
        }
        Ok(())
    }

    /// Whether a policy can be in force, after this one.
    fn check_policy(&self, policy: Policy, before: Policy) -> Result<(), Refusal> {
        let possible = |quorum| match quorum {
            Quorum::Count(count) => (1..=policy.replicas).contains(&count),
            Quorum::Majority | Quorum::All => true,
        };
        if !(1..=MAX_REPLICAS).contains(&policy.replicas)
            || !possible(policy.write_quorum)
            || !possible(policy.read_quorum)
        {
            return Err(Refusal::InvalidPolicy);
        }
        let moving = self.placements.iter().any(|p| p.under_way().is_some());
        if moving && policy.replicas != before.replicas {
            return Err(Refusal::Moving);
        }
        Ok(())
    }

    fn plan_move(&mut self, partition: PartitionId, to: &[NodeId]) -> Result<(), Refusal> {
        let distinct: BTreeSet<NodeId> = to.iter().copied().collect();
        let known = distinct.iter().all(|node| self.members.contains_key(node));
        let since = self.epoch;
        let placement = self.placement_mut(partition)?;
        if placement.under_way().is_some() {
            return Err(Refusal::UnderWay(partition));
        }
        if to.is_empty() || distinct.len() != to.len() || !known {
            return Err(Refusal::InvalidTarget(partition));
        }
        placement.change = (placement.replicas != to).then(|| Move {
            to: to.to_vec(),
            step: Step::Planned,
            since,
        });
        Ok(())
    }

    fn advance(&mut self, stage: Stage) -> Result<(), Refusal> {
        let (epoch, counts) = (self.epoch, self.replica_counts());
        let placement = self.at_stage(stage)?;
        let next = match stage.step {
            // Nobody gains or loses anything: only the order changes.
            Step::Planned if placement.same_sets(&counts) => None,
            Step::Planned => Some(Step::WriteBothReadOld),
            Step::WriteBothReadOld => Some(Step::WriteBothReadNew),
            Step::WriteBothReadNew => None,
        };
        match (next, &mut placement.change) {
            (Some(step), Some(change)) => {
                change.step = step;
                change.since = epoch;
            }
            (_, change) => {
                if let Some(change) = change.take() {
                    placement.replicas = change.to;
                }
            }
        }
        Ok(())
    }

    fn roll_back(&mut self, stage: Stage) -> Result<(), Refusal> {
        let placement = self.at_stage(stage)?;
        if stage.step == Step::WriteBothReadNew {
            return Err(Refusal::NoWayBack(stage.partition));
        }
        placement.change = None;
        Ok(())
    }

    fn placement_mut(&mut self, partition: PartitionId) -> Result<&mut Placement, Refusal> {
        (self.placements.get_mut(partition.index())).ok_or(Refusal::UnknownPartition(partition))
    }

    /// A placement whose change is at this stage.
    fn at_stage(&mut self, stage: Stage) -> Result<&mut Placement, Refusal> {
        let placement = self.placement_mut(stage.partition)?;
        match &placement.change {
            Some(change) if (change.step, change.since) == (stage.step, stage.since) => {
                Ok(placement)
            }
            _ => Err(Refusal::OtherStep(stage.partition)),
        }
    }

    fn member_mut(&mut self, node: NodeId) -> Result<&mut Member, Refusal> {
        (self.members.get_mut(&node)).ok_or(Refusal::UnknownMember(node))
    }

    fn next_actor(&mut self) -> Result<Actor, Refusal> {
        let next = self
            .last_actor
            .0
            .checked_add(1)
            .ok_or(Refusal::OutOfActors)?;
        self.last_actor = Actor(next);
        Ok(self.last_actor)
    }

    /// Whether a member has one of these addresses already.
    pub(super) fn check_addresses(
        &self,
        node: NodeId,
        description: &Description,
    ) -> Result<(), Refusal> {
        let others = self.members.iter().filter(|(other, _)| **other != node);
        for (&of, member) in others {
            for (address, theirs) in [
                (description.address, member.address),
                (description.internal, member.internal),
            ] {
                if address == theirs {
                    return Err(Refusal::DuplicateAddress { address, of });
                }
            }
        }
        Ok(())
    }

    /// Refuses if nobody is left to hold partitions.
    fn check_left(&self, node: NodeId) -> Result<(), Refusal> {
        let holds = |member: &Member| member.state == MemberState::Normal && member.weight > 0;
        let left = self.members.values().any(holds);
        if left {
            Ok(())
        } else {
            Err(Refusal::LastMember(node))
        }
    }

    /// The number of partitions that a node is, or may become, a replica of.
    pub fn holds(&self, node: NodeId) -> usize {
        let may_become = |placement: &Placement| {
            let change = placement.change.as_ref();
            change.is_some_and(|change| change.to.contains(&node))
        };
        let holds =
            |placement: &&Placement| placement.replicas.contains(&node) || may_become(placement);
        self.placements.iter().filter(holds).count()
    }

    fn check(&self) {
        let members = |nodes: &[NodeId]| nodes.iter().all(|node| self.members.contains_key(node));
        for placement in &self.placements {
            debug_assert!(
                !placement.replicas.is_empty(),
                "every partition has a replica"
            );
            debug_assert!(members(&placement.replicas), "replicas are members");
            debug_assert!(placement.change.as_ref().is_none_or(|c| members(&c.to)));
        }
    }
}

impl Member {
    fn new(description: &Description, actor: Actor) -> Member {
        let description = description.clone();
        Member {
            address: description.address,
            hostname: description.hostname,
            internal: description.internal,
            zone: description.zone,
            weight: description.weight,
            actor,
            state: MemberState::Normal,
        }
    }

    /// Whether it says this of itself.
    pub fn describes(&self, description: &Description) -> bool {
        self.description() == *description
    }

    /// What it says of itself.
    pub fn description(&self) -> Description {
        Description {
            address: self.address,
            hostname: self.hostname.clone(),
            internal: self.internal,
            zone: self.zone.clone(),
            weight: self.weight,
        }
    }
}
