//! Changes anywhere in a list: `LSET`, `LREM`, `LTRIM`, `LINSERT`.

use super::{index_of, indices, integer, list, removed};
use crate::commands::value::list_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::{Kind, insert_changes};

/// `LSET`
pub fn lset(call: &mut Call<'_, '_>) -> CommandResult {
    let (key, value) = (call.request.arg(1), call.request.arg(3));
    let index = integer(call, 2);
    let list = list(call)?.ok_or(CommandError::NoSuchKey)?;
    let index = index_of(index?, list.len());
    let position = index.and_then(|index| list.position(index));
    let position = position.ok_or(CommandError::line("ERR index out of range"))?;
    let element = position.to_vec();
    let kind = Kind::List;
    call.transaction.apply(
        call.database,
        &Effect::ElementSet {
            kind,
            key,
            element: &element,
            value,
        },
    );
    call.notify(EventClasses::LIST, "lset", key);
    call.reply.ok();
    Ok(())
}

/// `LREM`
pub fn lrem(call: &mut Call<'_, '_>) -> CommandResult {
    let count = integer(call, 2)?;
    let value = call.request.arg(3);
    let limit = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    };
    let positions = match list(call)? {
        None => Vec::new(),
        Some(list) if count < 0 => matching(list.positioned(0..list.len()).rev(), value, limit),
        Some(list) => matching(list.positioned(0..list.len()), value, limit),
    };
    remove(call, "lrem", &positions)?;
    call.reply.integer(positions.len() as i64);
    Ok(())
}

/// The positions of the first elements that have this value.
fn matching<'a>(
    elements: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    value: &[u8],
    limit: usize,
) -> Vec<Vec<u8>> {
    let matching = elements.filter(|(_, other)| *other == value);
    let positions = matching.map(|(position, _)| position.to_vec());
    positions.take(limit).collect()
}

/// `LTRIM`
pub fn ltrim(call: &mut Call<'_, '_>) -> CommandResult {
    let (first, last) = (integer(call, 2)?, integer(call, 3)?);
    let positions: Vec<Vec<u8>> = match list(call)? {
        None => {
            call.reply.ok();
            return Ok(());
        }
        Some(list) => {
            let kept = indices(first, last, list.len());
            let before = list.positioned(0..kept.start);
            let after = list.positioned(kept.end..list.len());
            let others = before.chain(after);
            others.map(|(position, _)| position.to_vec()).collect()
        }
    };
    if positions.is_empty() {
        // Told nevertheless.
        let key = call.request.arg(1);
        call.transaction.note_change(key);
        call.notify(EventClasses::LIST, "ltrim", key);
    }
    remove(call, "ltrim", &positions)?;
    call.reply.ok();
    Ok(())
}

/// Takes elements out of the list at the call's key.
fn remove(call: &mut Call<'_, '_>, event: &'static str, positions: &[Vec<u8>]) -> CommandResult {
    if positions.is_empty() {
        return Ok(());
    }
    let key = call.request.arg(1);
    let effects: Vec<Effect<'_>> = positions
        .iter()
        .map(|position| removed(key, position))
        .collect();
    call.reserve(&effects, 0)?;
    call.transaction.apply_all(call.database, &effects);
    call.notify_taken(EventClasses::LIST, event, key);
    Ok(())
}

/// `LINSERT`
pub fn linsert(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let [key, place, pivot, value] = [1, 2, 3, 4].map(|index| request.arg(index));
    let behind = match () {
        () if place.eq_ignore_ascii_case(b"before") => 0,
        () if place.eq_ignore_ascii_case(b"after") => 1,
        () => return Err(CommandError::Syntax),
    };
    let actor = call.transaction.actor();
    let Some(list) = list_of(call.transaction.get(call.database, key))? else {
        call.reply.integer(0);
        return Ok(());
    };
    let Some(index) = list.iter().position(|other| other == pivot) else {
        call.reply.integer(-1);
        return Ok(());
    };
    let length = list.len();
    let changes = insert_changes(Some(list), index + behind, &[value], actor);
    let effects: Vec<Effect<'_>> = changes.iter().map(|change| change.effect(key)).collect();
    call.reserve(&effects, 0)?;
    call.transaction.apply_all(call.database, &effects);
    call.notify(EventClasses::LIST, "linsert", key);
    call.reply.integer(length as i64 + 1);
    Ok(())
}
