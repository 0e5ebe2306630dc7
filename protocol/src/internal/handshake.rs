//! The four steps that open a connection. Every layout below is the body of the frame of that kind;
//! bytes after the last field are ignored by this version (and covered by the proofs).
//!
//! `Hello`: oldest version (2), newest version (2), nonce (32).
//!
//! `Challenge`: version to speak (2), nonce (32).
//!
//! `Proof` and `Welcome`:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 32 | HMAC-SHA256 under the cluster secret of: the label, the body of `Hello`, the body of `Challenge`, each after its length (4), and this body from offset 32 on |
//! | 32 | 1 | purpose: 0 a lasting link, 1 a single call, 2 a native client |
//! | 33 | 16 | cluster id, 0 for none yet |
//! | 49 | 20 | node id |
//! | 69 | 8 | number of this life of the process, random |
//! | 77 | 2 | partitions |
//! | 79 | 8 | clock: Unix time in milliseconds |
//! | 87 | 1 | length of the next field |
//! | 88 | … | the address at which the node wants to be dialled, as text |
//!
//! A native client tells of itself no more than the number of its life: the fields before and after it are 0, its
//! address is `0.0.0.0:0`, and the acceptor does not look at them.
//!
//! The label is [`Side::label`]. Nothing of a body is read before its proof is verified.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::{Fields, Secret};
use crate::{ClusterId, NodeId};

/// Bytes of a nonce.
pub const NONCE: usize = 32;
const TAG: usize = 32;

/// What the dialler says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it speaks.
    pub oldest: u16,
    /// The newest version that it speaks.
    pub newest: u16,
    /// Random.
    pub nonce: [u8; NONCE],
}

impl Hello {
    /// The body of its frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + NONCE);
        body.extend_from_slice(&self.oldest.to_le_bytes());
        body.extend_from_slice(&self.newest.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        body
    }

    /// Reads the body of a frame.
    pub fn decode(body: &[u8]) -> Option<Hello> {
        let mut fields = Fields(body);
        Some(Hello {
            oldest: fields.u16()?,
            newest: fields.u16()?,
            nonce: fields.array()?,
        })
    }

    /// The highest version that both sides speak.
    pub fn negotiate(&self, ours: &RangeInclusive<u16>) -> Option<u16> {
        let version = self.newest.min(*ours.end());
        (version >= self.oldest && version >= *ours.start()).then_some(version)
    }
}

/// What the acceptor answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The version to speak from now on.
    pub version: u16,
    /// Random.
    pub nonce: [u8; NONCE],
}

impl Challenge {
    /// The body of its frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(2 + NONCE);
        body.extend_from_slice(&self.version.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        body
    }

    /// Reads the body of a frame.
    pub fn decode(body: &[u8]) -> Option<Challenge> {
        let mut fields = Fields(body);
        Some(Challenge {
            version: fields.u16()?,
            nonce: fields.array()?,
        })
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// It stays, and is opened again when it breaks.
    #[default]
    Link = 0,
    /// One call, then it is closed.
    Call = 1,
    /// It stays, and who opened it is no node.
    Client = 2,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// What the connection is for; told by the dialler.
    pub purpose: Purpose,
    /// Its cluster, 0 for none yet.
    pub cluster: ClusterId,
    /// Its id.
    pub node: NodeId,
    /// A random number that tells two lives of the process (or two processes) apart.
    pub life: u64,
    /// Into how many partitions it divides the key space.
    pub partitions: u16,
    /// Its wall clock: Unix time in milliseconds.
    pub clock_ms: u64,
    /// Where it wants to be dialled.
    pub address: SocketAddr,
}

impl Introduction {
    /// A native client.
    pub fn client(life: u64) -> Introduction {
        Introduction {
            purpose: Purpose::Client,
            cluster: ClusterId(0),
            node: NodeId::default(),
            life,
            partitions: 0,
            clock_ms: 0,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        }
    }

    /// Whether it is a native client rather than a node.
    pub fn is_client(&self) -> bool {
        self.purpose == Purpose::Client
    }
}

/// Which side made a proof, so that it does not serve the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that opened the connection.
    Dialler,
    /// The one that listened.
    Acceptor,
}

impl Side {
    /// What the proof of this side starts with.
    pub const fn label(self) -> &'static [u8] {
        match self {
            Side::Dialler => b"coterie handshake: dialler\0",
            Side::Acceptor => b"coterie handshake: acceptor\0",
        }
    }
}

/// Why an introduction is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntroductionError {
    /// The proof is not made with our secret, or not for this connection.
    #[error("the cluster secret differs")]
    Secret,
    /// The proof is right, the rest can't be read.
    #[error("the introduction is malformed")]
    Malformed,
}

/// What was said so far: the bodies of `Hello` and `Challenge`.
#[derive(Clone, Copy, Debug)]
pub struct Transcript<'a> {
    /// The body of `Hello`.
    pub hello: &'a [u8],
    /// The body of `Challenge`.
    pub challenge: &'a [u8],
}

impl Transcript<'_> {
    fn with<T>(&self, side: Side, rest: &[u8], then: impl FnOnce(&[&[u8]]) -> T) -> T {
        let hello = (self.hello.len() as u32).to_le_bytes();
        let challenge = (self.challenge.len() as u32).to_le_bytes();
        then(&[
            side.label(),
            &hello,
            self.hello,
            &challenge,
            self.challenge,
            rest,
        ])
    }

    /// The body of `Proof` or `Welcome`.
    pub fn introduce(&self, side: Side, who: &Introduction, secret: &Secret) -> Vec<u8> {
        let address = who.address.to_string();
        let mut body = vec![0; TAG];
        body.push(who.purpose as u8);
        body.extend_from_slice(&who.cluster.0.to_le_bytes());
        body.extend_from_slice(&who.node.0);
        body.extend_from_slice(&who.life.to_le_bytes());
        body.extend_from_slice(&who.partitions.to_le_bytes());
        body.extend_from_slice(&who.clock_ms.to_le_bytes());
        body.push(address.len() as u8);
        body.extend_from_slice(address.as_bytes());
        let tag = self.with(side, &body[TAG..], |parts| secret.sign(parts));
        body[..TAG].copy_from_slice(&tag);
        body
    }

    /// Verifies and reads the body of `Proof` or `Welcome` that `side` sent.
    pub fn verify(
        &self,
        side: Side,
        body: &[u8],
        secret: &Secret,
    ) -> Result<Introduction, IntroductionError> {
        let (tag, rest) = body
            .split_at_checked(TAG)
            .ok_or(IntroductionError::Malformed)?;
        if !self.with(side, rest, |parts| secret.verify(parts, tag)) {
            return Err(IntroductionError::Secret);
        }
        introduction(rest).ok_or(IntroductionError::Malformed)
    }
}

fn introduction(rest: &[u8]) -> Option<Introduction> {
    let mut fields = Fields(rest);
    Some(Introduction {
        purpose: match fields.u8()? {
            0 => Purpose::Link,
            1 => Purpose::Call,
            2 => Purpose::Client,
            _ => return None,
        },
        cluster: ClusterId(fields.u128()?),
        node: NodeId(fields.array()?),
        life: fields.u64()?,
        partitions: fields.u16()?,
        clock_ms: fields.u64()?,
        address: {
            let length = fields.u8()?;
            let text = fields.bytes(length.into())?;
            std::str::from_utf8(text).ok()?.parse().ok()?
        },
    })
}

/// How far a peer's clock is off, in milliseconds (positive: ahead), given that it was read between
/// `sent_ms` and `received_ms` of our clock. 0 when it lies between these two: a slow answer is never
/// taken for a wrong clock.
pub fn clock_offset_ms(sent_ms: u64, received_ms: u64, theirs_ms: u64) -> i64 {
    let difference = |a: u64, b: u64| i64::try_from(a - b).unwrap_or(i64::MAX);
    if theirs_ms > received_ms {
        difference(theirs_ms, received_ms)
    } else if theirs_ms < sent_ms {
        -difference(sent_ms, theirs_ms)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn who(port: u16, life: u64) -> Introduction {
        Introduction {
            purpose: Purpose::Link,
            cluster: ClusterId(u128::from(life) << 60),
            node: NodeId([port as u8; 20]),
            life,
            partitions: 256,
            clock_ms: life ^ 0x55,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    proptest! {
        #[test]
        fn round_trips(
            oldest in any::<u16>(), newest in any::<u16>(), nonce in any::<[u8; NONCE]>(),
            port in any::<u16>(), life in any::<u64>(),
        ) {
            let hello = Hello { oldest, newest, nonce };
            let challenge = Challenge { version: newest, nonce };
            prop_assert_eq!(Hello::decode(&hello.encode()), Some(hello.clone()));
            prop_assert_eq!(Challenge::decode(&challenge.encode()), Some(challenge.clone()));
            let (hello, challenge) = (hello.encode(), challenge.encode());
            let transcript = Transcript { hello: &hello, challenge: &challenge };
            let secret = Secret::new("s");
            let body = transcript.introduce(Side::Dialler, &who(port, life), &secret);
            prop_assert_eq!(transcript.verify(Side::Dialler, &body, &secret), Ok(who(port, life)));
            let client = Introduction::client(life);
            let as_client = transcript.introduce(Side::Dialler, &client, &secret);
            prop_assert_eq!(transcript.verify(Side::Dialler, &as_client, &secret), Ok(client));
            // Reflected, under another secret, for another connection.
            let wrong = Err(IntroductionError::Secret);
            prop_assert_eq!(transcript.verify(Side::Acceptor, &body, &secret), wrong.clone());
            prop_assert_eq!(transcript.verify(Side::Dialler, &body, &Secret::default()), wrong.clone());
            let other = Transcript { hello: &challenge, challenge: &hello };
            prop_assert_eq!(other.verify(Side::Dialler, &body, &secret), wrong);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Hello::decode(&body);
            let _ = Challenge::decode(&body);
            let _ = introduction(&body);
            let transcript = Transcript { hello: &body, challenge: &body };
            prop_assert!(transcript.verify(Side::Dialler, &body, &Secret::new("s")).is_err());
        }

        #[test]
        fn both_sides_negotiate_the_same(a in 0u16..9, b in 0u16..9, c in 0u16..9, d in 0u16..9) {
            let (left, right) = (a.min(b)..=a.max(b), c.min(d)..=c.max(d));
            let hello = |versions: &RangeInclusive<u16>| Hello {
                oldest: *versions.start(), newest: *versions.end(), nonce: [0; NONCE],
            };
            let version = hello(&left).negotiate(&right);
            prop_assert_eq!(version, hello(&right).negotiate(&left));
            let highest = (0..9).rev().find(|v| left.contains(v) && right.contains(v));
            prop_assert_eq!(version, highest);
        }
    }

    #[test]
    fn later_versions_may_append() {
        let hello = Hello {
            oldest: 1,
            newest: 9,
            nonce: [3; NONCE],
        };
        let mut longer = hello.encode();
        longer.extend_from_slice(b"more");
        assert_eq!(Hello::decode(&longer), Some(hello));
    }

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        assert_eq!(clock_offset_ms(1000, 9000, 1000), 0);
        assert_eq!(clock_offset_ms(1000, 9000, 9000), 0);
        assert_eq!(clock_offset_ms(1000, 1010, 1700), 690);
        assert_eq!(clock_offset_ms(1000, 1010, 300), -700);
        assert_eq!(clock_offset_ms(0, 0, u64::MAX), i64::MAX);
    }
}
