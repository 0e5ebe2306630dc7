//! Members taken at random: `SPOP`, `SRANDMEMBER`.

use coterie_protocol::text::parse_i64;

use super::{change, removed, set};
use crate::commands::sampling::{Pair, Urn, distinct};
use crate::commands::value::set_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;

/// Length of an empty bulk string in a reply.
const ELEMENT_BYTES_MIN: u64 = 6;

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
    let limit = call.node.config.load().proto_max_bulk_len;
    let count = match request.len() {
        2 => None,
        3 => Some(count_of(request.arg(2))?),
        _ => return Err(CommandError::Syntax),
    };
    let set = set_of(call.transaction.get(call.database, request.arg(1)))?;
    let Some(count) = count else {
        match set.and_then(|set| Urn::new(set, 1).draw()) {
            Some((member, _)) => call.reply.bulk(&member),
            None => call.reply.null(),
        }
        return Ok(());
    };
    let Some(set) = set.filter(|_| count != 0) else {
        call.reply.array(0);
        return Ok(());
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count > 0 {
        let chosen = distinct(set, wanted);
        call.reply.array(chosen.len());
        for (member, _) in chosen {
            call.reply.bulk(&member);
        }
        return Ok(());
    }
    let too_long = || CommandError::line("ERR the reply would be longer than proto-max-bulk-len");
    // A number of a few digits must not fill the memory.
    if wanted as u64 > limit / ELEMENT_BYTES_MIN {
        return Err(too_long());
    }
    let urn = Urn::new(set, wanted);
    call.reply.array(wanted);
    for (member, _) in (0..wanted).map_while(|_| urn.draw()) {
        call.reply.bulk(&member);
        if call.reply.len() as u64 > limit {
            return Err(too_long());
        }
    }
    Ok(())
}

fn count_of(text: &[u8]) -> Result<i64, CommandError> {
    let count = parse_i64(text).ok_or(CommandError::NotInteger)?;
    if count == i64::MIN {
        return Err(CommandError::line(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    Ok(count)
}
