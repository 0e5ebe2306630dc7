//! Libraries as Redis dumps them: for each the byte 245 and its code as a string, and the footer of [`rdb`].

use crate::rdb::{self, Reader};

/// Begins a library.
const LIBRARY: u8 = 245;
/// Began a library before Redis 7.0 was released.
const EARLY_LIBRARY: u8 = 246;

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
        // Never compressed.
        rdb::put_number(code.len() as u64, &mut out);
        out.extend_from_slice(code);
    }
    rdb::sign(out)
}

/// Reads the codes of libraries.
pub fn decode(payload: &[u8]) -> Result<Vec<Vec<u8>>, Unreadable> {
    let libraries = rdb::verified(payload).map_err(|_| Unreadable::Footer)?;
    let mut rest = Reader::new(libraries, rdb::BYTES_MAX);
    let mut codes = Vec::new();
    while let Ok(kind) = rest.byte() {
        match kind {
            LIBRARY => {}
            EARLY_LIBRARY => return Err(Unreadable::Early),
            _ => return Err(Unreadable::NoLibrary),
        }
        let code = rest.string().map_err(|_| Unreadable::CutOff)?;
        codes.push(code.into_owned());
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_redis_wrote_is_read() {
        // FUNCTION DUMP of a server without libraries, and of one with a compressed library.
        assert_eq!(decode(b"\n\x00]\x9b\\@\x0f\x7f\xa2\xda"), Ok(vec![]));
        let payload = b"\xf5\xc3@B@f\x1f#!lua name=lib\nredis.register_fu\nnction('F',\xe0\x00\x0c\x05) end)\xe0\x11+\x00f\xe0\x06+\x01d)\n\x00\x7f\xae`\x8c\x8a]\xa1u";
        let code = b"#!lua name=lib\nredis.register_function('F',function() end)\nredis.register_function('f',function() end)";
        assert_eq!(decode(payload), Ok(vec![code.to_vec()]));
        // A string may be a number, though no library is.
        let number = rdb::sign(b"\xf5\xc0\x05".to_vec());
        assert_eq!(decode(&number), Ok(vec![b"5".to_vec()]));
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
            if let Ok(codes) = decode(&rdb::sign(bytes)) {
                let again = encode(codes.iter().map(Vec::as_slice));
                prop_assert_eq!(decode(&again), Ok(codes));
            }
        }
    }
}
