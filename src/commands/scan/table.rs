//! The part of the command table that is about the keyspace as a whole.

use crate::commands::spec::{Argument, Categories, CommandSpec, Docs, Flags, Handler, Locks};

use super::{dbsize, keys, randomkey, scan};

/// Walks over the keyspace, and its size.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "dbsize",
        arity: 1,
        locks: Locks::All,
        handler: Handler::Deferred(dbsize),
        flags: Flags::READONLY.union(Flags::FAST),
        categories: Categories::KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        docs: Docs {
            summary: "Tells the number of keys in the selected database.",
            group: "server",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "randomkey",
        arity: 1,
        locks: Locks::All,
        handler: Handler::Deferred(randomkey),
        flags: Flags::READONLY,
        categories: Categories::KEYSPACE,
        tips: &["request_policy:all_shards", "nondeterministic_output"],
        docs: Docs {
            summary: "Names one key, taken at random.",
            group: "generic",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "keys",
        arity: 2,
        locks: Locks::All,
        handler: Handler::Deferred(keys),
        flags: Flags::READONLY,
        categories: Categories::KEYSPACE.union(Categories::DANGEROUS),
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        docs: Docs {
            summary: "Names all keys that match a pattern.",
            group: "generic",
            complexity: "O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.",
            arguments: &[Argument {
                name: "pattern",
                kind: "pattern",
                ..Argument::NEW
            }],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "scan",
        arity: -2,
        locks: Locks::All,
        handler: Handler::Deferred(scan),
        flags: Flags::READONLY,
        categories: Categories::KEYSPACE,
        tips: &["nondeterministic_output", "request_policy:special"],
        docs: Docs {
            summary: "Names the keys of the selected database, a few with each call.",
            since: "2.8.0",
            group: "generic",
            complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.",
            history: &[("6.0.0", "`TYPE` filters by type.")],
            arguments: &[
                Argument {
                    name: "cursor",
                    kind: "integer",
                    ..Argument::NEW
                },
                Argument {
                    name: "pattern",
                    kind: "pattern",
                    token: "MATCH",
                    flags: &["optional"],
                    ..Argument::NEW
                },
                Argument {
                    name: "count",
                    kind: "integer",
                    token: "COUNT",
                    flags: &["optional"],
                    ..Argument::NEW
                },
                Argument {
                    name: "type",
                    token: "TYPE",
                    since: "6.0.0",
                    flags: &["optional"],
                    ..Argument::NEW
                },
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];
