//! The embeddable API: a node inside the own process, with or without sockets.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use coterie::Commands;
//!
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

pub use coterie_protocol::api::{Batch, CallError, Commands, Level};
use coterie_protocol::{DatabaseId, Frame, RespVersion, frame};

use crate::clients::Client;
use crate::commands::perform_all;
use crate::config::{Config, Durability};
use crate::node;
use crate::running::{NodeError, Running};
use crate::session::{Consistency, Session};

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
            consistency: Consistency::default(),
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

/// A database of a node in this process; [`Commands`] has its methods.
#[derive(Clone)]
pub struct Database {
    node: Arc<node::Node>,
    number: DatabaseId,
    consistency: Consistency,
}

impl Database {
    fn session(&self) -> Session {
        let now_ms = self.node.now_ms();
        let id = self.node.clients.next_id();
        let address = || "embedded:0".to_owned();
        let client = Client::new(id, address(), address(), true, -1, now_ms);
        let mut session = Session::new(client.into(), true);
        session.database = self.number;
        session.resp = RespVersion::Resp3;
        session.consistency = self.consistency;
        session.proxied = true;
        session
    }
}

impl Commands for Database {
    type Error = CallError;

    fn reading(&self, level: Level) -> Self {
        let mut database = self.clone();
        database.consistency.read = Some(level.into());
        database
    }

    fn writing(&self, level: Level) -> Self {
        let mut database = self.clone();
        database.consistency.write = Some(level.into());
        database
    }

    async fn batch(&self, batch: Batch) -> Vec<Result<Frame, CallError>> {
        let requests = batch.into_requests();
        let replies = perform_all(&self.node, self.session(), &requests).await;
        let mut rest = &replies[..];
        let next = |_| match frame::decode(rest) {
            Ok(Some((reply, length))) => {
                rest = &rest[length..];
                CallError::check(reply)
            }
            // Replies of this process are whole.
            Ok(None) | Err(_) => Ok(Frame::Null),
        };
        requests.iter().map(next).collect()
    }
}
