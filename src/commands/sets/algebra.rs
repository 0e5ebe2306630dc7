//! Several sets at once: intersections, unions, differences.

use std::collections::HashSet;

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use super::added;
use crate::commands::spec::Positions;
use crate::commands::value::set_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::SetView;

/// How sets are put together.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

/// `SINTER`
pub fn sinter(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Operation::Intersection)
}

/// `SUNION`
pub fn sunion(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Operation::Union)
}

/// `SDIFF`
pub fn sdiff(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Operation::Difference)
}

/// `SINTERSTORE`
pub fn sinterstore(call: &mut Call<'_, '_>) -> CommandResult {
    store(call, Operation::Intersection)
}

/// `SUNIONSTORE`
pub fn sunionstore(call: &mut Call<'_, '_>) -> CommandResult {
    store(call, Operation::Union)
}

/// `SDIFFSTORE`
pub fn sdiffstore(call: &mut Call<'_, '_>) -> CommandResult {
    store(call, Operation::Difference)
}

fn answer(call: &mut Call<'_, '_>, operation: Operation) -> CommandResult {
    let members = combine(call, 1..call.request.len(), operation, usize::MAX)?;
    call.reply.set(members.len());
    members.iter().for_each(|member| call.reply.bulk(member));
    Ok(())
}

fn store(call: &mut Call<'_, '_>, operation: Operation) -> CommandResult {
    call.transaction.count_lookups();
    let members = combine(call, 2..call.request.len(), operation, usize::MAX)?;
    let key = call.request.arg(1);
    let is_there = call.transaction.is_there(call.database, key);
    let mut effects = Vec::with_capacity(members.len() + 1);
    if is_there || call.transaction.is_replicated() {
        effects.push(Effect::Delete { key });
    }
    effects.extend(members.iter().map(|member| added(key, member)));
    if !effects.is_empty() {
        call.reserve(&effects, 0)?;
        call.transaction.apply_all(call.database, &effects);
    }
    let event = match operation {
        Operation::Intersection => "sinterstore",
        Operation::Union => "sunionstore",
        Operation::Difference => "sdiffstore",
    };
    call.notify_stored(EventClasses::SET, event, key, is_there);
    call.reply.integer(members.len() as i64);
    Ok(())
}

/// `SINTERCARD`
pub fn sintercard(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let count = parse_i64(request.arg(1)).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::line("ERR numkeys should be greater than 0"))?;
    let end = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_add(2));
    let Some(end) = end.filter(|end| *end <= request.len()) else {
        return Err(CommandError::line(
            "ERR Number of keys can't be greater than number of args",
        ));
    };
    let limit = limit_of(request.skip(end))?;
    let members = combine(call, 2..end, Operation::Intersection, limit)?;
    call.reply.integer(members.len() as i64);
    Ok(())
}

/// What follows the keys of `SINTERCARD`: at most how many are counted.
fn limit_of(options: Request<'_>) -> Result<usize, CommandError> {
    let mut limit = usize::MAX;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let value = words.next().filter(|_| word.eq_ignore_ascii_case(b"limit"));
        let number = value.ok_or(CommandError::Syntax)?;
        limit = match parse_i64(number).filter(|limit| *limit >= 0) {
            Some(0) => usize::MAX,
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
            None => return Err(CommandError::line("ERR LIMIT can't be negative")),
        };
    }
    Ok(limit)
}

/// Where the keys of `SINTERCARD` are.
pub fn keys_of_sintercard(request: Request<'_>) -> Positions {
    Positions::counted(request, 1)
}

/// The members, at most `limit`, that come of the sets at these arguments.
fn combine(
    call: &mut Call<'_, '_>,
    keys: std::ops::Range<usize>,
    operation: Operation,
    limit: usize,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let (database, request) = (call.database, call.request);
    // All of them are looked at, whatever the first says: any may be of the wrong type.
    for index in keys.clone() {
        set_of(call.transaction.get(database, request.arg(index)))?;
    }
    let transaction = &*call.transaction;
    let mut sets = keys.map(|index| transaction.find(database, request.arg(index))?.set());
    Ok(match operation {
        Operation::Intersection => intersection(sets.collect(), limit),
        Operation::Union => {
            let mut seen = HashSet::new();
            let members = sets.flatten().flat_map(SetView::iter);
            let new = members.filter(|member| seen.insert(*member));
            new.map(<[u8]>::to_vec).collect()
        }
        Operation::Difference => {
            let Some(first) = sets.next().flatten() else {
                return Ok(Vec::new());
            };
            let others: Vec<SetView<'_>> = sets.flatten().collect();
            let is_left = |member: &&[u8]| !others.iter().any(|set| set.contains(member));
            first.iter().filter(is_left).map(<[u8]>::to_vec).collect()
        }
    })
}

fn intersection(sets: Option<Vec<SetView<'_>>>, limit: usize) -> Vec<Vec<u8>> {
    let Some(mut sets) = sets else {
        return Vec::new();
    };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else {
        return Vec::new();
    };
    let common = smallest
        .iter()
        .filter(|member| others.iter().all(|set| set.contains(member)));
    common.take(limit).map(<[u8]>::to_vec).collect()
}
