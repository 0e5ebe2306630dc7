//! A small collection in one byte buffer.
//!
//! # Layout
//! | bytes | field |
//! | --- | --- |
//! | 1… | number of elements, doubled, plus one if they are stamped; varint |
//! | | then for each element |
//! | 1… | length of its name; varint |
//! | 1… | length of its value; varint |
//! | 10 | its stamp, in a stamped collection: version, little-endian, and actor, little-endian |
//! | … | its name, its value |
//!
//! Varints are LEB128: seven bits a byte, low ones first. An element costs two bytes beyond what it holds, up
//! to 127 bytes of each, where Redis' listpack takes four. There is no way back from an element to the one
//! before: who wants the reverse order collects the few elements first.
//!
//! The buffer can be anyone's: [`PackedView`] reads any slice of bytes, so that a small collection can be the
//! inline value of an entry. [`Packed`] owns its buffer to change it. Everything is O(bytes).

use super::{buffer_bytes, give_back, reserve_to_class};

/// Bytes of a stamp: a version of 8 and an actor of 2.
pub const STAMP_BYTES: usize = 10;

/// Longest varint of a length that fits 64 bits.
const VARINT_BYTES: usize = 10;

/// An element with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    /// The element's name: a field, a member.
    pub name: &'a [u8],
    /// Its value: a field's, a score; empty in sets.
    pub value: &'a [u8],
    /// Version and actor, in a stamped collection; else zeros.
    pub stamp: (u64, u16),
}

impl Element<'_> {
    fn encode(&self, is_stamped: bool, out: &mut Vec<u8>) {
        let lengths = [self.name.len(), self.value.len()].map(Varint::new);
        let stamp = if is_stamped { STAMP_BYTES } else { 0 };
        let total = lengths.iter().map(|l| l.bytes().len()).sum::<usize>()
            + stamp
            + self.name.len()
            + self.value.len();
        reserve_to_class(out, total);
        lengths
            .iter()
            .for_each(|length| out.extend_from_slice(length.bytes()));
        if is_stamped {
            out.extend_from_slice(&self.stamp.0.to_le_bytes());
            out.extend_from_slice(&self.stamp.1.to_le_bytes());
        }
        out.extend_from_slice(self.name);
        out.extend_from_slice(self.value);
    }
}

/// A number as LEB128.
struct Varint {
    buffer: [u8; VARINT_BYTES],
    length: usize,
}

impl Varint {
    fn new(number: usize) -> Self {
        let mut buffer = [0; VARINT_BYTES];
        let mut length = 0;
        let mut rest = number;
        while rest >= 0x80 {
            buffer[length] = rest as u8 | 0x80;
            rest >>= 7;
            length += 1;
        }
        buffer[length] = rest as u8;
        length += 1;
        Varint { buffer, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// Reads a varint off the front.
#[inline]
fn varint(bytes: &mut &[u8]) -> Option<usize> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    if first < 0x80 {
        return Some(first.into());
    }
    let mut number = usize::from(first & 0x7f);
    for shift in (7..usize::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A packed collection in someone's bytes.
#[derive(Clone, Copy)]
pub struct PackedView<'a> {
    bytes: &'a [u8],
    length: usize,
    is_stamped: bool,
    /// Where the first element is.
    start: usize,
}

impl<'a> PackedView<'a> {
    /// The collection in these bytes, which a [`Packed`] has made.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut rest = bytes;
        let header = varint(&mut rest).unwrap_or(0);
        PackedView {
            bytes,
            length: header >> 1,
            is_stamped: header & 1 != 0,
            start: bytes.len() - rest.len(),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether elements have stamps.
    pub fn is_stamped(&self) -> bool {
        self.is_stamped
    }

    /// The element with a name.
    pub fn find(&self, name: &[u8]) -> Option<Element<'a>> {
        self.position(name).map(|(_, element)| element)
    }

    /// The element with a name, and its index.
    pub fn position(&self, name: &[u8]) -> Option<(usize, Element<'a>)> {
        self.iter()
            .enumerate()
            .find(|(_, element)| element.name == name)
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<Element<'a>> {
        self.iter().nth(index)
    }

    /// The elements in order.
    pub fn iter(&self) -> Elements<'a> {
        Elements {
            rest: &self.bytes[self.start..],
            left: self.length,
            is_stamped: self.is_stamped,
        }
    }

    /// Where the element is for which the predicate holds first, its index and itself; or else the end.
    fn locate(&self, mut is_it: impl FnMut(usize, &Element<'_>) -> bool) -> Located<'a> {
        let mut elements = self.iter();
        for index in 0..self.length {
            let start = self.bytes.len() - elements.rest.len();
            let Some(element) = elements.next() else {
                break;
            };
            if is_it(index, &element) {
                let end = self.bytes.len() - elements.rest.len();
                return Located {
                    bytes: start..end,
                    element: Some(element),
                };
            }
        }
        Located {
            bytes: self.bytes.len()..self.bytes.len(),
            element: None,
        }
    }
}

struct Located<'a> {
    bytes: std::ops::Range<usize>,
    element: Option<Element<'a>>,
}

/// Elements in order; see [`PackedView::iter`].
#[derive(Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
    is_stamped: bool,
}

impl<'a> Elements<'a> {
    fn read(&mut self) -> Option<Element<'a>> {
        let mut rest = self.rest;
        let name_length = varint(&mut rest)?;
        let value_length = varint(&mut rest)?;
        let mut stamp = (0, 0);
        if self.is_stamped {
            let (version, after) = rest.split_first_chunk::<8>()?;
            let (actor, after) = after.split_first_chunk::<2>()?;
            stamp = (u64::from_le_bytes(*version), u16::from_le_bytes(*actor));
            rest = after;
        }
        let (name, rest) = rest.split_at_checked(name_length)?;
        let (value, rest) = rest.split_at_checked(value_length)?;
        self.rest = rest;
        Some(Element { name, value, stamp })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        self.left = self.left.checked_sub(1)?;
        let element = self.read();
        debug_assert!(element.is_some(), "as many elements as the header says");
        element
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// A packed collection with a buffer of its own, which grows by no more than the allocator's rounding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    bytes: Vec<u8>,
}

impl Packed {
    /// An empty collection, with stamps or without.
    pub fn new(is_stamped: bool) -> Self {
        Packed {
            bytes: vec![is_stamped.into()],
        }
    }

    /// The collection in bytes that another has given.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Packed { bytes }
    }

    /// The collection as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, and done.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The collection, to read it.
    pub fn view(&self) -> PackedView<'_> {
        PackedView::new(&self.bytes)
    }

    /// Memory of the buffer, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        buffer_bytes(&self.bytes)
    }

    /// Puts an element in the place of the one with its name, or at the end; says whether it is new.
    pub fn set(&mut self, element: Element<'_>) -> bool {
        let view = self.view();
        let Located {
            bytes,
            element: found,
        } = view.locate(|_, other| other.name == element.name);
        let is_new = found.is_none();
        let overwrites = found.is_some_and(|old| old.value.len() == element.value.len());
        let is_stamped = view.is_stamped;
        if overwrites {
            self.overwrite(bytes, element, is_stamped);
        } else {
            let mut code = Vec::new();
            element.encode(is_stamped, &mut code);
            self.splice(bytes, &code);
            self.count(usize::from(is_new), 0);
        }
        is_new
    }

    /// Inserts an element whose name is not there yet before the one at an index, or at the end.
    pub fn insert(&mut self, index: usize, element: Element<'_>) {
        debug_assert!(self.view().find(element.name).is_none());
        let view = self.view();
        let at = view.locate(|other, _| other == index).bytes.start;
        let mut code = Vec::new();
        element.encode(view.is_stamped, &mut code);
        self.splice(at..at, &code);
        self.count(1, 0);
    }

    /// Removes the element with a name; says whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.remove_located(|_, element| element.name == name)
    }

    /// Removes the element at an index; says whether there was one.
    pub fn remove_at(&mut self, index: usize) -> bool {
        self.remove_located(|other, _| other == index)
    }

    fn remove_located(&mut self, is_it: impl FnMut(usize, &Element<'_>) -> bool) -> bool {
        let located = self.view().locate(is_it);
        let is_there = located.element.is_some();
        if is_there {
            self.splice(located.bytes, &[]);
            self.count(0, 1);
        }
        is_there
    }

    /// Writes an element over one of the same lengths.
    fn overwrite(&mut self, place: std::ops::Range<usize>, element: Element<'_>, is_stamped: bool) {
        let value_at = place.end - element.value.len();
        self.bytes[value_at..place.end].copy_from_slice(element.value);
        if is_stamped {
            let stamp_at = value_at - element.name.len() - STAMP_BYTES;
            let (version, actor) = element.stamp;
            self.bytes[stamp_at..][..8].copy_from_slice(&version.to_le_bytes());
            self.bytes[stamp_at + 8..][..2].copy_from_slice(&actor.to_le_bytes());
        }
    }

    /// Writes the header anew for so many elements more or less.
    fn count(&mut self, more: usize, less: usize) {
        let view = self.view();
        let length = view.length + more - less;
        let old = view.start;
        let header = Varint::new(length << 1 | usize::from(view.is_stamped));
        self.splice(0..old, header.bytes());
    }

    /// Puts bytes in the place of others.
    fn splice(&mut self, place: std::ops::Range<usize>, new: &[u8]) {
        let (old_length, gone) = (self.bytes.len(), place.len());
        if new.len() > gone {
            let more = new.len() - gone;
            reserve_to_class(&mut self.bytes, more);
            self.bytes.resize(old_length + more, 0);
        }
        self.bytes
            .copy_within(place.end..old_length, place.start + new.len());
        self.bytes[place.start..][..new.len()].copy_from_slice(new);
        if new.len() < gone {
            self.bytes.truncate(old_length + new.len() - gone);
            give_back(&mut self.bytes);
        }
    }
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
