//! Changes of keys and of whole databases.

use coterie_protocol::{DatabaseId, Stamp, Version};

use super::Transaction;
use super::record::Undo;
use crate::effect::{Effect, Kind, StringEncoding};
use crate::store::{Entry, element_effect};
use crate::wal::NoRoom;

impl Transaction<'_> {
    /// Makes sure that the log has room for changes of this many bytes in all. Asked before the first change
    /// by commands whose changes are larger than their arguments (copying a value, say).
    pub fn reserve(&mut self, bytes: usize) -> Result<(), NoRoom> {
        debug_assert!(self.payload.is_empty() || self.undo.is_some());
        let bytes = self.payload.len() + bytes + self.later_bytes;
        if bytes > self.room {
            self.engine.log.room(bytes)?;
            self.room = bytes;
        }
        Ok(())
    }

    /// Makes a change to a key.
    #[inline]
    pub fn apply(&mut self, database: DatabaseId, effect: &Effect<'_>) {
        self.apply_all(database, std::slice::from_ref(effect));
    }

    /// Makes a change to a key that takes several effects: all of them are in the record before the first is made.
    pub fn apply_all(&mut self, database: DatabaseId, effects: &[Effect<'_>]) {
        let Some(key) = effects.first().and_then(Effect::key) else {
            debug_assert!(false, "use apply_everywhere");
            return;
        };
        debug_assert!(effects.iter().all(|effect| effect.key() == Some(key)));
        let index = self.guard(key);
        debug_assert!(
            self.undo.is_some() || self.payload.is_empty(),
            "one change per single-key transaction"
        );
        self.is_whole_aside = false;
        let is_new = !self.wanted.is_nothing() && self.note_effects(index, database, key);
        if let Some(actor) = self.actor {
            self.merge_all(index, database, effects, actor);
        } else {
            self.change_all(index, database, effects);
        }
        if is_new {
            self.note_new(index, database, key);
        }
    }

    /// Makes changes to a key of a partition that is not replicated.
    fn change_all(&mut self, index: usize, database: DatabaseId, effects: &[Effect<'_>]) {
        let Some(first) = effects.first() else {
            return;
        };
        let mut version = self.record(database, first);
        for effect in &effects[1..] {
            self.record(database, effect);
        }
        for effect in effects {
            debug_assert!(
                version >= self.guards[index].version(),
                "versions of a partition never fall"
            );
            self.set_aside(index, database, effect, version);
            self.guards[index].apply(database, effect, version, &self.moment.access);
            version = version.successor();
        }
    }

    /// Notes what the next effect on a key changes, unless the change it is part of has replaced the whole key.
    #[inline]
    pub(super) fn set_aside(
        &mut self,
        index: usize,
        database: DatabaseId,
        effect: &Effect<'_>,
        version: Version,
    ) {
        let Some(undo) = self.undo.as_mut().filter(|_| !self.is_whole_aside) else {
            return;
        };
        if matches!(effect, Effect::Operation { .. }) {
            // It is no change of the key.
            return;
        }
        let before = self.guards[index].set_aside(database, effect, version);
        self.is_whole_aside = before.is_whole();
        undo.push(Undo::Key {
            guard: index,
            database,
            key: effect.key().unwrap_or_default().to_vec(),
            before,
        });
    }

    /// Adds `delta` to the number a key holds, and keeps its expiry; `new` is what it comes to.
    pub fn count(&mut self, database: DatabaseId, key: &[u8], delta: i64, new: i64) {
        if self.is_replicated() {
            // Base and total are found when it is merged.
            let (base, total) = (Stamp::ZERO, 0);
            return self.apply(
                database,
                &Effect::Count {
                    key,
                    base,
                    total,
                    delta,
                },
            );
        }
        let index = self.guard(key);
        let found = self.guards[index].get(database, key, self.moment.now_ms, None);
        let expire_at = found.and_then(Entry::expire_at);
        let mut digits = itoa::Buffer::new();
        let put = Effect::Put {
            key,
            value: digits.format(new).as_bytes(),
            encoding: StringEncoding::Int,
            expire_at,
        };
        self.apply(database, &put);
    }

    /// Adds `delta` to the number a field of a hash holds; `new` is what it comes to.
    pub fn count_field(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        field: &[u8],
        delta: i64,
        new: i64,
    ) {
        if self.is_replicated() {
            let (base, total) = (Stamp::ZERO, 0);
            return self.apply(
                database,
                &Effect::HashCount {
                    key,
                    field,
                    base,
                    total,
                    delta,
                },
            );
        }
        let mut digits = itoa::Buffer::new();
        let value = digits.format(new).as_bytes();
        let expire_at = self.field_expiry(database, key, field);
        let set = element_effect(Kind::Hash, key, (field, value, expire_at));
        self.apply(database, &set);
    }

    /// Clears a database in the locked partitions (`FLUSHDB`).
    pub fn clear(&mut self, database: DatabaseId) {
        let version = self.record(database, &Effect::Clear);
        self.note_cleared();
        for (index, guard) in self.guards.iter_mut().enumerate() {
            if let Some(actor) = self.actor {
                debug_assert!(self.undo.is_none(), "refused in a cluster");
                let stamp = Stamp::new(version, actor);
                guard.merge(database, &Effect::Clear, stamp, &self.moment.access);
                continue;
            }
            if let Some(undo) = &mut self.undo
                && let Some(before) = guard.take_keyspace(database)
            {
                undo.push(Undo::Clear {
                    guard: index,
                    database,
                    before,
                });
            }
            guard.apply(database, &Effect::Clear, version, &self.moment.access);
        }
    }

    /// Clears every database in the locked partitions (`FLUSHALL`).
    pub fn clear_all(&mut self) {
        for number in 0..self.databases() {
            self.clear(DatabaseId(number as u16));
        }
    }

    /// Makes a change to a whole database, in a transaction over every partition.
    pub fn apply_everywhere(&mut self, database: DatabaseId, effect: &Effect<'_>) {
        debug_assert!(self.covers_everything());
        if let Effect::Clear = effect {
            return self.clear(database);
        }
        if self.is_replicated() {
            debug_assert!(false, "refused in a cluster");
            return;
        }
        if let (Some(undo), Effect::Swap { with }) = (&mut self.undo, effect) {
            undo.push(Undo::Swap(database, *with));
        }
        let version = self.record(database, effect);
        for guard in &mut self.guards {
            guard.apply(database, effect, version, &self.moment.access);
        }
    }
}
