//! The set commands' part of the command table.

use super::{algebra, members, random};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// What all set commands share.
const SET: CommandSpec = CommandSpec {
    categories: Categories::SET,
    ..CommandSpec::NEW
};

/// What the documentation of most set commands shares.
const DOCS: Docs = Docs {
    group: "set",
    ..Docs::NEW
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "sadd",
        arity: -3,
        handler: Handler::Data(members::sadd),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RW.union(KeyFlags::INSERT),
            1,
            0,
            1,
        )],
        docs: Docs {
            summary: "Adds members, and makes the set if there is none.",
            complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            history: &[("2.4.0", "Takes more than one member.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string").flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "scard",
        arity: 2,
        handler: Handler::Data(members::scard),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(KeyFlags::RO, 1, 0, 1)],
        docs: Docs {
            summary: "Tells how many members a set has.",
            complexity: "O(1)",
            arguments: &[Argument::key("key")],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sdiff",
        arity: -2,
        handler: Handler::Data(algebra::sdiff),
        flags: Flags::READONLY,
        keys: Keys::ALL,
        key_specs: &[KeySpec::range(
            KeyFlags::RO.union(KeyFlags::ACCESS),
            1,
            -1,
            1,
        )],
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Returns the members of the first set that are in none of the others.",
            complexity: "O(N) where N is the total number of elements in all given sets.",
            arguments: &[Argument::key("key").flagged(&["multiple"])],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sdiffstore",
        arity: -3,
        handler: Handler::Data(algebra::sdiffstore),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::ALL,
        key_specs: &[
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 1, 0, 1),
            KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 2, -1, 1),
        ],
        docs: Docs {
            summary: "Keeps the members of the first set that are in none of the others as a new set.",
            complexity: "O(N) where N is the total number of elements in all given sets.",
            arguments: &[
                Argument::key("destination"),
                Argument {
                    key_spec_index: Some(1),
                    ..Argument::new("key", "key")
                }
                .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sinter",
        arity: -2,
        handler: Handler::Data(algebra::sinter),
        flags: Flags::READONLY,
        keys: Keys::ALL,
        key_specs: &[KeySpec::range(
            KeyFlags::RO.union(KeyFlags::ACCESS),
            1,
            -1,
            1,
        )],
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Returns the members that all sets have.",
            complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
            arguments: &[Argument::key("key").flagged(&["multiple"])],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sintercard",
        arity: -3,
        handler: Handler::Data(algebra::sintercard),
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_of_sintercard),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 1)],
        docs: Docs {
            summary: "Counts the members that all sets have.",
            since: "7.0.0",
            complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
            arguments: &[
                Argument::new("numkeys", "integer"),
                Argument::key("key").flagged(&["multiple"]),
                Argument::new("limit", "integer").after("LIMIT").optional(),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sinterstore",
        arity: -3,
        handler: Handler::Data(algebra::sinterstore),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::ALL,
        key_specs: &[
            KeySpec::range(KeyFlags::RW.union(KeyFlags::UPDATE), 1, 0, 1),
            KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 2, -1, 1),
        ],
        docs: Docs {
            summary: "Keeps the members that all sets have as a new set.",
            complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
            arguments: &[
                Argument::key("destination"),
                Argument {
                    key_spec_index: Some(1),
                    ..Argument::new("key", "key")
                }
                .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sismember",
        arity: 3,
        handler: Handler::Data(members::sismember),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(KeyFlags::RO, 1, 0, 1)],
        docs: Docs {
            summary: "Tells whether a set has a member.",
            complexity: "O(1)",
            arguments: &[Argument::key("key"), Argument::new("member", "string")],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "smembers",
        arity: 2,
        handler: Handler::Data(members::smembers),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RO.union(KeyFlags::ACCESS),
            1,
            0,
            1,
        )],
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Returns all members.",
            complexity: "O(N) where N is the set cardinality.",
            arguments: &[Argument::key("key")],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "smismember",
        arity: -3,
        handler: Handler::Data(members::smismember),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RO.union(KeyFlags::ACCESS),
            1,
            0,
            1,
        )],
        docs: Docs {
            summary: "Tells for each of several members whether a set has it.",
            since: "6.2.0",
            complexity: "O(N) where N is the number of elements being checked for membership",
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string").flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "smove",
        arity: 4,
        handler: Handler::Data(members::smove),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::Range {
            first: 1,
            last: 2,
            step: 1,
        },
        key_specs: &[
            KeySpec::range(
                KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE),
                1,
                0,
                1,
            ),
            KeySpec::range(KeyFlags::RW.union(KeyFlags::INSERT), 2, 0, 1),
        ],
        docs: Docs {
            summary: "Moves a member from one set to another.",
            complexity: "O(1)",
            arguments: &[
                Argument::key("source"),
                Argument {
                    key_spec_index: Some(1),
                    ..Argument::new("destination", "key")
                },
                Argument::new("member", "string"),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "spop",
        arity: -2,
        handler: Handler::Data(random::spop),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE),
            1,
            0,
            1,
        )],
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Takes members out at random, and the key with the last of them.",
            complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
            history: &[("3.2.0", "Takes a count.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("count", "integer").since("3.2.0").optional(),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "srandmember",
        arity: -2,
        handler: Handler::Data(random::srandmember),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RO.union(KeyFlags::ACCESS),
            1,
            0,
            1,
        )],
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Returns members chosen at random.",
            complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
            history: &[("2.6.0", "Takes a count, which may be negative.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("count", "integer").since("2.6.0").optional(),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "srem",
        arity: -3,
        handler: Handler::Data(members::srem),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RW.union(KeyFlags::DELETE),
            1,
            0,
            1,
        )],
        docs: Docs {
            summary: "Removes members, and the key with the last of them.",
            complexity: "O(N) where N is the number of members to be removed.",
            history: &[("2.4.0", "Takes more than one member.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string").flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sscan",
        arity: -3,
        handler: Handler::Data(members::sscan),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RO.union(KeyFlags::ACCESS),
            1,
            0,
            1,
        )],
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Walks over the members, a few with each call.",
            since: "2.8.0",
            complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection..",
            arguments: &[
                Argument::key("key"),
                Argument::new("cursor", "integer"),
                Argument::new("pattern", "pattern")
                    .after("MATCH")
                    .optional(),
                Argument::new("count", "integer").after("COUNT").optional(),
            ],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sunion",
        arity: -2,
        handler: Handler::Data(algebra::sunion),
        flags: Flags::READONLY,
        keys: Keys::ALL,
        key_specs: &[KeySpec::range(
            KeyFlags::RO.union(KeyFlags::ACCESS),
            1,
            -1,
            1,
        )],
        tips: &["nondeterministic_output_order"],
        docs: Docs {
            summary: "Returns the members that any of the sets has.",
            complexity: "O(N) where N is the total number of elements in all given sets.",
            arguments: &[Argument::key("key").flagged(&["multiple"])],
            ..DOCS
        },
        ..SET
    },
    CommandSpec {
        name: "sunionstore",
        arity: -3,
        handler: Handler::Data(algebra::sunionstore),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::ALL,
        key_specs: &[
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 1, 0, 1),
            KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 2, -1, 1),
        ],
        docs: Docs {
            summary: "Keeps the members that any of the sets has as a new set.",
            complexity: "O(N) where N is the total number of elements in all given sets.",
            arguments: &[
                Argument::key("destination"),
                Argument {
                    key_spec_index: Some(1),
                    ..Argument::new("key", "key")
                }
                .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SET
    },
];
