//! Clusters of real processes: what holds while nodes die, freeze, come back, and lose each other.

#[path = "../common/mod.rs"]
mod common;

mod blocking;
mod faults;
mod fields;
mod guarantees;
mod intruders;
mod joins;
mod listeners;
mod model;
mod network;
mod once;
mod policies;
mod registers;
mod sketches;
mod streams;
mod superseded;
mod transactions;
mod walks;
mod workload;
