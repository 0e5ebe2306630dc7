//! Shows the libraries: `FUNCTION LIST`, `DUMP`, `STATS`, `HELP`.

use coterie_protocol::ReplyWriter;

use crate::commands::call::Control;
use crate::commands::error::{CommandError, CommandResult};
use crate::commands::help;
use crate::functions::{FLAGS, Function};
use crate::glob::{Case, matches};

/// `FUNCTION LIST`
pub fn list(call: &mut Control<'_, '_>) -> CommandResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut words = call.request.iter().skip(2);
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            pattern = Some(words.next().ok_or(CommandError::line(
                "ERR library name argument was not given",
            ))?);
        } else {
            return Err(CommandError::quoting("ERR Unknown argument ", word, ""));
        }
    }
    let libraries = call.node.functions.libraries();
    let shown: Vec<_> = libraries
        .iter()
        .filter(|library| {
            pattern.is_none_or(|pattern| matches(pattern, &library.name, Case::Insensitive))
        })
        .collect();
    let reply = &mut *call.reply;
    reply.array(shown.len());
    for library in shown {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk(b"library_name");
        reply.bulk(&library.name);
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            show(reply, function);
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

fn show(reply: &mut ReplyWriter<'_>, function: &Function) {
    reply.map(3);
    reply.bulk(b"name");
    reply.bulk(&function.name);
    reply.bulk(b"description");
    match &function.description {
        Some(text) => reply.bulk(text),
        None => reply.null(),
    }
    reply.bulk(b"flags");
    let has = |(_, flag): &&(&str, _)| function.flags.contains(*flag);
    reply.set(FLAGS.iter().filter(has).count());
    for (name, _) in FLAGS.iter().filter(has) {
        reply.simple(name);
    }
}

/// `FUNCTION DUMP`
pub fn dump(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.bulk(&call.node.functions.libraries().encode());
    Ok(())
}

/// `FUNCTION STATS`
pub fn stats(call: &mut Control<'_, '_>) -> CommandResult {
    let reply = &mut *call.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match call.node.functions.running() {
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&running.name);
            reply.bulk(b"command");
            let command = running.command.request();
            reply.array(command.len());
            command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(running.elapsed().as_millis() as i64);
        }
        None => reply.null(),
    }
    let libraries = call.node.functions.libraries();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries.iter().len() as i64);
    reply.bulk(b"functions_count");
    reply.integer(libraries.functions() as i64);
    Ok(())
}

/// `FUNCTION HELP`
pub fn help(call: &mut Control<'_, '_>) -> CommandResult {
    help::help(
        call.reply,
        "FUNCTION",
        &[
            "DELETE <library>",
            "    Remove a library and its functions.",
            "DUMP",
            "    Answer with all libraries in one payload.",
            "FLUSH [ASYNC|SYNC]",
            "    Remove all libraries.",
            "KILL",
            "    Stop a function that runs for long.",
            "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
            "    Show the libraries and their functions.",
            "LOAD [REPLACE] <code>",
            "    Add a library.",
            "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
            "    Add the libraries of a payload: instead of all others, beside them, or instead of those of the same names.",
            "STATS",
            "    Show which function runs, and how many there are.",
        ],
    );
    Ok(())
}
