//! The entries themselves: `XLEN`, `XRANGE`, `XREVRANGE`, `XDEL`, `XSETID`.

use std::collections::BTreeSet;

use super::change::Change;
use super::id::{between, first_of_range, id, last_of_range};
use super::reply::write_entries;
use super::{integer, stream};
use crate::commands::{Call, CommandError, CommandResult};
use crate::events::EventClasses;
use crate::store::{StreamId, StreamView};

/// `XLEN`
pub fn xlen(call: &mut Call<'_, '_>) -> CommandResult {
    let stream = stream(call.transaction, call.database, call.request.arg(1))?;
    call.reply.integer(stream.map_or(0, StreamView::len) as i64);
    Ok(())
}

/// `XRANGE`
pub fn xrange(call: &mut Call<'_, '_>) -> CommandResult {
    range(call, (2, 3), false)
}

/// `XREVRANGE`
pub fn xrevrange(call: &mut Call<'_, '_>) -> CommandResult {
    range(call, (3, 2), true)
}

/// Answers with the entries between the ids at two arguments.
fn range(call: &mut Call<'_, '_>, (first, last): (usize, usize), reverse: bool) -> CommandResult {
    let request = call.request;
    let first = first_of_range(request.arg(first))?;
    let last = last_of_range(request.arg(last))?;
    let mut count = None;
    let mut at = 4;
    while at < request.len() {
        if !request.arg(at).eq_ignore_ascii_case(b"count") || at + 1 == request.len() {
            return Err(CommandError::Syntax);
        }
        count = Some(usize::try_from(integer(call, at + 1)?).unwrap_or(0));
        at += 2;
    }
    let Some(stream) = stream(call.transaction, call.database, request.arg(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        call.reply.null_array();
        return Ok(());
    }
    let (first, last) = between(first, last);
    let entries = stream.range(stream.indices(first, last));
    let count = count.unwrap_or(usize::MAX);
    if reverse {
        write_entries(call.reply, entries.rev().take(count));
    } else {
        write_entries(call.reply, entries.take(count));
    }
    Ok(())
}

/// `XDEL`
pub fn xdel(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let key = request.arg(1);
    // Another replica may know what this one has not heard of yet.
    let is_replicated = call.transaction.is_replicated();
    let Some(stream) = stream(call.transaction, call.database, key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let named = request.iter().skip(2).map(id);
    let named: BTreeSet<StreamId> = named.collect::<Result<_, _>>()?;
    let is_here = |id: &StreamId| stream.get(*id).is_some();
    let here: BTreeSet<StreamId> = named.iter().copied().filter(is_here).collect();
    let mut change = Change::default();
    if let Some(last) = here.last() {
        let mut mark = stream.mark();
        mark.max_deleted_id = mark.max_deleted_id.max(*last);
        change.mark(&mark);
    }
    let gone = if is_replicated { &named } else { &here };
    gone.iter().for_each(|id| change.delete(*id));
    change.make(call, key)?;
    if !here.is_empty() {
        call.notify(EventClasses::STREAM, "xdel", key);
    }
    call.reply.integer(here.len() as i64);
    Ok(())
}

/// `XSETID`
pub fn xsetid(call: &mut Call<'_, '_>) -> CommandResult {
    let refusal = |text| Err(CommandError::line(text));
    let request = call.request;
    let key = request.arg(1);
    let last_id = id(request.arg(2))?;
    let (mut added, mut deleted) = (None, StreamId::MIN);
    let mut at = 3;
    while at < request.len() {
        let word = request.arg(at);
        if at + 1 == request.len() {
            return Err(CommandError::Syntax);
        }
        if word.eq_ignore_ascii_case(b"entriesadded") {
            let Ok(count) = u64::try_from(integer(call, at + 1)?) else {
                return refusal("ERR entries_added must be positive");
            };
            added = Some(count);
        } else if word.eq_ignore_ascii_case(b"maxdeletedid") {
            deleted = id(request.arg(at + 1))?;
            if last_id < deleted {
                return refusal(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                );
            }
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    let Some(stream) = stream(call.transaction, call.database, key)? else {
        return Err(CommandError::NoSuchKey);
    };
    let mut mark = stream.mark();
    if stream.last().is_some_and(|(last, _)| last_id < last) {
        return refusal(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        );
    }
    if !stream.is_empty() && added.is_some_and(|added| added < stream.len() as u64) {
        return refusal(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        );
    }
    mark.last_id = last_id;
    mark.entries_added = added.unwrap_or(mark.entries_added);
    if deleted != StreamId::MIN {
        mark.max_deleted_id = deleted;
    }
    let mut change = Change::default();
    change.mark(&mark);
    change.make(call, key)?;
    call.notify(EventClasses::STREAM, "xsetid", key);
    call.reply.ok();
    Ok(())
}
