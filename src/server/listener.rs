//! Accepts connections and hands them to the workers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::connection::{Connection, Stream};
use super::workers::Workers;
use crate::clients::Client;
use crate::config::Config;
use crate::node::Node;
use crate::session::Session;

/// Pause after an accept failed, for lack of file descriptors usually.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const PROTECTED: &str = "-DENIED Coterie is in protected mode: no password is set, so only connections from \
    this machine are accepted. Set a password with 'requirepass', or turn protected mode off with \
    'CONFIG SET protected-mode no' from this machine, if the network is trusted.\r\n";

/// A listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {source}")]
pub struct ListenError {
    address: String,
    #[source]
    source: io::Error,
}

/// Opens the configured TCP sockets. An address that starts with `-` may be missing on this machine.
pub fn bind_tcp(config: &Config) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    let port = config.port;
    if port == 0 {
        return Ok(listeners);
    }
    for written in &config.bind {
        let (name, optional) = match written.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (written.as_str(), false),
        };
        match bind_address(name, port, config.tcp_backlog) {
            Ok(listener) => {
                listeners.push(listener);
            }
            Err(error) if optional && error.kind() != io::ErrorKind::AddrInUse => {
                tracing::debug!(address = name, %error, "optional address not available");
            }
            Err(source) => {
                return Err(ListenError {
                    address: format!("{name}:{port}"),
                    source,
                });
            }
        }
    }
    Ok(listeners)
}

fn bind_address(name: &str, port: u16, backlog: u32) -> io::Result<TcpListener> {
    let ip: IpAddr = match name {
        "*" => IpAddr::from([0, 0, 0, 0]),
        "::*" => IpAddr::from([0u16; 8]),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        other => other
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
    };
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Opens the configured Unix socket. A socket file that is left over from an earlier run is replaced.
pub fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, ListenError> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let open = || {
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        if mode != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(listener)
    };
    open().map_err(|source| ListenError {
        address: path.display().to_string(),
        source,
    })
}

/// Accepts TCP connections for ever.
pub async fn accept_tcp(listener: TcpListener, node: Arc<Node>, workers: Arc<Workers>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match prepare_tcp(stream, &node) {
                Ok((stream, local)) => {
                    // Here, so that ids are in the order of arrival.
                    let id = node.clients.next_id();
                    let is_busy = node.scripts.is_busy();
                    let served = serve_tcp(stream, node.clone(), id, (peer, local));
                    workers.spawn(is_busy, served).await;
                }
                Err(error) => tracing::debug!(%error, "connection lost before it was served"),
            },
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_tcp(
    stream: std::net::TcpStream,
    node: Arc<Node>,
    id: u64,
    (peer, local): (SocketAddr, SocketAddr),
) {
    match TcpStream::from_std(stream) {
        Ok(stream) => {
            let descriptor = stream.as_raw_fd();
            let (is_local, peer) = (is_own_address(peer.ip()), peer.to_string());
            let local = local.to_string();
            serve(stream, node, id, peer, local, is_local, descriptor).await;
        }
        Err(error) => tracing::debug!(%error, "connection lost on its way to a worker"),
    }
}

/// Whether a peer is this machine, by the two addresses that Redis counts as such.
fn is_own_address(peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer == Ipv4Addr::LOCALHOST || peer == Ipv6Addr::LOCALHOST
}

fn prepare_tcp(stream: TcpStream, node: &Node) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    stream.set_nodelay(true)?;
    let keepalive_seconds = node.config.load().tcp_keepalive;
    if keepalive_seconds > 0 {
        let interval = Duration::from_secs((keepalive_seconds / 3).max(1).into());
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive_seconds.into()))
            .with_interval(interval);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(3))?;
    }
    let local = stream.local_addr()?;
    Ok((stream.into_std()?, local))
}

/// Accepts connections to the Unix socket for ever.
pub async fn accept_unix(
    listener: UnixListener,
    path: String,
    node: Arc<Node>,
    workers: Arc<Workers>,
) {
    loop {
        match listener
            .accept()
            .await
            .and_then(|(stream, _)| stream.into_std())
        {
            Ok(stream) => {
                let id = node.clients.next_id();
                let (node, address) = (node.clone(), format!("{path}:0"));
                let is_busy = node.scripts.is_busy();
                let served = async move {
                    if let Ok(stream) = UnixStream::from_std(stream) {
                        let descriptor = stream.as_raw_fd();
                        serve(stream, node, id, address.clone(), address, true, descriptor).await;
                    }
                };
                workers.spawn(is_busy, served).await;
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Removes a client from the registry however its task ends, a panic included.
struct Registered {
    node: Arc<Node>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.node.clients.remove(self.id);
    }
}

async fn serve<S: Stream>(
    mut stream: S,
    node: Arc<Node>,
    id: u64,
    address: String,
    local_address: String,
    is_local: bool,
    descriptor: i32,
) {
    let config = node.config.load_full();
    node.statistics.connections.fetch_add(1, Relaxed);
    let default = node.acl.default_account();
    if config.protected_mode && default.user().no_password && !is_local {
        let _ = stream.write_all(PROTECTED.as_bytes()).await;
        return;
    }
    let client = Arc::new(Client::new(
        id,
        address,
        local_address,
        is_local,
        descriptor,
        node.now_ms(),
    ));
    if !node.clients.add(client.clone(), config.maxclients as usize) {
        node.statistics.rejected_connections.fetch_add(1, Relaxed);
        let _ = stream
            .write_all(b"-ERR max number of clients reached\r\n")
            .await;
        return;
    }
    let _registered = Registered {
        node: node.clone(),
        id,
    };
    drop(config);
    let mut session = Session::new(client, false);
    session.begin_as(node.acl.default_account());
    Connection::new(stream, node, session).serve().await;
}
