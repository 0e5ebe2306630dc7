//! Takes in the log streams of other nodes: merges their records, logs them, acknowledges.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use coterie_protocol::{Actor, Epoch, NodeId, PartitionId, Version};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Replication;
use super::barrier::Local;
use super::routes::Routes;
use super::wire::{self, ReceivedRecords, Superseded};
use crate::effect::Effect;
use crate::transport::{CallId, Inbound, Service};
use crate::wal::{LogOffset, NoRoom};

/// Batches of a peer that wait to be merged. Its window bounds their bytes; this, their number.
const QUEUED_BATCHES_MAX: usize = 4096;
/// Superseded records of a log that are remembered.
const SUPERSEDED_MAX: usize = 65_536;
/// Batches that wait for one sync at most.
const TAKEN_AT_ONCE: usize = 256;

/// Tasks that merge, one for each sender.
#[derive(Default)]
pub struct Receivers {
    senders: Mutex<HashMap<NodeId, Sender>>,
}

struct Sender {
    messages: mpsc::Sender<Message>,
    /// The connection that its log comes on. Batches of one before may still arrive after the question that began it:
    /// there could be a gap before them. None once some were refused: it begins again with such a question.
    current: Arc<ArcSwapOption<Inbound>>,
    following: Arc<Mutex<Option<Following>>>,
}

/// On which connection a log comes. None once its node was abandoned: with the next question begins another.
struct Following {
    from: Arc<Inbound>,
    /// What tells them apart.
    id: u64,
}

/// A node that was abandoned is not asked for more of its log before this, so that what was written over what it did
/// is here first.
const ABANDONED_FOR: Duration = Duration::from_millis(200);

/// How long records wait for the epoch that they were routed under.
const LEARNT_WITHIN: Duration = Duration::from_secs(1);

enum Message {
    /// "How far have you followed that log?"
    Position(Arc<Inbound>, CallId, Bytes),
    Records {
        from: Arc<Inbound>,
        /// Whether they are acknowledged only when they are on the disk.
        synced: bool,
        body: Bytes,
    },
    /// Nothing more is taken in of what the node has sent, until it asks for its position again.
    Abandon(oneshot::Sender<()>),
}

impl Receivers {
    /// Takes in what has arrived from a node, and nothing more until it asks for its position again.
    pub async fn abandon(&self, node: NodeId) {
        let sender = self.senders.lock().get(&node).map(|s| s.messages.clone());
        let Some(sender) = sender else { return };
        let (done, abandoned) = oneshot::channel();
        if sender.send(Message::Abandon(done)).await.is_ok() {
            // The task lives as long as the process.
            let _ = abandoned.await;
        }
    }

    /// Whether what a node writes comes here.
    pub fn hears(&self, node: NodeId) -> bool {
        let senders = self.senders.lock();
        let current = senders.get(&node).and_then(|s| s.current.load_full());
        current.is_some_and(|from| from.is_open())
    }

    /// As what the log of the node at the other end of a connection is followed; `None` if that has not asked for its
    /// position on it, or was abandoned since.
    pub fn following(&self, from: &Arc<Inbound>) -> Option<u64> {
        let following = self.senders.lock().get(&from.node())?.following.clone();
        let following = following.lock();
        let following = following.as_ref().filter(|it| Arc::ptr_eq(&it.from, from));
        following.map(|it| it.id)
    }

    /// A peer asks for its position. Answers after the batches that came before.
    pub fn asked(
        &self,
        replication: &Arc<Replication>,
        from: &Arc<Inbound>,
        call: CallId,
        body: Bytes,
    ) {
        self.pass(
            replication,
            from,
            Message::Position(from.clone(), call, body),
        );
    }

    /// A batch of a log stream. Handles those of one sender in order, without blocking the caller.
    pub fn received(
        &self,
        replication: &Arc<Replication>,
        from: &Arc<Inbound>,
        synced: bool,
        body: Bytes,
    ) {
        let records = Message::Records {
            from: from.clone(),
            synced,
            body,
        };
        self.pass(replication, from, records);
    }

    fn pass(&self, replication: &Arc<Replication>, from: &Arc<Inbound>, message: Message) {
        let mut senders = self.senders.lock();
        let sender = senders.entry(from.node()).or_insert_with(|| {
            let (messages, receiver) = mpsc::channel(QUEUED_BATCHES_MAX);
            let sender = Sender {
                messages,
                current: Arc::default(),
                following: Arc::default(),
            };
            tokio::spawn(Receiver::new(replication.clone(), &sender).run(receiver));
            sender
        });
        if sender.messages.try_send(message).is_err() {
            tracing::warn!(peer = %from.node(), "disconnected: it sends more than its window");
            from.close();
        }
    }
}

/// Takes in what one node sends.
struct Receiver {
    replication: Arc<Replication>,
    current: Arc<ArcSwapOption<Inbound>>,
    following: Arc<Mutex<Option<Following>>>,
    abandoned_until: Instant,
    judged: HashMap<Actor, Judged>,
    /// Batches that came together share a sync.
    taken: Vec<Taken>,
}

impl Receiver {
    fn new(replication: Arc<Replication>, sender: &Sender) -> Self {
        Receiver {
            replication,
            current: sender.current.clone(),
            following: sender.following.clone(),
            abandoned_until: Instant::now(),
            judged: HashMap::new(),
            taken: Vec::new(),
        }
    }

    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let message = if self.taken.is_empty() {
                messages.recv().await
            } else {
                let next = messages.try_recv().ok();
                if next.is_none() || self.taken.len() >= TAKEN_AT_ONCE {
                    self.acknowledge().await;
                }
                match next {
                    None => continue,
                    next => next,
                }
            };
            match message {
                None => return,
                Some(Message::Abandon(done)) => {
                    self.acknowledge().await;
                    self.current.store(None);
                    if let Some(following) = self.following.lock().take() {
                        following.from.close();
                    }
                    self.abandoned_until = Instant::now() + ABANDONED_FOR;
                    // Who asked may have given up.
                    let _ = done.send(());
                }
                Some(Message::Position(from, call, body)) => {
                    self.acknowledge().await;
                    self.tell_position(from, call, &body).await;
                }
                Some(Message::Records { from, synced, body }) => {
                    let current = self.current.load();
                    let is_current = (current.as_ref()).is_some_and(|at| Arc::ptr_eq(at, &from));
                    drop(current);
                    if is_current {
                        self.receive(&from, synced, &body).await;
                    }
                }
            }
        }
    }

    async fn tell_position(&mut self, from: Arc<Inbound>, call: CallId, body: &[u8]) {
        let replication = &self.replication;
        tokio::time::sleep_until(self.abandoned_until).await;
        self.current.store(Some(from.clone()));
        if replication.routes().has_unhinted()
            && let Some(peer) = replication.peers.find(from.node())
        {
            // It may have left out what it wrote before.
            replication.set_behind_with(&peer);
        }
        let Ok(actor) = wire::Reader::new(body).u16() else {
            from.close();
            return;
        };
        let mut following = self.following.lock();
        let id = following.as_ref().map_or_else(rand::random, |it| it.id);
        *following = Some(Following {
            from: from.clone(),
            id,
        });
        drop(following);
        let offset = replication.engine.received(Actor(actor));
        from.reply(call, &wire::position(offset, id));
    }

    async fn receive(&mut self, from: &Arc<Inbound>, synced: bool, body: &[u8]) {
        if self.replication.engine.log().room(body.len()).is_err() {
            // Room may take as long as the disk is full.
            self.acknowledge().await;
        }
        let mut taken = self.take_in(from, synced, body).await;
        if let Err(Refused::Unknown(epoch)) = taken {
            self.acknowledge().await;
            let reached = self.replication.reached(epoch);
            if tokio::time::timeout(LEARNT_WITHIN, reached).await.is_ok() {
                taken = self.take_in(from, synced, body).await;
            }
        }
        match taken {
            Ok(batch) => {
                self.taken.push(batch);
                let log = self.replication.engine.log();
                if (self.taken.iter()).all(|batch| batch.local.is_reached(log)) {
                    self.acknowledge().await;
                }
            }
            Err(Refused::Fenced(epoch)) => {
                self.acknowledge().await;
                self.current.store(None);
                from.push(Service::Records, &epoch.0.to_le_bytes());
            }
            Err(Refused::Unknown(epoch)) => {
                tracing::warn!(peer = %from.node(), %epoch, "its writes are not taken: it knows a later topology");
                self.current.store(None);
                // It asks for the position again.
                let own = self.replication.routes().epoch;
                from.push(Service::Records, &own.0.to_le_bytes());
            }
            Err(Refused::Malformed) => {
                tracing::error!(peer = %from.node(), "disconnected: it sent records that can't be read");
                self.current.store(None);
                from.close();
            }
        }
    }

    /// Acknowledges batches, in their order, once their records are as safe as they have to be. A later batch may be
    /// safe sooner, but an acknowledgement is one of all before it.
    async fn acknowledge(&mut self) {
        let engine = &self.replication.engine;
        let mut all = Local::default();
        for batch in &self.taken {
            all.stored = all.stored.max(batch.local.stored);
            all.synced = all.synced.max(batch.local.synced);
        }
        all.reached(engine.log()).await;
        for batch in self.taken.drain(..) {
            engine.note_received(batch.actor, batch.end);
            let acknowledgement = wire::acknowledgement(batch.end, &batch.superseded);
            batch.from.push(Service::Acknowledge, &acknowledgement);
        }
    }

    /// Merges and logs a batch.
    async fn take_in(
        &mut self,
        from: &Arc<Inbound>,
        synced: bool,
        body: &[u8],
    ) -> Result<Taken, Refused> {
        let replication = &self.replication;
        let batch = ReceivedRecords::new(body)?;
        let (actor, end, epoch) = (batch.actor, batch.end, batch.epoch);
        let engine = &replication.engine;
        let mut routes = replication.routes();
        if epoch > routes.epoch {
            return Err(Refused::Unknown(epoch));
        }
        let mut superseded = Vec::new();
        let mut local = Local::default();
        let own = replication.durability();
        let mut batch = batch.peekable();
        let judged = self.judged.entry(actor).or_default();
        while let Some(record) = batch.next() {
            let record = record?;
            if let Some(Ok(next)) = batch.peek() {
                engine.prefetch(next.database, next.effects);
            }
            if wait_for_room(replication, record.effects.len()).await {
                // That may have taken long.
                routes = replication.routes();
            }
            may_take(&routes, record.partition, epoch)?;
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
            let synced = synced || routes.wants_sync(own, record.database, record.effects);
            let mark = if synced {
                &mut local.synced
            } else {
                &mut local.stored
            };
            *mark = (*mark).max(Some(received.offset));
            let by = received.superseded.map(|by| by.version);
            if let Some(version) = judged.judge(record.start, record.end, by) {
                superseded.push(Superseded {
                    start: record.start,
                    end: record.end,
                    version,
                });
            }
        }
        Ok(Taken {
            from: from.clone(),
            actor,
            end,
            superseded,
            local,
        })
    }
}

/// Whether records of a partition that were routed under an epoch are taken in.
fn may_take(routes: &Routes, partition: PartitionId, epoch: Epoch) -> Result<(), Refused> {
    if partition.index() >= routes.topology.placements.len() {
        Err(Refused::Malformed)
    } else if routes.route(partition).changed > epoch {
        Err(Refused::Fenced(routes.epoch))
    } else {
        Ok(())
    }
}

/// A batch that is merged, and not acknowledged yet.
struct Taken {
    from: Arc<Inbound>,
    actor: Actor,
    end: LogOffset,
    superseded: Vec<Superseded>,
    /// What of the log has to be safe first.
    local: Local,
}

/// What was found of the records of a log when they came first. They come again if an acknowledgement was lost, and then
/// may have lost to something that was made of them: what contains them is not to have them made anew.
#[derive(Default)]
struct Judged {
    /// Up to here.
    end: LogOffset,
    /// What had lost already, by where it starts, and to what.
    superseded: BTreeMap<LogOffset, Version>,
}

impl Judged {
    /// What a record has lost to, which merging it now has found to be `by`.
    fn judge(&mut self, start: LogOffset, end: LogOffset, by: Option<Version>) -> Option<Version> {
        if end <= self.end {
            return self.superseded.get(&start).copied();
        }
        self.end = end;
        if let Some(by) = by {
            self.superseded.insert(start, by);
            if self.superseded.len() > SUPERSEDED_MAX {
                self.superseded.pop_first();
            }
        }
        by
    }
}

/// Why records are not taken in.
enum Refused {
    /// They were routed under an epoch that is over; this one is in force.
    Fenced(Epoch),
    /// They were routed under one that is not known here yet. By it a partition may be on its way here, and then begins
    /// with nothing: what is acknowledged before would be forgotten.
    Unknown(Epoch),
    Malformed,
}

impl From<wire::Malformed> for Refused {
    fn from(_: wire::Malformed) -> Self {
        Refused::Malformed
    }
}

/// Waits until the log can take a record of a peer. It waits as long as the disk is full: the peer's window fills.
/// Returns whether it waited at all.
pub(super) async fn wait_for_room(replication: &Replication, bytes: usize) -> bool {
    let log = replication.engine.log();
    let bytes = Effect::encoded_bytes_max(0, bytes);
    let mut has_waited = false;
    while let Err(reason) = log.room(bytes) {
        has_waited = true;
        log.wait_for_room(bytes).await;
        if !matches!(reason, NoRoom::Preparing) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    has_waited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_has_lost_only_if_it_had_the_first_time() {
        let mut judged = Judged::default();
        let at = LogOffset::from_u64;
        let by = Some(Version::from_bits(7));
        assert_eq!(judged.judge(at(10), at(20), None), None);
        assert_eq!(judged.judge(at(20), at(30), by), by);
        // Once more, when something newer is there for both.
        let later = Some(Version::from_bits(9));
        assert_eq!(judged.judge(at(10), at(20), later), None);
        assert_eq!(judged.judge(at(20), at(30), later), by);
        assert_eq!(judged.judge(at(30), at(40), later), later);
    }
}
