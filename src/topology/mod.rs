//! Who owns which partition, by epoch.

pub mod assignment;
mod change;
mod consensus;
mod flow;
mod join;
mod moves;
mod placement;
mod plan;
mod plane;
mod state;

pub use change::{Change, Description, MAX_MEMBERS, MAX_REPLICAS, Refusal, Stage};
pub use consensus::{
    Channel, Liveness, MAX_VOTERS, Options, ProposeError, RaftTransport, StartError, Status,
    Timing, TopologyHandle, TransportError, choose_voters,
};
pub use coterie_protocol::quorum::{InvalidQuorum, Quorum};
pub use join::{JOIN_VERSION, JoinError, JoinRequest, Joined, decode_answer};
pub use plan::Progress;
pub use plane::{BoxFuture, DataPlane, SyncSummary};
pub use state::{Member, MemberState, Move, Placement, Policy, Step, Topology};

#[cfg(test)]
mod tests;
