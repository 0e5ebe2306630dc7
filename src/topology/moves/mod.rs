//! How partitions move from replicas to others while they are in use.
//!
//! The leader decides ([`mover`]), every node does its part ([`participant`]). A move goes through these steps, each an epoch:
//!
//! 1. *planned*: agreed, nothing is done yet.
//! 2. *write both, read old*: writes need their quorum in the old and in the new set. When no write of an epoch before is in
//!    flight (the *barrier*), new replicas fetch what the old ones have.
//! 3. *write both, read new*: when all new replicas are in step. There is no way back.
//! 4. *committed*: when no read of an epoch before is in flight. Those that hold the partition no longer forget it.
//!
//! Up to step 2 a move is rolled back if a new replica dies. What nodes report (that they have drained an epoch, that they
//! are in step) stays true, so a new leader only has to be told again.

pub(in crate::topology) mod mover;
pub(in crate::topology) mod participant;
