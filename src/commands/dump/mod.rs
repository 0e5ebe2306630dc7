//! `DUMP` and `RESTORE`: values as bytes that any Redis understands.

mod table;

use coterie_protocol::text::parse_i64;

use super::keys::{Copied, Value};
use super::value::{is_compact, is_compact_set, is_compact_sorted_set};
use super::{Call, CommandError, CommandResult};
use crate::config::Config;
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;
use crate::rdb::{self, DecodeError};
use crate::store::{AccessClock, Entry, ListChange, insert_changes};

pub use table::COMMANDS;

/// `DUMP`
fn dump(call: &mut Call<'_, '_>) -> CommandResult {
    let config = call.node.config.load();
    match call.transaction.get(call.database, call.request.arg(1)) {
        None => call.reply.null(),
        Some(entry) => {
            let payload = rdb::encode(entry, is_held_compactly(entry, &config));
            call.reply.bulk(&payload);
        }
    }
    Ok(())
}

/// Whether Redis would hold a small hash, set or sorted set in one piece.
fn is_held_compactly(entry: &Entry, config: &Config) -> bool {
    entry.hash().is_some_and(|hash| is_compact(hash, config))
        || entry.set().is_some_and(|set| is_compact_set(set, config))
        || (entry.sorted_set()).is_some_and(|set| is_compact_sorted_set(set, config))
}

/// Options of `RESTORE`.
#[derive(Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(call: &Call<'_, '_>) -> Result<Self, CommandError> {
        let number = |text| parse_i64(text).ok_or(CommandError::NotInteger);
        let mut options = Options::default();
        let mut words = call.request.iter().skip(4);
        while let Some(word) = words.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"replace") {
                options.replaces = true;
            } else if is(b"absttl") {
                options.is_absolute = true;
            } else if is(b"idletime")
                && options.frequency.is_none()
                && let Some(seconds) = words.next()
            {
                let seconds = number(seconds)?;
                if seconds < 0 {
                    return Err(CommandError::line(
                        "ERR Invalid IDLETIME value, must be >= 0",
                    ));
                }
                options.idle_seconds = Some(seconds);
            } else if is(b"freq")
                && options.idle_seconds.is_none()
                && let Some(count) = words.next()
            {
                let count = u8::try_from(number(count)?).map_err(|_| {
                    CommandError::line("ERR Invalid FREQ value, must be >= 0 and <= 255")
                })?;
                options.frequency = Some(count);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// The access bits it asks for, so far as the policy has any use for them.
    fn access(&self, clock: &AccessClock) -> Option<u32> {
        if clock.counts_uses() {
            self.frequency.map(|count| clock.used(count))
        } else {
            self.idle_seconds
                .map(|seconds| clock.idle_for(seconds as u64))
        }
    }
}

/// `RESTORE`
fn restore(call: &mut Call<'_, '_>) -> CommandResult {
    let options = Options::parse(call)?;
    let (request, database) = (call.request, call.database);
    let key = request.arg(1);
    let is_there = call.transaction.peek(database, key).is_some();
    if is_there && !options.replaces {
        return Err(CommandError::line(
            "BUSYKEY Target key name already exists.",
        ));
    }
    let ttl = parse_i64(request.arg(2)).ok_or(CommandError::NotInteger)?;
    if ttl < 0 {
        return Err(CommandError::line("ERR Invalid TTL value, must be >= 0"));
    }
    let value = rdb::verified(request.arg(3)).and_then(rdb::decode);
    let value = value.map_err(refused)?;
    let now_ms = call.transaction.now_ms();
    // One too far ahead is long past, as in Redis.
    let expire_at = match ttl {
        0 => None,
        at if options.is_absolute => Some(at),
        ttl => Some(ttl.wrapping_add(now_ms as i64)),
    };
    if expire_at.is_some_and(|at| at <= now_ms as i64) {
        return end(call, is_there);
    }
    let copied = Copied {
        value: kept(value, call),
        expire_at: expire_at.map(|at| at as u64),
    };
    let effects = copied.effects(key);
    call.reserve(&effects, 0)?;
    call.transaction.apply_all(database, &effects);
    if let Some(access) = options.access(&call.transaction.moment().access) {
        call.transaction.set_access(database, key, access);
    }
    if is_there {
        call.notify(EventClasses::NEW, "new", key);
    }
    call.notify(EventClasses::GENERIC, "restore", key);
    call.reply.ok();
    Ok(())
}

/// What was to be there until a moment that is past already isn't there, nor what it was to replace.
fn end(call: &mut Call<'_, '_>, is_there: bool) -> CommandResult {
    let key = call.request.arg(1);
    if is_there || call.transaction.is_replicated() {
        call.transaction
            .apply(call.database, &Effect::Delete { key });
    }
    if is_there {
        call.notify(EventClasses::GENERIC, "del", key);
    }
    call.reply.ok();
    Ok(())
}

/// A value that was read, as a key keeps it.
fn kept(value: rdb::Value, call: &Call<'_, '_>) -> Value {
    match value {
        rdb::Value::String(value) => {
            let encoding = StringEncoding::of(&value);
            Value::String(value, encoding)
        }
        rdb::Value::List(values) => {
            let texts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let changes = insert_changes(None, 0, &texts, call.transaction.actor());
            let elements = changes.into_iter().filter_map(|change| match change {
                ListChange::Set(position, value) => {
                    Some((position.as_bytes().to_vec(), value.into_owned(), None))
                }
                ListChange::Delete(_) => None,
            });
            Value::Collection(crate::effect::Kind::List, elements.collect(), Vec::new())
        }
        rdb::Value::Elements {
            kind,
            elements,
            attributes,
        } => {
            // What is dumped tells of no field that it expires.
            let forever = |(element, value)| (element, value, None);
            let elements = elements.into_iter().map(forever).collect();
            Value::Collection(kind, elements, attributes)
        }
    }
}

fn refused(error: DecodeError) -> CommandError {
    CommandError::err(error)
}
