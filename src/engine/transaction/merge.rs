//! Changes of keys of replicated partitions: what has to be told with an effect, so that it merges everywhere.

use coterie_protocol::{Actor, DatabaseId, Stamp, Version};
use smallvec::SmallVec;

use super::Transaction;
use crate::effect::{Effect, Kind, StringEncoding, encode_stamp};
use crate::store::{Entry, element_effect};
use crate::wal::NoRoom;

impl Transaction<'_> {
    /// Makes changes to a key of a replicated partition, one after another.
    pub(super) fn merge_all(
        &mut self,
        index: usize,
        database: DatabaseId,
        effects: &[Effect<'_>],
        actor: Actor,
    ) {
        let now_ms = self.moment.now_ms;
        for effect in effects {
            let key = effect.key().unwrap_or_default();
            let guard = &mut self.guards[index];
            // What has expired is gone: who writes to it begins anew, and the replicas have to know.
            let is_there = guard.get(database, key, now_ms, None).is_some();
            let begins_anew = !matches!(effect, Effect::Put { .. } | Effect::Delete { .. });
            let settled = match is_there || !begins_anew {
                true => None,
                // Not by a `Delete`: what others begin at the same time is to stay.
                false => guard.lapsed(database, key, now_ms).or_else(|| {
                    let is_new = makes_elements(effect);
                    is_new.then(|| guard.begins_anew(database, key)).flatten()
                }),
            };
            if let Some(settled) = settled {
                self.merge(index, database, &Effect::Anew { key, settled }, actor);
            }
            match *effect {
                Effect::Splice { key, offset, bytes } => {
                    self.put_spliced(index, database, key, (offset, bytes), true, actor);
                }
                Effect::PutPadded { key, offset, bytes } => {
                    self.put_spliced(index, database, key, (offset, bytes), false, actor);
                }
                Effect::Count { key, delta, .. } => {
                    let count = self.guards[index].count(database, key, actor, delta);
                    self.merge(index, database, &count, actor);
                }
                Effect::Sketch { key, value, .. } => {
                    let sketch = self.guards[index].sketch(database, key, value);
                    self.merge(index, database, &sketch, actor);
                }
                Effect::HashCount {
                    key, field, delta, ..
                } => {
                    if self.guards[index].is_field_lapsed(database, key, field) {
                        let (kind, element) = (Kind::Hash, field);
                        let delete = Effect::ElementDelete { kind, key, element };
                        self.merge(index, database, &delete, actor);
                    }
                    let count = self.guards[index].count_field(database, key, field, actor, delta);
                    self.merge(index, database, &count, actor);
                }
                _ => self.merge(index, database, effect, actor),
            }
        }
    }

    fn merge(&mut self, index: usize, database: DatabaseId, effect: &Effect<'_>, actor: Actor) {
        let version = self.record(database, effect);
        self.set_aside(index, database, effect, version);
        let stamp = Stamp::new(version, actor);
        self.guards[index].merge(database, effect, stamp, &self.moment.access);
    }

    /// An edit in place can't be merged: it becomes a `Put` of the whole value.
    fn put_spliced(
        &mut self,
        index: usize,
        database: DatabaseId,
        key: &[u8],
        (offset, bytes): (u64, &[u8]),
        keep: bool,
        actor: Actor,
    ) {
        let now_ms = self.moment.now_ms;
        let old = self.guards[index].get(database, key, now_ms, None);
        let old = old.filter(|_| keep);
        let expire_at = old.and_then(Entry::expire_at);
        let mut value = old.map_or_else(Vec::new, |entry| entry.value().to_vec());
        let start = offset as usize;
        let end = start + bytes.len();
        if value.len() < end {
            value.resize(end, 0);
        }
        value[start..end].copy_from_slice(bytes);
        let put = Effect::Put {
            key,
            value: &value,
            encoding: StringEncoding::Raw,
            expire_at,
        };
        self.merge(index, database, &put, actor);
    }

    /// Notes by which operation the changes were made, an [`Effect::Operation`]: the last of them.
    pub fn note_operation(&mut self, database: DatabaseId, operation: &Effect<'_>) {
        debug_assert!(self.has_changes());
        if let (Some(actor), Some(key)) = (self.actor, operation.key()) {
            let index = self.guard(key);
            self.merge(index, database, operation, actor);
        }
    }

    /// Writes what is known of a key once more, of a hash only this field, so that whatever else was done to it
    /// elsewhere until now has no effect: parts of counters are on an old base, and the stamp is later than any that a
    /// node has given out whose clock is ahead by at most `drift_ms`. What is known of its operations goes before.
    /// For transactions over several keys; before the first change.
    ///
    /// # Errors
    /// The log has no room for it, in bytes.
    pub fn overwrite(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        field: Option<&[u8]>,
        drift_ms: u64,
    ) -> Result<(), (NoRoom, usize)> {
        debug_assert!(self.undo.is_some());
        let Some(actor) = self.actor else {
            return Ok(());
        };
        let index = self.guard(key);
        let now_ms = self.moment.now_ms;
        let guard = &mut self.guards[index];
        guard.clock().observe(Version::new(now_ms + drift_ms, 0));
        let found = guard.get(database, key, now_ms, None);
        let kind = found.map(Entry::kind);
        let expire_at = found.and_then(Entry::expire_at);
        let encoding = found.map_or(StringEncoding::Raw, Entry::encoding);
        let value = match (found, field) {
            (Some(entry), _) if kind == Some(Kind::String) => Some(entry.value().to_vec()),
            (Some(entry), Some(field)) => entry.hash().and_then(|h| h.get(field)).map(Vec::from),
            _ => None,
        };
        let field_until = found
            .and_then(Entry::hash)
            .zip(field)
            .and_then(|(hash, field)| hash.expire_at(field));
        let mut effects: SmallVec<[Effect<'_>; 2]> = SmallVec::new();
        match (kind, field, &value) {
            // What others write to its other fields meanwhile is to stay.
            (None, Some(element), _) => effects.push(Effect::ElementDelete {
                kind: Kind::Hash,
                key,
                element,
            }),
            (None, None, _) => effects.push(Effect::Delete { key }),
            (Some(Kind::String), _, value) => effects.push(Effect::Put {
                key,
                value: value.as_deref().unwrap_or_default(),
                encoding,
                expire_at,
            }),
            (Some(kind @ Kind::Hash), Some(element), Some(value)) => {
                effects.push(element_effect(kind, key, (element, value, field_until)));
            }
            (Some(kind @ Kind::Hash), Some(element), None) => {
                effects.push(Effect::ElementDelete { kind, key, element });
            }
            _ => {}
        }
        if !matches!(kind, None | Some(Kind::String)) {
            let at = expire_at;
            effects.push(Effect::ExpireAt { key, at });
        }
        let mut operations = Vec::new();
        guard.encode_operations(database, key, &mut operations);
        let bytes = value.as_ref().map_or(0, Vec::len) + operations.len();
        let bytes = Effect::encoded_bytes_max(2 * key.len() + 64, bytes);
        let bytes = bytes + self.room;
        self.engine.log.room(bytes).map_err(|none| (none, bytes))?;
        self.room = bytes;
        if !operations.is_empty() {
            self.begin_record(database);
            self.payload.extend_from_slice(&operations);
            encode_stamp(Stamp::new(self.next, actor), self.payload);
        }
        self.apply_all(database, &effects);
        Ok(())
    }
}

/// Whether it makes a collection of a key that is not there. Counters and sketches tell by their base that there was nothing.
fn makes_elements(effect: &Effect<'_>) -> bool {
    matches!(
        effect,
        Effect::ElementSet { .. }
            | Effect::FieldUntil { .. }
            | Effect::HashCount { .. }
            | Effect::AttributeSet { .. }
    )
}
