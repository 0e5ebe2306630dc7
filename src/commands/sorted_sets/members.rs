//! Single members: their scores and ranks, removing them, walking over them.

use std::collections::HashSet;

use coterie_protocol::text::format_double;

use super::{change, removed, sorted_set};
use crate::commands::scan::{element_cursor, elements};
use crate::commands::value::{is_compact_sorted_set, sorted_set_of};
use crate::commands::{Call, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::SortedSetView;

/// `ZREM`
pub fn zrem(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let key = request.arg(1);
    let is_replicated = call.transaction.is_replicated();
    let set = sorted_set(call)?;
    let (mut effects, mut count) = (Vec::<Effect<'_>>::new(), 0);
    let mut seen = HashSet::new();
    for member in request.iter().skip(2).filter(|member| seen.insert(*member)) {
        let is_here = set.is_some_and(|set| set.score(member).is_some());
        count += i64::from(is_here);
        // What is not here may be on another replica, which this one has not heard of yet.
        if is_here || is_replicated {
            effects.push(removed(key, member));
        }
    }
    change(call, &effects)?;
    if count > 0 {
        call.notify_taken(EventClasses::SORTED_SET, "zrem", key);
    }
    call.reply.integer(count);
    Ok(())
}

/// `ZCARD`
pub fn zcard(call: &mut Call<'_, '_>) -> CommandResult {
    let count = sorted_set(call)?.map_or(0, SortedSetView::len);
    call.reply.integer(count as i64);
    Ok(())
}

/// `ZSCORE`
pub fn zscore(call: &mut Call<'_, '_>) -> CommandResult {
    let member = call.request.arg(2);
    match sorted_set(call)?.and_then(|set| set.score(member)) {
        Some(score) => call.reply.double(score),
        None => call.reply.null(),
    }
    Ok(())
}

/// `ZMSCORE`
pub fn zmscore(call: &mut Call<'_, '_>) -> CommandResult {
    let set = sorted_set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    call.reply.array(call.request.len() - 2);
    for member in call.request.iter().skip(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => call.reply.double(score),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// `ZRANK`
pub fn zrank(call: &mut Call<'_, '_>) -> CommandResult {
    rank(call, false)
}

/// `ZREVRANK`
pub fn zrevrank(call: &mut Call<'_, '_>) -> CommandResult {
    rank(call, true)
}

fn rank(call: &mut Call<'_, '_>, reverse: bool) -> CommandResult {
    let member = call.request.arg(2);
    let rank = sorted_set(call)?.and_then(|set| {
        let rank = set.rank(member)?;
        Some(if reverse { set.len() - 1 - rank } else { rank })
    });
    match rank {
        Some(rank) => call.reply.integer(rank as i64),
        None => call.reply.null(),
    }
    Ok(())
}

/// Up to this size Redis' list packs hold whole scores as integers, all digits of which are written.
const PACKED_INTEGER_MAX: f64 = 4_611_686_018_427_387_904.0;

/// A score as `ZSCAN` writes it.
fn write_score(score: f64, is_compact: bool, digits: &mut Vec<u8>) {
    digits.clear();
    if is_compact && score.abs() <= PACKED_INTEGER_MAX && score.trunc() == score {
        digits.extend_from_slice(itoa::Buffer::new().format(score as i64).as_bytes());
    } else {
        format_double(score, digits);
    }
}

/// `ZSCAN`
pub fn zscan(call: &mut Call<'_, '_>) -> CommandResult {
    let cursor = element_cursor(call.request)?;
    let config = call.node.config.load();
    let set = sorted_set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    let walk = set.map(|set| {
        move |count, visit: &mut dyn FnMut(&[&[u8]])| {
            let is_compact = is_compact_sorted_set(set, &config);
            let mut digits = Vec::new();
            let mut visit = |member: &[u8], score: f64| {
                write_score(score, is_compact, &mut digits);
                visit(&[member, &digits]);
            };
            if is_compact {
                // All at once, whatever the cursor, as Redis does with a list pack.
                set.iter().for_each(|(member, score)| visit(member, score));
                return None;
            }
            set.scan(cursor, count, visit)
        }
    });
    elements(call.request, call.reply, walk)
}
