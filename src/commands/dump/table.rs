//! The family's part of the command table.

use super::{dump, restore};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// See the module.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "dump",
        arity: 2,
        handler: Handler::Data(dump),
        flags: Flags::READONLY,
        categories: Categories::KEYSPACE,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RO.union(KeyFlags::ACCESS))],
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Answers a value as bytes, which RESTORE makes the value of again.",
            since: "2.6.0",
            group: "generic",
            complexity: "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).",
            arguments: &[Argument::key("key")],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "restore",
        arity: -4,
        handler: Handler::Data(restore),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        categories: Categories::KEYSPACE.union(Categories::DANGEROUS),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::OW.union(KeyFlags::UPDATE))],
        docs: Docs {
            summary: "Makes a key of the bytes that DUMP has answered.",
            since: "2.6.0",
            group: "generic",
            complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).",
            history: &[
                ("3.0.0", "New option `REPLACE`."),
                ("5.0.0", "New option `ABSTTL`."),
                ("5.0.0", "New options `IDLETIME` and `FREQ`."),
            ],
            arguments: &[
                Argument::key("key"),
                Argument::new("ttl", "integer"),
                Argument::new("serialized-value", "string"),
                Argument::word("replace", "REPLACE")
                    .since("3.0.0")
                    .optional(),
                Argument::word("absttl", "ABSTTL").since("5.0.0").optional(),
                Argument::new("seconds", "integer")
                    .after("IDLETIME")
                    .since("5.0.0")
                    .optional(),
                Argument::new("frequency", "integer")
                    .after("FREQ")
                    .since("5.0.0")
                    .optional(),
            ],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];
