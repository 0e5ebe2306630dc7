//! A blocking connection for the few commands around a measurement.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    error::{Context, Error, Result},
    interrupt,
    resp::{Reply, scan, write_command},
};

/// A server that is busy for longer than this is taken for dead.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const POLL: Duration = Duration::from_millis(5);

pub struct Control {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Control {
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE)).context("timeout")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends a command and reads its reply with `read`; an error reply is an error.
    fn call<T>(&mut self, args: &[&[u8]], read: impl FnOnce(&Reply<'_>) -> Option<T>) -> Result<T> {
        let mut request = Vec::new();
        write_command(&mut request, args);
        self.stream.write_all(&request).context("sending")?;
        self.buffer.clear();
        let mut chunk = [0; 4096];
        loop {
            let n = self.stream.read(&mut chunk).context("receiving")?;
            if n == 0 {
                return Err(Error::Closed);
            }
            self.buffer.extend_from_slice(&chunk[..n]);
            if let Some((reply, _)) = scan(&self.buffer)? {
                if let Reply::Error(text) = reply {
                    return Err(Error::Refused(String::from_utf8_lossy(text).into_owned()));
                }
                let wrong = || {
                    let command = String::from_utf8_lossy(args[0]).into_owned();
                    Error::WrongReply(format!("{} to {command}", reply.describe()))
                };
                return read(&reply).ok_or_else(wrong);
            }
        }
    }

    /// A command whose reply is a status.
    pub fn status(&mut self, args: &[&[u8]]) -> Result<()> {
        self.call(args, |reply| {
            matches!(reply, Reply::Status(_)).then_some(())
        })
    }

    /// A command whose reply is a number.
    pub fn integer(&mut self, args: &[&[u8]]) -> Result<i64> {
        self.call(args, |reply| match reply {
            Reply::Integer(n) => Some(*n),
            _ => None,
        })
    }

    /// The length of a string value, fetched whole.
    pub fn get_len(&mut self, key: &[u8]) -> Result<usize> {
        self.call(&[b"GET", key], |reply| match reply {
            Reply::Bulk(bytes) => Some(bytes.len()),
            _ => None,
        })
    }

    /// A number kept as a string; 0 if there is none.
    pub fn number(&mut self, key: &[u8]) -> Result<i64> {
        self.call(&[b"GET", key], |reply| match reply {
            Reply::Bulk(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Reply::Null => Some(0),
            _ => None,
        })
    }

    /// A command whose reply is a text, such as INFO.
    pub fn text(&mut self, args: &[&[u8]]) -> Result<String> {
        self.call(args, |reply| match reply {
            Reply::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    }

    /// One field of INFO's section `persistence`.
    fn persistence(&mut self, field: &str) -> Result<String> {
        let info = self.text(&[b"INFO", b"persistence"])?;
        info.lines()
            .find_map(|line| {
                line.strip_prefix(field)?
                    .strip_prefix(':')
                    .map(str::to_owned)
            })
            .ok_or_else(|| Error::WrongReply(format!("INFO persistence has no {field}")))
    }

    /// Waits until `field` of INFO persistence is 0.
    fn wait_for_zero(&mut self, field: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.persistence(field)? != "0" {
            interrupt::check()?;
            if Instant::now() > deadline {
                return Err(Error::WrongReply(format!("{field} stays 1")));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Takes a snapshot (Coterie: a checkpoint) in the background and waits for its success.
    pub fn background_save(&mut self) -> Result<()> {
        self.status(&[b"BGSAVE"])?;
        self.wait_for_zero("rdb_bgsave_in_progress")?;
        match self.persistence("rdb_last_bgsave_status")?.as_str() {
            "ok" => Ok(()),
            other => Err(Error::WrongReply(format!(
                "rdb_last_bgsave_status is {other}"
            ))),
        }
    }

    /// Has Redis rewrite its append-only file, and waits for its success.
    pub fn rewrite_append_only_file(&mut self) -> Result<()> {
        self.status(&[b"BGREWRITEAOF"])?;
        self.wait_for_zero("aof_rewrite_scheduled")?;
        self.wait_for_zero("aof_rewrite_in_progress")?;
        match self.persistence("aof_last_bgrewrite_status")?.as_str() {
            "ok" => Ok(()),
            other => Err(Error::WrongReply(format!(
                "aof_last_bgrewrite_status is {other}"
            ))),
        }
    }
}
