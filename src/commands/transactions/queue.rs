//! What a connection has gathered for a transaction: queued commands, watched keys.

use std::sync::{Arc, OnceLock};

use coterie_protocol::{DatabaseId, OwnedRequest, PartitionId, Request};

use crate::commands::spec::{CommandSpec, Flags};
use crate::commands::table::Command;

/// The commands since `MULTI`.
#[derive(Default)]
pub struct Queue {
    /// The commands, none of which may be wrong.
    pub commands: Vec<Queued>,
    /// One was refused: `EXEC` will be, too.
    pub failed: bool,
    /// In a cluster, the partition of their keys.
    pub partition: Option<PartitionId>,
    flags: Option<Flags>,
    bytes: usize,
}

/// A command that waits for `EXEC`.
pub struct Queued {
    /// What it is.
    pub command: &'static Command,
    request: OwnedRequest,
}

impl Queued {
    /// What it is.
    pub fn spec(&self) -> &'static CommandSpec {
        self.command.spec
    }

    /// Its arguments.
    pub fn request(&self) -> Request<'_> {
        self.request.request()
    }
}

impl Queue {
    /// Queues a command.
    pub fn push(&mut self, command: &'static Command, request: Request<'_>) {
        self.flags = Some(self.flags().union(command.spec.flags));
        if self.failed {
            // They will not be executed.
            return;
        }
        let request = OwnedRequest::from(request);
        self.bytes += size_of::<Queued>() + request.allocated_bytes();
        self.commands.push(Queued { command, request });
    }

    /// The flags of any of its commands.
    pub fn flags(&self) -> Flags {
        self.flags.unwrap_or(Flags::empty())
    }

    /// Its memory, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.bytes
    }
}

/// A key whose change is noticed at `EXEC`.
pub struct Watched {
    /// Its database.
    pub database: DatabaseId,
    /// Its name.
    pub key: Vec<u8>,
    /// Its state at `WATCH`.
    pub seen: Seen,
}

/// A key's fingerprint; see [`crate::engine::Transaction::fingerprint`].
pub enum Seen {
    /// As this node has it.
    Here(u64),
    /// As the node has it that executes the transaction; empty if it has not answered.
    There(Arc<OnceLock<u64>>),
}

impl Seen {
    /// The fingerprint; `None` if it is not known.
    pub fn fingerprint(&self) -> Option<u64> {
        match self {
            Seen::Here(fingerprint) => Some(*fingerprint),
            Seen::There(answered) => answered.get().copied(),
        }
    }
}
