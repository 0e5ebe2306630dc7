//! What others see of connections, and the registry of all of them. No I/O.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use coterie_protocol::{DatabaseId, RespVersion};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::acl::Account;
use crate::config::OutputBufferLimit;
use crate::pubsub::{Outbox, TooSlow};
use crate::tracking::Mode;

/// What others see of a connection, and how they end it.
pub struct Client {
    /// Unique for the life of the process.
    pub id: u64,
    /// Peer address as `ip:port`, or the socket's path with `:0`.
    pub address: String,
    /// Own address.
    pub local_address: String,
    /// Connected from this machine.
    pub is_local: bool,
    /// File descriptor, as `CLIENT LIST` shows it.
    pub descriptor: i32,
    /// When it connected, Unix milliseconds.
    pub connected_ms: u64,
    /// When it last sent something, Unix milliseconds.
    pub active_ms: AtomicU64,
    /// Sizes of its buffers.
    pub buffers: Buffers,
    /// Messages for it that no request of its asked for.
    pub outbox: Outbox,
    /// How it tracks keys, if it does.
    pub tracking: Mutex<Option<Mode>>,
    /// What changes with its commands.
    pub details: Mutex<ClientDetails>,
    killed: AtomicBool,
    wake: Notify,
}

/// See [`Client`]; refreshed once a batch.
#[derive(Clone, Debug)]
pub struct ClientDetails {
    /// `CLIENT SETNAME`; empty for none.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: Vec<u8>,
    /// Selected database.
    pub database: DatabaseId,
    /// The account it is logged in as.
    pub user: Option<Arc<Account>>,
    /// Protocol version.
    pub resp: RespVersion,
    /// Full name of the last command (`client|list`).
    pub last_command: &'static str,
    /// `MONITOR` was sent.
    pub monitor: bool,
    /// `CLIENT NO-EVICT on`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH on`.
    pub no_touch: bool,
    /// Commands queued since `MULTI`.
    pub queued: Option<usize>,
    /// Watched keys.
    pub watched: usize,
    /// It is held back by `CLIENT PAUSE` or waits for something else.
    pub blocked: bool,
    /// How many channels, patterns and shard channels it listens to, in the order of [`crate::pubsub::Topic::ALL`].
    pub listens_to: [usize; 3],
}

/// Sizes of a connection's buffers in bytes, shown by its task whenever they change.
#[derive(Default)]
pub struct Buffers {
    query_bytes: AtomicUsize,
    query_capacity: AtomicUsize,
    output_bytes: AtomicUsize,
    output_capacity: AtomicUsize,
    output_peak: AtomicUsize,
    queued_bytes: AtomicUsize,
}

/// A reading of [`Buffers`], in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferSizes {
    /// Unprocessed input.
    pub query_bytes: usize,
    /// Input buffer, its free space included.
    pub query_capacity: usize,
    /// Replies not yet sent.
    pub output_bytes: usize,
    /// Output buffer, its free space included.
    pub output_capacity: usize,
    /// Most bytes that the output buffer held, since it was last given back.
    pub output_peak: usize,
    /// Commands that wait for `EXEC`.
    pub queued_bytes: usize,
}

impl Buffers {
    /// Shows the input buffer.
    pub fn set_query(&self, bytes: usize, capacity: usize) {
        self.query_bytes.store(bytes, Ordering::Relaxed);
        self.query_capacity.store(capacity, Ordering::Relaxed);
    }

    /// Shows the output buffer.
    pub fn set_output(&self, bytes: usize, capacity: usize) {
        self.output_bytes.store(bytes, Ordering::Relaxed);
        self.output_capacity.store(capacity, Ordering::Relaxed);
        let peak = self.output_peak.load(Ordering::Relaxed).max(bytes);
        self.output_peak
            .store(peak.min(capacity), Ordering::Relaxed);
    }

    /// Shows the commands that wait for `EXEC`.
    pub fn set_queued(&self, bytes: usize) {
        self.queued_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Shows what of the output buffer is in use, in the middle of a batch.
    pub fn set_output_bytes(&self, bytes: usize) {
        self.output_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The sizes as shown last.
    pub fn sizes(&self) -> BufferSizes {
        BufferSizes {
            query_bytes: self.query_bytes.load(Ordering::Relaxed),
            query_capacity: self.query_capacity.load(Ordering::Relaxed),
            output_bytes: self.output_bytes.load(Ordering::Relaxed),
            output_capacity: self.output_capacity.load(Ordering::Relaxed),
            output_peak: self.output_peak.load(Ordering::Relaxed),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed),
        }
    }
}

impl BufferSizes {
    /// Memory of all of them.
    pub fn total(&self) -> usize {
        self.query_capacity + self.output_capacity + self.queued_bytes
    }
}

impl Client {
    /// A client that connected just now.
    pub fn new(
        id: u64,
        address: String,
        local_address: String,
        is_local: bool,
        descriptor: i32,
        now_ms: u64,
    ) -> Self {
        Client {
            id,
            address,
            local_address,
            is_local,
            descriptor,
            connected_ms: now_ms,
            active_ms: AtomicU64::new(now_ms),
            buffers: Buffers::default(),
            outbox: Outbox::default(),
            tracking: Mutex::new(None),
            details: Mutex::new(ClientDetails {
                name: Vec::new(),
                library_name: Vec::new(),
                library_version: Vec::new(),
                database: DatabaseId(0),
                user: None,
                resp: RespVersion::Resp2,
                last_command: "NULL",
                monitor: false,
                no_evict: false,
                no_touch: false,
                queued: None,
                watched: 0,
                blocked: false,
                listens_to: [0; 3],
            }),
            killed: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Connected through the Unix socket.
    pub fn is_unix_socket(&self) -> bool {
        // No peer has port 0.
        self.address.ends_with(":0")
    }

    /// Ends the connection soon.
    fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Sends it a message that it did not ask for, in the version of its outbox. It is disconnected if it does not
    /// read fast enough.
    pub fn deliver(&self, message: &Bytes, limit: &OutputBufferLimit) {
        let unsent = self.buffers.sizes().output_bytes;
        if self.outbox.push(message, limit, unsent) == Err(TooSlow) {
            self.give_up();
        }
    }

    /// Disconnects it if it has not read its messages for too long.
    pub fn check_outbox(&self, limit: &OutputBufferLimit) {
        let unsent = self.buffers.sizes().output_bytes;
        if self.outbox.check(limit, unsent) == Err(TooSlow) {
            self.give_up();
        }
    }

    fn give_up(&self) {
        tracing::warn!(
            client = self.id,
            address = self.address,
            "disconnected: its messages exceed client-output-buffer-limit"
        );
        self.kill();
    }

    /// Whether it listens to anything, as of its last batch of commands.
    pub fn is_subscriber(&self) -> bool {
        self.details.lock().listens_to != [0; 3]
    }

    /// Memory of its buffers and messages, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.buffers.sizes().total() + self.outbox.bytes()
    }

    /// Whether it is logged in as this account.
    pub fn is_user(&self, account: &Arc<Account>) -> bool {
        let details = self.details.lock();
        details
            .user
            .as_ref()
            .is_some_and(|user| Arc::ptr_eq(user, account))
    }

    /// Whether somebody asked for its end.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Waits until somebody asks for its end.
    pub async fn killed(&self) {
        while !self.is_killed() {
            self.wake.notified().await;
        }
    }
}

/// All connections, by id.
#[derive(Default)]
pub struct Registry {
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    next_id: AtomicU64,
}

impl Registry {
    /// An id for a new connection, from 1 on.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a connection, unless there are `max` already.
    pub fn add(&self, client: Arc<Client>, max: usize) -> bool {
        let mut clients = self.clients.lock();
        if clients.len() >= max {
            return false;
        }
        clients.insert(client.id, client);
        true
    }

    /// Removes a connection.
    pub fn remove(&self, id: u64) {
        self.clients.lock().remove(&id);
    }

    /// Ends a connection: it is gone from the list at once, and executes nothing more than the command it is at.
    pub fn kill(&self, client: &Client) {
        self.remove(client.id);
        client.kill();
    }

    /// The connections to end so that the buffers of the rest use no more than this, largest first. Spares those
    /// that asked for it (`CLIENT NO-EVICT`), although they count.
    pub fn above_memory_limit(&self, limit_bytes: u64) -> Vec<Arc<Client>> {
        let sized = |client: Arc<Client>| (client.buffer_bytes() as u64, client);
        let mut clients: Vec<_> = self.all().into_iter().map(sized).collect();
        let mut used: u64 = clients.iter().map(|(bytes, _)| bytes).sum();
        if used <= limit_bytes {
            return Vec::new();
        }
        clients.retain(|(_, client)| !client.details.lock().no_evict);
        clients.sort_by_key(|(bytes, _)| Reverse(*bytes));
        let mut above = Vec::new();
        for (bytes, client) in clients {
            if used <= limit_bytes {
                break;
            }
            used -= bytes;
            above.push(client);
        }
        above
    }

    /// A connection by its id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.lock().get(&id).cloned()
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the list, by ascending id.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.clients.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64, query_capacity: usize, output_capacity: usize) -> Arc<Client> {
        let client = Client::new(id, format!("127.0.0.1:{id}"), String::new(), true, 0, 0);
        client.buffers.set_query(0, query_capacity);
        client.buffers.set_output(0, output_capacity);
        Arc::new(client)
    }

    fn ids(clients: &[Arc<Client>]) -> Vec<u64> {
        clients.iter().map(|client| client.id).collect()
    }

    #[test]
    fn the_largest_clients_go_until_the_rest_fits() {
        let registry = Registry::default();
        for (id, query, output) in [(1, 10, 10), (2, 500, 0), (3, 0, 300), (4, 100, 100)] {
            assert!(registry.add(client(id, query, output), 10));
        }
        assert!(registry.above_memory_limit(1020).is_empty());
        assert_eq!(ids(&registry.above_memory_limit(1019)), [2]);
        assert_eq!(ids(&registry.above_memory_limit(519)), [2, 3]);
        let largest = registry.get(2).expect("added");
        largest.details.lock().no_evict = true;
        assert_eq!(ids(&registry.above_memory_limit(519)), [3, 4, 1]);
        registry.kill(&largest);
        assert!(largest.is_killed() && registry.get(2).is_none());
        assert_eq!(ids(&registry.above_memory_limit(519)), [3]);
    }
}
