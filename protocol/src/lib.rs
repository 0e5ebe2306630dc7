//! RESP, slots and ids of Coterie. No I/O.
mod ids;
mod slot;
mod version;

pub use ids::DatabaseId;
pub use slot::PartitionId;
pub use version::Version;
