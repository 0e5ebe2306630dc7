//! The part of the command table for groups: `XGROUP`, and `XINFO`.

use super::table::{DOCS, STREAM};
use super::{group, info};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

const KEY: Argument = Argument::key("key");
const GROUP: Argument = Argument::new("groupname", "string");
const CONSUMER: Argument = Argument::new("consumername", "string");
const ID: Argument = Argument::one_of(
    "id",
    &[Argument::new("id", "string"), Argument::word("new_id", "$")],
);
const ENTRIES_READ: Argument = Argument::new("entries_read", "integer")
    .after("ENTRIESREAD")
    .optional();

const fn key(flags: KeyFlags) -> KeySpec {
    KeySpec::range(KeyFlags::RW.union(flags), 2, 0, 1)
}

const READ: &[KeySpec] = &[KeySpec::range(
    KeyFlags::RO.union(KeyFlags::ACCESS),
    2,
    0,
    1,
)];

const CONTAINER: CommandSpec = CommandSpec {
    categories: Categories::empty(),
    arity: -2,
    ..STREAM
};

/// `HELP` of a container.
const HELP: CommandSpec = CommandSpec {
    arity: 2,
    flags: Flags::LOADING.union(Flags::STALE),
    docs: Docs {
        summary: "Explains the subcommands.",
        ..DOCS
    },
    ..STREAM
};

/// The commands about groups.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xgroup",
        docs: Docs {
            summary: "Makes and removes groups and their consumers.",
            complexity: "Depends on subcommand.",
            ..DOCS
        },
        subcommands: GROUP_COMMANDS,
        ..CONTAINER
    },
    CommandSpec {
        name: "xinfo",
        docs: Docs {
            summary: "Tells about streams, groups and consumers.",
            complexity: "Depends on subcommand.",
            ..DOCS
        },
        subcommands: INFO_COMMANDS,
        ..CONTAINER
    },
];

static GROUP_COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xgroup|create",
        arity: -5,
        handler: Handler::Data(group::create),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::SECOND,
        key_specs: &[key(KeyFlags::INSERT)],
        docs: Docs {
            summary: "Makes a group that reads what comes after an id.",
            history: &[("7.0.0", "Takes how many entries the group has read.")],
            arguments: &[
                KEY,
                GROUP,
                ID,
                Argument::word("mkstream", "MKSTREAM").optional(),
                ENTRIES_READ,
            ],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xgroup|createconsumer",
        arity: 5,
        handler: Handler::Data(group::createconsumer),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::SECOND,
        key_specs: &[key(KeyFlags::INSERT)],
        docs: Docs {
            summary: "Makes a consumer in a group.",
            since: "6.2.0",
            arguments: &[KEY, GROUP, CONSUMER],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xgroup|delconsumer",
        arity: 5,
        handler: Handler::Data(group::delconsumer),
        flags: Flags::WRITE,
        keys: Keys::SECOND,
        key_specs: &[key(KeyFlags::DELETE)],
        docs: Docs {
            summary: "Removes a consumer with what is pending for it.",
            arguments: &[KEY, GROUP, CONSUMER],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xgroup|destroy",
        arity: 4,
        handler: Handler::Data(group::destroy),
        flags: Flags::WRITE,
        keys: Keys::SECOND,
        key_specs: &[key(KeyFlags::DELETE)],
        docs: Docs {
            summary: "Removes a group.",
            complexity: "O(N) where N is the number of entries in the group's pending entries list (PEL).",
            arguments: &[KEY, GROUP],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xgroup|help",
        handler: Handler::Control(group::show_help),
        ..HELP
    },
    CommandSpec {
        name: "xgroup|setid",
        arity: -5,
        handler: Handler::Data(group::setid),
        flags: Flags::WRITE,
        keys: Keys::SECOND,
        key_specs: &[key(KeyFlags::UPDATE)],
        docs: Docs {
            summary: "Lets a group go on after another id.",
            history: &[("7.0.0", "Takes how many entries the group has read.")],
            arguments: &[KEY, GROUP, ID, ENTRIES_READ],
            ..DOCS
        },
        ..STREAM
    },
];

static INFO_COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xinfo|consumers",
        arity: 4,
        handler: Handler::Data(info::consumers),
        flags: Flags::READONLY,
        keys: Keys::SECOND,
        key_specs: READ,
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Lists the consumers of a group.",
            arguments: &[KEY, GROUP],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xinfo|groups",
        arity: 3,
        handler: Handler::Data(info::groups),
        flags: Flags::READONLY,
        keys: Keys::SECOND,
        key_specs: READ,
        docs: Docs {
            summary: "Lists the groups of a stream.",
            history: &[(
                "7.0.0",
                "Tells how many entries a group has read, and how many it has not.",
            )],
            arguments: &[KEY],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xinfo|help",
        handler: Handler::Control(info::show_help),
        ..HELP
    },
    CommandSpec {
        name: "xinfo|stream",
        arity: -3,
        handler: Handler::Data(info::show_stream),
        flags: Flags::READONLY,
        keys: Keys::SECOND,
        key_specs: READ,
        docs: Docs {
            summary: "Tells about a stream.",
            history: &[
                ("6.0.0", "Knows `FULL`."),
                (
                    "7.0.0",
                    "Tells how many entries were added, the highest id deleted and the first, and where groups are.",
                ),
            ],
            arguments: &[
                KEY,
                Argument::block("full", &[COUNT]).after("FULL").optional(),
            ],
            ..DOCS
        },
        ..STREAM
    },
];

const COUNT: Argument = Argument::new("count", "integer").after("COUNT").optional();
