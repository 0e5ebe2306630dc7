//! Single bits.

use coterie_protocol::text::parse_i64;

use super::parse_offset;
use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;
use crate::store::Entry;

/// Its place in a string: the byte, and a mask of one bit in it.
fn place(offset: u64) -> (u64, u8) {
    (offset / 8, 0x80 >> (offset % 8))
}

/// `SETBIT`
pub fn setbit(call: &mut Call<'_, '_>) -> CommandResult {
    let limit = call.node.config.load().proto_max_bulk_len;
    let (offset, mask) = place(parse_offset(call.request.arg(2), limit)?);
    let bit = match parse_i64(call.request.arg(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => {
            return Err(CommandError::line(
                "ERR bit is not an integer or out of range",
            ));
        }
    };
    let key = call.request.arg(1);
    let entry = string_of(call.transaction.get(call.database, key))?;
    let old = entry.and_then(|entry| entry.value().get(offset as usize).copied());
    let byte = old.unwrap_or(0);
    let new = [if bit { byte | mask } else { byte & !mask }];
    let is_changed = old != Some(new[0]);
    let effect = match entry {
        None => Some(Effect::PutPadded {
            key,
            offset,
            bytes: &new,
        }),
        // Writing what is there already still makes an edited string of it, as `OBJECT ENCODING` tells.
        Some(entry) if old != Some(new[0]) || entry.encoding() != StringEncoding::Raw => {
            Some(Effect::Splice {
                key,
                offset,
                bytes: &new,
            })
        }
        Some(_) => None,
    };
    if let Some(effect) = effect {
        call.transaction.apply(call.database, &effect);
    }
    if is_changed {
        call.notify(EventClasses::STRING, "setbit", key);
    }
    call.reply.integer((byte & mask != 0).into());
    Ok(())
}

/// `GETBIT`
pub fn getbit(call: &mut Call<'_, '_>) -> CommandResult {
    let limit = call.node.config.load().proto_max_bulk_len;
    let (offset, mask) = place(parse_offset(call.request.arg(2), limit)?);
    let entry = string_of(call.transaction.get(call.database, call.request.arg(1)))?;
    let value = entry.map_or(&[][..], Entry::value);
    let byte = value.get(offset as usize).copied().unwrap_or(0);
    call.reply.integer((byte & mask != 0).into());
    Ok(())
}
