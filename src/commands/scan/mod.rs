//! Walks over the keyspace: SCAN, KEYS, RANDOMKEY, DBSIZE.
//!
//! They lock one partition at a time, for a slice of its keys, and let others run in between. What is there
//! during the whole walk is seen, exactly once.

mod elements;
mod options;
mod table;
mod walk;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{DatabaseId, OwnedRequest, PartitionId, ReplyWriter, RespVersion};

use super::call::at_once;
use super::routing::MOVING;
use super::spanning::WholePartitions;
use super::value::kind_name;
use super::{CommandError, Control, Deferred, spanning};
use crate::glob::{self, Case};
use crate::store::{Entry, View};
use walk::{Cursor, Turn, Walk};

pub use elements::{element_cursor, elements};
pub use options::ScanOptions;
pub use table::COMMANDS;
pub use walk::parse_cursor;

/// Keys visited under one lock.
const SLICE: usize = 256;
/// A `SCAN` looks at this many partitions and slices for each key it was asked for, as Redis does with
/// buckets…
const STEPS_PER_KEY: usize = 10;
/// … and at this many at least: a small or empty database takes one call, or few.
const STEPS_MIN: usize = 1024;
/// Random keys that may turn out to be expired before `RANDOMKEY` takes the next best.
const RANDOM_TRIES: usize = 100;

/// What keys a walk is about.
struct Filter {
    /// `None` for every name.
    pattern: Option<Vec<u8>>,
    /// `None` for every type.
    kind: Option<Vec<u8>>,
}

impl Filter {
    fn new(pattern: &[u8]) -> Self {
        Filter {
            pattern: (pattern != b"*").then(|| pattern.to_vec()),
            kind: None,
        }
    }

    fn accepts(&self, entry: &Entry) -> bool {
        let matches = |pattern: &Vec<u8>| glob::matches(pattern, entry.key(), Case::Sensitive);
        let is_kind = |kind: &Vec<u8>| kind.eq_ignore_ascii_case(kind_name(entry).as_bytes());
        self.kind.as_ref().is_none_or(is_kind) && self.pattern.as_ref().is_none_or(matches)
    }
}

fn keys(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    if let Some(replies) = spread(control) {
        let resp = control.session.resp;
        return Ok(Box::pin(async move { concatenate(replies.await, resp) }));
    }
    let filter = Filter::new(control.request.arg(1));
    let walk = Walk::new(control, Cursor::START);
    let resp = control.session.resp;
    Ok(match control.transaction.as_deref() {
        Some(transaction) => at_once(names(walk.over(transaction), filter, resp)),
        None => Box::pin(names(walk.over(control.node.clone()), filter, resp)),
    })
}

/// The names of all keys that a filter accepts.
async fn names<V: View>(mut walk: Walk<V>, filter: Filter, resp: RespVersion) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, resp);
    let start = reply.begin_array();
    let mut found = 0;
    let mut turn = Turn::begin();
    while !walk.is_over() {
        walk.step(SLICE, |entry| {
            if filter.accepts(entry) {
                reply.bulk(entry.key());
                found += 1;
            }
        });
        turn.end_if_long().await;
    }
    reply.end_array(start, found);
    out
}

fn scan(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let cursor = Cursor::parse(control.request.arg(1))?;
    let options = ScanOptions::parse(control.request, 2, true)?;
    let filter = Filter {
        pattern: options.pattern.map(<[u8]>::to_vec),
        kind: options.kind.map(<[u8]>::to_vec),
    };
    let slice = Slice {
        count: options.count,
        filter,
        whole: WholePartitions::new(control.node, &control.session.origin()),
        resp: control.session.resp,
    };
    let walk = Walk::new(control, cursor);
    if let Some(partition) = slice.elsewhere(&walk) {
        if control.session.forwarded {
            return Err(MOVING);
        }
        let (node, origin) = (control.node.clone(), control.session.origin());
        let request = OwnedRequest::from(control.request);
        return Ok(Box::pin(spanning::where_it_is(
            node, origin, partition, request,
        )));
    }
    Ok(match control.transaction.as_deref() {
        Some(transaction) => at_once(slice.of(walk.over(transaction))),
        None => Box::pin(slice.of(walk.over(control.node.clone()))),
    })
}

/// What one `SCAN` is about.
struct Slice {
    count: usize,
    filter: Filter,
    /// Who answers for which partition; `None` if this node does for all.
    whole: Option<WholePartitions>,
    resp: RespVersion,
}

impl Slice {
    /// The partition a walk is at, if others answer for that. A cursor is in one partition: who answers for that goes on
    /// with it, up to a partition for which others do.
    fn elsewhere<V>(&self, walk: &Walk<V>) -> Option<PartitionId> {
        let partition = walk.partition()?;
        let whole = self.whole.as_ref();
        whole.filter(|it| !it.is_here(partition)).map(|_| partition)
    }

    async fn of<V: View>(self, mut walk: Walk<V>) -> Vec<u8> {
        let mut elements = Vec::new();
        let mut found = 0;
        let mut left = self.count;
        let mut turn = Turn::begin();
        for _ in 0..self.count.saturating_mul(STEPS_PER_KEY).max(STEPS_MIN) {
            let mut reply = ReplyWriter::new(&mut elements, self.resp);
            let visited = walk.step(left.min(SLICE), |entry| {
                if self.filter.accepts(entry) {
                    reply.bulk(entry.key());
                    found += 1;
                }
            });
            left = left.saturating_sub(visited);
            if left == 0 || walk.is_over() || self.elsewhere(&walk).is_some() {
                break;
            }
            turn.end_if_long().await;
        }
        let mut out = Vec::with_capacity(elements.len() + 64);
        let mut reply = ReplyWriter::new(&mut out, self.resp);
        reply.array(2);
        reply.bulk_display(walk.cursor());
        reply.array(found);
        reply.raw(&elements);
        out
    }
}

fn randomkey(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    if let Some(replies) = spread(control) {
        return Ok(Box::pin(async move { any_of(replies.await) }));
    }
    let choice = Choice {
        database: control.session.database,
        now_ms: control.now_ms,
        partitions: asked(control),
        resp: control.session.resp,
    };
    let walk = Walk::new(control, Cursor::START);
    Ok(match control.transaction.as_deref() {
        Some(transaction) => at_once(choice.of(transaction, walk.over(transaction))),
        None => {
            let node = control.node.clone();
            Box::pin(choice.of(node.clone(), walk.over(node)))
        }
    })
}

/// The partitions that a command is about.
fn asked(control: &Control<'_, '_>) -> Vec<PartitionId> {
    match &control.session.partitions {
        Some(asked) => asked.to_vec(),
        None => control.node.engine.store().ids().collect(),
    }
}

/// Where a random key is to come from.
struct Choice {
    database: DatabaseId,
    now_ms: u64,
    partitions: Vec<PartitionId>,
    resp: RespVersion,
}

impl Choice {
    async fn of<V: View>(self, data: V, mut walk: Walk<V>) -> Vec<u8> {
        let mut turn = Turn::begin();
        let mut key = None;
        for _ in 0..RANDOM_TRIES {
            match self.sample(&data) {
                Sample::Empty => walk.end(),
                Sample::Expired => {}
                Sample::Live(live) => key = Some(live),
            }
            if key.is_some() || walk.is_over() {
                break;
            }
            turn.end_if_long().await;
        }
        // Nearly all keys are expired, and the cycle that removes them comes later: any live one will do.
        while key.is_none() && !walk.is_over() {
            walk.step(SLICE, |entry| key = Some(entry.key().to_vec()));
            turn.end_if_long().await;
        }
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, self.resp);
        match key {
            Some(key) => reply.bulk(&key),
            None => reply.null(),
        }
        out
    }

    /// Chooses a partition by its number of keys, and one of its keys.
    fn sample(&self, data: &impl View) -> Sample {
        let size = |id: &PartitionId| keys_in(data, *id, self.database);
        let sizes: Vec<usize> = self.partitions.iter().map(size).collect();
        let total: usize = sizes.iter().sum();
        if total == 0 {
            return Sample::Empty;
        }
        let mut rank = rand::random_range(0..total);
        let chosen = self.partitions.iter().zip(sizes).find(|(_, size)| {
            let is_here = rank < *size;
            rank = rank.saturating_sub(*size);
            is_here
        });
        let mut sample = Sample::Expired;
        if let Some((id, _)) = chosen {
            data.look(*id, &mut |partition| {
                if let Some(keyspace) = partition.keyspace(self.database) {
                    keyspace.sample(rand::random(), 1, false, |entry| {
                        if !entry.is_expired(self.now_ms) && !entry.is_lapsed(self.now_ms) {
                            sample = Sample::Live(entry.key().to_vec());
                        }
                    });
                }
            });
        }
        sample
    }
}

/// A key taken at random.
enum Sample {
    /// There is none.
    Empty,
    /// Its time is over, or it has just gone.
    Expired,
    /// A good one.
    Live(Vec<u8>),
}

/// Number of keys of a database in one partition.
fn keys_in(data: &impl View, id: PartitionId, database: DatabaseId) -> usize {
    let mut count = 0;
    data.look(id, &mut |partition| {
        count = partition
            .keyspace(database)
            .map_or(0, |keyspace| keyspace.len());
    });
    count
}

/// Expired keys count until they are removed, as in Redis.
fn dbsize(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let resp = control.session.resp;
    if let Some(replies) = spread(control) {
        return Ok(Box::pin(async move {
            spanning::combine(&replies.await, resp, |reply, sum| reply.integer(sum))
        }));
    }
    let (database, partitions) = (control.session.database, asked(control));
    Ok(match control.transaction.as_deref() {
        Some(transaction) => at_once(size(transaction, database, partitions, resp)),
        None => Box::pin(size(control.node.clone(), database, partitions, resp)),
    })
}

async fn size<V: View>(
    data: V,
    database: DatabaseId,
    partitions: Vec<PartitionId>,
    resp: RespVersion,
) -> Vec<u8> {
    let sizes = partitions.iter().map(|id| keys_in(&data, *id, database));
    let total: usize = sizes.sum();
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, resp).integer(total as i64);
    out
}

/// Has the command executed by nodes that together hold every partition, if this is one of several nodes and it was
/// not asked by another.
fn spread(control: &Control<'_, '_>) -> Option<impl Future<Output = Vec<Vec<u8>>> + Send + use<>> {
    let replication = control.node.replication.get()?;
    if !replication.is_clustered() || control.session.partitions.is_some() {
        return None;
    }
    let (node, origin) = (control.node.clone(), control.session.origin());
    let request = OwnedRequest::from(control.request);
    Some(async move { spanning::everywhere(&node, &origin, request).await })
}

/// One array of all elements of several; or the first error.
fn concatenate(replies: Vec<Vec<u8>>, resp: RespVersion) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut count = 0;
    for reply in &replies {
        let head = reply.iter().position(|byte| *byte == b'\n');
        let length = head.and_then(|end| parse_i64(reply.get(1..end - 1)?));
        let (Some(end), Some(length), Some(b'*')) = (head, length, reply.first()) else {
            return reply.clone();
        };
        count += length.max(0) as usize;
        elements.extend_from_slice(&reply[end + 1..]);
    }
    let mut out = Vec::with_capacity(elements.len() + 16);
    let mut reply = ReplyWriter::new(&mut out, resp);
    reply.array(count);
    reply.raw(&elements);
    out
}

/// One reply of several that is not null, if there is one.
fn any_of(mut replies: Vec<Vec<u8>>) -> Vec<u8> {
    let is_null = |reply: &Vec<u8>| reply.starts_with(b"$-1") || reply.starts_with(b"_");
    let keys = replies.iter().filter(|reply| !is_null(reply)).count();
    if keys > 0 {
        replies.retain(|reply| !is_null(reply));
    }
    if replies.is_empty() {
        return Vec::new();
    }
    let chosen = rand::random_range(0..replies.len());
    replies.swap_remove(chosen)
}
