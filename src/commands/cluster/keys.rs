//! The keys of one slot on this node: `CLUSTER COUNTKEYSINSLOT` and `CLUSTER GETKEYSINSLOT`.

use std::time::{Duration, Instant};

use coterie_protocol::text::parse_i64;
use coterie_protocol::{DatabaseId, PartitionId, ReplyWriter, RespVersion, Slot};

use crate::commands::call::at_once;
use crate::commands::{CommandError, Control, Deferred};
use crate::store::{Entry, View};

/// Keys looked at under one lock.
const STEP: usize = 256;
/// A walk works this long before others on its thread get their turn.
const WORK: Duration = Duration::from_micros(300);

pub fn count(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let number = integer(call, 2)?;
    let slot = slot(number).ok_or(CommandError::line("ERR Invalid slot"))?;
    let (walk, resp) = (Walk::new(call, slot), call.session.resp);
    Ok(match call.transaction.as_deref() {
        Some(transaction) => at_once(number_of(walk, transaction, resp)),
        None => Box::pin(number_of(walk, call.node.clone(), resp)),
    })
}

async fn number_of(walk: Walk, data: impl View, resp: RespVersion) -> Vec<u8> {
    let mut keys = 0;
    walk.visit(&data, usize::MAX, |_| keys += 1).await;
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, resp).integer(keys);
    out
}

pub fn get(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let (number, most) = (integer(call, 2)?, integer(call, 3)?);
    let wrong = CommandError::line("ERR Invalid slot or number of keys");
    let (Some(slot), Ok(most)) = (slot(number), usize::try_from(most)) else {
        return Err(wrong);
    };
    let (walk, resp) = (Walk::new(call, slot), call.session.resp);
    Ok(match call.transaction.as_deref() {
        Some(transaction) => at_once(names(walk, transaction, most, resp)),
        None => Box::pin(names(walk, call.node.clone(), most, resp)),
    })
}

async fn names(walk: Walk, data: impl View, most: usize, resp: RespVersion) -> Vec<u8> {
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    walk.visit(&data, most, |entry| keys.push(entry.key().into()))
        .await;
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, resp);
    reply.array(keys.len());
    for key in &keys {
        reply.bulk(key);
    }
    out
}

fn integer(call: &Control<'_, '_>, index: usize) -> Result<i64, CommandError> {
    parse_i64(call.request.arg(index)).ok_or(CommandError::NotInteger)
}

fn slot(number: i64) -> Option<Slot> {
    u16::try_from(number).ok().and_then(Slot::new)
}

/// A walk over the keys of a slot in one database.
struct Walk {
    partition: PartitionId,
    database: DatabaseId,
    slot: Slot,
    now_ms: u64,
}

impl Walk {
    fn new(call: &Control<'_, '_>, slot: Slot) -> Self {
        Walk {
            partition: call.node.engine.store().layout().partition_of(slot),
            database: call.session.database,
            slot,
            now_ms: call.now_ms,
        }
    }

    /// Visits at most this many keys that are not expired.
    async fn visit(&self, data: &impl View, most: usize, mut visit: impl FnMut(&Entry)) {
        let (mut left, mut position) = (most, 0);
        let mut began = Instant::now();
        while left > 0 {
            let mut next = None;
            data.look(self.partition, &mut |partition| {
                next = partition.keyspace(self.database).and_then(|keys| {
                    keys.scan(position, STEP, |entry| {
                        let is_there =
                            !entry.is_expired(self.now_ms) && !entry.is_lapsed(self.now_ms);
                        let is_one = is_there && Slot::of(entry.key()) == self.slot;
                        if is_one && left > 0 {
                            left -= 1;
                            visit(entry);
                        }
                    })
                });
            });
            let Some(next) = next else { break };
            position = next;
            if began.elapsed() > WORK {
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
    }
}
