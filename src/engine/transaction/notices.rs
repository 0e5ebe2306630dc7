//! What is noted of what happens, for those who are told of events and changes.

use coterie_protocol::DatabaseId;

use super::Transaction;
use crate::engine::watch::{Notice, Wanted};
use crate::events::EventClasses;

impl Transaction<'_> {
    /// Whether any events are told.
    #[inline]
    pub fn tells_events(&self) -> bool {
        !self.wanted.is_nothing()
    }

    /// What is noted of what happens.
    #[inline]
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Notes an event, which is told once the changes can be seen.
    #[inline]
    pub fn notify(
        &mut self,
        database: DatabaseId,
        class: EventClasses,
        name: &'static str,
        key: &[u8],
    ) {
        if self.wanted.wants(class) {
            self.notices.push(Notice::Event {
                class,
                name,
                database,
                key: key.into(),
            });
        }
    }

    /// Notes that a key is about to change, where the order of changes is not that in which it is told.
    pub fn note_change(&mut self, key: &[u8]) {
        if self.wanted.wants_changes() {
            self.notices.push(Notice::Changed { key: key.into() });
        }
    }

    /// Notes that databases are emptied, even if they are empty.
    pub fn note_cleared(&mut self) {
        if self.wanted.wants_changes() && self.notices.last() != Some(&Notice::Cleared) {
            self.notices.push(Notice::Cleared);
        }
    }

    /// Tells what happened so far, while the partitions are locked: of keys that were found expired, to who remembers
    /// in the same transaction what it has read.
    pub fn tell_now(&mut self) {
        self.note_departed();
        let notices = std::mem::take(&mut self.notices);
        self.engine.watch.tell(self.moment.client, notices);
    }

    /// Notes that a key has expired, or that one is looked up that is not there.
    pub(super) fn note_lookup(
        &mut self,
        index: usize,
        database: DatabaseId,
        key: &[u8],
        tells_miss: bool,
    ) {
        let now_ms = self.moment.now_ms;
        let is_there = self.guards[index]
            .get(database, key, now_ms, None)
            .is_some();
        self.note_departed();
        if !is_there && tells_miss {
            self.notify(database, EventClasses::MISS, "keymiss", key);
        }
    }

    /// Notes which keys have expired.
    pub(super) fn note_departed(&mut self) {
        for guard in self.guards.iter_mut().filter(|guard| guard.has_departed()) {
            let id = guard.id();
            for departed in guard.take_departed() {
                self.notices.push(self.engine.expired(id, departed));
            }
        }
    }

    /// Notes that effects are about to be made on a key. Returns whether it is to be seen if that makes a new one.
    pub(super) fn note_effects(&mut self, index: usize, database: DatabaseId, key: &[u8]) -> bool {
        let now_ms = self.moment.now_ms;
        let wants_new = self.wanted.wants(EventClasses::NEW);
        let is_there = wants_new
            && self.guards[index]
                .get(database, key, now_ms, None)
                .is_some();
        self.note_departed();
        self.note_change(key);
        wants_new && !is_there
    }

    /// Notes that a key that was not there is, if so.
    pub(super) fn note_new(&mut self, index: usize, database: DatabaseId, key: &[u8]) {
        let now_ms = self.moment.now_ms;
        let guard = &mut self.guards[index];
        if guard.get(database, key, now_ms, None).is_some() {
            self.notify(database, EventClasses::NEW, "new", key);
        }
    }
}
