//! The connection's commands as data.

use crate::commands::{Argument, Categories, CommandSpec, Docs, Flags, Handler};

/// Flags of commands that a client may send in any state.
const ANYTIME: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::NO_AUTH)
    .union(Flags::ALLOW_BUSY);
const WHILE_LOADING: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);

const DOCS: Docs = Docs {
    group: "connection",
    ..Docs::NEW
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "ping",
        arity: -1,
        handler: Handler::Control(super::ping),
        flags: Flags::FAST,
        categories: Categories::CONNECTION,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        docs: Docs {
            summary: "Answers PONG, or the message it is given.",
            arguments: &[Argument {
                name: "message",
                flags: &["optional"],
                ..Argument::NEW
            }],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "echo",
        arity: 2,
        handler: Handler::Control(super::echo),
        flags: WHILE_LOADING,
        categories: Categories::CONNECTION,
        docs: Docs {
            summary: "Answers the message it is given.",
            arguments: &[Argument {
                name: "message",
                ..Argument::NEW
            }],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "select",
        arity: 2,
        handler: Handler::Control(super::select),
        flags: WHILE_LOADING,
        categories: Categories::CONNECTION,
        docs: Docs {
            summary: "Chooses the database of this connection.",
            arguments: &[Argument {
                name: "index",
                kind: "integer",
                ..Argument::NEW
            }],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "quit",
        arity: -1,
        handler: Handler::Control(super::quit),
        flags: ANYTIME,
        categories: Categories::CONNECTION,
        docs: Docs {
            summary: "Closes this connection, once everything before is answered.",
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "reset",
        arity: 1,
        handler: Handler::Control(super::reset),
        flags: ANYTIME,
        categories: Categories::CONNECTION,
        docs: Docs {
            summary: "Puts this connection into the state of a new one.",
            since: "6.2.0",
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "auth",
        arity: -2,
        handler: Handler::Control(super::auth),
        flags: ANYTIME,
        categories: Categories::CONNECTION,
        docs: Docs {
            summary: "Logs in with a password.",
            complexity: "O(N), N being the number of passwords of the user",
            history: &[("6.0.0", "Takes a user's name, too.")],
            arguments: &[
                Argument {
                    name: "username",
                    since: "6.0.0",
                    flags: &["optional"],
                    ..Argument::NEW
                },
                Argument {
                    name: "password",
                    ..Argument::NEW
                },
            ],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "hello",
        arity: -1,
        handler: Handler::Control(super::hello),
        flags: ANYTIME,
        categories: Categories::CONNECTION,
        docs: Docs {
            summary: "Chooses the protocol, logs in, names this connection, and tells about the server.",
            since: "6.0.0",
            history: &[(
                "6.2.0",
                "`protover` is optional: without arguments, it only tells.",
            )],
            arguments: HELLO_ARGUMENTS,
            ..DOCS
        },
        ..CommandSpec::NEW
    },
];

const HELLO_ARGUMENTS: &[Argument] = &[Argument {
    name: "arguments",
    kind: "block",
    flags: &["optional"],
    arguments: &[
        Argument {
            name: "protover",
            kind: "integer",
            ..Argument::NEW
        },
        Argument {
            name: "username_password",
            kind: "block",
            token: "AUTH",
            flags: &["optional"],
            arguments: &[
                Argument {
                    name: "username",
                    ..Argument::NEW
                },
                Argument {
                    name: "password",
                    ..Argument::NEW
                },
            ],
            ..Argument::NEW
        },
        Argument {
            name: "clientname",
            token: "SETNAME",
            flags: &["optional"],
            ..Argument::NEW
        },
    ],
    ..Argument::NEW
}];
