//! The HyperLogLog commands' part of the command table.

use super::{count, debug, merge, pfadd};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// What all of them share.
const SKETCH: CommandSpec = CommandSpec {
    categories: Categories::HYPERLOGLOG,
    ..CommandSpec::NEW
};

/// What the documentation of all of them shares.
const DOCS: Docs = Docs {
    since: "2.8.9",
    group: "hyperloglog",
    ..Docs::NEW
};

const ALL: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 1,
};

const LOOKED_AT: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS);

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "pfadd",
        arity: -2,
        handler: Handler::Data(pfadd),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RW.union(KeyFlags::INSERT))],
        docs: Docs {
            summary: "Shows elements to a HyperLogLog, which is made if there is none.",
            complexity: "O(1) to add every element.",
            arguments: &[
                Argument::key("key"),
                Argument::new("element", "string").flagged(&["optional", "multiple"]),
            ],
            ..DOCS
        },
        ..SKETCH
    },
    CommandSpec {
        name: "pfcount",
        arity: -2,
        handler: Handler::Data(count::pfcount),
        flags: Flags::READONLY.union(Flags::MAY_REPLICATE),
        keys: ALL,
        key_specs: &[KeySpec::range(LOOKED_AT, 1, -1, 1)
            .noted("Written, because an estimate is noted in the value.")],
        docs: Docs {
            summary: "Estimates how many different elements HyperLogLogs have seen together.",
            complexity: "O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.",
            arguments: &[Argument::key("key").flagged(&["multiple"])],
            ..DOCS
        },
        ..SKETCH
    },
    CommandSpec {
        name: "pfdebug",
        arity: 3,
        handler: Handler::Data(debug::pfdebug),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::ADMIN),
        keys: Keys::Range {
            first: 2,
            last: 2,
            step: 1,
        },
        key_specs: &[KeySpec::range(LOOKED_AT, 2, 0, 1)],
        docs: Docs {
            summary: "Shows how a HyperLogLog is held.",
            complexity: "N/A",
            flags: &["syscmd"],
            arguments: &[Argument::new("subcommand", "string"), Argument::key("key")],
            ..DOCS
        },
        ..SKETCH
    },
    CommandSpec {
        name: "pfmerge",
        arity: -2,
        handler: Handler::Data(merge::pfmerge),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: ALL,
        key_specs: &[
            KeySpec::first(LOOKED_AT.union(KeyFlags::INSERT)),
            KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 2, -1, 1),
        ],
        docs: Docs {
            summary: "Makes a HyperLogLog one that has seen what several have.",
            complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
            arguments: &[
                Argument::key("destkey"),
                Argument {
                    key_spec_index: Some(1),
                    ..Argument::new("sourcekey", "key")
                }
                .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..SKETCH
    },
    CommandSpec {
        name: "pfselftest",
        arity: 1,
        handler: Handler::Control(debug::pfselftest),
        flags: Flags::ADMIN,
        docs: Docs {
            summary: "Tests the HyperLogLog implementation.",
            complexity: "N/A",
            flags: &["syscmd"],
            ..DOCS
        },
        ..SKETCH
    },
];
