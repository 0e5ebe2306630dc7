//! What can go wrong between two nodes.

use std::io;

use coterie_protocol::internal::{FrameError, Refusal};

/// Why nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no connection now.
    #[error("the link is down")]
    Down,
    /// The buffer is full; [`Link::writable`](super::Link::writable) waits for room.
    #[error("the link's buffer is full")]
    Busy,
    /// Larger than the limit of frames.
    #[error("the message is larger than the limit")]
    TooLarge,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The connection broke after the call was queued; whether it arrived is unknown.
    #[error("the connection broke")]
    Broken,
    /// The time was over; whether the call arrived is unknown.
    #[error("no reply in time")]
    Timeout,
    /// The peer, or this node, refused the connection.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Dialling failed.
    #[error("can't connect: {0}")]
    Unreachable(String),
}

/// Why a datagram was not sent.
#[derive(Debug, thiserror::Error)]
pub enum DatagramError {
    /// The peer has not introduced itself in a handshake yet.
    #[error("the peer is not known yet")]
    Unknown,
    /// Larger than the limit of datagrams.
    #[error("the datagram is larger than the limit")]
    TooLarge,
    /// The transport is stopped.
    #[error("the transport is stopped")]
    Stopped,
    /// The socket did not take it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("it was closed by the peer")]
    ByPeer,
    #[error("it was closed here")]
    Here,
    #[error("nothing was heard for too long")]
    Silent,
    #[error("the peer does not read")]
    Stuck,
    #[error("the handshake took too long")]
    Handshake,
    #[error(transparent)]
    Io(#[from] io::Error),
    /// We refuse.
    #[error("{0}")]
    Refusing(Refusal),
    /// The peer refuses.
    #[error("refused by the peer: {0}")]
    Refused(Refusal),
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        use coterie_protocol::internal::Reason;
        let reason = match error {
            FrameError::TooLarge { .. } => Reason::TooLarge,
            FrameError::TooSmall(_) | FrameError::Checksum | FrameError::Kind(_) => Reason::Garbage,
        };
        Ended::Refusing(Refusal::new(reason, error.to_string()))
    }
}
