//! What can go wrong.

use std::io;

use coterie_protocol::api::CallError;
use coterie_protocol::internal::{FrameError, Reason, Refusal};

/// Why a command has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It was answered, with an error or something unexpected.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It was sent, and there is no answer: it may have been executed, or yet be.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The time was over before it could be executed: it has no effect.
    #[error("not executed within the deadline: {0}")]
    Deadline(String),
    /// A node, or this client, refuses the connection. The command has no effect.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// It is larger than the limit of 64 MiB. It was not sent.
    #[error("the command is larger than the limit")]
    TooLarge,
}

/// Why there is no connection to a node.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The node refuses this client.
    #[error("refused by the node: {0}")]
    Refused(Refusal),
    /// This client refuses the node.
    #[error("{0}")]
    Refusing(Refusal),
    /// What the node says makes no sense.
    #[error("the node said what can't be read")]
    Malformed,
    /// The node has no topology yet.
    #[error("the node is not ready")]
    NotReady,
}

impl ConnectError {
    /// The refusal, if it is one that will stay.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            ConnectError::Refused(refusal) | ConnectError::Refusing(refusal) => {
                (refusal.reason != Reason::Busy).then_some(refusal)
            }
            _ => None,
        }
    }
}

impl From<FrameError> for ConnectError {
    fn from(error: FrameError) -> Self {
        let reason = match error {
            FrameError::TooLarge { .. } => Reason::TooLarge,
            FrameError::TooSmall(_) | FrameError::Checksum | FrameError::Kind(_) => Reason::Garbage,
        };
        ConnectError::Refusing(Refusal::new(reason, error.to_string()))
    }
}
