//! The bitmap commands' part of the command table.

use super::{bit, count, field, operation};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);

const READS: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);
const CHANGES: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE);

const KEY: Argument = Argument::key("key");
const OFFSET: Argument = Argument::new("offset", "integer");
const START: Argument = Argument::new("start", "integer");
const END: Argument = Argument::new("end", "integer");
const UNIT: Argument = Argument::one_of(
    "index_unit",
    &[Argument::word("byte", "BYTE"), Argument::word("bit", "BIT")],
)
.since("7.0.0")
.optional();
const ENCODING: Argument = Argument::new("encoding", "string");
const OVERFLOW: Argument = Argument::one_of(
    "wrap_sat_fail",
    &[
        Argument::word("wrap", "WRAP"),
        Argument::word("sat", "SAT"),
        Argument::word("fail", "FAIL"),
    ],
)
.after("OVERFLOW")
.optional();

/// What most bitmap commands share.
const BITMAP: CommandSpec = CommandSpec {
    categories: Categories::BITMAP,
    keys: Keys::FIRST,
    ..CommandSpec::NEW
};

/// What the documentation of most bitmap commands shares.
const DOCS: Docs = Docs {
    group: "bitmap",
    ..Docs::NEW
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bitcount",
        arity: -2,
        handler: Handler::Data(count::bitcount),
        flags: Flags::READONLY,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Counts the set bits of a string or a part of it.",
            since: "2.6.0",
            complexity: "O(N)",
            history: &[("7.0.0", "New option `BYTE|BIT`.")],
            arguments: &[
                KEY,
                Argument::block("index", &[START, END, UNIT]).optional(),
            ],
            ..DOCS
        },
        ..BITMAP
    },
    CommandSpec {
        name: "bitfield",
        arity: -2,
        handler: Handler::Data(field::bitfield),
        flags: GROW,
        key_specs: &[KeySpec::first(CHANGES.union(KeyFlags::VARIABLE_FLAGS))
            .noted("Some operations read the key, some change it")],
        docs: Docs {
            summary: "Reads, sets and increments integers of any width within a string.",
            since: "3.2.0",
            complexity: "O(1) for each operation",
            arguments: &[
                KEY,
                Argument::one_of(
                    "operation",
                    &[
                        Argument::block("encoding_offset", &[ENCODING, OFFSET]).after("GET"),
                        Argument::block(
                            "write",
                            &[
                                OVERFLOW,
                                Argument::one_of(
                                    "write_operation",
                                    &[
                                        Argument::block(
                                            "encoding_offset_value",
                                            &[ENCODING, OFFSET, Argument::new("value", "integer")],
                                        )
                                        .after("SET"),
                                        Argument::block(
                                            "encoding_offset_increment",
                                            &[
                                                ENCODING,
                                                OFFSET,
                                                Argument::new("increment", "integer"),
                                            ],
                                        )
                                        .after("INCRBY"),
                                    ],
                                ),
                            ],
                        ),
                    ],
                )
                .flagged(&["optional", "multiple"]),
            ],
            ..DOCS
        },
        ..BITMAP
    },
    CommandSpec {
        name: "bitfield_ro",
        arity: -2,
        handler: Handler::Data(field::bitfield_ro),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Reads integers of any width within a string.",
            since: "6.0.0",
            complexity: "O(1) for each operation",
            arguments: &[
                KEY,
                Argument::block("encoding_offset", &[ENCODING, OFFSET])
                    .after("GET")
                    .flagged(&["optional", "multiple", "multiple_token"]),
            ],
            ..DOCS
        },
        ..BITMAP
    },
    CommandSpec {
        name: "bitop",
        arity: -4,
        handler: Handler::Data(operation::bitop),
        flags: GROW,
        keys: Keys::Range {
            first: 2,
            last: -1,
            step: 1,
        },
        key_specs: &[
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 2, 0, 1),
            KeySpec::range(READS, 3, -1, 1),
        ],
        docs: Docs {
            summary: "Combines strings bit by bit and stores the result.",
            since: "2.6.0",
            complexity: "O(N)",
            arguments: &[
                Argument::new("operation", "string"),
                Argument::key("destkey"),
                Argument {
                    key_spec_index: Some(1),
                    ..KEY.flagged(&["multiple"])
                },
            ],
            ..DOCS
        },
        ..BITMAP
    },
    CommandSpec {
        name: "bitpos",
        arity: -3,
        handler: Handler::Data(count::bitpos),
        flags: Flags::READONLY,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Finds the first set or clear bit of a string or a part of it.",
            since: "2.8.7",
            complexity: "O(N)",
            history: &[("7.0.0", "New option `BYTE|BIT`.")],
            arguments: &[
                KEY,
                Argument::new("bit", "integer"),
                Argument::block(
                    "index",
                    &[START, Argument::block("end_index", &[END, UNIT]).optional()],
                )
                .optional(),
            ],
            ..DOCS
        },
        ..BITMAP
    },
    CommandSpec {
        name: "getbit",
        arity: 3,
        handler: Handler::Data(bit::getbit),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Returns a bit of a string.",
            since: "2.2.0",
            arguments: &[KEY, OFFSET],
            ..DOCS
        },
        ..BITMAP
    },
    CommandSpec {
        name: "setbit",
        arity: 4,
        handler: Handler::Data(bit::setbit),
        flags: GROW,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Sets or clears a bit of a string and returns what it was.",
            since: "2.2.0",
            arguments: &[KEY, OFFSET, Argument::new("value", "integer")],
            ..DOCS
        },
        ..BITMAP
    },
];
