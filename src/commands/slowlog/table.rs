//! Table of the slow log commands.

use super::{get, help, len, reset};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "slowlog",
    arity: -2,
    docs: Docs {
        summary: "Shows commands that took long.",
        since: "2.2.12",
        group: "server",
        complexity: "Depends on subcommand.",
        ..Docs::NEW
    },
    subcommands: &[
        CommandSpec {
            name: "slowlog|get",
            arity: -2,
            handler: Handler::Control(get),
            flags: Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE),
            tips: &["request_policy:all_nodes", "nondeterministic_output"],
            docs: Docs {
                summary: "Lists the latest slow commands.",
                since: "2.2.12",
                group: "server",
                complexity: "O(N) where N is the number of entries returned",
                history: &[("4.0.0", "Address and name of the client.")],
                arguments: &[Argument {
                    name: "count",
                    kind: "integer",
                    flags: &["optional"],
                    ..Argument::NEW
                }],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "slowlog|len",
            arity: 2,
            handler: Handler::Control(len),
            flags: Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE),
            tips: &[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ],
            docs: Docs {
                summary: "Counts the commands in the slow log.",
                since: "2.2.12",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "slowlog|reset",
            arity: 2,
            handler: Handler::Control(reset),
            flags: Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE),
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            docs: Docs {
                summary: "Empties the slow log.",
                since: "2.2.12",
                group: "server",
                complexity: "O(N) where N is the number of entries in the slowlog",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "slowlog|help",
            arity: 2,
            handler: Handler::Control(help),
            flags: Flags::LOADING.union(Flags::STALE),
            docs: Docs {
                summary: "Lists the subcommands.",
                since: "6.2.0",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
    ],
    ..CommandSpec::NEW
}];
