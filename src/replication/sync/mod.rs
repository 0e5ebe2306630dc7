//! Bringing replicas to the same state: anti-entropy, the copy of a partition that moves, the stable horizon.
//!
//! Two replicas compare a partition top down: its root, its 256 buckets, the digests of the keys in buckets that
//! differ. Then they exchange the states of keys that differ, and both merge. What is equal costs eight bytes.

mod compare;
mod horizon;
mod message;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::{NodeId, PartitionId, Version};

use super::Replication;
use super::peers::{OWN, Peer};
use crate::transport::{CallError, Inbound, Service};
use message::{Answer, Request};

pub use rounds::{run, watch_silence};

/// How long a replica may take to answer one request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why replicas were not brought to the same state. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The peer is not there.
    #[error("node {0} can't be reached")]
    Unreachable(NodeId),
    /// It did not answer in time.
    #[error("no answer: {0}")]
    Call(#[from] CallError),
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
    /// Its answer can't be read.
    #[error("an answer can't be read")]
    Malformed,
    /// A partition has left and come again on one side.
    #[error("the partition has moved meanwhile")]
    Moved,
    /// It can't do what it was asked for yet.
    #[error("node {0} is not ready")]
    NotReady(NodeId),
}

impl From<postcard::Error> for SyncError {
    fn from(_: postcard::Error) -> Self {
        SyncError::Malformed
    }
}

/// What a comparison did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Keys that differed.
    pub keys: u64,
    /// Those of them that both sides knew nothing new of since the version asked about: true differences, rather
    /// than writes under way.
    pub settled: u64,
    /// Bytes of states sent and received.
    pub bytes: u64,
}

impl Summary {
    fn add(&mut self, other: Summary) {
        self.keys += other.keys;
        self.settled += other.settled;
        self.bytes += other.bytes;
    }
}

/// Has a peer take in nothing more of what nodes have sent. Returns whether it does.
pub(super) async fn ask_to_abandon(
    replication: &Replication,
    peer: &Peer,
    nodes: Vec<NodeId>,
) -> bool {
    let answer = replication
        .ask_sync(peer, &Request::Abandon { nodes })
        .await;
    matches!(answer, Ok(Answer::Abandoned(true)))
}

/// As what a peer follows this node's log, if it does: see [`Peer::followed`].
pub(super) async fn ask_following(replication: &Replication, peer: &Peer) -> Option<u64> {
    match replication.ask_sync(peer, &Request::Following).await {
        Ok(Answer::Following(id)) => id,
        _ => None,
    }
}

impl Replication {
    async fn ask_sync(&self, peer: &Peer, request: &Request<'_>) -> Result<Answer, SyncError> {
        let link = peer.link().ok_or(SyncError::Unreachable(peer.id))?;
        let body = postcard::to_stdvec(request)?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, link.call(Service::Sync, &body));
        let answer = answer.await.map_err(|_| SyncError::TimedOut)??;
        Ok(postcard::from_bytes(&answer)?)
    }

    /// Brings a partition that moves to this node to the state of the replicas it comes from.
    ///
    /// First each source says that no request that does not know of this node is under way, and that this node has
    /// all that it coordinated until then: from there on every write reaches this node by the log streams. Then one
    /// comparison with each brings what was there before.
    ///
    /// # Errors
    /// Fewer than a majority of the sources could be compared with. What was copied stays, and merges.
    pub async fn synchronize(
        &self,
        partition: PartitionId,
        from: &[NodeId],
    ) -> Result<Summary, SyncError> {
        let routes = self.routes();
        let mark = self.behind_since(partition);
        let mut done = 0;
        let mut summary = Summary::default();
        let mut failure = SyncError::TimedOut;
        for id in from {
            if *id == self.peers.own().id {
                done += 1;
                continue;
            }
            let Some(peer) = self.peers.find(*id) else {
                continue;
            };
            let fence = Request::Fence {
                partition,
                epoch: routes.epoch,
                version: Version::ZERO,
                everyone: false,
            };
            let copied = async {
                let Answer::Fence(true) = self.ask_sync(&peer, &fence).await? else {
                    return Err(SyncError::NotReady(peer.id));
                };
                self.compare(&peer, partition, Version::MAX).await
            };
            match copied.await {
                Ok(part) => {
                    summary.add(part);
                    done += 1;
                }
                Err(error) => failure = error,
            }
        }
        if done <= from.len() / 2 {
            return Err(failure);
        }
        if let Some(mark) = mark {
            self.caught_up(partition, mark);
        }
        Ok(summary)
    }

    /// Answers another node's request.
    pub(super) async fn answer_sync(
        self: &Arc<Self>,
        from: &Arc<Inbound>,
        body: &[u8],
    ) -> Result<Vec<u8>, SyncError> {
        let request: Request<'_> = postcard::from_bytes(body)?;
        let count = self.engine.store().layout().count();
        if request
            .partition()
            .is_some_and(|partition| partition.0 >= count)
        {
            return Err(SyncError::Malformed);
        }
        // A partition that has moved away is not to be filled again.
        if request
            .partition()
            .is_some_and(|partition| !self.is_held(partition))
        {
            return Ok(postcard::to_stdvec(&Answer::NotHere)?);
        }
        let answer = match request {
            Request::Roots { roots } => Answer::Roots(self.differing_roots(&roots)),
            Request::Leaves { partition } => Answer::Leaves(self.leaves_of(partition)),
            Request::Keys { partition, buckets } => self
                .keys_of(partition, &buckets)
                .map_or(Answer::NotHere, |(joined, keys)| Answer::Keys(joined, keys)),
            Request::Exchange {
                partition,
                states,
                wanted,
            } => {
                self.merge(partition, states).await;
                let states = self.states_of(partition, &wanted);
                self.is_read_by(from.node());
                states.map_or(Answer::NotHere, |(joined, states)| {
                    Answer::States(joined, states)
                })
            }
            Request::Fence {
                partition,
                epoch,
                version,
                everyone,
            } => {
                let whom = if everyone { None } else { Some(from.node()) };
                Answer::Fence(self.fence(partition, epoch, version, whom).await)
            }
            Request::Abandon { nodes } => Answer::Abandoned(self.abandon_here(&nodes).await),
            Request::Following => Answer::Following(self.receivers.following(from)),
            Request::Horizon {
                partition,
                version,
                epoch,
            } => {
                self.set_horizon(partition, version, |joined| joined <= epoch);
                Answer::Done
            }
        };
        Ok(postcard::to_stdvec(&answer)?)
    }

    /// Whether this node has, or will have, a partition.
    fn is_held(&self, partition: PartitionId) -> bool {
        self.routes().route(partition).all_holders() & OWN != 0
    }

    /// Peers that hold a partition.
    fn holders(&self, partition: PartitionId) -> Vec<Arc<Peer>> {
        let set = self.routes().route(partition).all_holders();
        let peers = self.peers.all();
        peers
            .iter()
            .filter(|peer| peer.bit() & set & !OWN != 0)
            .cloned()
            .collect()
    }
}
