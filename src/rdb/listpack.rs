//! Listpacks: texts and integers one after the other in few bytes.
//!
//! A header (total bytes and number of elements, little-endian `u32` and `u16`), the elements, and `0xff`. An element is an
//! encoding byte, its data, and the length of both backwards, so that it can be read from the end. See
//! <https://github.com/antirez/listpack/blob/master/listpack.md>.

use std::borrow::Cow;

use coterie_protocol::text::parse_i64;

use super::reader::{DecodeError, Read};

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// Said in the header if there are so many elements or more: they have to be counted.
const UNCOUNTED: u16 = u16::MAX;
/// Longest text of an integer.
const INTEGER_BYTES_MAX: usize = 20;

/// An element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    Text(&'a [u8]),
    Number(i64),
}

impl<'a> Item<'a> {
    pub fn text(self) -> Cow<'a, [u8]> {
        match self {
            Item::Text(text) => Cow::Borrowed(text),
            Item::Number(number) => {
                Cow::Owned(itoa::Buffer::new().format(number).as_bytes().to_vec())
            }
        }
    }
}

/// What was not read yet of a listpack.
pub struct Listpack<'a> {
    rest: &'a [u8],
    announced: u16,
    count: usize,
}

impl<'a> Listpack<'a> {
    pub fn new(bytes: &'a [u8]) -> Read<Self> {
        let (header, rest) =
            (bytes.split_first_chunk::<HEADER_BYTES>()).ok_or(DecodeError::Malformed)?;
        let [a, b, c, d, low, high] = *header;
        let total = u32::from_le_bytes([a, b, c, d]) as usize;
        let (Some((&END, rest)), true) = (rest.split_last(), total == bytes.len()) else {
            return Err(DecodeError::Malformed);
        };
        Ok(Listpack {
            rest,
            announced: u16::from_le_bytes([low, high]),
            count: 0,
        })
    }

    /// The next element; `None` at the end, where there were as many as the header says.
    pub fn next(&mut self) -> Read<Option<Item<'a>>> {
        if self.rest.is_empty() {
            let is_right = self.announced == UNCOUNTED || usize::from(self.announced) == self.count;
            return if is_right {
                Ok(None)
            } else {
                Err(DecodeError::Malformed)
            };
        }
        let (item, length) = element(self.rest).ok_or(DecodeError::Malformed)?;
        let mut back = Vec::with_capacity(5);
        put_back_length(length, &mut back);
        let rest = self.rest.get(length..).unwrap_or_default();
        self.rest = rest.strip_prefix(&*back).ok_or(DecodeError::Malformed)?;
        self.count += 1;
        Ok(Some(item))
    }

    /// The next element, which has to be there.
    pub fn item(&mut self) -> Read<Item<'a>> {
        self.next()?.ok_or(DecodeError::Malformed)
    }

    /// The next element, which has to be an integer.
    pub fn number(&mut self) -> Read<i64> {
        match self.item()? {
            Item::Number(number) => Ok(number),
            Item::Text(_) => Err(DecodeError::Malformed),
        }
    }
}

/// The element at the beginning, and how long it is without its length backwards.
fn element(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let first = *bytes.first()?;
    let number = |number: i64, length| Some((Item::Number(number), length));
    let text = |start: usize, length: usize| {
        let end = start.checked_add(length)?;
        Some((Item::Text(bytes.get(start..end)?), end))
    };
    match first {
        0..0x80 => number(first.into(), 1),
        0x80..0xc0 => text(1, usize::from(first & 0x3f)),
        0xc0..0xe0 => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(*bytes.get(1)?);
            number((bits << 51) >> 51, 2)
        }
        0xe0..0xf0 => {
            let length = usize::from(first & 0xf) << 8 | usize::from(*bytes.get(1)?);
            text(2, length)
        }
        0xf0 => {
            let length = u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?);
            text(5, length as usize)
        }
        0xf1 => number(little_endian(bytes.get(1..3)?), 3),
        0xf2 => number(little_endian(bytes.get(1..4)?), 4),
        0xf3 => number(little_endian(bytes.get(1..5)?), 5),
        0xf4 => number(little_endian(bytes.get(1..9)?), 9),
        _ => None,
    }
}

/// A signed number of up to eight bytes, the lowest first.
pub fn little_endian(bytes: &[u8]) -> i64 {
    let high = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut whole = [if high { 0xff } else { 0 }; 8];
    for (byte, from) in whole.iter_mut().zip(bytes) {
        *byte = *from;
    }
    i64::from_le_bytes(whole)
}

/// A listpack that is being written. Of less than 4 GiB, which is for the caller to see to.
pub struct Builder {
    bytes: Vec<u8>,
    count: usize,
}

impl Builder {
    pub fn new() -> Self {
        Builder {
            bytes: vec![0; HEADER_BYTES],
            count: 0,
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len() + 1
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a text, as an integer if it is one.
    pub fn push(&mut self, text: &[u8]) {
        let number = (text.len() <= INTEGER_BYTES_MAX).then(|| parse_i64(text));
        if let Some(number) = number.flatten() {
            return self.push_number(number);
        }
        let start = self.bytes.len();
        match text.len() {
            length @ 0..64 => self.bytes.push(0x80 | length as u8),
            length @ 64..4096 => {
                let bytes = [0xe0 | (length >> 8) as u8, length as u8];
                self.bytes.extend_from_slice(&bytes);
            }
            length => {
                debug_assert!(u32::try_from(length).is_ok());
                self.bytes.push(0xf0);
                self.bytes.extend_from_slice(&(length as u32).to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(text);
        self.end_element(start);
    }

    /// Adds an integer.
    pub fn push_number(&mut self, number: i64) {
        let start = self.bytes.len();
        let bytes = number.to_le_bytes();
        match number {
            0..128 => self.bytes.push(bytes[0]),
            -4096..4096 => {
                let bits = number as u16;
                let bytes = [0xc0 | (bits >> 8) as u8 & 0x1f, bits as u8];
                self.bytes.extend_from_slice(&bytes);
            }
            -0x8000..0x8000 => self.put(0xf1, &bytes[..2]),
            -0x80_0000..0x80_0000 => self.put(0xf2, &bytes[..3]),
            -0x8000_0000..0x8000_0000 => self.put(0xf3, &bytes[..4]),
            _ => self.put(0xf4, &bytes),
        }
        self.end_element(start);
    }

    fn put(&mut self, encoding: u8, data: &[u8]) {
        self.bytes.push(encoding);
        self.bytes.extend_from_slice(data);
    }

    fn end_element(&mut self, start: usize) {
        put_back_length(self.bytes.len() - start, &mut self.bytes);
        self.count += 1;
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        debug_assert!(u32::try_from(self.bytes.len()).is_ok());
        let total = (self.bytes.len() as u32).to_le_bytes();
        let count = u16::try_from(self.count).unwrap_or(UNCOUNTED);
        self.bytes[..4].copy_from_slice(&total);
        self.bytes[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

/// The length of an element to be read backwards: seven bits a byte, the highest first; all but the first have the
/// eighth bit set.
fn put_back_length(length: usize, out: &mut Vec<u8>) {
    let bytes = match length {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for index in (0..bytes).rev() {
        let bits = (length >> (7 * index)) as u8 & 0x7f;
        let is_first = index == bytes - 1;
        out.push(if is_first { bits } else { bits | 0x80 });
    }
}
