//! HyperLogLog: strings that estimate how many different elements they have seen.

mod count;
mod debug;
mod merge;
mod table;

pub use table::COMMANDS;

use coterie_protocol::Stamp;

use super::value::string_of;
use super::{Call, CommandError, CommandResult};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;
use crate::hyperloglog::{Corrupted, Sketch, encoding};
use crate::store::Entry;

/// What is answered of a sketch whose registers are malformed.
fn corrupted(_: Corrupted) -> CommandError {
    CommandError::line("INVALIDOBJ Corrupted HLL object detected")
}

/// The entry of a key, if there is one and it begins like a sketch; an error if it holds something else.
fn sketch_of(entry: Option<&Entry>) -> Result<Option<&Entry>, CommandError> {
    match string_of(entry)? {
        Some(entry) if encoding(entry.value()).is_none() => Err(CommandError::line(
            "WRONGTYPE Key is not a valid HyperLogLog string value.",
        )),
        entry => Ok(entry),
    }
}

/// The sketch at a key, to be edited.
fn copy_of(entry: Option<&Entry>) -> Result<Option<Sketch>, CommandError> {
    Ok(sketch_of(entry)?.and_then(|entry| Sketch::of(entry.value())))
}

/// How long a sparse sketch may be, in bytes.
fn sparse_max(call: &Call<'_, '_>) -> usize {
    let limit = call.node.config.load().hll_sparse_max_bytes;
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// `PFADD`
pub fn pfadd(call: &mut Call<'_, '_>) -> CommandResult {
    let sparse_max = sparse_max(call);
    let request = call.request;
    let key = request.arg(1);
    let found = copy_of(call.transaction.get(call.database, key))?;
    let mut is_changed = found.is_none();
    let mut sketch = found.unwrap_or_default();
    for element in request.iter().skip(2) {
        is_changed |= sketch.add(element, sparse_max).map_err(corrupted)?;
    }
    if is_changed {
        sketch.invalidate();
    }
    keep(call, key, sketch.bytes())?;
    if is_changed {
        call.notify(EventClasses::STRING, "pfadd", key);
    }
    call.reply.integer(is_changed.into());
    Ok(())
}

/// Makes a sketch the value of a key that holds one or nothing. Its expiry stays.
fn keep(call: &mut Call<'_, '_>, key: &[u8], sketch: &[u8]) -> CommandResult {
    let is_replicated = call.transaction.is_replicated();
    let entry = call.transaction.find(call.database, key);
    let old = entry.map(|entry| entry.value().to_vec());
    let encoding = StringEncoding::Raw;
    let effect = match (entry, &old) {
        // Who has looked at it made an edited string of it, as `OBJECT ENCODING` tells.
        (Some(entry), Some(old)) if old == sketch => {
            let is_edited = entry.encoding() == encoding || is_replicated;
            (!is_edited).then_some((0, &sketch[..1]))
        }
        (Some(_), Some(old)) if !is_replicated && old.len() <= sketch.len() => {
            Some(difference(old, sketch))
        }
        (entry, _) => {
            let effect = if is_replicated {
                // What it was made of is found when it is merged.
                Effect::Sketch {
                    key,
                    base: Stamp::ZERO,
                    value: sketch,
                }
            } else {
                Effect::Put {
                    key,
                    value: sketch,
                    encoding,
                    expire_at: entry.and_then(Entry::expire_at),
                }
            };
            call.reserve(&[effect], 0)?;
            call.transaction.apply(call.database, &effect);
            None
        }
    };
    if let Some((offset, bytes)) = effect {
        let offset = offset as u64;
        let splice = Effect::Splice { key, offset, bytes };
        call.reserve(&[splice], 0)?;
        call.transaction.apply(call.database, &splice);
    }
    Ok(())
}

/// What of a string differs from one that is not longer: from where on, and its bytes.
fn difference<'s>(old: &[u8], new: &'s [u8]) -> (usize, &'s [u8]) {
    debug_assert!(old.len() <= new.len());
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let mut end = new.len();
    if old.len() == new.len() {
        let same = old[start..].iter().rev().zip(new[start..].iter().rev());
        end -= same.take_while(|(a, b)| a == b).count();
    }
    (start, &new[start..end])
}
