//! Looking keys up, and counting who does.

use coterie_protocol::DatabaseId;

use super::Transaction;
use crate::effect::OperationId;
use crate::store::{Entry, Known};

impl Transaction<'_> {
    /// The live entry of a key, which counts as used.
    #[inline]
    pub fn get(&mut self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        let touch = self.moment.touch;
        self.look_up(database, key, touch, self.counts_lookups)
    }

    /// The live entry of a key, which does not count as used (`OBJECT`, `TTL`).
    pub fn peek(&mut self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        self.look_up(database, key, false, self.counts_lookups)
    }

    /// Like [`Transaction::peek`], for commands that do not tell an event if the key is not there.
    pub fn peek_quietly(&mut self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        self.look_up(database, key, false, false)
    }

    /// The live entry of a key, for looking at several at once: it does not count as used.
    pub fn find(&self, database: DatabaseId, key: &[u8]) -> Option<&Entry> {
        self.guards[self.guard(key)].find(database, key, self.moment.now_ms)
    }

    /// Whether a key is there that is about to be replaced, which is no lookup. What has expired goes.
    pub fn is_there(&mut self, database: DatabaseId, key: &[u8]) -> bool {
        let index = self.guard(key);
        let now_ms = self.moment.now_ms;
        self.guards[index]
            .get(database, key, now_ms, None)
            .is_some()
    }

    /// Lets a key count as used, whatever the moment says of reading. Returns whether it is there.
    pub fn touch(&mut self, database: DatabaseId, key: &[u8]) -> bool {
        self.look_up(database, key, true, self.counts_lookups)
            .is_some()
    }

    /// Lets a key have been used as these access bits say. That is no change, and not logged.
    pub fn set_access(&mut self, database: DatabaseId, key: &[u8], access: u32) {
        let index = self.guard(key);
        self.guards[index].set_access(database, key, access);
    }

    #[inline]
    fn look_up(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        touch: bool,
        tells_miss: bool,
    ) -> Option<&Entry> {
        let index = self.guard(key);
        if !self.wanted.is_nothing() {
            self.note_lookup(index, database, key, tells_miss);
        }
        let clock = touch.then_some(&self.moment.access);
        let found = self.guards[index].get(database, key, self.moment.now_ms, clock);
        match found {
            Some(_) => self.lookups.0 += 1,
            None => self.lookups.1 += 1,
        }
        found
    }

    /// How many lookups found a key, and how many did not.
    pub fn lookups(&self) -> (u64, u64) {
        self.lookups
    }

    /// Lookups count as hits and misses although the command may write: it answers with the value, as
    /// `GETSET` does.
    pub fn count_lookups(&mut self) {
        self.counts_lookups = true;
    }

    /// See [`Transaction::count_lookups`].
    pub fn counts_lookups(&self) -> bool {
        self.counts_lookups
    }

    /// A number that stands for the state of a key: as long as it is the same, the key was not changed (`WATCH`).
    pub fn fingerprint(&mut self, database: DatabaseId, key: &[u8]) -> u64 {
        if self.actor.is_some() {
            let is_there = self.is_there(database, key);
            // All that is known of a key says the same on every replica, but not whether its time is over.
            return self.digest(database, key) & !1 | u64::from(is_there);
        }
        let now_ms = self.moment.now_ms;
        let index = self.guard(key);
        let guard = &mut self.guards[index];
        match guard.live_version(database, key, now_ms) {
            Some(version) => version.0,
            // Far below any version.
            None => guard.births(database, key).into(),
        }
    }

    /// Digest of all that is known of a key; 0 for nothing.
    pub fn digest(&self, database: DatabaseId, key: &[u8]) -> u64 {
        self.guards[self.guard(key)].digest(database, key)
    }

    /// What is known of an operation on a key.
    pub fn operation(&self, key: &[u8], id: OperationId) -> Known {
        self.guards[self.guard(key)].operation(id)
    }

    /// When a field of a hash expires, which changes of its value keep.
    pub fn field_expiry(&self, database: DatabaseId, key: &[u8], field: &[u8]) -> Option<u64> {
        self.find(database, key)?.hash()?.expire_at(field)
    }
}
