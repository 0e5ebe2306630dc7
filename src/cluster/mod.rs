//! A node as one of several: transport, topology and the quorum path, started and tied together.
//!
//! A server that nobody has joined is a cluster of one: it listens for others and keeps its topology, and its requests
//! take none of the ways that lead through other nodes.

mod handler;
mod plane;
mod seed;
mod start;
mod view;

use std::sync::{Arc, OnceLock};

use coterie_protocol::NodeId;

use crate::commands::{Executors, NativeClients};
use crate::membership::{Liveness, Membership};
use crate::node::Node;
use crate::replication::Replication;
use crate::topology::TopologyHandle;
use crate::transport::Transport;

pub use start::{ClusterError, known_seed, start};

/// See the module.
pub struct Cluster {
    own: NodeId,
    node: Arc<Node>,
    executors: Executors,
    clients: NativeClients,
    transport: OnceLock<Arc<Transport>>,
    topology: OnceLock<TopologyHandle>,
    replication: OnceLock<Arc<Replication>>,
    membership: OnceLock<Arc<Membership>>,
}

impl Cluster {
    /// Within the runtime that is to execute what native clients ask for.
    fn new(own: NodeId, node: Arc<Node>) -> Arc<Cluster> {
        Arc::new(Cluster {
            own,
            node,
            executors: Executors::default(),
            clients: NativeClients::new(tokio::runtime::Handle::current()),
            transport: OnceLock::new(),
            topology: OnceLock::new(),
            replication: OnceLock::new(),
            membership: OnceLock::new(),
        })
    }

    /// Whether a node seems alive, seen from here.
    fn is_live(&self, id: NodeId) -> bool {
        let is_connected = || {
            let link = self
                .transport
                .get()
                .and_then(|transport| transport.link(id));
            link.is_some_and(|link| link.is_up())
        };
        match self.membership.get().map(|membership| membership.state(id)) {
            Some(Liveness::Up | Liveness::Suspect) => true,
            Some(Liveness::Down) => false,
            Some(Liveness::Unknown) | None => id == self.own || is_connected(),
        }
    }

    /// Leaves the network. What was acknowledged is in the logs.
    pub async fn stop(&self) {
        let Some(transport) = self.transport.get() else {
            return;
        };
        if let Some(membership) = self.membership.get() {
            membership.leave();
        }
        if let Some(topology) = self.topology.get().cloned() {
            // Its tasks belong to the transport's runtime.
            let _ = transport
                .runtime()
                .spawn(async move { topology.shutdown().await })
                .await;
        }
        transport.stop().await;
    }
}
