//! Table of the ACL commands.

use super::files::{load_command, save_command};
use super::users::{deluser, getuser, list, setuser, users};
use super::{cat, dryrun, genpass, help, log, whoami};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler};

const PLAIN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = PLAIN.union(Flags::ADMIN);

const DOCS: Docs = Docs {
    since: "6.0.0",
    group: "server",
    ..Docs::NEW
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "acl",
    arity: -2,
    docs: Docs {
        summary: "Manages users and what they may do.",
        complexity: "Depends on subcommand.",
        ..DOCS
    },
    subcommands: &[
        CommandSpec {
            name: "acl|cat",
            arity: -2,
            handler: Handler::Control(cat),
            flags: PLAIN,
            docs: Docs {
                summary: "Lists the categories of commands, or the commands of one.",
                complexity: "O(1) since the categories and commands are a fixed set.",
                arguments: &[Argument::new("categoryname", "string").optional()],
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|deluser",
            arity: -3,
            handler: Handler::Control(deluser),
            flags: ADMIN,
            docs: Docs {
                summary: "Removes users, and closes their connections.",
                complexity: "O(1) amortized time considering the typical user.",
                arguments: &[Argument::new("username", "string").flagged(&["multiple"])],
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|dryrun",
            arity: -4,
            handler: Handler::Control(dryrun),
            flags: ADMIN,
            docs: Docs {
                summary: "Tells whether a user may execute a command, without executing it.",
                since: "7.0.0",
                complexity: "O(1).",
                arguments: &[
                    Argument::new("username", "string"),
                    Argument::new("command", "string"),
                    Argument::new("arg", "string").flagged(&["optional", "multiple"]),
                ],
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|genpass",
            arity: -2,
            handler: Handler::Control(genpass),
            flags: PLAIN,
            docs: Docs {
                summary: "Makes up a password that can't be guessed.",
                arguments: &[Argument::new("bits", "integer").optional()],
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|getuser",
            arity: 3,
            handler: Handler::Control(getuser),
            flags: ADMIN,
            docs: Docs {
                summary: "Describes a user: flags, passwords, permissions.",
                complexity: "O(N). Where N is the number of password, command and pattern rules that the user has.",
                history: &[
                    ("6.2.0", "Tells channel patterns."),
                    ("7.0.0", "Tells selectors; patterns are told as rules."),
                ],
                arguments: &[Argument::new("username", "string")],
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|help",
            arity: 2,
            handler: Handler::Control(help),
            flags: Flags::LOADING.union(Flags::STALE),
            docs: Docs {
                summary: "Lists the subcommands.",
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|list",
            arity: 2,
            handler: Handler::Control(list),
            flags: ADMIN,
            docs: Docs {
                summary: "Lists all users with their rules, as lines of a file.",
                complexity: "O(N). Where N is the number of configured users.",
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|load",
            arity: 2,
            handler: Handler::Deferred(load_command),
            flags: ADMIN,
            docs: Docs {
                summary: "Replaces all users by those of the file.",
                complexity: "O(N). Where N is the number of configured users.",
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|log",
            arity: -2,
            handler: Handler::Control(log),
            flags: ADMIN,
            docs: Docs {
                summary: "Tells what was refused lately, or forgets it.",
                complexity: "O(N) with N being the number of entries shown.",
                arguments: &[Argument::one_of(
                    "operation",
                    &[
                        Argument::new("count", "integer"),
                        Argument::word("reset", "RESET"),
                    ],
                )
                .optional()],
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|save",
            arity: 2,
            handler: Handler::Deferred(save_command),
            flags: ADMIN,
            docs: Docs {
                summary: "Writes all users to the file.",
                complexity: "O(N). Where N is the number of configured users.",
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|setuser",
            arity: -3,
            handler: Handler::Control(setuser),
            flags: ADMIN,
            docs: Docs {
                summary: "Adds a user, or changes its rules.",
                complexity: "O(N). Where N is the number of rules provided.",
                history: &[
                    ("6.2.0", "Rules for channels."),
                    (
                        "7.0.0",
                        "Selectors, and rules for reading and writing keys.",
                    ),
                ],
                arguments: &[
                    Argument::new("username", "string"),
                    Argument::new("rule", "string").flagged(&["optional", "multiple"]),
                ],
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|users",
            arity: 2,
            handler: Handler::Control(users),
            flags: ADMIN,
            docs: Docs {
                summary: "Lists the names of all users.",
                complexity: "O(N). Where N is the number of configured users.",
                ..DOCS
            },
            ..CommandSpec::NEW
        },
        CommandSpec {
            name: "acl|whoami",
            arity: 2,
            handler: Handler::Control(whoami),
            flags: PLAIN,
            docs: Docs {
                summary: "Tells which user the connection is logged in as.",
                ..DOCS
            },
            ..CommandSpec::NEW
        },
    ],
    ..CommandSpec::NEW
}];
