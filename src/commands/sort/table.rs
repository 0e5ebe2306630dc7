//! The family's part of the command table.

use super::{keys_of_sort, reads_other_keys, sort, sort_ro};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys, Locks,
};

const COMPLEXITY: &str = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).";

/// Of the key, and of what the patterns name.
const READ: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);
const KEY: KeySpec = KeySpec::range(READ, 1, 0, 1);
const NAMED: KeySpec =
    KeySpec::unknown(READ).noted("Keys that BY and GET make of elements, which only data tells.");
const STORED: KeySpec = KeySpec::unknown(KeyFlags::OW.union(KeyFlags::UPDATE))
    .noted("What follows STORE, which may be anywhere among the options.");

const SORTED: &[Argument] = &[
    Argument::key("key"),
    Argument::new("pattern", "pattern").after("BY").optional(),
    Argument::block(
        "offset_count",
        &[
            Argument::new("offset", "integer"),
            Argument::new("count", "integer"),
        ],
    )
    .after("LIMIT")
    .optional(),
    Argument::new("pattern", "pattern").after("GET").flagged(&[
        "optional",
        "multiple",
        "multiple_token",
    ]),
    Argument::one_of(
        "order",
        &[Argument::word("asc", "ASC"), Argument::word("desc", "DESC")],
    )
    .optional(),
    Argument::word("sorting", "ALPHA").optional(),
];

const STORED_TOO: &[Argument] = &[
    SORTED[0],
    SORTED[1],
    SORTED[2],
    SORTED[3],
    SORTED[4],
    SORTED[5],
    Argument {
        key_spec_index: Some(2),
        ..Argument::new("destination", "key")
    }
    .after("STORE")
    .optional(),
];

const COMMON: CommandSpec = CommandSpec {
    arity: -2,
    locks: Locks::Asked(reads_other_keys),
    categories: Categories::SET
        .union(Categories::SORTED_SET)
        .union(Categories::LIST)
        .union(Categories::DANGEROUS),
    ..CommandSpec::NEW
};

/// See the module.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "sort",
        handler: Handler::Data(sort),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS),
        keys: Keys::Found(keys_of_sort),
        key_specs: &[KEY, NAMED, STORED],
        docs: Docs {
            summary: "Sorts the elements of a list, set or sorted set, and may keep the result.",
            group: "generic",
            complexity: COMPLEXITY,
            arguments: STORED_TOO,
            ..Docs::NEW
        },
        ..COMMON
    },
    CommandSpec {
        name: "sort_ro",
        handler: Handler::Data(sort_ro),
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        keys: Keys::FIRST,
        key_specs: &[KEY, NAMED],
        docs: Docs {
            summary: "Sorts the elements of a list, set or sorted set.",
            since: "7.0.0",
            group: "generic",
            complexity: COMPLEXITY,
            arguments: SORTED,
            ..Docs::NEW
        },
        ..COMMON
    },
];
