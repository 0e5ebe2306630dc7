//! Ranges of bytes of a string.

use coterie_protocol::text::parse_i64;

use super::checked_length;
use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;
use crate::store::Entry;

/// `APPEND`
pub fn append(call: &mut Call<'_, '_>) -> CommandResult {
    let (key, bytes) = (call.request.arg(1), call.request.arg(2));
    let (effect, length) = match string_of(call.transaction.get(call.database, key))? {
        Some(entry) => {
            let offset = entry.value().len() as u64;
            let limit = call.node.config.load().proto_max_bulk_len;
            let length = checked_length(offset, bytes.len(), limit)?;
            (Effect::Splice { key, offset, bytes }, length)
        }
        None => {
            let effect = Effect::Put {
                key,
                value: bytes,
                encoding: StringEncoding::of(bytes),
                expire_at: None,
            };
            (effect, bytes.len() as u64)
        }
    };
    call.transaction.apply(call.database, &effect);
    call.notify(EventClasses::STRING, "append", key);
    call.reply.integer(length as i64);
    Ok(())
}

/// `STRLEN`
pub fn strlen(call: &mut Call<'_, '_>) -> CommandResult {
    let entry = string_of(call.transaction.get(call.database, call.request.arg(1)))?;
    let length = entry.map_or(0, |entry| entry.value().len());
    call.reply.integer(length as i64);
    Ok(())
}

/// `SETRANGE`
pub fn setrange(call: &mut Call<'_, '_>) -> CommandResult {
    let (key, bytes) = (call.request.arg(1), call.request.arg(3));
    let offset = parse_i64(call.request.arg(2)).ok_or(CommandError::NotInteger)?;
    let offset =
        u64::try_from(offset).map_err(|_| CommandError::line("ERR offset is out of range"))?;
    let entry = string_of(call.transaction.get(call.database, key))?;
    let old_length = entry.map(|entry| entry.value().len() as u64);
    if bytes.is_empty() {
        call.reply.integer(old_length.unwrap_or(0) as i64);
        return Ok(());
    }
    let limit = call.node.config.load().proto_max_bulk_len;
    let end = checked_length(offset, bytes.len(), limit)?;
    let effect = match old_length {
        Some(_) => Effect::Splice { key, offset, bytes },
        None => Effect::PutPadded { key, offset, bytes },
    };
    call.transaction.apply(call.database, &effect);
    call.notify(EventClasses::STRING, "setrange", key);
    call.reply.integer(end.max(old_length.unwrap_or(0)) as i64);
    Ok(())
}

/// `GETRANGE` and `SUBSTR`
pub fn getrange(call: &mut Call<'_, '_>) -> CommandResult {
    let start = parse_i64(call.request.arg(2)).ok_or(CommandError::NotInteger)?;
    let end = parse_i64(call.request.arg(3)).ok_or(CommandError::NotInteger)?;
    let entry = string_of(call.transaction.get(call.database, call.request.arg(1)))?;
    let value = entry.map_or(&[][..], Entry::value);
    call.reply.bulk(slice(value, start, end));
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative ones count from the end.
fn slice(value: &[u8], start: i64, end: i64) -> &[u8] {
    // Once clamped, two ends before the first byte would be the first byte.
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let length = value.len() as i64;
    let index = |at: i64| if at < 0 { (length + at).max(0) } else { at };
    let (start, end) = (index(start), index(end).min(length - 1));
    if start > end {
        return &[];
    }
    &value[start as usize..=end as usize]
}
