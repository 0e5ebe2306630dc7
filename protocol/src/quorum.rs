//! How many replicas have to take part.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Quorum {
    /// More than half.
    Majority,
    /// Every one.
    All,
    /// This many; all, if there are fewer.
    Count(u8),
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quorum::Majority => f.write_str("majority"),
            Quorum::All => f.write_str("all"),
            Quorum::Count(count) => count.fmt(f),
        }
    }
}

/// A text that names no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quorum is one, majority, all or a number from 1 to 255")]
pub struct InvalidQuorum;

impl FromStr for Quorum {
    type Err = InvalidQuorum;

    /// `majority`, `all`, `one` or a number, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidQuorum> {
        match text.to_ascii_lowercase().as_str() {
            "majority" => Ok(Quorum::Majority),
            "all" => Ok(Quorum::All),
            "one" => Ok(Quorum::Count(1)),
            number => match number.parse() {
                Ok(0) | Err(_) => Err(InvalidQuorum),
                Ok(count) => Ok(Quorum::Count(count)),
            },
        }
    }
}

impl Quorum {
    /// The number, out of this many replicas; at least 1.
    pub fn of(self, replicas: usize) -> usize {
        match self {
            Quorum::Majority => replicas / 2 + 1,
            Quorum::All => replicas.max(1),
            Quorum::Count(count) => usize::from(count).clamp(1, replicas.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_written_as_they_are_read() {
        for text in ["majority", "all", "1", "255"] {
            assert_eq!(text.parse::<Quorum>().unwrap().to_string(), text);
        }
        assert_eq!("ONE".parse(), Ok(Quorum::Count(1)));
        for wrong in ["", "0", "256", "most", "-1"] {
            assert_eq!(wrong.parse::<Quorum>(), Err(InvalidQuorum));
        }
        assert_eq!(
            [1, 2, 3, 4, 5].map(|n| Quorum::Majority.of(n)),
            [1, 2, 2, 3, 3]
        );
        assert_eq!([0, 2, 9].map(|n| Quorum::Count(3).of(n)), [1, 2, 3]);
    }
}
