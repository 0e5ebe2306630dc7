//! A minimal blocking RESP client.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::quoting::{encode_command, split_line};
use super::reply::Reply;
use super::wait::DEADLINE;

/// The protocol version a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Resp2,
    Resp3,
}

/// One client connection. Methods without `try_` panic when the server hangs up or stays silent too long.
pub struct Connection {
    stream: TcpStream,
    protocol: Protocol,
    received: Vec<u8>,
}

impl Connection {
    /// Connects and, for RESP3, negotiates it.
    ///
    /// # Errors
    /// The connection can't be made.
    pub fn open(port: u16, protocol: Protocol) -> io::Result<Self> {
        Self::open_at(SocketAddr::from(([127, 0, 0, 1], port)), protocol)
    }

    /// As [`open`](Self::open), at any address.
    ///
    /// # Errors
    /// The connection can't be made.
    pub fn open_at(address: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut connection = Self {
            stream,
            protocol: Protocol::Resp2,
            received: Vec::new(),
        };
        if protocol == Protocol::Resp3 {
            connection.hello(Protocol::Resp3)?;
        }
        Ok(connection)
    }

    fn hello(&mut self, protocol: Protocol) -> io::Result<()> {
        self.protocol = protocol;
        let version = if protocol == Protocol::Resp3 {
            "3"
        } else {
            "2"
        };
        let (reply, _) = self.try_call_raw(&["HELLO", version])?;
        match reply {
            Reply::Error(text) => Err(io::Error::other(
                String::from_utf8_lossy(&text).into_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Decode from now on as this version (after a `HELLO` sent by hand).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn local_address(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    pub fn set_read_timeout(&self, timeout: Duration) {
        self.stream
            .set_read_timeout(Some(timeout))
            .expect("timeout isn't zero");
    }

    /// A second handle on the socket, to write while another thread reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be cloned")
    }

    pub fn shutdown_write(&self) {
        // The server may have hung up already; then there is nothing to shut down.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a command line (`redis-cli` quoting) and reads its reply.
    pub fn run(&mut self, line: &str) -> Reply {
        let words = split_line(line).expect("a well-formed command line");
        self.call(&words)
    }

    /// Sends a command and reads its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_call(args).expect("a reply")
    }

    /// As [`call`](Self::call).
    ///
    /// # Errors
    /// The server hung up, or sent nothing for too long.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.try_call_raw(args).map(|(reply, _)| reply)
    }

    /// As [`try_call`](Self::try_call), with the reply's bytes.
    ///
    /// # Errors
    /// The server hung up, or sent nothing for too long.
    pub fn try_call_raw<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<(Reply, Vec<u8>)> {
        self.send(&encode_command(args))?;
        self.read_raw()
    }

    /// Sends all commands in one write, then reads as many replies.
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Reply> {
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|args| encode_command(args))
            .collect();
        self.send(&bytes).expect("the server takes a pipeline");
        commands.iter().map(|_| self.read()).collect()
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The server hung up, or doesn't read.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next reply.
    pub fn read(&mut self) -> Reply {
        self.read_raw().expect("a reply").0
    }

    /// Reads the next reply and keeps its bytes.
    ///
    /// # Errors
    /// The server hung up, sent nothing for too long, or sent what is no reply.
    pub fn read_raw(&mut self) -> io::Result<(Reply, Vec<u8>)> {
        loop {
            if !self.received.is_empty() {
                let found =
                    Reply::decode(self.protocol, &self.received).map_err(io::Error::other)?;
                if let Some((reply, length)) = found {
                    return Ok((reply, self.received.drain(..length).collect()));
                }
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads the next reply if one comes within `timeout`.
    pub fn read_within(&mut self, timeout: Duration) -> Option<Reply> {
        self.set_read_timeout(timeout);
        let reply = self.read_raw().ok().map(|(reply, _)| reply);
        self.set_read_timeout(DEADLINE);
        reply
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads until `stop` holds for what has come, or the server hangs up: the bytes, and whether it hung up.
    pub fn read_bytes_until(&mut self, stop: impl Fn(&[u8]) -> bool) -> (Vec<u8>, bool) {
        let mut closed = false;
        while !closed && !stop(&self.received) {
            match self.fill() {
                Ok(0) => closed = true,
                Ok(_) => {}
                Err(e)
                    if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
                {
                    closed = true
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(e) => panic!("read failed: {e}"),
            }
        }
        (std::mem::take(&mut self.received), closed)
    }

    /// Did the server hang up, having sent nothing more?
    pub fn is_closed(&mut self) -> bool {
        let (rest, closed) = self.read_bytes_until(|bytes| !bytes.is_empty());
        let nothing_more = rest.is_empty();
        self.received = rest;
        closed && nothing_more
    }
}
