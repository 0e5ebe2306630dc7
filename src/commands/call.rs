//! What a command's handler works with.

use std::future::Future;
use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use coterie_protocol::{DatabaseId, ReplyWriter, Request};

use super::blocking::Patience;
use super::error::{CommandError, CommandResult};
use crate::effect::Effect;
use crate::engine::Transaction;
use crate::events::EventClasses;
use crate::node::Node;
use crate::session::Session;
use crate::store::View;

/// A reply that comes later: encoded, in the protocol version the session had.
pub type Deferred = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// A reply that need not come later: runs what waits for nothing but its turn to its end.
pub fn at_once(future: impl Future<Output = Vec<u8>>) -> Deferred {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(reply) = future.as_mut().poll(&mut context) {
            return Box::pin(ready(reply));
        }
    }
}

/// A call of a data command: its arguments, the locked partitions, the reply.
pub struct Call<'c, 'x> {
    /// The arguments; argument 0 is the command's name.
    pub request: Request<'c>,
    /// Reads and changes.
    pub transaction: &'c mut Transaction<'x>,
    /// Where the reply goes. What a handler that returns an error has written is taken back.
    pub reply: &'c mut ReplyWriter<'c>,
    /// The session's database.
    pub database: DatabaseId,
    /// Whether it may wait for data, or has.
    pub patience: Patience<'c>,
    /// The server's settings and counters; its engine is locked, so not to be begun on.
    pub node: &'c Node,
}

impl Call<'_, '_> {
    /// Tells an event of a key in the session's database, once the command's changes can be seen.
    #[inline]
    pub fn notify(&mut self, class: EventClasses, name: &'static str, key: &[u8]) {
        self.transaction.notify(self.database, class, name, key);
    }

    /// Tells that something was taken out of a collection, and that the key is gone with the last of it.
    pub fn notify_taken(&mut self, class: EventClasses, name: &'static str, key: &[u8]) {
        if !self.transaction.tells_events() {
            return;
        }
        self.notify(class, name, key);
        if self.transaction.find(self.database, key).is_none() {
            self.notify(EventClasses::GENERIC, "del", key);
        }
    }

    /// Tells that a command kept its result at a key, or nothing: then what was there before is gone.
    pub fn notify_stored(
        &mut self,
        class: EventClasses,
        name: &'static str,
        key: &[u8],
        was_there: bool,
    ) {
        if !self.transaction.tells_events() {
            return;
        }
        if self.transaction.find(self.database, key).is_some() {
            self.notify(class, name, key);
        } else if was_there {
            self.notify(EventClasses::GENERIC, "del", key);
        }
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
        Effect::Put { value, .. } | Effect::Sketch { value, .. } => value.len(),
        Effect::PutPadded { bytes, .. } | Effect::Splice { bytes, .. } => bytes.len(),
        Effect::ElementSet { element, value, .. } => element.len() + value.len(),
        Effect::FieldUntil { field, value, .. } => field.len() + value.len(),
        Effect::ElementDelete { element, .. } => element.len(),
        Effect::AttributeSet { name, value, .. } => name.len() + value.len(),
        Effect::AttributeDelete { name, .. } => name.len(),
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
    pub reply: &'c mut ReplyWriter<'c>,
    /// The transaction it is part of. Then partitions are locked, and data is seen through this alone.
    pub transaction: Option<&'c mut Transaction<'x>>,
    /// Replies of earlier commands that are not sent yet, in bytes.
    pub unsent_bytes: usize,
    /// Unix milliseconds.
    pub now_ms: u64,
}

impl Control<'_, '_> {
    /// All data, as this command sees it.
    pub fn view(&self) -> &dyn View {
        match &self.transaction {
            Some(transaction) => &**transaction,
            None => self.node.engine.store(),
        }
    }
}
