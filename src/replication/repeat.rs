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
use super::awaited::Sent;
use super::barrier::Condition;
use super::peers::{NodeSet, OWN, Peer};
use super::sync::ask_since;
use super::waiters::LATE_MAX;
use super::wire::{self, DigestItem, Superseded};
use crate::effect::Effects;
use crate::engine;
use crate::topology;
use crate::transport::Service;
use crate::wal::LogOffset;

/// How long other replicas may take to answer before a write is repeated.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// Repetitions that are remembered.
const REPEATED_MAX: usize = 65_536;
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

impl Replication {
    /// Repeats records that a peer has something newer for.
    pub(super) async fn repeat(self: &Arc<Self>, peer: &Arc<Peer>, records: Vec<Superseded>) {
        let mut until = None;
        for superseded in records {
            until = until.max(self.repeat_one(peer, &superseded).await);
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
    ) -> Option<LogOffset> {
        let record = self.read_own(superseded.start)?;
        let operation = engine::operation_of(record.database, &record.effects);
        let root = self.repetitions.lock().root_of(superseded.end);
        let write = operation.map_or(Sent::Record(root), Sent::Operation);
        // What is not: its origin has it executed by somebody else, or its client has gone on, and it has lost to that.
        let is_awaited =
            self.may_be_awaited(&record, superseded) && self.if_awaited(write, || ()).is_some();
        if !is_awaited && operation.is_none() {
            return None;
        }
        if self.is_held_without(peer, &record, superseded.end).await {
            return None;
        }
        if let Some(id) = operation.filter(|_| !is_awaited) {
            // Should it be asked for once more, its effect is lost.
            let mut partition = self.engine.store().lock(record.partition);
            partition.doubt_operation(id);
            return None;
        }
        let followed = self.is_followed(&record, superseded.start);
        let (is_followed, ()) = tokio::join!(followed, self.fetch(peer, &record));
        // Operations are known by what was made of them.
        if operation.is_none() && !is_followed {
            self.awaited.lose(root);
            return None;
        }
        super::receive::wait_for_room(self, record.effects.len()).await;
        self.if_awaited(write, || self.repeat_once(&record, superseded, root))?
    }

    /// Whether a client may still be told of what a record did. If none is, the record has lost: what is newer may have
    /// been written by whoever waited for it, and told of, since.
    fn may_be_awaited(&self, record: &Own, superseded: &Superseded) -> bool {
        let routes = self.routes();
        let policy = routes.policy(record.database);
        let is_of_earlier_life = superseded.start < self.engine.log().started_at();
        let age_ms = self.clock.now_ms().saturating_sub(record.version.millis());
        // Nobody waits that long; what made it may have taken a while before anybody did.
        let age_max_ms =
            LATE_MAX.as_millis() as u64 + 2 * self.write_timeout_ms.load(Ordering::Relaxed);
        // With less than majorities nobody can tell what was acknowledged before: what has the later stamp stays.
        let route = routes.route(record.partition);
        route.meets_majorities(&policy, None) && !is_of_earlier_life && age_ms <= age_max_ms
    }

    /// Repeats a record, unless that was done already for another peer. Returns what a peer has to acknowledge before
    /// the record counts.
    fn repeat_once(
        &self,
        record: &Own,
        superseded: &Superseded,
        root: LogOffset,
    ) -> Option<LogOffset> {
        let mut repetitions = self.repetitions.lock();
        if let Some(end) = repetitions.ends.get(&superseded.start) {
            return Some(*end);
        }
        let made = self.engine.repeat(
            record.partition,
            record.database,
            record.version,
            &record.effects,
            superseded.version,
        );
        match made {
            Ok(end) => {
                // Without an end this node has changed all of it since, in records before here.
                let end = end.unwrap_or_else(|| self.engine.log().appended());
                repetitions.insert(superseded.start, end, root);
                Some(end)
            }
            Err(error) => {
                tracing::error!(%error, "own record can't be repeated");
                None
            }
        }
    }

    /// Whether it is certain that nobody has written over what this node did, a record included, to go on without it:
    /// whoever does has a majority take in nothing more of this node's log before (`operations`). None of another
    /// majority has, since the record was made.
    async fn is_followed(self: &Arc<Self>, record: &Own, start: LogOffset) -> bool {
        let give_up = Instant::now() + ANSWERED_WITHIN;
        let routes = self.routes();
        let route = routes.route(record.partition);
        let policy = routes.policy(record.database);
        let quorums = route.write_quorums(&policy, Some(topology::Quorum::Majority));
        let mut asked = JoinSet::new();
        for peer in self.peers.all().iter().skip(1) {
            if peer.bit() & route.all_holders() != 0 {
                let (replication, peer) = (self.clone(), peer.clone());
                asked.spawn(async move {
                    let since = replication.is_followed_since(&peer, give_up).await;
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

    /// Since where a peer has followed this node's log without a break, asked until it knows.
    async fn is_followed_since(&self, peer: &Peer, give_up: Instant) -> Option<LogOffset> {
        let asking = async {
            loop {
                if peer.is_connected()
                    && let Some(since) = ask_since(self, peer).await
                {
                    return since;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout_at(give_up, asking).await.ok()
    }

    /// Whether a quorum without this peer has a record, once all others have answered that can.
    async fn is_held_without(&self, peer: &Peer, record: &Own, end: LogOffset) -> bool {
        let give_up = Instant::now() + ANSWERED_WITHIN;
        loop {
            let routes = self.routes();
            let route = routes.route(record.partition);
            let holders = route.all_holders();
            let others = holders & !peer.bit();
            // While the partition moves, of both sets.
            let policy = routes.policy(record.database);
            let quorums = route.write_quorums(&policy, Some(topology::Quorum::Majority));
            let mut conditions = quorums.into_iter().map(|mut quorum| {
                quorum.members &= others;
                let offset = end;
                Condition { quorum, offset }
            });
            if conditions.all(|condition| self.waiters.is_met(&condition)) {
                return true;
            }
            let peers = self.peers.all();
            let may_answer = peers.iter().skip(1).any(|other| {
                other.bit() & others != 0 && other.is_connected() && other.seen() < end
            });
            if !may_answer || Instant::now() >= give_up {
                return false;
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
