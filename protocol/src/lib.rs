//! What Coterie's server, clients and tools must agree on: RESP requests and replies, what nodes
//! say to each other, slots, versions and identifiers.
//!
//! Everything here is a plain value or a plain state machine: no I/O, no clock, no async. Replies,
//! limits and error texts are those of Redis 7.0.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod api;
pub mod error;
pub mod frame;
pub mod ids;
pub mod internal;
pub mod quorum;
pub mod reply;
pub mod request;
pub mod slot;
pub mod text;
pub mod version;

pub use error::ProtocolError;
pub use frame::Frame;
pub use ids::{Actor, ClusterId, DatabaseId, Epoch, NodeId};
pub use quorum::Quorum;
pub use reply::{Mark, ReplyWriter, RespVersion};
pub use request::{Limits, OwnedRequest, Request, Scanner};
pub use slot::{PartitionId, Partitions, Slot};
pub use version::{HybridClock, Stamp, Version};
