//! `CLUSTER` and its relatives as data.

use super::refusal::refuse;
use crate::commands::{
    Argument, Categories, CommandResult, CommandSpec, Control, Docs, Flags, Handler, Locks,
};

const DOCS: Docs = Docs {
    group: "cluster",
    since: "3.0.0",
    ..Docs::NEW
};

const BY_NODES: &str = "O(N), N being the number of nodes";
const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];
/// About another node: for operators.
const ADMIN: Flags = Flags::ADMIN.union(Flags::STALE);
/// What changes a Redis Cluster.
const CHANGES: Flags = ADMIN.union(Flags::NO_ASYNC_LOADING);

const SLOT: Argument = Argument::new("slot", "integer");
const NODE_ID: Argument = Argument::new("node-id", "string");
const SLOT_RANGE: Argument = Argument::block(
    "start-slot_end-slot",
    &[
        Argument::new("start-slot", "integer"),
        Argument::new("end-slot", "integer"),
    ],
)
.flagged(&["multiple"]);

/// A subcommand that tells something.
const fn tells(name: &'static str, handler: Handler, summary: &'static str) -> CommandSpec {
    CommandSpec {
        name,
        arity: 2,
        handler,
        flags: Flags::STALE,
        docs: Docs { summary, ..DOCS },
        ..CommandSpec::NEW
    }
}

/// One whose answer changes with the cluster.
const fn tells_state(
    name: &'static str,
    handler: fn(&mut Control<'_, '_>) -> CommandResult,
    summary: &'static str,
) -> CommandSpec {
    CommandSpec {
        tips: NONDETERMINISTIC,
        docs: Docs {
            summary,
            complexity: BY_NODES,
            ..DOCS
        },
        ..tells(name, Handler::Control(handler), summary)
    }
}

/// One about a node.
const fn of_node(
    name: &'static str,
    handler: fn(&mut Control<'_, '_>) -> CommandResult,
    summary: &'static str,
) -> CommandSpec {
    CommandSpec {
        arity: 3,
        flags: ADMIN,
        docs: Docs {
            summary,
            arguments: &[NODE_ID],
            ..DOCS
        },
        ..tells_state(name, handler, summary)
    }
}

/// One that is refused.
const fn refused(
    name: &'static str,
    arity: i32,
    since: &'static str,
    arguments: &'static [Argument],
) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        handler: Handler::Control(refuse),
        flags: CHANGES,
        docs: Docs {
            summary: "Always an error, which tells how it is done here.",
            since,
            arguments,
            ..DOCS
        },
        ..CommandSpec::NEW
    }
}

/// A command about reading from replicas.
const fn of_connection(
    name: &'static str,
    handler: fn(&mut Control<'_, '_>) -> CommandResult,
    flags: Flags,
    summary: &'static str,
) -> CommandSpec {
    CommandSpec {
        name,
        arity: 1,
        handler: Handler::Control(handler),
        flags: flags.union(Flags::FAST),
        categories: Categories::CONNECTION,
        docs: Docs { summary, ..DOCS },
        ..CommandSpec::NEW
    }
}

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "cluster",
        arity: -2,
        docs: Docs {
            summary: "Tells about the cluster.",
            complexity: "Depends on subcommand.",
            ..DOCS
        },
        subcommands: SUBCOMMANDS,
        ..CommandSpec::NEW
    },
    of_connection(
        "readonly",
        super::read_only,
        Flags::LOADING.union(Flags::STALE),
        "Lets this connection read what this node has, however old it is.",
    ),
    of_connection(
        "readwrite",
        super::read_write,
        Flags::LOADING.union(Flags::STALE),
        "Ends what READONLY began.",
    ),
    of_connection(
        "asking",
        super::asking,
        Flags::empty(),
        "Accepted, and of no effect: no node answers with ASK.",
    ),
];

static SUBCOMMANDS: &[CommandSpec] = &[
    of_node(
        "cluster|count-failure-reports",
        super::count_failure_reports,
        "Tells how many members suspect a node of being dead.",
    ),
    CommandSpec {
        arity: 3,
        docs: Docs {
            summary: "Tells how many keys of a slot this node has.",
            complexity: "O(N), N being the number of keys of the slot's partition",
            arguments: &[SLOT],
            ..DOCS
        },
        locks: Locks::All,
        ..tells(
            "cluster|countkeysinslot",
            Handler::Deferred(super::keys::count),
            "",
        )
    },
    CommandSpec {
        arity: 4,
        tips: NONDETERMINISTIC,
        docs: Docs {
            summary: "Lists keys of a slot that this node has.",
            complexity: "O(N), N being the number of keys of the slot's partition",
            arguments: &[SLOT, Argument::new("count", "integer")],
            ..DOCS
        },
        locks: Locks::All,
        ..tells(
            "cluster|getkeysinslot",
            Handler::Deferred(super::keys::get),
            "",
        )
    },
    CommandSpec {
        flags: Flags::LOADING.union(Flags::STALE),
        docs: Docs {
            summary: "Lists the subcommands.",
            since: "5.0.0",
            ..DOCS
        },
        ..tells("cluster|help", Handler::Control(super::help), "")
    },
    tells_state(
        "cluster|info",
        super::info,
        "Tells the state of the cluster.",
    ),
    CommandSpec {
        arity: 3,
        docs: Docs {
            summary: "Tells the slot of a key.",
            complexity: "O(N), N being the length of the key",
            arguments: &[Argument::new("key", "string")],
            ..DOCS
        },
        ..tells("cluster|keyslot", Handler::Control(super::key_slot), "")
    },
    CommandSpec {
        docs: Docs {
            summary: "Lists the connections to other nodes.",
            since: "7.0.0",
            complexity: BY_NODES,
            ..DOCS
        },
        ..tells_state("cluster|links", super::links, "")
    },
    tells(
        "cluster|myid",
        Handler::Control(super::my_id),
        "Tells the id of this node.",
    ),
    tells_state(
        "cluster|nodes",
        super::nodes,
        "Lists the members of the cluster, a line each.",
    ),
    CommandSpec {
        docs: Docs {
            summary: "Lists the members that hold slots which a node is asked for first.",
            since: "5.0.0",
            arguments: &[NODE_ID],
            ..DOCS
        },
        ..of_node("cluster|replicas", super::replicas, "")
    },
    CommandSpec {
        docs: Docs {
            summary: "Lists the members that hold slots which a node is asked for first.",
            flags: &["deprecated"],
            deprecated_since: "5.0.0",
            replaced_by: "`CLUSTER REPLICAS`",
            arguments: &[NODE_ID],
            ..DOCS
        },
        ..of_node("cluster|slaves", super::replicas, "")
    },
    CommandSpec {
        docs: Docs {
            summary: "Lists the groups of slots with the same replicas.",
            since: "7.0.0",
            complexity: BY_NODES,
            ..DOCS
        },
        ..tells_state("cluster|shards", super::shards, "")
    },
    CommandSpec {
        docs: Docs {
            summary: "Lists the ranges of slots and their nodes.",
            complexity: BY_NODES,
            flags: &["deprecated"],
            deprecated_since: "7.0.0",
            replaced_by: "`CLUSTER SHARDS`",
            history: &[
                ("4.0.0", "Tells the ids of nodes, too."),
                ("7.0.0", "Tells more of each node's addresses."),
            ],
            ..DOCS
        },
        ..tells_state("cluster|slots", super::slots, "")
    },
    refused(
        "cluster|addslots",
        -3,
        "3.0.0",
        &[SLOT.flagged(&["multiple"])],
    ),
    refused("cluster|addslotsrange", -4, "7.0.0", &[SLOT_RANGE]),
    CommandSpec {
        tips: NONDETERMINISTIC,
        ..refused("cluster|bumpepoch", 2, "3.0.0", &[])
    },
    refused(
        "cluster|delslots",
        -3,
        "3.0.0",
        &[SLOT.flagged(&["multiple"])],
    ),
    refused("cluster|delslotsrange", -4, "7.0.0", &[SLOT_RANGE]),
    refused("cluster|failover", -2, "3.0.0", FAILOVER_ARGUMENTS),
    refused("cluster|flushslots", 2, "3.0.0", &[]),
    refused("cluster|forget", 3, "3.0.0", &[NODE_ID]),
    CommandSpec {
        docs: Docs {
            summary: "Always an error, which tells how it is done here.",
            history: &[("4.0.0", "Takes the port for nodes, too.")],
            arguments: &[
                Argument::new("ip", "string"),
                Argument::new("port", "integer"),
                Argument::new("cluster_bus_port", "integer")
                    .since("4.0.0")
                    .optional(),
            ],
            ..DOCS
        },
        ..refused("cluster|meet", -4, "3.0.0", &[])
    },
    refused("cluster|replicate", 3, "3.0.0", &[NODE_ID]),
    CommandSpec {
        flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE),
        ..refused("cluster|reset", -2, "3.0.0", RESET_ARGUMENTS)
    },
    refused("cluster|saveconfig", 2, "3.0.0", &[]),
    refused(
        "cluster|set-config-epoch",
        3,
        "3.0.0",
        &[Argument::new("config-epoch", "integer")],
    ),
    refused("cluster|setslot", -4, "3.0.0", SETSLOT_ARGUMENTS),
];

const FAILOVER_ARGUMENTS: &[Argument] = &[Argument::one_of(
    "options",
    &[
        Argument::word("force", "FORCE"),
        Argument::word("takeover", "TAKEOVER"),
    ],
)
.optional()];

const RESET_ARGUMENTS: &[Argument] = &[Argument::one_of(
    "hard_soft",
    &[
        Argument::word("hard", "HARD"),
        Argument::word("soft", "SOFT"),
    ],
)
.optional()];

const SETSLOT_ARGUMENTS: &[Argument] = &[
    SLOT,
    Argument::one_of(
        "subcommand",
        &[
            NODE_ID.after("IMPORTING"),
            NODE_ID.after("MIGRATING"),
            NODE_ID.after("NODE"),
            Argument::word("stable", "STABLE"),
        ],
    ),
];
