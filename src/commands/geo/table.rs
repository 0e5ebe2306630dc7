//! The geo commands' part of the command table.

use super::{add, lookup, search};
use crate::commands::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};

/// What all geo commands share.
const GEO: CommandSpec = CommandSpec {
    categories: Categories::GEO,
    ..CommandSpec::NEW
};

/// What the documentation of all geo commands shares.
const DOCS: Docs = Docs {
    group: "geo",
    ..Docs::NEW
};

/// Of a distance.
const UNIT: Argument = Argument::one_of(
    "unit",
    &[
        Argument::word("m", "M"),
        Argument::word("km", "KM"),
        Argument::word("ft", "FT"),
        Argument::word("mi", "MI"),
    ],
);

const BY: Argument = Argument::one_of(
    "by",
    &[
        Argument::block(
            "circle",
            &[Argument::new("radius", "double").after("BYRADIUS"), UNIT],
        ),
        Argument::block(
            "box",
            &[
                Argument::new("width", "double").after("BYBOX"),
                Argument::new("height", "double"),
                UNIT,
            ],
        ),
    ],
);

const FROM: Argument = Argument::one_of(
    "from",
    &[
        Argument::new("member", "string").after("FROMMEMBER"),
        Argument::block(
            "longitude_latitude",
            &[
                Argument::new("longitude", "double"),
                Argument::new("latitude", "double"),
            ],
        )
        .after("FROMLONLAT"),
    ],
);

const COUNT_SINCE_6_2: Argument = Argument::block(
    "count",
    &[
        Argument::new("count", "integer").after("COUNT"),
        Argument::word("any", "ANY").since("6.2.0").optional(),
    ],
)
.optional();

const COUNT: Argument = Argument::block(
    "count",
    &[
        Argument::new("count", "integer").after("COUNT"),
        Argument::word("any", "ANY").optional(),
    ],
)
.optional();

const ORDER: Argument = Argument::one_of(
    "order",
    &[Argument::word("asc", "ASC"), Argument::word("desc", "DESC")],
)
.optional();

const STOREDIST: Argument = Argument {
    key_spec_index: Some(2),
    ..Argument::new("key", "key")
}
.after("STOREDIST")
.optional();

const STORE: Argument = Argument {
    key_spec_index: Some(1),
    ..Argument::new("key", "key")
}
.after("STORE")
.optional();

/// One key that is read.
const READ: KeySpec = KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 1, 0, 1);

const WITH_COORDINATES: Argument = Argument::word("withcoord", "WITHCOORD").optional();

const WITH_DISTANCES: Argument = Argument::word("withdist", "WITHDIST").optional();

const WITH_HASHES: Argument = Argument::word("withhash", "WITHHASH").optional();

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "geoadd",
        arity: -5,
        handler: Handler::Data(add::geoadd),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::FIRST,
        key_specs: &[KeySpec::range(
            KeyFlags::RW.union(KeyFlags::UPDATE),
            1,
            0,
            1,
        )],
        docs: Docs {
            summary: "Adds places, or moves those that are there.",
            since: "3.2.0",
            complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
            history: &[("6.2.0", "Takes `CH`, `NX` and `XX`.")],
            arguments: &[
                Argument::key("key"),
                Argument::one_of(
                    "condition",
                    &[Argument::word("nx", "NX"), Argument::word("xx", "XX")],
                )
                .since("6.2.0")
                .optional(),
                Argument::word("change", "CH").since("6.2.0").optional(),
                Argument::block(
                    "longitude_latitude_member",
                    &[
                        Argument::new("longitude", "double"),
                        Argument::new("latitude", "double"),
                        Argument::new("member", "string"),
                    ],
                )
                .flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "geodist",
        arity: -4,
        handler: Handler::Data(lookup::geodist),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the distance of two places.",
            since: "3.2.0",
            complexity: "O(log(N))",
            arguments: &[
                Argument::key("key"),
                Argument::new("member1", "string"),
                Argument::new("member2", "string"),
                UNIT.optional(),
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "geohash",
        arity: -2,
        handler: Handler::Data(lookup::geohash),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the standard geohashes of places.",
            since: "3.2.0",
            complexity: "O(log(N)) for each member requested, where N is the number of elements in the sorted set.",
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string").flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "geopos",
        arity: -2,
        handler: Handler::Data(lookup::geopos),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Returns the longitudes and latitudes of places.",
            since: "3.2.0",
            complexity: "O(N) where N is the number of members requested.",
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string").flagged(&["multiple"]),
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "georadius",
        arity: -6,
        handler: Handler::Data(search::georadius),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS),
        keys: Keys::Found(search::keys_of_georadius),
        key_specs: &[
            READ,
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 0, 0, 1).behind("STORE", 6),
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 0, 0, 1).behind("STOREDIST", 6),
        ],
        docs: Docs {
            summary: "Finds places in a circle, and keeps them if asked to.",
            since: "3.2.0",
            complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
            history: &[
                ("6.2.0", "`COUNT` takes `ANY`."),
                ("7.0.0", "Takes units in upper case."),
            ],
            arguments: &[
                Argument::key("key"),
                Argument::new("longitude", "double"),
                Argument::new("latitude", "double"),
                Argument::new("radius", "double"),
                UNIT,
                WITH_COORDINATES,
                WITH_DISTANCES,
                WITH_HASHES,
                COUNT_SINCE_6_2,
                ORDER,
                STORE,
                STOREDIST,
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "georadius_ro",
        arity: -6,
        handler: Handler::Data(search::georadius_ro),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Finds places in a circle.",
            since: "3.2.10",
            complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument",
            history: &[("6.2.0", "`COUNT` takes `ANY`.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("longitude", "double"),
                Argument::new("latitude", "double"),
                Argument::new("radius", "double"),
                UNIT,
                WITH_COORDINATES,
                WITH_DISTANCES,
                WITH_HASHES,
                COUNT_SINCE_6_2,
                ORDER,
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "georadiusbymember",
        arity: -5,
        handler: Handler::Data(search::georadiusbymember),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS),
        keys: Keys::Found(search::keys_of_georadius),
        key_specs: &[
            READ,
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 0, 0, 1).behind("STORE", 5),
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 0, 0, 1).behind("STOREDIST", 5),
        ],
        docs: Docs {
            summary: "Finds places in a circle around one of them, and keeps them if asked to.",
            since: "3.2.0",
            complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
            history: &[("7.0.0", "Takes units in upper case.")],
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string"),
                Argument::new("radius", "double"),
                UNIT,
                WITH_COORDINATES,
                WITH_DISTANCES,
                WITH_HASHES,
                COUNT,
                ORDER,
                STORE,
                STOREDIST,
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "georadiusbymember_ro",
        arity: -5,
        handler: Handler::Data(search::georadiusbymember_ro),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Finds places in a circle around one of them.",
            since: "3.2.10",
            complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
            flags: &["deprecated"],
            deprecated_since: "6.2.0",
            replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
            arguments: &[
                Argument::key("key"),
                Argument::new("member", "string"),
                Argument::new("radius", "double"),
                UNIT,
                WITH_COORDINATES,
                WITH_DISTANCES,
                WITH_HASHES,
                COUNT,
                ORDER,
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "geosearch",
        arity: -7,
        handler: Handler::Data(search::geosearch),
        flags: Flags::READONLY,
        keys: Keys::FIRST,
        key_specs: &[READ],
        docs: Docs {
            summary: "Finds places in a circle or a rectangle.",
            since: "6.2.0",
            complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape",
            history: &[("7.0.0", "Takes units in upper case.")],
            arguments: &[
                Argument::key("key"),
                FROM,
                BY,
                ORDER,
                COUNT,
                WITH_COORDINATES,
                WITH_DISTANCES,
                WITH_HASHES,
            ],
            ..DOCS
        },
        ..GEO
    },
    CommandSpec {
        name: "geosearchstore",
        arity: -8,
        handler: Handler::Data(search::geosearchstore),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::Range {
            first: 1,
            last: 2,
            step: 1,
        },
        key_specs: &[
            KeySpec::range(KeyFlags::OW.union(KeyFlags::UPDATE), 1, 0, 1),
            KeySpec::range(KeyFlags::RO.union(KeyFlags::ACCESS), 2, 0, 1),
        ],
        docs: Docs {
            summary: "Keeps the places in a circle or a rectangle as a new sorted set.",
            since: "6.2.0",
            complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape",
            history: &[("7.0.0", "Takes units in upper case.")],
            arguments: &[
                Argument::key("destination"),
                Argument {
                    key_spec_index: Some(1),
                    ..Argument::new("source", "key")
                },
                FROM,
                BY,
                ORDER,
                COUNT,
                Argument::word("storedist", "STOREDIST").optional(),
            ],
            ..DOCS
        },
        ..GEO
    },
];
