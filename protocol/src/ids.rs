//! Small identifiers.

use std::fmt;

/// The number of a logical database, as in `SELECT n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub u16);

impl DatabaseId {
    /// The database a new connection starts in.
    pub const DEFAULT: DatabaseId = DatabaseId(0);

    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
