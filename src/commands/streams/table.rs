//! The part of the command table for entries and for what was given out.

use super::{add, claim, deliver, entries, pending, read, trim};
use crate::commands::spec::{
    Argument, Begin, Categories, CommandSpec, Docs, Find, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// What all stream commands share.
pub(super) const STREAM: CommandSpec = CommandSpec {
    categories: Categories::STREAM,
    ..CommandSpec::NEW
};

/// What the documentation of most stream commands shares.
pub(super) const DOCS: Docs = Docs {
    since: "5.0.0",
    group: "stream",
    ..Docs::NEW
};

const READ: &[KeySpec] = &[KeySpec::first(KeyFlags::RO.union(KeyFlags::ACCESS))];
const UPDATED: &[KeySpec] = &[KeySpec::first(KeyFlags::RW.union(KeyFlags::UPDATE))];
const SHRUNK: &[KeySpec] = &[KeySpec::first(KeyFlags::RW.union(KeyFlags::DELETE))];

const KEY: Argument = Argument::key("key");
const GROUP: Argument = Argument::new("group", "string");
const CONSUMER: Argument = Argument::new("consumer", "string");
const ID: Argument = Argument::new("id", "string");
const IDS: Argument = ID.flagged(&["multiple"]);
const START: Argument = Argument::new("start", "string");
const END: Argument = Argument::new("end", "string");
const COUNT: Argument = Argument::new("count", "integer").after("COUNT").optional();
const MIN_IDLE: Argument = Argument::new("min-idle-time", "string");
const JUST_ID: Argument = Argument::word("justid", "JUSTID").optional();
const BLOCK: Argument = Argument::new("milliseconds", "integer")
    .after("BLOCK")
    .optional();
const STREAMS: Argument =
    Argument::block("streams", &[KEY.flagged(&["multiple"]), IDS]).after("STREAMS");
const TRIM: Argument = Argument::block(
    "trim",
    &[
        Argument::one_of(
            "strategy",
            &[
                Argument::word("maxlen", "MAXLEN"),
                Argument::word("minid", "MINID").since("6.2.0"),
            ],
        ),
        Argument::one_of(
            "operator",
            &[
                Argument::word("equal", "="),
                Argument::word("approximately", "~"),
            ],
        )
        .optional(),
        Argument::new("threshold", "string"),
        Argument::new("count", "integer")
            .after("LIMIT")
            .since("6.2.0")
            .optional(),
    ],
);

/// Keys behind `STREAMS`, of which there are as many as ids behind them.
const fn behind_streams(from: isize) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
        ..KeySpec::first(KeyFlags::RO.union(KeyFlags::ACCESS))
    }
}

/// The family's part of the command table, without groups and `XINFO`.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xack",
        arity: -4,
        handler: Handler::Data(pending::xack),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: UPDATED,
        docs: Docs {
            summary: "Acknowledges entries that a group was given; answers how many were pending.",
            complexity: "O(1) for each message ID processed.",
            arguments: &[KEY, GROUP, IDS],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xadd",
        arity: -5,
        handler: Handler::Data(add::xadd),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[
            KeySpec::first(KeyFlags::RW.union(KeyFlags::UPDATE)).noted("Trimming also deletes.")
        ],
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Adds an entry, and makes the stream if there is none; answers the entry's id.",
            complexity: "O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.",
            history: &[
                ("6.2.0", "Knows `NOMKSTREAM`, `MINID` and `LIMIT`."),
                (
                    "7.0.0",
                    "Takes an id `<ms>-*` of which only the time is given.",
                ),
            ],
            arguments: &[
                KEY,
                Argument::word("nomkstream", "NOMKSTREAM")
                    .since("6.2.0")
                    .optional(),
                TRIM.optional(),
                Argument::one_of("id_or_auto", &[Argument::word("auto_id", "*"), ID]),
                Argument::block(
                    "field_value",
                    &[
                        Argument::new("field", "string"),
                        Argument::new("value", "string"),
                    ],
                )
                .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xautoclaim",
        arity: -6,
        handler: Handler::Data(claim::xautoclaim),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: SHRUNK,
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Lets a consumer take over entries that others have had for too long.",
            since: "6.2.0",
            complexity: "O(1) if COUNT is small.",
            history: &[(
                "7.0.0",
                "Answers which entries were deleted, and does not keep them pending.",
            )],
            arguments: &[KEY, GROUP, CONSUMER, MIN_IDLE, START, COUNT, JUST_ID],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xclaim",
        arity: -6,
        handler: Handler::Data(claim::xclaim),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: UPDATED,
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Lets a consumer take over the entries with these ids.",
            complexity: "O(log N) with N being the number of messages in the PEL of the consumer group.",
            arguments: &[
                KEY,
                GROUP,
                CONSUMER,
                MIN_IDLE,
                IDS,
                Argument::new("ms", "integer").after("IDLE").optional(),
                Argument::new("unix-time-milliseconds", "unix-time")
                    .after("TIME")
                    .optional(),
                Argument::new("count", "integer")
                    .after("RETRYCOUNT")
                    .optional(),
                Argument::word("force", "FORCE").optional(),
                JUST_ID,
                ID.after("LASTID").optional(),
            ],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xdel",
        arity: -3,
        handler: Handler::Data(entries::xdel),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: SHRUNK,
        docs: Docs {
            summary: "Deletes entries; answers how many there were.",
            complexity: "O(1) for each single item to delete in the stream, regardless of the stream size.",
            arguments: &[KEY, IDS],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xlen",
        arity: 2,
        handler: Handler::Data(entries::xlen),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RO)],
        docs: Docs {
            summary: "Tells how many entries a stream has.",
            arguments: &[KEY],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xpending",
        arity: -3,
        handler: Handler::Data(pending::xpending),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: READ,
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Tells what a group was given and has not acknowledged, in short or one by one.",
            complexity: "O(N) with N being the number of elements returned, so asking for a small fixed number of entries per call is O(1). O(M), where M is the total number of entries scanned when used with the IDLE filter. When the command returns just the summary and the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time for iterating every consumer.",
            history: &[("6.2.0", "Knows `IDLE`, and ranges without their ends.")],
            arguments: &[
                KEY,
                GROUP,
                Argument::block(
                    "filters",
                    &[
                        Argument::new("min-idle-time", "integer")
                            .after("IDLE")
                            .since("6.2.0")
                            .optional(),
                        START,
                        END,
                        Argument::new("count", "integer"),
                        CONSUMER.optional(),
                    ],
                )
                .optional(),
            ],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xrange",
        arity: -4,
        handler: Handler::Data(entries::xrange),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: READ,
        docs: Docs {
            summary: "Returns the entries between two ids.",
            complexity: "O(N) with N being the number of elements being returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).",
            history: &[("6.2.0", "Takes ranges without their ends.")],
            arguments: &[KEY, START, END, COUNT],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xread",
        arity: -4,
        handler: Handler::Data(read::xread),
        flags: Flags::READONLY
            .union(Flags::BLOCKING)
            .union(Flags::MOVABLEKEYS),
        keys: Keys::Found(read::keys),
        key_specs: &[behind_streams(1)],
        docs: Docs {
            summary: "Returns what streams have behind these ids; may wait for it.",
            complexity: "For each stream mentioned: O(N) with N being the number of elements being returned, it means that XREAD-ing with a fixed COUNT is O(1). Note that when the BLOCK option is used, XADD will pay O(M) time in order to serve the M clients blocked on the stream getting new data.",
            arguments: &[COUNT, BLOCK, STREAMS],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xreadgroup",
        arity: -7,
        handler: Handler::Data(deliver::xreadgroup),
        flags: Flags::WRITE
            .union(Flags::BLOCKING)
            .union(Flags::MOVABLEKEYS),
        keys: Keys::Found(read::keys),
        key_specs: &[behind_streams(4)],
        docs: Docs {
            summary: "Gives a consumer entries that its group was not given, or its own once more; may wait for some.",
            complexity: "For each stream mentioned: O(M) with M being the number of elements returned. If M is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time in order to serve the N clients blocked on the stream getting new data.",
            arguments: &[
                Argument::block("group_consumer", &[GROUP, CONSUMER]).after("GROUP"),
                COUNT,
                BLOCK,
                Argument::word("noack", "NOACK").optional(),
                STREAMS,
            ],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xrevrange",
        arity: -4,
        handler: Handler::Data(entries::xrevrange),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: READ,
        docs: Docs {
            summary: "Returns the entries between two ids, the last first.",
            complexity: "O(N) with N being the number of elements returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).",
            history: &[("6.2.0", "Takes ranges without their ends.")],
            arguments: &[KEY, END, START, COUNT],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xsetid",
        arity: -3,
        handler: Handler::Data(entries::xsetid),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: UPDATED,
        docs: Docs {
            summary: "Sets the id that new entries have to be above. For tools that copy streams.",
            history: &[(
                "7.0.0",
                "Takes how many entries were added and the highest id that was deleted.",
            )],
            arguments: &[
                KEY,
                Argument::new("last-id", "string"),
                Argument::new("entries_added", "integer")
                    .after("ENTRIESADDED")
                    .since("7.0.0")
                    .optional(),
                Argument::new("max_deleted_entry_id", "string")
                    .after("MAXDELETEDID")
                    .since("7.0.0")
                    .optional(),
            ],
            ..DOCS
        },
        ..STREAM
    },
    CommandSpec {
        name: "xtrim",
        arity: -4,
        handler: Handler::Data(trim::xtrim),
        flags: Flags::WRITE,
        keys: Keys::FIRST,
        key_specs: SHRUNK,
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary: "Deletes the first entries, down to a length or up to an id; answers how many.",
            complexity: "O(N), with N being the number of evicted entries. Constant times are very small however, since entries are organized in macro nodes containing multiple entries that can be released with a single deallocation.",
            history: &[("6.2.0", "Knows `MINID` and `LIMIT`.")],
            arguments: &[KEY, TRIM],
            ..DOCS
        },
        ..STREAM
    },
];
