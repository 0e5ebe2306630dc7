//! Who owns which partition, by epoch.

mod state;

pub use state::{
    InvalidQuorum, Member, MemberState, Move, Placement, Policy, Quorum, Step, Topology,
};
