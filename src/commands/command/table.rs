//! COMMAND and its subcommands as data.

use crate::commands::{Argument, Categories, CommandSpec, Docs, Flags, Handler};

const DOCS: Docs = Docs {
    group: "server",
    since: "2.8.13",
    ..Docs::NEW
};

const SUBCOMMAND: CommandSpec = CommandSpec {
    arity: -2,
    flags: Flags::LOADING.union(Flags::STALE),
    categories: Categories::CONNECTION,
    ..CommandSpec::NEW
};

const NAMES: &[Argument] = &[Argument {
    name: "command-name",
    flags: &["optional", "multiple"],
    ..Argument::NEW
}];

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "command",
    arity: -1,
    handler: Handler::Control(super::all),
    flags: Flags::LOADING.union(Flags::STALE),
    categories: Categories::CONNECTION,
    tips: &["nondeterministic_output_order"],
    docs: Docs {
        summary: "Describes all commands.",
        complexity: "O(N), N being the number of commands",
        ..DOCS
    },
    subcommands: SUBCOMMANDS,
    ..CommandSpec::NEW
}];

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "command|count",
        arity: 2,
        handler: Handler::Control(super::count),
        docs: Docs {
            summary: "Tells how many commands there are.",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "command|docs",
        handler: Handler::Control(super::docs),
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Documents commands.",
            since: "7.0.0",
            complexity: "O(N), N being the number of commands asked for",
            arguments: NAMES,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "command|getkeys",
        arity: -4,
        handler: Handler::Control(super::getkeys),
        docs: Docs {
            summary: "Finds the keys among the arguments of a command.",
            complexity: "O(N), N being the number of arguments",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "command|getkeysandflags",
        arity: -4,
        handler: Handler::Control(super::getkeysandflags),
        docs: Docs {
            summary: "Finds the keys among the arguments of a command, and tells what it does with them.",
            since: "7.0.0",
            complexity: "O(N), N being the number of arguments",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "command|help",
        arity: 2,
        handler: Handler::Control(super::help),
        docs: Docs {
            summary: "Lists the subcommands.",
            since: "5.0.0",
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "command|info",
        handler: Handler::Control(super::info),
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Describes commands.",
            complexity: "O(N), N being the number of commands asked for",
            history: &[("7.0.0", "Describes all commands when none is named.")],
            arguments: NAMES,
            ..DOCS
        },
        ..SUBCOMMAND
    },
    CommandSpec {
        name: "command|list",
        handler: Handler::Control(super::list),
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Lists the names of commands.",
            since: "7.0.0",
            complexity: "O(N), N being the number of commands",
            arguments: &[Argument {
                name: "filterby",
                kind: "oneof",
                token: "FILTERBY",
                flags: &["optional"],
                arguments: FILTERS,
                ..Argument::NEW
            }],
            ..DOCS
        },
        ..SUBCOMMAND
    },
];

const FILTERS: &[Argument] = &[
    Argument {
        name: "module-name",
        token: "MODULE",
        ..Argument::NEW
    },
    Argument {
        name: "category",
        token: "ACLCAT",
        ..Argument::NEW
    },
    Argument {
        name: "pattern",
        kind: "pattern",
        token: "PATTERN",
        ..Argument::NEW
    },
];
