//! What the server knows of a command: one static description drives dispatch, `COMMAND`, `COMMAND DOCS`
//! and, later, ACL and routing.

mod docs;
mod keys;

use bitflags::bitflags;
use coterie_protocol::Request;

use super::call::{Call, Control, Deferred};
use super::error::{CommandError, CommandResult};
use super::unit::{Opening, Unit};

pub use docs::{Argument, Docs};
pub use keys::{Begin, Find, KeyFlags, KeySpec, Keys, Positions};

/// How a command is executed.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Works on keys, under the locks that [`CommandSpec::locks`] names. Its changes are one log record.
    Data(fn(&mut Call<'_, '_>) -> CommandResult),
    /// Needs no lock held: connection, server, or many partitions one at a time.
    Control(fn(&mut Control<'_, '_>) -> CommandResult),
    /// Takes its time, or waits: a future writes the reply, while other connections go on.
    Deferred(fn(&mut Control<'_, '_>) -> Result<Deferred, CommandError>),
    /// Opens a unit, in which it executes other commands.
    Unit(UnitHandler),
    /// Executes other commands as part of a unit: its own, or the one it is called in.
    Script(ScriptHandler),
    /// Has only subcommands.
    Container,
}

/// What executes a script: its reply is written.
pub type ScriptHandler = fn(&mut Unit<'_>, Request<'_>, &mut Vec<u8>) -> CommandResult;

/// What executes a command that opens a unit: its reply is written, or comes later.
pub type UnitHandler =
    fn(Opening<'_>, Request<'_>, &mut Vec<u8>) -> Result<Option<Deferred>, CommandError>;

/// Which partitions a data command locks. Another command locks them only as part of a unit, where it looks into them.
#[derive(Clone, Copy)]
pub enum Locks {
    /// Those of its keys. A command that is called with exactly one key makes at most one change.
    Keys,
    /// Those of its keys, and changes can be taken back until all are made: for a command that makes
    /// several changes to a single key (`MOVE`, in two databases).
    KeysWithUndo,
    /// All of them.
    All,
    /// All of them if this says so, otherwise those of its keys: for a command that may read keys which only data tells.
    /// It does so on a single node only.
    Asked(fn(Request<'_>) -> bool),
}

impl Locks {
    /// Whether every command of this kind locks all partitions.
    pub fn is_all(self) -> bool {
        matches!(self, Locks::All)
    }

    /// Whether this request locks all partitions.
    pub fn covers_everything(self, request: Request<'_>) -> bool {
        match self {
            Locks::Keys | Locks::KeysWithUndo => false,
            Locks::All => true,
            Locks::Asked(asks) => asks(request),
        }
    }
}

bitflags! {
    /// Flags of a command, as `COMMAND INFO` names them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Flags: u32 {
        /// May change data.
        const WRITE = 1 << 0;
        /// Reads data.
        const READONLY = 1 << 1;
        /// Refused when memory is over its limit.
        const DENYOOM = 1 << 2;
        /// Administrative.
        const ADMIN = 1 << 3;
        /// Pub/sub.
        const PUBSUB = 1 << 4;
        /// Not in scripts.
        const NOSCRIPT = 1 << 5;
        /// May wait for data.
        const BLOCKING = 1 << 6;
        /// Allowed while data is loaded.
        const LOADING = 1 << 7;
        /// Allowed on a stale replica.
        const STALE = 1 << 8;
        /// Not shown to `MONITOR`.
        const SKIP_MONITOR = 1 << 9;
        /// Not in the slow log.
        const SKIP_SLOWLOG = 1 << 10;
        /// Constant or logarithmic time.
        const FAST = 1 << 11;
        /// Allowed before authentication.
        const NO_AUTH = 1 << 12;
        /// Replicated in some cases although not a write.
        const MAY_REPLICATE = 1 << 13;
        /// Not allowed while a replica loads asynchronously.
        const NO_ASYNC_LOADING = 1 << 14;
        /// Keys can't be told from first, last and step alone.
        const MOVABLEKEYS = 1 << 15;
        /// May have no key at all.
        const NO_MANDATORY_KEYS = 1 << 16;
        /// Not inside `MULTI`.
        const NO_MULTI = 1 << 17;
        /// Allowed while a script runs too long.
        const ALLOW_BUSY = 1 << 18;
        /// Only for this server itself.
        const INTERNAL = 1 << 19;
    }
}

bitflags! {
    /// ACL categories that do not follow from the flags (`@read`, `@write`, `@fast`, `@slow`, `@admin`,
    /// `@dangerous`, `@pubsub` and `@blocking` do).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Categories: u32 {
        /// `@keyspace`
        const KEYSPACE = 1 << 0;
        /// `@string`
        const STRING = 1 << 1;
        /// `@bitmap`
        const BITMAP = 1 << 2;
        /// `@connection`
        const CONNECTION = 1 << 3;
        /// `@dangerous`, where the flag `ADMIN` does not imply it
        const DANGEROUS = 1 << 4;
        /// `@admin`, where the flag `ADMIN` does not imply it
        const ADMIN = 1 << 5;
        /// `@hash`
        const HASH = 1 << 6;
        /// `@transaction`
        const TRANSACTION = 1 << 7;
        /// `@set`
        const SET = 1 << 8;
        /// `@sortedset`
        const SORTED_SET = 1 << 9;
        /// `@list`
        const LIST = 1 << 10;
        /// `@stream`
        const STREAM = 1 << 11;
        /// `@geo`
        const GEO = 1 << 12;
        /// `@hyperloglog`
        const HYPERLOGLOG = 1 << 13;
        /// `@scripting`
        const SCRIPTING = 1 << 14;
    }
}

/// See the module.
#[derive(Clone, Copy)]
pub struct CommandSpec {
    /// Lower case; of a subcommand with its container: `client|list`.
    pub name: &'static str,
    /// Number of arguments, the name included; negative for at least that many. A subcommand's counts both names.
    pub arity: i32,
    /// See [`Handler`].
    pub handler: Handler,
    /// See [`Locks`].
    pub locks: Locks,
    /// See [`Flags`].
    pub flags: Flags,
    /// See [`Categories`].
    pub categories: Categories,
    /// Where its keys are, for locking and for `COMMAND`.
    pub keys: Keys,
    /// See [`KeySpec`].
    pub key_specs: &'static [KeySpec],
    /// Hints for clients and proxies (`request_policy:all_shards`, `nondeterministic_output`, …).
    pub tips: &'static [&'static str],
    /// See [`Docs`].
    pub docs: Docs,
    /// Subcommands of a container.
    pub subcommands: &'static [CommandSpec],
}

impl CommandSpec {
    /// The usual case: to be completed with `..CommandSpec::NEW`.
    pub const NEW: CommandSpec = CommandSpec {
        name: "",
        arity: 1,
        handler: Handler::Container,
        locks: Locks::Keys,
        flags: Flags::empty(),
        categories: Categories::empty(),
        keys: Keys::None,
        key_specs: &[],
        tips: &[],
        docs: Docs::NEW,
        subcommands: &[],
    };

    /// Whether this many arguments are right.
    #[inline]
    pub fn accepts(&self, arguments: usize) -> bool {
        let arguments = arguments as i64;
        let arity = i64::from(self.arity);
        if arity >= 0 {
            arguments == arity
        } else {
            arguments >= -arity
        }
    }
}
