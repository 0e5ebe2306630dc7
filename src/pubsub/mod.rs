//! Who listens to which channel, and what is published there.
//!
//! Subscriptions are kept by channel, in shards with a lock each. A message is put into the outboxes of all who
//! listen while the channel's shard is locked, so that every subscriber of a channel sees its messages in the same
//! order. It is encoded once for each version of the protocol.

mod outbox;
mod remote;
mod subscriptions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use coterie_protocol::{ReplyWriter, RespVersion};
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::xxh3_64;

use crate::clients::Client;
use crate::config::OutputBufferLimit;
use crate::glob::{self, Case};

pub use outbox::{Outbox, TooSlow};
pub use remote::Remote;
pub use subscriptions::Subscriptions;

/// Locks that channels of one kind are spread over.
const SHARDS: usize = 64;

/// What a client can listen to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// A channel (`SUBSCRIBE`).
    Channel,
    /// All channels whose name matches a pattern (`PSUBSCRIBE`).
    Pattern,
    /// A channel that belongs to a slot (`SSUBSCRIBE`).
    Shard,
}

impl Topic {
    /// Every kind.
    pub const ALL: [Topic; 3] = [Topic::Channel, Topic::Pattern, Topic::Shard];

    fn subscribed(self) -> &'static [u8] {
        match self {
            Topic::Channel => b"subscribe",
            Topic::Pattern => b"psubscribe",
            Topic::Shard => b"ssubscribe",
        }
    }

    fn unsubscribed(self) -> &'static [u8] {
        match self {
            Topic::Channel => b"unsubscribe",
            Topic::Pattern => b"punsubscribe",
            Topic::Shard => b"sunsubscribe",
        }
    }
}

/// Those who listen to the same, by their ids.
type Listeners = BTreeMap<u64, Arc<Client>>;

/// Channels and who listens to them.
type Shard = HashMap<Box<[u8]>, Listeners>;

/// Channels of one kind.
struct Channels {
    shards: Box<[Mutex<Shard>]>,
    count: AtomicUsize,
}

impl Channels {
    fn new() -> Self {
        Channels {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
        }
    }

    fn shard(&self, name: &[u8]) -> &Mutex<HashMap<Box<[u8]>, Listeners>> {
        &self.shards[xxh3_64(name) as usize % SHARDS]
    }

    fn add(&self, name: &[u8], client: &Arc<Client>) {
        let mut shard = self.shard(name).lock();
        let listeners = shard.entry(name.into()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Listeners::new()
        });
        listeners.insert(client.id, client.clone());
    }

    fn remove(&self, name: &[u8], id: u64) {
        let mut shard = self.shard(name).lock();
        if let Some(listeners) = shard.get_mut(name) {
            listeners.remove(&id);
            if listeners.is_empty() {
                shard.remove(name);
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn listeners(&self, name: &[u8]) -> usize {
        self.shard(name).lock().get(name).map_or(0, BTreeMap::len)
    }

    fn names(&self, pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let wanted = shard
                .keys()
                .filter(|name| pattern.is_none_or(|p| glob::matches(p, name, Case::Sensitive)));
            names.extend(wanted.map(|name| name.to_vec()));
        }
        names
    }
}

/// See the module.
pub struct PubSub {
    channels: Channels,
    shard_channels: Channels,
    patterns: RwLock<BTreeMap<Box<[u8]>, Listeners>>,
    /// Number of patterns: nobody looks at them while it is 0.
    pattern_count: AtomicUsize,
}

impl Default for PubSub {
    fn default() -> Self {
        PubSub {
            channels: Channels::new(),
            shard_channels: Channels::new(),
            patterns: RwLock::default(),
            pattern_count: AtomicUsize::new(0),
        }
    }
}

impl PubSub {
    /// Clients that listen to what is not allowed; one may be among them several times.
    pub fn listeners_unless(&self, is_allowed: impl Fn(Topic, &[u8]) -> bool) -> Vec<Arc<Client>> {
        let mut clients = Vec::new();
        let topics = [
            (Topic::Channel, &self.channels),
            (Topic::Shard, &self.shard_channels),
        ];
        for (topic, channels) in topics {
            for shard in &channels.shards {
                for (name, listeners) in shard.lock().iter() {
                    if !is_allowed(topic, name) {
                        clients.extend(listeners.values().cloned());
                    }
                }
            }
        }
        for (name, listeners) in self.patterns.read().iter() {
            if !is_allowed(Topic::Pattern, name) {
                clients.extend(listeners.values().cloned());
            }
        }
        clients
    }

    fn add(&self, topic: Topic, name: &[u8], client: &Arc<Client>) {
        match topic {
            Topic::Channel => self.channels.add(name, client),
            Topic::Shard => self.shard_channels.add(name, client),
            Topic::Pattern => {
                let mut patterns = self.patterns.write();
                let listeners = patterns.entry(name.into()).or_default();
                listeners.insert(client.id, client.clone());
                self.pattern_count.store(patterns.len(), Ordering::Relaxed);
            }
        }
    }

    fn remove(&self, topic: Topic, name: &[u8], id: u64) {
        match topic {
            Topic::Channel => self.channels.remove(name, id),
            Topic::Shard => self.shard_channels.remove(name, id),
            Topic::Pattern => {
                let mut patterns = self.patterns.write();
                if let Some(listeners) = patterns.get_mut(name) {
                    listeners.remove(&id);
                    if listeners.is_empty() {
                        patterns.remove(name);
                    }
                }
                self.pattern_count.store(patterns.len(), Ordering::Relaxed);
            }
        }
    }

    /// Number of channels or patterns that anyone listens to.
    pub fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel => self.channels.count.load(Ordering::Relaxed),
            Topic::Shard => self.shard_channels.count.load(Ordering::Relaxed),
            Topic::Pattern => self.pattern_count.load(Ordering::Relaxed),
        }
    }

    /// Names of channels that anyone listens to and that match a pattern, in no order. Not for patterns.
    pub fn names(&self, topic: Topic, pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
        match topic {
            Topic::Shard => self.shard_channels.names(pattern),
            Topic::Channel | Topic::Pattern => self.channels.names(pattern),
        }
    }

    /// How many clients listen to a channel, those with a matching pattern not counted.
    pub fn listeners(&self, topic: Topic, name: &[u8]) -> usize {
        match topic {
            Topic::Shard => self.shard_channels.listeners(name),
            Topic::Channel | Topic::Pattern => self.channels.listeners(name),
        }
    }

    /// Whether a message on any channel (not of a slot) could reach anyone.
    #[inline]
    pub fn is_listened_to(&self) -> bool {
        self.count(Topic::Channel) > 0 || self.count(Topic::Pattern) > 0
    }

    /// Sends a message to all who listen to a channel or to a pattern that matches it. Returns how many those are;
    /// who listens twice counts twice. Clients whose outbox exceeds `limit` are disconnected.
    pub fn publish(&self, channel: &[u8], message: &[u8], limit: &OutputBufferLimit) -> usize {
        if !self.is_listened_to() {
            return 0;
        }
        let mut receivers = 0;
        let shard = self.channels.shard(channel).lock();
        if let Some(listeners) = shard.get(channel) {
            receivers += listeners.len();
            deliver(listeners, &[b"message", channel, message], limit);
        }
        if self.count(Topic::Pattern) > 0 {
            for (pattern, listeners) in &*self.patterns.read() {
                if glob::matches(pattern, channel, Case::Sensitive) {
                    receivers += listeners.len();
                    deliver(listeners, &[b"pmessage", pattern, channel, message], limit);
                }
            }
        }
        receivers
    }

    /// Sends a message to all who listen to a channel of a slot. Returns how many those are.
    pub fn publish_to_shard(
        &self,
        channel: &[u8],
        message: &[u8],
        limit: &OutputBufferLimit,
    ) -> usize {
        if self.count(Topic::Shard) == 0 {
            return 0;
        }
        let shard = self.shard_channels.shard(channel).lock();
        let Some(listeners) = shard.get(channel) else {
            return 0;
        };
        deliver(listeners, &[b"smessage", channel, message], limit);
        listeners.len()
    }
}

fn deliver(listeners: &Listeners, words: &[&[u8]], limit: &OutputBufferLimit) {
    let mut message = Push::new(|reply| {
        reply.push(words.len());
        words.iter().for_each(|word| reply.bulk(word));
    });
    for client in listeners.values() {
        client.deliver(message.encoded(client.outbox.version()), limit);
    }
}

/// A message that is encoded when it is first needed, once for each version of the protocol.
pub struct Push<F> {
    write: F,
    encoded: [Option<Bytes>; 2],
}

impl<F: Fn(&mut ReplyWriter<'_>)> Push<F> {
    /// A message that `write` writes.
    pub fn new(write: F) -> Self {
        Push {
            write,
            encoded: [None, None],
        }
    }

    /// Its bytes.
    pub fn encoded(&mut self, version: RespVersion) -> &Bytes {
        let slot = &mut self.encoded[usize::from(version == RespVersion::Resp3)];
        slot.get_or_insert_with(|| {
            let mut bytes = Vec::new();
            (self.write)(&mut ReplyWriter::new(&mut bytes, version));
            bytes.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: OutputBufferLimit = OutputBufferLimit {
        hard: 0,
        soft: 0,
        soft_seconds: 0,
    };

    fn client(id: u64, version: RespVersion) -> Arc<Client> {
        let client = Client::new(id, format!("a:{id}"), String::new(), true, 0, 0);
        client.outbox.set_version(version);
        Arc::new(client)
    }

    fn read(client: &Client) -> String {
        let mut out = Vec::new();
        client.outbox.take(&mut out, usize::MAX);
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn messages_reach_those_who_listen() {
        let pubsub = PubSub::default();
        let (old, new) = (client(1, RespVersion::Resp2), client(2, RespVersion::Resp3));
        pubsub.add(Topic::Channel, b"news", &old);
        pubsub.add(Topic::Channel, b"news", &new);
        pubsub.add(Topic::Pattern, b"n*", &new);
        pubsub.add(Topic::Shard, b"news", &old);
        assert_eq!(pubsub.publish(b"news", b"x", &LIMIT), 3);
        assert_eq!(read(&old), "*3 $7 message $4 news $1 x ");
        assert_eq!(
            read(&new),
            ">3 $7 message $4 news $1 x >4 $8 pmessage $2 n* $4 news $1 x "
        );
        assert_eq!(pubsub.publish(b"nothing", b"x", &LIMIT), 1);
        assert_eq!(pubsub.publish_to_shard(b"news", b"y", &LIMIT), 1);
        assert_eq!(read(&old), "*3 $8 smessage $4 news $1 y ");
        assert_eq!(pubsub.names(Topic::Channel, Some(b"n?ws")), [b"news"]);
        assert_eq!(pubsub.listeners(Topic::Channel, b"news"), 2);
        pubsub.remove(Topic::Channel, b"news", 1);
        pubsub.remove(Topic::Channel, b"news", 2);
        pubsub.remove(Topic::Pattern, b"n*", 2);
        assert!(!pubsub.is_listened_to());
        assert_eq!(pubsub.publish(b"news", b"x", &LIMIT), 0);
        assert_eq!(pubsub.count(Topic::Shard), 1);
    }
}
