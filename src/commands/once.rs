//! Executes a forwarded write exactly once: see `replication/operations.rs`.

use coterie_protocol::{DatabaseId, PartitionId, ReplyWriter, Request};

use super::error::CommandError;
use super::routing::MOVING;
use super::spec::CommandSpec;
use crate::effect::{Effect, OperationKind};
use crate::engine::Transaction;
use crate::node::Node;
use crate::replication::Operation;
use crate::store::Known;
use crate::wal::LogOffset;

/// Largest reply that is kept, in bytes.
const REPLY_BYTES_MAX: usize = 1024;
/// Said where it is known that a write was executed, but not what was answered; or where it is not known any more.
const UNKNOWN: CommandError = CommandError::line(
    "NOQUORUM The node that executed the write is gone, and its answer with it. It may have taken effect.",
);

/// A request that is an operation.
pub(super) struct Once<'r> {
    operation: Operation,
    spec: &'static CommandSpec,
    request: Request<'r>,
    database: DatabaseId,
    again: bool,
}

/// The field of a hash that a write is about, if it is about one.
pub(super) fn only_field<'r>(spec: &CommandSpec, request: Request<'r>) -> Option<&'r [u8]> {
    let is_about_one = match spec.name {
        "hsetnx" | "hincrby" | "hincrbyfloat" => true,
        "hset" | "hmset" => request.len() == 4,
        "hdel" => request.len() == 3,
        _ => false,
    };
    is_about_one.then(|| request.get(2)).flatten()
}

/// What is to be done about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begun {
    /// It was executed, and its reply is written.
    Done,
    /// It is to be executed.
    Execute,
}

impl<'r> Once<'r> {
    /// A request, known by this operation.
    pub fn new(
        operation: Operation,
        spec: &'static CommandSpec,
        request: Request<'r>,
        database: DatabaseId,
    ) -> Self {
        Once {
            again: operation.is_again(),
            operation,
            spec,
            request,
            database,
        }
    }

    /// Whether what others may have done is written over first.
    pub fn overwrites(&self) -> bool {
        self.again
    }

    fn keys(&self) -> impl ExactSizeIterator<Item = &'r [u8]> + use<'r> {
        self.spec.keys.of(self.request)
    }

    /// Answers if it was executed, or prepares its execution.
    ///
    /// # Errors
    /// It is not known whether it was executed; or the log has no room yet.
    pub fn begin(
        &self,
        node: &Node,
        transaction: &mut Transaction<'_>,
        reply: &mut ReplyWriter<'_>,
    ) -> Result<Begun, CommandError> {
        let Some(first) = self.keys().next() else {
            return Ok(Begun::Execute);
        };
        match transaction.operation(first, self.operation.id) {
            Known::Done(Some(recorded)) => {
                reply.raw(&recorded);
                return Ok(Begun::Done);
            }
            Known::Done(None) => return Err(UNKNOWN),
            Known::Forgotten if self.again => return Err(UNKNOWN),
            // The request has come so late that its origin does not wait for it any more.
            Known::Forgotten => return Err(MOVING),
            Known::Unknown => {}
        }
        if self.again {
            // Clocks are no further apart than this, or nodes refuse each other.
            let drift_ms = u64::from(node.config.load().max_drift_ms);
            let field = only_field(self.spec, self.request);
            for key in self.keys() {
                transaction
                    .overwrite(self.database, key, field, drift_ms)
                    .map_err(|(error, bytes)| CommandError::NoRoom(error, bytes))?;
            }
        }
        Ok(Begun::Execute)
    }

    /// Notes that it was executed, and what was answered.
    pub fn note(&self, transaction: &mut Transaction<'_>, reply: &[u8]) {
        let keys = self.keys();
        let many = keys.len() > 1;
        let mut keys = keys;
        let Some(key) = keys.next().filter(|_| transaction.has_changes()) else {
            return;
        };
        let is_kept = reply.len() <= REPLY_BYTES_MAX;
        let effect = Effect::Operation {
            key,
            id: self.operation.id,
            settled: self.operation.settled,
            kind: OperationKind {
                again: self.again,
                many,
            },
            reply: if is_kept { reply } else { &[] },
        };
        transaction.note_operation(self.database, &effect);
    }

    /// Sends what is known of its keys to the replicas. Returns what they have to have before it may be answered.
    pub fn append_state(&self, node: &Node, partition: PartitionId) -> LogOffset {
        let keys = self.keys().map(|key| (self.database, key));
        let appended = node.engine.append_state(partition, keys);
        appended.unwrap_or_else(|| node.engine.log().appended())
    }
}
