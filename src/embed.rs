//! The embeddable API: a node inside the own process, with or without sockets.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = coterie::Node::builder().directory("data").listen(false).start()?;
//! let database = node.database(0);
//! database.set("greeting", "hello").await?;
//! assert_eq!(database.get("greeting").await?, Some(b"hello".to_vec()));
//! node.stop().await?;
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use coterie_protocol::{DatabaseId, Frame, OwnedRequest, RespVersion, frame};

use crate::commands::perform;
use crate::config::{Config, Durability};
use crate::node;
use crate::running::{NodeError, Running};
use crate::session::{Client, Session};

/// A node in this process. Commands through it take the same way as those of clients.
pub struct Node {
    running: Running,
}

/// What a [`Node`] is started with.
#[derive(Default)]
pub struct Builder {
    config: Config,
}

impl Builder {
    /// Where log and checkpoints are; `./data` by default.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.dir = directory.into();
        self
    }

    /// When a write is acknowledged; every second by default.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config.durability = durability;
        self
    }

    /// Whether clients can connect, at the configured addresses; yes by default.
    pub fn listen(mut self, listen: bool) -> Self {
        if !listen {
            self.config.port = 0;
            self.config.unixsocket = None;
        }
        self
    }

    /// All settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Recovers the data directory and starts. Call within a tokio runtime.
    ///
    /// # Errors
    /// The directory can't be opened, or an address is taken.
    pub fn start(self) -> Result<Node, NodeError> {
        Ok(Node {
            running: Running::start(self.config)?,
        })
    }
}

impl Node {
    /// Starts with the defaults of a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// One of its databases.
    pub fn database(&self, number: u16) -> Database {
        Database {
            node: self.running.node().clone(),
            number: DatabaseId(number),
        }
    }

    /// Ends all connections and syncs the log.
    ///
    /// # Errors
    /// The log could not be synced.
    pub async fn stop(self) -> std::io::Result<()> {
        self.running.node().stop(false);
        self.running.until_stopped().await
    }
}

/// A database of a node in this process.
#[derive(Clone)]
pub struct Database {
    node: Arc<node::Node>,
    number: DatabaseId,
}

/// A command answered with an error.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// In Redis' words.
    #[error("{0}")]
    Command(String),
    /// The reply was not of the kind that the method returns.
    #[error("unexpected reply: {0:?}")]
    Unexpected(Box<Frame>),
}

impl Database {
    /// Executes any command that answers once: its name and arguments.
    ///
    /// # Errors
    /// The command answered with an error.
    pub async fn command(&self, arguments: &[impl AsRef<[u8]>]) -> Result<Frame, CallError> {
        if u32::from(self.number.0) >= self.node.engine.store().databases() {
            return Err(CallError::Command("ERR DB index is out of range".into()));
        }
        let now_ms = self.node.now_ms();
        let id = self.node.clients.next_id();
        let client = Client::new(
            id,
            "embedded:0".into(),
            "embedded:0".into(),
            true,
            -1,
            now_ms,
        );
        let mut session = Session::new(client.into(), true);
        session.database = self.number;
        session.resp = RespVersion::Resp3;
        let request = OwnedRequest::new(arguments);
        let reply = perform(&self.node, &mut session, &request).await;
        match frame::decode(&reply) {
            Ok(Some((Frame::SimpleError { data, .. }, _))) => Err(CallError::Command(data)),
            Ok(Some((frame, _))) => Ok(frame),
            // Its own replies are whole, or there is none (CLIENT REPLY OFF).
            Ok(None) | Err(_) => Ok(Frame::Null),
        }
    }

    /// `SET key value`.
    ///
    /// # Errors
    /// As [`Database::command`].
    pub async fn set(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), CallError> {
        self.command(&[b"SET", key.as_ref(), value.as_ref()])
            .await
            .map(drop)
    }

    /// `GET key`.
    ///
    /// # Errors
    /// As [`Database::command`].
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, CallError> {
        match self.command(&[b"GET", key.as_ref()]).await? {
            Frame::BlobString { data, .. } => Ok(Some(data)),
            Frame::Null => Ok(None),
            other => Err(CallError::Unexpected(Box::new(other))),
        }
    }

    /// `DEL key`: whether it was there.
    ///
    /// # Errors
    /// As [`Database::command`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, CallError> {
        self.integer(&[b"DEL", key.as_ref()])
            .await
            .map(|count| count > 0)
    }

    /// `INCRBY key by`: the value after it.
    ///
    /// # Errors
    /// As [`Database::command`].
    pub async fn increment(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, CallError> {
        self.integer(&[b"INCRBY", key.as_ref(), by.to_string().as_bytes()])
            .await
    }

    async fn integer(&self, arguments: &[&[u8]]) -> Result<i64, CallError> {
        match self.command(arguments).await? {
            Frame::Number { data, .. } => Ok(data),
            other => Err(CallError::Unexpected(Box::new(other))),
        }
    }
}
