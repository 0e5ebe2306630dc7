//! Encodings that Redis had before listpacks, and sets of integers.

use std::borrow::Cow;

use super::listpack::{Item, little_endian};
use super::reader::{DecodeError, Read, Reader};

const END: u8 = 0xff;
/// A length of four bytes follows.
const LONG: u8 = 0xfe;
/// Said in the header of a ziplist if there are so many elements or more: they have to be counted.
const UNCOUNTED: u16 = u16::MAX;

fn expect(is_right: bool) -> Read<()> {
    if is_right {
        Ok(())
    } else {
        Err(DecodeError::Malformed)
    }
}

/// Visits the elements of a ziplist: a header (total bytes, where the last element begins, their number), the elements, each
/// with the length of the one before it in front, and `0xff`.
pub fn ziplist<'a>(bytes: &'a [u8], mut visit: impl FnMut(Item<'a>) -> Read<()>) -> Read<()> {
    let mut reader = Reader::new(bytes, 0);
    let total = u32::from_le_bytes(reader.array()?) as usize;
    let last = u32::from_le_bytes(reader.array()?) as usize;
    let announced = u16::from_le_bytes(reader.array()?);
    expect(total == bytes.len())?;
    let mut rest = &bytes[10..];
    let (mut count, mut before) = (0, 0);
    let mut last_start = bytes.len() - rest.len();
    loop {
        let first = *rest.first().ok_or(DecodeError::Malformed)?;
        if first == END {
            break;
        }
        let start = bytes.len() - rest.len();
        let mut reader = Reader::new(rest, 0);
        let length = match reader.byte()? {
            LONG => u32::from_le_bytes(reader.array()?) as usize,
            length => length.into(),
        };
        expect(length == before)?;
        let (item, header) = ziplist_item(&mut reader)?;
        before = header + if first == LONG { 5 } else { 1 };
        rest = rest.get(before..).ok_or(DecodeError::Malformed)?;
        last_start = start;
        count += 1;
        visit(item)?;
    }
    expect(rest.len() == 1 && last == last_start)?;
    expect(announced == UNCOUNTED || usize::from(announced) == count)
}

/// An element behind its length, and how many bytes it takes.
fn ziplist_item<'a>(reader: &mut Reader<'a>) -> Read<(Item<'a>, usize)> {
    let encoding = reader.byte()?;
    let (length, header) = match encoding >> 6 {
        0 => (usize::from(encoding), 1),
        1 => (
            usize::from(encoding & 0x3f) << 8 | usize::from(reader.byte()?),
            2,
        ),
        2 => (u32::from_be_bytes(reader.array()?) as usize, 5),
        _ => {
            let bytes = match encoding {
                0xc0 => 2,
                0xd0 => 4,
                0xe0 => 8,
                0xf0 => 3,
                0xfe => 1,
                0xf1..=0xfd => return Ok((Item::Number(i64::from(encoding & 0xf) - 1), 1)),
                _ => return Err(DecodeError::Malformed),
            };
            let number = little_endian(reader.take(bytes)?);
            return Ok((Item::Number(number), 1 + bytes));
        }
    };
    Ok((Item::Text(reader.take(length)?), header + length))
}

/// Visits the fields and values of a zipmap, the first encoding of small hashes: their number if it is below 254, then each
/// field and value with its length before it, values also with the number of unused bytes behind them.
pub fn zipmap<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(&'a [u8], &'a [u8]) -> Read<()>,
) -> Read<()> {
    let mut reader = Reader::new(bytes, 0);
    let announced = reader.byte()?;
    let mut count = 0;
    while let Some(length) = zipmap_length(&mut reader)? {
        let field = reader.take(length)?;
        let length = zipmap_length(&mut reader)?.ok_or(DecodeError::Malformed)?;
        let unused = reader.byte()?;
        let value = reader.take(length)?;
        reader.take(unused.into())?;
        count += 1;
        visit(field, value)?;
    }
    expect(reader.byte().is_err())?;
    expect(announced >= LONG || usize::from(announced) == count)
}

/// The length of what follows; `None` at the end.
fn zipmap_length(reader: &mut Reader<'_>) -> Read<Option<usize>> {
    Ok(match reader.byte()? {
        END => None,
        LONG => Some(u32::from_le_bytes(reader.array()?) as usize),
        length => Some(length.into()),
    })
}

/// Visits the texts of a set of integers: the bytes of each, their number (little-endian `u32`s), and they, ascending.
pub fn intset(bytes: &[u8], mut visit: impl FnMut(Cow<'_, [u8]>) -> Read<()>) -> Read<()> {
    let mut reader = Reader::new(bytes, 0);
    let width = u32::from_le_bytes(reader.array()?) as usize;
    let count = u32::from_le_bytes(reader.array()?) as usize;
    expect(matches!(width, 2 | 4 | 8))?;
    expect(count > 0 && bytes.len() - 8 == count.saturating_mul(width))?;
    let mut before = None;
    for member in bytes[8..].chunks_exact(width) {
        let member = little_endian(member);
        expect(before.is_none_or(|before| before < member))?;
        before = Some(member);
        visit(Item::Number(member).text())?;
    }
    Ok(())
}

/// A set of integers, which are ascending.
pub fn encode_intset(members: &[i64]) -> Vec<u8> {
    let fits = |width: u32| {
        let unused = 64 - 8 * width;
        members
            .iter()
            .all(|member| (member << unused) >> unused == *member)
    };
    let width = if fits(2) {
        2
    } else if fits(4) {
        4
    } else {
        8
    };
    let mut out = Vec::with_capacity(8 + members.len() * width);
    out.extend_from_slice(&(width as u32).to_le_bytes());
    out.extend_from_slice(&(members.len() as u32).to_le_bytes());
    for member in members {
        out.extend_from_slice(&member.to_le_bytes()[..width]);
    }
    out
}
