//! What can go wrong with a command, in Redis' own words.

use std::borrow::Cow;

use super::blocking::Wait;
use crate::wal::NoRoom;

/// Outcome of a handler, which has written its reply when it is `Ok`.
pub type CommandResult = Result<(), CommandError>;

/// An error reply. Nothing was changed when one is returned.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Options that make no sense.
    #[error("ERR syntax error")]
    Syntax,
    /// An argument or value that should be an integer.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// An argument or value that should be a number.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// A command that works on values of another type than the key's.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// A non-negative count was asked for.
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    /// An offset or index beyond the limits.
    #[error("ERR value is out of range")]
    OutOfRange,
    /// `RENAME`, `OBJECT` and others, of a key that is not there.
    #[error("ERR no such key")]
    NoSuchKey,
    /// A database number that is not configured.
    #[error("ERR DB index is out of range")]
    DatabaseOutOfRange,
    /// The wrong number of arguments, of the named command (`container|subcommand` for a subcommand).
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    /// A script needs a key whose partition is not locked: not an answer, unless it can't be.
    #[error("ERR Script attempted to access a non local key in a cluster node")]
    NotLocked,
    /// A script was stopped before its end: the whole line. Nothing of the unit it was in may last.
    #[error("{}", String::from_utf8_lossy(.0))]
    Stopped(Vec<u8>),
    /// Any other error: the whole line, starting with its code (`ERR …`, `OOM …`).
    #[error("{0}")]
    Line(Cow<'static, str>),
    /// An error that quotes what need not be text: the whole line.
    #[error("{}", String::from_utf8_lossy(.0))]
    Bytes(Vec<u8>),
    /// There is nothing yet, and the client is to wait: not an answer, except where nobody can wait.
    #[error("ERR This command can't wait here")]
    Blocked(Box<Wait>),
    /// The log has no room yet: not an answer, unless it can't be made.
    #[error(
        "MISCONF Errors writing to the log: {0}. Commands that may modify the data set are disabled. Free some disk space, or look at the server's log for details."
    )]
    NoRoom(#[source] NoRoom, usize),
}

impl CommandError {
    /// An error of the general code with this text.
    pub fn err(text: impl std::fmt::Display) -> Self {
        CommandError::Line(Cow::Owned(format!("ERR {text}")))
    }

    /// An error line with a client's own words between two texts; as in Redis, up to their first NUL.
    pub fn quoting(before: &str, words: &[u8], after: &str) -> Self {
        let words = words.split(|&byte| byte == 0).next().unwrap_or_default();
        CommandError::Bytes([before.as_bytes(), words, after.as_bytes()].concat())
    }

    /// The line as it is sent, before line ends in it are replaced.
    pub fn to_line(&self) -> Cow<'_, [u8]> {
        match self {
            CommandError::Line(line) => Cow::Borrowed(line.as_bytes()),
            CommandError::Bytes(line) | CommandError::Stopped(line) => Cow::Borrowed(line),
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }

    /// An error with this whole line, its code included.
    pub const fn line(line: &'static str) -> Self {
        CommandError::Line(Cow::Borrowed(line))
    }
}
