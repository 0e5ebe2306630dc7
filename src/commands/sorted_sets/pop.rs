//! Taking out the members with the lowest or highest scores: `ZPOPMIN`, `ZPOPMAX`, `ZMPOP`.

use std::ops::Range;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{Request, RespVersion};

use super::{Form, Scored, borrowed, change, removed};
use crate::commands::spec::Positions;
use crate::commands::value::sorted_set_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;

/// Which members are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Those with the lowest scores.
    Min,
    /// Those with the highest.
    Max,
}

/// `ZPOPMIN`
pub fn zpopmin(call: &mut Call<'_, '_>) -> CommandResult {
    pop_some(call, End::Min)
}

/// `ZPOPMAX`
pub fn zpopmax(call: &mut Call<'_, '_>) -> CommandResult {
    pop_some(call, End::Max)
}

fn pop_some(call: &mut Call<'_, '_>, end: End) -> CommandResult {
    let count = match call.request.len() {
        2 => None,
        3 => {
            let count = parse_i64(call.request.arg(2)).ok_or(CommandError::NotPositive)?;
            Some(usize::try_from(count).map_err(|_| CommandError::NotPositive)?)
        }
        _ => return Err(CommandError::Syntax),
    };
    let key = call.request.arg(1);
    let members = pop(call, key, end, count.unwrap_or(1))?;
    let form = match count {
        Some(_) if call.reply.version() == RespVersion::Resp3 => Form::Pairs,
        _ => Form::Flat,
    };
    form.write(call.reply, members.len(), borrowed(&members));
    Ok(())
}

/// Takes up to `count` members out of the sorted set at a key, the outermost first.
pub fn pop(
    call: &mut Call<'_, '_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<Vec<Scored>, CommandError> {
    let set = sorted_set_of(call.transaction.get(call.database, key))?;
    let members: Vec<Scored> = set.map_or_else(Vec::new, |set| {
        let owned = |(member, score): (&[u8], f64)| (member.to_vec(), score);
        match end {
            End::Min => set.iter().take(count).map(owned).collect(),
            End::Max => set.iter().rev().take(count).map(owned).collect(),
        }
    });
    let effects: Vec<Effect<'_>> = members
        .iter()
        .map(|(member, _)| removed(key, member))
        .collect();
    change(call, &effects)?;
    if !effects.is_empty() {
        let event = match end {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        };
        call.notify_taken(EventClasses::SORTED_SET, event, key);
    }
    Ok(members)
}

/// The first of the keys at these arguments that is there; an error if that is no sorted set.
pub fn first_sorted_set<'c>(
    call: &mut Call<'c, '_>,
    keys: Range<usize>,
) -> Result<Option<&'c [u8]>, CommandError> {
    let request = call.request;
    for index in keys {
        let key = request.arg(index);
        let entry = call.transaction.get(call.database, key);
        if call.patience.ignores(key, entry) {
            continue;
        }
        if sorted_set_of(entry)?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// `ZMPOP`
pub fn zmpop(call: &mut Call<'_, '_>) -> CommandResult {
    let many = Many::parse(call.request, 1)?;
    if !many.pop(call)? {
        call.reply.null_array();
    }
    Ok(())
}

/// Where the keys of `ZMPOP` are.
pub fn keys_of_zmpop(request: Request<'_>) -> Positions {
    Positions::counted(request, 1)
}

/// What `ZMPOP` and `BZMPOP` are asked for: some members of the first sorted set that is there.
pub struct Many {
    /// Which arguments are keys.
    pub keys: Range<usize>,
    end: End,
    count: usize,
}

impl Many {
    /// Reads a number of keys, which is the argument at `index`, and all that follows it.
    pub fn parse(request: Request<'_>, index: usize) -> Result<Self, CommandError> {
        let positive = |text, error| {
            let number = parse_i64(text).filter(|number| *number > 0);
            let number = number.ok_or(CommandError::line(error))?;
            Ok(usize::try_from(number).unwrap_or(usize::MAX))
        };
        let keys = positive(request.arg(index), "ERR numkeys should be greater than 0")?;
        let keys = index + 1..keys.saturating_add(index + 1);
        let mut words = request.skip(keys.end).iter();
        let end = match words.next().ok_or(CommandError::Syntax)? {
            word if word.eq_ignore_ascii_case(b"min") => End::Min,
            word if word.eq_ignore_ascii_case(b"max") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        let mut count = None;
        while let Some(word) = words.next() {
            let value = words.next().filter(|_| word.eq_ignore_ascii_case(b"count"));
            let number = value.filter(|_| count.is_none());
            let number = number.ok_or(CommandError::Syntax)?;
            count = Some(positive(number, "ERR count should be greater than 0")?);
        }
        let count = count.unwrap_or(1);
        Ok(Many { keys, end, count })
    }

    /// Answers with the members and takes them out; false if there is none.
    pub fn pop(&self, call: &mut Call<'_, '_>) -> Result<bool, CommandError> {
        let Some(key) = first_sorted_set(call, self.keys.clone())? else {
            return Ok(false);
        };
        let members = pop(call, key, self.end, self.count)?;
        call.reply.array(2);
        call.reply.bulk(key);
        Form::Pairs.write(call.reply, members.len(), borrowed(&members));
        Ok(true)
    }
}
