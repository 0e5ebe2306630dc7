//! `SLOWLOG`: the commands that took longer than `slowlog-log-slower-than`.

mod table;

use coterie_protocol::text::parse_i64;

use super::call::Control;
use super::error::{CommandError, CommandResult};
use super::help;

pub use table::COMMANDS;

/// Entries shown when no number is given.
const DEFAULT_COUNT: i64 = 10;

fn get(call: &mut Control<'_, '_>) -> CommandResult {
    if call.request.len() > 3 {
        return Err(help::wrong_subcommand("SLOWLOG", call.request.arg(1)));
    }
    let count = match call.request.get(2) {
        None => DEFAULT_COUNT,
        Some(argument) => {
            parse_i64(argument)
                .filter(|count| *count >= -1)
                .ok_or(CommandError::line(
                    "ERR count should be greater than or equal to -1",
                ))?
        }
    };
    // -1 is all.
    let entries = call
        .node
        .slow_log
        .newest(usize::try_from(count).unwrap_or(usize::MAX));
    call.reply.array(entries.len());
    for entry in entries {
        call.reply.array(6);
        call.reply.integer(entry.id as i64);
        call.reply.integer(entry.at as i64);
        call.reply.integer(entry.microseconds as i64);
        call.reply.array(entry.arguments.len());
        for argument in &entry.arguments {
            call.reply.bulk(argument);
        }
        call.reply.bulk(entry.address.as_bytes());
        call.reply.bulk(&entry.name);
    }
    Ok(())
}

fn len(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.integer(call.node.slow_log.len() as i64);
    Ok(())
}

fn reset(call: &mut Control<'_, '_>) -> CommandResult {
    call.node.slow_log.clear();
    call.reply.ok();
    Ok(())
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    help::help(
        call.reply,
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    List the newest <count> slow commands (10 if not given, -1 for all): id, Unix time,",
            "    microseconds, arguments, address and name of the client.",
            "LEN",
            "    Count the slow commands that are kept.",
            "RESET",
            "    Forget them.",
        ],
    );
    Ok(())
}
