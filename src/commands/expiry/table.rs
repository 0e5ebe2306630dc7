//! The part of the command table that is about expiry.

use crate::commands::CommandResult;
use crate::commands::call::Call;
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

use super::{expire, expireat, expiretime, persist, pexpire, pexpireat, pexpiretime, pttl, ttl};

type DataHandler = fn(&mut Call<'_, '_>) -> CommandResult;

const fn key_spec(flags: KeyFlags) -> KeySpec {
    KeySpec::range(flags, 1, 0, 1)
}

const UPDATED: &[KeySpec] = &[key_spec(KeyFlags::RW.union(KeyFlags::UPDATE))];
const ACCESSED: &[KeySpec] = &[key_spec(KeyFlags::RO.union(KeyFlags::ACCESS))];

const KEY: Argument = Argument {
    name: "key",
    kind: "key",
    key_spec_index: Some(0),
    ..Argument::NEW
};

const fn condition(name: &'static str, token: &'static str) -> Argument {
    Argument {
        name,
        kind: "pure-token",
        token,
        ..Argument::NEW
    }
}

const CONDITION: Argument = Argument {
    name: "condition",
    kind: "oneof",
    since: "7.0.0",
    flags: &["optional"],
    arguments: &[
        condition("nx", "NX"),
        condition("xx", "XX"),
        condition("gt", "GT"),
        condition("lt", "LT"),
    ],
    ..Argument::NEW
};

const fn time(name: &'static str, kind: &'static str) -> Argument {
    Argument {
        name,
        kind,
        ..Argument::NEW
    }
}

/// A command that sets an expiry.
const fn setter(
    name: &'static str,
    handler: DataHandler,
    summary: &'static str,
    since: &'static str,
    arguments: &'static [Argument],
) -> CommandSpec {
    CommandSpec {
        name,
        arity: -3,
        handler: Handler::Data(handler),
        flags: Flags::WRITE.union(Flags::FAST),
        categories: Categories::KEYSPACE,
        keys: Keys::FIRST,
        key_specs: UPDATED,
        docs: Docs {
            summary,
            since,
            group: "generic",
            history: &[("7.0.0", "The conditions `NX`, `XX`, `GT` and `LT`.")],
            arguments,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    }
}

/// A command that tells the expiry.
const fn teller(
    name: &'static str,
    handler: DataHandler,
    summary: &'static str,
    since: &'static str,
    tips: &'static [&'static str],
    history: &'static [(&'static str, &'static str)],
) -> CommandSpec {
    CommandSpec {
        name,
        arity: 2,
        handler: Handler::Data(handler),
        flags: Flags::READONLY.union(Flags::FAST),
        categories: Categories::KEYSPACE,
        keys: Keys::FIRST,
        key_specs: ACCESSED,
        tips,
        docs: Docs {
            summary,
            since,
            group: "generic",
            history,
            arguments: &[KEY],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    }
}

const CHANGES_BY_ITSELF: &[&str] = &["nondeterministic_output"];
const NO_KEY_HISTORY: &[(&str, &str)] = &[("2.8.0", "Answers -2 when there is no such key.")];

/// The commands about expiry.
pub static COMMANDS: &[CommandSpec] = &[
    setter(
        "expire",
        expire,
        "Lets a key expire after a number of seconds.",
        "1.0.0",
        &[KEY, time("seconds", "integer"), CONDITION],
    ),
    setter(
        "pexpire",
        pexpire,
        "Lets a key expire after a number of milliseconds.",
        "2.6.0",
        &[KEY, time("milliseconds", "integer"), CONDITION],
    ),
    setter(
        "expireat",
        expireat,
        "Lets a key expire at a Unix time in seconds.",
        "1.2.0",
        &[KEY, time("unix-time-seconds", "unix-time"), CONDITION],
    ),
    setter(
        "pexpireat",
        pexpireat,
        "Lets a key expire at a Unix time in milliseconds.",
        "2.6.0",
        &[KEY, time("unix-time-milliseconds", "unix-time"), CONDITION],
    ),
    teller(
        "ttl",
        ttl,
        "Tells in how many seconds a key expires.",
        "1.0.0",
        CHANGES_BY_ITSELF,
        NO_KEY_HISTORY,
    ),
    teller(
        "pttl",
        pttl,
        "Tells in how many milliseconds a key expires.",
        "2.6.0",
        CHANGES_BY_ITSELF,
        NO_KEY_HISTORY,
    ),
    teller(
        "expiretime",
        expiretime,
        "Tells the Unix time in seconds at which a key expires.",
        "7.0.0",
        &[],
        &[],
    ),
    teller(
        "pexpiretime",
        pexpiretime,
        "Tells the Unix time in milliseconds at which a key expires.",
        "7.0.0",
        &[],
        &[],
    ),
    CommandSpec {
        name: "persist",
        arity: 2,
        handler: Handler::Data(persist),
        flags: Flags::WRITE.union(Flags::FAST),
        categories: Categories::KEYSPACE,
        keys: Keys::FIRST,
        key_specs: UPDATED,
        docs: Docs {
            summary: "Lets a key live for ever.",
            since: "2.2.0",
            group: "generic",
            arguments: &[KEY],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];
