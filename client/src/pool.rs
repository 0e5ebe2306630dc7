//! Which nodes there are, one link to each, and which of them a command goes to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use coterie_protocol::internal::client::{ClientTopology, topology_call};
use coterie_protocol::{Epoch, NodeId, Slot};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::Connection;
use crate::error::{ConnectError, Error};
use crate::handshake::dial;
use crate::link::{Backoff, Change, Link};
use crate::options::Options;

/// See the module.
pub(crate) struct Pool {
    pub(crate) options: Arc<Options>,
    shared: Arc<Shared>,
    refresher: AbortHandle,
}

struct Shared {
    view: watch::Sender<View>,
    /// The topology may be old.
    stale: Notify,
    /// Where a search for just any node begins: differs from client to client.
    start: usize,
}

/// What is known of the cluster.
struct View {
    topology: Arc<ClientTopology>,
    links: HashMap<NodeId, Link>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

impl Pool {
    /// Finds the cluster through the seeds.
    pub(crate) async fn connect(options: Options) -> Result<Pool, Error> {
        let options = Arc::new(options);
        let deadline = Instant::now() + options.deadline;
        let topology = first_topology(&options, deadline).await?;
        let shared = Arc::new(Shared {
            view: watch::Sender::new(View {
                topology: topology.clone(),
                links: HashMap::new(),
            }),
            stale: Notify::new(),
            start: rand::random_range(0..1024),
        });
        shared.adopt(topology, &options);
        let refresher = keep_fresh(shared.clone(), options.clone());
        Ok(Pool {
            refresher: tokio::spawn(refresher).abort_handle(),
            options,
            shared,
        })
    }

    /// The epoch of the topology that is known.
    pub(crate) fn epoch(&self) -> Epoch {
        self.shared.view.borrow().topology.epoch
    }

    /// A node is in this epoch.
    pub(crate) fn seen(&self, epoch: Epoch) {
        if epoch > self.epoch() {
            self.outdated();
        }
    }

    /// The topology may be old.
    pub(crate) fn outdated(&self) {
        self.shared.stale.notify_one();
    }

    /// The connection for a key: to its first replica that is there, else to any node. `None` if there is none now.
    pub(crate) fn pick(&self, slot: Option<Slot>) -> Option<Arc<Connection>> {
        let view = self.shared.view.borrow();
        let connection = |node| view.links.get(node).and_then(Link::connection);
        let replicas = slot.into_iter().flat_map(|slot| {
            let replicas = view.topology.replicas(slot);
            replicas.map(|member| &member.node)
        });
        let members = &view.topology.members;
        let others = members.iter().cycle().skip(self.shared.start);
        let others = others.take(members.len()).map(|member| &member.node);
        let mut silent = None;
        for found in replicas.chain(others).filter_map(connection) {
            if found.is_responsive() {
                return Some(found);
            }
            silent.get_or_insert(found);
        }
        silent
    }

    /// What to wait with until something comes or goes.
    pub(crate) fn changes(&self) -> impl Future<Output = ()> + use<> {
        let mut view = self.shared.view.subscribe();
        async move {
            // The pool outlives its users.
            let _ = view.changed().await;
        }
    }

    /// Why there is no connection.
    pub(crate) fn error(&self) -> String {
        let view = self.shared.view.borrow();
        let errors = view.links.values().filter_map(Link::error);
        match errors.reduce(|all, error| format!("{all}; {error}")) {
            Some(errors) => errors,
            None => "no node is connected".to_owned(),
        }
    }
}

impl Shared {
    /// Goes over to a topology; links to nodes that stay where they are stay too.
    fn adopt(self: &Arc<Self>, topology: Arc<ClientTopology>, options: &Arc<Options>) {
        self.view.send_modify(|view| {
            let mut kept = std::mem::take(&mut view.links);
            let links = topology.members.iter().map(|member| {
                let same = kept.remove(&member.node);
                let link = same.filter(|link| link.address == member.internal);
                let new = || {
                    let shared = Arc::downgrade(self);
                    let changed = move |change| tell(&shared, change);
                    Link::new(member.node, member.internal, options.clone(), changed)
                };
                (member.node, link.unwrap_or_else(new))
            });
            view.links = links.collect();
            view.topology = topology;
        });
    }
}

fn tell(shared: &Weak<Shared>, change: Change) {
    if let Some(shared) = shared.upgrade() {
        if change == Change::Down {
            shared.stale.notify_one();
        }
        shared.view.send_modify(|_| {});
    }
}

/// Asks for the topology whenever it may be old.
async fn keep_fresh(shared: Arc<Shared>, options: Arc<Options>) {
    let mut pause = Backoff::new(&options);
    loop {
        shared.stale.notified().await;
        let (known, connections) = {
            let view = shared.view.borrow();
            let connections: Vec<_> = view.links.values().filter_map(Link::connection).collect();
            (view.topology.clone(), connections)
        };
        match newest(&known, connections, &options).await {
            Some(topology) => {
                pause = Backoff::new(&options);
                let is_new = topology.epoch > known.epoch && topology.cluster == known.cluster;
                if is_new {
                    shared.adopt(Arc::new(topology), &options);
                }
            }
            None => shared.stale.notify_one(),
        }
        tokio::time::sleep(pause.next()).await;
    }
}

/// The topology that some node tells: one that is connected, else one that can be.
async fn newest(
    known: &ClientTopology,
    connections: Vec<Arc<Connection>>,
    options: &Options,
) -> Option<ClientTopology> {
    let limit = options.connect_timeout;
    let mut latest: Option<ClientTopology> = None;
    for connection in connections.iter().filter(|c| c.is_responsive()) {
        let ask = async {
            let answer = connection.call(&topology_call()).await.ok()?;
            decode(&answer.await.ok()?.ok()?).ok()
        };
        let told = timeout(limit, ask).await.ok().flatten();
        let later = told.filter(|told| latest.as_ref().is_none_or(|l| told.epoch > l.epoch));
        latest = later.or(latest);
    }
    if latest.is_some() {
        return latest;
    }
    let members = known.members.iter().map(|member| member.internal);
    let mut addresses: Vec<SocketAddr> = members.collect();
    for seed in &options.seeds {
        addresses.extend(tokio::net::lookup_host(seed).await.into_iter().flatten());
    }
    for address in addresses {
        if let Ok(topology) = fetch(address, options).await
            && topology.cluster == known.cluster
        {
            return Some(topology);
        }
    }
    None
}

async fn first_topology(
    options: &Options,
    deadline: Instant,
) -> Result<Arc<ClientTopology>, Error> {
    let mut pause = Backoff::new(options);
    let mut failure = "no address was given".to_owned();
    loop {
        let mut refusals = Vec::new();
        for seed in &options.seeds {
            match timeout_at(deadline, fetch_from(seed, options)).await {
                Ok(Ok(topology)) => return Ok(Arc::new(topology)),
                Ok(Err(error)) => {
                    failure = format!("{seed}: {error}");
                    refusals.extend(error.refusal().cloned());
                }
                Err(_) => return Err(Error::Deadline(failure)),
            }
        }
        // It will not change by itself that all refuse.
        if let Some(refusal) = refusals.pop()
            && refusals.len() + 1 == options.seeds.len()
        {
            return Err(Error::Refused(refusal));
        }
        let next = Instant::now() + pause.next();
        if next >= deadline || options.seeds.is_empty() {
            return Err(Error::Deadline(failure));
        }
        tokio::time::sleep_until(next).await;
    }
}

async fn fetch_from(seed: &str, options: &Options) -> Result<ClientTopology, ConnectError> {
    let mut failure = ConnectError::Timeout;
    for address in tokio::net::lookup_host(seed).await? {
        match fetch(address, options).await {
            Ok(topology) => return Ok(topology),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Asks a node over a connection of its own.
async fn fetch(address: SocketAddr, options: &Options) -> Result<ClientTopology, ConnectError> {
    let opened = dial(address, options).await?;
    let call = topology_call();
    let asked = Connection::call_once(opened, options, &call);
    let answer = timeout(options.connect_timeout, asked).await;
    decode(&answer.map_err(|_| ConnectError::Timeout)??)
}

fn decode(body: &Bytes) -> Result<ClientTopology, ConnectError> {
    let topology = ClientTopology::decode(body).map_err(|_| ConnectError::Malformed)?;
    if topology.members.is_empty() {
        return Err(ConnectError::NotReady);
    }
    Ok(topology)
}
