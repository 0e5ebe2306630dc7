//! Libraries as Redis dumps them: for each the byte 245 and its code as a string, then the version of the format (2
//! bytes, little-endian) and a CRC-64 of all before (8 bytes, little-endian).
//!
//! A string is its length and its bytes. A length is 6 bits in one byte, 14 bits in two, or the byte 128 and 32 bits, or
//! the byte 129 and 64 bits, big-endian. Instead of a length there may be the byte 195: the string is compressed (LZF),
//! and the lengths of the compressed and of the whole string come first.

/// The version that is written, and the newest that is read.
const VERSION: u16 = 10;
const FOOTER_BYTES: usize = 10;
/// Begins a library.
const LIBRARY: u8 = 245;
/// Began a library before Redis 7.0 was released.
const EARLY_LIBRARY: u8 = 246;
/// LZF makes at most so many bytes of one.
const EXPANSION_MAX: usize = 264;

/// Why a payload can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is newer, or damaged.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// It was written by a release candidate.
    #[error("Pre-GA function format not supported")]
    Early,
    /// It is something else than libraries.
    #[error("given type is not a function")]
    NoLibrary,
    /// A string is cut off.
    #[error("failed loading the given functions payload")]
    CutOff,
}

/// Encodes the codes of libraries.
pub fn encode<'c>(codes: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for code in codes {
        out.push(LIBRARY);
        match code.len() {
            length @ 0..64 => out.push(length as u8),
            length @ 64..16384 => out.extend([0x40 | (length >> 8) as u8, length as u8]),
            length => match u32::try_from(length) {
                Ok(length) => {
                    out.push(0x80);
                    out.extend(length.to_be_bytes());
                }
                Err(_) => {
                    out.push(0x81);
                    out.extend((length as u64).to_be_bytes());
                }
            },
        }
        out.extend_from_slice(code);
    }
    out.extend(VERSION.to_le_bytes());
    let sum = crc64(&out);
    out.extend(sum.to_le_bytes());
    out
}

/// Reads the codes of libraries.
pub fn decode(payload: &[u8]) -> Result<Vec<Vec<u8>>, Unreadable> {
    let end = payload.len().checked_sub(FOOTER_BYTES);
    let (libraries, footer) = payload.split_at(end.ok_or(Unreadable::Footer)?);
    let (version, sum) = footer.split_at(2);
    let is_newer = u16::from_le_bytes([version[0], version[1]]) > VERSION;
    if is_newer || sum != crc64(&payload[..payload.len() - 8]).to_le_bytes() {
        return Err(Unreadable::Footer);
    }
    let mut rest = libraries;
    let mut codes = Vec::new();
    while let Some((kind, code)) = rest.split_first() {
        match *kind {
            LIBRARY => {}
            EARLY_LIBRARY => return Err(Unreadable::Early),
            _ => return Err(Unreadable::NoLibrary),
        }
        rest = code;
        codes.push(string(&mut rest).ok_or(Unreadable::CutOff)?);
    }
    Ok(codes)
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    if rest.first() == Some(&0xc3) {
        *rest = &rest[1..];
        let (packed, whole) = (length(rest)?, length(rest)?);
        let packed = take(rest, packed)?;
        return unpack(packed, whole);
    }
    let length = length(rest)?;
    Some(take(rest, length)?.to_vec())
}

fn take<'r>(rest: &mut &'r [u8], length: usize) -> Option<&'r [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    let first = take(rest, 1)?[0];
    match (first >> 6, first) {
        (0, _) => Some(first.into()),
        (1, _) => Some(usize::from(first & 0x3f) << 8 | usize::from(take(rest, 1)?[0])),
        (_, 0x80) => Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?) as usize),
        (_, 0x81) => u64::from_be_bytes(take(rest, 8)?.try_into().ok()?)
            .try_into()
            .ok(),
        _ => None,
    }
}

/// Undoes LZF: a byte below 32 is followed by so many bytes and one more as they are; any other says how many of the
/// bytes before are repeated, and how far back they begin.
fn unpack(packed: &[u8], whole: usize) -> Option<Vec<u8>> {
    if whole > packed.len().checked_mul(EXPANSION_MAX)? {
        return None;
    }
    let mut out = Vec::with_capacity(whole);
    let mut rest = packed;
    while let Some((&control, left)) = rest.split_first() {
        rest = left;
        if control < 32 {
            out.extend_from_slice(take(&mut rest, usize::from(control) + 1)?);
            continue;
        }
        let mut count = usize::from(control >> 5);
        if count == 7 {
            count += usize::from(take(&mut rest, 1)?[0]);
        }
        let back = usize::from(control & 0x1f) << 8 | usize::from(take(&mut rest, 1)?[0]);
        let start = out.len().checked_sub(back + 1)?;
        for at in start..start + count + 2 {
            out.push(out[at]);
        }
        if out.len() > whole {
            return None;
        }
    }
    (out.len() == whole).then_some(out)
}

/// CRC-64 with Jones' polynomial, reflected.
fn crc64(bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = table();
    bytes.iter().fold(0, |sum, byte| {
        TABLE[usize::from(sum as u8 ^ byte)] ^ sum >> 8
    })
}

const fn table() -> [u64; 256] {
    const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u64;
        let mut bit = 0;
        while bit < 8 {
            let carry = sum & 1;
            sum >>= 1;
            if carry == 1 {
                sum ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn what_redis_wrote_is_read() {
        // FUNCTION DUMP of a server without libraries, and of one with a compressed library.
        assert_eq!(decode(b"\n\x00]\x9b\\@\x0f\x7f\xa2\xda"), Ok(vec![]));
        let payload = b"\xf5\xc3@B@f\x1f#!lua name=lib\nredis.register_fu\nnction('F',\xe0\x00\x0c\x05) end)\xe0\x11+\x00f\xe0\x06+\x01d)\n\x00\x7f\xae`\x8c\x8a]\xa1u";
        let code = b"#!lua name=lib\nredis.register_function('F',function() end)\nredis.register_function('f',function() end)";
        assert_eq!(decode(payload), Ok(vec![code.to_vec()]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(lengths in prop::collection::vec(0..20_000usize, 0..4)) {
            let codes: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
            let payload = encode(codes.iter().map(Vec::as_slice));
            prop_assert_eq!(decode(&payload), Ok(codes));
        }

        #[test]
        fn fuzz_payloads(mut bytes in prop::collection::vec(any::<u8>(), 0..60), begins in any::<bool>()) {
            if begins {
                bytes.splice(0..0, [LIBRARY, 0xc3]);
            }
            bytes.extend(VERSION.to_le_bytes());
            let sum = crc64(&bytes);
            bytes.extend(sum.to_le_bytes());
            if let Ok(codes) = decode(&bytes) {
                let again = encode(codes.iter().map(Vec::as_slice));
                prop_assert_eq!(decode(&again), Ok(codes));
            }
        }
    }
}
