//! Elements at the ends: `LPUSH`, `LPOP` and the like.

use coterie_protocol::text::parse_i64;
use coterie_protocol::{ReplyWriter, Request};
use smallvec::SmallVec;

use super::{End, list, removed};
use crate::commands::spec::Positions;
use crate::commands::value::list_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::{ListView, insert_changes};

/// `LPUSH`
pub fn lpush(call: &mut Call<'_, '_>) -> CommandResult {
    push_arguments(call, End::Left, false)
}

/// `RPUSH`
pub fn rpush(call: &mut Call<'_, '_>) -> CommandResult {
    push_arguments(call, End::Right, false)
}

/// `LPUSHX`
pub fn lpushx(call: &mut Call<'_, '_>) -> CommandResult {
    push_arguments(call, End::Left, true)
}

/// `RPUSHX`
pub fn rpushx(call: &mut Call<'_, '_>) -> CommandResult {
    push_arguments(call, End::Right, true)
}

fn push_arguments(call: &mut Call<'_, '_>, end: End, must_exist: bool) -> CommandResult {
    let request = call.request;
    let length = match list(call)? {
        None if must_exist => {
            call.reply.integer(0);
            return Ok(());
        }
        list => list.map_or(0, ListView::len),
    };
    let mut values: SmallVec<[&[u8]; 1]> = request.iter().skip(2).collect();
    if end == End::Left {
        values.reverse();
    }
    push(call, request.arg(1), end, &values)?;
    call.reply.integer((length + values.len()) as i64);
    Ok(())
}

/// Puts values, in this order, at an end of the list at a key that holds one or nothing.
pub fn push(call: &mut Call<'_, '_>, key: &[u8], end: End, values: &[&[u8]]) -> CommandResult {
    let actor = call.transaction.actor();
    let list = list_of(call.transaction.peek(call.database, key))?;
    let index = match end {
        End::Left => 0,
        End::Right => list.map_or(0, ListView::len),
    };
    let changes = insert_changes(list, index, values, actor);
    let effects: SmallVec<[Effect<'_>; 1]> =
        changes.iter().map(|change| change.effect(key)).collect();
    // Room for one of them was made for the arguments.
    if effects.len() > 1 {
        call.reserve(&effects, 0)?;
    }
    call.transaction.apply_all(call.database, &effects);
    let event = match end {
        End::Left => "lpush",
        End::Right => "rpush",
    };
    call.notify(EventClasses::LIST, event, key);
    Ok(())
}

/// `LPOP`
pub fn lpop(call: &mut Call<'_, '_>) -> CommandResult {
    pop_argument(call, End::Left)
}

/// `RPOP`
pub fn rpop(call: &mut Call<'_, '_>) -> CommandResult {
    pop_argument(call, End::Right)
}

fn pop_argument(call: &mut Call<'_, '_>, end: End) -> CommandResult {
    let request = call.request;
    let count = match request.len() {
        2 => None,
        3 => {
            let count = parse_i64(request.arg(2)).ok_or(CommandError::NotPositive)?;
            Some(usize::try_from(count).map_err(|_| CommandError::NotPositive)?)
        }
        _ => return Err(CommandError::Arity(request_name(end).into())),
    };
    let length = list(call)?.map(ListView::len);
    match (length, count) {
        (None, None) => call.reply.null(),
        (None, Some(_)) => call.reply.null_array(),
        (Some(_), None) => return pop_one(call, request.arg(1), end),
        (Some(_), Some(count)) => return pop_many(call, request.arg(1), end, count),
    }
    Ok(())
}

/// The command that takes from an end, and the event.
pub fn request_name(end: End) -> &'static str {
    match end {
        End::Left => "lpop",
        End::Right => "rpop",
    }
}

/// Takes the element at an end out of the list at a key, and answers with it.
pub fn pop_one(call: &mut Call<'_, '_>, key: &[u8], end: End) -> CommandResult {
    let Some(list) = list_of(call.transaction.peek(call.database, key))? else {
        call.reply.null();
        return Ok(());
    };
    let index = end.index(list.len());
    let value = list.get(index).unwrap_or_default();
    let position: SmallVec<[u8; 16]> = list.position(index).unwrap_or_default().into();
    call.reply.bulk(value);
    call.transaction
        .apply(call.database, &removed(key, &position));
    call.notify_taken(EventClasses::LIST, request_name(end), key);
    Ok(())
}

/// Takes elements at an end out of the list at a key, and answers with them as an array, outermost first.
pub fn pop_many(call: &mut Call<'_, '_>, key: &[u8], end: End, count: usize) -> CommandResult {
    let Some(list) = list_of(call.transaction.peek(call.database, key))? else {
        call.reply.null_array();
        return Ok(());
    };
    let count = count.min(list.len());
    let positions: Vec<SmallVec<[u8; 16]>> = match end {
        End::Left => write_all(call.reply, count, list.positioned(0..count)),
        End::Right => {
            let range = list.len() - count..list.len();
            write_all(call.reply, count, list.positioned(range).rev())
        }
    };
    if positions.is_empty() {
        return Ok(());
    }
    let effects: Vec<Effect<'_>> = positions
        .iter()
        .map(|position| removed(key, position))
        .collect();
    call.reserve(&effects, 0)?;
    call.transaction.apply_all(call.database, &effects);
    call.notify_taken(EventClasses::LIST, request_name(end), key);
    Ok(())
}

/// Answers with the values of elements; returns their positions.
fn write_all<'a>(
    reply: &mut ReplyWriter<'_>,
    count: usize,
    elements: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Vec<SmallVec<[u8; 16]>> {
    reply.array(count);
    elements
        .map(|(position, value)| {
            reply.bulk(value);
            position.into()
        })
        .collect()
}

/// `LMPOP`
pub fn lmpop(call: &mut Call<'_, '_>) -> CommandResult {
    let many = Many::parse(call.request, 1)?;
    if !many.pop(call)? {
        call.reply.null_array();
    }
    Ok(())
}

/// Where the keys of `LMPOP` are.
pub fn keys_of_lmpop(request: Request<'_>) -> Positions {
    Positions::counted(request, 1)
}

/// Where the keys of `BLMPOP` are.
pub fn keys_of_blmpop(request: Request<'_>) -> Positions {
    Positions::counted(request, 2)
}

/// What `LMPOP` and `BLMPOP` are to take: so many elements out of the first list that is there.
pub struct Many {
    /// Where the keys are among the arguments.
    pub keys: std::ops::Range<usize>,
    end: End,
    count: usize,
}

impl Many {
    /// Reads the arguments from the number of keys on, which is at this index.
    pub fn parse(request: Request<'_>, at: usize) -> Result<Self, CommandError> {
        let positive = |text: &[u8]| {
            let number = parse_i64(text).filter(|number| *number > 0)?;
            usize::try_from(number).ok()
        };
        let keys = positive(request.arg(at))
            .ok_or(CommandError::line("ERR numkeys should be greater than 0"))?;
        let end_at = (at + 1).checked_add(keys).ok_or(CommandError::Syntax)?;
        let end = End::parse(request.get(end_at).ok_or(CommandError::Syntax)?)?;
        let mut count = None;
        let options = request.skip(end_at + 1);
        let mut words = options.iter();
        while let Some(word) = words.next() {
            let is_count = count.is_none() && word.eq_ignore_ascii_case(b"count");
            let value = words.next().filter(|_| is_count);
            let number = positive(value.ok_or(CommandError::Syntax)?)
                .ok_or(CommandError::line("ERR count should be greater than 0"))?;
            count = Some(number);
        }
        Ok(Many {
            keys: at + 1..end_at,
            end,
            count: count.unwrap_or(1),
        })
    }

    /// Takes them, and answers with them if there are any.
    ///
    /// # Errors
    /// A key before them holds something else.
    pub fn pop(&self, call: &mut Call<'_, '_>) -> Result<bool, CommandError> {
        let Some(key) = first_list(call, self.keys.clone())? else {
            return Ok(false);
        };
        call.reply.array(2);
        call.reply.bulk(key);
        pop_many(call, key, self.end, self.count)?;
        Ok(true)
    }
}

/// The first key among these arguments that holds a list.
///
/// # Errors
/// A key before it holds something else.
pub fn first_list<'c>(
    call: &mut Call<'c, '_>,
    keys: std::ops::Range<usize>,
) -> Result<Option<&'c [u8]>, CommandError> {
    for index in keys {
        let key = call.request.arg(index);
        let entry = call.transaction.get(call.database, key);
        if call.patience.ignores(key, entry) {
            continue;
        }
        if list_of(entry)?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}
