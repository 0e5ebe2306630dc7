//! What was given out and is not acknowledged: `XACK`, `XPENDING`.

use std::collections::BTreeSet;

use coterie_protocol::ReplyWriter;

use super::change::Change;
use super::id::{between, first_of_range, id, last_of_range};
use super::reply::write_id;
use super::{group, integer, stream};
use crate::commands::{Call, CommandError, CommandResult};
use crate::store::{Group, StreamId};

/// `XACK`
pub fn xack(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let (key, name) = (request.arg(1), request.arg(2));
    let found = stream(call.transaction, call.database, key)?;
    let Some(group) = found.and_then(|stream| stream.group(name)) else {
        call.reply.integer(0);
        return Ok(());
    };
    let ids = request.iter().skip(3).map(id);
    let mut ids: BTreeSet<StreamId> = ids.collect::<Result<_, _>>()?;
    ids.retain(|id| group.pending().contains_key(id));
    let mut change = Change::default();
    ids.iter().for_each(|id| change.settle(name, *id));
    change.make(call, key)?;
    call.reply.integer(ids.len() as i64);
    Ok(())
}

/// What the long form of `XPENDING` asks for.
struct Filter<'a> {
    min_idle_ms: i64,
    first: StreamId,
    last: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

fn filter<'a>(call: &Call<'a, '_>) -> Result<Option<Filter<'a>>, CommandError> {
    let request = call.request;
    if request.len() == 3 {
        return Ok(None);
    }
    if !(6..=9).contains(&request.len()) {
        return Err(CommandError::Syntax);
    }
    let mut at = 3;
    let mut min_idle_ms = 0;
    if request.arg(3).eq_ignore_ascii_case(b"idle") {
        min_idle_ms = integer(call, 4)?;
        if request.len() < 8 {
            return Err(CommandError::Syntax);
        }
        at = 5;
    }
    let count = usize::try_from(integer(call, at + 2)?).unwrap_or(0);
    Ok(Some(Filter {
        min_idle_ms,
        first: first_of_range(request.arg(at))?,
        last: last_of_range(request.arg(at + 1))?,
        count,
        consumer: request.get(at + 3),
    }))
}

/// `XPENDING`
pub fn xpending(call: &mut Call<'_, '_>) -> CommandResult {
    let filter = filter(call)?;
    let request = call.request;
    let now_ms = call.transaction.now_ms();
    let (_, group) = group(
        call.transaction,
        call.database,
        request.arg(1),
        request.arg(2),
    )?;
    match filter {
        None => summarize(group, call.reply),
        Some(filter) => list(group, &filter, now_ms, call.reply),
    }
    Ok(())
}

fn summarize(group: &Group, reply: &mut ReplyWriter<'_>) {
    let pending = group.pending();
    reply.array(4);
    reply.integer(pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value())
    else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    write_id(reply, *first);
    write_id(reply, *last);
    let mark = reply.begin_array();
    let mut count = 0;
    for (name, consumer) in group.consumers() {
        if consumer.pending().is_empty() {
            continue;
        }
        reply.array(2);
        reply.bulk(name);
        reply.bulk_integer(consumer.pending().len() as i64);
        count += 1;
    }
    reply.end_array(mark, count);
}

fn list(group: &Group, filter: &Filter<'_>, now_ms: u64, reply: &mut ReplyWriter<'_>) {
    let mark = reply.begin_array();
    let mut count = 0;
    let ids: Box<dyn Iterator<Item = &StreamId>> = match filter.consumer {
        // A range must not end before it begins.
        _ if filter.first > filter.last => Box::new(std::iter::empty()),
        None => {
            let between = between(filter.first, filter.last);
            Box::new(group.pending().range(between).map(|(id, _)| id))
        }
        Some(name) => {
            let between = between(filter.first, filter.last);
            let consumer = group.consumer(name).into_iter();
            Box::new(consumer.flat_map(move |consumer| consumer.pending().range(between)))
        }
    };
    let pending = ids.filter_map(|id| Some((*id, group.pending().get(id)?)));
    let pending = pending.map(|(id, pending)| {
        let idle_ms = now_ms as i64 - pending.delivered_ms as i64;
        (id, pending, idle_ms)
    });
    let is_idle = |idle_ms: i64| filter.min_idle_ms == 0 || idle_ms >= filter.min_idle_ms;
    let pending = pending.filter(|(.., idle_ms)| is_idle(*idle_ms));
    for (id, pending, idle_ms) in pending.take(filter.count) {
        reply.array(4);
        write_id(reply, id);
        reply.bulk(pending.consumer());
        reply.integer(idle_ms.max(0));
        reply.integer(pending.deliveries as i64);
        count += 1;
    }
    reply.end_array(mark, count);
}
