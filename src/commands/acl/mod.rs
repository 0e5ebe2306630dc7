//! `ACL`: users and what they may do.

mod check;
mod files;
mod table;
mod users;

use coterie_protocol::{OwnedRequest, ReplyWriter};

use super::categories;
use super::help::{help as list_of, wrong_subcommand};
use super::table as commands;
use super::{CommandError, CommandResult, Control};
use crate::acl::{self, Denied};

pub use check::{
    account_of_rights, admit, admit_in_script, admit_queued, authenticate, is_allowed,
    rights_of_script,
};
pub use files::load_at_start;
pub use table::COMMANDS;

/// Bits of a password that is made up, unless others are asked for, and the most.
const PASSWORD_BITS: i64 = 256;
const PASSWORD_BITS_MAX: i64 = 4096;
/// Entries of the log that are told, unless others are asked for.
const LOG_ENTRIES: i64 = 10;

fn whoami(call: &mut Control<'_, '_>) -> CommandResult {
    match &call.session.user {
        Some(account) => call.reply.bulk(account.name()),
        None => call.reply.null(),
    }
    Ok(())
}

fn cat(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    let Some(name) = request.get(2) else {
        call.reply.array(categories::names().len());
        categories::names().for_each(|name| call.reply.bulk(name.as_bytes()));
        return Ok(());
    };
    if request.len() > 3 {
        return Err(wrong_subcommand("ACL", request.arg(1)));
    }
    if acl::category(name).is_none() {
        return Err(CommandError::quoting("ERR Unknown category '", name, "'"));
    }
    let is_it = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let all = commands::all().iter().map(|command| command.spec);
    let members: Vec<_> = all.filter(|spec| categories::of(spec).any(is_it)).collect();
    call.reply.array(members.len());
    for spec in members {
        call.reply.bulk(spec.name.as_bytes());
    }
    Ok(())
}

/// An integer as the only option, or this.
fn number(call: &Control<'_, '_>, default: i64) -> Result<i64, CommandError> {
    let request = call.request;
    match request.get(2) {
        _ if request.len() > 3 => Err(wrong_subcommand("ACL", request.arg(1))),
        None => Ok(default),
        Some(text) => coterie_protocol::text::parse_i64(text).ok_or(CommandError::NotInteger),
    }
}

fn genpass(call: &mut Control<'_, '_>) -> CommandResult {
    let bits = number(call, PASSWORD_BITS)?;
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CommandError::err(format_args!(
            "ACL GENPASS argument must be the number of bits for the output password, a positive number up to {PASSWORD_BITS_MAX}"
        )));
    }
    let digits = (bits as usize).div_ceil(4);
    let digit = |_| b"0123456789abcdef"[rand::random_range(0..16)];
    let password: Vec<u8> = (0..digits).map(digit).collect();
    call.reply.bulk(&password);
    Ok(())
}

fn log(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    let resets = request
        .get(2)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"reset"));
    if resets && request.len() == 3 {
        call.node.acl.log.lock().clear();
        call.reply.ok();
        return Ok(());
    }
    let count = number(call, LOG_ENTRIES)?;
    let entries = call
        .node
        .acl
        .log
        .lock()
        .latest(usize::try_from(count).unwrap_or(0));
    call.reply.array(entries.len());
    let reply = &mut *call.reply;
    for entry in entries {
        reply.map(7);
        reply.bulk(b"count");
        reply.integer(entry.count as i64);
        for (name, value) in [
            ("reason", entry.reason.name().as_bytes()),
            ("context", entry.context.name().as_bytes()),
            ("object", &entry.object),
            ("username", &entry.username),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        }
        reply.bulk(b"age-seconds");
        let age_ms = call.now_ms.saturating_sub(entry.time_ms);
        reply.double(age_ms as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(entry.client.as_bytes());
    }
    Ok(())
}

fn dryrun(call: &mut Control<'_, '_>) -> CommandResult {
    let name = call.request.arg(2);
    let account = call.node.acl.get(name);
    let account =
        account.ok_or_else(|| CommandError::quoting("ERR User '", name, "' not found"))?;
    let words: Vec<&[u8]> = call.request.iter().skip(3).collect();
    let owned = OwnedRequest::new(&words);
    let request = owned.request();
    let command = commands::lookup(request)
        .map_err(|_| CommandError::quoting("ERR Command '", words[0], "' not found"))?;
    if !command.spec.accepts(request.len()) {
        return Err(CommandError::Arity(command.spec.name.into()));
    }
    let (before, what, after): (&str, &[u8], &str) = match account.user().check(command, request) {
        Ok(()) => {
            call.reply.ok();
            return Ok(());
        }
        Err(Denied::Command) => ("run", command.spec.name.as_bytes(), "command"),
        Err(Denied::Key(place)) => ("access", request.arg(place), "key"),
        Err(Denied::Channel(place)) => ("access", request.arg(place), "channel"),
    };
    let before = format!("This user has no permissions to {before} the '");
    let after = format!("' {after}");
    call.reply
        .bulk(&[before.as_bytes(), what, after.as_bytes()].concat());
    Ok(())
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    let reply: &mut ReplyWriter<'_> = call.reply;
    list_of(
        reply,
        "ACL",
        &[
            "CAT [<category>]",
            "    List the categories of commands, or the commands of one.",
            "DELUSER <username> [<username> ...]",
            "    Remove users and close their connections.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Tell whether a user may execute a command, without executing it.",
            "GENPASS [<bits>]",
            "    Make up a password.",
            "GETUSER <username>",
            "    Describe a user.",
            "LIST",
            "    List all users with their rules, as in a file.",
            "LOAD",
            "    Replace all users by those of the file.",
            "LOG [<count> | RESET]",
            "    Tell what was refused lately, or forget it.",
            "SAVE",
            "    Write all users to the file.",
            "SETUSER <username> <rule> [<rule> ...]",
            "    Change a user's rules, or add a user.",
            "USERS",
            "    List the names of all users.",
            "WHOAMI",
            "    Tell which user this connection is logged in as.",
        ],
    );
    Ok(())
}
