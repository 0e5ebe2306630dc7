//! Passwords of users: kept as SHA-256 hashes, as in Redis, and compared in a time that tells nothing.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest, Sha256};

/// The hash of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash([u8; 32]);

impl PasswordHash {
    /// Hashes a password.
    pub fn of(password: &[u8]) -> Self {
        PasswordHash(Sha256::digest(password).into())
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let text: &[u8; 64] = text.try_into().ok()?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(PasswordHash(hash))
    }

    /// Whether it is the same. The time it takes does not depend on how much of it is.
    pub fn matches(&self, other: &PasswordHash) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let difference = pairs.fold(0, |sum, (left, right)| black_box(sum | (left ^ right)));
        black_box(difference) == 0
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<hash>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back() {
        let hash = PasswordHash::of(b"abc");
        let text = hash.to_string();
        // The example of FIPS 180-4.
        assert!(text.starts_with("ba7816bf8f01cfea") && text.len() == 64);
        assert_eq!(PasswordHash::parse(text.as_bytes()), Some(hash));
        assert_eq!(PasswordHash::parse(text.to_uppercase().as_bytes()), None);
        assert_eq!(PasswordHash::parse(&text.as_bytes()[1..]), None);
        assert!(hash.matches(&PasswordHash::of(b"abc")));
        assert!(!hash.matches(&PasswordHash::of(b"abd")));
    }
}
