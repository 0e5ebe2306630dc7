//! Why one node refuses to speak to another.
//!
//! Body of a `Refuse` frame: one byte [`Reason`], then a sentence in UTF-8, at most 512 bytes, that
//! tells an operator what differs.

use std::fmt;

/// The longest sentence, in bytes.
pub const DETAIL_LIMIT: usize = 512;

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// What arrived is not this protocol.
    Garbage = 1,
    /// A frame larger than the limit.
    TooLarge = 2,
    /// No common version.
    Version = 3,
    /// The other node does not know the cluster secret.
    Secret = 4,
    /// Without a secret only loopback addresses are served.
    Loopback = 5,
    /// The other node belongs to another cluster.
    Cluster = 6,
    /// The other node divides the key space into another number of partitions.
    Partitions = 7,
    /// The clocks are too far apart.
    Clock = 8,
    /// Two nodes say that they are the same: a copied data directory.
    Duplicate = 9,
    /// A node that has not joined yet asked for more than to join.
    NotJoined = 10,
    /// Another node than the expected one answers at this address.
    Unexpected = 11,
    /// The limit of connections is reached.
    Busy = 12,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 12] = [
        Reason::Garbage,
        Reason::TooLarge,
        Reason::Version,
        Reason::Secret,
        Reason::Loopback,
        Reason::Cluster,
        Reason::Partitions,
        Reason::Clock,
        Reason::Duplicate,
        Reason::NotJoined,
        Reason::Unexpected,
        Reason::Busy,
    ];
}

/// A refusal with its sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub reason: Reason,
    /// What differs, in words.
    pub detail: String,
}

impl Refusal {
    /// A refusal; the sentence is cut at [`DETAIL_LIMIT`].
    pub fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        let mut detail = detail.into();
        detail.truncate(detail.floor_char_boundary(DETAIL_LIMIT));
        Refusal { reason, detail }
    }

    /// The body of its frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.reason as u8];
        body.extend_from_slice(self.detail.as_bytes());
        body
    }

    /// Reads the body of a frame. Control characters are replaced: the sentence goes to a log.
    /// A reason that this version does not know counts as [`Reason::Garbage`].
    pub fn decode(body: &[u8]) -> Refusal {
        let (reason, detail) = body.split_first().unwrap_or((&0, &[]));
        let reason = Reason::ALL
            .into_iter()
            .find(|known| *known as u8 == *reason)
            .unwrap_or(Reason::Garbage);
        let detail: String = String::from_utf8_lossy(&detail[..detail.len().min(DETAIL_LIMIT)])
            .chars()
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .collect();
        Refusal::new(reason, detail)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(
            reason in proptest::sample::select(&Reason::ALL[..]),
            detail in "[^\\p{Cc}]{0,700}",
        ) {
            let refusal = Refusal::new(reason, detail);
            prop_assert!(refusal.detail.len() <= DETAIL_LIMIT);
            prop_assert_eq!(Refusal::decode(&refusal.encode()), refusal);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..900)) {
            let refusal = Refusal::decode(&body);
            prop_assert!(refusal.detail.len() <= DETAIL_LIMIT);
            prop_assert!(!refusal.detail.contains(char::is_control));
        }
    }
}
