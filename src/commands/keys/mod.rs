//! Keys of any type: existence, names, copies, whole databases.

mod table;

use std::collections::BTreeSet;

use coterie_protocol::DatabaseId;
use coterie_protocol::text::parse_i64;

use super::value::kind_name;
use super::{Call, CommandError, CommandResult};
use crate::effect::{Effect, Kind, StringEncoding};
use crate::events::EventClasses;
use crate::store::element_effect;

pub use table::COMMANDS;

/// `DEL` and `UNLINK`, which are the same: large values are always freed in the background.
fn del(call: &mut Call<'_, '_>) -> CommandResult {
    let mut deleted = 0;
    for key in call.request.iter().skip(1) {
        let is_here = call.transaction.peek(call.database, key).is_some();
        // What is not here may be on another replica, which this one has not heard of yet.
        if is_here || call.transaction.is_replicated() {
            call.transaction
                .apply(call.database, &Effect::Delete { key });
        }
        if is_here {
            call.notify(EventClasses::GENERIC, "del", key);
        }
        deleted += i64::from(is_here);
    }
    call.reply.integer(deleted);
    Ok(())
}

/// A key counts as often as it is named.
fn exists(call: &mut Call<'_, '_>) -> CommandResult {
    let keys = call.request.iter().skip(1);
    let found = keys.filter(|key| call.transaction.peek(call.database, key).is_some());
    let found = found.count();
    call.reply.integer(found as i64);
    Ok(())
}

fn touch(call: &mut Call<'_, '_>) -> CommandResult {
    let keys = call.request.iter().skip(1);
    let found = keys.filter(|key| call.transaction.touch(call.database, key));
    let found = found.count();
    call.reply.integer(found as i64);
    Ok(())
}

fn kind(call: &mut Call<'_, '_>) -> CommandResult {
    let found = call.transaction.peek(call.database, call.request.arg(1));
    call.reply.simple(found.map_or("none", kind_name));
    Ok(())
}

fn rename(call: &mut Call<'_, '_>) -> CommandResult {
    if rename_key(call, true)? {
        call.reply.ok();
    }
    Ok(())
}

fn renamenx(call: &mut Call<'_, '_>) -> CommandResult {
    let renamed = rename_key(call, false)?;
    call.reply.integer(renamed.into());
    Ok(())
}

/// Renames a key, also over another one if that is to be replaced. Returns whether the new name is that
/// key now, which of a key renamed to itself only `RENAME` says.
fn rename_key(call: &mut Call<'_, '_>, replace: bool) -> Result<bool, CommandError> {
    let (from, to) = (call.request.arg(1), call.request.arg(2));
    let database = call.database;
    if call.transaction.get(database, from).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if from == to {
        return Ok(replace);
    }
    let replaces = call.transaction.get(database, to).is_some();
    if !replace && replaces {
        return Ok(false);
    }
    let Some(copy) = Copied::of(call, from) else {
        return Err(CommandError::NoSuchKey);
    };
    call.transaction.note_change(from);
    copy.put(call, from, database, to)?;
    call.transaction
        .apply(database, &Effect::Delete { key: from });
    if replaces {
        call.notify(EventClasses::NEW, "new", to);
    }
    call.notify(EventClasses::GENERIC, "rename_from", from);
    call.notify(EventClasses::GENERIC, "rename_to", to);
    Ok(true)
}

fn copy(call: &mut Call<'_, '_>) -> CommandResult {
    let (from, to) = (call.request.arg(1), call.request.arg(2));
    let CopyOptions { database, replace } = CopyOptions::parse(call)?;
    if database == call.database && from == to {
        return Err(same_object());
    }
    let Some(copy) = Copied::of(call, from) else {
        call.notify(EventClasses::MISS, "keymiss", from);
        call.reply.integer(0);
        return Ok(());
    };
    let replaces = call.transaction.get(database, to).is_some();
    if !replace && replaces {
        call.reply.integer(0);
        return Ok(());
    }
    copy.put(call, from, database, to)?;
    let transaction = &mut *call.transaction;
    if replaces {
        transaction.notify(database, EventClasses::NEW, "new", to);
    }
    transaction.notify(database, EventClasses::GENERIC, "copy_to", to);
    call.reply.integer(1);
    Ok(())
}

struct CopyOptions {
    database: DatabaseId,
    replace: bool,
}

impl CopyOptions {
    fn parse(call: &Call<'_, '_>) -> Result<Self, CommandError> {
        let mut options = CopyOptions {
            database: call.database,
            replace: false,
        };
        let mut words = call.request.iter().skip(3);
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"replace") {
                options.replace = true;
            } else if word.eq_ignore_ascii_case(b"db")
                && let Some(number) = words.next()
            {
                options.database = database(call, parse_i32(number)?)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// One key with a change in each of two databases.
fn move_key(call: &mut Call<'_, '_>) -> CommandResult {
    let key = call.request.arg(1);
    let target = database(call, parse_i32(call.request.arg(2))?)?;
    if target == call.database {
        return Err(same_object());
    }
    let Some(copy) = Copied::of(call, key) else {
        call.reply.integer(0);
        return Ok(());
    };
    if call.transaction.get(target, key).is_some() {
        call.reply.integer(0);
        return Ok(());
    }
    copy.put(call, key, target, key)?;
    call.transaction
        .apply(call.database, &Effect::Delete { key });
    call.notify(EventClasses::GENERIC, "move_from", key);
    call.transaction
        .notify(target, EventClasses::GENERIC, "move_to", key);
    call.reply.integer(1);
    Ok(())
}

/// A key's value and expiry, copied so that they can be put under another name.
pub(super) struct Copied {
    pub value: Value,
    pub expire_at: Option<u64>,
}

/// Elements with values, and when they expire if they are fields that do.
type Elements = Vec<(Vec<u8>, Vec<u8>, Option<u64>)>;

/// Names with values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

pub(super) enum Value {
    String(Vec<u8>, StringEncoding),
    /// Elements with their values, and the attributes of a stream with theirs.
    Collection(Kind, Elements, Pairs),
}

impl Copied {
    fn of(call: &mut Call<'_, '_>, key: &[u8]) -> Option<Self> {
        let entry = call.transaction.get(call.database, key)?;
        let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
        let value = match entry.kind() {
            Kind::String => Value::String(entry.value().to_vec(), entry.encoding()),
            kind => Value::Collection(
                kind,
                entry
                    .elements_until()
                    .map(|(element, value, at)| (element.to_vec(), value.to_vec(), at))
                    .collect(),
                entry.attributes().map(owned).collect(),
            ),
        };
        Some(Copied {
            value,
            expire_at: entry.expire_at(),
        })
    }

    /// The effects that make a key this value and expiry, whatever it was.
    pub fn effects<'a>(&'a self, key: &'a [u8]) -> Vec<Effect<'a>> {
        let expire_at = self.expire_at;
        match &self.value {
            Value::String(value, encoding) => vec![Effect::Put {
                key,
                value,
                encoding: *encoding,
                expire_at,
            }],
            Value::Collection(kind, elements, attributes) => {
                let kind = *kind;
                let sets = elements
                    .iter()
                    .map(|(element, value, at)| element_effect(kind, key, (element, value, *at)));
                let attributes = attributes.iter().map(|(name, value)| Effect::AttributeSet {
                    key,
                    name,
                    value,
                });
                let expires = expire_at.map(|at| Effect::ExpireAt { key, at: Some(at) });
                let effects = std::iter::once(Effect::Delete { key });
                effects
                    .chain(sets)
                    .chain(attributes)
                    .chain(expires)
                    .collect()
            }
        }
    }

    /// Puts the copy under a name, once there is room for it and for the end of the key it comes from.
    fn put(
        &self,
        call: &mut Call<'_, '_>,
        from: &[u8],
        database: DatabaseId,
        to: &[u8],
    ) -> CommandResult {
        let effects = self.effects(to);
        call.reserve(&effects, Effect::encoded_bytes_max(from.len(), 0))?;
        call.transaction.apply_all(database, &effects);
        Ok(())
    }
}

fn swapdb(call: &mut Call<'_, '_>) -> CommandResult {
    let number = |index: usize, which: &str| {
        parse_i32(call.request.arg(index))
            .map_err(|_| CommandError::err(format_args!("invalid {which} DB index")))
    };
    let (first, second) = (number(1, "first")?, number(2, "second")?);
    let (first, second) = (database(call, first)?, database(call, second)?);
    if first != second {
        call.transaction
            .apply_everywhere(first, &Effect::Swap { with: second });
    }
    call.reply.ok();
    Ok(())
}

fn flushdb(call: &mut Call<'_, '_>) -> CommandResult {
    check_flush_mode(call)?;
    let selected = call.database;
    clear(call, |database| database == selected)
}

fn flushall(call: &mut Call<'_, '_>) -> CommandResult {
    check_flush_mode(call)?;
    clear(call, |_| true)
}

/// `ASYNC` and `SYNC` make no difference: memory is always freed in the background.
fn check_flush_mode(call: &Call<'_, '_>) -> CommandResult {
    match call.request.len() {
        1 => Ok(()),
        2 if call.request[1].eq_ignore_ascii_case(b"async") => Ok(()),
        2 if call.request[1].eq_ignore_ascii_case(b"sync") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

/// Empties databases; one that is empty needs no record of that.
fn clear(call: &mut Call<'_, '_>, wanted: impl Fn(DatabaseId) -> bool) -> CommandResult {
    if call.transaction.is_of_several() && call.transaction.is_replicated() {
        return Err(CommandError::line(
            "ERR A database that is replicated can't be flushed in a transaction",
        ));
    }
    let mut used = BTreeSet::new();
    for partition in call.transaction.partitions() {
        let has_keys = |database| {
            let keyspace = partition.keyspace(database);
            keyspace.is_some_and(|keyspace| !keyspace.is_empty())
        };
        used.extend(
            partition
                .databases()
                .filter(|database| wanted(*database) && has_keys(*database)),
        );
    }
    let bytes = used.len() * Effect::encoded_bytes_max(0, 0);
    call.transaction
        .reserve(bytes)
        .map_err(|error| CommandError::NoRoom(error, bytes))?;
    call.transaction.note_cleared();
    for database in used {
        call.transaction.apply_everywhere(database, &Effect::Clear);
    }
    call.reply.ok();
    Ok(())
}

/// The database of a number, if there is such a one.
fn database(call: &Call<'_, '_>, number: i32) -> Result<DatabaseId, CommandError> {
    u16::try_from(number)
        .ok()
        .filter(|number| u32::from(*number) < call.transaction.databases())
        .map(DatabaseId)
        .ok_or(CommandError::DatabaseOutOfRange)
}

fn parse_i32(argument: &[u8]) -> Result<i32, CommandError> {
    let number = parse_i64(argument).ok_or(CommandError::NotInteger)?;
    i32::try_from(number).map_err(|_| {
        CommandError::line(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )
    })
}

fn same_object() -> CommandError {
    CommandError::line("ERR source and destination objects are the same")
}
