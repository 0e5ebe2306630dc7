//! A connection to a node, by the protocol of clients.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use coterie_protocol::{Frame, frame};

/// How long a connection is tried for, and how long nothing may arrive while an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes: that of a cluster with 16384 partitions has far fewer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Which node to ask.
#[derive(Args, Clone)]
pub struct Target {
    /// Address of any node of the cluster
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:6379",
        env = "COTERIE_CTL_ADDRESS"
    )]
    pub address: String,
    /// Password of the default user
    #[arg(long, env = "COTERIE_CTL_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
}

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{address}: {source}")]
    Connection { address: String, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("{0} did not answer as a Coterie node does")]
    Unexpected(String),
}

impl ClientError {
    /// Whether another try, at the same node or another, may do better.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Connection { .. } => true,
            ClientError::Refused(error) => error.starts_with("LOADING"),
            ClientError::Unexpected(_) => false,
        }
    }
}

/// See the module.
pub struct Client {
    address: String,
    stream: TcpStream,
}

impl Client {
    /// Connects and logs in.
    pub fn connect(target: &Target) -> Result<Client, ClientError> {
        let stream = open(&target.address).map_err(|source| ClientError::Connection {
            address: target.address.clone(),
            source,
        })?;
        let mut client = Client {
            address: target.address.clone(),
            stream,
        };
        match &target.password {
            Some(password) => client.call(&["HELLO", "3", "AUTH", "default", password])?,
            None => client.call(&["HELLO", "3"])?,
        };
        Ok(client)
    }

    /// Sends a command and waits for its answer.
    pub fn call(&mut self, words: &[&str]) -> Result<Frame, ClientError> {
        let answer = self.exchange(words).map_err(|source| {
            let address = self.address.clone();
            match source.kind() {
                io::ErrorKind::InvalidData => ClientError::Unexpected(address),
                _ => ClientError::Connection { address, source },
            }
        })?;
        match answer {
            Frame::SimpleError { data, .. } => Err(ClientError::Refused(data)),
            answer => Ok(answer),
        }
    }

    fn exchange(&mut self, words: &[&str]) -> io::Result<Frame> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
        }
        self.stream.write_all(&request)?;
        let mut answer = Vec::new();
        let mut chunk = [0; 16 << 10];
        loop {
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&chunk[..read]);
            // Every answer ends in a line end, so that a long one is not parsed at each piece.
            if !answer.ends_with(b"\r\n") {
                continue;
            }
            match frame::decode(&answer) {
                Ok(Some((frame, _))) => return Ok(frame),
                Ok(None) if answer.len() < ANSWER_BYTES_MAX => {}
                Ok(None) | Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// The error for an answer that is not what it should be.
    pub fn unexpected(&self) -> ClientError {
        ClientError::Unexpected(self.address.clone())
    }
}

fn open(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
