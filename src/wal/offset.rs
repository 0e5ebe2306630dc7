//! Positions in the log.

use std::fmt;
use std::str::FromStr;

/// A position in the endless log of one node.
///
/// The upper 32 bits are the segment's number (from 1), the lower 32 bits the byte in that segment's
/// file. Offsets grow strictly from record to record, also across segments, but the difference of
/// two offsets of different segments is no number of bytes. Written as `segment:byte`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogOffset(u64);

impl LogOffset {
    /// Before the first record of a log that was never checkpointed.
    pub const ZERO: Self = Self(0);
    /// After every possible record.
    pub const MAX: Self = Self(u64::MAX);

    /// The byte `position` of segment number `segment`.
    pub const fn new(segment: u32, position: u32) -> Self {
        Self(((segment as u64) << 32) | position as u64)
    }

    /// The number of the segment, from 1; 0 only in [`LogOffset::ZERO`].
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte within the segment's file.
    pub const fn position(self) -> u32 {
        self.0 as u32
    }

    /// The offset as one integer, for storing it; order is kept.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`LogOffset::to_u64`].
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }
}

impl fmt::Display for LogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.position())
    }
}

impl fmt::Debug for LogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogOffset({self})")
    }
}

/// The text is not `segment:byte` with two numbers of 32 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a log offset is written segment:byte, for example 3:64")]
pub struct ParseLogOffsetError;

impl FromStr for LogOffset {
    type Err = ParseLogOffsetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (segment, position) = text.split_once(':').ok_or(ParseLogOffsetError)?;
        let segment = segment.parse().map_err(|_| ParseLogOffsetError)?;
        let position = position.parse().map_err(|_| ParseLogOffsetError)?;
        Ok(Self::new(segment, position))
    }
}
