//! Small identifiers.

/// The number of a database, as in `SELECT n`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DatabaseId(pub u16);
