//! Quorum reads: what was read here is compared, by digest, with what other replicas know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coterie_protocol::{DatabaseId, Epoch, PartitionId};
use smallvec::SmallVec;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::Replication;
use super::barrier::Quorum;
use super::peers::{OWN, Peer};
use super::waiters::TimedOut;
use super::wire::{self, DigestItem};
use crate::transport::{CallError, Service};
use crate::wal::{Durability, LogOffset};

/// A replica that has not answered after this long is not waited for alone: another one is asked too.
const HEDGE_AFTER: Duration = Duration::from_millis(15);

/// A key that was read, and what this node knew of it then.
#[derive(Clone, Debug)]
pub struct ReadKey {
    /// Its partition.
    pub partition: PartitionId,
    /// Its database.
    pub database: DatabaseId,
    /// Its name.
    pub key: Vec<u8>,
    /// Digest of its state.
    pub digest: u64,
    /// Who must agree, this node included.
    pub quorum: Quorum,
}

/// First byte of an answer that is followed by differences.
const ANSWERED: u8 = 0;
/// First byte, and all, of an answer that says nothing.
pub(super) const REFUSED: u8 = 1;

fn is_answer(answer: &Bytes) -> bool {
    answer.first() == Some(&ANSWERED)
}

/// A replica's answer.
type Answer = Result<Bytes, CallError>;

impl Replication {
    /// Compares keys with as many other replicas as their quorums need. The states of those that differ are merged
    /// into this node's. Returns the numbers of the keys that differed, in order.
    ///
    /// # Errors
    /// Too few replicas answered by the deadline.
    pub async fn verify(
        &self,
        keys: &[ReadKey],
        deadline: Instant,
    ) -> Result<Vec<usize>, TimedOut> {
        let mut quorums: SmallVec<[Quorum; 2]> = SmallVec::new();
        for key in keys {
            if !quorums.contains(&key.quorum) {
                quorums.push(key.quorum);
            }
        }
        let mut differing = Vec::new();
        for quorum in quorums {
            let members = keys
                .iter()
                .enumerate()
                .filter(|(_, key)| key.quorum == quorum);
            let numbers: Vec<usize> = members.clone().map(|(number, _)| number).collect();
            let mut body = self.routes().epoch.0.to_le_bytes().to_vec();
            for (_, key) in members {
                let item = DigestItem {
                    partition: key.partition,
                    database: key.database,
                    digest: key.digest,
                    key: &key.key,
                };
                wire::put_digest(&item, &mut body);
            }
            for answer in self.ask(quorum, body, deadline).await? {
                let differences = answer.get(1..).unwrap_or_default();
                for (number, state) in wire::read_differences(differences).map_err(|_| TimedOut)? {
                    let Some(&number) = numbers.get(number as usize) else {
                        continue;
                    };
                    self.merge(keys[number].partition, state).await;
                    differing.push(number);
                }
            }
        }
        differing.sort_unstable();
        differing.dedup();
        Ok(differing)
    }

    /// Merges the state of keys, as a replica knows it.
    pub(super) async fn merge(&self, partition: PartitionId, state: &[u8]) {
        if state.is_empty() {
            return;
        }
        super::receive::wait_for_room(self, state.len()).await;
        if let Err(error) = self.engine.merge_state(partition, state) {
            tracing::error!(%partition, %error, "state from a replica can't be read");
        }
    }

    /// Asks as many members of a quorum as it needs besides this node, the first live ones first.
    async fn ask(
        &self,
        quorum: Quorum,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, TimedOut> {
        let need = self.others_needed(&quorum);
        if need == 0 {
            return Ok(Vec::new());
        }
        let mut candidates: Vec<Arc<Peer>> = self
            .peers
            .all()
            .iter()
            .filter(|peer| peer.index != 0 && peer.bit() & quorum.members != 0)
            .cloned()
            .collect();
        candidates.sort_by_key(|peer| !peer.is_live());
        // The usual case spares a task.
        if need == 1
            && let Some(link) = candidates.first().and_then(|peer| peer.link())
            && let Ok(Ok(answer)) = timeout(HEDGE_AFTER, link.call(Service::Digests, &body)).await
            && is_answer(&answer)
        {
            return Ok(vec![answer]);
        }
        self.ask_many(&quorum, candidates, body, deadline).await
    }

    /// How many replicas besides this node have to answer, as things are.
    fn others_needed(&self, quorum: &Quorum) -> usize {
        let own = u8::from(quorum.members & OWN != 0);
        quorum.needed(&self.peers).saturating_sub(own).into()
    }

    async fn ask_many(
        &self,
        quorum: &Quorum,
        candidates: Vec<Arc<Peer>>,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, TimedOut> {
        let (sender, mut answers) = mpsc::channel::<Answer>(candidates.len().max(1));
        let body = Arc::new(body);
        let all = candidates.len();
        let mut candidates = candidates.into_iter();
        let mut ask_next = |count: usize| {
            for peer in candidates.by_ref().take(count) {
                let (sender, body) = (sender.clone(), body.clone());
                self.transport.runtime().spawn(async move {
                    let answer = match peer.link() {
                        Some(link) => link.call(Service::Digests, &body).await,
                        None => Err(CallError::Broken),
                    };
                    // Nobody may want it any more.
                    let _ = sender.send(answer).await;
                });
            }
        };
        ask_next(self.others_needed(quorum));
        let mut have = Vec::new();
        let mut failed = 0;
        // Fewer are needed when one dies meanwhile, where the policy says so.
        while have.len() < self.others_needed(quorum) {
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(Ok(answer)) if is_answer(&answer) => have.push(answer),
                    _ => {
                        failed += 1;
                        ask_next(1);
                        if failed + self.others_needed(quorum) > all {
                            // Not enough are left.
                            return Err(TimedOut);
                        }
                    }
                },
                () = sleep(HEDGE_AFTER) => ask_next(1),
                () = tokio::time::sleep_until(deadline) => return Err(TimedOut),
            }
        }
        Ok(have)
    }

    /// Answers another node's comparison: the states of keys that differ here.
    ///
    /// # Errors
    /// The body is none; or the keys are of partitions that are not here, or have moved since the asker looked: what is
    /// known of them here says nothing (I9).
    pub fn answer_digests(&self, body: &[u8]) -> Result<Compared, wire::Malformed> {
        let (epoch, body) = body.split_first_chunk().ok_or(wire::Malformed)?;
        let epoch = Epoch(u64::from_le_bytes(*epoch));
        let routes = self.routes();
        let items = wire::read_digests(body)?;
        let store = self.engine.store();
        let count = usize::from(store.layout().count());
        let mut out = vec![ANSWERED];
        let durability = self.engine.log().durability();
        let mut synced = false;
        for (number, item) in items.iter().enumerate() {
            if item.partition.index() >= count || store.partition_of(item.key) != item.partition {
                return Err(wire::Malformed);
            }
            let route = routes.route(item.partition);
            if route.changed > epoch || route.all_holders() & OWN == 0 {
                return Err(wire::Malformed);
            }
            let own = routes.policy(item.database).durability;
            synced |= own.unwrap_or(durability) == Durability::Always;
            let partition = store.lock(item.partition);
            if partition.digest(item.database, item.key) == item.digest {
                continue;
            }
            let mut state = Vec::new();
            partition.encode_state(item.database, item.key, &mut state);
            drop(partition);
            wire::put_difference(number as u32, &state, &mut out);
        }
        Ok(Compared {
            answer: out,
            synced: synced.then(|| self.engine.log().appended()),
        })
    }
}

/// What came of a comparison.
pub struct Compared {
    /// What is answered.
    pub answer: Vec<u8>,
    /// What has to be on the disk here before: who reads it must not find it gone after a power loss.
    pub synced: Option<LogOffset>,
}
