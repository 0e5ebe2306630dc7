//! Strings as numbers: counters.

use coterie_protocol::text::parse_i64;

use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult, long_double};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;

/// `INCR`
pub fn incr(call: &mut Call<'_, '_>) -> CommandResult {
    add(call, 1)
}

/// `DECR`
pub fn decr(call: &mut Call<'_, '_>) -> CommandResult {
    add(call, -1)
}

/// `INCRBY`
pub fn incrby(call: &mut Call<'_, '_>) -> CommandResult {
    let increment = parse_i64(call.request.arg(2)).ok_or(CommandError::NotInteger)?;
    add(call, increment)
}

/// `DECRBY`
pub fn decrby(call: &mut Call<'_, '_>) -> CommandResult {
    let decrement = parse_i64(call.request.arg(2)).ok_or(CommandError::NotInteger)?;
    let increment = decrement
        .checked_neg()
        .ok_or(CommandError::line("ERR decrement would overflow"))?;
    add(call, increment)
}

fn add(call: &mut Call<'_, '_>, increment: i64) -> CommandResult {
    let key = call.request.arg(1);
    let old = match string_of(call.transaction.get(call.database, key))? {
        Some(entry) => parse_i64(entry.value()).ok_or(CommandError::NotInteger)?,
        None => 0,
    };
    let new = old.checked_add(increment).ok_or(CommandError::line(
        "ERR increment or decrement would overflow",
    ))?;
    call.transaction.count(call.database, key, increment, new);
    call.notify(EventClasses::STRING, "incrby", key);
    call.reply.integer(new);
    Ok(())
}

/// `INCRBYFLOAT`
pub fn incrbyfloat(call: &mut Call<'_, '_>) -> CommandResult {
    let key = call.request.arg(1);
    let (old, expire_at) = match string_of(call.transaction.get(call.database, key))? {
        Some(entry) => (
            long_double::parse(entry.value()).ok_or(CommandError::NotFloat)?,
            entry.expire_at(),
        ),
        None => (long_double::ZERO, None),
    };
    let increment = long_double::parse(call.request.arg(2)).ok_or(CommandError::NotFloat)?;
    let new = long_double::add(old, increment).ok_or(CommandError::line(
        "ERR increment would produce NaN or Infinity",
    ))?;
    let text = long_double::format(new);
    // A few digits of exponent can make thousands of digits of text.
    let bytes = Effect::encoded_bytes_max(key.len(), text.len());
    call.transaction
        .reserve(bytes)
        .map_err(|error| CommandError::NoRoom(error, bytes))?;
    let effect = Effect::Put {
        key,
        value: text.as_bytes(),
        encoding: StringEncoding::of_text(text.as_bytes()),
        expire_at,
    };
    call.transaction.apply(call.database, &effect);
    call.notify(EventClasses::STRING, "incrbyfloat", key);
    call.reply.bulk(text.as_bytes());
    Ok(())
}
