//! Several fields at once, or all of them.

use std::collections::HashSet;

use super::{hash, hash_of, set_fields};
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::{HashView, Kind};

/// `HSET`
pub fn hset(call: &mut Call<'_, '_>) -> CommandResult {
    check_pairs(call, "hset")?;
    let fields = call.request.iter().skip(2).step_by(2);
    let created = match hash(call)? {
        Some(hash) => count_distinct(fields.filter(|field| hash.get(field).is_none())),
        None => count_distinct(fields),
    };
    set_pairs(call)?;
    call.reply.integer(created as i64);
    Ok(())
}

/// `HMSET`
pub fn hmset(call: &mut Call<'_, '_>) -> CommandResult {
    check_pairs(call, "hmset")?;
    hash(call)?;
    set_pairs(call)?;
    call.reply.ok();
    Ok(())
}

/// The arity in the table can't say that every field needs a value.
fn check_pairs(call: &Call<'_, '_>, command: &'static str) -> CommandResult {
    if call.request.len().is_multiple_of(2) {
        Ok(())
    } else {
        Err(CommandError::Arity(command.into()))
    }
}

fn set_pairs(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let pairs = (2..request.len())
        .step_by(2)
        .map(|index| (request.arg(index), request.arg(index + 1)));
    set_fields(call, pairs, "hset")
}

/// How many fields these are if one that is named again does not count.
fn count_distinct<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> usize {
    match (fields.next(), fields.next()) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(fields);
            all.collect::<HashSet<_>>().len()
        }
    }
}

/// `HMGET`
pub fn hmget(call: &mut Call<'_, '_>) -> CommandResult {
    let entry = call.transaction.get(call.database, call.request.arg(1));
    let hash = hash_of(entry)?;
    call.reply.array(call.request.len() - 2);
    for field in call.request.iter().skip(2) {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => call.reply.bulk(value),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// `HDEL`
pub fn hdel(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let key = request.arg(1);
    let is_replicated = call.transaction.is_replicated();
    let (mut effects, mut found) = (Vec::new(), 0);
    let hash = hash(call)?;
    let length = hash.map_or(0, |hash| hash.len() as i64);
    let mut seen = HashSet::new();
    for field in request.iter().skip(2).filter(|field| seen.insert(*field)) {
        let is_here = hash.is_some_and(|hash| hash.get(field).is_some());
        found += i64::from(is_here);
        // What is not here may be on another replica, which this one has not heard of yet.
        if is_here || is_replicated {
            let (kind, element) = (Kind::Hash, field);
            effects.push(Effect::ElementDelete { kind, key, element });
        }
    }
    if !effects.is_empty() {
        call.reserve(&effects, 0)?;
        call.transaction.apply_all(call.database, &effects);
    }
    if found > 0 {
        call.notify(EventClasses::HASH, "hdel", key);
        if found == length {
            call.notify(EventClasses::GENERIC, "del", key);
        }
    }
    call.reply.integer(found);
    Ok(())
}

/// `HGETALL`
pub fn hgetall(call: &mut Call<'_, '_>) -> CommandResult {
    let entry = call.transaction.get(call.database, call.request.arg(1));
    let hash = hash_of(entry)?;
    call.reply.map(hash.map_or(0, HashView::len));
    for (field, value) in hash.into_iter().flat_map(HashView::iter) {
        call.reply.bulk(field);
        call.reply.bulk(value);
    }
    Ok(())
}

/// `HKEYS`
pub fn hkeys(call: &mut Call<'_, '_>) -> CommandResult {
    list(call, |(field, _)| field)
}

/// `HVALS`
pub fn hvals(call: &mut Call<'_, '_>) -> CommandResult {
    list(call, |(_, value)| value)
}

/// Chooses between a field and its value.
type Part = for<'a> fn((&'a [u8], &'a [u8])) -> &'a [u8];

fn list(call: &mut Call<'_, '_>, part: Part) -> CommandResult {
    let entry = call.transaction.get(call.database, call.request.arg(1));
    let hash = hash_of(entry)?;
    call.reply.array(hash.map_or(0, HashView::len));
    for pair in hash.into_iter().flat_map(HashView::iter) {
        call.reply.bulk(part(pair));
    }
    Ok(())
}
