//! What one connection listens to.

use std::collections::HashSet;
use std::sync::Arc;

use coterie_protocol::ReplyWriter;

use super::Topic;
use crate::clients::Client;
use crate::node::Node;

/// See the module. Dropped with the connection, which then listens to nothing.
pub struct Subscriptions {
    node: Arc<Node>,
    client: Arc<Client>,
    names: [HashSet<Box<[u8]>>; 3],
}

impl Subscriptions {
    /// None yet.
    pub fn new(node: Arc<Node>, client: Arc<Client>) -> Self {
        Subscriptions {
            node,
            client,
            names: Default::default(),
        }
    }

    /// How many channels or patterns it listens to.
    pub fn count(&self, topic: Topic) -> usize {
        self.names[topic as usize].len()
    }

    /// Whether it listens to anything.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }

    /// Begins to listen, and tells the client so; also if it did already. That is a message of its own, or a part of the
    /// reply to `EXEC`.
    pub fn subscribe(&mut self, topic: Topic, name: &[u8], reply: Option<&mut Vec<u8>>) {
        let is_new = self.names[topic as usize].insert(name.into());
        // Before the first message can come.
        self.confirm(topic, topic.subscribed(), Some(name), reply);
        if is_new {
            self.node.pubsub.add(topic, name, &self.client);
            self.node.refresh_watch();
        }
    }

    /// Listens no more, and tells the client so; also if it did not.
    pub fn unsubscribe(&mut self, topic: Topic, name: &[u8], reply: Option<&mut Vec<u8>>) {
        if self.names[topic as usize].remove(name) {
            self.node.pubsub.remove(topic, name, self.client.id);
            self.node.refresh_watch();
        }
        self.confirm(topic, topic.unsubscribed(), Some(name), reply);
    }

    /// Listens to nothing of this kind any more, and tells the client so.
    pub fn unsubscribe_all(&mut self, topic: Topic, mut reply: Option<&mut Vec<u8>>) {
        let names: Vec<_> = self.names[topic as usize].iter().cloned().collect();
        if names.is_empty() {
            self.confirm(topic, topic.unsubscribed(), None, reply.as_deref_mut());
        }
        for name in names {
            self.unsubscribe(topic, &name, reply.as_deref_mut());
        }
    }

    /// As a message, because it comes also with `CLIENT REPLY OFF`.
    fn confirm(
        &self,
        topic: Topic,
        what: &[u8],
        name: Option<&[u8]>,
        within: Option<&mut Vec<u8>>,
    ) {
        let count = match topic {
            Topic::Shard => self.count(Topic::Shard),
            Topic::Channel | Topic::Pattern => {
                self.count(Topic::Channel) + self.count(Topic::Pattern)
            }
        };
        let mut bytes = Vec::new();
        let mut reply = ReplyWriter::new(&mut bytes, self.client.outbox.version());
        reply.push(3);
        reply.bulk(what);
        match name {
            Some(name) => reply.bulk(name),
            None => reply.null(),
        }
        reply.integer(count as i64);
        match within {
            Some(reply) => reply.extend_from_slice(&bytes),
            None => self.client.outbox.answer(bytes.into()),
        }
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for topic in Topic::ALL {
            for name in &self.names[topic as usize] {
                self.node.pubsub.remove(topic, name, self.client.id);
            }
        }
        self.node.refresh_watch();
    }
}
