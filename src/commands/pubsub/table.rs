//! Pub/sub's commands as data.

use crate::commands::{Argument, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys};

/// Flags of commands that listen.
const LISTENING: Flags = Flags::PUBSUB
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE);
const PUBLISHING: Flags = Flags::PUBSUB
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::MAY_REPLICATE);
const ASKING: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

const DOCS: Docs = Docs {
    since: "2.0.0",
    group: "pubsub",
    ..Docs::NEW
};

const CHANNELS_MATCHING: &str =
    "O(N), N being the number of channels that anyone listens to, if names and pattern are short";

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "subscribe",
        arity: -2,
        handler: Handler::Control(super::subscribe),
        flags: LISTENING,
        docs: Docs {
            summary: "Listens to channels.",
            complexity: "O(N), N being the number of channels",
            arguments: &[Argument::new("channel", "string").flagged(&["multiple"])],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "unsubscribe",
        arity: -1,
        handler: Handler::Control(super::unsubscribe),
        flags: LISTENING,
        docs: Docs {
            summary: "Listens to channels no more, or to none.",
            complexity: "O(N), N being the number of channels",
            arguments: &[Argument::new("channel", "string").flagged(&["optional", "multiple"])],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "psubscribe",
        arity: -2,
        handler: Handler::Control(super::psubscribe),
        flags: LISTENING,
        docs: Docs {
            summary: "Listens to all channels whose names match patterns.",
            complexity: "O(N), N being the number of patterns",
            arguments: &[
                Argument::block("pattern", &[Argument::new("pattern", "pattern")])
                    .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "punsubscribe",
        arity: -1,
        handler: Handler::Control(super::punsubscribe),
        flags: LISTENING,
        docs: Docs {
            summary: "Listens no more to channels whose names match patterns, or to any pattern.",
            complexity: "O(N log M), N being the number of patterns, M that of the patterns of all clients",
            arguments: &[Argument::new("pattern", "pattern").flagged(&["optional", "multiple"])],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "ssubscribe",
        arity: -2,
        handler: Handler::Control(super::ssubscribe),
        flags: LISTENING,
        keys: Keys::ALL,
        key_specs: &[KeySpec::range(KeyFlags::NOT_KEY, 1, -1, 1)],
        docs: Docs {
            summary: "Listens to shard channels.",
            since: "7.0.0",
            complexity: "O(N), N being the number of channels",
            arguments: &[Argument::new("shardchannel", "string").flagged(&["multiple"])],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "sunsubscribe",
        arity: -1,
        handler: Handler::Control(super::sunsubscribe),
        flags: LISTENING,
        keys: Keys::ALL,
        key_specs: &[KeySpec::range(KeyFlags::NOT_KEY, 1, -1, 1)],
        docs: Docs {
            summary: "Listens to shard channels no more, or to none.",
            since: "7.0.0",
            complexity: "O(N), N being the number of channels",
            arguments: &[Argument::new("shardchannel", "string").flagged(&["optional", "multiple"])],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "publish",
        arity: 3,
        handler: Handler::Control(super::publish),
        flags: PUBLISHING,
        docs: Docs {
            summary: "Sends a message to all who listen to a channel.",
            complexity: "O(N+M), N being the number of clients that listen to the channel, M that of the patterns of all clients",
            arguments: &[
                Argument::new("channel", "string"),
                Argument::new("message", "string"),
            ],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "spublish",
        arity: 3,
        handler: Handler::Control(super::spublish),
        flags: PUBLISHING,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::NOT_KEY)],
        docs: Docs {
            summary: "Sends a message to all who listen to a shard channel.",
            since: "7.0.0",
            complexity: "O(N), N being the number of clients that listen to the channel",
            arguments: &[
                Argument::new("shardchannel", "string"),
                Argument::new("message", "string"),
            ],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "pubsub",
        arity: -2,
        docs: Docs {
            summary: "Tells what is listened to.",
            since: "2.8.0",
            complexity: "That of the subcommand",
            ..DOCS
        },
        subcommands: SUBCOMMANDS,
        ..CommandSpec::NEW
    },
];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "pubsub|channels",
        arity: -2,
        handler: Handler::Control(super::channels),
        flags: ASKING,
        docs: Docs {
            summary: "Lists the channels that anyone listens to.",
            since: "2.8.0",
            complexity: CHANNELS_MATCHING,
            arguments: &[Argument::new("pattern", "pattern").optional()],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "pubsub|help",
        arity: 2,
        handler: Handler::Control(super::help),
        flags: Flags::LOADING.union(Flags::STALE),
        docs: Docs {
            summary: "Describes the subcommands.",
            since: "6.2.0",
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "pubsub|numpat",
        arity: 2,
        handler: Handler::Control(super::numpat),
        flags: ASKING,
        docs: Docs {
            summary: "Counts the patterns that anyone listens to.",
            since: "2.8.0",
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "pubsub|numsub",
        arity: -2,
        handler: Handler::Control(super::numsub),
        flags: ASKING,
        docs: Docs {
            summary: "Counts the clients that listen to channels.",
            since: "2.8.0",
            complexity: "O(N), N being the number of channels",
            arguments: &[Argument::new("channel", "string").flagged(&["optional", "multiple"])],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "pubsub|shardchannels",
        arity: -2,
        handler: Handler::Control(super::shard_channels),
        flags: ASKING,
        docs: Docs {
            summary: "Lists the shard channels that anyone listens to.",
            since: "7.0.0",
            complexity: CHANNELS_MATCHING,
            arguments: &[Argument::new("pattern", "pattern").optional()],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "pubsub|shardnumsub",
        arity: -2,
        handler: Handler::Control(super::shard_numsub),
        flags: ASKING,
        docs: Docs {
            summary: "Counts the clients that listen to shard channels.",
            since: "7.0.0",
            complexity: "O(N), N being the number of channels",
            arguments: &[Argument::new("shardchannel", "string").flagged(&["optional", "multiple"])],
            ..DOCS
        },
        ..CommandSpec::NEW
    },
];
