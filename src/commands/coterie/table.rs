//! The commands beyond Redis as data.

use crate::commands::{Argument, Categories, CommandSpec, Docs, Flags, Handler};

const DOCS: Docs = Docs {
    group: "cluster",
    since: "7.0.0",
    ..Docs::NEW
};

/// Tells something at any time.
const TELLS: Flags = Flags::LOADING.union(Flags::STALE);
/// Changes the cluster.
const CHANGES: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE);

const DATABASE: Argument = Argument::new("database", "integer");
const NODE_ID: Argument = Argument::new("node-id", "string");

const fn container(
    name: &'static str,
    summary: &'static str,
    subcommands: &'static [CommandSpec],
) -> CommandSpec {
    CommandSpec {
        name,
        arity: -2,
        docs: Docs {
            summary,
            complexity: "Depends on subcommand.",
            ..DOCS
        },
        subcommands,
        ..CommandSpec::NEW
    }
}

const fn command(
    name: &'static str,
    arity: i32,
    handler: Handler,
    flags: Flags,
    summary: &'static str,
    arguments: &'static [Argument],
) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        handler,
        flags,
        docs: Docs {
            summary,
            arguments,
            ..DOCS
        },
        ..CommandSpec::NEW
    }
}

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    container(
        "coterie",
        "Explains the commands that Redis does not have.",
        &[command(
            "coterie|help",
            2,
            Handler::Control(super::help),
            TELLS,
            "Lists these commands.",
            &[],
        )],
    ),
    CommandSpec {
        categories: Categories::CONNECTION,
        ..command(
            "coterie.consistency",
            -1,
            Handler::Control(super::consistency::consistency),
            TELLS.union(Flags::NOSCRIPT).union(Flags::FAST),
            "Chooses how many replicas the requests of this connection wait for.",
            CONSISTENCY_ARGUMENTS,
        )
    },
    container(
        "coterie.node",
        "Tells of the members of the cluster, and changes them.",
        NODE,
    ),
    container(
        "coterie.policy",
        "Tells how databases are replicated, and changes it.",
        POLICY,
    ),
    CommandSpec {
        tips: &["nondeterministic_output"],
        ..command(
            "coterie.topology",
            1,
            Handler::Control(super::topology::topology),
            TELLS,
            "Tells who holds which partition, and what moves.",
            &[],
        )
    },
];

const NODE: &[CommandSpec] = &[
    command(
        "coterie.node|help",
        2,
        Handler::Control(super::node::help),
        TELLS,
        "Lists the subcommands.",
        &[],
    ),
    command(
        "coterie.node|list",
        2,
        Handler::Control(super::node::list),
        TELLS,
        "Lists the members.",
        &[],
    ),
    command(
        "coterie.node|drain",
        3,
        Handler::Deferred(super::node::drain),
        CHANGES,
        "Moves the partitions of a node elsewhere.",
        &[NODE_ID],
    ),
    command(
        "coterie.node|remove",
        3,
        Handler::Deferred(super::node::remove),
        CHANGES,
        "Takes a node out of the cluster.",
        &[NODE_ID],
    ),
    command(
        "coterie.node|replace",
        4,
        Handler::Deferred(super::node::replace),
        CHANGES,
        "Gives the partitions of a node to another.",
        &[
            Argument::new("old-node-id", "string"),
            Argument::new("new-node-id", "string"),
        ],
    ),
];

const POLICY: &[CommandSpec] = &[
    command(
        "coterie.policy|help",
        2,
        Handler::Control(super::policy::help),
        TELLS,
        "Lists the subcommands.",
        &[],
    ),
    command(
        "coterie.policy|get",
        3,
        Handler::Control(super::policy::get),
        TELLS,
        "Tells how a database is replicated.",
        &[DATABASE],
    ),
    command(
        "coterie.policy|set",
        -5,
        Handler::Deferred(super::policy::set),
        CHANGES,
        "Changes how a database is replicated.",
        &[
            DATABASE,
            Argument::block(
                "name_value",
                &[
                    Argument::new("name", "string"),
                    Argument::new("value", "string"),
                ],
            )
            .flagged(&["multiple"]),
        ],
    ),
];

const CONSISTENCY_ARGUMENTS: &[Argument] = &[Argument::one_of(
    "levels",
    &[
        Argument::block(
            "read_write",
            &[
                Argument::new("read-quorum", "string")
                    .after("READ")
                    .optional(),
                Argument::new("write-quorum", "string")
                    .after("WRITE")
                    .optional(),
            ],
        ),
        Argument::word("default", "DEFAULT"),
    ],
)
.optional()];
