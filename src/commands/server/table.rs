//! Table of the server commands.

use super::{background_save, last_save, lolwut, monitor, rewrite_log, role, save, shutdown, time};
use crate::commands::spec::{Argument, Categories, CommandSpec, Docs, Flags, Handler};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "time",
        handler: Handler::Control(time),
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Tells the server's time.",
            since: "2.6.0",
            group: "server",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "lastsave",
        handler: Handler::Control(last_save),
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        categories: Categories::ADMIN.union(Categories::DANGEROUS),
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Tells when the last checkpoint was finished.",
            group: "server",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "save",
        handler: Handler::Deferred(save),
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::NO_ASYNC_LOADING)
            .union(Flags::NO_MULTI),
        docs: Docs {
            summary: "Makes a checkpoint and waits for it.",
            group: "server",
            complexity: "O(N) where N is the total number of keys in all databases",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "bgsave",
        arity: -1,
        handler: Handler::Control(background_save),
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::NO_ASYNC_LOADING),
        docs: Docs {
            summary: "Makes a checkpoint in the background.",
            group: "server",
            history: &[("3.2.2", "The option `SCHEDULE`.")],
            arguments: &[Argument {
                name: "schedule",
                kind: "pure-token",
                token: "SCHEDULE",
                since: "3.2.2",
                flags: &["optional"],
                ..Argument::NEW
            }],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "bgrewriteaof",
        handler: Handler::Control(rewrite_log),
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::NO_ASYNC_LOADING),
        docs: Docs {
            summary: "Makes a checkpoint in the background, so that the log before it can go.",
            group: "server",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "shutdown",
        arity: -1,
        handler: Handler::Deferred(shutdown),
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::NO_MULTI)
            .union(Flags::ALLOW_BUSY),
        docs: Docs {
            summary: "Stops the server.",
            group: "server",
            complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
            history: &[("7.0.0", "The options `NOW`, `FORCE` and `ABORT`.")],
            arguments: &[
                Argument {
                    name: "nosave_save",
                    kind: "oneof",
                    flags: &["optional"],
                    arguments: &[
                        Argument {
                            name: "nosave",
                            kind: "pure-token",
                            token: "NOSAVE",
                            ..Argument::NEW
                        },
                        Argument {
                            name: "save",
                            kind: "pure-token",
                            token: "SAVE",
                            ..Argument::NEW
                        },
                    ],
                    ..Argument::NEW
                },
                Argument {
                    name: "now",
                    kind: "pure-token",
                    token: "NOW",
                    since: "7.0.0",
                    flags: &["optional"],
                    ..Argument::NEW
                },
                Argument {
                    name: "force",
                    kind: "pure-token",
                    token: "FORCE",
                    since: "7.0.0",
                    flags: &["optional"],
                    ..Argument::NEW
                },
                Argument {
                    name: "abort",
                    kind: "pure-token",
                    token: "ABORT",
                    since: "7.0.0",
                    flags: &["optional"],
                    ..Argument::NEW
                },
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "lolwut",
        arity: -1,
        handler: Handler::Control(lolwut),
        flags: Flags::READONLY.union(Flags::FAST),
        docs: Docs {
            summary: "Shows a picture and the version.",
            since: "5.0.0",
            group: "server",
            complexity: "",
            arguments: &[Argument {
                name: "version",
                kind: "integer",
                token: "VERSION",
                flags: &["optional"],
                ..Argument::NEW
            }],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "role",
        handler: Handler::Control(role),
        flags: Flags::NOSCRIPT
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::FAST),
        categories: Categories::ADMIN.union(Categories::DANGEROUS),
        docs: Docs {
            summary: "Tells whether the server is a master, a replica or a sentinel.",
            since: "2.8.12",
            group: "server",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "monitor",
        handler: Handler::Control(monitor),
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE),
        docs: Docs {
            summary: "Shows every command the server executes.",
            group: "server",
            complexity: "",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];
