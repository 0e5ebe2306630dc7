//! Frames: everything on a TCP connection after the preamble.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | length: of what follows offset 8, that is 10 + the body |
//! | 4 | 4 | CRC-32 (IEEE) of the length field and of everything from offset 8 on |
//! | 8 | 1 | kind ([`Kind`]) |
//! | 9 | 1 | service ([`Service`](super::Service)), 0 for the frames of the connection itself |
//! | 10 | 8 | number of the call that a `Call` opens and a `Reply` answers; the sequence of a `Ping`; otherwise 0 |
//! | 18 | … | body |

use super::Fields;

/// Bytes before the body.
pub const HEADER: usize = 18;
/// Where the bytes start that the length counts.
const COUNTED: usize = 8;
/// The largest body by default: 64 MiB.
pub const DEFAULT_BODY_LIMIT: usize = 64 << 20;
/// The largest body before the handshake is over.
pub const HANDSHAKE_BODY_LIMIT: usize = 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// First step of the handshake.
    Hello = 1,
    /// Second step of the handshake.
    Challenge = 2,
    /// Third step of the handshake.
    Proof = 3,
    /// Last step of the handshake.
    Welcome = 4,
    /// The last frame before the connection is closed, and why.
    Refuse = 5,
    /// The dialler asks and waits for a reply.
    Call = 16,
    /// The dialler says something.
    Send = 17,
    /// The acceptor answers a call.
    Reply = 18,
    /// The acceptor says something.
    Push = 19,
    /// The dialler wants to know whether the acceptor is there. The body is empty.
    Ping = 20,
    /// The acceptor is. The body is its clock: Unix time in milliseconds, 8 bytes.
    Pong = 21,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 11] = [
        Kind::Hello,
        Kind::Challenge,
        Kind::Proof,
        Kind::Welcome,
        Kind::Refuse,
        Kind::Call,
        Kind::Send,
        Kind::Reply,
        Kind::Push,
        Kind::Ping,
        Kind::Pong,
    ];

    fn new(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The header of a complete frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The number of the service, as it stands there.
    pub service: u8,
    /// The number of the call.
    pub call: u64,
    /// Bytes of the whole frame; its body is `buffer[HEADER..length]`.
    pub length: usize,
}

/// What the start of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// A part of a frame. So many bytes more are known to be missing, at least one.
    Incomplete(usize),
    /// A whole frame with the right checksum.
    Complete(Frame),
}

/// Why bytes are no frame. The connection can't go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length is beyond the limit; nothing was allocated for it.
    #[error("a frame of {announced} bytes was announced, the limit is {limit}")]
    TooLarge {
        /// Bytes of body and header that were announced.
        announced: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The announced length is less than a header.
    #[error("a frame of {0} bytes was announced, less than its header")]
    TooSmall(usize),
    /// What arrived is not what was sent.
    #[error("the checksum of a frame is wrong")]
    Checksum,
    /// A kind that no version knows.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
}

/// Appends a frame to `out`.
///
/// # Panics
/// If the body is longer than 4 GiB; callers have a far lower limit.
pub fn encode(kind: Kind, service: u8, call: u64, body: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(HEADER - COUNTED + body.len())
        .unwrap_or_else(|_| panic!("a frame of {} bytes", body.len()));
    let start = out.len();
    out.reserve(HEADER + body.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(kind as u8);
    out.push(service);
    out.extend_from_slice(&call.to_le_bytes());
    out.extend_from_slice(body);
    let checksum = checksum(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Looks for a frame at the start of `buffer`, with a body of at most `body_limit` bytes.
pub fn scan(buffer: &[u8], body_limit: usize) -> Result<Scan, FrameError> {
    let Some(announced) = buffer.first_chunk::<4>() else {
        return Ok(Scan::Incomplete(HEADER - buffer.len()));
    };
    let counted = u32::from_le_bytes(*announced) as usize;
    let length = COUNTED + counted;
    if length < HEADER {
        return Err(FrameError::TooSmall(length));
    }
    if length - HEADER > body_limit {
        return Err(FrameError::TooLarge {
            announced: length,
            limit: body_limit.saturating_add(HEADER),
        });
    }
    let Some(bytes) = buffer.get(..length) else {
        return Ok(Scan::Incomplete(length - buffer.len()));
    };
    let mut fields = Fields(&bytes[4..]);
    let (Some(expected), Some(kind), Some(service), Some(call)) = (
        fields.array().map(u32::from_le_bytes),
        fields.u8(),
        fields.u8(),
        fields.u64(),
    ) else {
        return Err(FrameError::TooSmall(length));
    };
    if checksum(bytes) != expected {
        return Err(FrameError::Checksum);
    }
    Ok(Scan::Complete(Frame {
        kind: Kind::new(kind).ok_or(FrameError::Kind(kind))?,
        service,
        call,
        length,
    }))
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[COUNTED..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        proptest::sample::select(&Kind::ALL[..])
    }

    proptest! {
        #[test]
        fn round_trip(
            frames in prop::collection::vec(
                (kinds(), any::<u8>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)),
                1..5,
            ),
        ) {
            let mut bytes = Vec::new();
            for (kind, service, call, body) in &frames {
                encode(*kind, *service, *call, body, &mut bytes);
            }
            let mut rest = &bytes[..];
            for (kind, service, call, body) in &frames {
                for cut in 0..(HEADER + body.len()) {
                    let Ok(Scan::Incomplete(missing)) = scan(&rest[..cut], 200) else {
                        panic!("a part of a frame passed");
                    };
                    prop_assert!(missing > 0 && cut + missing <= HEADER + body.len());
                }
                let Ok(Scan::Complete(frame)) = scan(rest, 200) else {
                    panic!("a frame did not pass");
                };
                prop_assert_eq!((frame.kind, frame.service, frame.call), (*kind, *service, *call));
                prop_assert_eq!(&rest[HEADER..frame.length], &body[..]);
                rest = &rest[frame.length..];
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Scan::Complete(frame)) = scan(&bytes, 256) {
                prop_assert!(frame.length <= bytes.len());
            }
        }

        #[test]
        fn a_flipped_bit_is_seen(
            body in prop::collection::vec(any::<u8>(), 0..100),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            encode(Kind::Call, 5, 7, &body, &mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(scan(&bytes, 100), Ok(Scan::Complete(_))));
        }
    }

    #[test]
    fn the_limit_is_checked_before_the_body_is_there() {
        let mut bytes = Vec::new();
        encode(Kind::Send, 1, 0, &[7; 100], &mut bytes);
        assert!(matches!(scan(&bytes, 100), Ok(Scan::Complete(_))));
        assert_eq!(
            scan(&bytes[..4], 99),
            Err(FrameError::TooLarge {
                announced: 118,
                limit: 117
            })
        );
        assert_eq!(scan(&[9, 0, 0, 0], 99), Err(FrameError::TooSmall(17)));
    }

    #[test]
    fn the_layout_is_as_documented() {
        let mut bytes = Vec::new();
        encode(Kind::Call, 7, 0x0102, b"ab", &mut bytes);
        assert_eq!(bytes[..4], [12, 0, 0, 0]);
        assert_eq!(bytes[8..], *b"\x10\x07\x02\x01\0\0\0\0\0\0ab");
    }
}
