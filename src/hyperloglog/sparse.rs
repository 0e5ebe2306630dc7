//! Registers as runs of equal values.
//!
//! | bits | run |
//! | --- | --- |
//! | `00nnnnnn` | n+1 zeros, at most 64 |
//! | `01nnnnnn nnnnnnnn` | n+1 zeros, at most 16384 |
//! | `1vvvvvnn` | the value v+1, at most 32, n+1 times, at most 4 |
//!
//! Which of several ways to write the same registers is taken is part of the format: clients can see it.

use smallvec::SmallVec;

use super::{Corrupted, HEADER, REGISTERS, Registers};

/// Zeros that fit into one byte.
const SHORT_ZEROS_MAX: usize = 64;
/// Largest value of a run.
const VALUE_MAX: u8 = 32;
/// Registers of one value in a run.
const VALUES_MAX: usize = 4;
/// Runs that are looked at, from the one before a change on, for equal values next to each other.
const RUNS_JOINED: usize = 5;
/// Longest sketch that [`pack`] makes, in bytes; the same on every node, whatever its settings.
const PACKED_BYTES_MAX: usize = 3000;

/// Neighbouring registers with equal values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// So many zeros in one byte.
    ShortZeros(usize),
    /// So many zeros in two bytes.
    LongZeros(usize),
    /// Another value.
    Value {
        /// It.
        value: u8,
        /// How often.
        count: usize,
    },
}

impl Run {
    /// So many zeros, in as few bytes as they need.
    pub(super) fn zeros(count: usize) -> Run {
        if count > SHORT_ZEROS_MAX {
            Run::LongZeros(count)
        } else {
            Run::ShortZeros(count)
        }
    }

    /// The first of encoded runs. Of one that is cut off the rest counts as zero.
    pub(super) fn first(encoded: &[u8]) -> Option<Run> {
        let byte = *encoded.first()?;
        let low = usize::from(byte & 0x3f);
        Some(match byte >> 6 {
            0 => Run::ShortZeros(low + 1),
            1 => {
                let next = encoded.get(1).copied().unwrap_or(0);
                Run::LongZeros((low << 8 | usize::from(next)) + 1)
            }
            _ => Run::Value {
                value: (byte >> 2 & 0x1f) + 1,
                count: usize::from(byte & 3) + 1,
            },
        })
    }

    /// Number of registers.
    pub fn length(self) -> usize {
        match self {
            Run::ShortZeros(count) | Run::LongZeros(count) | Run::Value { count, .. } => count,
        }
    }

    /// The value of each.
    fn value(self) -> u8 {
        match self {
            Run::ShortZeros(_) | Run::LongZeros(_) => 0,
            Run::Value { value, .. } => value,
        }
    }

    /// Length of the encoding.
    pub(super) fn bytes(self) -> usize {
        match self {
            Run::LongZeros(_) => 2,
            _ => 1,
        }
    }

    /// Appends the encoding.
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encoded());
    }

    fn encoded(self) -> SmallVec<[u8; 2]> {
        debug_assert!(self.length() > 0);
        let less = self.length().saturating_sub(1);
        let mut bytes = SmallVec::new();
        match self {
            Run::ShortZeros(_) => bytes.push(less as u8),
            Run::LongZeros(_) => bytes.extend([0x40 | (less >> 8) as u8, less as u8]),
            Run::Value { value, .. } => bytes.push(0x80 | (value - 1) << 2 | less as u8),
        }
        bytes
    }
}

/// What became of an attempt to raise a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raised {
    /// It was as high already.
    Not,
    /// It is raised.
    Done,
    /// The value or the length is too large for runs; nothing was done.
    NoRoom,
}

/// Raises a register of a sparse sketch to a value.
pub fn raise(
    sketch: &mut Vec<u8>,
    index: usize,
    value: u8,
    bytes_max: usize,
) -> Result<Raised, Corrupted> {
    if value > VALUE_MAX {
        return Ok(Raised::NoRoom);
    }
    let Place {
        before,
        at,
        first,
        run,
    } = find(sketch, index).ok_or(Corrupted)?;
    if run.value() >= value {
        return Ok(Raised::Not);
    }
    let parts = split(run, index - first, value);
    let encoded: SmallVec<[u8; 8]> = parts.iter().flat_map(|part| part.encoded()).collect();
    let end = (at + run.bytes()).min(sketch.len());
    let grown = sketch.len() + encoded.len() - run.bytes();
    if encoded.len() > run.bytes() && grown > bytes_max {
        return Ok(Raised::NoRoom);
    }
    sketch.splice(at..end, encoded);
    // As if a run that was cut off had not been.
    sketch.truncate(grown);
    join_values(sketch, before);
    Ok(Raised::Done)
}

/// The run that a register is in.
struct Place {
    /// Where the run before it is, or the first run.
    before: usize,
    /// Where it is itself, and its first register.
    at: usize,
    first: usize,
    run: Run,
}

fn find(sketch: &[u8], index: usize) -> Option<Place> {
    let (mut before, mut at, mut first) = (HEADER, HEADER, 0);
    loop {
        let run = Run::first(sketch.get(at..)?)?;
        if index < first + run.length() {
            return Some(Place {
                before,
                at,
                first,
                run,
            });
        }
        before = at;
        at += run.bytes();
        first += run.length();
    }
}

/// The runs that a run becomes when one of its registers, so many after its first, gets another value.
fn split(run: Run, offset: usize, value: u8) -> SmallVec<[Run; 3]> {
    let rest = |count: usize| match run {
        Run::Value { value, .. } => Run::Value { value, count },
        _ => Run::zeros(count),
    };
    let behind = run.length() - offset - 1;
    let mut runs = SmallVec::new();
    if offset > 0 {
        runs.push(rest(offset));
    }
    runs.push(Run::Value { value, count: 1 });
    if behind > 0 {
        runs.push(rest(behind));
    }
    runs
}

/// Makes one run of neighbours with equal values, where they fit, among a few from this one on.
fn join_values(sketch: &mut Vec<u8>, from: usize) {
    let mut at = from;
    for _ in 0..RUNS_JOINED {
        let Some(run) = Run::first(sketch.get(at..).unwrap_or_default()) else {
            return;
        };
        let next = Run::first(sketch.get(at + run.bytes()..).unwrap_or_default());
        if let (
            Run::Value { value, count },
            Some(Run::Value {
                value: same,
                count: more,
            }),
        ) = (run, next)
            && value == same
            && count + more <= VALUES_MAX
        {
            let count = count + more;
            sketch.splice(at..at + 2, Run::Value { value, count }.encoded());
            continue;
        }
        at += run.bytes();
    }
}

/// Appends registers to a header as runs that are as long as can be; `None` if they do not fit.
pub fn pack(registers: &Registers, mut sketch: Vec<u8>) -> Option<Vec<u8>> {
    let mut at = 0;
    while at < REGISTERS {
        let value = registers[at];
        let longest = if value == 0 { REGISTERS } else { VALUES_MAX };
        let same = registers[at..].iter().take(longest);
        let count = same.take_while(|other| **other == value).count();
        let run = match value {
            0 => Run::zeros(count),
            _ => Run::Value { value, count },
        };
        if value > VALUE_MAX || sketch.len() + run.bytes() > PACKED_BYTES_MAX {
            return None;
        }
        run.encode(&mut sketch);
        at += count;
    }
    Some(sketch)
}
