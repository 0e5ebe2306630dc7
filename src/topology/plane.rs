//! What moves need of the data path.

use std::future::Future;
use std::pin::Pin;

use coterie_protocol::{Epoch, NodeId, PartitionId};

/// A future behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a synchronisation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncSummary {
    /// Keys that were fetched.
    pub keys: u64,
    /// Bytes that were fetched.
    pub bytes: u64,
}

/// The data path of this node, as the moves see it. Futures that are dropped stop what they do.
pub trait DataPlane: Send + Sync + 'static {
    /// On a new replica, since an epoch: fetches what the old replicas have until equal to so many of them that every
    /// write that was acknowledged is among it. May be called again for a partition that is in step.
    ///
    /// That it began with nothing when that epoch came into force here is up to the data path: from then on it takes part
    /// in writes.
    fn synchronize(
        &self,
        partition: PartitionId,
        since: Epoch,
        from: Vec<NodeId>,
    ) -> BoxFuture<'static, Result<SyncSummary, String>>;

    /// Ends when no request of an epoch before this one is in flight on this node, and none is accepted any more.
    fn drained(&self, epoch: Epoch) -> BoxFuture<'static, ()>;

    /// The partition is elsewhere since an epoch: its data here is of no use, unless a later epoch has brought it back.
    /// Called again after a restart, for partitions that may be empty already.
    fn forget(&self, partition: PartitionId, left: Epoch);
}
