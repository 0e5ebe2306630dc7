//! Fields as numbers: counters.

use coterie_protocol::text::parse_i64;

use super::hash;
use crate::commands::{Call, CommandError, CommandResult, long_double};
use crate::events::EventClasses;
use crate::store::{Kind, element_effect};

/// `HINCRBY`
pub fn hincrby(call: &mut Call<'_, '_>) -> CommandResult {
    let field = call.request.arg(2);
    let increment = parse_i64(call.request.arg(3)).ok_or(CommandError::NotInteger)?;
    let old = match hash(call)?.and_then(|hash| hash.get(field)) {
        Some(value) => {
            parse_i64(value).ok_or(CommandError::line("ERR hash value is not an integer"))?
        }
        None => 0,
    };
    let new = old.checked_add(increment).ok_or(CommandError::line(
        "ERR increment or decrement would overflow",
    ))?;
    let key = call.request.arg(1);
    call.transaction
        .count_field(call.database, key, field, increment, new);
    call.notify(EventClasses::HASH, "hincrby", key);
    call.reply.integer(new);
    Ok(())
}

/// `HINCRBYFLOAT`
pub fn hincrbyfloat(call: &mut Call<'_, '_>) -> CommandResult {
    let field = call.request.arg(2);
    let increment = long_double::parse(call.request.arg(3)).ok_or(CommandError::NotFloat)?;
    if !long_double::is_finite(increment) {
        return Err(CommandError::line("ERR value is NaN or Infinity"));
    }
    let old = match hash(call)?.and_then(|hash| hash.get(field)) {
        Some(value) => {
            long_double::parse(value).ok_or(CommandError::line("ERR hash value is not a float"))?
        }
        None => long_double::ZERO,
    };
    let new = long_double::add(old, increment).ok_or(CommandError::line(
        "ERR increment would produce NaN or Infinity",
    ))?;
    let text = long_double::format(new);
    let key = call.request.arg(1);
    let expire_at = call.transaction.field_expiry(call.database, key, field);
    let set = element_effect(Kind::Hash, key, (field, text.as_bytes(), expire_at));
    call.reserve(&[set], 0)?;
    call.transaction.apply(call.database, &set);
    call.notify(EventClasses::HASH, "hincrbyfloat", key);
    call.reply.bulk(text.as_bytes());
    Ok(())
}
