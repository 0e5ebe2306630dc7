//! The random numbers of scripts: those of POSIX `lrand48`, as in Redis.

/// A linear congruential generator of 48 bits.
#[derive(Clone, Copy)]
pub(super) struct Random(u64);

const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 0xb;
const LOW_BITS: u64 = 0x330e;
const MASK: u64 = (1 << 48) - 1;

impl Default for Random {
    fn default() -> Self {
        Random(0x1234_abcd_330e)
    }
}

impl Random {
    pub fn seeded(seed: i32) -> Self {
        Random(u64::from(seed as u32) << 16 | LOW_BITS)
    }

    /// A number from 0 up to 1, exclusively.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        let bits = self.0 >> 17;
        (bits % i32::MAX as u64) as f64 / f64::from(i32::MAX)
    }
}
