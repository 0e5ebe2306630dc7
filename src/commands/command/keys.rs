//! The keys among a command's arguments, and what it does with them (`COMMAND GETKEYS`).

use coterie_protocol::Request;
use coterie_protocol::text::parse_u64;

use crate::commands::spec::{Begin, Find};
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
    let all: Vec<usize> = spec.keys.positions(request).collect();
    if all.is_empty() {
        return Err(CommandError::err("Invalid arguments specified for command"));
    }
    let is_unknown = |spec: &KeySpec| matches!(spec.find, Find::Unknown);
    let last_unknown = spec.key_specs.iter().rposition(is_unknown);
    // Only data tells those of the others: none of the arguments are theirs.
    let telling = spec.key_specs.iter().enumerate();
    let telling = telling.filter(|(index, spec)| !is_unknown(spec) || Some(*index) == last_unknown);
    let keys = telling.flat_map(|(_, key_spec)| {
        let flags = flags(spec, key_spec, request);
        let places = places(key_spec, request, &all);
        places
            .into_iter()
            .map(move |place| (request.arg(place), flags))
    });
    Ok(keys.collect())
}

/// Where the keys of a request are, and what it does with them; not what only looks like a key. None if it has no valid
/// number of them.
pub fn accesses(spec: &CommandSpec, request: Request<'_>) -> Vec<(usize, KeyFlags)> {
    let all: Vec<usize> = spec.keys.positions(request).collect();
    let mut accesses = Vec::with_capacity(all.len());
    if all.is_empty() {
        return accesses;
    }
    for key_spec in spec.key_specs {
        let flags = flags(spec, key_spec, request);
        if !flags.contains(KeyFlags::NOT_KEY) {
            let places = places(key_spec, request, &all).into_iter();
            accesses.extend(places.map(|place| (place, flags)));
        }
    }
    accesses
}

/// Where the keys of a specification are. What a specification can't tell are those that no other tells.
fn places(spec: &KeySpec, request: Request<'_>, all: &[usize]) -> Vec<usize> {
    let arguments = request.len();
    let begin = match spec.begin {
        Begin::Index(index) => Some(index),
        Begin::Keyword(word, from) => behind(request, word, from),
        Begin::Unknown => None,
    };
    match (begin, spec.find) {
        (Some(begin), Find::Range { last, step, limit }) => {
            let end = if last < 0 {
                let rest = arguments.saturating_add_signed(last + 1);
                match limit {
                    0 | 1 => rest,
                    limit => begin + rest.saturating_sub(begin) / limit,
                }
            } else {
                begin.saturating_add_signed(last + 1)
            };
            (begin..end.min(arguments)).step_by(step.max(1)).collect()
        }
        (Some(begin), Find::Count { index, first, step }) => {
            let count = request.get(begin + index).and_then(parse_u64).unwrap_or(0);
            let places = (begin + first..arguments).step_by(step.max(1));
            places
                .take(usize::try_from(count).unwrap_or(usize::MAX))
                .collect()
        }
        (None, Find::Range { .. } | Find::Count { .. }) => Vec::new(),
        (_, Find::Unknown) => all[1.min(all.len())..].to_vec(),
    }
}

/// The argument behind a word.
fn behind(request: Request<'_>, word: &str, from: isize) -> Option<usize> {
    let is_word = |index: &usize| request.arg(*index).eq_ignore_ascii_case(word.as_bytes());
    let found = if from < 0 {
        let last = request.len().checked_add_signed(from)?;
        (1..=last).rev().find(is_word)
    } else {
        (from as usize..request.len()).find(is_word)
    };
    found
        .map(|index| index + 1)
        .filter(|index| *index < request.len())
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
