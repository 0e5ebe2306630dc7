//! What a program does with a database, whether the node is in its own process or the native client reaches a cluster:
//! both implement [`Commands`].

use std::future::Future;

use crate::{Frame, OwnedRequest, Quorum};

/// How many replicas take part in a read or a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// One.
    One,
    /// More than half of them.
    Majority,
    /// All of them.
    All,
}

impl From<Level> for Quorum {
    fn from(level: Level) -> Quorum {
        match level {
            Level::One => Quorum::Count(1),
            Level::Majority => Quorum::Majority,
            Level::All => Quorum::All,
        }
    }
}

/// A command that was executed, and has no result of the expected kind.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// It answered with an error, in Redis' words.
    #[error("{0}")]
    Command(String),
    /// The reply was not of the kind that the method returns.
    #[error("unexpected reply: {0:?}")]
    Unexpected(Box<Frame>),
}

impl CallError {
    /// The error that a reply is, or the reply.
    ///
    /// # Errors
    /// The reply is an error.
    pub fn check(reply: Frame) -> Result<Frame, CallError> {
        match reply {
            Frame::SimpleError { data, .. } => Err(CallError::Command(data)),
            Frame::BlobError { data, .. } => {
                let text = String::from_utf8_lossy(&data).into_owned();
                Err(CallError::Command(text))
            }
            reply => Ok(reply),
        }
    }

    fn unexpected(reply: Frame) -> CallError {
        CallError::Unexpected(Box::new(reply))
    }
}

/// Commands to be executed together.
///
/// ```
/// use coterie_protocol::api::Batch;
///
/// let batch = Batch::new().set("a", "1").increment("a", 2).get("a").command(&["TTL", "a"]);
/// assert_eq!(batch.len(), 4);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch(Vec<OwnedRequest>);

impl Batch {
    /// None yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds any command that answers once: its name and arguments.
    ///
    /// # Panics
    /// If there is not even a name, or the arguments are 4 GiB or more.
    pub fn command(mut self, arguments: &[impl AsRef<[u8]>]) -> Batch {
        self.0.push(request(arguments));
        self
    }

    /// Adds `GET key`.
    pub fn get(self, key: impl AsRef<[u8]>) -> Batch {
        self.command(&[b"GET", key.as_ref()])
    }

    /// Adds `SET key value`.
    pub fn set(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Batch {
        self.command(&[b"SET", key.as_ref(), value.as_ref()])
    }

    /// Adds `DEL key`.
    pub fn delete(self, key: impl AsRef<[u8]>) -> Batch {
        self.command(&[b"DEL", key.as_ref()])
    }

    /// Adds `INCRBY key by`.
    pub fn increment(self, key: impl AsRef<[u8]>, by: i64) -> Batch {
        self.command(&[b"INCRBY", key.as_ref(), by.to_string().as_bytes()])
    }

    /// The number of commands.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The commands in order.
    pub fn into_requests(self) -> Vec<OwnedRequest> {
        self.0
    }
}

fn request(arguments: &[impl AsRef<[u8]>]) -> OwnedRequest {
    assert!(!arguments.is_empty(), "a command has a name at least");
    OwnedRequest::new(arguments)
}

/// A database that executes commands.
///
/// The errors of every method are those of [`Commands::Error`]: the command answered with an error or something
/// unexpected ([`CallError`]), or there is no reply.
pub trait Commands: Clone + Send + Sync {
    /// Why there is no result.
    type Error: std::error::Error + From<CallError> + Send + Sync + 'static;

    /// The same database, of which this many replicas agree before a read is answered.
    fn reading(&self, level: Level) -> Self;

    /// The same database, of which this many replicas hold a write before it is acknowledged.
    fn writing(&self, level: Level) -> Self;

    /// Executes commands in their order. The replies, as many and in the same order, are no error replies: those are
    /// [`CallError::Command`]. It is no transaction: each command stands for itself, and those of other connections
    /// may come in between.
    fn batch(&self, batch: Batch) -> impl Future<Output = Vec<Result<Frame, Self::Error>>> + Send;

    /// Executes any command that answers once: its name and arguments.
    ///
    /// # Panics
    /// If there is not even a name, or the arguments are 4 GiB or more.
    fn command(
        &self,
        arguments: &[impl AsRef<[u8]>],
    ) -> impl Future<Output = Result<Frame, Self::Error>> + Send {
        single(self, request(arguments))
    }

    /// `SET key value`.
    fn set(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let request = request(&[b"SET", key.as_ref(), value.as_ref()]);
        async { single(self, request).await.map(drop) }
    }

    /// `GET key`: its value, if there is one.
    fn get(
        &self,
        key: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send {
        let request = request(&[b"GET", key.as_ref()]);
        async { Ok(value(single(self, request).await?)?) }
    }

    /// `DEL key`: whether it was there.
    fn delete(
        &self,
        key: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send {
        let request = request(&[b"DEL", key.as_ref()]);
        async { Ok(integer(single(self, request).await?)? > 0) }
    }

    /// `INCRBY key by`: the value after it.
    fn increment(
        &self,
        key: impl AsRef<[u8]>,
        by: i64,
    ) -> impl Future<Output = Result<i64, Self::Error>> + Send {
        let request = request(&[b"INCRBY", key.as_ref(), by.to_string().as_bytes()]);
        async { Ok(integer(single(self, request).await?)?) }
    }

    /// `HSET key field value`: whether the field is new.
    fn hash_set(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send {
        let request = request(&[b"HSET", key.as_ref(), field.as_ref(), value.as_ref()]);
        async { Ok(integer(single(self, request).await?)? > 0) }
    }

    /// `HGET key field`: its value, if there is one.
    fn hash_get(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send {
        let request = request(&[b"HGET", key.as_ref(), field.as_ref()]);
        async { Ok(value(single(self, request).await?)?) }
    }
}

async fn single<D: Commands>(database: &D, request: OwnedRequest) -> Result<Frame, D::Error> {
    let replies = database.batch(Batch(vec![request])).await;
    debug_assert_eq!(replies.len(), 1);
    replies.into_iter().next().unwrap_or(Ok(Frame::Null))
}

fn value(reply: Frame) -> Result<Option<Vec<u8>>, CallError> {
    match reply {
        Frame::BlobString { data, .. } => Ok(Some(data)),
        Frame::Null => Ok(None),
        other => Err(CallError::unexpected(other)),
    }
}

fn integer(reply: Frame) -> Result<i64, CallError> {
    match reply {
        Frame::Number { data, .. } => Ok(data),
        other => Err(CallError::unexpected(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_from_errors() {
        let error = |text: &str| CallError::Command(text.to_owned());
        let simple = Frame::SimpleError {
            data: "ERR a".to_owned(),
            attributes: None,
        };
        let blob = Frame::BlobError {
            data: b"ERR b".to_vec(),
            attributes: None,
        };
        assert_eq!(CallError::check(simple), Err(error("ERR a")));
        assert_eq!(CallError::check(blob), Err(error("ERR b")));
        assert_eq!(CallError::check(Frame::Null), Ok(Frame::Null));
        assert_eq!(value(Frame::Null), Ok(None));
        assert!(matches!(
            integer(Frame::Null),
            Err(CallError::Unexpected(_))
        ));
    }
}
