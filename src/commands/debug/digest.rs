//! `DEBUG DIGEST` and `DIGEST-VALUE`: checksums of the data, independent of order, memory layout and restarts.

use coterie_protocol::{DatabaseId, PartitionId, ReplyWriter, RespVersion};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::{Outcome, answer};
use crate::commands::call::{Control, at_once};
use crate::engine::{Scope, Transaction};
use crate::node::Node;
use crate::store::{Attribute, Entry, Kind, View};

/// Entries hashed under one lock.
const SLICE_ENTRIES: usize = 64;

/// 160 bits, as wide as Redis'. Digests of different keys are combined by exclusive or.
#[derive(Clone, Copy, Default)]
struct Digest {
    low: u128,
    high: u32,
}

impl Digest {
    fn of(bytes: &Xxh3) -> Self {
        let low = bytes.digest128();
        let high = xxh3_64_with_seed(&low.to_le_bytes(), bytes.digest()) as u32;
        Digest { low, high }
    }

    fn add(&mut self, other: Digest) {
        self.low ^= other.low;
        self.high ^= other.high;
    }

    fn text(self) -> String {
        format!("{:032x}{:08x}", self.low, self.high)
    }
}

fn add_value(hash: &mut Xxh3, entry: &Entry, now_ms: u64) {
    hash.update(&entry.expire_at().unwrap_or(u64::MAX).to_le_bytes());
    let kind = entry.kind();
    hash.update(&[kind as u8]);
    match kind {
        Kind::String => hash.update(entry.value()),
        // Where its elements are is not seen.
        Kind::List => entry
            .elements()
            .for_each(|(_, value)| add_text(hash, value)),
        _ => {
            let is_there = |at: &Option<u64>| at.is_none_or(|at| at >= now_ms);
            let elements = entry.elements_until();
            add_pairs(hash, elements.filter(|(_, _, at)| is_there(at)));
        }
    }
    if let Some(stream) = entry.stream() {
        // What its mark says can be told by its entries too.
        let mark = Attribute::Mark.encode();
        hash.update(&stream.mark().encode());
        let attributes = entry.attributes().filter(|(name, _)| *name != mark);
        add_pairs(hash, attributes.map(|(name, value)| (name, value, None)));
    }
}

fn add_text(hash: &mut Xxh3, text: &[u8]) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text);
}

/// Pairs that have no order, or in which the order is of the names; and when they expire.
fn add_pairs<'e>(hash: &mut Xxh3, pairs: impl Iterator<Item = (&'e [u8], &'e [u8], Option<u64>)>) {
    let mut total = Digest::default();
    for (name, value, expire_at) in pairs {
        let mut pair = Xxh3::new();
        add_text(&mut pair, name);
        add_text(&mut pair, value);
        if let Some(at) = expire_at {
            pair.update(&at.to_le_bytes());
        }
        total.add(Digest::of(&pair));
    }
    hash.update(total.text().as_bytes());
}

fn digest_of_entry(database: DatabaseId, entry: &Entry, now_ms: u64) -> Digest {
    let mut hash = Xxh3::new();
    hash.update(&database.0.to_le_bytes());
    hash.update(&(entry.key().len() as u64).to_le_bytes());
    hash.update(entry.key());
    add_value(&mut hash, entry, now_ms);
    Digest::of(&hash)
}

/// Of every database. Changes made meanwhile are in it or not.
pub(super) fn digest(call: &mut Control<'_, '_>) -> Outcome {
    let ids: Vec<PartitionId> = call.node.engine.store().ids().collect();
    let (now_ms, resp) = (call.now_ms, call.session.resp);
    Ok(match call.transaction.as_deref() {
        Some(transaction) => at_once(digest_of_all(transaction, ids, now_ms, resp)),
        None => Box::pin(digest_of_all(call.node.clone(), ids, now_ms, resp)),
    })
}

async fn digest_of_all(
    data: impl View,
    ids: Vec<PartitionId>,
    now_ms: u64,
    resp: RespVersion,
) -> Vec<u8> {
    let mut total = Digest::default();
    for id in ids {
        add_partition(&data, id, now_ms, &mut total).await;
    }
    answer(resp, |reply| reply.simple(total.text())).await
}

async fn add_partition(data: &impl View, id: PartitionId, now_ms: u64, total: &mut Digest) {
    let mut databases = Vec::new();
    data.look(id, &mut |partition| databases.extend(partition.databases()));
    for database in databases {
        let mut position = Some(0);
        while let Some(from) = position.take() {
            data.look(id, &mut |partition| {
                position = partition.keyspace(database).and_then(|keyspace| {
                    keyspace.scan(from, SLICE_ENTRIES, |entry| {
                        if !entry.is_expired(now_ms) && !entry.is_lapsed(now_ms) {
                            total.add(digest_of_entry(database, entry, now_ms));
                        }
                    })
                });
            });
            tokio::task::yield_now().await;
        }
    }
}

/// Of the values of some keys of the session's database; zeros for a key that is not there.
pub(super) fn digest_values(call: &mut Control<'_, '_>) -> Outcome {
    let resp = call.session.resp;
    let database = call.session.database;
    let keys = call.request.skip(2);
    if let Some(transaction) = call.transaction.as_deref_mut() {
        let digests: Vec<Digest> = keys
            .iter()
            .map(|key| digest_of_value(transaction, database, key))
            .collect();
        return Ok(answer(resp, |reply| write_digests(reply, &digests)));
    }
    let node = call.node.clone();
    let keys: Vec<Vec<u8>> = keys.iter().map(<[u8]>::to_vec).collect();
    Ok(Box::pin(async move {
        let mut digests = Vec::with_capacity(keys.len());
        for key in &keys {
            digests.push(digest_of_one(&node, database, key));
            tokio::task::yield_now().await;
        }
        answer(resp, |reply| write_digests(reply, &digests)).await
    }))
}

fn digest_of_one(node: &Node, database: DatabaseId, key: &[u8]) -> Digest {
    let moment = node.moment(&node.config.load());
    let mut payload = Vec::new();
    let mut transaction = node.engine.begin(Scope::Key(key), moment, &mut payload);
    digest_of_value(&mut transaction, database, key)
}

fn write_digests(reply: &mut ReplyWriter<'_>, digests: &[Digest]) {
    reply.array(digests.len());
    digests
        .iter()
        .for_each(|digest| reply.simple(digest.text()));
}

fn digest_of_value(transaction: &mut Transaction<'_>, database: DatabaseId, key: &[u8]) -> Digest {
    let now_ms = transaction.now_ms();
    transaction
        .peek(database, key)
        .map_or_else(Digest::default, |entry| {
            let mut hash = Xxh3::new();
            add_value(&mut hash, entry, now_ms);
            Digest::of(&hash)
        })
}
