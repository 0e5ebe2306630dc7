//! Table of the memory commands.

use super::{doctor, help, malloc_stats, purge, stats, usage};
use crate::commands::spec::{
    Argument, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys, Locks,
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "memory",
    arity: -2,
    docs: Docs {
        summary: "Tells where memory goes.",
        since: "4.0.0",
        group: "server",
        complexity: "Depends on subcommand.",
        ..Docs::NEW
    },
    subcommands: &[
        CommandSpec {
            name: "memory|doctor",
            arity: 2,
            handler: Handler::Control(doctor),
            locks: Locks::All,
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Judges the use of memory, in words.",
                since: "4.0.0",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "memory|help",
            arity: 2,
            handler: Handler::Control(help),
            flags: Flags::LOADING.union(Flags::STALE),
            docs: Docs {
                summary: "Lists the subcommands.",
                since: "4.0.0",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "memory|malloc-stats",
            arity: 2,
            handler: Handler::Deferred(malloc_stats),
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Shows the allocator's own report.",
                since: "4.0.0",
                group: "server",
                complexity: "Depends on how much memory is allocated, could be slow",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "memory|purge",
            arity: 2,
            handler: Handler::Deferred(purge),
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            docs: Docs {
                summary: "Returns free memory to the operating system.",
                since: "4.0.0",
                group: "server",
                complexity: "Depends on how much memory is allocated, could be slow",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "memory|stats",
            arity: 2,
            handler: Handler::Control(stats),
            locks: Locks::All,
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Tells how memory is used, in numbers.",
                since: "4.0.0",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "memory|usage",
            arity: -3,
            handler: Handler::Data(usage),
            flags: Flags::READONLY,
            keys: Keys::SECOND,
            key_specs: &[KeySpec {
                flags: KeyFlags::RO,
                index: 2,
                last: 0,
                step: 1,
                limit: 0,
                notes: "",
            }],
            docs: Docs {
                summary: "Tells how much memory a key takes.",
                since: "4.0.0",
                group: "server",
                complexity: "O(N) where N is the number of samples.",
                arguments: &[
                    Argument {
                        name: "key",
                        kind: "key",
                        key_spec_index: Some(0),
                        ..Argument::NEW
                    },
                    Argument {
                        name: "count",
                        kind: "integer",
                        token: "SAMPLES",
                        flags: &["optional"],
                        ..Argument::NEW
                    },
                ],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
    ],
    ..CommandSpec::NEW
}];
