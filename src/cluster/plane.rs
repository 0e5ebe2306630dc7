//! What moves of partitions ask of this node's data.

use std::sync::Arc;

use coterie_protocol::{Epoch, NodeId, PartitionId};

use crate::replication::Replication;
use crate::topology::{BoxFuture, DataPlane, SyncSummary};

/// The quorum path as the topology's moves see it.
pub(super) struct Plane(pub(super) Arc<Replication>);

impl DataPlane for Plane {
    fn synchronize(
        &self,
        partition: PartitionId,
        since: Epoch,
        from: Vec<NodeId>,
    ) -> BoxFuture<'static, Result<SyncSummary, String>> {
        let replication = self.0.clone();
        Box::pin(async move {
            replication.reached(since).await;
            match replication.synchronize(partition, &from).await {
                Ok(summary) => Ok(SyncSummary {
                    keys: summary.keys,
                    bytes: summary.bytes,
                }),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn drained(&self, epoch: Epoch) -> BoxFuture<'static, ()> {
        let replication = self.0.clone();
        Box::pin(async move {
            replication.reached(epoch).await;
            replication.epochs.drained(epoch).await;
        })
    }

    fn forget(&self, partition: PartitionId, left: Epoch) {
        self.0.engine.forget(partition, left);
    }
}
