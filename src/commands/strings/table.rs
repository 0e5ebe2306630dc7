//! The string commands' part of the command table.

use super::{lcs, many, number, range, set};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);

const READS: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);
const REPLACES: KeyFlags = KeyFlags::OW.union(KeyFlags::UPDATE);
const CREATES: KeyFlags = KeyFlags::OW.union(KeyFlags::INSERT);
const CHANGES: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE);

const KEY: Argument = Argument::key("key");
const VALUE: Argument = Argument::new("value", "string");
const PAIRS: Argument = Argument::block("key_value", &[KEY, VALUE]).flagged(&["multiple"]);
const RANGE: &[Argument] = &[
    KEY,
    Argument::new("start", "integer"),
    Argument::new("end", "integer"),
];
const EVERY_SECOND: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 2,
};

/// What most string commands share.
const STRING: CommandSpec = CommandSpec {
    categories: Categories::STRING,
    keys: Keys::FIRST,
    ..CommandSpec::NEW
};

/// What the documentation of most string commands shares.
const DOCS: Docs = Docs {
    group: "string",
    ..Docs::NEW
};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "append",
        arity: 3,
        handler: Handler::Data(range::append),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(KeyFlags::RW.union(KeyFlags::INSERT))],
        docs: Docs {
            summary: "Adds bytes to the end of a string, or creates it.",
            since: "2.0.0",
            complexity: "O(1) amortized, for short additions",
            arguments: &[KEY, VALUE],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "decr",
        arity: 2,
        handler: Handler::Data(number::decr),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Subtracts one from an integer; a missing key counts as 0.",
            arguments: &[KEY],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "decrby",
        arity: 3,
        handler: Handler::Data(number::decrby),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Subtracts a number from an integer; a missing key counts as 0.",
            arguments: &[KEY, Argument::new("decrement", "integer")],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "get",
        arity: 2,
        handler: Handler::Data(set::get),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Returns the string at a key.",
            arguments: &[KEY],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "getdel",
        arity: 2,
        handler: Handler::Data(set::getdel),
        flags: WRITE_FAST,
        key_specs: &[KeySpec::first(
            KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE),
        )],
        docs: Docs {
            summary: "Returns the string at a key and removes the key.",
            since: "6.2.0",
            arguments: &[KEY],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "getex",
        arity: -2,
        handler: Handler::Data(set::getex),
        flags: WRITE_FAST,
        key_specs: &[KeySpec::first(CHANGES).noted("Changes the expiry, hence RW and UPDATE")],
        docs: Docs {
            summary: "Returns the string at a key; can set or remove the expiry.",
            since: "6.2.0",
            arguments: &[
                KEY,
                Argument::one_of(
                    "expiration",
                    &[
                        Argument::new("seconds", "integer").after("EX"),
                        Argument::new("milliseconds", "integer").after("PX"),
                        Argument::new("unix-time-seconds", "unix-time").after("EXAT"),
                        Argument::new("unix-time-milliseconds", "unix-time").after("PXAT"),
                        Argument::word("persist", "PERSIST"),
                    ],
                )
                .optional(),
            ],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "getrange",
        arity: 4,
        handler: Handler::Data(range::getrange),
        flags: READ,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Returns some bytes of a string, by first and last index.",
            since: "2.4.0",
            complexity: "O(N), N being the number of bytes returned",
            arguments: RANGE,
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "getset",
        arity: 3,
        handler: Handler::Data(set::getset),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Sets a key to a string and returns the one it held before.",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`SET` with its option `GET`",
            arguments: &[KEY, VALUE],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "incr",
        arity: 2,
        handler: Handler::Data(number::incr),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Adds one to an integer; a missing key counts as 0.",
            arguments: &[KEY],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "incrby",
        arity: 3,
        handler: Handler::Data(number::incrby),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Adds a number to an integer; a missing key counts as 0.",
            arguments: &[KEY, Argument::new("increment", "integer")],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "incrbyfloat",
        arity: 3,
        handler: Handler::Data(number::incrbyfloat),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CHANGES)],
        docs: Docs {
            summary: "Adds a number, which may have a fraction, to another; a missing key counts as 0.",
            since: "2.6.0",
            arguments: &[KEY, Argument::new("increment", "double")],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "lcs",
        arity: -3,
        handler: Handler::Deferred(lcs::lcs),
        flags: READ,
        keys: Keys::Range {
            first: 1,
            last: 2,
            step: 1,
        },
        key_specs: &[KeySpec::range(READS, 1, 1, 1)],
        docs: Docs {
            summary: "Finds the longest common subsequence of two strings.",
            since: "7.0.0",
            complexity: "O(N*M), N and M being the lengths of the strings",
            arguments: &[
                Argument::key("key1"),
                Argument::key("key2"),
                Argument::word("len", "LEN").optional(),
                Argument::word("idx", "IDX").optional(),
                Argument::new("len", "integer")
                    .after("MINMATCHLEN")
                    .optional(),
                Argument::word("withmatchlen", "WITHMATCHLEN").optional(),
            ],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "mget",
        arity: -2,
        handler: Handler::Data(many::mget),
        flags: READ_FAST,
        keys: Keys::ALL,
        key_specs: &[KeySpec::range(READS, 1, -1, 1)],
        tips: &["request_policy:multi_shard"],
        docs: Docs {
            summary: "Returns the strings at several keys.",
            complexity: "O(N), N being the number of keys",
            arguments: &[KEY.flagged(&["multiple"])],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "mset",
        arity: -3,
        handler: Handler::Data(many::mset),
        flags: GROW,
        keys: EVERY_SECOND,
        key_specs: &[KeySpec::range(REPLACES, 1, -1, 2)],
        tips: &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        docs: Docs {
            summary: "Sets several keys to strings at once.",
            since: "1.0.1",
            complexity: "O(N), N being the number of keys",
            arguments: &[PAIRS],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "msetnx",
        arity: -3,
        handler: Handler::Data(many::msetnx),
        flags: GROW,
        keys: EVERY_SECOND,
        key_specs: &[KeySpec::range(CREATES, 1, -1, 2)],
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        docs: Docs {
            summary: "Sets several keys to strings at once, unless any of them exists.",
            since: "1.0.1",
            complexity: "O(N), N being the number of keys",
            arguments: &[PAIRS],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "psetex",
        arity: 4,
        handler: Handler::Data(set::psetex),
        flags: GROW,
        key_specs: &[KeySpec::first(REPLACES)],
        docs: Docs {
            summary: "Sets a key to a string that expires after some milliseconds.",
            since: "2.6.0",
            arguments: &[KEY, Argument::new("milliseconds", "integer"), VALUE],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "set",
        arity: -3,
        handler: Handler::Data(set::set),
        flags: GROW,
        key_specs: &[KeySpec::first(CHANGES.union(KeyFlags::VARIABLE_FLAGS))
            .noted("The option `GET` reads the old value, hence RW and ACCESS")],
        docs: Docs {
            summary: "Sets a key to a string; can make that conditional and set an expiry.",
            history: &[
                ("2.6.12", "New options `EX`, `PX`, `NX` and `XX`."),
                ("6.0.0", "New option `KEEPTTL`."),
                ("6.2.0", "New options `GET`, `EXAT` and `PXAT`."),
                ("7.0.0", "`GET` goes together with `NX`."),
            ],
            arguments: &[
                KEY,
                VALUE,
                Argument::one_of(
                    "condition",
                    &[Argument::word("nx", "NX"), Argument::word("xx", "XX")],
                )
                .since("2.6.12")
                .optional(),
                Argument::word("get", "GET").since("6.2.0").optional(),
                Argument::one_of(
                    "expiration",
                    &[
                        Argument::new("seconds", "integer")
                            .after("EX")
                            .since("2.6.12"),
                        Argument::new("milliseconds", "integer")
                            .after("PX")
                            .since("2.6.12"),
                        Argument::new("unix-time-seconds", "unix-time")
                            .after("EXAT")
                            .since("6.2.0"),
                        Argument::new("unix-time-milliseconds", "unix-time")
                            .after("PXAT")
                            .since("6.2.0"),
                        Argument::word("keepttl", "KEEPTTL").since("6.0.0"),
                    ],
                )
                .optional(),
            ],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "setex",
        arity: 4,
        handler: Handler::Data(set::setex),
        flags: GROW,
        key_specs: &[KeySpec::first(REPLACES)],
        docs: Docs {
            summary: "Sets a key to a string that expires after some seconds.",
            since: "2.0.0",
            arguments: &[KEY, Argument::new("seconds", "integer"), VALUE],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "setnx",
        arity: 3,
        handler: Handler::Data(set::setnx),
        flags: GROW_FAST,
        key_specs: &[KeySpec::first(CREATES)],
        docs: Docs {
            summary: "Sets a key to a string, unless it exists.",
            arguments: &[KEY, VALUE],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "setrange",
        arity: 4,
        handler: Handler::Data(range::setrange),
        flags: GROW,
        key_specs: &[KeySpec::first(KeyFlags::RW.union(KeyFlags::UPDATE))],
        docs: Docs {
            summary: "Overwrites bytes of a string from an offset on; a gap is filled with zeros.",
            since: "2.2.0",
            complexity: "O(M), M being the length of the value; amortized, if the string grows",
            arguments: &[KEY, Argument::new("offset", "integer"), VALUE],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "strlen",
        arity: 2,
        handler: Handler::Data(range::strlen),
        flags: READ_FAST,
        key_specs: &[KeySpec::first(KeyFlags::RO)],
        docs: Docs {
            summary: "Returns the length of a string.",
            since: "2.2.0",
            arguments: &[KEY],
            ..DOCS
        },
        ..STRING
    },
    CommandSpec {
        name: "substr",
        arity: 4,
        handler: Handler::Data(range::getrange),
        flags: READ,
        key_specs: &[KeySpec::first(READS)],
        docs: Docs {
            summary: "Returns some bytes of a string, by first and last index.",
            complexity: "O(N), N being the number of bytes returned",
            flags: &["deprecated"],
            deprecated_since: "2.0.0",
            replaced_by: "`GETRANGE`",
            arguments: RANGE,
            ..DOCS
        },
        ..STRING
    },
];
