//! The native client of Coterie.
//!
//! It speaks the binary protocol of the nodes ([`coterie_protocol::internal`]) at their internal port (that of Redis
//! clients plus 10000, unless set), knows which node holds which key, and keeps one connection to each node, which all tasks share.
//! A command goes straight to the first replica of its key that is there; any other node would forward it.
//!
//! ```no_run
//! use coterie_client::{Batch, Client, Commands, Level, Options};
//!
//! # async fn example() -> Result<(), coterie_client::Error> {
//! let options = Options::new(["10.0.0.1:17001", "10.0.0.2:17001"]).secret("our cluster's secret");
//! let client = Client::connect(options).await?;
//! let database = client.database(0);
//! database.set("greeting", "hello").await?;
//! assert_eq!(database.get("greeting").await?, Some(b"hello".to_vec()));
//!
//! // As old as one replica may be, and all at once.
//! let replies = database
//!     .reading(Level::One)
//!     .batch(Batch::new().get("greeting").increment("visits", 1))
//!     .await;
//! assert_eq!(replies.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What is repeated
//! Whatever was surely not executed is tried again, with growing pauses that differ from client to client, until the
//! deadline ([`Options::deadline`]): the connection could not be made, the node said that it did nothing. When a
//! connection breaks or a time-out ends the wait, a command may or may not have been executed. Then reads and plain
//! writes (`SET` without conditions, `DEL`, `HSET`, …: twice is as good as once) are sent again, all others end as
//! [`Error::Unknown`]. The count that a repeated `DEL` or `HSET` returns is that of the repetition.
//!
//! # Batches
//! A batch is grouped by node, each group is sent at once, and replies come in the order of the commands. Commands on
//! one key are executed in their order. A write of which a later command on the same slot has been executed already is
//! not sent again.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod command;
mod connection;
mod database;
mod error;
mod handshake;
mod link;
mod options;
mod pool;
mod queue;

pub use command::is_read;
pub use coterie_protocol::Frame;
pub use coterie_protocol::api::{Batch, CallError, Commands, Level};
pub use database::{Client, Database};
pub use error::{ConnectError, Error};
pub use options::Options;
