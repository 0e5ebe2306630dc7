//! What happens to keys, told to those who listen to events and to those who cache keys.

use std::sync::{Arc, Weak};

use coterie_protocol::DatabaseId;
use coterie_protocol::internal::pubsub::{Interest, PubSubFrame};

use crate::config::OutputBufferLimit;
use crate::engine::{Notice, Wanted, Watcher};
use crate::events::EventClasses;
use crate::node::Node;
use crate::pubsub::Topic;
use crate::replication::{Peer, Replication};
use crate::store::Departure;

/// Has a node told of what happens to its keys.
pub fn attach(node: &Arc<Node>) {
    let watcher = NodeWatcher(Arc::downgrade(node));
    node.engine.watch().attach(Box::new(watcher));
    node.refresh_watch();
}

struct NodeWatcher(Weak<Node>);

impl Watcher for NodeWatcher {
    fn told(&self, client: u64, notices: Vec<Notice>) {
        if let Some(node) = self.0.upgrade() {
            node.tell(client, &notices);
        }
    }
}

impl Node {
    /// Finds out what is wanted of transactions, by clients of this node and of others: nothing, if nobody would hear of
    /// it. Tells other nodes.
    pub fn refresh_watch(&self) {
        let _watching = self.watching.lock();
        let mut events = EventClasses::empty();
        if self.pubsub.is_listened_to() {
            events = self.config.load().notify_keyspace_events.noted();
        }
        let tracking = self.tracking.clients() > 0;
        let theirs = self.remote.interest();
        if let Some(replication) = self.others() {
            let interest = Interest {
                shard_channels: self.pubsub.count(Topic::Shard) > 0,
                tracking,
                events: events.bits(),
            };
            self.remote.announce(replication, interest);
        }
        let wanted = Wanted::new(
            events | EventClasses::from_bits_truncate(theirs.events),
            tracking || theirs.tracking,
        );
        self.engine.set_wanted(wanted);
    }

    /// Tells what happened by the doing of a client.
    fn tell(&self, client: u64, notices: &[Notice]) {
        let config = self.config.load();
        let limit = config.client_output_buffer_limit.pubsub;
        let classes = config.notify_keyspace_events;
        drop(config);
        if self.tracking.clients() > 0 {
            let changed = notices.iter().filter_map(|notice| match notice {
                Notice::Changed { key } | Notice::Expired { key, .. } => Some(&**key),
                Notice::Event { .. } | Notice::Cleared => None,
            });
            self.tracking
                .invalidate(&self.clients, client, changed, &limit);
            if notices.contains(&Notice::Cleared) {
                self.tracking.clear(&self.clients, &limit);
            }
        }
        if let Some(replication) = self.others() {
            self.forward_changes(replication, notices);
        }
        for notice in notices {
            let (events, database, key) = match notice {
                Notice::Event {
                    class,
                    name,
                    database,
                    key,
                } => (&[(*class, *name)][..], *database, key),
                Notice::Expired {
                    database,
                    key,
                    what,
                    told_here: true,
                } => (events_of(*what), *database, key),
                _ => continue,
            };
            for &(class, name) in events {
                self.tell_everyone(classes, (class, name), (database, key), &limit);
            }
        }
    }

    /// Tells an event to clients here and at other nodes.
    fn tell_everyone(
        &self,
        classes: EventClasses,
        (class, name): (EventClasses, &'static str),
        (database, key): (DatabaseId, &[u8]),
        limit: &OutputBufferLimit,
    ) {
        if classes.contains(class) {
            self.publish_event(classes, name.as_bytes(), database, key, limit);
        }
        if let Some(replication) = self.others() {
            let class = class.bits();
            let frame = PubSubFrame::Event {
                class,
                database,
                name: name.as_bytes(),
                key,
            };
            let is_wanted = |interest: &Interest, _: &Peer| interest.events & class != 0;
            self.remote.send(replication, is_wanted, &frame);
        }
    }

    /// Tells nodes of changed keys whose clients track any, as far as they do not hold those keys: each node tells its
    /// own clients of what it makes and merges, and is asked by others only when it has.
    fn forward_changes(&self, replication: &Replication, notices: &[Notice]) {
        let theirs = self.remote.interest();
        if !theirs.tracking {
            return;
        }
        if notices.contains(&Notice::Cleared) {
            let is_wanted = |interest: &Interest, _: &Peer| interest.tracking;
            self.remote
                .send(replication, is_wanted, &PubSubFrame::Cleared);
        }
        let routes = replication.routes();
        for notice in notices {
            let (Notice::Changed { key } | Notice::Expired { key, .. }) = notice else {
                continue;
            };
            let partition = self.engine.store().partition_of(key);
            let holders = routes.route(partition).all_holders();
            let is_wanted =
                |interest: &Interest, peer: &Peer| interest.tracking && holders & peer.bit() == 0;
            let frame = PubSubFrame::Changed(vec![key]);
            self.remote.send(replication, is_wanted, &frame);
        }
    }

    /// Publishes an event that another node has told of.
    pub(crate) fn tell_event(&self, class: u16, name: &[u8], database: DatabaseId, key: &[u8]) {
        let config = self.config.load();
        let limit = config.client_output_buffer_limit.pubsub;
        let classes = config.notify_keyspace_events;
        drop(config);
        if classes.bits() & class != 0 {
            self.publish_event(classes, name, database, key, &limit);
        }
    }

    /// Publishes an event in the ways that are asked for.
    fn publish_event(
        &self,
        ways: EventClasses,
        name: &[u8],
        database: DatabaseId,
        key: &[u8],
        limit: &OutputBufferLimit,
    ) {
        let mut channel = Vec::with_capacity(24 + key.len().max(name.len()));
        if ways.contains(EventClasses::KEYSPACE) {
            channel.extend_from_slice(format!("__keyspace@{database}__:").as_bytes());
            channel.extend_from_slice(key);
            self.pubsub.publish(&channel, name, limit);
        }
        if ways.contains(EventClasses::KEYEVENT) {
            channel.clear();
            channel.extend_from_slice(format!("__keyevent@{database}__:").as_bytes());
            channel.extend_from_slice(name);
            self.pubsub.publish(&channel, key, limit);
        }
    }
}

/// What is told of what expired.
fn events_of(what: Departure) -> &'static [(EventClasses, &'static str)] {
    match what {
        Departure::Key => &[(EventClasses::EXPIRED, "expired")],
        Departure::Fields => &[(EventClasses::HASH, "hexpired")],
        Departure::LastField => &[
            (EventClasses::HASH, "hexpired"),
            (EventClasses::GENERIC, "del"),
        ],
    }
}
