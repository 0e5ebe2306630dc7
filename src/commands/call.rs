//! What a command's handler works with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use coterie_protocol::{DatabaseId, ReplyWriter, Request};

use super::error::{CommandError, CommandResult};
use crate::effect::Effect;
use crate::engine::Transaction;
use crate::events::EventClasses;
use crate::node::Node;
use crate::session::Session;

/// A reply that comes later: encoded, in the protocol version the session had.
pub type Deferred = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// A call of a data command: its arguments, the locked partitions, the reply.
pub struct Call<'c, 'x> {
    /// The arguments; argument 0 is the command's name.
    pub request: Request<'c>,
    /// Reads and changes.
    pub transaction: &'c mut Transaction<'x>,
    /// Where the reply goes. What a handler that returns an error has written is taken back.
    pub reply: &'c mut ReplyWriter<'x>,
    /// The session's database.
    pub database: DatabaseId,
    /// The server's settings and counters; its engine is locked, so not to be begun on.
    pub node: &'c Node,
}

impl Call<'_, '_> {
    /// Tells an event of a key in the session's database, once the command's changes can be seen.
    #[inline]
    pub fn notify(&mut self, class: EventClasses, name: &'static str, key: &[u8]) {
        self.transaction.notify(self.database, class, name, key);
    }

    /// Makes sure that the log has room for these effects and this many bytes more, before the first change: for a
    /// command whose effects are larger than its arguments.
    pub fn reserve(&mut self, effects: &[Effect<'_>], more: usize) -> CommandResult {
        let bytes = effects.iter().map(bytes_max).sum::<usize>() + more;
        self.transaction
            .reserve(bytes)
            .map_err(|error| CommandError::NoRoom(error, bytes))
    }
}

/// Upper bound of the encoded length of an effect.
fn bytes_max(effect: &Effect<'_>) -> usize {
    let value = match *effect {
        Effect::Put { value, .. } => value.len(),
        Effect::PutPadded { bytes, .. } | Effect::Splice { bytes, .. } => bytes.len(),
        Effect::HashSet { field, value, .. } => field.len() + value.len(),
        Effect::HashDelete { field, .. } => field.len(),
        _ => 0,
    };
    Effect::encoded_bytes_max(effect.key().map_or(0, <[u8]>::len), value)
}

/// A call of a command that needs no lock.
pub struct Control<'c, 'x> {
    /// The arguments; argument 0 is the command's name.
    pub request: Request<'c>,
    /// The connection's state.
    pub session: &'c mut Session,
    /// The server.
    pub node: &'c Arc<Node>,
    /// Where the reply goes; not for deferred commands, which return theirs.
    pub reply: &'c mut ReplyWriter<'x>,
    /// Replies of earlier commands that are not sent yet, in bytes.
    pub unsent_bytes: usize,
    /// Unix milliseconds.
    pub now_ms: u64,
}
