//! `PFCOUNT`

use super::{corrupted, sketch_of};
use crate::commands::{Call, CommandResult};
use crate::effect::Effect;
use crate::hyperloglog::{cache, cached, estimate, merge_into, no_registers, registers_of};

/// `PFCOUNT`
pub fn pfcount(call: &mut Call<'_, '_>) -> CommandResult {
    if call.request.len() == 2 {
        return count_one(call);
    }
    let mut registers = no_registers();
    for key in call.request.iter().skip(1) {
        if let Some(entry) = sketch_of(call.transaction.get(call.database, key))? {
            merge_into(entry.value(), &mut registers).map_err(corrupted)?;
        }
    }
    call.reply.integer(estimate(&registers) as i64);
    Ok(())
}

fn count_one(call: &mut Call<'_, '_>) -> CommandResult {
    let key = call.request.arg(1);
    let Some(entry) = sketch_of(call.transaction.get(call.database, key))? else {
        call.reply.integer(0);
        return Ok(());
    };
    let known = cached(entry.value());
    let estimate = match known {
        Some(estimate) => estimate,
        None => {
            let registers = registers_of(entry.value()).map_err(corrupted)?;
            estimate(&registers)
        }
    };
    call.reply.integer(estimate as i64);
    if known.is_none() {
        note_estimate(call, key, estimate);
    }
    Ok(())
}

/// Notes the estimate in the sketch, where that costs little: replicas would be sent all of it, and a log that is full
/// is no reason not to answer.
fn note_estimate(call: &mut Call<'_, '_>, key: &[u8], estimate: u64) {
    let (offset, bytes) = cache(estimate);
    let effect = Effect::Splice {
        key,
        offset: offset as u64,
        bytes: &bytes,
    };
    if !call.transaction.is_replicated() && call.reserve(&[effect], 0).is_ok() {
        call.transaction.apply(call.database, &effect);
    }
}
