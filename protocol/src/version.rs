//! Versions of values.

/// A point on the hybrid logical clock: 48 bits of milliseconds, 16 bits of counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version(pub u64);
