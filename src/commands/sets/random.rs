//! Members taken at random: `SPOP`, `SRANDMEMBER`.

use coterie_protocol::text::parse_i64;

use super::{change, removed, set};
use crate::commands::sampling::{Choice, Pair, answer, distinct};
use crate::commands::value::set_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;

/// `SPOP`
pub fn spop(call: &mut Call<'_, '_>) -> CommandResult {
    let count = match call.request.len() {
        2 => None,
        3 => {
            let count = parse_i64(call.request.arg(2)).ok_or(CommandError::NotPositive)?;
            Some(usize::try_from(count).map_err(|_| CommandError::NotPositive)?)
        }
        _ => return Err(CommandError::Syntax),
    };
    call.transaction.count_lookups();
    let chosen = match set(call)? {
        Some(set) => owned(distinct(set, count.unwrap_or(1))),
        None => Vec::new(),
    };
    let key = call.request.arg(1);
    let effects: Vec<Effect<'_>> = chosen.iter().map(|member| removed(key, member)).collect();
    change(call, &effects)?;
    if !effects.is_empty() {
        call.notify_taken(EventClasses::SET, "spop", key);
    }
    match (count, chosen.first()) {
        (None, Some(member)) => call.reply.bulk(member),
        (None, None) => call.reply.null(),
        (Some(_), _) => {
            call.reply.set(chosen.len());
            chosen.iter().for_each(|member| call.reply.bulk(member));
        }
    }
    Ok(())
}

fn owned(pairs: Vec<Pair<'_>>) -> Vec<Vec<u8>> {
    let members = pairs.into_iter().map(|(member, _)| member.into_owned());
    members.collect()
}

/// `SRANDMEMBER`
pub fn srandmember(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    if request.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let choice = Choice::parse(request, b"")?;
    let limit = call.node.config.load().proto_max_bulk_len;
    let set = set_of(call.transaction.get(call.database, request.arg(1)))?;
    // Members have no values.
    answer(call.reply, limit, set, choice, |_, _| {})
}
