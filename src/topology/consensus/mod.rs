//! Agreement on the topology: one small consensus group over openraft.
//!
//! Every change is an entry of its log; the topology is what the log leads to. Up to five nodes vote, all others learn.
//! The log, the votes and the snapshots are in the data directory. Whoever has no quorum goes on with the topology it knows.

mod files;
mod handle;
mod inbound;
mod log;
mod machine;
mod network;
mod steward;
mod types;
mod voters;

pub use handle::{Liveness, Options, ProposeError, StartError, Status, Timing, TopologyHandle};
pub use types::{Channel, RaftTransport, TransportError};
pub use voters::{MAX_VOTERS, choose_voters};

pub(in crate::topology) use types::{Fetch, Report};
