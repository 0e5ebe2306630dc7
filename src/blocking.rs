//! Who waits for a key: clients of `BLPOP` and the like, first come first served. Outside the store: whoever changes a
//! key that is waited for says so here, and somebody serves those who wait for it then.
//!
//! A waiter is added while the partitions of its keys are locked, right after it found nothing there; a change is told
//! while they are locked, too. So no change is missed, although changes only look whether anybody waits at all.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coterie_protocol::{DatabaseId, OwnedRequest};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::effect::{Effect, Effects, Kind};
use crate::outstanding::Outstanding;
use crate::session::Origin;

/// What a client waits for.
pub struct Interest {
    /// What its request is executed with.
    pub origin: Origin,
    /// The request, which is executed again once there may be something.
    pub request: OwnedRequest,
    /// A key with a value of another type is nothing to it.
    pub kind: Kind,
    /// The keys, all of one partition in a cluster. None if something other than a key ends the waiting.
    pub keys: Vec<Vec<u8>>,
}

/// How waiting ended.
pub enum End {
    /// The request was executed: its reply, and what that still waits for.
    Served(Vec<u8>, Box<Outstanding>),
    /// The time is over, or somebody said so (`CLIENT UNBLOCK id TIMEOUT`).
    TimedOut,
    /// `CLIENT UNBLOCK id ERROR`
    Unblocked,
}

/// What a waiter is woken for.
pub enum Wake {
    /// It need not wait any more.
    Ended(End),
    /// It is its turn, for this key. Whoever is woken has to call [`Waiting::tried`] or to leave.
    Turn(Vec<u8>),
}

enum State {
    Waits,
    /// Somebody executes its request at this moment.
    IsServed,
    Woken(Wake),
    /// It executes its request itself.
    Tries,
    Left,
}

/// One who waits.
pub struct Waiter {
    /// Rises with the time of arrival.
    pub id: u64,
    /// What for.
    pub interest: Interest,
    state: Mutex<State>,
    wake: Notify,
}

impl Waiter {
    /// Takes it out of waiting, to execute its request. `None` if it has ended, or its client is being disconnected.
    pub fn claim(&self) -> Option<Claim<'_>> {
        let mut state = self.state.lock();
        let is_waiting = matches!(*state, State::Waits);
        if !is_waiting || self.interest.origin.client.is_killed() {
            return None;
        }
        *state = State::IsServed;
        Some(Claim(self))
    }

    /// Whether it executes its request itself at this moment, or is about to.
    pub fn has_turn(&self) -> bool {
        matches!(
            *self.state.lock(),
            State::Woken(Wake::Turn(_)) | State::Tries
        )
    }

    fn end(&self, end: End) -> bool {
        let mut state = self.state.lock();
        if !matches!(*state, State::Waits) {
            return false;
        }
        *state = State::Woken(Wake::Ended(end));
        self.wake.notify_one();
        true
    }
}

/// The right to execute a waiter's request.
pub struct Claim<'w>(&'w Waiter);

impl Claim<'_> {
    /// It was executed, and needs to wait no more.
    pub fn served(self, reply: Vec<u8>, outstanding: Outstanding) {
        self.to(State::Woken(Wake::Ended(End::Served(
            reply,
            Box::new(outstanding),
        ))));
    }

    /// It has to be executed by the waiter itself, since it takes time.
    pub fn hand_over(self, key: &[u8]) {
        self.to(State::Woken(Wake::Turn(key.to_vec())));
    }

    fn to(&self, next: State) {
        let mut state = self.0.state.lock();
        if matches!(*state, State::IsServed) {
            *state = next;
            self.0.wake.notify_one();
        }
    }
}

impl Drop for Claim<'_> {
    /// There was nothing for it, if nothing else was said.
    fn drop(&mut self) {
        self.to(State::Waits);
    }
}

/// The queues of one key: those who wait for a value of each kind, by arrival.
type Queues = SmallVec<[(Kind, BTreeSet<u64>); 1]>;

#[derive(Default)]
struct Tables {
    last_id: u64,
    queues: HashMap<DatabaseId, HashMap<Vec<u8>, Queues>>,
    waiters: HashMap<u64, Arc<Waiter>>,
    by_client: HashMap<u64, u64>,
    changed: VecDeque<(DatabaseId, Vec<u8>)>,
    changed_set: HashSet<(DatabaseId, Vec<u8>)>,
}

/// See the module.
#[derive(Default)]
pub struct Waiters {
    count: AtomicUsize,
    /// Reset by who has served the last of the changed keys.
    any_changed: AtomicBool,
    serving: Mutex<()>,
    tables: Mutex<Tables>,
    work: Notify,
}

impl Waiters {
    /// Lets a client wait. The partitions of its keys are locked.
    pub fn add(self: &Arc<Self>, interest: Interest) -> Waiting {
        let mut tables = self.tables.lock();
        self.count.fetch_add(1, Ordering::Relaxed);
        tables.last_id += 1;
        let id = tables.last_id;
        let database = interest.origin.database;
        for key in &interest.keys {
            let queues = tables.queues.entry(database).or_default();
            let queues = queues.entry(key.clone()).or_default();
            let of_kind = queues.iter().position(|(kind, _)| *kind == interest.kind);
            let of_kind = of_kind.unwrap_or_else(|| {
                queues.push((interest.kind, BTreeSet::new()));
                queues.len() - 1
            });
            queues[of_kind].1.insert(id);
        }
        if !interest.origin.forwarded {
            tables.by_client.insert(interest.origin.client.id, id);
        }
        let waiter = Arc::new(Waiter {
            id,
            interest,
            state: Mutex::new(State::Waits),
            wake: Notify::new(),
        });
        tables.waiters.insert(id, waiter.clone());
        Waiting {
            waiters: self.clone(),
            waiter,
        }
    }

    /// Takes note of changes, if anybody waits. Their partitions are locked.
    #[inline]
    pub fn changed(&self, database: DatabaseId, effects: &[u8]) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.note_changed(database, effects);
        }
    }

    #[cold]
    fn note_changed(&self, database: DatabaseId, effects: &[u8]) {
        let mut tables = self.tables.lock();
        for (database, effect) in Effects::new(database, effects).flatten() {
            match (effect.key(), &effect) {
                (Some(key), _) => self.note(&mut tables, database, key),
                (None, Effect::Swap { with }) => {
                    self.note_all(&mut tables, database);
                    self.note_all(&mut tables, *with);
                }
                (None, _) => self.note_all(&mut tables, database),
            }
        }
    }

    fn note_all(&self, tables: &mut Tables, database: DatabaseId) {
        let keys: Vec<Vec<u8>> = match tables.queues.get(&database) {
            Some(queues) => queues.keys().cloned().collect(),
            None => return,
        };
        for key in keys {
            self.note(tables, database, &key);
        }
    }

    fn note(&self, tables: &mut Tables, database: DatabaseId, key: &[u8]) {
        let queues = tables.queues.get(&database);
        if !queues.is_some_and(|queues| queues.contains_key(key)) {
            return;
        }
        let name = (database, key.to_vec());
        if tables.changed_set.insert(name.clone()) {
            tables.changed.push_back(name);
        }
        if !self.any_changed.swap(true, Ordering::AcqRel) {
            self.work.notify_one();
        }
    }

    /// How many stand in queues of keys, for clients of this node or of others.
    pub fn queued(&self) -> usize {
        let tables = self.tables.lock();
        let waits_here = |waiter: &&Arc<Waiter>| !waiter.interest.keys.is_empty();
        tables.waiters.values().filter(waits_here).count()
    }

    /// Whether a key was changed that somebody waits for, who may not have been served yet.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.any_changed.load(Ordering::Acquire)
    }

    /// Waits until there may be work.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// The right to serve. Waits for whoever has it, so that one's own changes are served thereafter. No partition may be
    /// locked.
    pub fn begin_to_serve(&self) -> Serving<'_> {
        Serving {
            waiters: self,
            _right: self.serving.lock(),
        }
    }

    /// Ends a client's waiting. Returns whether it waited.
    pub fn unblock(&self, client: u64, end: End) -> bool {
        let waiter = {
            let tables = self.tables.lock();
            let id = tables.by_client.get(&client);
            id.and_then(|id| tables.waiters.get(id)).cloned()
        };
        waiter.is_some_and(|waiter| waiter.end(end))
    }

    fn remove(&self, waiter: &Waiter) {
        let Interest {
            origin, keys, kind, ..
        } = &waiter.interest;
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        if tables.waiters.remove(&waiter.id).is_none() {
            return;
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        if tables.by_client.get(&origin.client.id) == Some(&waiter.id) {
            tables.by_client.remove(&origin.client.id);
        }
        let Some(queues) = tables.queues.get_mut(&origin.database) else {
            return;
        };
        for key in keys {
            let Some(of_key) = queues.get_mut(key) else {
                continue;
            };
            for (_, queue) in of_key.iter_mut().filter(|(of, _)| of == kind) {
                queue.remove(&waiter.id);
            }
            of_key.retain(|(_, queue)| !queue.is_empty());
            if of_key.is_empty() {
                queues.remove(key);
            }
        }
        if queues.is_empty() {
            tables.queues.remove(&origin.database);
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }
}

/// The right to serve those who wait, which one thread has at a time, so that their order is kept.
pub struct Serving<'w> {
    waiters: &'w Waiters,
    _right: MutexGuard<'w, ()>,
}

impl Serving<'_> {
    /// A key that was changed.
    pub fn next_key(&self) -> Option<(DatabaseId, Vec<u8>)> {
        let mut tables = self.waiters.tables();
        let Some(name) = tables.changed.pop_front() else {
            self.waiters.any_changed.store(false, Ordering::Release);
            return None;
        };
        tables.changed_set.remove(&name);
        Some(name)
    }

    /// Puts a key back that has more to be served.
    pub fn put_back(&self, database: DatabaseId, key: &[u8]) {
        let mut tables = self.waiters.tables();
        self.waiters.note(&mut tables, database, key);
        self.waiters.work.notify_one();
    }

    /// Who has waited longest for a key and a kind of value, of those that came after this one.
    pub fn next_waiter(
        &self,
        database: DatabaseId,
        key: &[u8],
        kind: Kind,
        after: u64,
    ) -> Option<Arc<Waiter>> {
        let tables = self.waiters.tables();
        let queues = tables.queues.get(&database)?.get(key)?;
        let (_, queue) = queues.iter().find(|(of, _)| *of == kind)?;
        let id = queue.range(after + 1..).next()?;
        tables.waiters.get(id).cloned()
    }
}

/// A place in the queues, which is given up with it.
pub struct Waiting {
    waiters: Arc<Waiters>,
    waiter: Arc<Waiter>,
}

impl Waiting {
    /// Who waits.
    pub fn waiter(&self) -> &Arc<Waiter> {
        &self.waiter
    }

    /// What it waits for.
    pub fn interest(&self) -> &Interest {
        &self.waiter.interest
    }

    /// Waits until it is woken.
    pub async fn woken(&self) -> Wake {
        loop {
            if let Some(wake) = self.take_wake() {
                return wake;
            }
            self.waiter.wake.notified().await;
        }
    }

    fn take_wake(&self) -> Option<Wake> {
        let mut state = self.waiter.state.lock();
        match std::mem::replace(&mut *state, State::Waits) {
            State::Woken(wake) => {
                *state = match wake {
                    Wake::Ended(_) => State::Left,
                    Wake::Turn(_) => State::Tries,
                };
                Some(wake)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// Takes a turn that nobody gave it. `false` if it is being served.
    pub fn take_turn(&self) -> bool {
        let mut state = self.waiter.state.lock();
        let waits = matches!(*state, State::Waits);
        if waits {
            *state = State::Tries;
        }
        waits
    }

    /// Ends the waiting since its time is over. `false` if it is being served, or was.
    pub fn time_out(&self) -> bool {
        self.waiter.end(End::TimedOut)
    }

    /// It executed its request, and found nothing: it waits on, and who came after it may try.
    pub fn tried(&self) {
        self.set(State::Waits);
        self.pass_on();
    }

    fn set(&self, next: State) -> State {
        std::mem::replace(&mut *self.waiter.state.lock(), next)
    }

    /// There may be more for others.
    fn pass_on(&self) {
        let Interest { origin, keys, .. } = self.interest();
        let mut tables = self.waiters.tables();
        for key in keys {
            self.waiters.note(&mut tables, origin.database, key);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let last = self.set(State::Left);
        self.waiters.remove(&self.waiter);
        if matches!(last, State::Tries | State::Woken(Wake::Turn(_))) {
            self.pass_on();
        }
    }
}
