//! Commands about ranges of members of sorted sets.

use super::super::{range, span};
use super::{DOCS, SORTED_SET};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys};

const LIMIT: Argument = Argument::block(
    "offset_count",
    &[
        Argument::new("offset", "integer"),
        Argument::new("count", "integer"),
    ],
)
.after("LIMIT")
.optional();

/// One key that is read.
const READ: KeySpec = KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 1, 0, 1);

/// One key, whose members are removed.
const REMOVED: KeySpec = KeySpec::range(KeyFlags::RW.union(KeyFlags::DELETE), 1, 0, 1);

const WITH_SCORES: Argument = Argument::word("withscores", "WITHSCORES").optional();

/// Commands about ranges of members.
pub static RANGE_COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zcount",
        arity: 4,
        handler: Handler::Data(span::zcount),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Counts the members with scores in a range.",
            since: "2.0.0",
            complexity: "O(log(N)) with N being the number of elements in the sorted set.",
            arguments: &[
                Argument::key("key"),
                Argument::new("min", "double"),
                Argument::new("max", "double"),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zlexcount",
        arity: 4,
        handler: Handler::Data(span::zlexcount),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Counts the members between two, of members that all have the same score.",
            since: "2.8.9",
            complexity: "O(log(N)) with N being the number of elements in the sorted set.",
            arguments: &[
                Argument::key("key"),
                Argument::new("min", "string"),
                Argument::new("max", "string"),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrange",
        arity: -4,
        handler: Handler::Data(range::zrange),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the members of a range, in order.",
            since: "1.2.0",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
            history: &[("6.2.0", "Takes `REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("start", "string"),
                Argument::new("stop", "string"),
                Argument::one_of(
                    "sortby",
                    &[
                        Argument::word("byscore", "BYSCORE"),
                        Argument::word("bylex", "BYLEX"),
                    ],
                )
                .since("6.2.0")
                .optional(),
                Argument::word("rev", "REV").since("6.2.0").optional(),
                Argument::block(
                    "offset_count",
                    &[
                        Argument::new("offset", "integer"),
                        Argument::new("count", "integer"),
                    ],
                )
                .after("LIMIT")
                .since("6.2.0")
                .optional(),
                WITH_SCORES,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrangebylex",
        arity: -4,
        handler: Handler::Data(range::zrangebylex),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the members between two, of members that all have the same score.",
            since: "2.8.9",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`ZRANGE` with the `BYLEX` argument",
            arguments: &[
                Argument::key("key"),
                Argument::new("min", "string"),
                Argument::new("max", "string"),
                LIMIT,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrangebyscore",
        arity: -4,
        handler: Handler::Data(range::zrangebyscore),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the members with scores in a range, the lowest first.",
            since: "1.0.5",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`ZRANGE` with the `BYSCORE` argument",
            history: &[("2.0.0", "Takes `WITHSCORES`.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("min", "double"),
                Argument::new("max", "double"),
                Argument::word("withscores", "WITHSCORES")
                    .since("2.0.0")
                    .optional(),
                LIMIT,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrangestore",
        arity: -5,
        handler: Handler::Data(range::zrangestore),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::Range {
            first: 1,
            last: 2,
            step: 1,
        },
        key_specs: &[
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 1, 0, 1),
            KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 2, 0, 1),
        ],
        docs: Docs {
            summary: "Keeps the members of a range as a new sorted set.",
            since: "6.2.0",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.",
            arguments: &[
                Argument::key("dst"),
                Argument {
                    key_spec_index: Some(1),
                    ..Argument::new("src", "key")
                },
                Argument::new("min", "string"),
                Argument::new("max", "string"),
                Argument::one_of(
                    "sortby",
                    &[
                        Argument::word("byscore", "BYSCORE"),
                        Argument::word("bylex", "BYLEX"),
                    ],
                )
                .optional(),
                Argument::word("rev", "REV").optional(),
                LIMIT,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zremrangebylex",
        arity: 4,
        handler: Handler::Data(span::zremrangebylex),
        flags: Flags::WRITE,
        keys: Keys::FIRST,
        key_specs: &[REMOVED],
        docs: Docs {
            summary: "Removes the members between two, of members that all have the same score.",
            since: "2.8.9",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
            arguments: &[
                Argument::key("key"),
                Argument::new("min", "string"),
                Argument::new("max", "string"),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zremrangebyrank",
        arity: 4,
        handler: Handler::Data(span::zremrangebyrank),
        flags: Flags::WRITE,
        keys: Keys::FIRST,
        key_specs: &[REMOVED],
        docs: Docs {
            summary: "Removes the members with ranks in a range.",
            since: "2.0.0",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
            arguments: &[
                Argument::key("key"),
                Argument::new("start", "integer"),
                Argument::new("stop", "integer"),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zremrangebyscore",
        arity: 4,
        handler: Handler::Data(span::zremrangebyscore),
        flags: Flags::WRITE,
        keys: Keys::FIRST,
        key_specs: &[REMOVED],
        docs: Docs {
            summary: "Removes the members with scores in a range.",
            since: "1.2.0",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
            arguments: &[
                Argument::key("key"),
                Argument::new("min", "double"),
                Argument::new("max", "double"),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrevrange",
        arity: -4,
        handler: Handler::Data(range::zrevrange),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the members of a range, the last first.",
            since: "1.2.0",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`ZRANGE` with the `REV` argument",
            arguments: &[
                Argument::key("key"),
                Argument::new("start", "integer"),
                Argument::new("stop", "integer"),
                WITH_SCORES,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrevrangebylex",
        arity: -4,
        handler: Handler::Data(range::zrevrangebylex),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the members between two, of members that all have the same score, the last first.",
            since: "2.8.9",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
            arguments: &[
                Argument::key("key"),
                Argument::new("max", "string"),
                Argument::new("min", "string"),
                LIMIT,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zrevrangebyscore",
        arity: -4,
        handler: Handler::Data(range::zrevrangebyscore),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the members with scores in a range, the highest first.",
            since: "2.2.0",
            complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
            history: &[("2.1.6", "Both ends may be left out of the range.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("max", "double"),
                Argument::new("min", "double"),
                WITH_SCORES,
                LIMIT,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
];
