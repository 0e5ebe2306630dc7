//! Reads the parts that RDB values consist of: lengths, strings, numbers.

use std::borrow::Cow;

use super::lzf;

/// What all elements of a value may take in the log, in bytes: a record can't be larger.
pub const BYTES_MAX: usize = 1 << 30;
/// What an element takes in a record besides its bytes.
const ELEMENT_BYTES: usize = 40;

/// Why bytes are no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// They end with no footer of a version that is known, or its checksum is not theirs.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// They are malformed.
    #[error("Bad data format")]
    Malformed,
    /// They are small, but the value would be too large.
    #[error("the value is larger than what the log can hold")]
    TooLarge,
}

/// What can be read.
pub type Read<T> = Result<T, DecodeError>;

/// The rest of the bytes.
pub struct Reader<'a> {
    bytes: &'a [u8],
    budget: usize,
}

enum Length {
    Plain(u64),
    /// What follows is a string of this encoding.
    Encoded(u8),
}

impl<'a> Reader<'a> {
    /// Of a value that may take so many bytes in the log.
    pub fn new(bytes: &'a [u8], budget: usize) -> Self {
        Reader { bytes, budget }
    }

    /// Notes that the value takes this many bytes more, before they are allocated.
    pub fn charge(&mut self, bytes: usize) -> Read<()> {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.ok_or(DecodeError::TooLarge)?;
        Ok(())
    }

    /// Notes that the value has one more element of this length, with its value.
    pub fn charge_element(&mut self, bytes: usize) -> Read<()> {
        self.charge(bytes.saturating_add(ELEMENT_BYTES))
    }

    pub fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = (self.bytes.split_at_checked(count)).ok_or(DecodeError::Malformed)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(DecodeError::Malformed)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub fn byte(&mut self) -> Read<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn length_or_encoding(&mut self) -> Read<Length> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(Length::Plain(match first >> 6 {
            0 => low.into(),
            1 => u64::from(low) << 8 | u64::from(self.byte()?),
            2 => match low {
                0 => u32::from_be_bytes(self.array()?).into(),
                1 => u64::from_be_bytes(self.array()?),
                _ => return Err(DecodeError::Malformed),
            },
            _ => return Ok(Length::Encoded(low)),
        }))
    }

    /// A number.
    pub fn number(&mut self) -> Read<u64> {
        match self.length_or_encoding()? {
            Length::Plain(number) => Ok(number),
            Length::Encoded(_) => Err(DecodeError::Malformed),
        }
    }

    /// The number of things that follow, each of at least one byte.
    pub fn count(&mut self) -> Read<usize> {
        let count = self.number()?;
        self.checked(count)
    }

    /// A length that is there.
    fn checked(&self, length: u64) -> Read<usize> {
        let length = usize::try_from(length).ok();
        let length = length.filter(|length| *length <= self.bytes.len());
        length.ok_or(DecodeError::Malformed)
    }

    /// A string, in any of its encodings.
    pub fn string(&mut self) -> Read<Cow<'a, [u8]>> {
        let number = match self.length_or_encoding()? {
            Length::Plain(length) => {
                let length = self.checked(length)?;
                return self.take(length).map(Cow::Borrowed);
            }
            Length::Encoded(0) => i8::from_le_bytes(self.array()?).into(),
            Length::Encoded(1) => i16::from_le_bytes(self.array()?).into(),
            Length::Encoded(2) => i32::from_le_bytes(self.array()?),
            Length::Encoded(3) => return self.compressed().map(Cow::Owned),
            Length::Encoded(_) => return Err(DecodeError::Malformed),
        };
        let text = itoa::Buffer::new().format(number).as_bytes().to_vec();
        Ok(Cow::Owned(text))
    }

    fn compressed(&mut self) -> Read<Vec<u8>> {
        let compressed = self.number()?;
        let length = self.number()?;
        let compressed = self.checked(compressed)?;
        let compressed = self.take(compressed)?;
        let length = usize::try_from(length).ok();
        let length_max = compressed.len().saturating_mul(lzf::GROWTH_MAX);
        let length = length.filter(|length| *length <= length_max);
        let length = length.ok_or(DecodeError::Malformed)?;
        self.charge(length)?;
        lzf::expand(compressed, length).ok_or(DecodeError::Malformed)
    }
}
