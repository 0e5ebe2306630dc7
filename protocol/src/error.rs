//! Why a client's bytes are not a request.

/// A violation of the request protocol.
///
/// After one of these a connection is out of step: the server answers with
/// [`ReplyWriter::protocol_error`](crate::ReplyWriter::protocol_error) and closes it, as Redis does.
/// The texts are those of Redis 7.0 (without its `-ERR `).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number after `*` is not one, or larger than [`Limits::arguments`](crate::Limits).
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// A client that has not authenticated announced too many arguments.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// The line that starts with `*` does not end in time.
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    /// An argument starts with this byte instead of `$`.
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    /// The number after `$` is not one, negative, or larger than [`Limits::bulk_bytes`](crate::Limits).
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// A client that has not authenticated announced too long an argument.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// The line that starts with `$` does not end in time.
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    /// An inline command does not end in time.
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// An inline command has an open quote, or text right after a closing one.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The request does not fit into the 4 GiB that a [`Scanner`](crate::Scanner) can address.
    ///
    /// Redis has no such reply: it drops the connection at `client-query-buffer-limit`, 1 GiB by default.
    #[error("Protocol error: too big request")]
    TooBigRequest,
}

/// A byte as it shows in a text; line ends become spaces, as everywhere in an error reply.
fn printable(byte: u8) -> char {
    match byte {
        b'\r' | b'\n' => ' ',
        other => char::from(other),
    }
}
