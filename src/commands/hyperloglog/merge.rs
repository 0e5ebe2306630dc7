//! `PFMERGE`

use super::{copy_of, corrupted, keep, sketch_of, sparse_max};
use crate::commands::{Call, CommandResult};
use crate::events::EventClasses;
use crate::hyperloglog::{Encoding, encoding, merge_into, no_registers};

/// `PFMERGE`
pub fn pfmerge(call: &mut Call<'_, '_>) -> CommandResult {
    let sparse_max = sparse_max(call);
    let request = call.request;
    let mut registers = no_registers();
    let mut is_dense = false;
    for key in request.iter().skip(1) {
        let Some(entry) = sketch_of(call.transaction.get(call.database, key))? else {
            continue;
        };
        is_dense |= encoding(entry.value()) == Some(Encoding::Dense);
        merge_into(entry.value(), &mut registers).map_err(corrupted)?;
    }
    let key = request.arg(1);
    let mut sketch = copy_of(call.transaction.find(call.database, key))?.unwrap_or_default();
    if is_dense {
        sketch.make_dense().map_err(corrupted)?;
    }
    // One after the other: how sparse registers are written depends on it.
    for (index, value) in registers
        .iter()
        .enumerate()
        .filter(|(_, value)| **value > 0)
    {
        sketch.raise(index, *value, sparse_max).map_err(corrupted)?;
    }
    sketch.invalidate();
    keep(call, key, sketch.bytes())?;
    call.notify(EventClasses::STRING, "pfadd", key);
    call.reply.ok();
    Ok(())
}
