//! The keys among a command's arguments, and what it does with them (`COMMAND GETKEYS`).

use coterie_protocol::Request;

use crate::commands::{CommandError, CommandSpec, KeyFlags, KeySpec};

/// The keys of a request, in order.
pub fn of(request: Request<'_>) -> Result<Vec<(&[u8], KeyFlags)>, CommandError> {
    let spec = super::asked_for(request)?.spec;
    if spec.key_specs.is_empty() {
        return Err(CommandError::err("The command has no key arguments"));
    }
    if !spec.accepts(request.len()) {
        return Err(CommandError::err(
            "Invalid number of arguments specified for command",
        ));
    }
    let mut keys = Vec::new();
    for key_spec in spec.key_specs {
        let flags = flags(spec, key_spec, request);
        let places = places(key_spec, request.len());
        keys.extend(places.map(|place| (request.arg(place), flags)));
    }
    Ok(keys)
}

/// Where the keys of a specification are among this many arguments.
fn places(spec: &KeySpec, arguments: usize) -> impl Iterator<Item = usize> + use<> {
    let end = if spec.last < 0 {
        arguments.saturating_add_signed(spec.last + 1)
    } else {
        spec.index.saturating_add_signed(spec.last + 1)
    };
    (spec.index..end.min(arguments)).step_by(spec.step.max(1))
}

/// What this very request does, for the commands where that depends on its arguments.
fn flags(spec: &CommandSpec, key_spec: &KeySpec, request: Request<'_>) -> KeyFlags {
    match spec.name {
        "set" => flags_of_set(request),
        "bitfield" => flags_of_bitfield(request),
        _ => key_spec.flags,
    }
}

const CHANGES: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE);

fn flags_of_set(request: Request<'_>) -> KeyFlags {
    let has_get = request
        .iter()
        .skip(3)
        .any(|word| word.eq_ignore_ascii_case(b"get"));
    if has_get {
        CHANGES
    } else {
        KeyFlags::OW | KeyFlags::UPDATE
    }
}

/// Only a request that reads nothing but fields is read-only; one with a wrong option counts as more.
fn flags_of_bitfield(request: Request<'_>) -> KeyFlags {
    let mut index = 2;
    while let Some(word) = request.get(index) {
        let left = request.len() - index - 1;
        match word.to_ascii_lowercase().as_slice() {
            b"get" if left >= 2 => index += 3,
            b"overflow" if left >= 1 => index += 2,
            _ => return CHANGES,
        }
    }
    KeyFlags::RO | KeyFlags::ACCESS
}
