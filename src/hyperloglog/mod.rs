//! HyperLogLog sketches as Redis keeps them in strings: the representation, and what is done to it.
//!
//! A sketch has 16384 registers. An element's hash chooses a register by its lowest 14 bits; the register remembers
//! the longest run of zeros, plus one, that the rest of any hash began with (Flajolet, Fusy, Gandouet and Meunier,
//! "HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm", 2007).
//!
//! # Representation
//! | bytes | |
//! | --- | --- |
//! | 0–3 | `HYLL` |
//! | 4 | 0 dense, 1 sparse |
//! | 5–7 | unused |
//! | 8–15 | the last estimate, little-endian; with the highest bit set it is out of date |
//! | 16– | the registers: dense in 6 bits each, lowest bits first; sparse as runs, see `sparse.rs` |

mod estimate;
mod hash;
mod join;
mod sparse;
#[cfg(test)]
mod tests;

pub use estimate::estimate;
pub use join::join;
pub use sparse::Run;

/// Number of registers.
pub const REGISTERS: usize = 1 << REGISTER_BITS;
/// Bits of a hash that choose the register.
const REGISTER_BITS: u32 = 14;
/// Bits of a dense register.
const WIDTH: usize = 6;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
/// Length of what is before the registers, in bytes.
const HEADER: usize = 16;
/// Length of a dense sketch, in bytes.
const DENSE_BYTES: usize = HEADER + REGISTERS * WIDTH / 8;
/// In the last byte of the cache: it is out of date.
const STALE: u8 = 0x80;

/// The values of all registers.
pub type Registers = [u8; REGISTERS];

/// Runs that are not of 16384 registers in all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registers are malformed")]
pub struct Corrupted;

/// How the registers are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// 6 bits each.
    Dense,
    /// As runs of equal values.
    Sparse,
}

/// The encoding of a string that begins like a sketch; `None` for any other. Sparse registers may still be malformed.
pub fn encoding(string: &[u8]) -> Option<Encoding> {
    if string.len() < HEADER || !string.starts_with(MAGIC) {
        return None;
    }
    match string[ENCODING_AT] {
        0 => (string.len() == DENSE_BYTES).then_some(Encoding::Dense),
        1 => Some(Encoding::Sparse),
        _ => None,
    }
}

/// The estimate that a sketch holds, unless it is out of date.
pub fn cached(string: &[u8]) -> Option<u64> {
    let bytes = string.get(CACHE_AT..HEADER)?.try_into().ok()?;
    let number = u64::from_le_bytes(bytes);
    (number >> 63 == 0).then_some(number)
}

/// Where a sketch holds an estimate, and as what.
pub fn cache(estimate: u64) -> (usize, [u8; HEADER - CACHE_AT]) {
    (CACHE_AT, estimate.to_le_bytes())
}

/// The runs of a sparse sketch.
pub fn runs(string: &[u8]) -> impl Iterator<Item = Run> {
    let mut rest = string.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let run = Run::first(rest)?;
        rest = rest.get(run.bytes()..).unwrap_or_default();
        Some(run)
    })
}

/// Raises registers to those of a string that begins like a sketch.
pub fn merge_into(string: &[u8], registers: &mut Registers) -> Result<(), Corrupted> {
    match encoding(string).ok_or(Corrupted)? {
        Encoding::Dense => {
            for (index, register) in registers.iter_mut().enumerate() {
                *register = (*register).max(dense_register(&string[HEADER..], index));
            }
            Ok(())
        }
        Encoding::Sparse => {
            let mut at = 0;
            for run in runs(string) {
                let end = at + run.length();
                let covered = registers.get_mut(at..end).ok_or(Corrupted)?;
                if let Run::Value { value, .. } = run {
                    for register in covered {
                        *register = (*register).max(value);
                    }
                }
                at = end;
            }
            if at == REGISTERS {
                Ok(())
            } else {
                Err(Corrupted)
            }
        }
    }
}

/// The registers of a string, if it is a sketch and well-formed.
pub fn registers_of(string: &[u8]) -> Result<Box<Registers>, Corrupted> {
    let mut registers = no_registers();
    merge_into(string, &mut registers)?;
    Ok(registers)
}

/// Registers of a sketch that has seen nothing.
pub fn no_registers() -> Box<Registers> {
    Box::new([0; REGISTERS])
}

fn dense_register(dense: &[u8], index: usize) -> u8 {
    let (byte, shift) = (index * WIDTH / 8, index * WIDTH % 8);
    let low = u16::from(dense[byte]);
    let high = dense.get(byte + 1).copied().unwrap_or(0);
    ((low | u16::from(high) << 8) >> shift) as u8 & 0x3f
}

fn set_dense_register(dense: &mut [u8], index: usize, value: u8) {
    let (byte, shift) = (index * WIDTH / 8, index * WIDTH % 8);
    let mask = 0x3fu16 << shift;
    let value = u16::from(value) << shift;
    dense[byte] = dense[byte] & !(mask as u8) | value as u8;
    if let Some(next) = dense.get_mut(byte + 1) {
        *next = *next & !((mask >> 8) as u8) | (value >> 8) as u8;
    }
}

/// A sketch that is edited.
#[derive(Clone, Debug)]
pub struct Sketch(Vec<u8>);

impl Default for Sketch {
    /// One that has seen nothing.
    fn default() -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[ENCODING_AT] = 1;
        Run::zeros(REGISTERS).encode(&mut bytes);
        let mut sketch = Sketch(bytes);
        sketch.invalidate();
        sketch
    }
}

impl Sketch {
    /// That of a string; `None` if it does not begin like one.
    pub fn of(string: &[u8]) -> Option<Self> {
        encoding(string).map(|_| Sketch(string.to_vec()))
    }

    /// One with these registers and no estimate, whose bytes depend on nothing else.
    pub fn from_registers(registers: &Registers) -> Self {
        let Sketch(mut bytes) = Sketch::default();
        bytes.truncate(HEADER);
        if let Some(sketch) = sparse::pack(registers, bytes) {
            return Sketch(sketch);
        }
        let mut bytes = Sketch::default().0;
        bytes.truncate(HEADER);
        Sketch(dense(bytes, registers))
    }

    /// The string.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// How the registers are held.
    pub fn encoding(&self) -> Encoding {
        match self.0[ENCODING_AT] {
            0 => Encoding::Dense,
            _ => Encoding::Sparse,
        }
    }

    /// Notes an element; returns whether a register was raised. A sparse sketch that would become longer than
    /// `sparse_max` bytes becomes dense.
    pub fn add(&mut self, element: &[u8], sparse_max: usize) -> Result<bool, Corrupted> {
        let hash = hash::murmur(element);
        let index = hash as usize % REGISTERS;
        // The bit behind the hash bounds the run.
        let rest = hash >> REGISTER_BITS | 1 << (u64::BITS - REGISTER_BITS);
        self.raise(index, rest.trailing_zeros() as u8 + 1, sparse_max)
    }

    /// Raises a register to a value; returns whether it was lower.
    pub fn raise(&mut self, index: usize, value: u8, sparse_max: usize) -> Result<bool, Corrupted> {
        debug_assert!(index < REGISTERS && value < 1 << WIDTH);
        if self.encoding() == Encoding::Sparse {
            match sparse::raise(&mut self.0, index, value, sparse_max)? {
                sparse::Raised::Not => return Ok(false),
                sparse::Raised::Done => {
                    self.invalidate();
                    return Ok(true);
                }
                sparse::Raised::NoRoom => self.make_dense()?,
            }
        }
        let dense = &mut self.0[HEADER..];
        let is_raised = value > dense_register(dense, index);
        if is_raised {
            set_dense_register(dense, index, value);
        }
        Ok(is_raised)
    }

    /// Holds the registers densely from now on; what it says of the estimate stays.
    pub fn make_dense(&mut self) -> Result<(), Corrupted> {
        if self.encoding() == Encoding::Sparse {
            let registers = registers_of(&self.0)?;
            let mut bytes = std::mem::take(&mut self.0);
            bytes.truncate(HEADER);
            self.0 = dense(bytes, &registers);
        }
        Ok(())
    }

    /// The estimate is out of date.
    pub fn invalidate(&mut self) {
        self.0[HEADER - 1] |= STALE;
    }
}

/// A dense sketch with this header.
fn dense(mut header: Vec<u8>, registers: &Registers) -> Vec<u8> {
    header[ENCODING_AT] = 0;
    header.resize(DENSE_BYTES, 0);
    for (index, register) in registers.iter().enumerate() {
        set_dense_register(&mut header[HEADER..], index, *register);
    }
    header
}
