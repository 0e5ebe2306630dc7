//! Several keys at once.

use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;

/// `MGET`
pub fn mget(call: &mut Call<'_, '_>) -> CommandResult {
    call.reply.array(call.request.len() - 1);
    for key in call.request.iter().skip(1) {
        // A key of another type counts as missing.
        let entry = call.transaction.get(call.database, key);
        match string_of(entry).ok().flatten() {
            Some(entry) => call.reply.bulk(entry.value()),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// `MSET`
pub fn mset(call: &mut Call<'_, '_>) -> CommandResult {
    check_pairs(call, "mset")?;
    store_pairs(call);
    call.reply.ok();
    Ok(())
}

/// `MSETNX`
pub fn msetnx(call: &mut Call<'_, '_>) -> CommandResult {
    check_pairs(call, "msetnx")?;
    let mut keys = call.request.iter().skip(1).step_by(2);
    let sets = keys.all(|key| call.transaction.get(call.database, key).is_none());
    if sets {
        store_pairs(call);
    }
    call.reply.integer(sets.into());
    Ok(())
}

/// The arity in the table can't say that every key needs a value.
fn check_pairs(call: &Call<'_, '_>, command: &'static str) -> CommandResult {
    if call.request.len() % 2 == 1 {
        Ok(())
    } else {
        Err(CommandError::Arity(command.into()))
    }
}

fn store_pairs(call: &mut Call<'_, '_>) {
    for index in (1..call.request.len()).step_by(2) {
        let value = call.request.arg(index + 1);
        let effect = Effect::Put {
            key: call.request.arg(index),
            value,
            encoding: StringEncoding::of(value),
            expire_at: None,
        };
        call.transaction.apply(call.database, &effect);
        call.notify(EventClasses::STRING, "set", call.request.arg(index));
    }
}
