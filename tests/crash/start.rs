//! How tests begin that kill a server again and again.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::common::{Options, Program, seed};

/// A seed, which is printed so that a failure can be repeated, and its generator.
pub fn seeded() -> (u64, StdRng) {
    let seed = seed();
    println!("to repeat: COTERIE_TEST_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}

/// Small segments, so that kills meet segment changes and checkpoints too.
pub fn options(durability: &'static str) -> Options {
    Options::new(Program::Subject)
        .durability(durability)
        .coterie_flag("log-segment-size", "1mb")
        .coterie_flag("checkpoint-log-size", "6mb")
}
