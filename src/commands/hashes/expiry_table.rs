//! The part of the command table that is about the expiry of fields.

use super::expiry::{
    hexpire, hexpireat, hexpiretime, hpersist, hpexpire, hpexpireat, hpexpiretime, hpttl, httl,
};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};
use crate::commands::{Call, CommandResult};

type DataHandler = fn(&mut Call<'_, '_>) -> CommandResult;

const UPDATED: &[KeySpec] = &[KeySpec::first(KeyFlags::RW.union(KeyFlags::UPDATE))];
const ACCESSED: &[KeySpec] = &[KeySpec::first(KeyFlags::RO.union(KeyFlags::ACCESS))];

const KEY: Argument = Argument::key("key");
const FIELDS: Argument = Argument::block(
    "fields",
    &[
        Argument::new("numfields", "integer"),
        Argument::new("field", "string").flagged(&["multiple"]),
    ],
)
.after("FIELDS");
const CONDITION: Argument = Argument::one_of(
    "condition",
    &[
        Argument::word("nx", "NX"),
        Argument::word("xx", "XX"),
        Argument::word("gt", "GT"),
        Argument::word("lt", "LT"),
    ],
)
.optional();

const NAMED: &str = "O(N) where N is the number of named fields.";

/// A command that sets the times of fields.
const fn setter(
    name: &'static str,
    handler: DataHandler,
    summary: &'static str,
    arguments: &'static [Argument],
) -> CommandSpec {
    CommandSpec {
        arity: -6,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::DENYOOM),
        key_specs: UPDATED,
        ..teller(name, handler, summary, arguments)
    }
}

/// A command that tells the times of fields.
const fn teller(
    name: &'static str,
    handler: DataHandler,
    summary: &'static str,
    arguments: &'static [Argument],
) -> CommandSpec {
    CommandSpec {
        name,
        arity: -5,
        handler: Handler::Data(handler),
        flags: Flags::READONLY.union(Flags::FAST),
        categories: Categories::HASH,
        keys: Keys::FIRST,
        key_specs: ACCESSED,
        docs: Docs {
            summary,
            since: "7.4.0",
            group: "hash",
            complexity: NAMED,
            arguments,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    }
}

const SECONDS: Argument = Argument::new("seconds", "integer");
const MILLISECONDS: Argument = Argument::new("milliseconds", "integer");
const UNIX_SECONDS: Argument = Argument::new("unix-time-seconds", "unix-time");
const UNIX_MILLISECONDS: Argument = Argument::new("unix-time-milliseconds", "unix-time");

/// The group's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    setter(
        "hexpire",
        hexpire,
        "Lets fields expire after so many seconds.",
        &[KEY, SECONDS, CONDITION, FIELDS],
    ),
    setter(
        "hexpireat",
        hexpireat,
        "Lets fields expire at a Unix time in seconds.",
        &[KEY, UNIX_SECONDS, CONDITION, FIELDS],
    ),
    teller(
        "hexpiretime",
        hexpiretime,
        "Tells when fields expire, as Unix times in seconds.",
        &[KEY, FIELDS],
    ),
    CommandSpec {
        flags: Flags::WRITE.union(Flags::FAST),
        key_specs: UPDATED,
        ..teller(
            "hpersist",
            hpersist,
            "Lets fields live for ever that were to expire.",
            &[KEY, FIELDS],
        )
    },
    setter(
        "hpexpire",
        hpexpire,
        "Lets fields expire after so many milliseconds.",
        &[KEY, MILLISECONDS, CONDITION, FIELDS],
    ),
    setter(
        "hpexpireat",
        hpexpireat,
        "Lets fields expire at a Unix time in milliseconds.",
        &[KEY, UNIX_MILLISECONDS, CONDITION, FIELDS],
    ),
    teller(
        "hpexpiretime",
        hpexpiretime,
        "Tells when fields expire, as Unix times in milliseconds.",
        &[KEY, FIELDS],
    ),
    teller(
        "hpttl",
        hpttl,
        "Tells in how many milliseconds fields expire.",
        &[KEY, FIELDS],
    ),
    teller(
        "httl",
        httl,
        "Tells in how many seconds fields expire.",
        &[KEY, FIELDS],
    ),
];
