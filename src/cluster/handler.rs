//! Takes what arrives from other nodes to whom it is for.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use coterie_protocol::NodeId;

use super::Cluster;
use crate::commands;
use crate::topology::{BoxFuture, Channel, RaftTransport, TransportError};
use crate::transport::{CallId, Handler, Inbound, Refusal, Service, Transport};

/// The handler a transport is given. It is weak about nothing: node and transport end together.
pub(super) struct Dispatch(pub(super) Arc<Cluster>);

impl Handler for Dispatch {
    fn received(&self, from: &Arc<Inbound>, service: Service, call: Option<CallId>, body: Bytes) {
        let cluster = &self.0;
        match (service, call) {
            (Service::Raft | Service::Topology | Service::Join, Some(call)) => {
                let Some(topology) = cluster.topology.get().cloned() else {
                    // It asks again.
                    from.close();
                    return;
                };
                let from = from.clone();
                tokio::spawn(async move {
                    let answer = match service {
                        Service::Raft => topology.handle_raft(from.node(), &body).await,
                        Service::Join => topology.handle_join(&body).await,
                        _ => topology.handle_topology(from.node(), &body).await,
                    };
                    from.reply(call, &answer);
                });
            }
            (Service::Membership, _) => {
                if let Some(membership) = cluster.membership.get() {
                    membership.received(from.node(), &body);
                }
            }
            (Service::PubSub, None) => cluster.node.hear(from.node(), &body),
            // It is starting: what it executed now would be on no other node.
            _ if cluster.replication.get().is_none() => from.close(),
            (Service::Execute, Some(call)) => {
                cluster.executors.received(&cluster.node, from, call, body);
            }
            (Service::Functions, Some(call)) => {
                let (node, from) = (cluster.node.clone(), from.clone());
                tokio::spawn(async move {
                    commands::hear_of_library(node, &body).await;
                    from.reply(call, &[]);
                });
            }
            (Service::Client, Some(call)) => {
                cluster.clients.received(&cluster.node, from, call, body);
            }
            (service, call) => {
                if let Some(replication) = cluster.replication.get() {
                    replication.received(from, service, call, body);
                }
            }
        }
    }

    fn pushed(&self, from: NodeId, service: Service, body: Bytes) {
        if let Some(replication) = self.0.replication.get() {
            replication.pushed(from, service, &body);
        }
    }

    fn datagram(&self, from: NodeId, _address: SocketAddr, payload: Bytes) {
        if let Some(membership) = self.0.membership.get() {
            membership.datagram(from, &payload);
        }
    }

    fn link_changed(&self, peer: NodeId, up: bool) {
        if let Some(membership) = self.0.membership.get() {
            membership.link_changed(peer, up);
        }
        if let Some(replication) = self.0.replication.get() {
            replication.link_changed(peer, up);
        }
        if up {
            self.0.node.remote.reconnected(peer);
            self.0.node.refresh_watch();
            commands::tell_of_libraries(&self.0.node, peer);
        }
    }

    fn refused(&self, address: SocketAddr, refusal: &Refusal) {
        tracing::debug!(%address, %refusal, "refused by a node");
    }
}

/// Calls of the consensus over the links.
pub(super) struct Calls(pub(super) Arc<Transport>);

impl RaftTransport for Calls {
    fn call(
        &self,
        to: NodeId,
        channel: Channel,
        body: Vec<u8>,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let service = match channel {
            Channel::Raft => Service::Raft,
            Channel::Topology => Service::Topology,
        };
        let link = self.0.link(to);
        Box::pin(async move {
            let failed = |reason: String| TransportError { to, reason };
            let link = link.ok_or_else(|| failed("not connected yet".to_owned()))?;
            match link.call(service, &body).await {
                Ok(answer) => Ok(answer.to_vec()),
                Err(error) => Err(failed(error.to_string())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use coterie_protocol::internal::execute::{ExecuteHead, execution};
    use coterie_protocol::{ClusterId, Partitions};

    use super::*;
    use crate::config::Config;
    use crate::node::Node;
    use crate::transport::{CallError, Options};

    /// Of a node that only asks.
    struct Asker;

    impl Handler for Asker {
        fn received(&self, _: &Arc<Inbound>, _: Service, _: Option<CallId>, _: Bytes) {}
        fn pushed(&self, _: NodeId, _: Service, _: Bytes) {}
        fn link_changed(&self, _: NodeId, _: bool) {}
    }

    async fn transport(number: u8, handler: Arc<dyn Handler>) -> Arc<Transport> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (id, partitions) = (NodeId([number; 20]), Partitions::new(4).unwrap());
        let options = Options::new(listen, ClusterId(7), id, partitions);
        Transport::start(options, handler).await.unwrap()
    }

    /// Its links are up before it knows how to replicate: what it executed would be acknowledged by nobody else.
    #[tokio::test]
    async fn a_starting_node_executes_nothing_for_others() {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::made_up(directory.path(), Config::default());
        let cluster = Cluster::new(NodeId([1; 20]), node.clone());
        let starting = transport(1, Arc::new(Dispatch(cluster))).await;
        let asker = transport(2, Arc::new(Asker)).await;
        asker.set_peers([(starting.node(), starting.listening())]);
        let link = asker.link(starting.node()).unwrap();
        let body = execution(
            &ExecuteHead::default(),
            [&b"SET"[..], b"key", b"value"].into_iter(),
        );
        for service in [Service::Execute, Service::Client, Service::Records] {
            let answer = async {
                while !link.is_up() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                link.call(service, &body).await
            };
            let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
            let answer = answer.expect("a refusal");
            assert!(matches!(answer, Err(CallError::Broken)), "{answer:?}");
        }
        assert!(!node.engine.store().has_keys());
        asker.stop().await;
        starting.stop().await;
    }
}
