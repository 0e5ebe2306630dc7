//! The part of the command table for list commands that wait.

use super::table::{BOTH, DESTINATION, DOCS, LIST, POPPED, PUSHED, SIDES};
use super::{blocking, ends};
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler, KeySpec, Keys};

const TIMEOUT: Argument = Argument::new("timeout", "double");

/// The commands of the family that wait.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "blmove",
        arity: 6,
        handler: Handler::Data(blocking::blmove),
        flags: Flags::WRITE
            .union(Flags::DENYOOM)
            .union(Flags::NOSCRIPT)
            .union(Flags::BLOCKING),
        keys: BOTH,
        key_specs: &[KeySpec::first(POPPED), KeySpec::range(PUSHED, 2, 0, 1)],
        docs: Docs {
            summary: "Moves an element as LMOVE does; waits for one if there is none.",
            since: "6.2.0",
            arguments: &[
                Argument::key("source"),
                DESTINATION,
                Argument::one_of("wherefrom", SIDES),
                Argument::one_of("whereto", SIDES),
                TIMEOUT,
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "blmpop",
        arity: -5,
        handler: Handler::Data(blocking::blmpop),
        flags: Flags::WRITE
            .union(Flags::BLOCKING)
            .union(Flags::MOVABLEKEYS),
        keys: Keys::Found(ends::keys_of_blmpop),
        key_specs: &[KeySpec::counted(POPPED, 2)],
        docs: Docs {
            summary: "Takes elements out of the first list that is there; waits for one if there is none.",
            since: "7.0.0",
            complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
            arguments: &[
                TIMEOUT,
                Argument::new("numkeys", "integer"),
                Argument::key("key").flagged(&["multiple"]),
                Argument::one_of("where", SIDES),
                Argument::new("count", "integer").after("COUNT").optional(),
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "blpop",
        arity: -3,
        handler: Handler::Data(blocking::blpop),
        flags: Flags::WRITE.union(Flags::NOSCRIPT).union(Flags::BLOCKING),
        keys: Keys::Range {
            first: 1,
            last: -2,
            step: 1,
        },
        key_specs: &[KeySpec::range(POPPED, 1, -2, 1)],
        docs: Docs {
            summary: "Takes the first element out of the first list that is there; waits for one if there is none.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of provided keys.",
            history: &[("6.0.0", "The timeout may have a fraction.")],
            arguments: &[Argument::key("key").flagged(&["multiple"]), TIMEOUT],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "brpop",
        arity: -3,
        handler: Handler::Data(blocking::brpop),
        flags: Flags::WRITE.union(Flags::NOSCRIPT).union(Flags::BLOCKING),
        keys: Keys::Range {
            first: 1,
            last: -2,
            step: 1,
        },
        key_specs: &[KeySpec::range(POPPED, 1, -2, 1)],
        docs: Docs {
            summary: "Takes the last element out of the first list that is there; waits for one if there is none.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of provided keys.",
            history: &[("6.0.0", "The timeout may have a fraction.")],
            arguments: &[Argument::key("key").flagged(&["multiple"]), TIMEOUT],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "brpoplpush",
        arity: 4,
        handler: Handler::Data(blocking::brpoplpush),
        flags: Flags::WRITE
            .union(Flags::DENYOOM)
            .union(Flags::NOSCRIPT)
            .union(Flags::BLOCKING),
        keys: BOTH,
        key_specs: &[KeySpec::first(POPPED), KeySpec::range(PUSHED, 2, 0, 1)],
        docs: Docs {
            summary: "Moves an element as RPOPLPUSH does; waits for one if there is none.",
            since: "2.2.0",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
            history: &[("6.0.0", "The timeout may have a fraction.")],
            arguments: &[Argument::key("source"), DESTINATION, TIMEOUT],
            ..DOCS
        },
        ..LIST
    },
];
