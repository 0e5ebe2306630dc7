//! The entry of a command in `COMMAND DOCS`.

use coterie_protocol::ReplyWriter;

use crate::commands::{Argument, CommandSpec};

/// Writes the documentation of a command, with that of its subcommands.
pub fn write(reply: &mut ReplyWriter<'_>, spec: &CommandSpec) {
    let docs = &spec.docs;
    let mark = reply.begin_map();
    let mut pairs = 0;
    pairs += text(reply, "summary", docs.summary);
    pairs += text(reply, "since", docs.since);
    pairs += text(reply, "group", docs.group);
    pairs += text(reply, "complexity", docs.complexity);
    pairs += words(reply, "doc_flags", docs.flags);
    pairs += text(reply, "deprecated_since", docs.deprecated_since);
    pairs += text(reply, "replaced_by", docs.replaced_by);
    if !docs.history.is_empty() {
        reply.bulk(b"history");
        reply.set(docs.history.len());
        for (version, change) in docs.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
        pairs += 1;
    }
    pairs += arguments(reply, docs.arguments);
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        for subcommand in spec.subcommands {
            reply.bulk(subcommand.name.as_bytes());
            write(reply, subcommand);
        }
        pairs += 1;
    }
    reply.end_map(mark, pairs);
}

fn write_argument(reply: &mut ReplyWriter<'_>, argument: &Argument) {
    let mark = reply.begin_map();
    let mut pairs = 0;
    pairs += text(reply, "name", argument.name);
    pairs += text(reply, "type", argument.kind);
    if let Some(index) = argument.key_spec_index {
        reply.bulk(b"key_spec_index");
        reply.integer(index as i64);
        pairs += 1;
    }
    pairs += text(reply, "token", argument.token);
    pairs += text(reply, "since", argument.since);
    pairs += text(reply, "deprecated_since", argument.deprecated_since);
    pairs += words(reply, "flags", argument.flags);
    pairs += arguments(reply, argument.arguments);
    reply.end_map(mark, pairs);
}

/// Writes a field unless it is empty. Like those below, returns how many pairs that are.
fn text(reply: &mut ReplyWriter<'_>, name: &str, value: &str) -> usize {
    if value.is_empty() {
        return 0;
    }
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
    1
}

fn words(reply: &mut ReplyWriter<'_>, name: &str, values: &[&str]) -> usize {
    if values.is_empty() {
        return 0;
    }
    reply.bulk(name.as_bytes());
    reply.set(values.len());
    values.iter().for_each(|value| reply.simple(value));
    1
}

fn arguments(reply: &mut ReplyWriter<'_>, arguments: &[Argument]) -> usize {
    if arguments.is_empty() {
        return 0;
    }
    reply.bulk(b"arguments");
    reply.array(arguments.len());
    arguments
        .iter()
        .for_each(|argument| write_argument(reply, argument));
    1
}
