//! Where each partition's requests go under one epoch of the topology.

use std::sync::Arc;

use coterie_protocol::{DatabaseId, Epoch, NodeId, PartitionId};
use smallvec::SmallVec;

use super::barrier::{Quorum, Terms};
use super::peers::{NodeSet, OWN, Peer, Peers};
use crate::effect::Effects;
use crate::topology::{self, Policy, Step, Topology};
use crate::wal::Durability;

/// Replicas in their order: the preferred coordinator first.
pub type Replicas = SmallVec<[Arc<Peer>; 3]>;

/// The quorums of a write: one, and while a partition moves a second one.
pub type WriteQuorums = SmallVec<[Quorum; 2]>;

/// See the module.
pub struct Routes {
    /// The epoch.
    pub epoch: Epoch,
    /// The topology it was made from.
    pub topology: Arc<Topology>,
    partitions: Box<[Route]>,
    /// From how many replicas of each key on this node has every key.
    all_here_from: Option<u8>,
    /// Whether there are [`Routes::durabilities`].
    has_durabilities: bool,
}

/// Where one partition's requests go.
pub struct Route {
    /// Those who have all of it: reads and read-modify-writes go to them.
    full: Replicas,
    /// While it moves: the other set that every write must reach too.
    other: Option<Replicas>,
    /// The epoch in which this changed last, as far as this node has seen.
    pub changed: Epoch,
}

impl Routes {
    /// The routes of a topology. `None` if there have been more nodes than this process can tell apart.
    pub fn new(topology: Arc<Topology>, peers: &Peers, before: Option<&Routes>) -> Option<Routes> {
        let epoch = topology.epoch;
        let find = |ids: &[NodeId]| -> Option<Replicas> {
            ids.iter().map(|id| peers.get_or_add(*id)).collect()
        };
        let mut partitions = Vec::with_capacity(topology.placements.len());
        for (index, placement) in topology.placements.iter().enumerate() {
            let same = before.filter(|before| before.topology.placements[index] == *placement);
            let old = find(&placement.replicas)?;
            let (full, other) = match &placement.change {
                Some(change) if change.step == Step::WriteBothReadOld => {
                    (old, Some(find(&change.to)?))
                }
                Some(change) if change.step == Step::WriteBothReadNew => {
                    (find(&change.to)?, Some(old))
                }
                _ => (old, None),
            };
            partitions.push(Route {
                full,
                other,
                changed: same.map_or(epoch, |before| before.partitions[index].changed),
            });
        }
        // The place of this node among the replicas of each partition; the last of these places decides.
        let place = |route: &Route| route.full.iter().position(|peer| peer.index == 0);
        let places: Option<Vec<usize>> = partitions.iter().map(place).collect();
        let last = places.and_then(|places| places.into_iter().max());
        let mut routes = Routes {
            all_here_from: last.and_then(|last| u8::try_from(last + 1).ok()),
            epoch,
            topology,
            partitions: partitions.into(),
            has_durabilities: false,
        };
        let has_durabilities = routes.durabilities().next().is_some();
        routes.has_durabilities = has_durabilities;
        Some(routes)
    }

    /// Where a partition's requests go.
    pub fn route(&self, partition: PartitionId) -> &Route {
        &self.partitions[partition.index()]
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Route)> {
        self.partitions
            .iter()
            .enumerate()
            .map(|(index, route)| (PartitionId(index as u16), route))
    }

    /// Whether this node alone answers every read of a database, at this level or at the database's own.
    pub fn answers_all_reads(&self, database: DatabaseId, level: Option<topology::Quorum>) -> bool {
        let policy = self.policy(database);
        let level = level.unwrap_or(policy.read_quorum);
        self.all_here_from
            .is_some_and(|from| policy.replicas >= from)
            && level.of(usize::from(policy.replicas)) <= 1
    }

    /// Whether there may be a database for which nothing is kept for replicas that are away.
    pub fn has_unhinted(&self) -> bool {
        let mut policies = self.topology.policies.values();
        !self.topology.default_policy.hinted_handoff
            || policies.any(|policy| !policy.hinted_handoff)
    }

    /// The durabilities that databases have of their own.
    pub fn durabilities(&self) -> impl Iterator<Item = Durability> {
        let policies = self.topology.policies.values();
        let all = policies.chain([&self.topology.default_policy]);
        all.filter_map(|policy| policy.durability)
    }

    /// Whether any of these effects is of a database that is only acknowledged when it is on the disk. `otherwise` is
    /// the durability of databases that have none of their own.
    pub fn wants_sync(&self, otherwise: Durability, database: DatabaseId, effects: &[u8]) -> bool {
        if !self.has_durabilities {
            return otherwise == Durability::Always;
        }
        let mut databases = Effects::new(database, effects).flatten();
        databases.any(|(database, _)| {
            let own = self.policy(database).durability;
            own.unwrap_or(otherwise) == Durability::Always
        })
    }

    /// Whether nothing of these effects is kept for replicas that are away.
    pub fn is_without_hints(&self, database: DatabaseId, effects: &[u8]) -> bool {
        let mut databases = Effects::new(database, effects).flatten();
        databases.all(|(database, _)| !self.policy(database).hinted_handoff)
    }

    /// How a database is replicated.
    pub fn policy(&self, database: DatabaseId) -> Policy {
        self.topology.policy(database)
    }
}

fn bits(replicas: &[Arc<Peer>]) -> NodeSet {
    replicas.iter().fold(0, |set, peer| set | peer.bit())
}

fn quorum(replicas: &[Arc<Peer>], level: topology::Quorum, terms: Terms) -> Quorum {
    Quorum {
        members: bits(replicas),
        need: level.of(replicas.len()) as u8,
        terms,
    }
}

/// Who counts of a database's replicas. A level that a connection has chosen is what it says, also of a database with
/// sloppy quorums.
pub(super) fn terms(policy: &Policy, chosen: Option<topology::Quorum>) -> Terms {
    Terms {
        sloppy: policy.sloppy_quorum && chosen.is_none(),
        unhinted: !policy.hinted_handoff,
        synced: policy.durability == Some(Durability::Always),
        heard: false,
    }
}

impl Route {
    /// Those who have everything of a database with this policy, in order.
    pub fn readers(&self, policy: &Policy) -> &[Arc<Peer>] {
        &self.full[..self.full.len().min(usize::from(policy.replicas).max(1))]
    }

    /// All who have, or will have, the partition for some database.
    pub fn all_holders(&self) -> NodeSet {
        bits(&self.full) | self.other.as_deref().map_or(0, bits)
    }

    /// Whether this node is one of those who have everything.
    pub fn is_local(&self, policy: &Policy) -> bool {
        bits(self.readers(policy)) & OWN != 0
    }

    /// The preferred coordinator.
    pub fn first(&self) -> Option<&Arc<Peer>> {
        self.full.first()
    }

    /// Whether the partition stays where it is.
    pub fn is_settled(&self) -> bool {
        self.other.is_none()
    }

    /// Who must hold a write: at the level that a connection has chosen, or the database's own.
    pub fn write_quorums(&self, policy: &Policy, chosen: Option<topology::Quorum>) -> WriteQuorums {
        let level = chosen.unwrap_or(policy.write_quorum);
        let terms = terms(policy, chosen);
        let count = usize::from(policy.replicas).max(1);
        let mut quorums = WriteQuorums::new();
        quorums.push(quorum(self.readers(policy), level, terms));
        if let Some(other) = &self.other {
            let second = quorum(&other[..other.len().min(count)], level, terms);
            if second != quorums[0] {
                quorums.push(second);
            }
        }
        quorums
    }

    /// Whether of each majority of those who have everything one has what was acknowledged.
    pub fn meets_majorities(&self, policy: &Policy, chosen: Option<topology::Quorum>) -> bool {
        let quorums = self.write_quorums(policy, chosen);
        quorums.iter().all(Quorum::meets_majorities)
    }

    /// Who must agree on a read: at the level that a connection has chosen, or the database's own.
    pub fn read_quorum(&self, policy: &Policy, chosen: Option<topology::Quorum>) -> Quorum {
        let level = chosen.unwrap_or(policy.read_quorum);
        quorum(self.readers(policy), level, terms(policy, chosen))
    }

    /// Whether this node coordinates read-modify-writes, and every other replica knows it as far as this one can tell: it
    /// is the first of them and hears from all others.
    pub fn is_led_here(&self, policy: &Policy) -> bool {
        let mut readers = self.readers(policy).iter();
        readers.next().is_some_and(|first| first.index == 0) && readers.all(|peer| peer.is_live())
    }

    /// The first replica that is live: it coordinates read-modify-writes. If none was heard from for a moment, one that
    /// is connected at least.
    pub fn first_live(&self, policy: &Policy) -> Option<&Arc<Peer>> {
        let readers = self.readers(policy);
        let live = readers.iter().find(|peer| peer.is_live());
        live.or_else(|| readers.iter().find(|peer| peer.is_connected()))
    }
}

/// Whether enough of a quorum's nodes are connected. One that is only slow makes nobody fail.
pub fn is_available(quorum: &Quorum, peers: &Peers) -> bool {
    peers.connected(quorum.members).count_ones() >= u32::from(quorum.needed(peers))
}
