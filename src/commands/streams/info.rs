//! `XINFO`: what a stream, its groups and their consumers are at.

use coterie_protocol::{DatabaseId, ReplyWriter};

use super::progress::Progress;
use super::reply::{write_entries, write_entry, write_id};
use super::{integer, no_group_of_key, stream};
use crate::commands::help::{help, wrong_subcommand};
use crate::commands::{Call, CommandError, CommandResult, Control};
use crate::engine::Transaction;
use crate::store::{Consumer, Group, StreamView};

const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    List the consumers of a group.",
    "GROUPS <key>",
    "    List the groups of a stream.",
    "STREAM <key> [FULL [COUNT <count>]]",
    "    Tell about a stream; FULL with entries, groups and consumers.",
];

/// Entries and pending entries that `FULL` shows if it does not say how many.
const FULL_COUNT: usize = 10;

/// The stream at a key, which has to be there.
fn existing<'t>(
    transaction: &'t mut Transaction<'_>,
    database: DatabaseId,
    key: &[u8],
) -> Result<StreamView<'t>, CommandError> {
    stream(transaction, database, key)?.ok_or(CommandError::NoSuchKey)
}

/// `XINFO CONSUMERS`
pub fn consumers(call: &mut Call<'_, '_>) -> CommandResult {
    let (key, name) = (call.request.arg(2), call.request.arg(3));
    let now_ms = call.transaction.now_ms();
    let stream = existing(call.transaction, call.database, key)?;
    let group = stream
        .group(name)
        .ok_or_else(|| no_group_of_key(key, name))?;
    let reply = &mut *call.reply;
    reply.array(group.consumers().count());
    for (name, consumer) in group.consumers() {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"pending");
        reply.integer(consumer.pending().len() as i64);
        reply.bulk(b"idle");
        let idle_ms = now_ms.saturating_sub(consumer.state().seen_ms);
        reply.integer(idle_ms as i64);
    }
    Ok(())
}

/// `XINFO GROUPS`
pub fn groups(call: &mut Call<'_, '_>) -> CommandResult {
    let stream = existing(call.transaction, call.database, call.request.arg(2))?;
    let progress = Progress::of(stream);
    let reply = &mut *call.reply;
    reply.array(stream.groups().count());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.integer(group.consumers().count() as i64);
        reply.bulk(b"pending");
        reply.integer(group.pending().len() as i64);
        write_position(reply, group, &progress);
    }
    Ok(())
}

/// Writes three pairs: where a group is, how many entries it has read, and how many it has not.
fn write_position(reply: &mut ReplyWriter<'_>, group: &Group, progress: &Progress) {
    let state = group.state();
    reply.bulk(b"last-delivered-id");
    write_id(reply, state.last_delivered);
    reply.bulk(b"entries-read");
    match state.entries_read {
        Some(read) => reply.integer(read as i64),
        None => reply.null(),
    }
    reply.bulk(b"lag");
    match progress.lag(state) {
        Some(lag) => reply.integer(lag),
        None => reply.null(),
    }
}

/// `XINFO STREAM`
pub fn show_stream(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let wrong = || Err(wrong_subcommand("XINFO", request.arg(1)));
    let key = request.arg(2);
    existing(call.transaction, call.database, key)?;
    let is = |index: usize, name: &str| {
        let word = request.get(index);
        word.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let full = match request.len() {
        3 => None,
        4 if is(3, "full") => Some(FULL_COUNT),
        6 if is(3, "full") && is(4, "count") => {
            let count = integer(call, 5)?;
            Some(usize::try_from(count).unwrap_or(FULL_COUNT))
        }
        _ => return wrong(),
    };
    let node = call.node.config.load().stream_node_max_entries;
    let stream = existing(call.transaction, call.database, key)?;
    let reply = &mut *call.reply;
    reply.map(if full.is_some() { 9 } else { 10 });
    write_numbers(reply, stream, node);
    match full {
        None => write_ends(reply, stream),
        // 0 is all.
        Some(0) => write_full(reply, stream, usize::MAX),
        Some(count) => write_full(reply, stream, count),
    }
    Ok(())
}

/// Seven pairs.
fn write_numbers(reply: &mut ReplyWriter<'_>, stream: StreamView<'_>, node: u64) {
    let mark = stream.mark();
    let nodes = nodes(stream, node);
    reply.bulk(b"length");
    reply.integer(stream.len() as i64);
    reply.bulk(b"radix-tree-keys");
    reply.integer(nodes as i64);
    reply.bulk(b"radix-tree-nodes");
    // One for each, the root, and one where they part.
    reply.integer((nodes + 1 + u64::from(nodes > 1)) as i64);
    reply.bulk(b"last-generated-id");
    write_id(reply, mark.last_id);
    reply.bulk(b"max-deleted-entry-id");
    write_id(reply, mark.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.integer(mark.entries_added as i64);
    reply.bulk(b"recorded-first-entry-id");
    write_id(reply, stream.first().map(|(id, _)| id).unwrap_or_default());
}

/// How many nodes Redis would hold the entries in, if nothing was deleted between them.
fn nodes(stream: StreamView<'_>, node: u64) -> u64 {
    let length = stream.len() as u64;
    if length == 0 || node == 0 {
        return length.min(1);
    }
    let first = stream.mark().entries_added.saturating_sub(length);
    (first + length).div_ceil(node) - first / node
}

fn write_ends(reply: &mut ReplyWriter<'_>, stream: StreamView<'_>) {
    reply.bulk(b"groups");
    reply.integer(stream.groups().count() as i64);
    for (name, entry) in [
        ("first-entry", stream.first()),
        ("last-entry", stream.last()),
    ] {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => write_entry(reply, entry),
            None => reply.null(),
        }
    }
}

fn write_full(reply: &mut ReplyWriter<'_>, stream: StreamView<'_>, count: usize) {
    let progress = Progress::of(stream);
    reply.bulk(b"entries");
    write_entries(reply, stream.range(0..stream.len()).take(count));
    reply.bulk(b"groups");
    reply.array(stream.groups().count());
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        write_position(reply, group, &progress);
        let pending = group.pending();
        reply.bulk(b"pel-count");
        reply.integer(pending.len() as i64);
        reply.bulk(b"pending");
        reply.array(pending.len().min(count));
        for (id, pending) in pending.iter().take(count) {
            reply.array(4);
            write_id(reply, *id);
            reply.bulk(pending.consumer());
            reply.integer(pending.delivered_ms as i64);
            reply.integer(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers().count());
        for (name, consumer) in group.consumers() {
            write_consumer(reply, group, name, consumer, count);
        }
    }
}

fn write_consumer(
    reply: &mut ReplyWriter<'_>,
    group: &Group,
    name: &[u8],
    consumer: &Consumer,
    count: usize,
) {
    reply.map(4);
    reply.bulk(b"name");
    reply.bulk(name);
    reply.bulk(b"seen-time");
    reply.integer(consumer.state().seen_ms as i64);
    let ids = consumer.pending();
    reply.bulk(b"pel-count");
    reply.integer(ids.len() as i64);
    reply.bulk(b"pending");
    let mark = reply.begin_array();
    let mut written = 0;
    let pending = ids.iter().take(count);
    for (id, pending) in pending.filter_map(|id| Some((id, group.pending().get(id)?))) {
        reply.array(3);
        write_id(reply, *id);
        reply.integer(pending.delivered_ms as i64);
        reply.integer(pending.deliveries as i64);
        written += 1;
    }
    reply.end_array(mark, written);
}

/// `XINFO HELP`
pub fn show_help(call: &mut Control<'_, '_>) -> CommandResult {
    help(call.reply, "XINFO", HELP);
    Ok(())
}
