//! The cluster secret and what is signed with it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What all nodes of a cluster know and nobody else does. Never printed.
///
/// The default is none: an empty key, which proves nothing and serves as a checksum.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret of any length; 16 random bytes or more are advised.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// HMAC-SHA256 over the parts one after the other. The caller sees to it that no two lists of
    /// parts of a different meaning are the same bytes.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Whether `tag` is the start of the signature of the parts, compared in constant time.
    pub(super) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        debug_assert!(tag.len() >= 16, "half of the hash at least (RFC 2104)");
        self.over(parts).verify_truncated_left(tag).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "Secret(none)"
        } else {
            "Secret(..)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_rfc_4231_says() {
        // Test case 2 of RFC 4231, section 4.3.
        let secret = Secret::new("Jefe");
        let tag = secret.sign(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            tag[..8],
            [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e],
            "{tag:x?}"
        );
        assert!(secret.verify(&[b"what do ya want for nothing?"], &tag[..16]));
        assert!(!secret.verify(&[b"what do ya want for nothing!"], &tag[..16]));
        assert!(!Secret::default().verify(&[b"what do ya want for nothing?"], &tag));
    }

    #[test]
    fn is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
    }
}
