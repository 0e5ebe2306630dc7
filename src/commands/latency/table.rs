//! Table of the latency commands.

use super::{doctor, graph, help, histogram, history, latest, reset};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "latency",
    arity: -2,
    docs: Docs {
        summary: "Finds out why commands took long.",
        since: "2.8.13",
        group: "server",
        complexity: "Depends on subcommand.",
        ..Docs::NEW
    },
    subcommands: &[
        CommandSpec {
            name: "latency|doctor",
            arity: 2,
            handler: Handler::Control(doctor),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Explains the latency spikes that were seen, in words.",
                since: "2.8.13",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "latency|graph",
            arity: 3,
            handler: Handler::Control(graph),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Draws the latency of an event.",
                since: "2.8.13",
                group: "server",
                arguments: &[Argument {
                    name: "event",
                    ..Argument::NEW
                }],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "latency|help",
            arity: 2,
            handler: Handler::Control(help),
            flags: Flags::LOADING.union(Flags::STALE),
            docs: Docs {
                summary: "Lists the subcommands.",
                since: "2.8.13",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "latency|histogram",
            arity: -2,
            handler: Handler::Control(histogram),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Tells how long commands took, as cumulative distributions.",
                since: "7.0.0",
                group: "server",
                complexity: "O(N) where N is the number of commands with latency information being retrieved.",
                arguments: &[Argument {
                    name: "command",
                    flags: &["optional", "multiple"],
                    ..Argument::NEW
                }],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "latency|history",
            arity: 3,
            handler: Handler::Control(history),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Lists times and latencies of an event.",
                since: "2.8.13",
                group: "server",
                arguments: &[Argument {
                    name: "event",
                    ..Argument::NEW
                }],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "latency|latest",
            arity: 2,
            handler: Handler::Control(latest),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            docs: Docs {
                summary: "Lists the latest latency spike of every event.",
                since: "2.8.13",
                group: "server",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "latency|reset",
            arity: -2,
            handler: Handler::Control(reset),
            flags: Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            docs: Docs {
                summary: "Forgets the latency spikes of events.",
                since: "2.8.13",
                group: "server",
                arguments: &[Argument {
                    name: "event",
                    flags: &["optional", "multiple"],
                    ..Argument::NEW
                }],
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
    ],
    ..CommandSpec::NEW
}];
