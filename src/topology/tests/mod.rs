//! Tests of the topology as a whole.

mod assignment;
mod changes;
mod cluster;
mod consensus;
mod moves;
mod simulation;

use coterie_protocol::NodeId;

use super::Description;

/// A node id that is easy to read in a failure.
fn node(number: u8) -> NodeId {
    let mut id = [0; 20];
    id[0] = number;
    NodeId(id)
}

fn describe(number: u8, zone: &str) -> Description {
    Description {
        address: ([127, 0, 0, 1], 7000 + u16::from(number)).into(),
        hostname: None,
        internal: ([127, 0, 0, 1], 17000 + u16::from(number)).into(),
        zone: zone.to_owned(),
        weight: 100,
    }
}
