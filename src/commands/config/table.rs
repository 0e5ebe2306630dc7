//! Table of the configuration commands.

use super::{get, help, reset_statistics, rewrite, set};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler, Locks};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "config",
    arity: -2,
    docs: Docs {
        summary: "Reads and changes settings.",
        since: "2.0.0",
        group: "server",
        complexity: "Depends on subcommand.",
        ..Docs::NEW
    },
    subcommands: &[
        CommandSpec {
            name: "config|get",
            arity: -3,
            handler: Handler::Control(get),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            docs: Docs {
                summary: "Tells the settings whose names match patterns.",
                since: "2.0.0",
                group: "server",
                complexity: "O(N) when N is the number of configuration parameters provided",
                history: &[("7.0.0", "Several patterns in one call.")],
                arguments: &[Argument {
                    name: "parameter",
                    kind: "block",
                    flags: &["multiple"],
                    arguments: &[Argument {
                        name: "parameter",
                        ..Argument::NEW
                    }],
                    ..Argument::NEW
                }],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "config|set",
            arity: -4,
            handler: Handler::Control(set),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            docs: Docs {
                summary: "Changes settings while the server runs, all of them or none.",
                since: "2.0.0",
                group: "server",
                complexity: "O(N) when N is the number of configuration parameters provided",
                history: &[("7.0.0", "Several settings in one call.")],
                arguments: &[Argument {
                    name: "parameter_value",
                    kind: "block",
                    flags: &["multiple"],
                    arguments: &[
                        Argument {
                            name: "parameter",
                            ..Argument::NEW
                        },
                        Argument {
                            name: "value",
                            ..Argument::NEW
                        },
                    ],
                    ..Argument::NEW
                }],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "config|resetstat",
            arity: 2,
            handler: Handler::Control(reset_statistics),
            locks: Locks::All,
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            docs: Docs {
                summary: "Sets the counters of INFO back to zero.",
                since: "2.0.0",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "config|rewrite",
            arity: 2,
            handler: Handler::Deferred(rewrite),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            docs: Docs {
                summary: "Writes the settings in force to the configuration file.",
                since: "2.8.0",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "config|help",
            arity: 2,
            handler: Handler::Control(help),
            flags: Flags::LOADING.union(Flags::STALE),
            docs: Docs {
                summary: "Lists the subcommands.",
                since: "5.0.0",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
    ],
    ..CommandSpec::NEW
}];
