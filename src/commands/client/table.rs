//! The subcommands of CLIENT as data.

use crate::commands::{Argument, Categories, CommandSpec, Docs, Flags, Handler};

/// Most subcommands: about the own connection.
const OWN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
/// Those that touch others.
const ADMIN: Flags = OWN.union(Flags::ADMIN);

const DOCS: Docs = Docs {
    group: "connection",
    ..Docs::NEW
};

/// The usual subcommand.
const SUBCOMMAND: CommandSpec = CommandSpec {
    arity: 2,
    flags: OWN,
    categories: Categories::CONNECTION,
    ..CommandSpec::NEW
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "client",
    arity: -2,
    handler: Handler::Container,
    docs: Docs {
        summary: "Commands about connections.",
        since: "2.4.0",
        complexity: "Depends on the subcommand.",
        ..DOCS
    },
    subcommands: SUBCOMMANDS,
    ..CommandSpec::NEW
}];

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "client|caching",
        arity: 3,
        handler: Handler::Control(super::tracking::caching),
        docs: Docs {
            summary: "Has the keys of the next command tracked, or not.",
            since: "6.0.0",
            arguments: &[Argument::one_of(
                "mode",
                &[token("yes", "YES"), token("no", "NO")],
            )],
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|getname",
        handler: Handler::Control(super::getname),
        docs: Docs {
            summary: "Tells the name of this connection.",
            since: "2.6.9",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|getredir",
        handler: Handler::Control(super::tracking::redirection),
        docs: Docs {
            summary: "Tells which client gets the invalidations of keys this connection tracks.",
            since: "6.0.0",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|help",
        handler: Handler::Control(super::help),
        flags: Flags::LOADING.union(Flags::STALE),
        docs: Docs {
            summary: "Lists the subcommands.",
            since: "5.0.0",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|id",
        handler: Handler::Control(super::id),
        docs: Docs {
            summary: "Tells the id of this connection.",
            since: "5.0.0",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|info",
        handler: Handler::Control(super::list::info),
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Describes this connection.",
            since: "6.2.0",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|kill",
        arity: -3,
        handler: Handler::Control(super::kill::kill),
        flags: ADMIN,
        docs: Docs {
            summary: "Closes connections.",
            since: "2.4.0",
            complexity: "O(N), N being the number of connections",
            history: &[
                ("2.8.12", "Takes filters."),
                ("2.8.12", "Filter `ID`."),
                ("3.2.0", "`TYPE` can be `master`."),
                (
                    "5.0.0",
                    "`TYPE` calls a `slave` `replica`, and still takes the old word.",
                ),
                ("6.2.0", "Filter `LADDR`."),
            ],
            arguments: KILL_ARGUMENTS,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|list",
        arity: -2,
        handler: Handler::Deferred(super::list::list),
        flags: ADMIN,
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Describes all connections, a line for each.",
            since: "2.4.0",
            complexity: "O(N), N being the number of connections",
            history: &[
                ("2.8.12", "Field `id`, unique for each connection."),
                ("5.0.0", "Filter `TYPE`."),
                ("6.0.0", "Field `user`."),
                (
                    "6.2.0",
                    "Fields `argv-mem`, `tot-mem`, `laddr` and `redir`, and the filter `ID`.",
                ),
                ("7.0.0", "Fields `resp`, `multi-mem`, `rbs` and `rbp`."),
                ("7.0.3", "Field `ssub`."),
            ],
            arguments: LIST_ARGUMENTS,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|no-evict",
        arity: 3,
        handler: Handler::Control(super::no_evict),
        flags: ADMIN,
        docs: Docs {
            summary: "Spares this connection when clients use too much memory, or no longer.",
            since: "7.0.0",
            arguments: &[ON_OR_OFF],
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|no-touch",
        arity: 3,
        handler: Handler::Control(super::no_touch),
        docs: Docs {
            summary: "Makes commands of this connection not count as use of their keys, or count again.",
            since: "7.2.0",
            arguments: &[ON_OR_OFF],
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|pause",
        arity: -3,
        handler: Handler::Control(super::pause),
        flags: ADMIN,
        docs: Docs {
            summary: "Makes commands of all clients wait, or only those that write.",
            since: "2.9.50",
            history: &[("6.2.0", "Option `mode`, with `WRITE`.")],
            arguments: PAUSE_ARGUMENTS,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|reply",
        arity: 3,
        handler: Handler::Control(super::reply),
        docs: Docs {
            summary: "Chooses whether commands of this connection are answered.",
            since: "3.2.0",
            arguments: &[Argument {
                name: "on_off_skip",
                kind: "oneof",
                arguments: &[
                    token("on", "ON"),
                    token("off", "OFF"),
                    token("skip", "SKIP"),
                ],
                ..Argument::NEW
            }],
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|setinfo",
        arity: 4,
        handler: Handler::Control(super::setinfo),
        docs: Docs {
            summary: "Tells the server the name or version of this connection's client library.",
            since: "7.2.0",
            arguments: SETINFO_ARGUMENTS,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|setname",
        arity: 3,
        handler: Handler::Control(super::setname),
        docs: Docs {
            summary: "Names this connection.",
            since: "2.6.9",
            arguments: &[Argument {
                name: "connection-name",
                ..Argument::NEW
            }],
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|tracking",
        arity: -3,
        handler: Handler::Control(super::tracking::tracking),
        docs: Docs {
            summary: "Turns on or off that this connection is told when keys change that it has read.",
            since: "6.0.0",
            complexity: "O(1); some options take longer",
            arguments: TRACKING_ARGUMENTS,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|trackinginfo",
        handler: Handler::Control(super::tracking::info),
        docs: Docs {
            summary: "Tells how this connection tracks keys for a cache of its own.",
            since: "6.2.0",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|unblock",
        arity: -3,
        handler: Handler::Control(super::unblock),
        flags: ADMIN,
        docs: Docs {
            summary: "Ends a command of another connection that waits for data.",
            since: "5.0.0",
            complexity: "O(log N), N being the number of connections",
            arguments: UNBLOCK_ARGUMENTS,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "client|unpause",
        handler: Handler::Control(super::unpause),
        flags: ADMIN,
        docs: Docs {
            summary: "Ends a pause.",
            since: "6.2.0",
            complexity: "O(N), N being the number of connections that wait",
            ..DOCS
        },
        ..SUBCOMMAND
    },
];

const fn token(name: &'static str, token: &'static str) -> Argument {
    Argument {
        name,
        kind: "pure-token",
        token,
        ..Argument::NEW
    }
}

const TRACKING_ARGUMENTS: &[Argument] = &[
    Argument::one_of("status", &[token("on", "ON"), token("off", "OFF")]),
    Argument::new("client-id", "integer")
        .after("REDIRECT")
        .optional(),
    Argument::new("prefix", "string").after("PREFIX").flagged(&[
        "optional",
        "multiple",
        "multiple_token",
    ]),
    token("bcast", "BCAST").optional(),
    token("optin", "OPTIN").optional(),
    token("optout", "OPTOUT").optional(),
    token("noloop", "NOLOOP").optional(),
];

const ON_OR_OFF: Argument = Argument {
    name: "enabled",
    kind: "oneof",
    arguments: &[token("on", "ON"), token("off", "OFF")],
    ..Argument::NEW
};

const KILL_ARGUMENTS: &[Argument] = &[Argument {
    name: "filter",
    kind: "oneof",
    arguments: &[
        Argument {
            name: "ip:port",
            deprecated_since: "2.8.12",
            ..Argument::NEW
        },
        Argument {
            name: "new-format",
            kind: "oneof",
            flags: &["multiple"],
            arguments: KILL_FILTERS,
            ..Argument::NEW
        },
    ],
    ..Argument::NEW
}];

const KILL_FILTERS: &[Argument] = &[
    Argument {
        name: "client-id",
        kind: "integer",
        token: "ID",
        since: "2.8.12",
        flags: &["optional"],
        ..Argument::NEW
    },
    Argument {
        name: "normal_master_slave_pubsub",
        kind: "oneof",
        token: "TYPE",
        since: "2.8.12",
        flags: &["optional"],
        arguments: &[
            token("normal", "NORMAL"),
            Argument {
                since: "3.2.0",
                ..token("master", "MASTER")
            },
            token("slave", "SLAVE"),
            Argument {
                since: "5.0.0",
                ..token("replica", "REPLICA")
            },
            token("pubsub", "PUBSUB"),
        ],
        ..Argument::NEW
    },
    Argument {
        name: "username",
        token: "USER",
        flags: &["optional"],
        ..Argument::NEW
    },
    Argument {
        name: "ip:port",
        token: "ADDR",
        flags: &["optional"],
        ..Argument::NEW
    },
    Argument {
        name: "ip:port",
        token: "LADDR",
        since: "6.2.0",
        flags: &["optional"],
        ..Argument::NEW
    },
    Argument {
        name: "yes/no",
        token: "SKIPME",
        flags: &["optional"],
        ..Argument::NEW
    },
];

const LIST_ARGUMENTS: &[Argument] = &[
    Argument {
        name: "normal_master_replica_pubsub",
        kind: "oneof",
        token: "TYPE",
        since: "5.0.0",
        flags: &["optional"],
        arguments: &[
            token("normal", "NORMAL"),
            token("master", "MASTER"),
            token("replica", "REPLICA"),
            token("pubsub", "PUBSUB"),
        ],
        ..Argument::NEW
    },
    Argument {
        name: "id",
        kind: "block",
        token: "ID",
        since: "6.2.0",
        flags: &["optional"],
        arguments: &[Argument {
            name: "client-id",
            kind: "integer",
            flags: &["multiple"],
            ..Argument::NEW
        }],
        ..Argument::NEW
    },
];

const PAUSE_ARGUMENTS: &[Argument] = &[
    Argument {
        name: "timeout",
        kind: "integer",
        ..Argument::NEW
    },
    Argument {
        name: "mode",
        kind: "oneof",
        since: "6.2.0",
        flags: &["optional"],
        arguments: &[token("write", "WRITE"), token("all", "ALL")],
        ..Argument::NEW
    },
];

const SETINFO_ARGUMENTS: &[Argument] = &[Argument {
    name: "attr",
    kind: "oneof",
    arguments: &[
        Argument {
            name: "libname",
            token: "LIB-NAME",
            ..Argument::NEW
        },
        Argument {
            name: "libver",
            token: "LIB-VER",
            ..Argument::NEW
        },
    ],
    ..Argument::NEW
}];

const UNBLOCK_ARGUMENTS: &[Argument] = &[
    Argument {
        name: "client-id",
        kind: "integer",
        ..Argument::NEW
    },
    Argument {
        name: "timeout_error",
        kind: "oneof",
        flags: &["optional"],
        arguments: &[token("timeout", "TIMEOUT"), token("error", "ERROR")],
        ..Argument::NEW
    },
];
