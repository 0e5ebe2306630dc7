//! Tells whoever watches keys of what happened to them, once it can be seen.
//!
//! A transaction notes what is wanted, and tells it when it has unlocked its partitions. While nobody wants
//! anything, this costs reading a number.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use coterie_protocol::{DatabaseId, PartitionId};

use super::Engine;
use crate::effect::{Effect, Effects};
use crate::events::EventClasses;
use crate::store::Departure;

/// What is wanted: classes of events, and whether changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted(u32);

/// Beside the bits of [`EventClasses`].
const CHANGES: u32 = 1 << 16;

impl Wanted {
    /// Events of these classes, and if `changes` every key that is changed.
    pub fn new(events: EventClasses, changes: bool) -> Self {
        let changes = if changes { CHANGES } else { 0 };
        Wanted(u32::from(events.bits()) | changes)
    }

    /// Nothing is.
    #[inline]
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Events of this class are.
    #[inline]
    pub fn wants(self, class: EventClasses) -> bool {
        self.0 & u32::from(class.bits()) != 0
    }

    /// Changed keys are.
    #[inline]
    pub fn wants_changes(self) -> bool {
        self.0 & CHANGES != 0
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// An event with a name, as Redis tells it.
    Event {
        /// Its class.
        class: EventClasses,
        /// Its name.
        name: &'static str,
        /// Where the key is.
        database: DatabaseId,
        /// The key.
        key: Box<[u8]>,
    },
    /// A key expired and was removed, or fields of it.
    Expired {
        /// Where the key was.
        database: DatabaseId,
        /// The key.
        key: Box<[u8]>,
        /// What of it expired.
        what: Departure,
        /// Whether this node tells the event: of all replicas one does.
        told_here: bool,
    },
    /// A key may hold something else now, or nothing.
    Changed {
        /// The key.
        key: Box<[u8]>,
    },
    /// All keys of a database are gone, at least those of a partition.
    Cleared,
}

/// Whom notices are told to. It must not begin transactions.
pub trait Watcher: Send + Sync {
    /// These happened, in this order, by the doing of this client (0 for nobody's).
    fn told(&self, client: u64, notices: Vec<Notice>);
}

/// See the module.
#[derive(Default)]
pub struct Watch {
    wanted: AtomicU32,
    watcher: OnceLock<Box<dyn Watcher>>,
}

impl Watch {
    /// Who is told from now on. The first one stays.
    pub fn attach(&self, watcher: Box<dyn Watcher>) {
        let attached = self.watcher.set(watcher);
        debug_assert!(attached.is_ok());
    }

    /// What is wanted.
    #[inline]
    pub fn wanted(&self) -> Wanted {
        Wanted(self.wanted.load(Ordering::Relaxed))
    }

    /// Tells what happened.
    pub fn tell(&self, client: u64, notices: Vec<Notice>) {
        if !notices.is_empty()
            && let Some(watcher) = self.watcher.get()
        {
            watcher.told(client, notices);
        }
    }
}

impl Engine {
    /// Who is told what happens to keys, and what of it is wanted.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Changes what is wanted. Transactions that begin later note it.
    pub fn set_wanted(&self, wanted: Wanted) {
        let events = [
            EventClasses::EXPIRED,
            EventClasses::HASH,
            EventClasses::GENERIC,
        ];
        let departed =
            events.into_iter().any(|class| wanted.wants(class)) || wanted.wants_changes();
        self.store.departed().set_wanted(departed);
        self.watch.wanted.store(wanted.0, Ordering::Relaxed);
    }

    /// Tells of keys that were found expired outside transactions.
    pub fn tell_departed(&self) {
        let departed = self.store.departed().take();
        if departed.is_empty() {
            return;
        }
        let notices = departed
            .into_iter()
            .map(|(partition, database, key, what)| self.expired(partition, (database, key, what)));
        self.watch.tell(0, notices.collect());
    }

    pub(super) fn expired(
        &self,
        partition: PartitionId,
        (database, key, what): (DatabaseId, Box<[u8]>, Departure),
    ) -> Notice {
        Notice::Expired {
            database,
            key,
            what,
            told_here: self.eviction.leads(partition),
        }
    }

    /// Tells of changes that another node made. The partitions are unlocked.
    pub(super) fn tell_merged(&self, database: DatabaseId, effects: &[u8]) {
        if self.watch.wanted().wants_changes() {
            let notices = Effects::new(database, effects).filter_map(|effect| {
                let (_, effect) = effect.ok()?;
                match effect.key() {
                    Some(key) => Some(Notice::Changed { key: key.into() }),
                    None => matches!(effect, Effect::Clear).then_some(Notice::Cleared),
                }
            });
            self.watch.tell(0, notices.collect());
        }
        self.tell_departed();
    }
}
