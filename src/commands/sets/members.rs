//! Single members: adding, removing, asking for them, walking over them.

use std::collections::HashSet;

use smallvec::SmallVec;

use super::{added, change, removed, set};
use crate::commands::scan::{element_cursor, elements};
use crate::commands::value::{is_compact_set, set_of};
use crate::commands::{Call, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::SetView;

/// `SADD`
pub fn sadd(call: &mut Call<'_, '_>) -> CommandResult {
    change_members(call, false)
}

/// `SREM`
pub fn srem(call: &mut Call<'_, '_>) -> CommandResult {
    change_members(call, true)
}

/// Adds or removes the members named, and answers how many were not there, or were.
fn change_members(call: &mut Call<'_, '_>, removes: bool) -> CommandResult {
    let request = call.request;
    let key = request.arg(1);
    // Another replica may know what this one has not heard of yet: there the change counts.
    let is_replicated = call.transaction.is_replicated();
    let present = set(call)?;
    let mut effects: SmallVec<[Effect<'_>; 1]> = SmallVec::new();
    let mut changed = 0;
    let mut seen = HashSet::new();
    let is_single = request.len() == 3;
    for member in request.iter().skip(2) {
        if !is_single && !seen.insert(member) {
            continue;
        }
        let is_here = present.is_some_and(|set| set.contains(member));
        changed += i64::from(is_here == removes);
        if is_here == removes || is_replicated {
            effects.push(if removes {
                removed(key, member)
            } else {
                added(key, member)
            });
        }
    }
    change(call, &effects)?;
    match (changed, removes) {
        (0, _) => {}
        (_, true) => call.notify_taken(EventClasses::SET, "srem", key),
        (_, false) => call.notify(EventClasses::SET, "sadd", key),
    }
    call.reply.integer(changed);
    Ok(())
}

/// `SCARD`
pub fn scard(call: &mut Call<'_, '_>) -> CommandResult {
    let count = set(call)?.map_or(0, SetView::len);
    call.reply.integer(count as i64);
    Ok(())
}

/// `SISMEMBER`
pub fn sismember(call: &mut Call<'_, '_>) -> CommandResult {
    let member = call.request.arg(2);
    let is_member = set(call)?.is_some_and(|set| set.contains(member));
    call.reply.integer(is_member.into());
    Ok(())
}

/// `SMISMEMBER`
pub fn smismember(call: &mut Call<'_, '_>) -> CommandResult {
    let set = set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    call.reply.array(call.request.len() - 2);
    for member in call.request.iter().skip(2) {
        let is_member = set.is_some_and(|set| set.contains(member));
        call.reply.integer(is_member.into());
    }
    Ok(())
}

/// `SMEMBERS`
pub fn smembers(call: &mut Call<'_, '_>) -> CommandResult {
    let set = set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    call.reply.set(set.map_or(0, SetView::len));
    for member in set.into_iter().flat_map(SetView::iter) {
        call.reply.bulk(member);
    }
    Ok(())
}

/// `SMOVE`
pub fn smove(call: &mut Call<'_, '_>) -> CommandResult {
    let [source, destination, member] = [1, 2, 3].map(|index| call.request.arg(index));
    let database = call.database;
    // If it has expired, it goes, whatever becomes of the member.
    call.transaction.is_there(database, destination);
    let from = call.transaction.get(database, source);
    let is_missing = from.is_none();
    let is_member = if is_missing {
        false
    } else {
        let is_member = set_of(from)?.is_some_and(|set| set.contains(member));
        set_of(call.transaction.get(database, destination))?;
        is_member
    };
    if is_member && source != destination {
        let effects = [removed(source, member), added(destination, member)];
        call.reserve(&effects, 0)?;
        for effect in &effects {
            call.transaction.apply(database, effect);
        }
        call.notify_taken(EventClasses::SET, "srem", source);
        call.notify(EventClasses::SET, "sadd", destination);
    }
    call.reply.integer(is_member.into());
    Ok(())
}

/// `SSCAN`
pub fn sscan(call: &mut Call<'_, '_>) -> CommandResult {
    let cursor = element_cursor(call.request)?;
    let config = call.node.config.load();
    let set = set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    let walk = set.map(|set| {
        move |count, visit: &mut dyn FnMut(&[&[u8]])| {
            if is_compact_set(set, &config) {
                // All at once, whatever the cursor, as Redis does with sorted integers.
                set.iter().for_each(|member| visit(&[member]));
                return None;
            }
            set.scan(cursor, count, |member| visit(&[member]))
        }
    });
    elements(call.request, call.reply, walk)
}
