//! LZF, the compression of strings in RDB files.
//!
//! A control byte below 32 is followed by so many literal bytes plus one. Any other is a copy of what was put out before:
//! the length less two in the upper three bits (7: the next byte is added), the distance less one in the lower five and
//! the byte that follows. See the description in LibLZF by Marc Lehmann.

/// Most bytes that a byte can become: a copy of 264 takes three.
pub const GROWTH_MAX: usize = 88;
/// Farthest copy.
const DISTANCE_MAX: usize = 1 << 13;
/// Longest copy.
const COPY_MAX: usize = 264;
/// Shortest copy that takes less than the bytes themselves.
const COPY_MIN: usize = 3;
/// Most bytes that follow a control byte as they are.
const LITERALS_MAX: usize = 32;
const TABLE_BITS: u32 = 14;

/// The `length` bytes that were compressed; `None` if that isn't so.
pub fn expand(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    // The caller has seen to it that this isn't much more than what there is.
    debug_assert!(length <= compressed.len().saturating_mul(GROWTH_MAX));
    let mut out = Vec::with_capacity(length);
    let mut bytes = compressed.iter();
    while let Some(control) = bytes.next() {
        let control = usize::from(*control);
        if control < LITERALS_MAX {
            let (literals, rest) = bytes.as_slice().split_at_checked(control + 1)?;
            out.extend_from_slice(literals);
            bytes = rest.iter();
        } else {
            let mut count = control >> 5;
            if count == 7 {
                count += usize::from(*bytes.next()?);
            }
            count += 2;
            let distance = ((control & 31) << 8 | usize::from(*bytes.next()?)) + 1;
            let start = out.len().checked_sub(distance)?;
            if out.len() + count > length {
                return None;
            }
            // The copy may run into itself.
            for index in start..start + count {
                out.push(out[index]);
            }
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

/// The bytes compressed; `None` if that doesn't make them shorter by more than four.
pub fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let longest = bytes.len().checked_sub(5)?;
    let mut out = Vec::with_capacity(bytes.len());
    // Where three bytes of this hash were last seen, plus one.
    let mut table = vec![0u32; 1 << TABLE_BITS];
    u32::try_from(bytes.len()).ok()?;
    let (mut at, mut literals) = (0, 0);
    while at < bytes.len() {
        match find_copy(bytes, at, &mut table) {
            Some((distance, count)) => {
                put_literals(&bytes[literals..at], &mut out);
                put_copy(distance, count, &mut out);
                at += count;
                literals = at;
            }
            None => at += 1,
        }
        if out.len() > longest {
            return None;
        }
    }
    put_literals(&bytes[literals..], &mut out);
    (out.len() <= longest).then_some(out)
}

/// How far back, and for how long, there is what begins here.
fn find_copy(bytes: &[u8], at: usize, table: &mut [u32]) -> Option<(usize, usize)> {
    let next = bytes.get(at..at + COPY_MIN)?;
    let number = u32::from_be_bytes([0, next[0], next[1], next[2]]);
    let hash = number.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS);
    let seen = std::mem::replace(&mut table[hash as usize], at as u32 + 1);
    let seen = (seen as usize).checked_sub(1)?;
    if at - seen > DISTANCE_MAX {
        return None;
    }
    let pairs = bytes[seen..].iter().zip(&bytes[at..]).take(COPY_MAX);
    let count = pairs.take_while(|(old, new)| old == new).count();
    (count >= COPY_MIN).then_some((at - seen, count))
}

fn put_literals(literals: &[u8], out: &mut Vec<u8>) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn put_copy(distance: usize, count: usize, out: &mut Vec<u8>) {
    let (distance, count) = (distance - 1, count - 2);
    let high = (distance >> 8) as u8;
    if count < 7 {
        out.push((count as u8) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (count - 7) as u8]);
    }
    out.push(distance as u8);
}
