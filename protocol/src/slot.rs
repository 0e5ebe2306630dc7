//! Slots and partitions.

/// A run of consecutive slots: the unit of locking, placement and replication.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(pub u16);
