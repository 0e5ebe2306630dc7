//! The part of the command table that is about functions.

use super::{call, manage, show};
use crate::commands::scripts::{keys_of_script, kill};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// Said of the keys of `FCALL`.
const NOTE: &str = "A function can't be looked into: it is taken to read and change its keys, as they may be called with either.";

const ARGUMENTS: &[Argument] = &[
    Argument::new("function", "string"),
    Argument::new("numkeys", "integer"),
    Argument::key("key").flagged(&["optional", "multiple"]),
    Argument::new("arg", "string").flagged(&["optional", "multiple"]),
];

/// What `FCALL` and `FCALL_RO` share.
const CALL: CommandSpec = CommandSpec {
    arity: -3,
    categories: Categories::SCRIPTING,
    keys: Keys::Found(keys_of_script),
    ..CommandSpec::NEW
};

/// Flags of both.
const CALLS: Flags = Flags::NOSCRIPT
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::MOVABLEKEYS);

/// What the documentation of all commands shares.
const DOCS: Docs = Docs {
    since: "7.0.0",
    group: "scripting",
    ..Docs::NEW
};

/// What subcommands of `FUNCTION` share…
const PART: CommandSpec = CommandSpec {
    categories: Categories::SCRIPTING,
    flags: Flags::NOSCRIPT,
    ..CommandSpec::NEW
};

/// … and those that change the libraries.
const CHANGE: CommandSpec = CommandSpec {
    flags: Flags::NOSCRIPT.union(Flags::WRITE),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    ..PART
};

/// `FCALL`, `FCALL_RO` and `FUNCTION`.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "fcall",
        handler: Handler::Script(call::fcall),
        flags: CALLS.union(Flags::MAY_REPLICATE),
        key_specs: &[KeySpec::counted(
            KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE),
            2,
        )
        .noted(NOTE)],
        docs: Docs {
            summary: "Calls a function.",
            complexity: "Depends on the function that is executed.",
            arguments: ARGUMENTS,
            ..DOCS
        },
        ..CALL
    },
    CommandSpec {
        name: "fcall_ro",
        handler: Handler::Script(call::fcall_ro),
        flags: CALLS.union(Flags::READONLY),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 2).noted(NOTE)],
        docs: Docs {
            summary: "Calls a function that only reads.",
            complexity: "Depends on the function that is executed.",
            arguments: ARGUMENTS,
            ..DOCS
        },
        ..CALL
    },
    CommandSpec {
        name: "function",
        arity: -2,
        handler: Handler::Container,
        flags: Flags::empty(),
        categories: Categories::empty(),
        docs: Docs {
            summary: "Commands about functions.",
            complexity: "Depends on subcommand.",
            ..DOCS
        },
        subcommands: SUBCOMMANDS,
        ..CommandSpec::NEW
    },
];

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "function|delete",
        arity: 3,
        handler: Handler::Deferred(manage::delete),
        docs: Docs {
            summary: "Removes a library and its functions.",
            complexity: "O(1)",
            arguments: &[Argument::new("library-name", "string")],
            ..DOCS
        },
        ..CHANGE
    },
    CommandSpec {
        name: "function|dump",
        arity: 2,
        handler: Handler::Control(show::dump),
        docs: Docs {
            summary: "Returns all libraries in one payload.",
            complexity: "O(N) where N is the number of functions",
            ..DOCS
        },
        ..PART
    },
    CommandSpec {
        name: "function|flush",
        arity: -2,
        handler: Handler::Deferred(manage::flush),
        docs: Docs {
            summary: "Removes all libraries.",
            complexity: "O(N) where N is the number of functions deleted",
            arguments: &[Argument::one_of(
                "async",
                &[
                    Argument::word("async", "ASYNC"),
                    Argument::word("sync", "SYNC"),
                ],
            )
            .optional()],
            ..DOCS
        },
        ..CHANGE
    },
    CommandSpec {
        name: "function|help",
        arity: 2,
        handler: Handler::Control(show::help),
        flags: Flags::LOADING.union(Flags::STALE),
        docs: Docs {
            summary: "Describes the subcommands.",
            complexity: "O(1)",
            ..DOCS
        },
        ..PART
    },
    CommandSpec {
        name: "function|kill",
        arity: 2,
        handler: Handler::Control(kill),
        flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        docs: Docs {
            summary: "Stops a function that runs for long.",
            complexity: "O(1)",
            ..DOCS
        },
        ..PART
    },
    CommandSpec {
        name: "function|list",
        arity: -2,
        handler: Handler::Control(show::list),
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Shows the libraries and their functions.",
            complexity: "O(N) where N is the number of functions",
            arguments: &[
                Argument::new("library-name-pattern", "string")
                    .after("LIBRARYNAME")
                    .optional(),
                Argument::word("withcode", "WITHCODE").optional(),
            ],
            ..DOCS
        },
        ..PART
    },
    CommandSpec {
        name: "function|load",
        arity: -3,
        handler: Handler::Deferred(manage::load),
        flags: Flags::NOSCRIPT.union(Flags::WRITE).union(Flags::DENYOOM),
        docs: Docs {
            summary: "Adds a library.",
            complexity: "O(1) (considering compilation time is redundant)",
            arguments: &[
                Argument::word("replace", "REPLACE").optional(),
                Argument::new("function-code", "string"),
            ],
            ..DOCS
        },
        ..CHANGE
    },
    CommandSpec {
        name: "function|restore",
        arity: -3,
        handler: Handler::Deferred(manage::restore),
        flags: Flags::NOSCRIPT.union(Flags::WRITE).union(Flags::DENYOOM),
        docs: Docs {
            summary: "Adds the libraries of a payload.",
            complexity: "O(N) where N is the number of functions on the payload",
            arguments: &[
                Argument::new("serialized-value", "string"),
                Argument::one_of(
                    "policy",
                    &[
                        Argument::word("flush", "FLUSH"),
                        Argument::word("append", "APPEND"),
                        Argument::word("replace", "REPLACE"),
                    ],
                )
                .optional(),
            ],
            ..DOCS
        },
        ..CHANGE
    },
    CommandSpec {
        name: "function|stats",
        arity: 2,
        handler: Handler::Control(show::stats),
        flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
        tips: &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        docs: Docs {
            summary: "Shows which function runs, and how many there are.",
            complexity: "O(1)",
            ..DOCS
        },
        ..PART
    },
];
