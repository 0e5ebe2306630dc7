//! List commands that wait for an element: `BLPOP`, `BRPOP`, `BLMPOP`, `BLMOVE`, `BRPOPLPUSH`.

use super::End;
use super::ends::{Many, first_list, pop_one};
use super::transfer::{ends, transfer};
use crate::commands::blocking::{Wait, timeout};
use crate::commands::{Call, CommandResult};
use crate::store::Kind;

/// `BLPOP`
pub fn blpop(call: &mut Call<'_, '_>) -> CommandResult {
    pop(call, End::Left)
}

/// `BRPOP`
pub fn brpop(call: &mut Call<'_, '_>) -> CommandResult {
    pop(call, End::Right)
}

fn pop(call: &mut Call<'_, '_>, end: End) -> CommandResult {
    let last = call.request.len() - 1;
    let timeout = timeout(call.request.arg(last))?;
    let Some(key) = first_list(call, 1..last)? else {
        return call.wait(Wait::new(Kind::List, timeout, 1..last));
    };
    call.reply.array(2);
    call.reply.bulk(key);
    pop_one(call, key, end)
}

/// `BLMPOP`
pub fn blmpop(call: &mut Call<'_, '_>) -> CommandResult {
    let many = Many::parse(call.request, 2)?;
    let timeout = timeout(call.request.arg(1))?;
    if many.pop(call)? {
        return Ok(());
    }
    call.wait(Wait::new(Kind::List, timeout, many.keys))
}

/// `BLMOVE`
pub fn blmove(call: &mut Call<'_, '_>) -> CommandResult {
    let ends = ends(call)?;
    move_or_wait(call, ends, 5)
}

/// `BRPOPLPUSH`
pub fn brpoplpush(call: &mut Call<'_, '_>) -> CommandResult {
    move_or_wait(call, (End::Right, End::Left), 3)
}

fn move_or_wait(call: &mut Call<'_, '_>, ends: (End, End), timeout_at: usize) -> CommandResult {
    let timeout = timeout(call.request.arg(timeout_at))?;
    if transfer(call, ends)? {
        return Ok(());
    }
    // Where it must not wait it answers like a list that is not there, not like a time that has passed.
    call.wait(Wait::new(Kind::List, timeout, 1..2).denied_with_null())
}
