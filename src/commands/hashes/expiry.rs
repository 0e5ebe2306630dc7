//! Expiry times of fields, as Redis 7.4 has them.
//!
//! A field past its time is gone for every command; `HLEN`, too, counts only what is there. Setting a field's time
//! writes the field anew with it, so that in a cluster the newest write of either decides.

use std::collections::HashMap;

use coterie_protocol::text::parse_i64;

use super::{hash, hash_of};
use crate::commands::expiry::{Form, MILLISECONDS, SECONDS, UNIX_MILLISECONDS, UNIX_SECONDS};
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::{Effect, Kind};
use crate::events::EventClasses;
use crate::store::element_effect;

/// The latest time there can be, Unix milliseconds: Redis keeps it in 46 bits.
const LATEST_MS: i64 = (1 << 46) - 1;

const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const CONDITION_FAILED: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

/// When a new time replaces the present one. A field without one lives for ever.
#[derive(Clone, Copy)]
enum Condition {
    Always,
    NoTime,
    SomeTime,
    Greater,
    Less,
}

impl Condition {
    fn parse(word: &[u8]) -> Option<Self> {
        match &word.to_ascii_lowercase()[..] {
            b"nx" => Some(Condition::NoTime),
            b"xx" => Some(Condition::SomeTime),
            b"gt" => Some(Condition::Greater),
            b"lt" => Some(Condition::Less),
            _ => None,
        }
    }

    fn holds(self, present: Option<u64>, next: u64) -> bool {
        match self {
            Condition::Always => true,
            Condition::NoTime => present.is_none(),
            Condition::SomeTime => present.is_some(),
            Condition::Greater => present.is_some_and(|at| next > at),
            Condition::Less => present.is_none_or(|at| next < at),
        }
    }
}

/// The fields behind the word `FIELDS` and their number, which begin at an index.
fn fields<'c>(
    call: &Call<'c, '_>,
    index: usize,
    not_positive: &'static str,
) -> Result<Vec<&'c [u8]>, CommandError> {
    let request = call.request;
    let word = request.get(index).unwrap_or_default();
    if !word.eq_ignore_ascii_case(b"fields") {
        return Err(CommandError::line(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = request.get(index + 1).and_then(parse_i64);
    let count = count.filter(|count| *count > 0);
    let count = count.ok_or(CommandError::line(not_positive))?;
    let fields: Vec<_> = request.iter().skip(index + 2).collect();
    if fields.len() as i64 != count {
        return Err(CommandError::line(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(fields)
}

/// `HEXPIRE`
pub fn hexpire(call: &mut Call<'_, '_>) -> CommandResult {
    set_times(call, SECONDS, "hexpire")
}

/// `HPEXPIRE`
pub fn hpexpire(call: &mut Call<'_, '_>) -> CommandResult {
    set_times(call, MILLISECONDS, "hpexpire")
}

/// `HEXPIREAT`
pub fn hexpireat(call: &mut Call<'_, '_>) -> CommandResult {
    set_times(call, UNIX_SECONDS, "hexpireat")
}

/// `HPEXPIREAT`
pub fn hpexpireat(call: &mut Call<'_, '_>) -> CommandResult {
    set_times(call, UNIX_MILLISECONDS, "hpexpireat")
}

/// What became of a field.
enum Change {
    Until(Vec<u8>, u64),
    Gone,
}

fn set_times(call: &mut Call<'_, '_>, form: Form, command: &str) -> CommandResult {
    hash(call)?;
    let request = call.request;
    let now_ms = call.transaction.now_ms();
    let time = parse_i64(request.arg(2)).ok_or(CommandError::NotInteger)?;
    if time < 0 {
        return Err(CommandError::line("ERR invalid expire time, must be >= 0"));
    }
    let at = form.resolve(time, now_ms).filter(|at| *at <= LATEST_MS);
    let at = at.ok_or_else(|| {
        CommandError::err(format_args!("invalid expire time in '{command}' command"))
    })? as u64;
    let condition = Condition::parse(request.arg(3));
    let index = if condition.is_some() { 4 } else { 3 };
    let fields = fields(
        call,
        index,
        "ERR Parameter `numFields` should be greater than 0",
    )?;
    let condition = condition.unwrap_or(Condition::Always);
    let hash = hash(call)?;
    let mut changes: HashMap<&[u8], Change> = HashMap::new();
    let mut replies = Vec::with_capacity(fields.len());
    for field in fields {
        let value = hash.and_then(|hash| hash.get(field));
        let present = match changes.get(field) {
            Some(Change::Gone) => None,
            Some(Change::Until(_, at)) => Some(Some(*at)),
            None => value.and_then(|_| Some(hash?.expire_at(field))),
        };
        replies.push(match (present, value) {
            (Some(present), Some(_)) if !condition.holds(present, at) => CONDITION_FAILED,
            (Some(_), Some(_)) if at <= now_ms => {
                changes.insert(field, Change::Gone);
                DELETED
            }
            (Some(_), Some(value)) => {
                changes.insert(field, Change::Until(value.to_vec(), at));
                DONE
            }
            _ => NO_FIELD,
        });
    }
    let length = hash.map_or(0, |hash| hash.len());
    change_fields(call, &changes, length)?;
    reply(call, &replies);
    Ok(())
}

/// Makes the changes of a call, and tells of them. The hash had so many fields.
fn change_fields(
    call: &mut Call<'_, '_>,
    changes: &HashMap<&[u8], Change>,
    length: usize,
) -> CommandResult {
    if changes.is_empty() {
        return Ok(());
    }
    let key = call.request.arg(1);
    let kind = Kind::Hash;
    let effects = changes.iter().map(|(&field, change)| match change {
        Change::Until(value, at) => element_effect(kind, key, (field, value, Some(*at))),
        Change::Gone => Effect::ElementDelete {
            kind,
            key,
            element: field,
        },
    });
    let effects: Vec<_> = effects.collect();
    call.reserve(&effects, 0)?;
    call.transaction.apply_all(call.database, &effects);
    let gone = changes
        .values()
        .filter(|change| matches!(change, Change::Gone));
    let gone = gone.count();
    if gone < changes.len() {
        call.notify(EventClasses::HASH, "hexpire", key);
    }
    if gone > 0 {
        call.notify(EventClasses::HASH, "hdel", key);
    }
    if gone == length {
        call.notify(EventClasses::GENERIC, "del", key);
    }
    Ok(())
}

fn reply(call: &mut Call<'_, '_>, numbers: &[i64]) {
    call.reply.array(numbers.len());
    numbers
        .iter()
        .for_each(|number| call.reply.integer(*number));
}

const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// `HPERSIST`
pub fn hpersist(call: &mut Call<'_, '_>) -> CommandResult {
    hash(call)?;
    let key = call.request.arg(1);
    let fields = fields(call, 2, NOT_POSITIVE)?;
    let hash = hash(call)?;
    let mut persisted: HashMap<&[u8], Vec<u8>> = HashMap::new();
    let mut replies = Vec::with_capacity(fields.len());
    for field in fields {
        let value = hash.and_then(|hash| hash.get(field));
        let at = hash.and_then(|hash| hash.expire_at(field));
        replies.push(match (value, at) {
            (None, _) => NO_FIELD,
            (Some(value), Some(_)) if !persisted.contains_key(field) => {
                persisted.insert(field, value.to_vec());
                DONE
            }
            (Some(_), _) => NO_EXPIRY,
        });
    }
    let sets = persisted.iter();
    let sets = sets.map(|(&field, value)| element_effect(Kind::Hash, key, (field, value, None)));
    let effects: Vec<_> = sets.collect();
    if !effects.is_empty() {
        call.reserve(&effects, 0)?;
        call.transaction.apply_all(call.database, &effects);
        call.notify(EventClasses::HASH, "hpersist", key);
    }
    reply(call, &replies);
    Ok(())
}

/// `HTTL`
pub fn httl(call: &mut Call<'_, '_>) -> CommandResult {
    tell_times(call, SECONDS)
}

/// `HPTTL`
pub fn hpttl(call: &mut Call<'_, '_>) -> CommandResult {
    tell_times(call, MILLISECONDS)
}

/// `HEXPIRETIME`
pub fn hexpiretime(call: &mut Call<'_, '_>) -> CommandResult {
    tell_times(call, UNIX_SECONDS)
}

/// `HPEXPIRETIME`
pub fn hpexpiretime(call: &mut Call<'_, '_>) -> CommandResult {
    tell_times(call, UNIX_MILLISECONDS)
}

fn tell_times(call: &mut Call<'_, '_>, form: Form) -> CommandResult {
    let now_ms = call.transaction.now_ms();
    let key = call.request.arg(1);
    hash_of(call.transaction.peek_quietly(call.database, key))?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    let hash = hash_of(call.transaction.peek(call.database, key))?;
    let time = |field: &&[u8]| match hash.filter(|hash| hash.get(field).is_some()) {
        None => NO_FIELD,
        Some(hash) => hash
            .expire_at(field)
            .map_or(NO_EXPIRY, |at| form.tell_rounded_up(at, now_ms)),
    };
    let times: Vec<i64> = fields.iter().map(time).collect();
    reply(call, &times);
    Ok(())
}
