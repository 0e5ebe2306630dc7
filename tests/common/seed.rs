//! Random tests that can be repeated.

/// The seed of a test's random choices: `COTERIE_TEST_SEED`, or a new one.
pub fn seed() -> u64 {
    match std::env::var("COTERIE_TEST_SEED") {
        Ok(text) => text.parse().expect("COTERIE_TEST_SEED is a number"),
        Err(_) => rand::random(),
    }
}
