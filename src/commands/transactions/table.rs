//! The part of the command table that is about transactions.

use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

use super::{cluster, discard, exec, multi, unwatch, watch};

const FLAGS: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::ALLOW_BUSY);

const fn command(
    name: &'static str,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> CommandSpec {
    CommandSpec {
        name,
        arity: 1,
        handler,
        flags: FLAGS,
        categories: Categories::TRANSACTION,
        docs: Docs {
            summary,
            since,
            group: "transactions",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    }
}

const DISCARD: CommandSpec = command(
    "discard",
    Handler::Control(discard),
    "2.0.0",
    "Drops the commands that were queued since MULTI, and ends watching.",
);
const EXEC: CommandSpec = command(
    "exec",
    Handler::Unit(exec::exec),
    "1.2.0",
    "Executes the commands that were queued since MULTI, if no watched key was changed.",
);
const WATCH: CommandSpec = command(
    "watch",
    Handler::Unit(watch),
    "2.2.0",
    "Lets the next EXEC do nothing if one of these keys is changed before it.",
);

/// `MULTI` and its family.
pub static COMMANDS: &[CommandSpec] = &[
    command(
        "multi",
        Handler::Control(multi),
        "1.2.0",
        "Has the commands from here on queued, until EXEC executes them all.",
    ),
    CommandSpec {
        flags: Flags::NOSCRIPT
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::SKIP_SLOWLOG),
        docs: Docs {
            complexity: "Depends on commands in the transaction",
            ..EXEC.docs
        },
        ..EXEC
    },
    CommandSpec {
        docs: Docs {
            complexity: "O(N), when N is the number of queued commands",
            ..DISCARD.docs
        },
        ..DISCARD
    },
    CommandSpec {
        arity: -2,
        keys: Keys::ALL,
        key_specs: &[KeySpec::range(KeyFlags::RO, 1, -1, 1)],
        docs: Docs {
            complexity: "O(1) for every key.",
            arguments: &[Argument::key("key").flagged(&["multiple"])],
            ..WATCH.docs
        },
        ..WATCH
    },
    command(
        "unwatch",
        Handler::Control(unwatch),
        "2.2.0",
        "Ends watching.",
    ),
    CommandSpec {
        name: cluster::UNIT,
        arity: -2,
        handler: Handler::Unit(cluster::unit),
        flags: Flags::WRITE
            .union(Flags::INTERNAL)
            .union(Flags::NOSCRIPT)
            .union(Flags::SKIP_MONITOR)
            .union(Flags::SKIP_SLOWLOG),
        keys: Keys::Range {
            first: 2,
            last: -1,
            step: 1,
        },
        docs: Docs {
            summary: "Internal: a transaction that another node sends.",
            group: "transactions",
            complexity: "Depends on commands in the transaction",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: cluster::SEEN,
        arity: -2,
        handler: Handler::Data(cluster::seen),
        flags: Flags::READONLY
            .union(Flags::INTERNAL)
            .union(Flags::NOSCRIPT)
            .union(Flags::SKIP_MONITOR)
            .union(Flags::SKIP_SLOWLOG),
        keys: Keys::ALL,
        docs: Docs {
            summary: "Internal: the states of keys that another node watches.",
            group: "transactions",
            complexity: "O(1) for every key.",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];
