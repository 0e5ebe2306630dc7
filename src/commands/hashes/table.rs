//! The hash commands' part of the command table.

use super::{many, number, random, scan, single};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW_FAST: Flags = WRITE_FAST.union(Flags::DENYOOM);

const LOOKS: KeyFlags = KeyFlags::RO;
const READS: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);
const SETS: KeyFlags = KeyFlags::RW.union(KeyFlags::UPDATE);
const ADDS: KeyFlags = KeyFlags::RW.union(KeyFlags::INSERT);
const REMOVES: KeyFlags = KeyFlags::RW.union(KeyFlags::DELETE);
const CHANGES: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE);

const KEY: Argument = Argument::key("key");
const FIELD: Argument = Argument::new("field", "string");
const FIELDS: Argument = FIELD.flagged(&["multiple"]);
const VALUE: Argument = Argument::new("value", "string");
const PAIRS: Argument = Argument::block("field_value", &[FIELD, VALUE]).flagged(&["multiple"]);

const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];
const ANY_OUTPUT: &[&str] = &["nondeterministic_output"];
const WHOLE: &str = "O(N) where N is the size of the hash.";

/// What all hash commands share.
const HASH: CommandSpec = CommandSpec {
    categories: Categories::HASH,
    keys: Keys::FIRST,
    ..CommandSpec::NEW
};

/// What the documentation of most hash commands shares.
const DOCS: Docs = Docs {
    since: "2.0.0",
    group: "hash",
    ..Docs::NEW
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "hdel",
        arity: -3,
        handler: Handler::Data(many::hdel),
        flags: WRITE_FAST,
        key_specs: &[KeySpec::first(REMOVES)],
        docs: Docs {
            summary: "Removes fields, and the key with the last of them.",
            complexity: "O(N) where N is the number of fields to be removed.",
            history: &[("2.4.0", "Takes more than one field.")],
            arguments: &[KEY, FIELDS],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hexists",
        arity: 3,
        handler: Handler::Data(single::hexists),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(LOOKS)],
        docs: Docs {
            summary: "Tells whether a hash has a field.",
            arguments: &[KEY, FIELD],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hget",
        arity: 3,
        handler: Handler::Data(single::hget),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Returns the value of a field.",
            arguments: &[KEY, FIELD],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hgetall",
        arity: 2,
        handler: Handler::Data(many::hgetall),
        flags: READ,
        key_specs: &[KeySpec::first(READS)],
        tips: ANY_ORDER,
        docs: Docs {
            summary: "Returns all fields with their values.",
            complexity: WHOLE,
            arguments: &[KEY],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hincrby",
        arity: 4,
        handler: Handler::Data(number::hincrby),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Adds a number to the integer in a field; a missing field counts as 0.",
            arguments: &[KEY, FIELD, Argument::new("increment", "integer")],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hincrbyfloat",
        arity: 4,
        handler: Handler::Data(number::hincrbyfloat),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Adds a floating-point number to the number in a field; a missing field counts as 0.",
            since: "2.6.0",
            arguments: &[KEY, FIELD, Argument::new("increment", "double")],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hkeys",
        arity: 2,
        handler: Handler::Data(many::hkeys),
        flags: READ,
        key_specs: &[KeySpec::first(READS)],
        tips: ANY_ORDER,
        docs: Docs {
            summary: "Returns the names of all fields.",
            complexity: WHOLE,
            arguments: &[KEY],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hlen",
        arity: 2,
        handler: Handler::Data(single::hlen),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(LOOKS)],
        docs: Docs {
            summary: "Tells how many fields a hash has.",
            arguments: &[KEY],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hmget",
        arity: -3,
        handler: Handler::Data(many::hmget),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Returns the values of several fields.",
            complexity: "O(N) where N is the number of fields being requested.",
            arguments: &[KEY, FIELDS],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hmset",
        arity: -4,
        handler: Handler::Data(many::hmset),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(SETS)],
        docs: Docs {
            summary: "Sets several fields to their values.",
            complexity: "O(N) where N is the number of fields being set.",
            flags: &["deprecated"],
            deprecated_since: "4.0.0",
            replaced_by: "`HSET` with multiple field-value pairs",
            arguments: &[KEY, PAIRS],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hrandfield",
        arity: -2,
        handler: Handler::Data(random::hrandfield),
        flags: READ,
        key_specs: &[KeySpec::first(READS)],
        tips: ANY_OUTPUT,
        docs: Docs {
            summary: "Returns one or several fields, taken at random.",
            since: "6.2.0",
            complexity: "O(N) where N is the number of fields returned",
            arguments: &[
                KEY,
                Argument::block(
                    "options",
                    &[
                        Argument::new("count", "integer"),
                        Argument::word("withvalues", "WITHVALUES").optional(),
                    ],
                )
                .optional(),
            ],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hscan",
        arity: -3,
        handler: Handler::Data(scan::hscan),
        flags: READ,
        key_specs: &[KeySpec::first(READS)],
        tips: ANY_OUTPUT,
        docs: Docs {
            summary: "Returns the fields of a hash with their values, a few with each call.",
            since: "2.8.0",
            complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection..",
            arguments: &[
                KEY,
                Argument::new("cursor", "integer"),
                Argument::new("pattern", "pattern")
                    .after("MATCH")
                    .optional(),
                Argument::new("count", "integer").after("COUNT").optional(),
            ],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hset",
        arity: -4,
        handler: Handler::Data(many::hset),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(SETS)],
        docs: Docs {
            summary: "Sets fields to values and tells how many of them are new.",
            complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.",
            history: &[("4.0.0", "Takes more than one field with its value.")],
            arguments: &[KEY, PAIRS],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hsetnx",
        arity: 4,
        handler: Handler::Data(single::hsetnx),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(ADDS)],
        docs: Docs {
            summary: "Sets a field that is not there yet.",
            arguments: &[KEY, FIELD, VALUE],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hstrlen",
        arity: 3,
        handler: Handler::Data(single::hstrlen),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(LOOKS)],
        docs: Docs {
            summary: "Tells how long the value of a field is, in bytes.",
            since: "3.2.0",
            arguments: &[KEY, FIELD],
            ..DOCS
        },
        ..HASH
    },
    CommandSpec {
        name: "hvals",
        arity: 2,
        handler: Handler::Data(many::hvals),
        flags: READ,
        key_specs: &[KeySpec::first(READS)],
        tips: ANY_ORDER,
        docs: Docs {
            summary: "Returns the values of all fields.",
            complexity: WHOLE,
            arguments: &[KEY],
            ..DOCS
        },
        ..HASH
    },
];
