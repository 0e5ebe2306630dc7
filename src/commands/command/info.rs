//! The entry of a command in `COMMAND` and `COMMAND INFO`.

use coterie_protocol::ReplyWriter;

use crate::commands::categories;
use crate::commands::spec::{Begin, Find};
use crate::commands::{CommandSpec, Flags, KeyFlags, KeySpec};

/// Flags in the order of Redis. It does not tell `MAY_REPLICATE`.
const FLAGS: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLEKEYS, "movablekeys"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

/// Flags of keys, in the order of Redis.
const KEY_FLAGS: &[(KeyFlags, &str)] = &[
    (KeyFlags::RO, "RO"),
    (KeyFlags::RW, "RW"),
    (KeyFlags::OW, "OW"),
    (KeyFlags::RM, "RM"),
    (KeyFlags::ACCESS, "access"),
    (KeyFlags::UPDATE, "update"),
    (KeyFlags::INSERT, "insert"),
    (KeyFlags::DELETE, "delete"),
    (KeyFlags::NOT_KEY, "not_key"),
    (KeyFlags::INCOMPLETE, "incomplete"),
    (KeyFlags::VARIABLE_FLAGS, "variable_flags"),
];

/// Writes the entry of a command, with those of its subcommands.
pub fn write(reply: &mut ReplyWriter<'_>, spec: &CommandSpec) {
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(spec.arity.into());
    let names = FLAGS.iter().filter(|(flag, _)| spec.flags.contains(*flag));
    write_set(reply, names.map(|(_, name)| *name));
    let (first, last, step) = legacy_range(spec);
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let names: Vec<String> = categories::of(spec)
        .map(|name| format!("@{name}"))
        .collect();
    write_set(reply, names.iter().map(String::as_str));
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(spec.key_specs.len());
    spec.key_specs
        .iter()
        .for_each(|key_spec| write_key_spec(reply, key_spec));
    if spec.subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(spec.subcommands.len());
        spec.subcommands
            .iter()
            .for_each(|subcommand| write(reply, subcommand));
    }
}

fn write_key_spec(reply: &mut ReplyWriter<'_>, spec: &KeySpec) {
    reply.map(if spec.notes.is_empty() { 3 } else { 4 });
    if !spec.notes.is_empty() {
        reply.bulk(b"notes");
        reply.bulk(spec.notes.as_bytes());
    }
    reply.bulk(b"flags");
    write_key_flags(reply, spec.flags);
    reply.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => write_step(reply, "index", &[("index", index as i64)]),
        Begin::Keyword(word, from) => {
            let write = |reply: &mut ReplyWriter<'_>| {
                reply.map(2);
                reply.bulk(b"keyword");
                reply.bulk(word.as_bytes());
                reply.bulk(b"startfrom");
                reply.integer(from as i64);
            };
            write_step_with(reply, "keyword", write);
        }
        Begin::Unknown => write_step(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            let range = [
                ("lastkey", last as i64),
                ("keystep", step as i64),
                ("limit", limit as i64),
            ];
            write_step(reply, "range", &range);
        }
        Find::Count { index, first, step } => {
            let count = [
                ("keynumidx", index as i64),
                ("firstkey", first as i64),
                ("keystep", step as i64),
            ];
            write_step(reply, "keynum", &count);
        }
        Find::Unknown => write_step(reply, "unknown", &[]),
    }
}

/// First and last key and their distance, as clients of old versions expect it: those that stand at fixed places, in
/// one range without a gap from the first of them.
fn legacy_range(spec: &CommandSpec) -> (i64, i64, i64) {
    let mut found: Option<(i64, i64, i64)> = None;
    for key_spec in spec.key_specs {
        let (Begin::Index(index), Find::Range { last, step, .. }) = (key_spec.begin, key_spec.find)
        else {
            continue;
        };
        let (index, last, step) = (index as i64, last as i64, step as i64);
        let last = if last < 0 { last } else { index + last };
        match &mut found {
            None => found = Some((index, last, step)),
            Some(range) if range.1 + 1 == index && range.2 == step => range.1 = last,
            Some(_) => break,
        }
    }
    found.unwrap_or((0, 0, 0))
}

/// One of the two steps to the keys of a specification.
fn write_step(reply: &mut ReplyWriter<'_>, kind: &str, numbers: &[(&str, i64)]) {
    write_step_with(reply, kind, |reply| {
        reply.map(numbers.len());
        for &(name, number) in numbers {
            reply.bulk(name.as_bytes());
            reply.integer(number);
        }
    });
}

fn write_step_with(
    reply: &mut ReplyWriter<'_>,
    kind: &str,
    write: impl FnOnce(&mut ReplyWriter<'_>),
) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    write(reply);
}

/// Writes what a command does with a key.
pub fn write_key_flags(reply: &mut ReplyWriter<'_>, flags: KeyFlags) {
    let names = KEY_FLAGS.iter().filter(|(flag, _)| flags.contains(*flag));
    write_set(reply, names.map(|(_, name)| *name));
}

fn write_set<'n>(reply: &mut ReplyWriter<'_>, names: impl Iterator<Item = &'n str>) {
    let mark = reply.begin_set();
    let mut count = 0;
    for name in names {
        reply.simple(name);
        count += 1;
    }
    reply.end_set(mark, count);
}
