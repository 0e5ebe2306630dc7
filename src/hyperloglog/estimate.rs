//! How many different elements a sketch has seen: Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches", 2017, the improved raw estimator (algorithm 6).

use std::f64::consts::LN_2;

use super::{REGISTER_BITS, REGISTERS, Registers};

/// Highest value that an element can raise a register to.
const VALUE_MAX: usize = (u64::BITS - REGISTER_BITS) as usize + 1;

/// The estimate.
pub fn estimate(registers: &Registers) -> u64 {
    let mut histogram = [0u32; 64];
    for register in registers {
        histogram[usize::from(*register) % 64] += 1;
    }
    let count = REGISTERS as f64;
    let share = |value: usize| f64::from(histogram[value]) / count;
    let mut sum = count * tau((count - f64::from(histogram[VALUE_MAX])) / count);
    for value in (1..VALUE_MAX).rev() {
        sum = (sum + f64::from(histogram[value])) * 0.5;
    }
    sum += count * sigma(share(0));
    let alpha = 0.5 / LN_2;
    let estimate = (alpha * count * count / sum).round();
    if estimate < i64::MAX as f64 {
        estimate as u64
    } else {
        // Registers that no elements can have raised: what a conversion of too much is on x86.
        1 << 63
    }
}

/// The contribution of registers that nothing has raised.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The contribution of registers that can't be raised any more.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
