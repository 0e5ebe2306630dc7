//! The generic commands' part of the command table.

use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys, Locks,
};

use super::{
    copy, del, exists, flushall, flushdb, kind, move_key, rename, renamenx, swapdb, touch,
};

const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const DANGEROUS: Categories = Categories::KEYSPACE.union(Categories::DANGEROUS);

/// The first two arguments.
const PAIR: Keys = Keys::Range {
    first: 1,
    last: 2,
    step: 1,
};

/// Sums up what each shard answers.
const SUM_OF_SHARDS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// One key, at this index.
const fn one_key(index: usize, flags: KeyFlags) -> KeySpec {
    KeySpec::range(flags, index, 0, 1)
}

/// All arguments.
const fn all_keys(flags: KeyFlags) -> KeySpec {
    KeySpec::range(flags, 1, -1, 1)
}

const fn key_argument(name: &'static str, key_spec_index: usize) -> Argument {
    Argument {
        name,
        kind: "key",
        key_spec_index: Some(key_spec_index),
        ..Argument::NEW
    }
}

const fn token(name: &'static str, token: &'static str, since: &'static str) -> Argument {
    Argument {
        name,
        kind: "pure-token",
        token,
        since,
        ..Argument::NEW
    }
}

const fn integer(name: &'static str) -> Argument {
    Argument {
        name,
        kind: "integer",
        ..Argument::NEW
    }
}

const KEY_ARGUMENT: &[Argument] = &[key_argument("key", 0)];
const KEYS_ARGUMENT: &[Argument] = &[Argument {
    flags: &["multiple"],
    ..key_argument("key", 0)
}];
const RENAME_ARGUMENTS: &[Argument] = &[key_argument("key", 0), key_argument("newkey", 1)];
const FLUSH_ARGUMENTS: &[Argument] = &[Argument {
    name: "async",
    kind: "oneof",
    flags: &["optional"],
    arguments: &[
        token("async", "ASYNC", "4.0.0"),
        token("sync", "SYNC", "6.2.0"),
    ],
    ..Argument::NEW
}];
const FLUSH_HISTORY: &[(&str, &str)] = &[
    ("4.0.0", "`ASYNC` can be asked for."),
    ("6.2.0", "`SYNC` can be asked for."),
];

/// The generic commands.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "del",
        arity: -2,
        handler: Handler::Data(del),
        flags: Flags::WRITE,
        categories: Categories::KEYSPACE,
        keys: Keys::ALL,
        key_specs: &[all_keys(KeyFlags::RM.union(KeyFlags::DELETE))],
        tips: SUM_OF_SHARDS,
        docs: Docs {
            summary: "Deletes keys and tells how many of them were there.",
            group: "generic",
            complexity: "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).",
            arguments: KEYS_ARGUMENT,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "unlink",
        arity: -2,
        handler: Handler::Data(del),
        flags: WRITE_FAST,
        categories: Categories::KEYSPACE,
        keys: Keys::ALL,
        key_specs: &[all_keys(KeyFlags::RM.union(KeyFlags::DELETE))],
        tips: SUM_OF_SHARDS,
        docs: Docs {
            summary: "Deletes keys at once and frees their memory in the background.",
            since: "4.0.0",
            group: "generic",
            complexity: "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.",
            arguments: KEYS_ARGUMENT,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "exists",
        arity: -2,
        handler: Handler::Data(exists),
        flags: READ_FAST,
        categories: Categories::KEYSPACE,
        keys: Keys::ALL,
        key_specs: &[all_keys(KeyFlags::RO)],
        tips: SUM_OF_SHARDS,
        docs: Docs {
            summary: "Tells how many of the named keys exist; a key named twice counts twice.",
            group: "generic",
            complexity: "O(N) where N is the number of keys to check.",
            history: &[("3.0.3", "Takes more than one key.")],
            arguments: KEYS_ARGUMENT,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "type",
        arity: 2,
        handler: Handler::Data(kind),
        flags: READ_FAST,
        categories: Categories::KEYSPACE,
        keys: Keys::FIRST,
        key_specs: &[one_key(1, KeyFlags::RO)],
        docs: Docs {
            summary: "Tells the type of a key's value.",
            group: "generic",
            arguments: KEY_ARGUMENT,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "touch",
        arity: -2,
        handler: Handler::Data(touch),
        flags: READ_FAST,
        categories: Categories::KEYSPACE,
        keys: Keys::ALL,
        key_specs: &[all_keys(KeyFlags::RO)],
        tips: SUM_OF_SHARDS,
        docs: Docs {
            summary: "Marks keys as used just now and tells how many of them exist.",
            since: "3.2.1",
            group: "generic",
            complexity: "O(N) where N is the number of keys that will be touched.",
            arguments: KEYS_ARGUMENT,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "rename",
        arity: 3,
        handler: Handler::Data(rename),
        flags: Flags::WRITE,
        categories: Categories::KEYSPACE,
        keys: PAIR,
        key_specs: &[
            one_key(
                1,
                KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE),
            ),
            one_key(2, KeyFlags::OW.union(KeyFlags::UPDATE)),
        ],
        docs: Docs {
            summary: "Gives a key another name, in place of any key of that name.",
            group: "generic",
            arguments: RENAME_ARGUMENTS,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "renamenx",
        arity: 3,
        handler: Handler::Data(renamenx),
        flags: WRITE_FAST,
        categories: Categories::KEYSPACE,
        keys: PAIR,
        key_specs: &[
            one_key(
                1,
                KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE),
            ),
            one_key(2, KeyFlags::OW.union(KeyFlags::INSERT)),
        ],
        docs: Docs {
            summary: "Gives a key another name, unless there is a key of that name.",
            group: "generic",
            history: &[("3.2.0", "Renaming a key to itself is no error.")],
            arguments: RENAME_ARGUMENTS,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "copy",
        arity: -3,
        handler: Handler::Data(copy),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        categories: Categories::KEYSPACE,
        keys: PAIR,
        key_specs: &[
            one_key(1, KeyFlags::RO.union(KeyFlags::ACCESS)),
            one_key(2, KeyFlags::OW.union(KeyFlags::UPDATE)),
        ],
        docs: Docs {
            summary: "Copies a key's value and expiry to another key.",
            since: "6.2.0",
            group: "generic",
            complexity: "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
            arguments: &[
                key_argument("source", 0),
                key_argument("destination", 1),
                Argument {
                    token: "DB",
                    flags: &["optional"],
                    ..integer("destination-db")
                },
                Argument {
                    flags: &["optional"],
                    ..token("replace", "REPLACE", "")
                },
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "move",
        arity: 3,
        handler: Handler::Data(move_key),
        locks: Locks::KeysWithUndo,
        flags: WRITE_FAST,
        categories: Categories::KEYSPACE,
        keys: Keys::FIRST,
        key_specs: &[one_key(
            1,
            KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE),
        )],
        docs: Docs {
            summary: "Moves a key to another database, unless it has that key.",
            group: "generic",
            arguments: &[key_argument("key", 0), integer("db")],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "swapdb",
        arity: 3,
        handler: Handler::Data(swapdb),
        locks: Locks::All,
        flags: WRITE_FAST,
        categories: DANGEROUS,
        docs: Docs {
            summary: "Lets two databases change their numbers.",
            since: "4.0.0",
            group: "server",
            complexity: "O(N) where N is the count of clients watching or blocking on keys from both databases.",
            arguments: &[integer("index1"), integer("index2")],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "flushdb",
        arity: -1,
        handler: Handler::Data(flushdb),
        locks: Locks::All,
        flags: Flags::WRITE,
        categories: DANGEROUS,
        tips: ALL_SHARDS,
        docs: Docs {
            summary: "Removes every key of the selected database.",
            group: "server",
            complexity: "O(N) where N is the number of keys in the selected database",
            history: FLUSH_HISTORY,
            arguments: FLUSH_ARGUMENTS,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "flushall",
        arity: -1,
        handler: Handler::Data(flushall),
        locks: Locks::All,
        flags: Flags::WRITE,
        categories: DANGEROUS,
        tips: ALL_SHARDS,
        docs: Docs {
            summary: "Removes every key of every database.",
            group: "server",
            complexity: "O(N) where N is the total number of keys in all databases",
            history: FLUSH_HISTORY,
            arguments: FLUSH_ARGUMENTS,
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];
