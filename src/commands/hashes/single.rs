//! One field: its value, its length, whether it is there.

use super::{hash, hash_of, set_fields};
use crate::commands::{Call, CommandResult};
use crate::store::HashView;

/// `HGET`
pub fn hget(call: &mut Call<'_, '_>) -> CommandResult {
    let field = call.request.arg(2);
    let entry = call.transaction.get(call.database, call.request.arg(1));
    match hash_of(entry)?.and_then(|hash| hash.get(field)) {
        Some(value) => call.reply.bulk(value),
        None => call.reply.null(),
    }
    Ok(())
}

/// `HEXISTS`
pub fn hexists(call: &mut Call<'_, '_>) -> CommandResult {
    let field = call.request.arg(2);
    let exists = hash(call)?.is_some_and(|hash| hash.get(field).is_some());
    call.reply.integer(exists.into());
    Ok(())
}

/// `HSTRLEN`
pub fn hstrlen(call: &mut Call<'_, '_>) -> CommandResult {
    let field = call.request.arg(2);
    let value = hash(call)?.and_then(|hash| hash.get(field));
    let length = value.map_or(0, <[u8]>::len);
    call.reply.integer(length as i64);
    Ok(())
}

/// `HLEN`
pub fn hlen(call: &mut Call<'_, '_>) -> CommandResult {
    let length = hash(call)?.map_or(0, HashView::len);
    call.reply.integer(length as i64);
    Ok(())
}

/// `HSETNX`
pub fn hsetnx(call: &mut Call<'_, '_>) -> CommandResult {
    let (field, value) = (call.request.arg(2), call.request.arg(3));
    let missing = hash(call)?.is_none_or(|hash| hash.get(field).is_none());
    if missing {
        set_fields(call, std::iter::once((field, value)), "hset")?;
    }
    call.reply.integer(missing.into());
    Ok(())
}
