//! Brings changes of libraries to other nodes, when they are made and when a node is connected again.

use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::NodeId;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::library::compile;
use crate::functions::Change;
use crate::node::Node;
use crate::replication::Peer;
use crate::transport::Service;

/// How long other nodes are waited for: who is away hears of it when it is back.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Tells all nodes that are connected. Waits until they know, but not for long.
pub(super) async fn tell_all(node: Arc<Node>, changes: Vec<Change>) {
    let Some(replication) = node.replication.get() else {
        return;
    };
    let all = replication.peers.all();
    let connected = all.iter().skip(1).filter(|peer| peer.is_connected());
    let mut told = JoinSet::new();
    for peer in connected {
        told.spawn(tell(peer.clone(), changes.clone()));
    }
    // Who is not told within this time is told on all the same.
    let _ = tokio::time::timeout(TOLD_WITHIN, async {
        while told.join_next().await.is_some() {}
    })
    .await;
    told.detach_all();
}

/// Tells a node that is connected again all there is.
pub fn tell_again(node: &Node, peer: NodeId) {
    let replication = node.replication.get();
    if let Some(peer) = replication.and_then(|replication| replication.peers.find(peer)) {
        tokio::spawn(tell(peer, node.functions.changes()));
    }
}

async fn tell(peer: Arc<Peer>, changes: Vec<Change>) {
    for change in changes {
        let (Some(link), Ok(body)) = (peer.link(), postcard::to_stdvec(&change)) else {
            return;
        };
        if let Err(error) = link.call(Service::Functions, &body).await {
            let name = String::from_utf8_lossy(&change.name);
            tracing::debug!(peer = %peer.id, library = %name, %error, "not told of a library");
        }
    }
}

/// Takes in what another node tells.
pub async fn hear(node: Arc<Node>, body: &[u8]) {
    let Ok(change) = postcard::from_bytes::<Change>(body) else {
        tracing::warn!("a change of a library can't be read");
        return;
    };
    if !node.functions.is_news(&change) {
        return;
    }
    let name = String::from_utf8_lossy(&change.name);
    let library = match change.code.as_deref().map(compile).transpose() {
        Ok(library) if library.as_ref().is_none_or(|it| it.name == change.name) => library,
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(library = %name, %error, "a library of another node can't be loaded");
            return;
        }
    };
    node.functions.take_in(&change, library);
    if let Err(error) = keep(node).await {
        tracing::error!(library = %name, error, "a library of another node is not kept");
    }
}

/// Writes the libraries to the disk.
///
/// # Errors
/// They can't be written.
pub(super) async fn keep(node: Arc<Node>) -> Result<(), String> {
    let (told, kept) = oneshot::channel();
    let begun = std::thread::Builder::new()
        .name("functions".to_owned())
        .spawn(move || {
            // Who asked may have left.
            let _ = told.send(node.functions.keep());
        });
    begun.map_err(|error| error.to_string())?;
    match kept.await {
        Ok(kept) => kept.map_err(|error| error.to_string()),
        Err(_) => Err("the thread that writes them is gone".to_owned()),
    }
}
