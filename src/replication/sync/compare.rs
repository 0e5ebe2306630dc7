//! Comparing one partition with one peer, top down.

use std::collections::HashMap;

use coterie_protocol::{DatabaseId, PartitionId, Stamp, Version};

use super::message::{Answer, KeyDigest, Request};
use super::{Replication, Summary, SyncError};
use crate::effect::Stamped;
use crate::replication::peers::Peer;

/// Buckets whose keys are asked for at a time.
const BUCKETS_AT_ONCE: usize = 16;
/// Keys whose states are exchanged at a time…
const KEYS_AT_ONCE: usize = 512;
/// … and bytes of states.
const STATE_BYTES_AT_ONCE: usize = 1024 * 1024;

/// Keys of one side by name.
type Digests = HashMap<(DatabaseId, Vec<u8>), u64>;

fn by_name(keys: Vec<KeyDigest>) -> Digests {
    keys.into_iter()
        .map(|key| ((key.database, key.key), key.digest))
        .collect()
}

impl Replication {
    pub(super) fn keys_of(&self, partition: PartitionId, buckets: &[u16]) -> Vec<KeyDigest> {
        let mut keys = Vec::new();
        for bucket in buckets {
            // One lock a bucket, so that commands get their turn.
            let partition = self.engine.store().lock(partition);
            if usize::from(*bucket) >= partition.tree().len() {
                continue;
            }
            partition.keys_of_bucket(usize::from(*bucket), |database, key, digest| {
                keys.push(KeyDigest {
                    database,
                    key: key.to_vec(),
                    digest,
                });
            });
        }
        keys
    }

    pub(super) fn states_of(
        &self,
        partition: PartitionId,
        keys: &[(DatabaseId, Vec<u8>)],
    ) -> Vec<u8> {
        let mut states = Vec::new();
        for (database, key) in keys {
            self.engine
                .store()
                .lock(partition)
                .encode_state(*database, key, &mut states);
        }
        states
    }

    pub(super) fn root(&self, partition: PartitionId) -> u64 {
        self.engine
            .store()
            .lock(partition)
            .tree()
            .iter()
            .enumerate()
            .fold(0, |root, (index, leaf)| {
                // A rotation keeps two equal leaves from cancelling each other.
                root ^ leaf.rotate_left(index as u32 % 64)
            })
    }

    pub(super) fn differing_roots(&self, roots: &[(PartitionId, u64)]) -> Vec<PartitionId> {
        let count = self.engine.store().layout().count();
        roots
            .iter()
            .filter(|(partition, root)| {
                partition.0 < count && self.is_held(*partition) && self.root(*partition) != *root
            })
            .map(|(partition, _)| *partition)
            .collect()
    }

    /// Compares a partition with a peer and exchanges what differs. Differences in keys that neither side knows of
    /// a change after `settled_at` count as settled.
    pub(super) async fn compare(
        &self,
        peer: &Peer,
        partition: PartitionId,
        settled_at: Version,
    ) -> Result<Summary, SyncError> {
        let Answer::Leaves(theirs) = self.ask_sync(peer, &Request::Leaves { partition }).await?
        else {
            return Err(SyncError::Malformed);
        };
        let ours = self.engine.store().lock(partition).tree().to_vec();
        if theirs.len() != ours.len() {
            return Err(SyncError::Malformed);
        }
        let differing: Vec<u16> = (0..ours.len())
            .filter(|&bucket| ours[bucket] != theirs[bucket])
            .map(|bucket| bucket as u16)
            .collect();
        let mut summary = Summary::default();
        if differing.is_empty() {
            return Ok(summary);
        }
        // Before its keys: what it knows of by then is all that is left of what was until that horizon.
        let horizon = self.horizon_of(peer, partition).await?;
        for buckets in differing.chunks(BUCKETS_AT_ONCE) {
            let compared = self.compare_buckets(peer, partition, buckets, (settled_at, horizon));
            summary.add(compared.await?);
        }
        // One that was not told of a horizon, or has restarted since, would differ for ever.
        self.set_horizon(partition, horizon);
        Ok(summary)
    }

    async fn compare_buckets(
        &self,
        peer: &Peer,
        partition: PartitionId,
        buckets: &[u16],
        (settled_at, horizon): (Version, Version),
    ) -> Result<Summary, SyncError> {
        let request = Request::Keys {
            partition,
            buckets: buckets.to_vec(),
        };
        let Answer::Keys(theirs) = self.ask_sync(peer, &request).await? else {
            return Err(SyncError::Malformed);
        };
        let (mut theirs, ours) = (by_name(theirs), by_name(self.keys_of(partition, buckets)));
        let mut differing: Vec<(DatabaseId, Vec<u8>)> = Vec::new();
        for (name, digest) in ours {
            let their_digest = theirs.remove(&name);
            if their_digest.is_none() {
                self.engine.tidy(partition, |partition| {
                    partition.forget_settled(name.0, &name.1, horizon);
                });
            }
            if their_digest != Some(digest) {
                differing.push(name);
            }
        }
        differing.extend(theirs.into_keys());
        let mut summary = Summary::default();
        while !differing.is_empty() {
            let bytes = self
                .exchange(peer, partition, &mut differing, settled_at, &mut summary)
                .await?;
            summary.bytes += bytes as u64;
            self.throttle(bytes).await;
        }
        Ok(summary)
    }

    /// Exchanges the states of some keys, taking them off the list. Returns how many bytes that took.
    async fn exchange(
        &self,
        peer: &Peer,
        partition: PartitionId,
        differing: &mut Vec<(DatabaseId, Vec<u8>)>,
        settled_at: Version,
        summary: &mut Summary,
    ) -> Result<usize, SyncError> {
        let mut states = Vec::new();
        let mut wanted = Vec::new();
        let mut latest: HashMap<(DatabaseId, Vec<u8>), Version> = HashMap::new();
        while wanted.len() < KEYS_AT_ONCE
            && states.len() < STATE_BYTES_AT_ONCE
            && let Some((database, key)) = differing.pop()
        {
            self.engine
                .store()
                .lock(partition)
                .encode_state(database, &key, &mut states);
            wanted.push((database, key));
        }
        for name in &wanted {
            latest.insert(name.clone(), Version::ZERO);
        }
        note_latest(&states, &mut latest);
        let request = Request::Exchange {
            partition,
            states: &states,
            wanted,
        };
        let Answer::States(theirs) = self.ask_sync(peer, &request).await? else {
            return Err(SyncError::Malformed);
        };
        note_latest(&theirs, &mut latest);
        self.merge(partition, &theirs).await;
        summary.keys += latest.len() as u64;
        summary.settled += latest
            .values()
            .filter(|&&version| version <= settled_at)
            .count() as u64;
        Ok(states.len() + theirs.len())
    }

    async fn throttle(&self, bytes: usize) {
        let rate = self
            .sync_bytes_per_second
            .load(std::sync::atomic::Ordering::Relaxed);
        if let Some(micros) = (bytes as u64 * 1_000_000).checked_div(rate) {
            tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Notes the latest version of each key in some states.
fn note_latest(states: &[u8], latest: &mut HashMap<(DatabaseId, Vec<u8>), Version>) {
    for (database, effect, stamp) in Stamped::new(DatabaseId(0), Stamp::ZERO, states).flatten() {
        if let Some(key) = effect.key()
            && let Some(version) = latest.get_mut(&(database, key.to_vec()))
        {
            *version = stamp.version.max(*version);
        }
    }
}
