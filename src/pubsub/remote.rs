//! Other nodes: what their clients listen to, and what is sent to them.
//!
//! Messages on channels go to every node, since a client that has just subscribed at one must not miss what is published
//! at another. Of shard channels, events and tracked keys each node tells the others whether its clients listen to any,
//! whenever that changes and when a connection comes up. Sending never waits: what does not fit into a link's buffer is lost, as is what is sent while
//! it is down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coterie_protocol::NodeId;
use coterie_protocol::internal::pubsub::{Interest, PubSubFrame};
use parking_lot::Mutex;

use crate::node::Node;
use crate::replication::{Peer, Replication};
use crate::transport::Service;

/// What is known of another node.
#[derive(Default)]
struct Other {
    /// What its clients listen to, once it has said so.
    theirs: Option<Interest>,
    /// What it was told of this node's.
    told: Option<Interest>,
}

/// See the module.
#[derive(Default)]
pub struct Remote {
    others: Mutex<HashMap<NodeId, Other>>,
    /// Whether somebody was not told yet.
    is_behind: AtomicBool,
}

impl Remote {
    /// What other nodes listen to, taken together.
    pub fn interest(&self) -> Interest {
        let nothing = Interest {
            shard_channels: false,
            tracking: false,
            events: 0,
        };
        let others = self.others.lock();
        let known = others.values().filter_map(|other| other.theirs);
        known.fold(nothing, |all, one| Interest {
            shard_channels: all.shard_channels || one.shard_channels,
            tracking: all.tracking || one.tracking,
            events: all.events | one.events,
        })
    }

    /// A node's clients listen to this from now on.
    fn heard(&self, node: NodeId, interest: Interest) {
        self.others.lock().entry(node).or_default().theirs = Some(interest);
    }

    /// The connection to a node is another one: it may not know what it was told.
    pub fn reconnected(&self, node: NodeId) {
        self.others.lock().entry(node).or_default().told = None;
        self.is_behind.store(true, Ordering::Release);
    }

    /// Whether there is someone that [`Remote::announce`] would tell something.
    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// Tells other nodes what this one's clients listen to, unless they know.
    pub fn announce(&self, replication: &Replication, interest: Interest) {
        let body = PubSubFrame::Interest(interest).encode();
        let routes = replication.routes();
        let members = &routes.topology.members;
        let mut others = self.others.lock();
        others.retain(|id, _| members.contains_key(id));
        let mut is_behind = false;
        for peer in replication.peers.all().iter().skip(1) {
            if !members.contains_key(&peer.id) {
                continue;
            }
            let other = others.entry(peer.id).or_default();
            if other.told != Some(interest) {
                let sent = peer
                    .link()
                    .is_some_and(|link| link.send(Service::PubSub, &body).is_ok());
                other.told = sent.then_some(interest);
                is_behind |= !sent;
            }
        }
        self.is_behind.store(is_behind, Ordering::Release);
    }

    /// Sends a frame to all nodes whose clients want it.
    pub fn send(
        &self,
        replication: &Replication,
        is_wanted: impl Fn(&Interest, &Peer) -> bool,
        frame: &PubSubFrame<'_>,
    ) {
        let receivers: Vec<Arc<Peer>> = {
            let others = self.others.lock();
            let interest = |peer: &Peer| {
                let other = others.get(&peer.id).and_then(|other| other.theirs);
                other.unwrap_or(Interest::UNKNOWN)
            };
            let peers = replication.peers.all();
            let wanting = peers.iter().skip(1);
            wanting
                .filter(|peer| peer.is_connected() && is_wanted(&interest(peer), peer))
                .cloned()
                .collect()
        };
        if receivers.is_empty() {
            return;
        }
        let body = frame.encode();
        for peer in receivers {
            if let Some(link) = peer.link()
                && let Err(error) = link.send(Service::PubSub, &body)
            {
                tracing::debug!(peer = %peer.id, %error, "a message for its clients is lost");
            }
        }
    }
}

impl Node {
    /// The other nodes, if there are any.
    pub(crate) fn others(&self) -> Option<&Arc<Replication>> {
        self.replication.get().filter(|r| r.is_clustered())
    }

    /// Sends a message to all who listen to a channel, on every node. Returns how many those on this node are.
    pub fn publish(&self, shard: bool, channel: &[u8], message: &[u8]) -> usize {
        let limit = self.config.load().client_output_buffer_limit.pubsub;
        let receivers = if shard {
            self.pubsub.publish_to_shard(channel, message, &limit)
        } else {
            self.pubsub.publish(channel, message, &limit)
        };
        if let Some(replication) = self.others() {
            let frame = PubSubFrame::Message {
                shard,
                channel,
                message,
            };
            let routes = replication.routes();
            let partition = self.engine.store().partition_of(channel);
            let holders = routes.route(partition).all_holders();
            let is_wanted = |interest: &Interest, peer: &Peer| {
                !shard || interest.shard_channels || holders & peer.bit() != 0
            };
            self.remote.send(replication, is_wanted, &frame);
        }
        receivers
    }

    /// A frame of another node.
    pub(crate) fn hear(&self, from: NodeId, body: &[u8]) {
        let limit = self.config.load().client_output_buffer_limit.pubsub;
        match PubSubFrame::decode(body) {
            Ok(PubSubFrame::Interest(interest)) => {
                self.remote.heard(from, interest);
                self.refresh_watch();
            }
            Ok(PubSubFrame::Message {
                shard: false,
                channel,
                message,
            }) => {
                self.pubsub.publish(channel, message, &limit);
            }
            Ok(PubSubFrame::Message {
                shard: true,
                channel,
                message,
            }) => {
                self.pubsub.publish_to_shard(channel, message, &limit);
            }
            Ok(PubSubFrame::Event {
                class,
                database,
                name,
                key,
            }) => self.tell_event(class, name, database, key),
            Ok(PubSubFrame::Changed(keys)) => {
                let keys = keys.into_iter();
                self.tracking.invalidate(&self.clients, 0, keys, &limit);
            }
            Ok(PubSubFrame::Cleared) => self.tracking.clear(&self.clients, &limit),
            Err(error) => tracing::warn!(peer = %from, %error, "bad frame of published messages"),
        }
    }
}
