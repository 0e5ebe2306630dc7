//! INFO: what the server is and does, as text.

use super::call::Control;
use super::error::CommandResult;
use super::spec::{Argument, Categories, CommandSpec, Docs, Flags, Handler, Locks};
use crate::report::{self, Topic, render};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "info",
    arity: -1,
    handler: Handler::Control(info),
    locks: Locks::All,
    flags: Flags::LOADING.union(Flags::STALE),
    categories: Categories::DANGEROUS,
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    docs: Docs {
        summary: "Tells what the server is and does.",
        group: "server",
        history: &[("7.0.0", "Several sections in one call.")],
        arguments: &[Argument {
            name: "section",
            flags: &["optional", "multiple"],
            ..Argument::NEW
        }],
        ..Docs::NEW
    },
    ..CommandSpec::NEW
}];

fn info(call: &mut Control<'_, '_>) -> CommandResult {
    let asked = |topic: &Topic| {
        let mut names = call.request.iter().skip(1).peekable();
        if names.peek().is_none() {
            return topic.is_default();
        }
        names.any(|name| is_named(*topic, name))
    };
    let topics = Topic::ALL.into_iter().filter(asked);
    let sections: Vec<_> = topics
        .map(|topic| report::gather(call.node, call.view(), topic))
        .collect();
    call.reply.verbatim("txt", render(&sections).as_bytes());
    Ok(())
}

/// Whether a word of the request asks for a topic.
fn is_named(topic: Topic, name: &[u8]) -> bool {
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    is(topic.title()) || is("all") || is("everything") || is("default") && topic.is_default()
}
