//! The list commands' part of the command table.

use super::{change, ends, lookup, transfer};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// What all list commands share.
pub(super) const LIST: CommandSpec = CommandSpec {
    categories: Categories::LIST,
    ..CommandSpec::NEW
};

/// What the documentation of most list commands shares.
pub(super) const DOCS: Docs = Docs {
    group: "list",
    ..Docs::NEW
};

/// A key that elements are taken from.
pub(super) const POPPED: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE);
/// A key that elements are added to.
pub(super) const PUSHED: KeyFlags = KeyFlags::RW.union(KeyFlags::INSERT);
/// The first two arguments.
pub(super) const BOTH: Keys = Keys::Range {
    first: 1,
    last: 2,
    step: 1,
};

const ELEMENT: Argument = Argument::new("element", "string");
const ELEMENTS: Argument = ELEMENT.flagged(&["multiple"]);
pub(super) const DESTINATION: Argument = Argument {
    key_spec_index: Some(1),
    ..Argument::new("destination", "key")
};
pub(super) const SIDES: &[Argument] = &[
    Argument::word("left", "LEFT"),
    Argument::word("right", "RIGHT"),
];

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "lindex",
        arity: 3,
        handler: Handler::Data(lookup::lindex),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RO.union(KeyFlags::ACCESS))],
        docs: Docs {
            summary: "Returns the element at an index.",
            complexity: "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for the first or the last element of the list O(1).",
            arguments: &[Argument::key("key"), Argument::new("index", "integer")],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "linsert",
        arity: 5,
        handler: Handler::Data(change::linsert),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(PUSHED)],
        docs: Docs {
            summary: "Puts an element before or behind another one.",
            since: "2.2.0",
            complexity: "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the right end (tail) is O(N).",
            arguments: &[
                Argument::key("key"),
                Argument::one_of(
                    "where",
                    &[
                        Argument::word("before", "BEFORE"),
                        Argument::word("after", "AFTER"),
                    ],
                ),
                Argument::new("pivot", "string"),
                ELEMENT,
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "llen",
        arity: 2,
        handler: Handler::Data(lookup::llen),
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RO)],
        docs: Docs {
            summary: "Counts the elements.",
            arguments: &[Argument::key("key")],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lmove",
        arity: 5,
        handler: Handler::Data(transfer::lmove),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: BOTH,
        key_specs: &[KeySpec::first(POPPED), KeySpec::range(PUSHED, 2, 0, 1)],
        docs: Docs {
            summary: "Moves an element from an end of a list to an end of another, and returns it.",
            since: "6.2.0",
            arguments: &[
                Argument::key("source"),
                DESTINATION,
                Argument::one_of("wherefrom", SIDES),
                Argument::one_of("whereto", SIDES),
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lmpop",
        arity: -4,
        handler: Handler::Data(ends::lmpop),
        flags: Flags::WRITE.union(Flags::MOVABLEKEYS),
        keys: Keys::Found(ends::keys_of_lmpop),
        key_specs: &[KeySpec::counted(POPPED, 1)],
        docs: Docs {
            summary: "Takes elements out of the first list that is there.",
            since: "7.0.0",
            complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
            arguments: &[
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
        name: "lpop",
        arity: -2,
        handler: Handler::Data(ends::lpop),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(POPPED)],
        docs: Docs {
            summary: "Takes the first elements out of a list, and the key with the last of them.",
            complexity: "O(N) where N is the number of elements returned",
            history: &[("6.2.0", "Takes a count.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("count", "integer").since("6.2.0").optional(),
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lpos",
        arity: -3,
        handler: Handler::Data(lookup::lpos),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RO.union(KeyFlags::ACCESS))],
        docs: Docs {
            summary: "Returns the indices of elements of this value.",
            since: "6.0.6",
            complexity: "O(N) where N is the number of elements in the list, for the average case. When searching for elements near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.",
            arguments: &[
                Argument::key("key"),
                ELEMENT,
                Argument::new("rank", "integer").after("RANK").optional(),
                Argument::new("num-matches", "integer")
                    .after("COUNT")
                    .optional(),
                Argument::new("len", "integer").after("MAXLEN").optional(),
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lpush",
        arity: -3,
        handler: Handler::Data(ends::lpush),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(PUSHED)],
        docs: Docs {
            summary: "Puts elements before the first of a list, one after the other, and makes the list if there is none.",
            complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            history: &[("2.4.0", "Takes more than one element.")],
            arguments: &[Argument::key("key"), ELEMENTS],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lpushx",
        arity: -3,
        handler: Handler::Data(ends::lpushx),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(PUSHED)],
        docs: Docs {
            summary: "Puts elements before the first of a list that is there.",
            since: "2.2.0",
            complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            history: &[("4.0.0", "Takes more than one element.")],
            arguments: &[Argument::key("key"), ELEMENTS],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lrange",
        arity: 4,
        handler: Handler::Data(lookup::lrange),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RO.union(KeyFlags::ACCESS))],
        docs: Docs {
            summary: "Returns the elements between two indices.",
            complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range.",
            arguments: &[
                Argument::key("key"),
                Argument::new("start", "integer"),
                Argument::new("stop", "integer"),
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lrem",
        arity: 4,
        handler: Handler::Data(change::lrem),
        flags: Flags::WRITE,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RW.union(KeyFlags::DELETE))],
        docs: Docs {
            summary: "Removes elements of this value, counted from either end.",
            complexity: "O(N+M) where N is the length of the list and M is the number of elements removed.",
            arguments: &[
                Argument::key("key"),
                Argument::new("count", "integer"),
                ELEMENT,
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "lset",
        arity: 4,
        handler: Handler::Data(change::lset),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RW.union(KeyFlags::UPDATE))],
        docs: Docs {
            summary: "Replaces the element at an index.",
            complexity: "O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).",
            arguments: &[
                Argument::key("key"),
                Argument::new("index", "integer"),
                ELEMENT,
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "ltrim",
        arity: 4,
        handler: Handler::Data(change::ltrim),
        flags: Flags::WRITE,
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(KeyFlags::RW.union(KeyFlags::DELETE))],
        docs: Docs {
            summary: "Keeps the elements between two indices, and removes the others.",
            complexity: "O(N) where N is the number of elements to be removed by the operation.",
            arguments: &[
                Argument::key("key"),
                Argument::new("start", "integer"),
                Argument::new("stop", "integer"),
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "rpop",
        arity: -2,
        handler: Handler::Data(ends::rpop),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(POPPED)],
        docs: Docs {
            summary: "Takes the last elements out of a list, and the key with the last of them.",
            complexity: "O(N) where N is the number of elements returned",
            history: &[("6.2.0", "Takes a count.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("count", "integer").since("6.2.0").optional(),
            ],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "rpoplpush",
        arity: 3,
        handler: Handler::Data(transfer::rpoplpush),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: BOTH,
        key_specs: &[KeySpec::first(POPPED), KeySpec::range(PUSHED, 2, 0, 1)],
        docs: Docs {
            summary: "Moves the last element of a list to the front of another, and returns it.",
            since: "1.2.0",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
            arguments: &[Argument::key("source"), DESTINATION],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "rpush",
        arity: -3,
        handler: Handler::Data(ends::rpush),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(PUSHED)],
        docs: Docs {
            summary: "Puts elements behind the last of a list, and makes the list if there is none.",
            complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            history: &[("2.4.0", "Takes more than one element.")],
            arguments: &[Argument::key("key"), ELEMENTS],
            ..DOCS
        },
        ..LIST
    },
    CommandSpec {
        name: "rpushx",
        arity: -3,
        handler: Handler::Data(ends::rpushx),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::first(PUSHED)],
        docs: Docs {
            summary: "Puts elements behind the last of a list that is there.",
            since: "2.2.0",
            complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
            history: &[("4.0.0", "Takes more than one element.")],
            arguments: &[Argument::key("key"), ELEMENTS],
            ..DOCS
        },
        ..LIST
    },
];
