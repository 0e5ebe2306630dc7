//! Which partitions should move where, and how far that is.

use coterie_protocol::{NodeId, PartitionId};

use super::assignment::{Candidate, Present, assign};
use super::state::{MemberState, Topology};

/// How far the moves are. Partitions that are neither moving nor done wait for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Partitions on their way.
    pub moving: usize,
    /// Partitions that are where they should be.
    pub done: usize,
    /// All partitions.
    pub total: usize,
}

impl Topology {
    /// The plans that are missing or outdated: partitions that do not move yet, with the replicas they should get.
    /// Those that already are where they should be take an outdated plan back.
    pub fn plan(&self) -> Vec<(PartitionId, Vec<NodeId>)> {
        let present: Vec<Present> = (self.placements.iter())
            .map(
                |placement| match (&placement.change, placement.under_way()) {
                    (_, Some(change)) => self.present(&change.to, &[]),
                    (Some(change), None) => self.present(&placement.replicas, &change.to),
                    (None, None) => self.present(&placement.replicas, &[]),
                },
            )
            .collect();
        let targets = assign(&self.candidates(), &present, self.wanted_replicas());
        let mut plans = Vec::new();
        for (index, target) in targets.into_iter().enumerate() {
            let placement = &self.placements[index];
            let meant = match &placement.change {
                Some(change) => &change.to,
                None => &placement.replicas,
            };
            if placement.under_way().is_none() && *meant != target {
                plans.push((PartitionId(index as u16), target));
            }
        }
        plans
    }

    /// How far the moves are.
    pub fn progress(&self) -> Progress {
        let moving = self.placements.iter().filter(|p| p.under_way().is_some());
        let done = self.placements.iter().filter(|p| p.change.is_none());
        Progress {
            moving: moving.count(),
            done: done.count(),
            total: self.placements.len(),
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let normal = |state| state == MemberState::Normal;
        (self.members.iter())
            .filter(|(_, member)| normal(member.state))
            .map(|(&node, member)| Candidate {
                node,
                zone: member.zone.clone(),
                weight: member.weight,
            })
            .collect()
    }

    /// A placement in which nodes that are replaced count as those that take their places.
    fn present(&self, replicas: &[NodeId], planned: &[NodeId]) -> Present {
        let place = |&node: &NodeId| match self.members.get(&node).map(|member| member.state) {
            Some(MemberState::Replaced(by)) if !replicas.contains(&by) => by,
            _ => node,
        };
        Present {
            replicas: replicas.iter().map(place).collect(),
            planned: planned.to_vec(),
        }
    }
}
