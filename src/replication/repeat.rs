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
/// Repetitions that are remembered.
const REPEATED_MAX: usize = 65_536;
/// Who answers so soon after a write has been in touch with this node all the time, in milliseconds.
const IN_TOUCH_MS: u64 = 50;
/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A record of this node's log.
struct Own {
    partition: coterie_protocol::PartitionId,
    version: Version,
    database: coterie_protocol::DatabaseId,
    effects: Vec<u8>,
}

/// Records that were repeated.
#[derive(Default)]
pub(super) struct Repetitions {
    /// By where a record starts, where its repetition ends.
    ends: BTreeMap<LogOffset, LogOffset>,
    /// By where a repetition ends, where the record ends that a client waits for.
    roots: BTreeMap<LogOffset, LogOffset>,
}

impl Repetitions {
    /// Where the record ends that a client waits for, if this one was made for it.
    fn root_of(&self, end: LogOffset) -> LogOffset {
        self.roots.get(&end).copied().unwrap_or(end)
    }

    fn insert(&mut self, start: LogOffset, end: LogOffset, root: LogOffset) {
        self.ends.insert(start, end);
        self.roots.insert(end, root);
        for map in [&mut self.ends, &mut self.roots] {
            if map.len() > REPEATED_MAX {
                map.pop_first();
            }
        }
    }
}

/// A record of this node that a peer has something newer for.
struct Lost<'a> {
    superseded: &'a Superseded,
    record: Own,
    operation: Option<OperationId>,
    /// Where the record ends that a client waits for: this one, or the one this is a repetition of.
    root: LogOffset,
}

impl Lost<'_> {
    fn write(&self) -> Sent {
        (self.operation).map_or(Sent::Record(self.root), Sent::Operation)
    }
}

/// Whether a quorum without the peer that has something newer has a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// Someone may have it who can't be asked, and this node was away: others may have gone on from it meanwhile.
    Unknown,
}

impl Replication {
    /// Repeats records that a peer has something newer for.
    pub(super) async fn repeat(self: &Arc<Self>, peer: &Arc<Peer>, records: Vec<Superseded>) {
        let mut until = None;
        // So long all of them wait for who is not connected.
        let patience = Instant::now() + ANSWERED_WITHIN;
        for superseded in &records {
            until = until.max(self.repeat_one(peer, superseded, patience).await);
        }
        peer.release(until);
        peer.notify();
        self.waiters.marks_moved();
    }

    /// Returns what the peer has to acknowledge before the record counts, if that is repeated.
    async fn repeat_one(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        superseded: &Superseded,
        patience: Instant,
    ) -> Option<LogOffset> {
        let root = {
            let repetitions = self.repetitions.lock();
            if let Some(end) = repetitions.ends.get(&superseded.start) {
                return Some(*end);
            }
            repetitions.root_of(superseded.end)
        };
        let record = self.read_own(superseded.start)?;
        let lost = Lost {
            superseded,
            operation: engine::operation_of(record.database, &record.effects),
            root,
            record,
        };
        let is_wanted = self.wanted(&lost).is_some();
        if !is_wanted && lost.operation.is_none() {
            self.awaited.lose(lost.root);
            return None;
        }
        match self.held_without(peer, &lost, patience).await {
            Held::Yes => return None,
            Held::Unknown if lost.operation.is_none() => {
                self.awaited.lose(lost.root);
                return None;
            }
            Held::Unknown | Held::No => {}
        }
        if let Some(id) = lost.operation.filter(|_| !is_wanted) {
            // Should it be asked for once more, its effect is lost.
            let mut partition = self.engine.store().lock(lost.record.partition);
            partition.doubt_operation(id);
            return None;
        }
        self.fetch(peer, &lost.record).await;
        let bytes = lost.record.effects.len();
        loop {
            super::receive::wait_for_room(self, bytes).await;
            // Operations are known by what was made of them. Of others this is the last that is found out before.
            if lost.operation.is_none() && !self.is_followed(&lost, patience).await {
                self.awaited.lose(lost.root);
                return None;
            }
            if super::receive::has_room(self, bytes) {
                return self.repeat_once(peer, &lost);
            }
        }
    }

    fn age_ms(&self, record: &Own) -> u64 {
        let now_ms = self.clock.now_ms();
        now_ms.saturating_sub(record.version.millis())
    }

    /// What of a record is to be made anew. If no client waits, what is newer may have been written by whoever did, and
    /// told of, since.
    fn wanted(&self, lost: &Lost<'_>) -> Option<Repeat> {
        let record = &lost.record;
        let is_of_earlier_life = lost.superseded.start < self.engine.log().started_at();
        let age_ms = self.age_ms(record);
        // Nobody waits that long; what made it may have taken a while before anybody did.
        let age_max_ms =
            LATE_MAX.as_millis() as u64 + 2 * self.write_timeout_ms.load(Ordering::Relaxed);
        if is_of_earlier_life || age_ms > age_max_ms.min(OVER_FOR.as_millis() as u64) {
            return None;
        }
        match self.standing(lost.write()) {
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

    /// Repeats a record, unless that was done already for another peer. Returns what a peer has to acknowledge before
    /// the record counts.
    fn repeat_once(&self, peer: &Peer, lost: &Lost<'_>) -> Option<LogOffset> {
        let mut repetitions = self.repetitions.lock();
        let start = lost.superseded.start;
        if let Some(end) = repetitions.ends.get(&start) {
            return Some(*end);
        }
        let record = &lost.record;
        // Under the partition's lock, which may take a while to get.
        let mut decided = None;
        let decide = || {
            // If it was told since, a quorum has it.
            decided = self
                .wanted(lost)
                .filter(|_| !self.is_acknowledged_without(peer, lost));
            decided
        };
        let made = self.engine.repeat(
            record.partition,
            (record.database, &record.effects),
            record.version,
            lost.superseded.version,
            decide,
        );
        match made {
            Ok(Some(end)) => {
                repetitions.insert(start, end, lost.root);
                Some(end)
            }
            Ok(None) if decided.is_none() => {
                if !self.is_acknowledged_without(peer, lost) {
                    self.awaited.lose(lost.root);
                }
                None
            }
            // This node has changed all of it since, in records before here.
            Ok(None) => Some(self.engine.log().appended()),
            Err(error) => {
                tracing::error!(%error, "own record can't be repeated");
                None
            }
        }
    }

    /// Whether it is certain that nobody has written over what this node did, this record included, to go on without it:
    /// whoever does has a majority take in nothing more of this node's log before (`operations`). A majority, this node
    /// included, has followed the log without a break since before the record.
    async fn is_followed(self: &Arc<Self>, lost: &Lost<'_>, patience: Instant) -> bool {
        let routes = self.routes();
        let route = routes.route(lost.record.partition);
        let policy = routes.policy(lost.record.database);
        let quorums = route.write_quorums(&policy, Some(topology::Quorum::Majority));
        let start = lost.superseded.start;
        let mut asked = JoinSet::new();
        for peer in self.peers.all().iter().skip(1) {
            if peer.bit() & route.all_holders() != 0 {
                let (replication, peer) = (self.clone(), peer.clone());
                asked.spawn(async move {
                    let since = replication.is_followed_since(&peer, patience).await;
                    since.filter(|since| *since <= start).map(|_| peer.bit())
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

    /// Since where a peer has followed this node's log without a break; it is asked until it knows.
    async fn is_followed_since(&self, peer: &Peer, patience: Instant) -> Option<LogOffset> {
        let give_up = Instant::now() + ANSWERED_WITHIN;
        loop {
            let is_connected = peer.is_connected();
            if is_connected {
                let asked = tokio::time::timeout_at(give_up, ask_following(self, peer));
                if let Some(since) = asked.await.ok().flatten().and_then(|id| peer.followed(id)) {
                    return Some(since);
                }
            }
            if Instant::now() >= if is_connected { give_up } else { patience } {
                return None;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether a quorum without this peer has a record, or what it is a repetition of.
    fn is_acknowledged_without(&self, peer: &Peer, lost: &Lost<'_>) -> bool {
        let routes = self.routes();
        let route = routes.route(lost.record.partition);
        let policy = routes.policy(lost.record.database);
        // While the partition moves, of both sets.
        let quorums = route.write_quorums(&policy, Some(topology::Quorum::Majority));
        [lost.superseded.end, lost.root].into_iter().any(|offset| {
            let mut conditions = quorums.iter().map(|quorum| {
                let mut quorum = *quorum;
                quorum.members &= !peer.bit();
                Condition { quorum, offset }
            });
            conditions.all(|condition| self.waiters.is_met(&condition))
        })
    }

    /// The same, once all others have answered that can.
    async fn held_without(&self, peer: &Peer, lost: &Lost<'_>, patience: Instant) -> Held {
        let give_up = Instant::now() + ANSWERED_WITHIN;
        let end = lost.superseded.end;
        // Others may have gone on from it while this node was away, with someone who has it and can't say so now.
        let was_away = self.age_ms(&lost.record) > IN_TOUCH_MS;
        loop {
            if self.is_acknowledged_without(peer, lost) {
                return Held::Yes;
            }
            let routes = self.routes();
            let others = routes.route(lost.record.partition).all_holders() & !peer.bit();
            let (mut may_answer, mut may_have) = (false, false);
            for other in self.peers.all().iter().skip(1) {
                if other.bit() & others != 0 && other.seen() < end {
                    may_answer |= other.is_connected();
                    may_have |= was_away && other.sent() >= end;
                }
            }
            let now = Instant::now();
            let waits = may_answer && now < give_up || may_have && now < patience;
            if !waits {
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
