//! From one list to another: `LMOVE`, `RPOPLPUSH`.

use smallvec::SmallVec;

use super::ends::{push, request_name};
use super::{End, removed};
use crate::commands::value::list_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::Kind;

/// `LMOVE`
pub fn lmove(call: &mut Call<'_, '_>) -> CommandResult {
    let ends = ends(call)?;
    answer(call, ends)
}

/// `RPOPLPUSH`
pub fn rpoplpush(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, (End::Right, End::Left))
}

/// The end that `LMOVE` and `BLMOVE` take an element from, and the one they put it at.
pub fn ends(call: &Call<'_, '_>) -> Result<(End, End), CommandError> {
    let from = End::parse(call.request.arg(3))?;
    Ok((from, End::parse(call.request.arg(4))?))
}

fn answer(call: &mut Call<'_, '_>, ends: (End, End)) -> CommandResult {
    if !transfer(call, ends)? {
        call.reply.null();
    }
    Ok(())
}

/// Moves an element from the list at the first key to that at the second, and answers with it if there is one.
pub fn transfer(call: &mut Call<'_, '_>, (from, to): (End, End)) -> Result<bool, CommandError> {
    let (source, destination) = (call.request.arg(1), call.request.arg(2));
    let database = call.database;
    let entry = call.transaction.get(database, source);
    if call.patience.ignores(source, entry) {
        return Ok(false);
    }
    let Some(list) = list_of(entry)? else {
        return Ok(false);
    };
    let value = list
        .get(from.index(list.len()))
        .unwrap_or_default()
        .to_vec();
    list_of(call.transaction.get(database, destination))?;
    reserve(call, &value)?;
    push(call, destination, to, &[value.as_slice()])?;
    // The list it is taken from may be the one it was put into.
    let list = list_of(call.transaction.peek(database, source))?;
    let is_same = source == destination;
    let position: SmallVec<[u8; 16]> = list
        .and_then(|list| {
            let index = match from {
                End::Left => usize::from(is_same && to == End::Left),
                End::Right => list.len() - 1 - usize::from(is_same && to == End::Right),
            };
            list.position(index)
        })
        .unwrap_or_default()
        .into();
    call.transaction
        .apply(database, &removed(source, &position));
    call.notify_taken(EventClasses::LIST, request_name(from), source);
    call.reply.bulk(&value);
    Ok(true)
}

/// Makes sure of room for an element at the destination, and its removal at the source.
fn reserve(call: &mut Call<'_, '_>, value: &[u8]) -> CommandResult {
    let position = &[0; 16];
    let (source, destination) = (call.request.arg(1), call.request.arg(2));
    let added = Effect::ElementSet {
        kind: Kind::List,
        key: destination,
        element: position,
        value,
    };
    call.reserve(&[added, removed(source, position)], 0)
}
