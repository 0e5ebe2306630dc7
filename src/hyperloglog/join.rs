//! The least sketch that has seen what two have: a join semilattice, so that replicas may join in any order.

use std::cmp::Ordering;

use super::{Encoding, Registers, Sketch, encoding, registers_of};

/// Joins two strings. The result has of each register the larger value. A string that has all of them already is
/// taken as it is; between two such, the larger. What is no sketch is less than any sketch.
pub fn join(a: &[u8], b: &[u8]) -> Vec<u8> {
    if a == b {
        return a.to_vec();
    }
    let (registers, others) = match (registers_of(a), registers_of(b)) {
        (Ok(a), Ok(b)) => (a, b),
        (Ok(_), Err(_)) => return a.to_vec(),
        (Err(_), Ok(_)) => return b.to_vec(),
        (Err(_), Err(_)) => return a.max(b).to_vec(),
    };
    let covers = |one: &Registers, other: &Registers| one.iter().zip(other).all(|(x, y)| x >= y);
    match (covers(&registers, &others), covers(&others, &registers)) {
        (true, true) => {
            let packed = Sketch::from_registers(&registers);
            larger(a, b, packed.bytes()).to_vec()
        }
        (true, false) => a.to_vec(),
        (false, true) => b.to_vec(),
        (false, false) => {
            let mut both = registers;
            both.iter_mut()
                .zip(others.iter())
                .for_each(|(one, other)| *one = (*one).max(*other));
            Sketch::from_registers(&both).bytes().to_vec()
        }
    }
}

/// The larger of two strings with the same registers. What stands for those registers if neither were there is the
/// least of all: then what strings were joined to these registers makes no difference, but only which have them.
fn larger<'s>(a: &'s [u8], b: &'s [u8], packed: &[u8]) -> &'s [u8] {
    let rank = |string: &[u8]| (string != packed, encoding(string) == Some(Encoding::Dense));
    let order = rank(a).cmp(&rank(b)).then_with(|| a.cmp(b));
    if order == Ordering::Less { b } else { a }
}
