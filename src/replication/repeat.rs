//! Writes that met something newer at a replica: stamped anew past it, and sent again (I10).
//!
//! A write that reaches its quorum without that replica is left alone: what is newer came later, perhaps from someone
//! who had read it. Otherwise the coordinator fetches and merges the newer state, and makes the same effects again with a
//! later version, as a record of their own. Only when that is acknowledged does the first one count, so a client is
//! never told of a write that had already lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coterie_protocol::Version;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Replication;
use super::awaited::{OVER_FOR, Sent, Standing};
use super::barrier::Condition;
use super::peers::{NodeSet, OWN, Peer};
use super::sync::ask_following;
use super::waiters::LATE_MAX;
use super::wire::{self, DigestItem, Superseded};
use crate::effect::{Effects, OperationId};
use crate::engine::{self, Repeat};
use crate::topology;
use crate::transport::Service;
use crate::wal::LogOffset;

/// How long other replicas may take to answer before a write is repeated.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// So long after it has heard this node a peer takes it for live, and does not abandon it.
const HEARD_FOR: Duration = Duration::from_millis(50);
/// Records of each kind that are remembered.
const KEPT_MAX: usize = 65_536;

/// A record of this node's log.
struct Own {
    partition: coterie_protocol::PartitionId,
    version: Version,
    database: coterie_protocol::DatabaseId,
    effects: Vec<u8>,
}

/// What is known of records that have lost.
#[derive(Default)]
pub(super) struct Repetitions {
    /// By where a record ends, which peers have something newer.
    superseded_by: BTreeMap<LogOffset, NodeSet>,
    /// By where a record starts, where its repetition ends.
    ends: BTreeMap<LogOffset, LogOffset>,
    /// By where a repetition ends, the record that a client waits for.
    roots: BTreeMap<LogOffset, Root>,
}

/// A record that a client waits for, which may have been repeated.
#[derive(Clone, Copy)]
struct Root {
    end: LogOffset,
    version: Version,
}

impl Repetitions {
    fn supersede(&mut self, end: LogOffset, by: NodeSet) {
        *self.superseded_by.entry(end).or_default() |= by;
        if self.superseded_by.len() > KEPT_MAX {
            self.superseded_by.pop_first();
        }
    }

    fn repeated(&mut self, start: LogOffset, end: LogOffset) {
        self.ends.insert(start, end);
        if self.ends.len() > KEPT_MAX {
            self.ends.pop_first();
        }
    }

    fn insert(&mut self, start: LogOffset, end: LogOffset, root: Root) {
        self.repeated(start, end);
        self.roots.insert(end, root);
        if self.roots.len() > KEPT_MAX {
            self.roots.pop_first();
        }
    }
}

/// A record of this node that a peer has something newer for.
struct Lost<'a> {
    superseded: &'a Superseded,
    record: Own,
    operation: Option<OperationId>,
    root: Root,
}

impl Lost<'_> {
    /// What its client waits for.
    fn sent(&self) -> Sent {
        let record = Sent::Record(self.root.end);
        self.operation.map_or(record, Sent::Operation)
    }
}

/// What becomes of it.
enum Fate {
    /// A quorum without that peer has it: what is newer came later.
    Counts,
    /// It is made anew. That peer has to acknowledge what ends there.
    Repeated(LogOffset),
    /// It stays lost: nobody may be told that it is written.
    Left,
}

/// Whether a quorum without the peer that has something newer has a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// Someone may have it, and have passed it on, who does not say so.
    Unknown,
}

/// How long the records of one acknowledgement wait for nodes that do not answer: none of that peer counts meanwhile.
struct Patience {
    began: Instant,
    /// One of them has waited in vain.
    is_over: bool,
}

impl Patience {
    fn give_up(&self, is_connected: bool) -> Instant {
        match (is_connected, self.is_over) {
            (true, false) => Instant::now() + ANSWERED_WITHIN,
            _ => self.began + ANSWERED_WITHIN,
        }
    }
}

impl Replication {
    /// A peer has something newer for records.
    pub(super) fn superseded(self: &Arc<Self>, peer: &Arc<Peer>, records: Vec<Superseded>) {
        let mut repetitions = self.repetitions.lock();
        for superseded in &records {
            repetitions.supersede(superseded.end, peer.bit());
        }
        drop(repetitions);
        // Not acknowledged by this peer before what repeats them is.
        peer.hold();
        let (replication, peer) = (self.clone(), peer.clone());
        tokio::spawn(async move { replication.repeat(&peer, records).await });
    }

    async fn repeat(self: &Arc<Self>, peer: &Arc<Peer>, records: Vec<Superseded>) {
        let mut until = None;
        let mut patience = Patience {
            began: Instant::now(),
            is_over: false,
        };
        for superseded in &records {
            let Some(record) = self.read_own(superseded.start) else {
                continue;
            };
            let root = self.repetitions.lock().roots.get(&superseded.end).copied();
            let lost = Lost {
                superseded,
                operation: engine::operation_of(record.database, &record.effects),
                root: root.unwrap_or(Root {
                    end: superseded.end,
                    version: record.version,
                }),
                record,
            };
            match self.fate(peer, &lost, &mut patience).await {
                Fate::Counts => {}
                Fate::Repeated(end) => until = until.max(Some(end)),
                Fate::Left => {
                    self.awaited.lose(lost.sent(), lost.root.end);
                    if let Some(id) = lost.operation {
                        // Should it be asked for once more, its effect is lost.
                        let mut partition = self.engine.store().lock(lost.record.partition);
                        partition.doubt_operation(id);
                    }
                }
            }
        }
        peer.release(until);
        peer.notify();
        self.waiters.marks_moved();
    }

    async fn fate(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        lost: &Lost<'_>,
        patience: &mut Patience,
    ) -> Fate {
        let repeated = |it: &Repetitions| it.ends.get(&lost.superseded.start).copied();
        if let Some(end) = repeated(&self.repetitions.lock()) {
            // For another peer.
            return Fate::Repeated(end);
        }
        let is_wanted = self.wanted(lost).is_some();
        if !is_wanted && lost.operation.is_none() {
            return Fate::Left;
        }
        match self.held_without(peer, lost, patience).await {
            Held::Yes => return Fate::Counts,
            Held::No if is_wanted => {}
            Held::No | Held::Unknown => return Fate::Left,
        }
        let give_up = Instant::now() + ANSWERED_WITHIN;
        loop {
            let asked = Instant::now();
            let followed = self.is_followed(lost, patience);
            let (is_followed, ()) = tokio::join!(followed, self.fetch(peer, &lost.record));
            if !is_followed {
                patience.is_over = true;
                return Fate::Left;
            }
            let bytes = lost.record.effects.len();
            let has_waited = super::receive::wait_for_room(self, bytes).await;
            if !has_waited && let Some(fate) = self.repeat_once(peer, lost, asked) {
                return fate;
            }
            if Instant::now() >= give_up {
                return Fate::Left;
            }
        }
    }

    /// What of a record is to be made anew. If no client waits, what is newer may have been written by whoever did, and
    /// told of, since.
    fn wanted(&self, lost: &Lost<'_>) -> Option<Repeat> {
        let record = &lost.record;
        let is_of_earlier_life = lost.superseded.start < self.engine.log().started_at();
        let age_ms = (self.clock.now_ms()).saturating_sub(lost.root.version.millis());
        // Nobody waits that long; what made it may have taken a while before anybody did.
        let age_max_ms =
            LATE_MAX.as_millis() as u64 + 2 * self.write_timeout_ms.load(Ordering::Relaxed);
        if is_of_earlier_life || age_ms > age_max_ms.min(OVER_FOR.as_millis() as u64) {
            return None;
        }
        match self.standing(lost.sent()) {
            Standing::Awaited => Some(Repeat::Everything),
            // Nobody can tell what was acknowledged before: what has the later stamp stays.
            Standing::Told => {
                let mut effects = Effects::new(record.database, &record.effects).flatten();
                let adds = effects.any(|(_, effect)| effect.is_addition());
                adds.then_some(Repeat::Additions)
            }
            Standing::Left => None,
        }
    }

    /// Repeats a record, unless that was done already for another peer. `None` if it was `asked` too long ago whether
    /// the node is followed.
    fn repeat_once(&self, peer: &Peer, lost: &Lost<'_>, asked: Instant) -> Option<Fate> {
        let mut repetitions = self.repetitions.lock();
        let start = lost.superseded.start;
        if let Some(end) = repetitions.ends.get(&start) {
            return Some(Fate::Repeated(*end));
        }
        let superseded_by = &repetitions.superseded_by;
        let record = &lost.record;
        let mut fate = None;
        // Under the partition's lock, which may take a while to get.
        let decide = || {
            if asked.elapsed() > HEARD_FOR {
                return None;
            }
            let wanted = self.wanted(lost);
            fate = Some(if self.holds_without(peer, lost, superseded_by) {
                // It may have been told since.
                Fate::Counts
            } else if wanted.is_some() {
                // Unless there is something to repeat, this node has changed all of it since, in records before here.
                Fate::Repeated(self.engine.log().appended())
            } else {
                Fate::Left
            });
            wanted.filter(|_| matches!(fate, Some(Fate::Repeated(_))))
        };
        let made = self.engine.repeat(
            record.partition,
            (record.database, &record.effects),
            record.version,
            lost.superseded.version,
            decide,
        );
        match made {
            Ok(None) => {
                if let Some(Fate::Repeated(end)) = fate {
                    // Nor for another peer: its client may be told soon.
                    repetitions.repeated(start, end);
                }
                fate
            }
            Ok(Some(end)) => {
                repetitions.insert(start, end, lost.root);
                Some(Fate::Repeated(end))
            }
            Err(error) => {
                tracing::error!(%error, "own record can't be repeated");
                Some(Fate::Left)
            }
        }
    }

    /// Whether it is certain that nobody has written over what this node did, this record included, to go on without it:
    /// whoever does has a majority take in nothing more of this node's log before (`operations`). A majority, this node
    /// included, has not done so since before the record.
    async fn is_followed(self: &Arc<Self>, lost: &Lost<'_>, patience: &Patience) -> bool {
        let routes = self.routes();
        let route = routes.route(lost.record.partition);
        let policy = routes.policy(lost.record.database);
        let quorums = route.write_quorums(&policy, Some(topology::Quorum::Majority));
        let start = lost.superseded.start;
        let mut asked = JoinSet::new();
        for peer in self.peers.all().iter().skip(1) {
            if peer.bit() & route.all_holders() != 0 {
                let give_up = patience.give_up(peer.is_connected());
                let (replication, peer) = (self.clone(), peer.clone());
                asked.spawn(async move {
                    let asking = replication.is_followed_since(&peer);
                    let since = tokio::time::timeout_at(give_up, asking).await;
                    since.is_ok_and(|since| since <= start).then(|| peer.bit())
                });
            }
        }
        let mut followers = OWN;
        let is_enough = |followers: NodeSet| {
            let mut all = quorums.iter();
            all.all(|it| (it.members & followers).count_ones() >= u32::from(it.need))
        };
        while !is_enough(followers) {
            match asked.join_next().await {
                Some(answer) => followers |= answer.ok().flatten().unwrap_or_default(),
                None => return false,
            }
        }
        true
    }

    /// Since where in this node's log a peer has not abandoned it; the peer is asked until it can tell.
    async fn is_followed_since(&self, peer: &Peer) -> LogOffset {
        loop {
            if peer.is_connected() {
                let number = ask_following(self, peer).await;
                if let Some(since) = number.and_then(|number| peer.followed(number)) {
                    return since;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether a quorum without this peer has a record, or what it is a repetition of.
    fn holds_without(
        &self,
        peer: &Peer,
        lost: &Lost<'_>,
        superseded_by: &BTreeMap<LogOffset, NodeSet>,
    ) -> bool {
        let routes = self.routes();
        let route = routes.route(lost.record.partition);
        let policy = routes.policy(lost.record.database);
        // While the partition moves, of both sets.
        let mut quorums = route.write_quorums(&policy, Some(topology::Quorum::Majority));
        quorums
            .iter_mut()
            .for_each(|quorum| quorum.members &= !peer.bit());
        [lost.superseded.end, lost.root.end]
            .into_iter()
            .any(|offset| {
                // Of others that have taken it in, acknowledgements may be held back for other records.
                let losers = superseded_by.get(&offset).copied().unwrap_or_default();
                let mut holders = 0;
                for other in self.peers.all().iter().skip(1) {
                    let has_it = other.bit() & losers == 0 && other.seen() >= offset;
                    if has_it && offset > other.skipped() {
                        holders |= other.bit();
                    }
                }
                quorums.iter().all(|quorum| {
                    let has = (quorum.members & (holders | OWN)).count_ones();
                    let condition = Condition {
                        quorum: *quorum,
                        offset,
                    };
                    has >= u32::from(quorum.needed(&self.peers)) || self.waiters.is_met(&condition)
                })
            })
    }

    /// The same, once all others have answered that can.
    async fn held_without(&self, peer: &Peer, lost: &Lost<'_>, patience: &mut Patience) -> Held {
        let give_up = patience.give_up(true);
        let end = lost.superseded.end;
        loop {
            if self.holds_without(peer, lost, &self.repetitions.lock().superseded_by) {
                return Held::Yes;
            }
            let routes = self.routes();
            let others = routes.route(lost.record.partition).all_holders() & !peer.bit();
            let (mut may_answer, mut may_have) = (false, false);
            for other in self.peers.all().iter().skip(1) {
                if other.bit() & others != 0 && other.seen() < end {
                    may_answer |= other.is_connected();
                    may_have |= other.may_have(end);
                }
            }
            let now = Instant::now();
            let waits = may_answer && now < give_up || may_have && now < patience.give_up(false);
            if !waits {
                patience.is_over |= may_answer;
                return if may_have { Held::Unknown } else { Held::No };
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn read_own(&self, start: LogOffset) -> Option<Own> {
        let actor = self.actor()?;
        let mut reader = self.engine.log().tail(start).ok()?;
        let mut found = None;
        let read = reader.read(|record| {
            if record.offset == start && record.kind == engine::COORDINATED {
                found = engine::coordinated_by(record.payload, actor).map(|effects| Own {
                    partition: record.partition,
                    version: record.version,
                    database: record.database,
                    effects: effects.to_vec(),
                });
            }
            false
        });
        read.ok().and(found)
    }

    /// Fetches what a peer knows of the keys of a record.
    async fn fetch(&self, peer: &Peer, record: &Own) {
        let mut body = self.routes().epoch.0.to_le_bytes().to_vec();
        {
            let partition = self.engine.store().lock(record.partition);
            for (database, effect) in Effects::new(record.database, &record.effects).flatten() {
                if let Some(key) = effect.key() {
                    let item = DigestItem {
                        partition: record.partition,
                        database,
                        digest: partition.digest(database, key),
                        key,
                    };
                    wire::put_digest(&item, &mut body);
                }
            }
        }
        let Some(link) = peer.link() else { return };
        // Without an answer the effects are repeated on what is known: they are past the newer version all the same.
        if let Ok(answer) = link.call(Service::Digests, &body).await
            && let Ok(differences) = wire::read_differences(answer.get(1..).unwrap_or_default())
        {
            for (_, state) in differences {
                self.merge(record.partition, state).await;
            }
        }
    }
}
