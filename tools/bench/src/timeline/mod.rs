//! What clients of each node see over time, while one of the nodes is killed and comes back.

pub mod clients;
pub mod picture;
pub mod series;
