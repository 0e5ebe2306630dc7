//! Client-side caching: who may have which keys in a cache of its own, and has to be told when they change
//! (<https://redis.io/docs/latest/develop/reference/client-side-caching/>).
//!
//! Keys that clients have read are kept in a table with the clients' ids, whatever the database. A key leaves the
//! table when it changes, and its clients are told. Clients that broadcast is asked for are told of every key with
//! one of their prefixes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coterie_protocol::{ReplyWriter, RespVersion};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::clients::{Client, Registry};
use crate::config::OutputBufferLimit;
use crate::node::Node;

/// Locks that keys are spread over.
const SHARDS: usize = 64;
/// Keys forgotten at most for each command that is remembered, when there are too many.
const FORGOTTEN_MAX: usize = 100;
/// Where clients that speak RESP2 are told, over another connection.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// How a client tracks keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mode {
    /// Id of the client that is told instead; 0 for none.
    pub redirect: u64,
    /// It is told of all keys with its prefixes, whether it has read them or not.
    pub broadcast: bool,
    /// Only keys that are read after `CLIENT CACHING YES` are remembered.
    pub opt_in: bool,
    /// Keys that are read after `CLIENT CACHING NO` are not remembered.
    pub opt_out: bool,
    /// It is not told of keys that it changes itself.
    pub no_loop: bool,
    /// The client that was to be told is gone.
    pub is_broken: bool,
    /// What keys begin with that it is told of.
    pub prefixes: BTreeSet<Box<[u8]>>,
}

/// Ids of clients, ascending.
type Ids = SmallVec<[u64; 2]>;

/// Keys and who may have them.
type Shard = HashMap<Box<[u8]>, Ids>;
/// Prefixes of keys and who wants to know of such keys.
type Prefixes = BTreeMap<Box<[u8]>, BTreeMap<u64, Arc<Client>>>;

/// See the module.
pub struct Tracking {
    shards: Box<[Mutex<Shard>]>,
    prefixes: RwLock<Prefixes>,
    clients: AtomicUsize,
    keys: AtomicUsize,
    items: AtomicUsize,
}

impl Default for Tracking {
    fn default() -> Self {
        let zero = || AtomicUsize::new(0);
        Tracking {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            prefixes: RwLock::default(),
            clients: zero(),
            keys: zero(),
            items: zero(),
        }
    }
}

impl Tracking {
    /// Number of clients that track keys.
    #[inline]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Number of keys that are remembered.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Number of pairs of keys and clients that are remembered.
    pub fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// Number of prefixes.
    pub fn prefixes(&self) -> usize {
        self.prefixes.read().len()
    }

    fn shard(&self, key: &[u8]) -> &Mutex<HashMap<Box<[u8]>, Ids>> {
        &self.shards[xxh3_64(key) as usize % SHARDS]
    }

    fn remember(&self, id: u64, key: &[u8]) {
        let mut shard = self.shard(key).lock();
        let ids = match shard.get_mut(key) {
            Some(ids) => ids,
            None => {
                self.keys.fetch_add(1, Ordering::Relaxed);
                shard.entry(key.into()).or_default()
            }
        };
        if let Err(place) = ids.binary_search(&id) {
            ids.insert(place, id);
            self.items.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn forget(&self, key: &[u8]) -> Option<Ids> {
        let ids = self.shard(key).lock().remove(key)?;
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.items.fetch_sub(ids.len(), Ordering::Relaxed);
        Some(ids)
    }

    /// Forgets some keys, whichever, while there are more than `max`. Their clients are told.
    fn limit(&self, clients: &Registry, max: u64, limit: &OutputBufferLimit) {
        let mut forgotten = 0;
        while self.keys() as u64 > max && forgotten < FORGOTTEN_MAX {
            let start = rand::random_range(0..SHARDS);
            let key = (0..SHARDS).find_map(|step| {
                let shard = self.shards[(start + step) % SHARDS].lock();
                shard.keys().next().cloned()
            });
            let Some(key) = key else {
                return;
            };
            self.invalidate_read(clients, 0, &key, limit);
            forgotten += 1;
        }
    }

    /// Tells clients that keys have changed, by the doing of `origin` (0 for nobody's).
    pub fn invalidate<'k>(
        &self,
        clients: &Registry,
        origin: u64,
        keys: impl Iterator<Item = &'k [u8]>,
        limit: &OutputBufferLimit,
    ) {
        let mut changed = BTreeSet::new();
        for key in keys {
            self.invalidate_read(clients, origin, key, limit);
            changed.insert(key);
        }
        for (prefix, listeners) in &*self.prefixes.read() {
            let keys: Vec<&[u8]> = changed
                .range(&**prefix..)
                .take_while(|key| key.starts_with(prefix))
                .copied()
                .collect();
            if keys.is_empty() {
                continue;
            }
            for client in listeners.values() {
                tell(clients, client, true, origin, Some(&keys), limit);
            }
        }
    }

    /// Tells the clients that have read a key.
    fn invalidate_read(
        &self,
        clients: &Registry,
        origin: u64,
        key: &[u8],
        limit: &OutputBufferLimit,
    ) {
        if self.keys() == 0 {
            return;
        }
        for id in self.forget(key).into_iter().flatten() {
            if let Some(client) = clients.get(id) {
                tell(clients, &client, false, origin, Some(&[key]), limit);
            }
        }
    }

    /// Tells all clients that every key may have changed, and forgets them.
    pub fn clear(&self, clients: &Registry, limit: &OutputBufferLimit) {
        for shard in &self.shards {
            let cleared = std::mem::take(&mut *shard.lock());
            let items: usize = cleared.values().map(SmallVec::len).sum();
            self.keys.fetch_sub(cleared.len(), Ordering::Relaxed);
            self.items.fetch_sub(items, Ordering::Relaxed);
        }
        for client in clients.all() {
            let broadcast = client.tracking.lock().as_ref().map(|mode| mode.broadcast);
            if let Some(broadcast) = broadcast {
                tell(clients, &client, broadcast, 0, None, limit);
            }
        }
    }
}

/// Tells a client of keys, or of all. What was remembered in another mode than its present one does not count.
fn tell(
    clients: &Registry,
    client: &Arc<Client>,
    broadcast: bool,
    origin: u64,
    keys: Option<&[&[u8]]>,
    limit: &OutputBufferLimit,
) {
    let mut mode = client.tracking.lock();
    let Some(mode) = mode
        .as_mut()
        .filter(|mode| mode.broadcast == broadcast && !(mode.no_loop && client.id == origin))
    else {
        return;
    };
    let redirect = mode.redirect;
    let other = (redirect > 0).then(|| clients.get(redirect));
    if let Some(None) = other {
        mode.is_broken = true;
    }
    let receiver = match &other {
        Some(Some(other)) => other,
        Some(None) | None => client,
    };
    let version = receiver.outbox.version();
    let mut bytes = Vec::new();
    let mut message = ReplyWriter::new(&mut bytes, version);
    match (version, &other) {
        (RespVersion::Resp3, Some(None)) => {
            message.push(2);
            message.bulk(b"tracking-redir-broken");
            message.integer(redirect as i64);
            return client.deliver(&bytes.into(), limit);
        }
        (RespVersion::Resp3, _) => {
            message.push(2);
            message.bulk(b"invalidate");
        }
        (RespVersion::Resp2, Some(Some(other))) if other.is_subscriber() => {
            message.push(3);
            message.bulk(b"message");
            message.bulk(CHANNEL);
        }
        // RESP2 has no place for what nobody asked for.
        (RespVersion::Resp2, _) => return,
    }
    match keys {
        Some(keys) => {
            message.array(keys.len());
            keys.iter().for_each(|key| message.bulk(key));
        }
        None => message.null(),
    }
    receiver.deliver(&bytes.into(), limit);
}

/// A connection that tracks keys; it no longer does when this is dropped.
pub struct Tracked {
    node: Arc<Node>,
    client: Arc<Client>,
    /// What `CLIENT CACHING` said of the next command.
    caching: bool,
}

impl Tracked {
    /// Begins to track keys. The client did not.
    pub fn new(node: Arc<Node>, client: Arc<Client>) -> Self {
        node.tracking.clients.fetch_add(1, Ordering::Relaxed);
        *client.tracking.lock() = Some(Mode::default());
        node.refresh_watch();
        Tracked {
            node,
            client,
            caching: false,
        }
    }

    /// How it tracks them.
    pub fn mode(&self) -> Mode {
        self.client.tracking.lock().clone().unwrap_or_default()
    }

    /// Tracks them in another way. Prefixes are added to those there are.
    pub fn set_mode(&self, mut mode: Mode) {
        if mode.broadcast {
            let mut all = self.node.tracking.prefixes.write();
            for prefix in &mode.prefixes {
                let listeners = all.entry(prefix.clone()).or_default();
                listeners.insert(self.client.id, self.client.clone());
            }
        }
        let mut present = self.client.tracking.lock();
        if let Some(present) = &mut *present {
            mode.prefixes.append(&mut present.prefixes);
        }
        *present = Some(mode);
    }

    /// Whether `CLIENT CACHING` was said of the next command.
    pub fn is_caching(&self) -> bool {
        self.caching
    }

    /// `CLIENT CACHING` was said of the next command.
    pub fn begin_caching(&mut self) {
        self.caching = true;
    }

    /// The command is over.
    #[inline]
    pub fn end_caching(&mut self) {
        self.caching = false;
    }

    /// Takes note of keys that the client reads, if it is to be told of them.
    pub fn remember<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let is_wanted = self.client.tracking.lock().as_ref().is_some_and(|mode| {
            let is_left_out = if self.caching {
                mode.opt_out
            } else {
                mode.opt_in
            };
            !mode.broadcast && !is_left_out
        });
        if !is_wanted {
            return;
        }
        let tracking = &self.node.tracking;
        for key in keys {
            tracking.remember(self.client.id, key);
        }
        let config = self.node.config.load();
        let max = config.tracking_table_max_keys;
        if max > 0 && tracking.keys() as u64 > max {
            let limit = config.client_output_buffer_limit.pubsub;
            tracking.limit(&self.node.clients, max, &limit);
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let mode = self.client.tracking.lock().take();
        let mut prefixes = self.node.tracking.prefixes.write();
        for prefix in mode.iter().flat_map(|mode| &mode.prefixes) {
            if let Some(listeners) = prefixes.get_mut(prefix) {
                listeners.remove(&self.client.id);
                if listeners.is_empty() {
                    prefixes.remove(prefix);
                }
            }
        }
        drop(prefixes);
        self.node.tracking.clients.fetch_sub(1, Ordering::Relaxed);
        self.node.refresh_watch();
    }
}
