//! COMMAND: the command table, told to clients.

mod docs;
mod info;
pub mod keys;
mod table;

#[cfg(test)]
mod tests;

use super::categories;
use super::spec::CommandSpec;
use super::table::{self as commands, Command};
use super::{CommandError, CommandResult, Control};
use crate::glob::{self, Case};

pub use table::COMMANDS;

/// Commands that are no subcommands, in the order of the table.
fn top_level() -> impl Iterator<Item = &'static CommandSpec> {
    commands::all()
        .iter()
        .map(|command| command.spec)
        .filter(|spec| !spec.name.contains('|'))
}

fn count(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.integer(top_level().count() as i64);
    Ok(())
}

fn all(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.array(top_level().count());
    top_level().for_each(|spec| info::write(call.reply, spec));
    Ok(())
}

fn info(call: &mut Control<'_, '_>) -> CommandResult {
    let names = call.request.skip(2);
    if names.is_empty() {
        return all(call);
    }
    call.reply.array(names.len());
    for name in names.iter() {
        match commands::by_name(name) {
            Some(command) => info::write(call.reply, command.spec),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn docs(call: &mut Control<'_, '_>) -> CommandResult {
    let names = call.request.skip(2);
    let specs: Vec<&CommandSpec> = if names.is_empty() {
        top_level().collect()
    } else {
        let found = names.iter().filter_map(commands::by_name);
        found.map(|command| command.spec).collect()
    };
    call.reply.map(specs.len());
    for spec in specs {
        call.reply.bulk(spec.name.as_bytes());
        docs::write(call.reply, spec);
    }
    Ok(())
}

fn list(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    let all = commands::all().iter();
    let specs: Vec<&CommandSpec> = match request.len() {
        2 => all.map(|command| command.spec).collect(),
        5 if request.arg(2).eq_ignore_ascii_case(b"filterby") => {
            let filter = filter_by(request.arg(3), request.arg(4))?;
            all.map(|command| command.spec)
                .filter(|spec| filter(spec))
                .collect()
        }
        _ => return Err(CommandError::Syntax),
    };
    call.reply.array(specs.len());
    for spec in specs {
        call.reply.bulk(spec.name.as_bytes());
    }
    Ok(())
}

type Filter<'a> = Box<dyn Fn(&CommandSpec) -> bool + 'a>;

fn filter_by<'a>(kind: &[u8], value: &'a [u8]) -> Result<Filter<'a>, CommandError> {
    match kind.to_ascii_lowercase().as_slice() {
        // There are no modules.
        b"module" => Ok(Box::new(|_| false)),
        b"aclcat" => Ok(Box::new(|spec| {
            categories::of(spec).any(|name| value.eq_ignore_ascii_case(name.as_bytes()))
        })),
        b"pattern" => Ok(Box::new(|spec| {
            glob::matches(value, spec.name.as_bytes(), Case::Insensitive)
        })),
        _ => Err(CommandError::Syntax),
    }
}

fn getkeys(call: &mut Control<'_, '_>) -> CommandResult {
    let keys = keys::of(call.request.skip(2))?;
    call.reply.array(keys.len());
    for (key, _) in keys {
        call.reply.bulk(key);
    }
    Ok(())
}

fn getkeysandflags(call: &mut Control<'_, '_>) -> CommandResult {
    let keys = keys::of(call.request.skip(2))?;
    call.reply.array(keys.len());
    for (key, flags) in keys {
        call.reply.array(2);
        call.reply.bulk(key);
        info::write_key_flags(call.reply, flags);
    }
    Ok(())
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    super::help::help(
        call.reply,
        "COMMAND",
        &[
            "(no subcommand)",
            "    Describe every command: arity, flags, keys, categories, subcommands.",
            "COUNT",
            "    Tell how many commands there are, without subcommands.",
            "DOCS [<name> ...]",
            "    Document these commands, or all.",
            "GETKEYS <command> [<argument> ...]",
            "    List the keys among the arguments of a command.",
            "GETKEYSANDFLAGS <command> [<argument> ...]",
            "    List the keys among the arguments of a command, and what it does with them.",
            "INFO [<name> ...]",
            "    Describe these commands, or all.",
            "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
            "    List the names of commands and subcommands.",
        ],
    );
    Ok(())
}

/// A command of the table by a request for it, its subcommand included; its arity is not checked.
fn asked_for(request: coterie_protocol::Request<'_>) -> Result<&'static Command, CommandError> {
    commands::lookup(request).map_err(|_| CommandError::err("Invalid command specified"))
}
