//! Sorted set commands that wait.

use super::members::TAKEN_FLAGS;
use super::{DOCS, SORTED_SET};
use crate::commands::sorted_sets::blocking;
use crate::commands::spec::{Argument, CommandSpec, Docs, Flags, Handler, KeySpec, Keys};

const TIMEOUT: Argument = Argument::new("timeout", "double");

/// What the two that take one member share.
const ONE: CommandSpec = CommandSpec {
    arity: -3,
    flags: Flags::WRITE
        .union(Flags::NOSCRIPT)
        .union(Flags::BLOCKING)
        .union(Flags::FAST),
    keys: Keys::Range {
        first: 1,
        last: -2,
        step: 1,
    },
    key_specs: &[KeySpec::range(TAKEN_FLAGS, 1, -2, 1)],
    ..SORTED_SET
};

const ONE_DOCS: Docs = Docs {
    since: "5.0.0",
    complexity: "O(log(N)) with N being the number of elements in the sorted set.",
    history: &[("6.0.0", "The timeout may have a fraction.")],
    arguments: &[Argument::key("key").flagged(&["multiple"]), TIMEOUT],
    ..DOCS
};

/// The commands of the family that wait.
pub static BLOCKING_COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bzmpop",
        arity: -5,
        handler: Handler::Data(blocking::bzmpop),
        flags: Flags::WRITE
            .union(Flags::BLOCKING)
            .union(Flags::MOVABLEKEYS),
        keys: Keys::Found(blocking::keys_of_bzmpop),
        key_specs: &[KeySpec::counted(TAKEN_FLAGS, 2)],
        docs: Docs {
            summary: "Takes members with the lowest or highest scores out of the first sorted set that has any; waits for one if there is none.",
            since: "7.0.0",
            complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.",
            arguments: &[
                TIMEOUT,
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
        name: "bzpopmax",
        handler: Handler::Data(blocking::bzpopmax),
        docs: Docs {
            summary: "Takes the member with the highest score out of the first sorted set that has any; waits for one if there is none.",
            ..ONE_DOCS
        },
        ..ONE
    },
    CommandSpec {
        name: "bzpopmin",
        handler: Handler::Data(blocking::bzpopmin),
        docs: Docs {
            summary: "Takes the member with the lowest score out of the first sorted set that has any; waits for one if there is none.",
            ..ONE_DOCS
        },
        ..ONE
    },
];
