//! `XGROUP`: consumer groups and their consumers, made and removed.

use super::change::Change;
use super::id::{id, id_or_end};
use super::{c_text, integer, no_group_of_key, stream};
use crate::commands::help::{help, wrong_subcommand};
use crate::commands::{Call, CommandError, CommandResult, Control};
use crate::events::EventClasses;
use crate::store::{Attribute, ConsumerState, GroupState, StreamMark, StreamView};

const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Make a group that reads what comes after an id. Options are:",
    "    * MKSTREAM",
    "      Make an empty stream if there is none.",
    "    * ENTRIESREAD <entries-read>",
    "      How many entries the group has read already.",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Make a consumer in a group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove a consumer with what is pending for it.",
    "DESTROY <key> <groupname>",
    "    Remove a group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD <entries-read>]",
    "    Let a group go on after another id.",
];

/// What comes behind the id.
#[derive(Default)]
struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

fn options(call: &Call<'_, '_>, is_create: bool) -> Result<Options, CommandError> {
    let request = call.request;
    let mut options = Options::default();
    let mut at = 5;
    while at < request.len() {
        let word = request.arg(at);
        if is_create && word.eq_ignore_ascii_case(b"mkstream") {
            options.makes_stream = true;
            at += 1;
        } else if word.eq_ignore_ascii_case(b"entriesread") && at + 1 < request.len() {
            let read = integer(call, at + 1)?;
            if read < -1 {
                return Err(CommandError::line(
                    "ERR value for ENTRIESREAD must be positive or -1",
                ));
            }
            options.entries_read = u64::try_from(read).ok();
            at += 2;
        } else {
            return Err(wrong_subcommand("XGROUP", request.arg(1)));
        }
    }
    Ok(options)
}

const NO_STREAM: CommandError = CommandError::line(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// `XGROUP CREATE`
pub fn create(call: &mut Call<'_, '_>) -> CommandResult {
    let options = options(call, true)?;
    let request = call.request;
    let (key, name) = (request.arg(2), request.arg(3));
    let stream = stream(call.transaction, call.database, key)?;
    if stream.is_none() && !options.makes_stream {
        return Err(NO_STREAM);
    }
    if request.len() > 8 {
        return Err(wrong_subcommand("XGROUP", request.arg(1)));
    }
    let last_delivered = match c_text(request.arg(4)) {
        b"$" => {
            stream
                .map_or(StreamMark::default(), StreamView::mark)
                .last_id
        }
        _ => id(request.arg(4))?,
    };
    if stream.is_some_and(|stream| stream.group(name).is_some()) {
        return Err(CommandError::line(
            "BUSYGROUP Consumer Group name already exists",
        ));
    }
    let state = GroupState {
        last_delivered,
        entries_read: options.entries_read,
    };
    let mut change = Change::default();
    if stream.is_none() {
        change.mark(&StreamMark::default());
    }
    change.group(name, &state);
    change.make(call, key)?;
    call.notify(EventClasses::STREAM, "xgroup-create", key);
    call.reply.ok();
    Ok(())
}

/// `XGROUP SETID`
pub fn setid(call: &mut Call<'_, '_>) -> CommandResult {
    let options = options(call, false)?;
    let request = call.request;
    let (key, name) = (request.arg(2), request.arg(3));
    let stream = existing(call)?;
    if stream.group(name).is_none() {
        return Err(no_group_of_key(key, name));
    }
    if !matches!(request.len(), 5 | 7) {
        return Err(wrong_subcommand("XGROUP", request.arg(1)));
    }
    let last_delivered = match c_text(request.arg(4)) {
        b"$" => stream.last_id(),
        _ => id_or_end(request.arg(4), 0)?,
    };
    let state = GroupState {
        last_delivered,
        entries_read: options.entries_read,
    };
    let mut change = Change::default();
    change.group(name, &state);
    change.make(call, key)?;
    call.notify(EventClasses::STREAM, "xgroup-setid", key);
    call.reply.ok();
    Ok(())
}

/// The stream at the key of a subcommand.
fn existing<'t>(call: &'t mut Call<'_, '_>) -> Result<StreamView<'t>, CommandError> {
    stream(call.transaction, call.database, call.request.arg(2))?.ok_or(NO_STREAM)
}

/// `XGROUP DESTROY`
pub fn destroy(call: &mut Call<'_, '_>) -> CommandResult {
    let (key, name) = (call.request.arg(2), call.request.arg(3));
    let attributes = existing(call)?.group(name).map(|g| g.attributes(name));
    let was_there = attributes.is_some();
    let mut change = Change::default();
    for attribute in attributes.into_iter().flatten() {
        change.unset(attribute);
    }
    change.make(call, key)?;
    if was_there {
        call.notify(EventClasses::STREAM, "xgroup-destroy", key);
    }
    call.reply.integer(was_there.into());
    Ok(())
}

/// `XGROUP CREATECONSUMER`
pub fn createconsumer(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let (key, name, consumer) = (request.arg(2), request.arg(3), request.arg(4));
    let seen_ms = call.transaction.now_ms();
    let Some(group) = existing(call)?.group(name) else {
        return Err(no_group_of_key(key, name));
    };
    let is_new = group.consumer(consumer).is_none();
    if is_new {
        let mut change = Change::default();
        let state = ConsumerState {
            seen_ms,
            active_ms: 0,
        };
        change.consumer(name, consumer, &state);
        change.make(call, key)?;
        call.notify(EventClasses::STREAM, "xgroup-createconsumer", key);
    }
    call.reply.integer(is_new.into());
    Ok(())
}

/// `XGROUP DELCONSUMER`
pub fn delconsumer(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let (key, name, consumer) = (request.arg(2), request.arg(3), request.arg(4));
    let Some(group) = existing(call)?.group(name) else {
        return Err(no_group_of_key(key, name));
    };
    let Some(found) = group.consumer(consumer) else {
        call.reply.integer(0);
        return Ok(());
    };
    let mut change = Change::default();
    for id in found.pending() {
        change.settle(name, *id);
    }
    let pending = found.pending().len();
    change.unset(Attribute::Consumer(name, consumer).encode());
    change.make(call, key)?;
    call.notify(EventClasses::STREAM, "xgroup-delconsumer", key);
    call.reply.integer(pending as i64);
    Ok(())
}

/// `XGROUP HELP`
pub fn show_help(call: &mut Control<'_, '_>) -> CommandResult {
    help(call.reply, "XGROUP", HELP);
    Ok(())
}
