//! Counting and removing the members of a range: `ZCOUNT`, `ZLEXCOUNT`, `ZREMRANGEBYRANK` and the like.

use super::bounds::{By, Span};
use super::{change, removed};
use crate::commands::value::{is_compact_sorted_set, sorted_set_of};
use crate::commands::{Call, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;

/// `ZCOUNT`
pub fn zcount(call: &mut Call<'_, '_>) -> CommandResult {
    count(call, By::Score)
}

/// `ZLEXCOUNT`
pub fn zlexcount(call: &mut Call<'_, '_>) -> CommandResult {
    count(call, By::Member)
}

fn count(call: &mut Call<'_, '_>, by: By) -> CommandResult {
    let [key, min, max] = [1, 2, 3].map(|index| call.request.arg(index));
    let span = Span::parse(by, min, max)?;
    let config = call.node.config.load();
    let set = sorted_set_of(call.transaction.get(call.database, key))?;
    let count = set.map_or(0, |set| {
        let is_compact = is_compact_sorted_set(set, &config);
        span.ranks(set, is_compact, false).len()
    });
    call.reply.integer(count as i64);
    Ok(())
}

/// `ZREMRANGEBYRANK`
pub fn zremrangebyrank(call: &mut Call<'_, '_>) -> CommandResult {
    remove(call, By::Rank)
}

/// `ZREMRANGEBYSCORE`
pub fn zremrangebyscore(call: &mut Call<'_, '_>) -> CommandResult {
    remove(call, By::Score)
}

/// `ZREMRANGEBYLEX`
pub fn zremrangebylex(call: &mut Call<'_, '_>) -> CommandResult {
    remove(call, By::Member)
}

fn remove(call: &mut Call<'_, '_>, by: By) -> CommandResult {
    let [key, min, max] = [1, 2, 3].map(|index| call.request.arg(index));
    let span = Span::parse(by, min, max)?;
    let config = call.node.config.load();
    let set = sorted_set_of(call.transaction.get(call.database, key))?;
    let members: Vec<Vec<u8>> = set.map_or_else(Vec::new, |set| {
        let is_compact = is_compact_sorted_set(set, &config);
        let found = set.range(span.ranks(set, is_compact, false));
        found.map(|(member, _)| member.to_vec()).collect()
    });
    let effects: Vec<Effect<'_>> = members.iter().map(|member| removed(key, member)).collect();
    change(call, &effects)?;
    if !effects.is_empty() {
        let event = match by {
            By::Rank => "zremrangebyrank",
            By::Score => "zremrangebyscore",
            By::Member => "zremrangebylex",
        };
        call.notify_taken(EventClasses::SORTED_SET, event, key);
    }
    call.reply.integer(members.len() as i64);
    Ok(())
}
