//! Walks over the keyspace: SCAN, KEYS, RANDOMKEY, DBSIZE.
//!
//! They lock one partition at a time, for a slice of its keys, and let others run in between. What is there
//! during the whole walk is seen, exactly once.

mod elements;
mod table;
mod walk;

use std::sync::Arc;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{DatabaseId, OwnedRequest, PartitionId, ReplyWriter, RespVersion};

use super::value::kind_name;
use super::{CommandError, Control, Deferred, spanning};
use crate::glob::{self, Case};
use crate::node::Node;
use crate::store::Entry;
use walk::{Cursor, Turn, Walk};

pub use elements::{element_cursor, elements};
pub use table::COMMANDS;
pub use walk::parse_cursor;

/// Keys visited under one lock.
const SLICE: usize = 256;
/// Keys that a `SCAN` without `COUNT` visits.
const DEFAULT_COUNT: usize = 10;
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
    let mut walk = Walk::new(control, Cursor::START);
    let resp = control.session.resp;
    Ok(Box::pin(async move {
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
    }))
}

fn scan(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let cursor = Cursor::parse(control.request.arg(1))?;
    let (count, filter) = parse_scan_options(control)?;
    let mut walk = Walk::new(control, cursor);
    let local = match scanned_here(control, &walk)? {
        Scanned::Here(local) => local,
        Scanned::Elsewhere(reply) => return Ok(reply),
    };
    let resp = control.session.resp;
    Ok(Box::pin(async move {
        let mut elements = Vec::new();
        let mut found = 0;
        let mut left = count;
        let mut turn = Turn::begin();
        for _ in 0..count.saturating_mul(STEPS_PER_KEY).max(STEPS_MIN) {
            let mut reply = ReplyWriter::new(&mut elements, resp);
            let visited = walk.step(left.min(SLICE), |entry| {
                if filter.accepts(entry) {
                    reply.bulk(entry.key());
                    found += 1;
                }
            });
            left = left.saturating_sub(visited);
            let is_elsewhere = |local: &Vec<bool>| {
                let at = walk.partition();
                at.is_some_and(|partition| !local[partition.index()])
            };
            if left == 0 || walk.is_over() || local.as_ref().is_some_and(is_elsewhere) {
                break;
            }
            turn.end_if_long().await;
        }
        let mut out = Vec::with_capacity(elements.len() + 64);
        let mut reply = ReplyWriter::new(&mut out, resp);
        reply.array(2);
        reply.bulk_display(walk.cursor());
        reply.array(found);
        reply.raw(&elements);
        out
    }))
}

/// `COUNT`, and what `MATCH` and `TYPE` say.
fn parse_scan_options(control: &Control<'_, '_>) -> Result<(usize, Filter), CommandError> {
    let (mut count, mut filter) = (DEFAULT_COUNT, Filter::new(b"*"));
    let mut words = control.request.iter().skip(2);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(CommandError::Syntax)?;
        if word.eq_ignore_ascii_case(b"count") {
            let number = parse_i64(value).ok_or(CommandError::NotInteger)?;
            if number < 1 {
                return Err(CommandError::Syntax);
            }
            count = usize::try_from(number).unwrap_or(usize::MAX);
        } else if word.eq_ignore_ascii_case(b"match") {
            filter.pattern = Filter::new(value).pattern;
        } else if word.eq_ignore_ascii_case(b"type") {
            filter.kind = Some(value.to_vec());
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((count, filter))
}

fn randomkey(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    if let Some(replies) = spread(control) {
        return Ok(Box::pin(async move { any_of(replies.await) }));
    }
    let node = control.node.clone();
    let (database, now_ms) = (control.session.database, control.now_ms);
    let partitions = control.session.partitions.clone();
    let mut walk = Walk::new(control, Cursor::START);
    let resp = control.session.resp;
    Ok(Box::pin(async move {
        let mut turn = Turn::begin();
        let mut key = None;
        for _ in 0..RANDOM_TRIES {
            match sample(&node, database, partitions.as_deref(), now_ms) {
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
        let mut reply = ReplyWriter::new(&mut out, resp);
        match key {
            Some(key) => reply.bulk(&key),
            None => reply.null(),
        }
        out
    }))
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

/// Chooses a partition by its number of keys, and one of its keys.
fn sample(
    node: &Arc<Node>,
    database: DatabaseId,
    partitions: Option<&[PartitionId]>,
    now_ms: u64,
) -> Sample {
    let store = node.engine.store();
    let is_asked = |id: &PartitionId| partitions.is_none_or(|asked| asked.contains(id));
    let size = |id: PartitionId| {
        if is_asked(&id) {
            keys_in(node, id, database)
        } else {
            0
        }
    };
    let sizes: Vec<usize> = store.ids().map(size).collect();
    let total: usize = sizes.iter().sum();
    if total == 0 {
        return Sample::Empty;
    }
    let mut rank = rand::random_range(0..total);
    let chosen = store.ids().zip(sizes).find(|(_, size)| {
        let is_here = rank < *size;
        rank = rank.saturating_sub(*size);
        is_here
    });
    let mut sample = Sample::Expired;
    if let Some((id, _)) = chosen
        && let Some(keyspace) = store.lock(id).keyspace(database)
    {
        keyspace.sample(rand::random(), 1, false, |entry| {
            if !entry.is_expired(now_ms) {
                sample = Sample::Live(entry.key().to_vec());
            }
        });
    }
    sample
}

/// Number of keys of a database in one partition.
fn keys_in(node: &Node, id: PartitionId, database: DatabaseId) -> usize {
    let partition = node.engine.store().lock(id);
    partition
        .keyspace(database)
        .map_or(0, |keyspace| keyspace.len())
}

/// Expired keys count until they are removed, as in Redis.
fn dbsize(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let resp = control.session.resp;
    if let Some(replies) = spread(control) {
        return Ok(Box::pin(async move {
            spanning::combine(&replies.await, resp, |reply, sum| reply.integer(sum))
        }));
    }
    let (node, database) = (control.node.clone(), control.session.database);
    let partitions = control.session.partitions.clone();
    Ok(Box::pin(async move {
        let ids = node.engine.store().ids();
        let total: usize = ids
            .filter(|id| partitions.as_ref().is_none_or(|asked| asked.contains(id)))
            .map(|id| keys_in(&node, id, database))
            .sum();
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, resp).integer(total as i64);
        out
    }))
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

/// Where a `SCAN` goes on.
enum Scanned {
    /// Here, as far as partitions are here: those with `true`. `None` for all.
    Here(Option<Vec<bool>>),
    /// On another node.
    Elsewhere(Deferred),
}

/// A cursor is in one partition: a replica of that goes on with it, until it comes to a partition it does not hold.
fn scanned_here(control: &Control<'_, '_>, walk: &Walk) -> Result<Scanned, CommandError> {
    let replication = control.node.replication.get();
    let Some(replication) = replication.filter(|replication| replication.is_clustered()) else {
        return Ok(Scanned::Here(None));
    };
    let routes = replication.routes();
    let policy = routes.policy(control.session.database);
    let local: Vec<bool> = routes
        .partitions()
        .map(|(_, route)| route.is_local(&policy))
        .collect();
    let Some(partition) = walk.partition().filter(|at| !local[at.index()]) else {
        return Ok(Scanned::Here(Some(local)));
    };
    let unavailable = CommandError::line("NOREPLICAS Not enough good replicas to read.");
    if control.session.forwarded {
        return Err(CommandError::line(
            "TRYAGAIN The partition is moving to other replicas",
        ));
    }
    let peer = routes.route(partition).first_live(&policy).cloned();
    let peer = peer.ok_or(unavailable)?;
    let epoch = routes.epoch;
    let answer = spanning::forward(
        &peer,
        control.session,
        epoch,
        control.now_ms,
        &[],
        control.request,
    );
    let resp = control.session.resp;
    Ok(Scanned::Elsewhere(Box::pin(async move {
        match answer.await {
            Ok(reply) => reply.to_vec(),
            Err(error) => {
                let mut out = Vec::new();
                let line = format!("NOREPLICAS The replica did not answer: {error}");
                ReplyWriter::new(&mut out, resp).error(line);
                out
            }
        }
    })))
}
