//! The record of what a transaction changes: how it is gathered, and appended or taken back.

use coterie_protocol::{DatabaseId, Version};

use super::Transaction;
use crate::effect::{Effect, encode_actor, encode_database};
use crate::engine::watch::Notice;
use crate::engine::{COORDINATED, EFFECTS, MANY, effects_of};
use crate::events::EventClasses;
use crate::store::{Aside, Keyspace};
use crate::wal::{LogOffset, RecordHeader};

/// How a change is taken back.
pub(super) enum Undo {
    /// One to a key: its state before.
    Key {
        guard: usize,
        database: DatabaseId,
        key: Vec<u8>,
        before: Aside,
    },
    /// The end of all keys of a database, in one partition: those keys.
    Clear {
        guard: usize,
        database: DatabaseId,
        before: Box<Keyspace>,
    },
    /// Two databases that changed places, in every partition.
    Swap(DatabaseId, DatabaseId),
}

impl Transaction<'_> {
    /// Whether anything was changed so far.
    pub fn has_changes(&self) -> bool {
        !self.payload.is_empty()
    }

    /// Bytes of the changes so far.
    pub fn changed_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Whether everything changed so far is in this database.
    pub fn changes_only(&self, database: DatabaseId) -> bool {
        !self.mixed && (self.record_database == database || !self.has_changes())
    }

    /// Adds an effect to the record; returns its version.
    pub(super) fn record(&mut self, database: DatabaseId, effect: &Effect<'_>) -> Version {
        self.begin_record(database);
        effect.encode(self.payload);
        let version = self.next;
        self.next = version.successor();
        version
    }

    /// What follows in the record is of this database.
    pub(super) fn begin_record(&mut self, database: DatabaseId) {
        if self.version == Version::ZERO {
            let now_ms = self.moment.now_ms;
            let next = self
                .guards
                .iter_mut()
                .map(|guard| guard.clock().next(now_ms))
                .max();
            self.version = next.unwrap_or(Version::ZERO);
            self.next = self.version;
            if let Some(actor) = self.actor {
                encode_actor(actor, self.payload);
            }
            self.record_database = database;
        } else if database != self.last_database {
            encode_database(database, self.payload);
            self.mixed = true;
        }
        self.last_database = database;
    }

    /// Appends the record, while the partitions are still locked. Returns where it ends; `None` when
    /// nothing was changed.
    pub fn commit(mut self) -> Option<LogOffset> {
        for change in self.undo.take().into_iter().flatten() {
            match change {
                Undo::Key { guard, before, .. } => self.guards[guard].discard(before),
                Undo::Clear { guard, before, .. } => self.guards[guard].discard_keyspace(before),
                Undo::Swap(..) => {}
            }
        }
        self.append()
    }

    /// Takes a change back.
    fn undo(&mut self, change: Undo) {
        match change {
            Undo::Key {
                guard,
                database,
                key,
                before,
            } => self.guards[guard].undo(database, &key, before),
            Undo::Clear {
                guard,
                database,
                before,
            } => self.guards[guard].put_keyspace(database, before),
            Undo::Swap(one, other) => {
                for guard in &mut self.guards {
                    guard.swap(one, other);
                }
            }
        }
    }

    fn append(&mut self) -> Option<LogOffset> {
        if self.payload.is_empty() {
            return None;
        }
        let partition = match &self.guards[..] {
            [only] => only.id(),
            _ => MANY,
        };
        let header = RecordHeader {
            version: self.version,
            partition,
            database: self.record_database,
            kind: match self.actor {
                Some(_) => COORDINATED,
                None => EFFECTS,
            },
        };
        if let Some((_, effects)) = effects_of(header.kind, self.payload) {
            self.engine.waiters.changed(self.record_database, effects);
        }
        let offset = self.engine.log.append(header, self.payload);
        self.payload.clear();
        Some(offset)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            for change in undo.into_iter().rev() {
                self.undo(change);
            }
            self.payload.clear();
            // Of what happened, this much remains.
            self.notices.retain(|notice| match notice {
                Notice::Expired { .. } => true,
                Notice::Event { class, .. } => *class == EventClasses::MISS,
                Notice::Changed { .. } | Notice::Cleared => false,
            });
        }
        // A single change that was made but not committed is whole: memory and log must agree on it.
        self.append();
        for guard in self.guards.iter_mut().filter(|guard| guard.has_garbage()) {
            self.engine.reclaimer.free(guard.take_garbage());
        }
        if !self.wanted.is_nothing() {
            self.note_departed();
            // Unlocked: what is told can be seen.
            self.guards.clear();
            let notices = std::mem::take(&mut self.notices);
            self.engine.watch.tell(self.moment.client, notices);
            self.engine.tell_departed();
        }
    }
}
