//! `XREADGROUP`: entries are given to a consumer of a group, each to one.

use std::ops::Bound;

use coterie_protocol::ReplyWriter;

use super::change::Change;
use super::id::id;
use super::progress::Progress;
use super::read::Reading;
use super::reply::{write_entry, write_id};
use super::{no_group, stream};
use crate::commands::blocking::Patience;
use crate::commands::value::stream_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::events::EventClasses;
use crate::store::{Group, Kind, PendingState, StreamId, StreamView};

/// What a consumer asks of a stream for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Entries that nobody in the group was given: `>`.
    New,
    /// Those it was given and has not acknowledged, above this id.
    History(StreamId),
    /// Nothing: it is another stream's turn.
    Nothing,
}

/// `XREADGROUP`
pub fn xreadgroup(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let reading = Reading::parse(request, true)?;
    let Some((group, consumer)) = reading.group else {
        return Err(CommandError::line(
            "ERR Missing GROUP option for XREADGROUP",
        ));
    };
    let mut wanted = Vec::new();
    for index in 0..reading.keys.len() {
        let key = reading.key(request, index);
        let given = reading.id(request, index);
        // Who waits for a stream twice is served from it once.
        let is_used = matches!(call.patience, Patience::Used(..));
        wanted.push(if is_used && wanted.contains(&Wanted::New) {
            Wanted::Nothing
        } else {
            wanted_of(call, key, given, group)?
        });
    }
    let delivery = Delivery {
        group,
        consumer,
        no_ack: reading.no_ack,
        limit: reading.limit(call.patience),
    };
    // What is written goes to the reply in the end, whichever call it is part of.
    let mut written = Vec::new();
    let mut out = ReplyWriter::new(&mut written, call.reply.version());
    let served = super::reply::write_streams(&mut out, 0..wanted.len(), |reply, index| {
        let key = reading.key(request, index);
        delivery.deliver(call, reply, key, wanted[index])
    })?;
    if !served {
        return reading.nothing(call, None);
    }
    call.reply.raw(&written);
    Ok(())
}

/// What is asked of the stream at a key for.
fn wanted_of(
    call: &mut Call<'_, '_>,
    key: &[u8],
    given: &[u8],
    group: &[u8],
) -> Result<Wanted, CommandError> {
    let entry = call.transaction.get(call.database, key);
    if let Patience::Used(_, ready) = call.patience {
        if ready != key {
            return Ok(Wanted::Nothing);
        }
        let stream = entry.filter(|entry| entry.kind() == Kind::Stream);
        let Some(stream) = stream.and_then(|entry| entry.stream()) else {
            return Err(CommandError::line(
                "UNBLOCKED the stream key no longer exists",
            ));
        };
        return match stream.group(group) {
            Some(_) => Ok(Wanted::New),
            None => Err(CommandError::line(
                "NOGROUP the consumer group this client was blocked on no longer exists",
            )),
        };
    }
    let found = stream_of(entry)?.and_then(|stream| stream.group(group));
    if found.is_none() {
        return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
    }
    match super::c_text(given) {
        b"$" => Err(CommandError::line(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
        )),
        b">" => Ok(Wanted::New),
        _ => Ok(match id(given)? {
            StreamId::MAX => Wanted::New,
            after => Wanted::History(after),
        }),
    }
}

struct Delivery<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    no_ack: bool,
    limit: usize,
}

impl Delivery<'_> {
    /// Writes the key and the entries that the consumer is given, if there is anything to tell, and notes that it was.
    fn deliver(
        &self,
        call: &mut Call<'_, '_>,
        reply: &mut ReplyWriter<'_>,
        key: &[u8],
        wanted: Wanted,
    ) -> Result<bool, CommandError> {
        if wanted == Wanted::Nothing {
            return Ok(false);
        }
        let now_ms = call.transaction.now_ms();
        let found = stream(call.transaction, call.database, key)?;
        let found = found.and_then(|stream| Some((stream, stream.group(self.group)?)));
        let Some((stream, group)) = found else {
            debug_assert!(false, "it was there, and is locked");
            return Ok(false);
        };
        let last_delivered = group.state().last_delivered;
        let is_behind = stream.last().is_some_and(|(last, _)| last > last_delivered);
        if wanted == Wanted::New && !is_behind {
            return Ok(false);
        }
        reply.bulk(key);
        let known = group.consumer(self.consumer);
        let mut state = known.map(|consumer| consumer.state()).unwrap_or_default();
        state.seen_ms = now_ms;
        let is_new = known.is_none();
        let mut change = Change::default();
        let count = match wanted {
            Wanted::History(after) => {
                self.give_history(group, stream, after, now_ms, reply, &mut change)
            }
            _ => self.give_new(group, stream, now_ms, reply, &mut change),
        };
        if count > 0 {
            state.active_ms = now_ms;
        }
        change.consumer(self.group, self.consumer, &state);
        change.make(call, key)?;
        if is_new {
            call.notify(EventClasses::STREAM, "xgroup-createconsumer", key);
        }
        Ok(true)
    }

    /// Gives it entries that are behind what the group was given before.
    fn give_new(
        &self,
        group: &Group,
        stream: StreamView<'_>,
        now_ms: u64,
        reply: &mut ReplyWriter<'_>,
        change: &mut Change,
    ) -> usize {
        let mut state = group.state();
        let progress = Progress::of(stream);
        let new = stream.indices(Bound::Excluded(state.last_delivered), Bound::Unbounded);
        let pending = PendingState {
            consumer: self.consumer,
            delivered_ms: now_ms,
            deliveries: 1,
        };
        let mark = reply.begin_array();
        let mut count = 0;
        for entry in stream.range(new).take(self.limit) {
            progress.advance(&mut state, entry.0);
            write_entry(reply, entry);
            if !self.no_ack {
                change.pending(self.group, entry.0, &pending);
            }
            count += 1;
        }
        reply.end_array(mark, count);
        change.group(self.group, &state);
        count
    }

    /// Gives it once more what it has not acknowledged.
    fn give_history(
        &self,
        group: &Group,
        stream: StreamView<'_>,
        after: StreamId,
        now_ms: u64,
        reply: &mut ReplyWriter<'_>,
        change: &mut Change,
    ) -> usize {
        let mark = reply.begin_array();
        let mut count = 0;
        let ids = group.consumer(self.consumer).into_iter();
        let ids = ids.flat_map(|consumer| {
            let above = (Bound::Excluded(after), Bound::Unbounded);
            consumer.pending().range(above)
        });
        for &id in ids.take(self.limit) {
            count += 1;
            let Some(fields) = stream.get(id) else {
                // It was deleted.
                reply.array(2);
                write_id(reply, id);
                reply.null_array();
                continue;
            };
            write_entry(reply, (id, fields));
            let before = group.pending().get(&id);
            let pending = PendingState {
                consumer: self.consumer,
                delivered_ms: now_ms,
                deliveries: before
                    .map_or(0, |pending| pending.deliveries)
                    .wrapping_add(1),
            };
            change.pending(self.group, id, &pending);
        }
        reply.end_array(mark, count);
        count
    }
}
