//! What the server knows about one connection. No I/O.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use coterie_protocol::{DatabaseId, PartitionId, RespVersion};
use tokio::time::Instant;

use crate::acl::Account;
use crate::clients::Client;
use crate::commands::{Queue, Watched};
use crate::monitor::Monitor;
use crate::outstanding::Outstanding;
use crate::pubsub::{Subscriptions, Topic};
use crate::replication::Operation;
use crate::topology::Quorum;
use crate::tracking::Tracked;
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
    /// The account it is logged in as; `None` where nothing is to be checked: what this server or another node asks for.
    pub user: Option<Arc<Account>>,
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
    /// What it listens to, once it did.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// How it tracks keys (`CLIENT TRACKING`), if it does.
    pub tracking: Option<Box<Tracked>>,
    /// To be closed after the replies so far are sent.
    pub close_after_reply: bool,
    /// What the replies so far wait for.
    pub outstanding: Outstanding,
    /// Whether its requests come from another node, which expects them to be executed here.
    pub forwarded: bool,
    /// Whether a request for another node is never answered with `MOVED`: the caller could not follow.
    pub proxied: bool,
    /// What this node knows of the next request's keys was just compared with other replicas; `false` if there were too
    /// few of them.
    pub refreshed: Option<bool>,
    /// How often its next request has waited for a replica that its partition moves to.
    pub waits: u8,
    /// How often its request was sent on because routes had changed.
    pub tries: u8,
    /// When that ends, once it was sent on.
    pub deadline: Option<Instant>,
    /// What its request is known by, if that must be executed exactly once and may have been.
    pub operation: Option<Operation>,
    /// What a walk over all keys is limited to, where another node walks over the rest.
    pub partitions: Option<Arc<[PartitionId]>>,
    /// The end of the last record that one of its writes made (`WAIT`).
    pub last_write: Option<LogOffset>,
    /// How many replicas its requests wait for, where that is not the database's policy.
    pub consistency: Consistency,
    /// The commands since `MULTI`.
    pub queue: Option<Arc<Queue>>,
    /// Keys whose change `EXEC` is to notice.
    pub watched: Vec<Watched>,
    /// The present command has seen to it which of its replies are withheld.
    pub answered: bool,
    /// Whether its requests come from this server itself.
    pub internal: bool,
    /// Scratch space for a transaction's effects.
    pub payload: Vec<u8>,
}

/// What a connection chose for itself (`COTERIE.CONSISTENCY`, `READONLY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Consistency {
    /// Replicas that agree before a read is answered, where that is not the policy's.
    pub read: Option<Quorum>,
    /// Replicas that hold a write before it is acknowledged, where that is not the policy's.
    pub write: Option<Quorum>,
    /// Reads are answered from this node's own data if it has any, however old (`READONLY`).
    pub local_reads: bool,
}

/// What the requests of a connection are executed with, wherever a part of one is.
#[derive(Clone)]
pub struct Origin {
    /// The client.
    pub client: Arc<Client>,
    /// See [`Session::user`].
    pub user: Option<Arc<Account>>,
    /// The selected database.
    pub database: DatabaseId,
    /// The protocol version replies are written in.
    pub resp: RespVersion,
    /// Reading does not count as use.
    pub no_touch: bool,
    /// See [`Consistency`].
    pub consistency: Consistency,
    /// Whether it is another node's.
    pub forwarded: bool,
    /// See [`Session::proxied`].
    pub proxied: bool,
    /// See [`Session::tries`].
    pub tries: u8,
    /// See [`Session::deadline`].
    pub deadline: Option<Instant>,
    /// Whether its request may have been executed before.
    pub again: bool,
    /// See [`Session::internal`].
    pub internal: bool,
}

impl Origin {
    /// A session of its own for a part of a request.
    pub fn session(&self) -> Session {
        let mut session = Session::new(self.client.clone(), true);
        session.user.clone_from(&self.user);
        session.database = self.database;
        session.resp = self.resp;
        session.no_touch = self.no_touch;
        session.consistency = self.consistency;
        session.forwarded = self.forwarded;
        session.tries = self.tries;
        session.deadline = self.deadline;
        session.proxied = self.proxied;
        session.internal = self.internal;
        session
    }

    /// A session of its own for what its client has not asked for in these words.
    pub fn internal_session(&self) -> Session {
        let mut session = self.session();
        session.user = None;
        session.internal = true;
        session.proxied = true;
        session
    }
}

impl Session {
    /// What its requests are executed with.
    pub fn origin(&self) -> Origin {
        Origin {
            client: self.client.clone(),
            user: self.user.clone(),
            database: self.database,
            resp: self.resp,
            no_touch: self.no_touch,
            consistency: self.consistency,
            forwarded: self.forwarded,
            proxied: self.proxied,
            tries: self.tries,
            deadline: self.deadline,
            again: self.operation.as_ref().is_some_and(Operation::is_again),
            internal: self.internal,
        }
    }

    /// The state of a fresh connection.
    pub fn new(client: Arc<Client>, authenticated: bool) -> Self {
        Session {
            client,
            database: DatabaseId(0),
            resp: RespVersion::Resp2,
            authenticated,
            user: None,
            reply_mode: ReplyMode::On,
            no_touch: false,
            last_command: "NULL",
            monitor: false,
            monitoring: None,
            subscriptions: None,
            tracking: None,
            close_after_reply: false,
            outstanding: Outstanding::default(),
            forwarded: false,
            proxied: false,
            refreshed: None,
            waits: 0,
            tries: 0,
            deadline: None,
            operation: None,
            partitions: None,
            last_write: None,
            consistency: Consistency::default(),
            queue: None,
            watched: Vec::new(),
            answered: false,
            internal: false,
            payload: Vec::new(),
        }
    }

    /// `RESET`: back to the state of a new connection. What Redis keeps stays: protection from eviction, and what the
    /// client library told of itself.
    pub fn reset(&mut self) {
        self.database = DatabaseId(0);
        self.set_resp(RespVersion::Resp2);
        self.monitor = false;
        self.monitoring = None;
        self.subscriptions = None;
        self.tracking = None;
        self.no_touch = false;
        self.consistency = Consistency::default();
        self.end_transaction();
        if self.reply_mode == ReplyMode::Off {
            self.reply_mode = ReplyMode::On;
        }
        self.client.details.lock().name.clear();
    }

    /// Drops what was queued, and ends watching.
    pub fn end_transaction(&mut self) {
        self.queue = None;
        self.watched.clear();
    }

    /// Goes on in another version of the protocol.
    pub fn set_resp(&mut self, version: RespVersion) {
        self.resp = version;
        self.client.outbox.set_version(version);
    }

    /// Whether it listens to anything.
    #[inline]
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|s| !s.is_empty())
    }

    /// Whether it has to authenticate first.
    #[inline]
    pub fn needs_password(&self) -> bool {
        !self.authenticated && self.user.as_ref().is_some_and(|user| !user.is_open())
    }

    /// Begins as the default user, who need not log in if everyone is let in.
    pub fn begin_as(&mut self, default: &Arc<Account>) {
        self.log_in(default);
        self.authenticated = default.is_open();
    }

    /// Goes on as this user.
    pub fn log_in(&mut self, account: &Arc<Account>) {
        self.authenticated = true;
        self.client.details.lock().user = Some(account.clone());
        self.user = Some(account.clone());
    }

    /// Whether the reply of the command that just ended is withheld. `CLIENT REPLY SKIP` moves on by one command.
    #[inline]
    pub fn end_command(&mut self) -> bool {
        if let Some(tracked) = &mut self.tracking
            && self.queue.is_none()
            && !self.last_command.starts_with("client")
        {
            tracked.end_caching();
        }
        if std::mem::take(&mut self.answered) {
            if self.reply_mode == ReplyMode::SkipNext {
                self.reply_mode = ReplyMode::Skip;
            }
            return false;
        }
        match self.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::Skip;
                true
            }
            ReplyMode::Skip => {
                self.reply_mode = ReplyMode::On;
                true
            }
        }
    }

    /// Shows others the state after a batch of commands, or to a command that tells of clients.
    pub fn publish(&self, now_ms: u64) {
        self.client.active_ms.store(now_ms, Ordering::Relaxed);
        self.client.buffers.set_queued(self.queued_bytes());
        let mut details = self.client.details.lock();
        details.database = self.database;
        details.resp = self.resp;
        details.last_command = self.last_command;
        details.monitor = self.monitor;
        details.no_touch = self.no_touch;
        if let Some(subscriptions) = &self.subscriptions {
            details.listens_to = Topic::ALL.map(|topic| subscriptions.count(topic));
        } else {
            details.listens_to = [0; 3];
        }
        details.queued = self.queue.as_ref().map(|queue| queue.commands.len());
        details.watched = self.watched.len();
    }

    /// Memory of what was gathered for a transaction.
    pub fn queued_bytes(&self) -> usize {
        let queue = self.queue.as_ref();
        let names: usize = self.watched.iter().map(|watched| watched.key.len()).sum();
        queue.map_or(0, |queue| queue.allocated_bytes())
            + self.watched.len() * size_of::<Watched>()
            + names
    }

    /// Tells others whether the connection waits for something other than its client.
    pub fn set_blocked(&self, blocked: bool) {
        self.client.details.lock().blocked = blocked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_a_reply_lasts_for_one_command() {
        let client = Client::new(1, "a:1".into(), "b:2".into(), true, -1, 0);
        let mut session = Session::new(client.into(), true);
        session.reply_mode = ReplyMode::SkipNext;
        let withheld: Vec<bool> = (0..3).map(|_| session.end_command()).collect();
        assert_eq!(withheld, [true, true, false]);
    }
}
