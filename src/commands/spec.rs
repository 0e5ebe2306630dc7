//! What the server knows of a command: one static description drives dispatch, `COMMAND`, `COMMAND DOCS`
//! and, later, ACL and routing.

use bitflags::bitflags;
use coterie_protocol::Request;

use super::call::{Call, Control, Deferred};
use super::error::{CommandError, CommandResult};
use super::unit::{Opening, Unit};

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

/// Where a command's keys are among its arguments (argument 0 is the command's name).
#[derive(Clone, Copy)]
pub enum Keys {
    /// No keys.
    None,
    /// From `first` to `last` (negative counts from the end, -1 is the last argument), each `step`.
    Range {
        /// Index of the first key.
        first: usize,
        /// Index of the last key.
        last: isize,
        /// Distance of two keys.
        step: usize,
    },
    /// Where their number or a word among the arguments says.
    Found(fn(Request<'_>) -> Positions),
}

/// Where the keys of a request are: at most one by itself, and a range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Positions {
    /// One that stands before the others.
    pub first: Option<usize>,
    /// The others.
    pub range: std::ops::Range<usize>,
    /// Distance of two keys of the range; 0 counts as 1.
    pub step: usize,
}

impl Positions {
    /// As many as the argument at `index` says, right behind it; none if it says no such number.
    pub fn counted(request: Request<'_>, index: usize) -> Self {
        let counted = request
            .get(index)
            .and_then(coterie_protocol::text::parse_u64);
        let first = index + 1;
        let left = request.len().saturating_sub(first) as u64;
        let count = counted.filter(|count| *count <= left).unwrap_or(0);
        Positions {
            range: first..first + count as usize,
            ..Positions::default()
        }
    }

    /// The same, with one more before the others.
    pub fn after(self, first: usize) -> Self {
        Positions {
            first: Some(first),
            ..self
        }
    }

    /// Their number.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.range.len().div_ceil(self.step.max(1))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for Positions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let next = self.range.start;
        if next >= self.range.end {
            return None;
        }
        self.range.start += self.step.max(1);
        Some(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Positions {}

impl Keys {
    /// Exactly one key, the first argument.
    pub const FIRST: Keys = Keys::Range {
        first: 1,
        last: 1,
        step: 1,
    };
    /// One key, the second argument: of a subcommand.
    pub const SECOND: Keys = Keys::Range {
        first: 2,
        last: 2,
        step: 1,
    };
    /// All arguments.
    pub const ALL: Keys = Keys::Range {
        first: 1,
        last: -1,
        step: 1,
    };

    /// Where the key is, if there is exactly one whatever the arguments.
    #[inline]
    pub fn single(self) -> Option<usize> {
        match self {
            Keys::Range { first, last, .. } if last == first as isize => Some(first),
            _ => None,
        }
    }

    /// The keys of a request.
    #[inline]
    pub fn of<'a>(self, request: Request<'a>) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.positions(request).map(move |index| request.arg(index))
    }

    /// Where they are among its arguments.
    #[inline]
    pub fn positions(self, request: Request<'_>) -> Positions {
        let count = request.len();
        match self {
            Keys::None => Positions::default(),
            Keys::Range { first, last, step } => {
                let end = if last < 0 {
                    count as isize + last + 1
                } else {
                    last + 1
                };
                Positions {
                    first: None,
                    range: first
                        ..end.clamp(first as isize, (count as isize).max(first as isize)) as usize,
                    step,
                }
            }
            Keys::Found(find) => find(request),
        }
    }
}

bitflags! {
    /// What a command does with the keys of a key specification (<https://redis.io/docs/latest/develop/reference/key-specs/>).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct KeyFlags: u32 {
        /// Reads the value.
        const RO = 1 << 0;
        /// Reads and writes the value.
        const RW = 1 << 1;
        /// Overwrites the value.
        const OW = 1 << 2;
        /// Removes the key.
        const RM = 1 << 3;
        /// Returns or copies the value.
        const ACCESS = 1 << 4;
        /// Writes something that depends on the value.
        const UPDATE = 1 << 5;
        /// Adds to the value without removing or looking.
        const INSERT = 1 << 6;
        /// Removes some of the value's content.
        const DELETE = 1 << 7;
        /// It is not a key, but routed like one.
        const NOT_KEY = 1 << 8;
        /// The specification may not find all keys.
        const INCOMPLETE = 1 << 9;
        /// The flags depend on the arguments.
        const VARIABLE_FLAGS = 1 << 10;
    }
}

/// Where the keys of a specification begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// At this argument.
    Index(usize),
    /// Behind this word, looked for from this argument on (negative: backwards, from the end).
    Keyword(&'static str, isize),
    /// Only the server knows.
    Unknown,
}

/// Which arguments are keys, from where they begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Find {
    /// A range.
    Range {
        /// Relative index of the last key; negative counts from the end.
        last: isize,
        /// Distance of two keys.
        step: usize,
        /// For a negative `last`: the fraction of the rest that are keys (0 and 1: all).
        limit: usize,
    },
    /// As many as the argument at `index` says, from `first` on, both relative.
    Count {
        /// Relative index of the number.
        index: usize,
        /// Relative index of the first key.
        first: usize,
        /// Distance of two keys.
        step: usize,
    },
    /// Only the server knows.
    Unknown,
}

/// One key specification (<https://redis.io/docs/latest/develop/reference/key-specs/>).
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// See [`KeyFlags`].
    pub flags: KeyFlags,
    /// Where its keys begin.
    pub begin: Begin,
    /// Which they are.
    pub find: Find,
    /// A remark, or empty.
    pub notes: &'static str,
}

impl KeySpec {
    /// One key, the first argument.
    pub const fn first(flags: KeyFlags) -> KeySpec {
        KeySpec::range(flags, 1, 0, 1)
    }

    /// Keys from `index` to `last` (relative to it, or negative from the end), each `step`.
    pub const fn range(flags: KeyFlags, index: usize, last: isize, step: usize) -> KeySpec {
        let limit = 0;
        KeySpec {
            flags,
            begin: Begin::Index(index),
            find: Find::Range { last, step, limit },
            notes: "",
        }
    }

    /// As many keys as the argument at `index` says, right behind it.
    pub const fn counted(flags: KeyFlags, index: usize) -> KeySpec {
        KeySpec {
            flags,
            begin: Begin::Index(index),
            find: Find::Count {
                index: 0,
                first: 1,
                step: 1,
            },
            notes: "",
        }
    }

    /// The same keys, behind a word.
    pub const fn behind(self, word: &'static str, from: isize) -> KeySpec {
        KeySpec {
            begin: Begin::Keyword(word, from),
            ..self
        }
    }

    /// Keys that only the server finds.
    pub const fn unknown(flags: KeyFlags) -> KeySpec {
        KeySpec {
            flags,
            begin: Begin::Unknown,
            find: Find::Unknown,
            notes: "",
        }
    }

    /// With a remark.
    pub const fn noted(self, notes: &'static str) -> KeySpec {
        KeySpec { notes, ..self }
    }
}

/// What `COMMAND DOCS` tells.
#[derive(Clone, Copy)]
pub struct Docs {
    /// One sentence.
    pub summary: &'static str,
    /// The Redis version that had it first.
    pub since: &'static str,
    /// `string`, `bitmap`, `generic`, `connection`, `server`, …
    pub group: &'static str,
    /// Time complexity.
    pub complexity: &'static str,
    /// `deprecated` and the like.
    pub flags: &'static [&'static str],
    /// The version that deprecated it, and what replaces it; empty for none.
    pub deprecated_since: &'static str,
    /// See `deprecated_since`.
    pub replaced_by: &'static str,
    /// Versions and what they changed.
    pub history: &'static [(&'static str, &'static str)],
    /// The arguments.
    pub arguments: &'static [Argument],
}

impl Docs {
    /// The usual case: to be completed with `..Docs::NEW`.
    pub const NEW: Docs = Docs {
        summary: "",
        since: "1.0.0",
        group: "",
        complexity: "O(1)",
        flags: &[],
        deprecated_since: "",
        replaced_by: "",
        history: &[],
        arguments: &[],
    };
}

/// One argument of a command's syntax, as `COMMAND DOCS` tells it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// `key`, `string`, `integer`, `double`, `pattern`, `unix-time`, `pure-token`, `oneof` or `block`.
    pub kind: &'static str,
    /// A literal word before it, or instead of it; empty for none.
    pub token: &'static str,
    /// The Redis version that had it first, where that is later than the command; empty otherwise.
    pub since: &'static str,
    /// Which key specification it is, for `key`s.
    pub key_spec_index: Option<usize>,
    /// The version that deprecated it; empty for none.
    pub deprecated_since: &'static str,
    /// `optional`, `multiple`, `multiple_token`.
    pub flags: &'static [&'static str],
    /// The parts of a `oneof` or `block`.
    pub arguments: &'static [Argument],
}

impl Argument {
    /// The usual case: to be completed with `..Argument::NEW`.
    pub const NEW: Argument = Argument {
        name: "",
        kind: "string",
        token: "",
        since: "",
        key_spec_index: None,
        deprecated_since: "",
        flags: &[],
        arguments: &[],
    };

    /// A value of this kind.
    pub const fn new(name: &'static str, kind: &'static str) -> Argument {
        Argument {
            name,
            kind,
            ..Argument::NEW
        }
    }

    /// A key of the first key specification.
    pub const fn key(name: &'static str) -> Argument {
        Argument {
            key_spec_index: Some(0),
            ..Argument::new(name, "key")
        }
    }

    /// A literal word.
    pub const fn word(name: &'static str, token: &'static str) -> Argument {
        Argument::new(name, "pure-token").after(token)
    }

    /// One of several.
    pub const fn one_of(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument {
            arguments,
            ..Argument::new(name, "oneof")
        }
    }

    /// All of several, in order.
    pub const fn block(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument {
            arguments,
            ..Argument::new(name, "block")
        }
    }

    /// With this word before it.
    pub const fn after(self, token: &'static str) -> Argument {
        Argument { token, ..self }
    }

    /// Of this Redis version.
    pub const fn since(self, since: &'static str) -> Argument {
        Argument { since, ..self }
    }

    /// With these flags.
    pub const fn flagged(self, flags: &'static [&'static str]) -> Argument {
        Argument { flags, ..self }
    }

    /// With the flag `optional`.
    pub const fn optional(self) -> Argument {
        self.flagged(&["optional"])
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
