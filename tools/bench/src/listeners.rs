//! Clients that listen to a channel, and count what they hear.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use crate::{
    error::{Context, Error, Result},
    resp::write_command,
};

const READ_BYTES: usize = 64 * 1024;
/// How long messages that are under way may take.
const LAST_MESSAGE: Duration = Duration::from_secs(10);

/// The thread that reads what they are sent.
pub struct Listeners {
    thread: JoinHandle<Result<u64>>,
    ends: Arc<AtomicBool>,
    /// Bytes of a message as it is sent to one of them.
    message_bytes: u64,
}

impl Listeners {
    /// This many, of messages of this length.
    pub fn start(port: u16, count: usize, channel: &[u8], message: &[u8]) -> Result<Self> {
        let mut frame = Vec::new();
        write_command(&mut frame, &[b"message", channel, message]);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create")?;
        let mut streams = Vec::with_capacity(count);
        for number in 0..count {
            let stream = subscribe(port, channel)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).context("epoll_ctl")?;
            streams.push(stream);
        }
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        let thread = std::thread::spawn(move || listen(&epoll, &streams, &ended));
        Ok(Listeners {
            thread,
            ends,
            message_bytes: frame.len() as u64,
        })
    }

    /// Ends once nothing more comes. Returns how many messages all of them have heard together.
    pub fn end(self) -> Result<u64> {
        self.ends.store(true, Ordering::Relaxed);
        let heard = self.thread.join();
        let bytes = heard.map_err(|_| Error::WrongReply("the listeners panicked".to_owned()))??;
        if bytes % self.message_bytes != 0 {
            return Err(Error::WrongReply(format!("{bytes} bytes of messages")));
        }
        Ok(bytes / self.message_bytes)
    }
}

fn subscribe(port: u16, channel: &[u8]) -> Result<TcpStream> {
    let mut request = Vec::new();
    write_command(&mut request, &[b"SUBSCRIBE", channel]);
    // Three elements; the last is a number, not a string.
    let mut confirmation = Vec::new();
    write_command(&mut confirmation, &[b"subscribe", channel]);
    confirmation.splice(..2, *b"*3");
    confirmation.extend_from_slice(b":1\r\n");
    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let mut stream = connected.context("connecting a listener")?;
    stream.write_all(&request).context("subscribing")?;
    let mut answer = vec![0; confirmation.len()];
    stream.read_exact(&mut answer).context("subscribing")?;
    if answer != confirmation {
        return Err(Error::WrongReply(
            String::from_utf8_lossy(&answer).into_owned(),
        ));
    }
    stream.set_nonblocking(true).context("O_NONBLOCK")?;
    Ok(stream)
}

/// Reads until it is to end and nothing more comes; returns how many bytes that were.
fn listen(epoll: &OwnedFd, streams: &[TcpStream], ends: &AtomicBool) -> Result<u64> {
    let mut events = Vec::with_capacity(streams.len());
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    let mut last = Instant::now();
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    loop {
        let is_ending = ends.load(Ordering::Relaxed);
        events.clear();
        match epoll::wait(epoll, spare_capacity(&mut events), Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        // Nothing for as long as it waited, after everything was answered.
        if is_ending && (events.is_empty() || last.elapsed() > LAST_MESSAGE) {
            return Ok(bytes);
        }
        for event in &events {
            let number = event.data.u64() as usize;
            match (&streams[number]).read(&mut buffer) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => bytes += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("listening"),
            }
        }
        if !is_ending {
            last = Instant::now();
        }
    }
}
