//! Takes in the log streams of other nodes: merges their records, logs them, acknowledges.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use coterie_protocol::{Actor, Epoch, NodeId};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Replication;
use super::wire::{self, ReceivedRecords, Superseded};
use crate::effect::Effect;
use crate::transport::{CallId, Inbound, Service};
use crate::wal::{LogOffset, NoRoom};

/// Batches of a peer that wait to be merged. Its window bounds their bytes; this, their number.
const QUEUED_BATCHES_MAX: usize = 4096;

/// Tasks that merge, one for each sender.
#[derive(Default)]
pub struct Receivers {
    senders: Mutex<HashMap<NodeId, mpsc::Sender<Message>>>,
}

enum Message {
    /// "How far have you followed that log?"
    Position(Arc<Inbound>, CallId, Bytes),
    Records(Arc<Inbound>, Bytes),
}

impl Receivers {
    /// A frame of a log stream. Handles frames of one sender in order, without blocking the caller.
    pub fn received(
        &self,
        replication: &Arc<Replication>,
        from: &Arc<Inbound>,
        call: Option<CallId>,
        body: Bytes,
    ) {
        let message = match call {
            Some(call) => Message::Position(from.clone(), call, body),
            None => Message::Records(from.clone(), body),
        };
        let mut senders = self.senders.lock();
        let sender = senders.entry(from.node()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(QUEUED_BATCHES_MAX);
            tokio::spawn(run(replication.clone(), receiver));
            sender
        });
        if sender.try_send(message).is_err() {
            tracing::warn!(peer = %from.node(), "disconnected: it sends more than its window");
            from.close();
        }
    }
}

async fn run(replication: Arc<Replication>, mut messages: mpsc::Receiver<Message>) {
    // A stream that was refused begins again with a question for the position.
    let mut refused = false;
    // Batches of a connection before may still arrive after that question: there could be a gap before them.
    let mut current: Option<Arc<Inbound>> = None;
    while let Some(message) = messages.recv().await {
        match message {
            Message::Position(from, call, body) => {
                refused = false;
                current = Some(from.clone());
                let Ok(actor) = wire::Reader::new(&body).u16() else {
                    from.close();
                    continue;
                };
                let offset = replication.engine.received(Actor(actor));
                from.reply(call, &offset.to_u64().to_le_bytes());
            }
            Message::Records(from, body)
                if !refused && current.as_ref().is_some_and(|at| Arc::ptr_eq(at, &from)) =>
            {
                match take_in(&replication, &body).await {
                    Ok(acknowledgement) => {
                        from.push(Service::Acknowledge, &acknowledgement);
                    }
                    Err(Refused::Fenced(epoch)) => {
                        refused = true;
                        from.push(Service::Records, &epoch.0.to_le_bytes());
                    }
                    Err(Refused::Malformed) => {
                        tracing::error!(peer = %from.node(), "disconnected: it sent records that can't be read");
                        refused = true;
                        from.close();
                    }
                }
            }
            Message::Records(..) => {}
        }
    }
}

/// Why records are not taken in.
enum Refused {
    /// They were routed under an epoch that is over; this one is in force.
    Fenced(Epoch),
    Malformed,
}

impl From<wire::Malformed> for Refused {
    fn from(_: wire::Malformed) -> Self {
        Refused::Malformed
    }
}

/// Merges and logs a batch. Returns the acknowledgement, once it may be given.
async fn take_in(replication: &Replication, body: &[u8]) -> Result<Vec<u8>, Refused> {
    let batch = ReceivedRecords::new(body)?;
    let (actor, end, epoch) = (batch.actor, batch.end, batch.epoch);
    let engine = &replication.engine;
    let routes = replication.routes();
    let mut superseded = Vec::new();
    let mut logged = LogOffset::ZERO;
    let mut batch = batch.peekable();
    while let Some(record) = batch.next() {
        let record = record?;
        if let Some(Ok(next)) = batch.peek() {
            engine.prefetch(next.database, next.effects);
        }
        if record.partition.index() >= routes.topology.placements.len() {
            return Err(Refused::Malformed);
        }
        if routes.route(record.partition).changed > epoch {
            return Err(Refused::Fenced(routes.epoch));
        }
        wait_for_room(replication, record.effects.len()).await;
        let received = engine
            .receive(
                actor,
                record.end,
                record.version,
                record.partition,
                record.database,
                record.effects,
            )
            .map_err(|_| Refused::Malformed)?;
        logged = logged.max(received.offset);
        if let Some(by) = received.superseded {
            superseded.push(Superseded {
                start: record.start,
                end: record.end,
                version: by.version,
            });
        }
    }
    if logged > LogOffset::ZERO {
        engine.log().wait_until_acknowledged(logged).await;
    }
    engine.note_received(actor, end);
    Ok(wire::acknowledgement(end, &superseded))
}

/// Waits until the log can take a record of a peer. It waits as long as the disk is full: the peer's window fills.
pub(super) async fn wait_for_room(replication: &Replication, bytes: usize) {
    let log = replication.engine.log();
    let bytes = Effect::encoded_bytes_max(0, bytes);
    while let Err(reason) = log.room(bytes) {
        log.wait_for_room(bytes).await;
        if !matches!(reason, NoRoom::Preparing) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
