//! `SORT` and `SORT_RO`: the elements of a list, set or sorted set in order, or what belongs to them.

mod options;
mod order;
mod pattern;
mod table;

use coterie_protocol::{DatabaseId, Request};

use super::spec::Positions;
use super::{Call, CommandError, CommandResult};
use crate::effect::{Effect, Kind};
use crate::engine::Transaction;
use crate::events::EventClasses;
use crate::store::{Entry, insert_changes};
use options::Options;
use order::{Weighed, Weight};

pub use table::COMMANDS;

/// `SORT`
fn sort(call: &mut Call<'_, '_>) -> CommandResult {
    execute(call, true)
}

/// `SORT_RO`
fn sort_ro(call: &mut Call<'_, '_>) -> CommandResult {
    execute(call, false)
}

/// The first argument, and what follows the last `STORE`.
fn keys_of_sort(request: Request<'_>) -> Positions {
    Positions::first_and_stored(request, 2, |word| {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match word {
            _ if is("limit") => (2, false),
            _ if is("get") || is("by") => (1, false),
            _ if is("store") => (1, true),
            _ => (0, false),
        }
    })
}

/// Whether it reads keys whose names are made of the elements: then all partitions are locked.
fn reads_other_keys(request: Request<'_>) -> bool {
    (2..request.len().saturating_sub(1)).any(|index| {
        let word = request.arg(index);
        let is_pattern = word.eq_ignore_ascii_case(b"by") || word.eq_ignore_ascii_case(b"get");
        is_pattern && request.arg(index + 1).contains(&b'*')
    })
}

fn execute(call: &mut Call<'_, '_>, may_store: bool) -> CommandResult {
    let (request, database) = (call.request, call.database);
    let mut options = Options::parse(request, may_store, call.transaction.is_replicated())?;
    let key = request.arg(1);
    let found = call.transaction.get(database, key);
    let kind = found.map(Entry::kind);
    if !matches!(kind, None | Some(Kind::List | Kind::Set | Kind::SortedSet)) {
        return Err(CommandError::WrongType);
    }
    // A set has no order of its own that would be the same elsewhere.
    if kind == Some(Kind::Set)
        && options.keeps_order
        && (options.store.is_some() || call.transaction.is_of_several())
    {
        options.keeps_order = false;
        options.is_alphabetic = true;
        options.by = None;
    }
    let transaction = &*call.transaction;
    let elements = transaction
        .find(database, key)
        .map_or_else(Vec::new, |entry| elements(entry, &options));
    let range = options.range(elements.len());
    let elements = if options.keeps_order {
        elements
    } else {
        let look_up = |pattern, element| pattern::look_up(pattern, element, database, transaction);
        let weighed = weigh(elements, &options, look_up)?;
        order::sorted(weighed, &options, range.clone())
    };
    let chosen = &elements[range];
    match options.store {
        None => {
            call.reply.array(chosen.len() * options.get.len().max(1));
            for result in results(transaction, database, &options, chosen) {
                match result {
                    Some(value) => call.reply.bulk(value),
                    None => call.reply.null(),
                }
            }
            Ok(())
        }
        Some(destination) => {
            let values = results(transaction, database, &options, chosen);
            let values: Vec<Vec<u8>> = values
                .map(|value| value.unwrap_or_default().to_vec())
                .collect();
            store(call, destination, &values)
        }
    }
}

/// All elements in the order they have, for a list or sorted set the other way round if that is asked for.
fn elements<'e>(entry: &'e Entry, options: &Options<'_>) -> Vec<&'e [u8]> {
    let is_reversed = options.keeps_order && options.is_descending;
    if let Some(list) = entry.list() {
        return directed(list.iter(), is_reversed);
    }
    if let Some(set) = entry.sorted_set() {
        return directed(set.iter().map(|(member, _)| member), is_reversed);
    }
    entry
        .set()
        .map_or_else(Vec::new, |set| set.iter().collect())
}

fn directed<'e>(
    elements: impl DoubleEndedIterator<Item = &'e [u8]>,
    is_reversed: bool,
) -> Vec<&'e [u8]> {
    if is_reversed {
        elements.rev().collect()
    } else {
        elements.collect()
    }
}

/// What each element is sorted by.
fn weigh<'e>(
    elements: Vec<&'e [u8]>,
    options: &Options<'e>,
    look_up: impl Fn(&'e [u8], &'e [u8]) -> Option<&'e [u8]>,
) -> Result<Vec<Weighed<'e>>, CommandError> {
    let weigh = |element| {
        let text = match options.by {
            None => Some(element),
            Some(pattern) => look_up(pattern, element),
        };
        let weight = if options.is_alphabetic {
            Weight::Text(text)
        } else {
            Weight::Score(text.map_or(Some(0.0), order::score).ok_or(NOT_A_SCORE)?)
        };
        Ok(Weighed { element, weight })
    };
    elements.into_iter().map(weigh).collect()
}

const NOT_A_SCORE: CommandError =
    CommandError::line("ERR One or more scores can't be converted into double");

/// What is answered or kept for the elements, one after the other.
fn results<'e>(
    transaction: &'e Transaction<'_>,
    database: DatabaseId,
    options: &'e Options<'_>,
    elements: &'e [&'e [u8]],
) -> impl Iterator<Item = Option<&'e [u8]>> {
    elements.iter().flat_map(move |element| {
        let own = options.get.is_empty().then_some(Some(*element));
        let gets = options
            .get
            .iter()
            .map(move |pattern| pattern::look_up(pattern, element, database, transaction));
        own.into_iter().chain(gets)
    })
}

/// Makes a list of the results; none of none.
fn store(call: &mut Call<'_, '_>, key: &[u8], values: &[Vec<u8>]) -> CommandResult {
    let is_there = call.transaction.is_there(call.database, key);
    let texts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let changes = insert_changes(None, 0, &texts, call.transaction.actor());
    let mut effects = Vec::with_capacity(changes.len() + 1);
    if is_there || call.transaction.is_replicated() {
        effects.push(Effect::Delete { key });
    }
    effects.extend(changes.iter().map(|change| change.effect(key)));
    if !effects.is_empty() {
        call.reserve(&effects, 0)?;
        call.transaction.apply_all(call.database, &effects);
    }
    call.notify_stored(EventClasses::LIST, "sortstore", key, is_there);
    call.reply.integer(values.len() as i64);
    Ok(())
}
