//! Counting and finding bits.

use coterie_protocol::text::parse_i64;

use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult};

/// A range of bits, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct BitRange {
    first: u64,
    last: u64,
}

/// What the indexes of a range count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: &[u8]) -> Result<Unit, CommandError> {
        if word.eq_ignore_ascii_case(b"BIT") {
            Ok(Unit::Bit)
        } else if word.eq_ignore_ascii_case(b"BYTE") {
            Ok(Unit::Byte)
        } else {
            Err(CommandError::Syntax)
        }
    }
}

fn parse_index(text: &[u8]) -> Result<i64, CommandError> {
    parse_i64(text).ok_or(CommandError::NotInteger)
}

/// The bits of a string of `length` bytes from `start` to `end`, where negative indexes count from the end; `None` if there are
/// none.
fn resolve(start: i64, end: i64, unit: Unit, length: usize) -> Option<BitRange> {
    let bits = if unit == Unit::Bit { 1 } else { 8 };
    let total = length as i64 * 8 / bits;
    let index = |at: i64| if at < 0 { (total + at).max(0) } else { at };
    let (start, end) = (index(start), index(end).min(total - 1));
    (start <= end).then(|| BitRange {
        first: (start * bits) as u64,
        last: (end * bits + bits - 1) as u64,
    })
}

/// `BITCOUNT`
pub fn bitcount(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let entry = call.transaction.get(call.database, request.arg(1));
    let Some(entry) = string_of(entry)? else {
        // Redis does not even look at the other arguments then.
        call.reply.integer(0);
        return Ok(());
    };
    let value = entry.value();
    let (start, end, unit) = match request.len() {
        2 => (0, -1, Unit::Byte),
        4 | 5 => {
            let (start, end) = (parse_index(request.arg(2))?, parse_index(request.arg(3))?);
            // Once clamped, two ends before the first byte would be the first byte.
            if start < 0 && end < 0 && start > end {
                call.reply.integer(0);
                return Ok(());
            }
            let unit = request.get(4).map_or(Ok(Unit::Byte), Unit::parse)?;
            (start, end, unit)
        }
        _ => return Err(CommandError::Syntax),
    };
    let range = resolve(start, end, unit, value.len());
    let count = range.map_or(0, |range| count_ones(value, range));
    call.reply.integer(count as i64);
    Ok(())
}

/// How many bits of the range are set.
fn count_ones(value: &[u8], BitRange { first, last }: BitRange) -> u64 {
    let bytes = &value[(first / 8) as usize..=(last / 8) as usize];
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()))
        .sum();
    let in_rest: u32 = rest.iter().map(|byte| byte.count_ones()).sum();
    let (head, tail) = (u16::from(bytes[0]), u16::from(bytes[bytes.len() - 1]));
    let before = (head >> (8 - first % 8)).count_ones();
    let after = (tail & (0xff >> (last % 8 + 1))).count_ones();
    in_words + u64::from(in_rest) - u64::from(before) - u64::from(after)
}

/// `BITPOS`
pub fn bitpos(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let bit = match parse_index(request.arg(2))? {
        0 => false,
        1 => true,
        _ => {
            return Err(CommandError::line("ERR The bit argument must be 1 or 0."));
        }
    };
    let entry = call.transaction.get(call.database, request.arg(1));
    let Some(entry) = string_of(entry)? else {
        // Zeros without end, and again Redis looks no further.
        call.reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let value = entry.value();
    if request.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = request.get(3).map_or(Ok(0), parse_index)?;
    let unit = request.get(5).map_or(Ok(Unit::Byte), Unit::parse)?;
    let end = request.get(4).map_or(Ok(-1), parse_index)?;
    let found = resolve(start, end, unit, value.len()).map(|range| match find(value, bit, range) {
        Some(at) => at as i64,
        // Without an end, zeros follow the string.
        None if !bit && request.len() < 5 => range.last as i64 + 1,
        None => -1,
    });
    call.reply.integer(found.unwrap_or(-1));
    Ok(())
}

/// The first bit of the range that is `bit`.
fn find(value: &[u8], bit: bool, BitRange { first, last }: BitRange) -> Option<u64> {
    // Flipped where a clear bit is wanted, so that a set one is.
    let flip = if bit { 0x00 } else { 0xff };
    let start = (first / 8) as usize;
    let at = |index: usize, byte: u8| index as u64 * 8 + u64::from(byte.leading_zeros());
    let head = (value[start] ^ flip) & (0xff >> (first % 8));
    let found = if head != 0 {
        Some(at(start, head))
    } else {
        let rest = &value[start + 1..=(last / 8) as usize];
        let (words, _) = rest.as_chunks::<8>();
        let skipped = 8 * words.iter().take_while(|word| **word == [flip; 8]).count();
        let index = skipped + rest[skipped..].iter().position(|byte| *byte != flip)?;
        Some(at(start + 1 + index, rest[index] ^ flip))
    };
    found.filter(|at| *at <= last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit_at(value: &[u8], at: u64) -> bool {
        value[(at / 8) as usize] & 0x80 >> (at % 8) != 0
    }

    fn sparse_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![4 => Just(0u8), 4 => Just(0xff), 1 => any::<u8>()];
        prop::collection::vec(byte, 1..80)
    }

    proptest! {
        #[test]
        fn ranges_count_and_find_like_single_bits(
            value in sparse_bytes(),
            ends: (prop::sample::Index, prop::sample::Index),
            bit: bool,
        ) {
            let (a, b) = (ends.0.index(value.len() * 8) as u64, ends.1.index(value.len() * 8) as u64);
            let range = BitRange { first: a.min(b), last: a.max(b) };
            let all = || range.first..=range.last;
            let count = all().filter(|at| bit_at(&value, *at)).count() as u64;
            prop_assert_eq!(count_ones(&value, range), count);
            let found = all().find(|at| bit_at(&value, *at) == bit);
            prop_assert_eq!(find(&value, bit, range), found);
        }
    }

    #[test]
    fn negative_indexes_count_from_the_end_and_are_clamped() {
        let bits = |first, last| Some(BitRange { first, last });
        assert_eq!(resolve(0, -1, Unit::Byte, 3), bits(0, 23));
        assert_eq!(resolve(-2, 100, Unit::Byte, 3), bits(8, 23));
        assert_eq!(resolve(-5, -1, Unit::Bit, 3), bits(19, 23));
        assert_eq!(resolve(i64::MIN, i64::MAX, Unit::Bit, 3), bits(0, 23));
        assert_eq!(resolve(3, 5, Unit::Byte, 3), None);
        assert_eq!(resolve(0, -1, Unit::Byte, 0), None);
    }
}
