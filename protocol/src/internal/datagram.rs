//! Datagrams: signed one by one, each accepted once.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 2 | `"CD"` |
//! | 2 | 2 | version |
//! | 4 | 16 | cluster id |
//! | 20 | 20 | sender |
//! | 40 | 20 | receiver |
//! | 60 | 8 | number of the life of the sender's process, as told in its handshake |
//! | 68 | 8 | number of the life of the receiver's process, likewise |
//! | 76 | 8 | sequence number: 1, 2, … for each receiver in that life |
//! | 84 | 16 | first half of the HMAC-SHA256 under the cluster secret of a label and all other bytes |
//! | 100 | … | payload |
//!
//! A receiver takes datagrams only of the life that the sender introduced in its latest handshake, only
//! for its own present life, and each sequence number once ([`ReplayWindow`]). As the handshake itself
//! can't be replayed, neither can datagrams from or to an earlier life.

use super::{Fields, Secret};
use crate::{ClusterId, NodeId};

/// Bytes before the payload.
pub const HEADER: usize = 100;
const TAG_AT: usize = 84;
const TAG: usize = HEADER - TAG_AT;
const MAGIC: [u8; 2] = *b"CD";
const LABEL: &[u8] = b"coterie datagram\0";

/// What stands before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the protocol.
    pub version: u16,
    /// The cluster of both.
    pub cluster: ClusterId,
    /// Who sent it.
    pub sender: NodeId,
    /// Whom it is for.
    pub receiver: NodeId,
    /// Which life of the sender.
    pub sender_life: u64,
    /// Which life of the receiver.
    pub receiver_life: u64,
    /// The how manieth to this receiver.
    pub sequence: u64,
}

/// Why a datagram is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// Too short, or another protocol.
    #[error("not a datagram of this protocol")]
    Malformed,
    /// The signature is not made with our secret.
    #[error("the signature is wrong")]
    Forged,
}

/// The signed datagram.
pub fn seal(header: &Header, payload: &[u8], secret: &Secret) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&header.version.to_le_bytes());
    bytes.extend_from_slice(&header.cluster.0.to_le_bytes());
    bytes.extend_from_slice(&header.sender.0);
    bytes.extend_from_slice(&header.receiver.0);
    bytes.extend_from_slice(&header.sender_life.to_le_bytes());
    bytes.extend_from_slice(&header.receiver_life.to_le_bytes());
    bytes.extend_from_slice(&header.sequence.to_le_bytes());
    let tag = secret.sign(&[LABEL, &bytes, payload]);
    bytes.extend_from_slice(&tag[..TAG]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Verifies the signature; the payload is `bytes[HEADER..]`. Whether the header suits the receiver is
/// for the caller to say.
pub fn open(bytes: &[u8], secret: &Secret) -> Result<Header, DatagramError> {
    let header = header(bytes).ok_or(DatagramError::Malformed)?;
    let (signed, payload) = (&bytes[..TAG_AT], &bytes[HEADER..]);
    if secret.verify(&[LABEL, signed, payload], &bytes[TAG_AT..HEADER]) {
        Ok(header)
    } else {
        Err(DatagramError::Forged)
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    let mut fields = Fields(bytes.get(..HEADER)?);
    if fields.array()? != MAGIC {
        return None;
    }
    Some(Header {
        version: fields.u16()?,
        cluster: ClusterId(fields.u128()?),
        sender: NodeId(fields.array()?),
        receiver: NodeId(fields.array()?),
        sender_life: fields.u64()?,
        receiver_life: fields.u64()?,
        sequence: fields.u64()?,
    })
}

/// Which sequence numbers were seen: everything below a window of 1024 counts as seen, as in IPsec's
/// anti-replay window (RFC 4303, section 3.4.3).
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    highest: u64,
    seen: [u64; WORDS],
}

const WORDS: usize = 16;
const WINDOW: u64 = 64 * WORDS as u64;

impl Default for ReplayWindow {
    fn default() -> Self {
        ReplayWindow {
            highest: 0,
            // 0 is no sequence number: it counts as seen.
            seen: std::array::from_fn(|word| u64::from(word == 0)),
        }
    }
}

impl ReplayWindow {
    /// Notes a number; false if it was there before, or is too old to tell.
    pub fn accept(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            if sequence - self.highest >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.highest + 1..sequence {
                    let (word, bit) = place(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = sequence;
            let (word, bit) = place(sequence);
            self.seen[word] |= bit;
            return true;
        }
        if self.highest - sequence >= WINDOW {
            return false;
        }
        let (word, bit) = place(sequence);
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let index = sequence % WINDOW;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn any_header() -> impl Strategy<Value = Header> {
        let ids = any::<(u128, [u8; 20], [u8; 20])>();
        (any::<u16>(), ids, any::<[u64; 3]>()).prop_map(|(version, ids, numbers)| {
            let (cluster, sender, receiver) = ids;
            let [sender_life, receiver_life, sequence] = numbers;
            Header {
                version,
                cluster: ClusterId(cluster),
                sender: NodeId(sender),
                receiver: NodeId(receiver),
                sender_life,
                receiver_life,
                sequence,
            }
        })
    }

    proptest! {
        #[test]
        fn round_trip(
            header in any_header(),
            payload in prop::collection::vec(any::<u8>(), 0..200),
            bit in any::<prop::sample::Index>(),
        ) {
            let secret = Secret::new("a secret");
            let mut bytes = seal(&header, &payload, &secret);
            prop_assert_eq!(open(&bytes, &secret), Ok(header));
            prop_assert_eq!(&bytes[HEADER..], &payload[..]);
            prop_assert_eq!(open(&bytes, &Secret::new("another")), Err(DatagramError::Forged));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&bytes, &secret).is_err());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(open(&bytes, &Secret::new("a secret")).is_err());
        }

        #[test]
        fn every_number_is_accepted_once(
            numbers in prop::collection::vec(prop_oneof![1..40u64, 900..1200u64, 3000..3010u64], 0..200),
        ) {
            let mut window = ReplayWindow::default();
            let mut model = HashSet::new();
            let mut highest = 0;
            for number in numbers {
                let too_old = highest >= number + WINDOW;
                let expected = !too_old && model.insert(number);
                prop_assert_eq!(window.accept(number), expected, "{}", number);
                highest = highest.max(number);
            }
        }
    }

    #[test]
    fn there_is_no_number_0() {
        assert!(!ReplayWindow::default().accept(0));
    }
}
