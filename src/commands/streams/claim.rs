//! Consumers that take over what others were given: `XCLAIM`, `XAUTOCLAIM`.

use std::collections::BTreeMap;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{ReplyWriter, Request};

use super::change::Change;
use super::id::{first_of_range, id};
use super::reply::{write_entry, write_id};
use super::{c_text, group, integer};
use crate::commands::{Call, CommandError, CommandResult};
use crate::events::EventClasses;
use crate::store::{ConsumerState, Group, PendingState, StreamId, StreamView};

/// `XAUTOCLAIM` looks at so many entries for each that it may return.
const ATTEMPTS: usize = 10;
const COUNT_MAX: i64 = i64::MAX / 16;

/// What becomes of an entry that is claimed.
#[derive(Clone, Copy)]
struct Terms {
    now_ms: u64,
    min_idle_ms: i64,
    delivered_ms: u64,
    /// Counts anew from here; `None` to count on.
    deliveries: Option<u64>,
    /// Whether also an entry that nobody has is claimed.
    force: bool,
    /// Whether only ids are answered, which does not count as a delivery.
    ids_only: bool,
}

impl Terms {
    fn new(now_ms: u64, min_idle_ms: i64) -> Self {
        Terms {
            now_ms,
            min_idle_ms,
            delivered_ms: now_ms,
            deliveries: None,
            force: false,
            ids_only: false,
        }
    }

    fn is_idle(&self, delivered_ms: u64) -> bool {
        let idle_ms = self.now_ms as i64 - delivered_ms as i64;
        self.min_idle_ms == 0 || idle_ms >= self.min_idle_ms
    }

    fn write(&self, reply: &mut ReplyWriter<'_>, entry: (StreamId, &[u8])) {
        if self.ids_only {
            write_id(reply, entry.0);
        } else {
            write_entry(reply, entry);
        }
    }
}

fn min_idle(text: &[u8], error: &'static str) -> Result<i64, CommandError> {
    let parsed = parse_i64(text).ok_or(CommandError::line(error))?;
    Ok(parsed.max(0))
}

/// `XCLAIM`
pub fn xclaim(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let (key, name, consumer) = (request.arg(1), request.arg(2), request.arg(3));
    let now_ms = call.transaction.now_ms();
    let (stream, group) = group(call.transaction, call.database, key, name)?;
    let (claim, last_id) = Claim::parse(request, now_ms)?;
    let mut change = Change::default();
    let mut state = group.state();
    if last_id > state.last_delivered {
        state.last_delivered = last_id;
        change.group(name, &state);
    }
    let is_new = group.consumer(consumer).is_none();
    let mark = call.reply.begin_array();
    let claimed = claim.make(group, stream, call.reply);
    call.reply.end_array(mark, claimed.count);
    let has_claimed = claimed.count > 0;
    if has_claimed {
        change.consumer(name, consumer, &there(now_ms));
    }
    for (id, state) in claimed.changed {
        match state {
            None => change.settle(name, id),
            Some((delivered_ms, deliveries)) => {
                let state = PendingState {
                    consumer,
                    delivered_ms,
                    deliveries,
                };
                change.pending(name, id, &state);
            }
        }
    }
    change.make(call, key)?;
    if is_new && has_claimed {
        call.notify(EventClasses::STREAM, "xgroup-createconsumer", key);
    }
    Ok(())
}

/// A consumer that gets something. One that gets nothing was not there, and is not made.
fn there(now_ms: u64) -> ConsumerState {
    ConsumerState {
        seen_ms: now_ms,
        active_ms: now_ms,
    }
}

/// What `XCLAIM` is to do.
struct Claim {
    ids: Vec<StreamId>,
    terms: Terms,
}

/// What it has come to: for each id when it was delivered and how often, or that nobody has it any more.
struct Claimed {
    changed: BTreeMap<StreamId, Option<(u64, u64)>>,
    count: usize,
}

impl Claim {
    /// Reads the arguments; also returns the id of `LASTID`.
    fn parse(request: Request<'_>, now_ms: u64) -> Result<(Self, StreamId), CommandError> {
        let min_idle_ms = min_idle(
            request.arg(4),
            "ERR Invalid min-idle-time argument for XCLAIM",
        )?;
        let ids: Vec<StreamId> = request
            .iter()
            .skip(5)
            .map_while(|text| id(text).ok())
            .collect();
        let terms = Terms::new(now_ms, min_idle_ms);
        let mut claim = Claim { ids, terms };
        let last_id = claim.parse_options(request)?;
        Ok((claim, last_id))
    }

    /// Reads what comes behind the ids; returns the id of `LASTID`.
    fn parse_options(&mut self, request: Request<'_>) -> Result<StreamId, CommandError> {
        let Claim { ids, terms } = self;
        let now_ms = terms.now_ms;
        let mut last_id = StreamId::MIN;
        let mut delivered_ms = -1;
        let mut at = 5 + ids.len();
        while let Some(word) = request.get(at) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let value = request.get(at + 1);
            let number = |error: &'static str| {
                let number = value.and_then(parse_i64);
                number.ok_or(CommandError::line(error))
            };
            at += 2;
            match value {
                _ if is("force") => {
                    terms.force = true;
                    at -= 1;
                }
                _ if is("justid") => {
                    terms.ids_only = true;
                    at -= 1;
                }
                Some(_) if is("idle") => {
                    let idle = number("ERR Invalid IDLE option argument for XCLAIM")?;
                    delivered_ms = (now_ms as i64).wrapping_sub(idle);
                }
                Some(_) if is("time") => {
                    delivered_ms = number("ERR Invalid TIME option argument for XCLAIM")?;
                }
                Some(_) if is("retrycount") => {
                    let count = number("ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    terms.deliveries = u64::try_from(count).ok();
                }
                Some(value) if is("lastid") => last_id = id(value)?,
                _ => {
                    return Err(CommandError::quoting(
                        "ERR Unrecognized XCLAIM option '",
                        c_text(word),
                        "'",
                    ));
                }
            }
        }
        // Clocks of clients may differ a little: what lies in the future is now.
        let delivered_ms = u64::try_from(delivered_ms).unwrap_or(now_ms);
        terms.delivered_ms = delivered_ms.min(now_ms);
        Ok(last_id)
    }

    /// Claims entries, and writes them.
    fn make(&self, group: &Group, stream: StreamView<'_>, reply: &mut ReplyWriter<'_>) -> Claimed {
        let terms = &self.terms;
        let mut claimed = Claimed {
            changed: BTreeMap::new(),
            count: 0,
        };
        for &id in &self.ids {
            // It may be named more than once.
            let known = claimed.changed.get(&id).copied();
            let known = known.unwrap_or_else(|| {
                let pending = group.pending().get(&id)?;
                Some((pending.delivered_ms, pending.deliveries))
            });
            let Some(fields) = stream.get(id) else {
                if known.is_some() {
                    claimed.changed.insert(id, None);
                }
                continue;
            };
            let before = match known {
                Some((delivered_ms, _)) if !terms.is_idle(delivered_ms) => continue,
                Some((_, deliveries)) => deliveries,
                // It counts as given out once before.
                None if terms.force => 1,
                None => continue,
            };
            let counted = before.wrapping_add(u64::from(!terms.ids_only));
            let deliveries = terms.deliveries.unwrap_or(counted);
            let state = Some((terms.delivered_ms, deliveries));
            claimed.changed.insert(id, state);
            terms.write(reply, (id, fields));
            claimed.count += 1;
        }
        claimed
    }
}

/// `XAUTOCLAIM`
pub fn xautoclaim(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let (key, name, consumer) = (request.arg(1), request.arg(2), request.arg(3));
    let now_ms = call.transaction.now_ms();
    let min_idle_ms = min_idle(
        request.arg(4),
        "ERR Invalid min-idle-time argument for XAUTOCLAIM",
    )?;
    let first = first_of_range(request.arg(5))?;
    let (count, ids_only) = options(call)?;
    let terms = Terms {
        ids_only,
        ..Terms::new(now_ms, min_idle_ms)
    };
    let (stream, group) = group(call.transaction, call.database, key, name)?;
    let is_new = group.consumer(consumer).is_none();
    let mut walk = Walk {
        name,
        consumer,
        terms,
        change: Change::default(),
    };
    let has_claimed = walk.run(group, stream, first, count, call.reply);
    let mut change = walk.change;
    if has_claimed {
        change.consumer(name, consumer, &there(now_ms));
    }
    change.make(call, key)?;
    if is_new && has_claimed {
        call.notify(EventClasses::STREAM, "xgroup-createconsumer", key);
    }
    Ok(())
}

/// How many entries `XAUTOCLAIM` may return, and whether only their ids.
fn options(call: &Call<'_, '_>) -> Result<(usize, bool), CommandError> {
    let request = call.request;
    let (mut count, mut ids_only) = (100, false);
    let mut at = 6;
    while let Some(word) = request.get(at) {
        if word.eq_ignore_ascii_case(b"count") && at + 1 < request.len() {
            let number = integer(call, at + 1).ok();
            count = number
                .filter(|number| (1..=COUNT_MAX).contains(number))
                .ok_or(CommandError::line("ERR COUNT must be > 0"))?;
            at += 2;
        } else if word.eq_ignore_ascii_case(b"justid") {
            ids_only = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((count as usize, ids_only))
}

/// A walk over what is pending in a group.
struct Walk<'a> {
    name: &'a [u8],
    consumer: &'a [u8],
    terms: Terms,
    change: Change,
}

impl Walk<'_> {
    /// Claims what has been idle for long enough, and forgets what was deleted. Writes where to go on, the entries and
    /// the ids that were forgotten. Returns whether anything was claimed.
    fn run(
        &mut self,
        group: &Group,
        stream: StreamView<'_>,
        first: StreamId,
        count: usize,
        reply: &mut ReplyWriter<'_>,
    ) -> bool {
        let mut pending = group.pending().range(first..);
        let mut attempts = count.saturating_mul(ATTEMPTS);
        let (mut claimed, mut deleted) = (Vec::new(), Vec::new());
        while attempts > 0 && claimed.len() + deleted.len() < count {
            attempts -= 1;
            let Some((&id, state)) = pending.next() else {
                break;
            };
            let Some(fields) = stream.get(id) else {
                self.change.settle(self.name, id);
                deleted.push(id);
                continue;
            };
            if !self.terms.is_idle(state.delivered_ms) {
                continue;
            }
            let counted = u64::from(!self.terms.ids_only);
            let next = PendingState {
                consumer: self.consumer,
                delivered_ms: self.terms.delivered_ms,
                deliveries: state.deliveries.wrapping_add(counted),
            };
            self.change.pending(self.name, id, &next);
            claimed.push((id, fields));
        }
        reply.array(3);
        write_id(reply, pending.next().map_or(StreamId::MIN, |(id, _)| *id));
        reply.array(claimed.len());
        for entry in &claimed {
            self.terms.write(reply, *entry);
        }
        reply.array(deleted.len());
        deleted.iter().for_each(|id| write_id(reply, *id));
        !claimed.is_empty()
    }
}
