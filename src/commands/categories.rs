//! ACL categories of commands, those included that follow from the flags.

use super::spec::{Categories, CommandSpec, Flags};

/// Whether a command is in a category.
type Membership = fn(&CommandSpec) -> bool;

/// The categories in the order of Redis.
const CATEGORIES: &[(&str, Membership)] = &[
    ("keyspace", |spec| {
        spec.categories.contains(Categories::KEYSPACE)
    }),
    ("read", |spec| {
        spec.flags.contains(Flags::READONLY) && !spec.categories.contains(Categories::SCRIPTING)
    }),
    ("write", |spec| spec.flags.contains(Flags::WRITE)),
    ("set", |spec| spec.categories.contains(Categories::SET)),
    ("sortedset", |spec| {
        spec.categories.contains(Categories::SORTED_SET)
    }),
    ("list", |spec| spec.categories.contains(Categories::LIST)),
    ("hash", |spec| spec.categories.contains(Categories::HASH)),
    ("string", |spec| {
        spec.categories.contains(Categories::STRING)
    }),
    ("bitmap", |spec| {
        spec.categories.contains(Categories::BITMAP)
    }),
    ("hyperloglog", |spec| {
        spec.categories.contains(Categories::HYPERLOGLOG)
    }),
    ("geo", |spec| spec.categories.contains(Categories::GEO)),
    ("stream", |spec| {
        spec.categories.contains(Categories::STREAM)
    }),
    ("pubsub", |spec| spec.flags.contains(Flags::PUBSUB)),
    ("admin", |spec| {
        spec.flags.contains(Flags::ADMIN) || spec.categories.contains(Categories::ADMIN)
    }),
    ("fast", |spec| spec.flags.contains(Flags::FAST)),
    ("slow", |spec| !spec.flags.contains(Flags::FAST)),
    ("blocking", |spec| spec.flags.contains(Flags::BLOCKING)),
    ("dangerous", |spec| {
        spec.flags.contains(Flags::ADMIN) || spec.categories.contains(Categories::DANGEROUS)
    }),
    ("connection", |spec| {
        spec.categories.contains(Categories::CONNECTION)
    }),
    ("transaction", |spec| {
        spec.categories.contains(Categories::TRANSACTION)
    }),
    ("scripting", |spec| {
        spec.categories.contains(Categories::SCRIPTING)
    }),
];

/// The names of all categories, without `@`.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    CATEGORIES.iter().map(|(name, _)| *name)
}

/// The categories of a command, without `@`.
pub fn of(spec: &CommandSpec) -> impl Iterator<Item = &'static str> {
    let of_spec =
        move |(name, is_member): &(&'static str, Membership)| is_member(spec).then_some(*name);
    CATEGORIES.iter().filter_map(of_spec)
}
