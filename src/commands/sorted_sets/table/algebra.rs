//! Commands about several sorted sets.

use super::super::algebra;
use super::{DOCS, SORTED_SET};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys};

const AGGREGATE: Argument = Argument::one_of(
    "aggregate",
    &[
        Argument::word("sum", "SUM"),
        Argument::word("min", "MIN"),
        Argument::word("max", "MAX"),
    ],
)
.after("AGGREGATE")
.optional();

const STORED_KEYS: Argument = Argument {
    key_spec_index: Some(1),
    ..Argument::new("key", "key")
}
.flagged(&["multiple"]);

const WEIGHTS: Argument = Argument::new("weight", "integer")
    .after("WEIGHTS")
    .flagged(&["optional", "multiple"]);

/// The first key, which is overwritten.
const WRITTEN: KeySpec = KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 1, 0, 1);

const WITH_SCORES: Argument = Argument::word("withscores", "WITHSCORES").optional();

const KEYS: Argument = Argument::key("key").flagged(&["multiple"]);

const NUMBER_OF_KEYS: Argument = Argument::new("numkeys", "integer");

/// Commands about several sorted sets.
pub static ALGEBRA_COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zdiff",
        arity: -3,
        handler: Handler::Data(algebra::zdiff),
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_to_read),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 1)],
        docs: Docs {
            summary: "Returns the members of the first sorted set that are in none of the others.",
            since: "6.2.0",
            complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.",
            arguments: &[NUMBER_OF_KEYS, KEYS, WITH_SCORES],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zdiffstore",
        arity: -4,
        handler: Handler::Data(algebra::zdiffstore),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_to_store),
        key_specs: &[
            WRITTEN,
            KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 2),
        ],
        docs: Docs {
            summary: "Keeps the members of the first sorted set that are in none of the others as a new one.",
            since: "6.2.0",
            complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.",
            arguments: &[Argument::key("destination"), NUMBER_OF_KEYS, STORED_KEYS],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zinter",
        arity: -3,
        handler: Handler::Data(algebra::zinter),
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_to_read),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 1)],
        docs: Docs {
            summary: "Returns the members that all sorted sets have.",
            since: "6.2.0",
            complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.",
            arguments: &[NUMBER_OF_KEYS, KEYS, WEIGHTS, AGGREGATE, WITH_SCORES],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zintercard",
        arity: -3,
        handler: Handler::Data(algebra::zintercard),
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_to_read),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 1)],
        docs: Docs {
            summary: "Counts the members that all sorted sets have.",
            since: "7.0.0",
            complexity: "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.",
            arguments: &[
                NUMBER_OF_KEYS,
                KEYS,
                Argument::new("limit", "integer").after("LIMIT").optional(),
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zinterstore",
        arity: -4,
        handler: Handler::Data(algebra::zinterstore),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_to_store),
        key_specs: &[
            WRITTEN,
            KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 2),
        ],
        docs: Docs {
            summary: "Keeps the members that all sorted sets have as a new one.",
            since: "2.0.0",
            complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.",
            arguments: &[
                Argument::key("destination"),
                NUMBER_OF_KEYS,
                STORED_KEYS,
                WEIGHTS,
                AGGREGATE,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zunion",
        arity: -3,
        handler: Handler::Data(algebra::zunion),
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_to_read),
        key_specs: &[KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 1)],
        docs: Docs {
            summary: "Returns the members that any of the sorted sets has.",
            since: "6.2.0",
            complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.",
            arguments: &[NUMBER_OF_KEYS, KEYS, WEIGHTS, AGGREGATE, WITH_SCORES],
            ..DOCS
        },
        ..SORTED_SET
    },
    CommandSpec {
        name: "zunionstore",
        arity: -4,
        handler: Handler::Data(algebra::zunionstore),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS),
        keys: Keys::Found(algebra::keys_to_store),
        key_specs: &[
            WRITTEN,
            KeySpec::counted(KeyFlags::RO.union(KeyFlags::ACCESS), 2),
        ],
        docs: Docs {
            summary: "Keeps the members that any of the sorted sets has as a new one.",
            since: "2.0.0",
            complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.",
            arguments: &[
                Argument::key("destination"),
                NUMBER_OF_KEYS,
                STORED_KEYS,
                WEIGHTS,
                AGGREGATE,
            ],
            ..DOCS
        },
        ..SORTED_SET
    },
];
