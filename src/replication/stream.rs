//! Sends this node's log to one peer: the records this node coordinated, of partitions the peer holds.
//!
//! The log itself is the queue. A peer that is slow or away costs no memory: its place in the log stays behind, and
//! the log is kept for it as far as `hint-log-size` allows. When it comes back it says how far it has followed, and
//! the stream goes on from there: that is all a hint is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::{Actor, Epoch};
use smallvec::SmallVec;

use super::Replication;
use super::hints::Skip;
use super::peers::Peer;
use super::wire::{self, Reader, SentRecord};
use crate::engine;
use crate::transport::{CallError, Link, SendError, Service};
use crate::wal::{Durability, Log, LogOffset, Record, TailError};

/// A batch is sent when it has grown to this.
const BATCH_BYTES: usize = 128 * 1024;
/// Records under way that the peer has not acknowledged, in bytes: its memory is bounded by this.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// How often it is looked whether this node has a new actor.
const LOST_LOG_PAUSE: Duration = Duration::from_millis(200);
/// A stream that ended is begun again after this; a broken link has its own back-off.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Why a stream has to begin again.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the link broke")]
    Link,
    #[error("the peer is of a later epoch")]
    Fenced,
    #[error("the peer knows more of this node's log than there is")]
    Lost,
    #[error("the log has stopped")]
    Stopped,
    #[error("the peer answered {0}")]
    Answer(#[from] wire::Malformed),
    #[error(transparent)]
    Tail(#[from] TailError),
}

impl From<CallError> for Ended {
    fn from(_: CallError) -> Self {
        Ended::Link
    }
}

/// Follows the log for a peer, for as long as the process lives.
pub async fn run(replication: Arc<Replication>, peer: Arc<Peer>) {
    loop {
        if let Some(epoch) = peer.fence() {
            replication.reached(epoch).await;
            peer.lift_fence(epoch);
        }
        let changed = peer.changed();
        match peer.link().filter(|link| link.is_up()) {
            None => changed.await,
            Some(link) => {
                let Err(ended) = Stream::open(&replication, &peer, link).await;
                tracing::debug!(peer = %peer.id, reason = %ended, "log stream ended");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// How far the log may be sent. With `always` only what is on the disk: a node that is killed must not find that its
/// peers know more of its log than it does.
fn sendable(log: &Log) -> LogOffset {
    match log.durability() {
        Durability::Always => log.durable(),
        Durability::Everysec | Durability::Os => log.appended(),
    }
}

/// Waits until more than this may be sent; `false` if the log has stopped.
async fn grown(log: &Log, limit: LogOffset) -> bool {
    match log.durability() {
        Durability::Always => {
            let mut durable = log.durable_watch();
            durable.wait_for(|durable| *durable > limit).await.is_ok()
        }
        Durability::Everysec | Durability::Os => log.wait_for_growth(limit).await,
    }
}

struct Stream<'a> {
    replication: &'a Arc<Replication>,
    peer: &'a Arc<Peer>,
    link: Arc<Link>,
    actor: Actor,
    skip: Option<Skip>,
    /// Ends and sizes of batches that are not acknowledged.
    in_flight: VecDeque<(LogOffset, usize)>,
    in_flight_bytes: usize,
}

impl<'a> Stream<'a> {
    async fn open(
        replication: &'a Arc<Replication>,
        peer: &'a Arc<Peer>,
        link: Arc<Link>,
    ) -> Result<std::convert::Infallible, Ended> {
        let Some(actor) = replication.actor() else {
            peer.changed().await;
            return Err(Ended::Link);
        };
        // Before the question: with it the peer learns that it may have missed something.
        let skip = replication.skip_for(peer);
        let log = replication.engine.log();
        let answer = link.call(Service::Records, &actor.0.to_le_bytes()).await?;
        let mut answer = Reader::new(&answer);
        let (position, following) = (answer.offset()?, answer.u64()?);
        peer.set_followed(following, log.appended());
        let told = log.started_at().max(peer.acknowledged()).max(peer.sent());
        if position > told {
            // It has records that this node lost with the end of its log. New ones at the same places would pass for
            // those, so nothing is sent before this node has another actor.
            peer.open_gap();
            replication.log_lost.notify_one();
            tokio::time::sleep(LOST_LOG_PAUSE).await;
            return Err(Ended::Lost);
        }
        // What it has not acknowledged is sent once more, since it may have had something to say about it.
        let position = match peer.acknowledged() {
            LogOffset::ZERO => position,
            acknowledged => position.min(acknowledged),
        };
        peer.resume_at(position);
        replication.waiters.marks_moved();
        let mut stream = Stream {
            replication,
            peer,
            link,
            actor,
            skip,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        };
        // What it does not need may be gone.
        stream.follow(peer.after_passed(position)).await
    }

    async fn follow(&mut self, position: LogOffset) -> Result<std::convert::Infallible, Ended> {
        let log = self.replication.engine.log().clone();
        let mut reader = match log.tail(position) {
            Ok(reader) => reader,
            Err(error) => {
                // What is gone from the log is left to anti-entropy, as is what the peer has of a log that this node
                // lost the end of.
                self.peer.open_gap();
                tracing::warn!(peer = %self.peer.id, %error, "it can't follow the log from where it is: comparing all data");
                log.tail(log.oldest())?
            }
        };
        loop {
            let changed = self.peer.changed();
            self.forget_acknowledged();
            // What it was not sent does not concern it.
            if self.in_flight.is_empty() && self.peer.acknowledge(reader.position()) {
                self.replication.waiters.marks_moved();
            }
            if !self.link.is_up() || self.replication.actor() != Some(self.actor) {
                return Err(Ended::Link);
            }
            if self.peer.fence().is_some() {
                return Err(Ended::Fenced);
            }
            let limit = sendable(&log);
            if self.in_flight_bytes > WINDOW_BYTES {
                changed.await;
            } else if reader.position() < limit {
                self.send_batch(&mut reader, limit).await?;
            } else {
                tokio::select! {
                    grown = grown(&log, limit) => if !grown {
                        return Err(Ended::Stopped);
                    },
                    () = changed => {}
                }
            }
        }
    }

    fn forget_acknowledged(&mut self) {
        let seen = self.peer.seen();
        while let Some(&(end, bytes)) = self.in_flight.front()
            && end <= seen
        {
            self.in_flight.pop_front();
            self.in_flight_bytes -= bytes;
        }
    }

    /// Sends what there is up to `limit`, or a batch of it.
    async fn send_batch(
        &mut self,
        reader: &mut crate::wal::TailReader,
        limit: LogOffset,
    ) -> Result<(), Ended> {
        // Loaded after the limit: a record before it, of a partition that has just moved to the peer, was written
        // under routes as new as these, or newer.
        let routes = self.replication.routes();
        let mut batches: SmallVec<[Outgoing; 1]> = SmallVec::new();
        let mut bytes = 0;
        let bit = self.peer.bit();
        let end = reader.read(|record| {
            let is_concerned = record.kind == engine::COORDINATED
                && record.partition.index() < routes.topology.placements.len()
                && routes.route(record.partition).all_holders() & bit != 0;
            let is_skipped = is_concerned && self.skip.as_ref().is_some_and(|it| it.covers(record));
            if is_skipped {
                self.peer.skip(record.end());
            } else if is_concerned
                && let Some((actor, effects)) = engine::effects_of(record.kind, record.payload)
            {
                // Records of this node under an earlier actor are its own all the same.
                if batches.last().is_none_or(|batch| batch.actor != actor) {
                    batches.push(Outgoing::new(routes.epoch, actor));
                }
                if let Some(batch) = batches.last_mut() {
                    batch.add(record, effects);
                    // Those without a say in it are as safe there as that node is set to make them.
                    batch.synced |= routes.wants_sync(Durability::Os, record.database, effects);
                    bytes += record.payload.len();
                }
            }
            bytes < BATCH_BYTES && record.end() < limit
        })?;
        if let Some(last) = batches.last_mut() {
            last.end = end;
        }
        for batch in batches {
            self.send(batch).await?;
        }
        Ok(())
    }

    async fn send(&mut self, mut batch: Outgoing) -> Result<(), Ended> {
        wire::end_records(batch.end, &mut batch.body);
        self.peer.sending(batch.end);
        loop {
            let service = if batch.synced {
                Service::DurableRecords
            } else {
                Service::Records
            };
            match self.link.send(service, &batch.body) {
                Ok(()) => break,
                Err(SendError::Busy) => self.link.writable().await,
                Err(_) => return Err(Ended::Link),
            }
        }
        self.in_flight.push_back((batch.end, batch.body.len()));
        self.in_flight_bytes += batch.body.len();
        Ok(())
    }
}

/// A batch of records of one actor.
struct Outgoing {
    actor: Actor,
    end: LogOffset,
    /// Whether it has to be on the disk there before it is acknowledged.
    synced: bool,
    body: Vec<u8>,
}

impl Outgoing {
    fn new(epoch: Epoch, actor: Actor) -> Self {
        let mut body = Vec::with_capacity(4096);
        wire::begin_records(epoch, actor, &mut body);
        Outgoing {
            actor,
            end: LogOffset::ZERO,
            synced: false,
            body,
        }
    }

    fn add(&mut self, record: &Record<'_>, effects: &[u8]) {
        let sent = SentRecord {
            start: record.offset,
            end: record.end(),
            version: record.version,
            partition: record.partition,
            database: record.database,
            effects,
        };
        wire::put_record(&sent, &mut self.body);
        self.end = record.end();
    }
}
