//! Keeps a node connected.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coterie_protocol::NodeId;
use coterie_protocol::internal::{Reason, Refusal};
use tokio::task::AbortHandle;

use crate::connection::Connection;
use crate::error::ConnectError;
use crate::handshake::dial;
use crate::options::Options;

/// A node and the connection to it. Dropping it ends the connection.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    connection: Mutex<Option<Arc<Connection>>>,
    error: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is left half done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Dials a node until it is dropped; `changed` is told whenever it comes or goes.
    pub(crate) fn new(
        node: NodeId,
        address: SocketAddr,
        options: Arc<Options>,
        changed: impl Fn(Change) + Send + 'static,
    ) -> Link {
        let state = Arc::<State>::default();
        let maintained = maintain(node, address, options, state.clone(), changed);
        Link {
            address,
            state,
            task: tokio::spawn(maintained).abort_handle(),
        }
    }

    /// The connection, if there is one now.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        lock(&self.state.connection).clone()
    }

    /// Why there was none last.
    pub(crate) fn error(&self) -> Option<String> {
        lock(&self.state.error).clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What became of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Up,
    Down,
}

/// Takes the connection off the link, however it ends.
struct Connected<'a>(&'a State);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        *lock(&self.0.connection) = None;
    }
}

async fn maintain(
    node: NodeId,
    address: SocketAddr,
    options: Arc<Options>,
    state: Arc<State>,
    changed: impl Fn(Change) + Send + 'static,
) {
    let mut pause = Backoff::new(&options);
    loop {
        let ended = match dial(address, &options).await {
            Ok(opened) if opened.who.node != node => {
                let detail = format!("node {} answers where {node} was expected", opened.who.node);
                ConnectError::Refusing(Refusal::new(Reason::Unexpected, detail))
            }
            Ok(opened) => {
                pause = Backoff::new(&options);
                let connection = Connection::new(&options);
                let connected = Connected(&state);
                *lock(&state.connection) = Some(connection.clone());
                *lock(&state.error) = None;
                changed(Change::Up);
                let ended = connection.run(opened, &options).await;
                drop(connected);
                ended
            }
            Err(error) => error,
        };
        *lock(&state.error) = Some(format!("{address}: {ended}"));
        changed(Change::Down);
        tokio::time::sleep(pause.next()).await;
    }
}

/// Pauses that grow, and differ from client to client.
pub(crate) struct Backoff {
    pause: Duration,
    limit: Duration,
}

impl Backoff {
    pub(crate) fn new(options: &Options) -> Backoff {
        Backoff {
            pause: options.backoff,
            limit: options.backoff_limit,
        }
    }

    /// The next pause: between half and all of what doubles each time.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
        self.pause = (self.pause * 2).min(self.limit);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_limit() {
        let options = Options::new([""; 0]);
        let mut backoff = Backoff::new(&options);
        let mut most = options.backoff;
        for _ in 0..20 {
            let pause = backoff.next();
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
            most = (most * 2).min(options.backoff_limit);
        }
    }
}
