//! What the quorum path asks of a placement.
//!
//! `replicas` is always the N of a database's policy: it uses the first N of the replicas that a partition has, or all if
//! there are fewer.

use std::collections::BTreeSet;

use coterie_protocol::{Epoch, NodeId};

use super::state::{Move, Placement, Step, Topology};

fn first(nodes: &[NodeId], replicas: usize) -> &[NodeId] {
    &nodes[..replicas.min(nodes.len())]
}

impl Placement {
    /// A placement without a change under way.
    pub fn stable(replicas: Vec<NodeId>) -> Placement {
        Placement {
            replicas,
            change: None,
        }
    }

    /// Who gets writes: a write needs its quorum in the first set, and in the second if there is one.
    pub fn write_sets(&self, replicas: usize) -> (&[NodeId], Option<&[NodeId]>) {
        let old = first(&self.replicas, replicas);
        let new = self.under_way().map(|change| first(&change.to, replicas));
        (old, new)
    }

    /// Who is asked by reads. The first of them that lives coordinates read-modify-writes.
    pub fn read_set(&self, replicas: usize) -> &[NodeId] {
        match &self.change {
            Some(change) if change.step == Step::WriteBothReadNew => first(&change.to, replicas),
            _ => first(&self.replicas, replicas),
        }
    }

    /// Whether a node is in a write set, and so gets every write.
    pub fn is_replica(&self, node: NodeId, replicas: usize) -> bool {
        let (old, new) = self.write_sets(replicas);
        old.contains(&node) || new.is_some_and(|new| new.contains(&node))
    }

    /// Whether a node is, or is about to become, a replica for some database. Nothing that another has of it counts,
    /// that of a node which is only planned to be one included.
    pub fn involves(&self, node: NodeId) -> bool {
        self.replicas.contains(&node)
            || (self.under_way()).is_some_and(|change| change.to.contains(&node))
    }

    /// Since when a node gets what it lacks, if it has nothing yet that counts.
    pub fn joins_since(&self, node: NodeId) -> Option<Epoch> {
        let change = self.change.as_ref()?;
        let joins = change.step == Step::WriteBothReadOld
            && change.to.contains(&node)
            && !self.replicas.contains(&node);
        joins.then_some(change.since)
    }

    /// The move that has begun, if one has.
    pub fn under_way(&self) -> Option<&Move> {
        (self.change.as_ref()).filter(|change| change.step > Step::Planned)
    }

    /// Who gets something by the change that they lack, given the numbers of replicas of all policies.
    pub fn joining(&self, counts: &BTreeSet<usize>) -> BTreeSet<NodeId> {
        let Some(change) = &self.change else {
            return BTreeSet::new();
        };
        let new = |&count: &usize| {
            let old = first(&self.replicas, count);
            (first(&change.to, count).iter()).filter(move |node| !old.contains(node))
        };
        counts.iter().flat_map(new).copied().collect()
    }

    /// Whether the change is one of order alone, for policies with these numbers of replicas.
    pub(super) fn same_sets(&self, counts: &BTreeSet<usize>) -> bool {
        let Some(change) = &self.change else {
            return true;
        };
        counts.iter().all(|&count| {
            let old: BTreeSet<_> = first(&self.replicas, count).iter().collect();
            old == first(&change.to, count).iter().collect()
        })
    }
}

impl Topology {
    /// The numbers of replicas that databases have.
    pub fn replica_counts(&self) -> BTreeSet<usize> {
        let default = self.default_policy.replicas;
        let of_policies = self.policies.values().map(|policy| policy.replicas);
        of_policies
            .chain([default])
            .map(|count| usize::from(count.max(1)))
            .collect()
    }

    /// How many replicas each partition should have.
    pub fn wanted_replicas(&self) -> usize {
        self.replica_counts().last().copied().unwrap_or(1)
    }
}
