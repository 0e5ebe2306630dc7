//! Hashes: fields with values below one key.

mod expiry;
mod expiry_table;
mod many;
mod number;
mod random;
mod scan;
mod single;
mod table;

pub use expiry_table::COMMANDS as EXPIRY_COMMANDS;
pub use table::COMMANDS;

use smallvec::SmallVec;

use super::value::hash_of;
use super::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::{HashView, Kind};

/// The hash at the call's key, which counts as used.
fn hash<'t>(call: &'t mut Call<'_, '_>) -> Result<Option<HashView<'t>>, CommandError> {
    hash_of(call.transaction.get(call.database, call.request.arg(1)))
}

/// Gives values to fields of the call's key, which becomes a hash if it is none yet. `event` tells of it.
fn set_fields<'a>(
    call: &mut Call<'_, '_>,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    event: &'static str,
) -> CommandResult {
    let key = call.request.arg(1);
    let kind = Kind::Hash;
    let sets = pairs.map(|(element, value)| Effect::ElementSet {
        kind,
        key,
        element,
        value,
    });
    let effects: SmallVec<[Effect<'_>; 1]> = sets.collect();
    // They name the key again with each field.
    call.reserve(&effects, 0)?;
    call.transaction.apply_all(call.database, &effects);
    call.notify(EventClasses::HASH, event, key);
    Ok(())
}
