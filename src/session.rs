//! What the server knows about one connection, and the registry of all of them. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use coterie_protocol::{DatabaseId, RespVersion};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::monitor::Monitor;
use crate::wal::LogOffset;

/// Whether replies are sent (`CLIENT REPLY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReplyMode {
    /// Every reply.
    #[default]
    On,
    /// None.
    Off,
    /// Not the reply of the next command: set by the command itself, for the one after it.
    SkipNext,
    /// Not the reply of this command.
    Skip,
}

/// State of one connection, owned by its task.
pub struct Session {
    /// The part that other connections see (`CLIENT LIST`, `CLIENT KILL`).
    pub client: Arc<Client>,
    /// The selected database.
    pub database: DatabaseId,
    /// The protocol version replies are written in.
    pub resp: RespVersion,
    /// Whether it may use commands that need authentication.
    pub authenticated: bool,
    /// See [`ReplyMode`].
    pub reply_mode: ReplyMode,
    /// `CLIENT NO-TOUCH`: reading does not count as use.
    pub no_touch: bool,
    /// Full name of the last command.
    pub last_command: &'static str,
    /// Receives a copy of every command (`MONITOR`).
    pub monitor: bool,
    /// Where those copies come from, until the connection listens there.
    pub monitoring: Option<Monitor>,
    /// To be closed after the replies so far are sent.
    pub close_after_reply: bool,
    /// Where the log must be durable before the replies so far may leave.
    pub barrier: Option<LogOffset>,
    /// Scratch space for a transaction's effects.
    pub payload: Vec<u8>,
}

impl Session {
    /// The state of a fresh connection.
    pub fn new(client: Arc<Client>, authenticated: bool) -> Self {
        Session {
            client,
            database: DatabaseId(0),
            resp: RespVersion::Resp2,
            authenticated,
            reply_mode: ReplyMode::On,
            no_touch: false,
            last_command: "NULL",
            monitor: false,
            monitoring: None,
            close_after_reply: false,
            barrier: None,
            payload: Vec::new(),
        }
    }

    /// Shows others the state after a batch of commands.
    pub fn publish(
        &self,
        now_ms: u64,
        query_bytes: usize,
        query_capacity: usize,
        output_bytes: usize,
    ) {
        self.client.active_ms.store(now_ms, Ordering::Relaxed);
        let mut details = self.client.details.lock();
        details.database = self.database;
        details.resp = self.resp;
        details.last_command = self.last_command;
        details.monitor = self.monitor;
        details.no_touch = self.no_touch;
        details.query_bytes = query_bytes;
        details.query_free = query_capacity.saturating_sub(query_bytes);
        details.output_bytes = output_bytes;
    }

    /// Tells others whether the connection waits for something other than its client.
    pub fn set_blocked(&self, blocked: bool) {
        self.client.details.lock().blocked = blocked;
    }
}

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
    /// It is held back by `CLIENT PAUSE` or waits for something else.
    pub blocked: bool,
    /// Bytes of unprocessed input.
    pub query_bytes: usize,
    /// Free space in the input buffer.
    pub query_free: usize,
    /// Bytes of output not yet sent.
    pub output_bytes: usize,
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
            details: Mutex::new(ClientDetails {
                name: Vec::new(),
                library_name: Vec::new(),
                library_version: Vec::new(),
                database: DatabaseId(0),
                resp: RespVersion::Resp2,
                last_command: "NULL",
                monitor: false,
                no_evict: false,
                no_touch: false,
                blocked: false,
                query_bytes: 0,
                query_free: 0,
                output_bytes: 0,
            }),
            killed: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Ends the connection soon.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake.notify_one();
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
