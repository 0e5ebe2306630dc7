//! Sorted set commands that wait for a member: `BZPOPMIN`, `BZPOPMAX`, `BZMPOP`.

use coterie_protocol::Request;

use super::pop::{End, Many, first_sorted_set, pop};
use crate::commands::blocking::{Wait, timeout};
use crate::commands::spec::Positions;
use crate::commands::{Call, CommandResult};
use crate::store::Kind;

/// `BZPOPMIN`
pub fn bzpopmin(call: &mut Call<'_, '_>) -> CommandResult {
    pop_one(call, End::Min)
}

/// `BZPOPMAX`
pub fn bzpopmax(call: &mut Call<'_, '_>) -> CommandResult {
    pop_one(call, End::Max)
}

/// Answers with a key, a member and its score, not nested in either protocol version.
fn pop_one(call: &mut Call<'_, '_>, end: End) -> CommandResult {
    let last = call.request.len() - 1;
    let timeout = timeout(call.request.arg(last))?;
    let Some(key) = first_sorted_set(call, 1..last)? else {
        return call.wait(Wait::new(Kind::SortedSet, timeout, 1..last));
    };
    let members = pop(call, key, end, 1)?;
    call.reply.array(1 + 2 * members.len());
    call.reply.bulk(key);
    for (member, score) in members {
        call.reply.bulk(&member);
        call.reply.double(score);
    }
    Ok(())
}

/// `BZMPOP`
pub fn bzmpop(call: &mut Call<'_, '_>) -> CommandResult {
    let many = Many::parse(call.request, 2)?;
    let timeout = timeout(call.request.arg(1))?;
    if many.pop(call)? {
        return Ok(());
    }
    call.wait(Wait::new(Kind::SortedSet, timeout, many.keys))
}

/// Where the keys of `BZMPOP` are.
pub fn keys_of_bzmpop(request: Request<'_>) -> Positions {
    Positions::counted(request, 2)
}
