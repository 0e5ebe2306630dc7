//! Sets: distinct members below one key.

mod algebra;
mod members;
mod random;
mod table;

pub use table::COMMANDS;

use super::value::set_of;
use super::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::store::{Kind, SetView};

/// The set at the call's key, which counts as used.
fn set<'t>(call: &'t mut Call<'_, '_>) -> Result<Option<SetView<'t>>, CommandError> {
    set_of(call.transaction.get(call.database, call.request.arg(1)))
}

/// The effect that a member is in the set at a key.
fn added<'a>(key: &'a [u8], member: &'a [u8]) -> Effect<'a> {
    Effect::ElementSet {
        kind: Kind::Set,
        key,
        element: member,
        value: b"",
    }
}

/// The effect that a member is not in it.
fn removed<'a>(key: &'a [u8], member: &'a [u8]) -> Effect<'a> {
    Effect::ElementDelete {
        kind: Kind::Set,
        key,
        element: member,
    }
}

/// Makes changes to one key, if there are any.
fn change(call: &mut Call<'_, '_>, effects: &[Effect<'_>]) -> CommandResult {
    if !effects.is_empty() {
        call.reserve(effects, 0)?;
        call.transaction.apply_all(call.database, effects);
    }
    Ok(())
}
