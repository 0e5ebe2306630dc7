//! What is published, and what happens to keys: bodies of one-way frames of service `PubSub`.
//!
//! A kind `u8`, then its fields. `bytes` is a `u32` length and that many bytes.
//!
//! | kind | what | fields |
//! | --- | --- | --- |
//! | 1 | what the sender's clients listen to, from now on | flags `u8` (1 shard channels, 2 tracked keys), classes of events `u16` (see below) |
//! | 2 | a message on a channel | channel `bytes`, message `bytes` |
//! | 3 | a message on a shard channel | channel `bytes`, message `bytes` |
//! | 4 | an event of a key | class `u16` (one bit), database `u16`, name `bytes`, key `bytes` |
//! | 5 | keys that changed | number of keys `u32`, keys `bytes` |
//! | 6 | all keys may have changed | |
//!
//! Classes are bits in the order of the letters `K E g $ l s h z x e t m d n` of `notify-keyspace-events`, `K` being
//! the lowest; `K` and `E` are not used here.
//!
//! Messages on channels go to all nodes; messages on shard channels to the replicas of the channel's partition and to
//! nodes whose clients listen to any; the rest only to nodes whose clients listen to it. Nothing is answered or
//! repeated: what a broken connection loses is lost. Of a node that has not said what its clients listen to, everything is
//! assumed but events.

use super::Fields;
use super::execute::{Malformed, put_bytes, take_bytes};
use crate::DatabaseId;

/// What the clients of a node listen to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interest {
    /// Shard channels.
    pub shard_channels: bool,
    /// Changes of keys that they have read, or of prefixes.
    pub tracking: bool,
    /// Classes of events of keys, a bit each.
    pub events: u16,
}

impl Interest {
    /// What is assumed of a node that has said nothing.
    pub const UNKNOWN: Interest = Interest {
        shard_channels: true,
        tracking: true,
        events: 0,
    };
}

/// A frame's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PubSubFrame<'a> {
    /// See [`Interest`].
    Interest(Interest),
    /// A message.
    Message {
        /// Whether the channel belongs to a slot.
        shard: bool,
        /// Where.
        channel: &'a [u8],
        /// What.
        message: &'a [u8],
    },
    /// An event of a key.
    Event {
        /// Its class: one bit.
        class: u16,
        /// The key's database.
        database: DatabaseId,
        /// What happened.
        name: &'a [u8],
        /// To which key.
        key: &'a [u8],
    },
    /// Keys that changed.
    Changed(Vec<&'a [u8]>),
    /// All keys may have changed.
    Cleared,
}

impl<'a> PubSubFrame<'a> {
    /// Encodes a body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            PubSubFrame::Interest(interest) => {
                let flags = u8::from(interest.shard_channels) | u8::from(interest.tracking) << 1;
                out.extend([1, flags]);
                out.extend_from_slice(&interest.events.to_le_bytes());
            }
            PubSubFrame::Message {
                shard,
                channel,
                message,
            } => {
                out.push(if *shard { 3 } else { 2 });
                put_bytes(&mut out, channel);
                put_bytes(&mut out, message);
            }
            PubSubFrame::Event {
                class,
                database,
                name,
                key,
            } => {
                out.push(4);
                out.extend_from_slice(&class.to_le_bytes());
                out.extend_from_slice(&database.0.to_le_bytes());
                put_bytes(&mut out, name);
                put_bytes(&mut out, key);
            }
            PubSubFrame::Changed(keys) => {
                out.push(5);
                out.extend_from_slice(&(keys.len() as u32).to_le_bytes());
                keys.iter().for_each(|key| put_bytes(&mut out, key));
            }
            PubSubFrame::Cleared => out.push(6),
        }
        out
    }

    /// Decodes a body.
    ///
    /// # Errors
    /// The body is none.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let frame = PubSubFrame::take(&mut fields).ok_or(Malformed)?;
        if fields.0.is_empty() {
            Ok(frame)
        } else {
            Err(Malformed)
        }
    }

    fn take(fields: &mut Fields<'a>) -> Option<Self> {
        match fields.u8()? {
            1 => {
                let flags = fields.u8().filter(|flags| *flags < 4)?;
                Some(PubSubFrame::Interest(Interest {
                    shard_channels: flags & 1 != 0,
                    tracking: flags & 2 != 0,
                    events: fields.u16()?,
                }))
            }
            kind @ 2..=3 => Some(PubSubFrame::Message {
                shard: kind == 3,
                channel: take_bytes(fields)?,
                message: take_bytes(fields)?,
            }),
            4 => Some(PubSubFrame::Event {
                class: fields.u16()?,
                database: DatabaseId(fields.u16()?),
                name: take_bytes(fields)?,
                key: take_bytes(fields)?,
            }),
            5 => {
                let count = fields.array().map(u32::from_le_bytes)?;
                let mut keys = Vec::new();
                for _ in 0..count {
                    keys.push(take_bytes(fields)?);
                }
                Some(PubSubFrame::Changed(keys))
            }
            6 => Some(PubSubFrame::Cleared),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(frame: &PubSubFrame<'_>) {
        let body = frame.encode();
        assert_eq!(PubSubFrame::decode(&body).as_ref(), Ok(frame));
        for cut in 0..body.len() {
            assert_eq!(PubSubFrame::decode(&body[..cut]), Err(Malformed));
        }
        assert_eq!(
            PubSubFrame::decode(&[&body[..], b"x"].concat()),
            Err(Malformed)
        );
    }

    #[test]
    fn bytes_are_as_documented() {
        let frame = PubSubFrame::Message {
            shard: false,
            channel: b"ab",
            message: b"c",
        };
        assert_eq!(frame.encode(), b"\x02\x02\0\0\0ab\x01\0\0\0c");
        let interest = Interest {
            shard_channels: false,
            tracking: true,
            events: 0x102,
        };
        let frame = PubSubFrame::Interest(interest);
        assert_eq!(frame.encode(), b"\x01\x02\x02\x01");
        round_trip(&PubSubFrame::Cleared);
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            flags in any::<[bool; 3]>(),
            numbers in any::<[u16; 2]>(),
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 2..6),
        ) {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            round_trip(&PubSubFrame::Interest(Interest {
                shard_channels: flags[0],
                tracking: flags[1],
                events: numbers[0],
            }));
            round_trip(&PubSubFrame::Message { shard: flags[2], channel: words[0], message: words[1] });
            round_trip(&PubSubFrame::Event {
                class: numbers[0],
                database: DatabaseId(numbers[1]),
                name: words[0],
                key: words[1],
            });
            round_trip(&PubSubFrame::Changed(words));
        }

        #[test]
        fn fuzz_bodies(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = PubSubFrame::decode(&body);
        }
    }
}
