//! The part of the command table that is about scripts.

use super::{keys_of_script, manage, run};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// Said of the keys of `EVAL`.
const NOTE: &str = "A script can't be looked into: it is taken to read and change its keys, as they may be called with either.";

/// `EVAL` and its family.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "eval",
        arity: -3,
        handler: Handler::Script(run::eval),
        flags: Flags::MAY_REPLICATE
            .union(Flags::NOSCRIPT)
            .union(Flags::STALE)
            .union(Flags::SKIP_MONITOR)
            .union(Flags::NO_MANDATORY_KEYS)
            .union(Flags::MOVABLEKEYS),
        categories: Categories::SCRIPTING,
        keys: Keys::Found(keys_of_script),
        key_specs: &[KeySpec::counted(
            KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE),
            2,
        )
        .noted(NOTE)],
        docs: Docs {
            summary: "Executes a Lua script.",
            since: "2.6.0",
            group: "scripting",
            complexity: "Depends on the script that is executed.",
            arguments: &[
                Argument::new("script", "string"),
                Argument::new("numkeys", "integer"),
                Argument::key("key").flagged(&["optional", "multiple"]),
                Argument::new("arg", "string").flagged(&["optional", "multiple"]),
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "eval_ro",
        arity: -3,
        handler: Handler::Script(run::eval_ro),
        flags: Flags::READONLY
            .union(Flags::NOSCRIPT)
            .union(Flags::STALE)
            .union(Flags::SKIP_MONITOR)
            .union(Flags::NO_MANDATORY_KEYS)
            .union(Flags::MOVABLEKEYS),
        categories: Categories::SCRIPTING,
        keys: Keys::Found(keys_of_script),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 2).noted(NOTE)],
        docs: Docs {
            summary: "Executes a Lua script that only reads.",
            since: "7.0.0",
            group: "scripting",
            complexity: "Depends on the script that is executed.",
            arguments: &[
                Argument::new("script", "string"),
                Argument::new("numkeys", "integer"),
                Argument::key("key").flagged(&["optional", "multiple"]),
                Argument::new("arg", "string").flagged(&["optional", "multiple"]),
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "evalsha",
        arity: -3,
        handler: Handler::Script(run::evalsha),
        flags: Flags::MAY_REPLICATE
            .union(Flags::NOSCRIPT)
            .union(Flags::STALE)
            .union(Flags::SKIP_MONITOR)
            .union(Flags::NO_MANDATORY_KEYS)
            .union(Flags::MOVABLEKEYS),
        categories: Categories::SCRIPTING,
        keys: Keys::Found(keys_of_script),
        key_specs: &[KeySpec::counted(
            KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE),
            2,
        )],
        docs: Docs {
            summary: "Executes a script that is known by its name.",
            since: "2.6.0",
            group: "scripting",
            complexity: "Depends on the script that is executed.",
            arguments: &[
                Argument::new("sha1", "string"),
                Argument::new("numkeys", "integer"),
                Argument::key("key").flagged(&["optional", "multiple"]),
                Argument::new("arg", "string").flagged(&["optional", "multiple"]),
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "evalsha_ro",
        arity: -3,
        handler: Handler::Script(run::evalsha_ro),
        flags: Flags::READONLY
            .union(Flags::NOSCRIPT)
            .union(Flags::STALE)
            .union(Flags::SKIP_MONITOR)
            .union(Flags::NO_MANDATORY_KEYS)
            .union(Flags::MOVABLEKEYS),
        categories: Categories::SCRIPTING,
        keys: Keys::Found(keys_of_script),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 2)],
        docs: Docs {
            summary: "Executes a script that is known by its name and only reads.",
            since: "7.0.0",
            group: "scripting",
            complexity: "Depends on the script that is executed.",
            arguments: &[
                Argument::new("sha1", "string"),
                Argument::new("numkeys", "integer"),
                Argument::key("key").flagged(&["optional", "multiple"]),
                Argument::new("arg", "string").flagged(&["optional", "multiple"]),
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "script",
        arity: -2,
        handler: Handler::Container,
        flags: Flags::empty(),
        categories: Categories::empty(),
        docs: Docs {
            summary: "Commands about scripts.",
            since: "2.6.0",
            group: "scripting",
            complexity: "Depends on subcommand.",
            ..Docs::NEW
        },
        subcommands: SUBCOMMANDS,
        ..CommandSpec::NEW
    },
];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "script|debug",
        arity: 3,
        handler: Handler::Control(manage::debug),
        flags: Flags::NOSCRIPT,
        categories: Categories::SCRIPTING,
        docs: Docs {
            summary: "Chooses how scripts are debugged.",
            since: "3.2.0",
            group: "scripting",
            complexity: "O(1)",
            arguments: &[Argument::one_of(
                "mode",
                &[
                    Argument::word("yes", "YES"),
                    Argument::word("sync", "SYNC"),
                    Argument::word("no", "NO"),
                ],
            )],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "script|exists",
        arity: -3,
        handler: Handler::Control(manage::exists),
        flags: Flags::NOSCRIPT,
        categories: Categories::SCRIPTING,
        tips: &[
            "request_policy:all_shards",
            "response_policy:agg_logical_and",
        ],
        docs: Docs {
            summary: "Tells which scripts are known.",
            since: "2.6.0",
            group: "scripting",
            complexity: "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
            arguments: &[Argument::new("sha1", "string").flagged(&["multiple"])],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "script|flush",
        arity: -2,
        handler: Handler::Deferred(manage::flush),
        flags: Flags::NOSCRIPT,
        categories: Categories::SCRIPTING,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        docs: Docs {
            summary: "Forgets all scripts.",
            since: "2.6.0",
            group: "scripting",
            complexity: "O(N) with N being the number of scripts in cache",
            history: &[("6.2.0", "Takes ASYNC and SYNC.")],
            arguments: &[Argument::one_of(
                "async",
                &[
                    Argument::word("async", "ASYNC"),
                    Argument::word("sync", "SYNC"),
                ],
            )
            .since("6.2.0")
            .optional()],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "script|help",
        arity: 2,
        handler: Handler::Control(manage::help),
        flags: Flags::LOADING.union(Flags::STALE),
        categories: Categories::SCRIPTING,
        docs: Docs {
            summary: "Lists the subcommands.",
            since: "5.0.0",
            group: "scripting",
            complexity: "O(1)",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "script|kill",
        arity: 2,
        handler: Handler::Control(manage::kill),
        flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
        categories: Categories::SCRIPTING,
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        docs: Docs {
            summary: "Stops a script that runs for long.",
            since: "2.6.0",
            group: "scripting",
            complexity: "O(1)",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "script|load",
        arity: 3,
        handler: Handler::Deferred(manage::load),
        flags: Flags::NOSCRIPT.union(Flags::STALE),
        categories: Categories::SCRIPTING,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        docs: Docs {
            summary: "Keeps a script, to be called by its name.",
            since: "2.6.0",
            group: "scripting",
            complexity: "O(N) with N being the length in bytes of the script body.",
            arguments: &[Argument::new("script", "string")],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];
