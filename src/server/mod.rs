//! The RESP server: sockets, connections, threads.

mod connection;
mod listener;
mod output;
mod workers;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::task::JoinSet;

use crate::node::Node;
pub use listener::ListenError;
use workers::{Worker, Workers};

/// A server that accepts connections until it is dropped or stopped.
pub struct Server {
    acceptors: JoinSet<()>,
    /// Nothing else runs there, so that a new client is let in whatever others wait for.
    accepting: Worker,
    workers: Arc<Workers>,
}

impl Server {
    /// Opens the configured sockets and starts the threads.
    pub fn start(node: &Arc<Node>) -> Result<Server, StartError> {
        let config = node.config.load_full();
        let accepting = Worker::start("accept".to_owned())?;
        // The sockets belong to the runtime that they are opened in.
        let entered = accepting.handle().enter();
        let listeners = listener::bind_tcp(&config)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.threads == 0 {
            cores
        } else {
            config.threads
        };
        let workers = Arc::new(Workers::start(threads)?);
        node.threads.store(workers.count(), Relaxed);
        let mut acceptors = JoinSet::new();
        for listener in listeners {
            if let Ok(address) = listener.local_addr() {
                node.port.store(address.port().into(), Relaxed);
                tracing::info!(%address, threads, "ready to accept connections");
            }
            let accept = listener::accept_tcp(listener, node.clone(), workers.clone());
            acceptors.spawn(accept);
        }
        if let Some(path) = &config.unixsocket {
            let listener = listener::bind_unix(path, config.unixsocketperm)?;
            let name = path.display().to_string();
            tracing::info!(path = name, "ready to accept connections");
            acceptors.spawn(listener::accept_unix(
                listener,
                name,
                node.clone(),
                workers.clone(),
            ));
        }
        drop(entered);
        Ok(Server {
            acceptors,
            accepting,
            workers,
        })
    }

    /// Stops accepting, and ends every connection where it waits.
    pub async fn stop(mut self) {
        self.acceptors.shutdown().await;
        self.accepting.stop();
        if let Ok(workers) =
            Arc::try_unwrap(self.workers).map_err(|_| tracing::debug!("workers still in use"))
        {
            workers.stop();
        }
    }
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread.
    #[error("can't start a worker thread: {0}")]
    Thread(#[from] std::io::Error),
}
