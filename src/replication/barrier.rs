//! What replies wait for: marks that must have been reached before they may be told (I1).
//!
//! A write is one number: the end of its record in the coordinator's log. Every replica tells how far it has
//! followed that log, so "W of these nodes have it" is a comparison, and because marks only grow, one condition
//! covers all the writes of a pipeline to the same replicas.

use smallvec::SmallVec;

use super::peers::{NodeSet, Peers};
use crate::wal::{Log, LogOffset};

/// This many of these nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorum {
    /// Out of which.
    pub members: NodeSet,
    /// How many.
    pub need: u8,
    /// Who counts.
    pub terms: Terms,
}

/// What a database's policy says of who counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// No more than are connected have to: for the others the coordinator's log keeps what they miss.
    pub sloppy: bool,
    /// No more than are heard from have to.
    pub heard: bool,
    /// What a node missed while it was away it is not sent, so acknowledgements that pass over it do not tell of it.
    pub unhinted: bool,
    /// It has to be on the disk of each. What this node sends with that wish, others acknowledge only then.
    pub synced: bool,
}

impl Quorum {
    /// Out of these nodes, this many of them; strictly.
    pub fn strict(members: NodeSet, need: u8) -> Self {
        Quorum {
            members,
            need,
            terms: Terms::default(),
        }
    }

    /// The same, also on their disks if `synced`.
    #[inline]
    pub fn synced(mut self, synced: bool) -> Self {
        self.terms.synced |= synced;
        self
    }

    /// This node, as long as it is heard from.
    pub fn if_heard(node: NodeSet) -> Self {
        let mut quorum = Quorum::strict(node, 1);
        quorum.terms.heard = true;
        quorum
    }

    /// Whether of each majority of its members one has what such a quorum has.
    pub fn meets_majorities(&self) -> bool {
        let all = self.members.count_ones();
        !self.terms.sloppy && u32::from(self.need) + all / 2 + 1 > all
    }

    /// Whether such a quorum is more than half of its members.
    pub fn is_majority(&self) -> bool {
        !self.terms.sloppy && 2 * u32::from(self.need) > self.members.count_ones()
    }

    /// How many have to, as things are.
    pub fn needed(&self, peers: &Peers) -> u8 {
        if self.terms.heard {
            self.need.min(peers.live(self.members).count_ones() as u8)
        } else if self.terms.sloppy {
            self.need
                .min(peers.connected(self.members).count_ones() as u8)
        } else {
            self.need
        }
    }
}

/// A quorum that must hold this node's log up to an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Who.
    pub quorum: Quorum,
    /// Up to where.
    pub offset: LogOffset,
}

/// What of the own log has to be safe.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Local {
    /// As safe as the log is set to make it.
    pub stored: Option<LogOffset>,
    /// On the disk.
    pub synced: Option<LogOffset>,
}

impl Local {
    /// Whether that is nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.stored.is_none() && self.synced.is_none()
    }

    /// Whether it is safe already.
    pub fn is_reached(&self, log: &Log) -> bool {
        self.stored
            .is_none_or(|offset| log.acknowledged_when(offset))
            && self.synced.is_none_or(|offset| log.durable() >= offset)
    }

    /// Waits until it is.
    pub async fn reached(self, log: &Log) {
        if let Some(offset) = self.stored {
            log.wait_until_acknowledged(offset).await;
        }
        if let Some(offset) = self.synced {
            log.wait_until_synced(offset).await;
        }
    }
}

/// What the replies of one connection wait for.
#[derive(Clone, Default, Debug)]
pub struct Barrier {
    /// The own log.
    local: Local,
    /// Replicas.
    conditions: SmallVec<[Condition; 2]>,
}

impl Barrier {
    /// Whether there is nothing to wait for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.local.is_empty() && self.conditions.is_empty()
    }

    /// Where the own log must be.
    pub fn local(&self) -> Local {
        self.local
    }

    /// What replicas must have.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Waits also for the own log, and if `synced`, for the disk.
    #[inline]
    pub fn add_local(&mut self, offset: LogOffset, synced: bool) {
        let mark = if synced {
            &mut self.local.synced
        } else {
            &mut self.local.stored
        };
        *mark = (*mark).max(Some(offset));
    }

    /// Waits also for a quorum.
    pub fn add(&mut self, quorum: Quorum, offset: LogOffset) {
        let same = |condition: &&mut Condition| condition.quorum == quorum;
        match self.conditions.iter_mut().find(same) {
            Some(condition) => condition.offset = condition.offset.max(offset),
            None => self.conditions.push(Condition { quorum, offset }),
        }
    }
}
