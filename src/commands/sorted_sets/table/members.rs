//! Commands about single members of sorted sets.

use super::super::{add, members, pop, random};
use super::{DOCS, SORTED_SET};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys};

/// One key, whose members are taken out.
const TAKEN: KeySpec = KeySpec::range(TAKEN_FLAGS, 1, 0, 1);

/// What is done with keys whose members are taken out.
pub(super) const TAKEN_FLAGS: KeyFlags =
    KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE);

/// One key that is read.
const READ: KeySpec = KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 1, 0, 1);

/// Commands about single members.
pub static MEMBER_COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zadd",
        arity: -4,
        handler: Handler::Data(add::zadd),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RW.union(KeyFlags::UPDATE),
            1,
            0,
            1,
        )],
        docs: Docs {
            summary: "Adds members, or changes the scores of those that are there.",
            since: "1.2.0",
            complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
            history: &[
                ("2.4.0", "Takes more than one member."),
                ("3.0.2", "Takes `XX`, `NX`, `CH` and `INCR`."),
                ("6.2.0", "Takes `GT` and `LT`."),
            ],
            arguments: &[
                Argument::key("key"),
                Argument::one_of(
                    "condition",
                    &[Argument::word("nx", "NX"), Argument::word("xx", "XX")],
                )
                .since("3.0.2")
                .optional(),
                Argument::one_of(
                    "comparison",
                    &[Argument::word("gt", "GT"), Argument::word("lt", "LT")],
                )
                .since("6.2.0")
                .optional(),
                Argument::word("change", "CH").since("3.0.2").optional(),
                Argument::word("increment", "INCR")
                    .since("3.0.2")
                    .optional(),
                Argument::block(
                    "score_member",
                    &[
                        Argument::new("score", "double"),
                        Argument::new("member", "string"),
                    ],
                )
                .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zcard",
        arity: 2,
        handler: Handler::Data(members::zcard),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(KeyFlags::RO, 1, 0, 1)],
        docs: Docs {
            summary: "Tells how many members a sorted set has.",
            since: "1.2.0",
            complexity: "O(1)",
            arguments: &[Argument::key("key")],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zincrby",
        arity: 4,
        handler: Handler::Data(add::zincrby),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE),
            1,
            0,
            1,
        )],
        docs: Docs {
            summary: "Adds to the score of a member, which counts from zero if it is new.",
            since: "1.2.0",
            complexity: "O(log(N)) where N is the number of elements in the sorted set.",
            arguments: &[
                Argument::key("key"),
                Argument::new("increment", "integer"),
                Argument::new("member", "string"),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zmpop",
        arity: -4,
        handler: Handler::Data(pop::zmpop),
        flags: Flags::WRITE.union(Flags::MOVABLEKEYS),
        keys: Keys::Found(pop::keys_of_zmpop),
        key_specs: &[KeySpec::counted(TAKEN_FLAGS, 1)],
        docs: Docs {
            summary: "Takes members with the lowest or highest scores out of the first sorted set that has any.",
            since: "7.0.0",
            complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.",
            arguments: &[
                Argument::new("numkeys", "integer"),
                Argument::key("key").flagged(&["multiple"]),
                Argument::one_of(
                    "where",
                    &[Argument::word("min", "MIN"), Argument::word("max", "MAX")],
                ),
                Argument::new("count", "integer").after("COUNT").optional(),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zmscore",
        arity: -3,
        handler: Handler::Data(members::zmscore),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the scores of several members.",
            since: "6.2.0",
            complexity: "O(N) where N is the number of members being requested.",
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string").flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zpopmax",
        arity: -2,
        handler: Handler::Data(pop::zpopmax),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[TAKEN],
        docs: Docs {
            summary: "Takes the members with the highest scores out, and the key with the last of them.",
            since: "5.0.0",
            complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
            arguments: &[
                Argument::key("key"),
                Argument::new("count", "integer").optional(),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zpopmin",
        arity: -2,
        handler: Handler::Data(pop::zpopmin),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[TAKEN],
        docs: Docs {
            summary: "Takes the members with the lowest scores out, and the key with the last of them.",
            since: "5.0.0",
            complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
            arguments: &[
                Argument::key("key"),
                Argument::new("count", "integer").optional(),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrandmember",
        arity: -2,
        handler: Handler::Data(random::zrandmember),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Returns members chosen at random.",
            since: "6.2.0",
            complexity: "O(N) where N is the number of elements returned",
            arguments: &[
                Argument::key("key"),
                Argument::block(
                    "options",
                    &[
                        Argument::new("count", "integer"),
                        Argument::word("withscores", "WITHSCORES").optional(),
                    ],
                )
                .optional(),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrank",
        arity: 3,
        handler: Handler::Data(members::zrank),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Tells how many members come before one.",
            since: "2.0.0",
            complexity: "O(log(N))",
            arguments: &[Argument::key("key"), Argument::new("member", "string")],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrem",
        arity: -3,
        handler: Handler::Data(members::zrem),
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
            since: "1.2.0",
            complexity: "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.",
            history: &[("2.4.0", "Takes more than one member.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string").flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrevrank",
        arity: 3,
        handler: Handler::Data(members::zrevrank),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Tells how many members come behind one.",
            since: "2.0.0",
            complexity: "O(log(N))",
            arguments: &[Argument::key("key"), Argument::new("member", "string")],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zscan",
        arity: -3,
        handler: Handler::Data(members::zscan),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Walks over members and scores, a few with each call.",
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
        ..SORTED_SET
    },
    CommandSpec {
        name: "zscore",
        arity: 3,
        handler: Handler::Data(members::zscore),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the score of a member.",
            since: "1.2.0",
            complexity: "O(1)",
            arguments: &[Argument::key("key"), Argument::new("member", "string")],
            ..DOCS
        },
        ..SORTED_SET
    },
];
