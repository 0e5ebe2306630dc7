//! Where a node listens for other nodes, found out from where it listens for clients.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ClusterError;
use crate::cluster_view::INTERNAL_PORT_DISTANCE;

/// Time for one question.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes: a line for each node.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The question: `CLUSTER NODES`.
const QUESTION: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

/// The address for nodes of a node whose clients connect to `name`. It is asked; one that can't be asked (it wants a
/// password) is taken to use the port for clients + 10000.
pub(super) async fn internal_address(name: &str) -> Result<SocketAddr, ClusterError> {
    let unresolved = || ClusterError::Address(name.to_owned());
    let mut addresses = name.to_socket_addrs().map_err(|_| unresolved())?;
    let mut address = addresses.next().ok_or_else(unresolved)?;
    if let Ok(Some(told)) = tokio::time::timeout(ASK_WITHIN, ask(address)).await {
        return Ok(told);
    }
    let port = address.port().checked_add(INTERNAL_PORT_DISTANCE);
    address.set_port(port.ok_or_else(unresolved)?);
    Ok(address)
}

async fn ask(address: SocketAddr) -> Option<SocketAddr> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(QUESTION).await.ok()?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        if let Some(told) = parse(&answer, address) {
            return Some(told);
        }
        if answer.starts_with(b"-") {
            return None;
        }
    }
    None
}

/// Finds the line of the node that answered: `id ip:port@internal-port flags …`.
fn parse(answer: &[u8], asked: SocketAddr) -> Option<SocketAddr> {
    let text = String::from_utf8_lossy(answer);
    let whole = text.rfind('\n')?;
    let line = text[..whole].lines().find(|line| line.contains("myself"))?;
    let place = line.split(' ').nth(1)?;
    let (clients, port) = place.split_once('@')?;
    let port = port.split(',').next()?.parse().ok()?;
    let (ip, _) = clients.rsplit_once(':')?;
    let ip = ip.parse().unwrap_or(asked.ip());
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_node_itself_tells() {
        let asked = "192.0.2.7:7001".parse().unwrap();
        let other = "$300\r\n00 192.0.2.1:7000@17000 master - 0 0 1 connected\n";
        let own = "11 192.0.2.7:7001@5001,a.example myself,master - 0 0 1 connected 0-5\n";
        let nameless = "11 :7001@5001 myself,master - 0 0 1 connected\n";
        let found = |text: &str| parse(text.as_bytes(), asked);
        let expected = Some("192.0.2.7:5001".parse().unwrap());
        assert_eq!(found(&format!("{other}{own}")), expected);
        assert_eq!(found(nameless), expected);
        assert_eq!(found(other), None);
        assert_eq!(found(&own[..own.len() - 1]), None);
        assert_eq!(found("-NOAUTH Authentication required.\r\n"), None);
    }
}
