//! The client's side of the handshake, and frames from a socket.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use coterie_protocol::internal::handshake::{
    Challenge, Hello, Introduction, IntroductionError, Side, Transcript,
};
use coterie_protocol::internal::{
    Frame, Kind, NEWEST_VERSION, OLDEST_VERSION, PREAMBLE, Reason, Refusal, Scan, frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::error::ConnectError;
use crate::options::Options;

/// The least and the most room made for a read at once.
const ROOM: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 20;

/// A connection after its handshake.
pub(crate) struct Opened {
    pub(crate) reader: FrameReader,
    pub(crate) writer: OwnedWriteHalf,
    /// The node at the other end.
    pub(crate) who: Introduction,
}

/// The receiving half of a connection.
pub(crate) struct FrameReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    body_limit: usize,
}

impl FrameReader {
    /// Waits for bytes; makes room for as many as are known to come, but never for more than have come so far and a
    /// little.
    async fn fill(&mut self, missing: usize) -> Result<(), ConnectError> {
        let trusted = self.buffer.len().clamp(*ROOM.start(), *ROOM.end());
        self.buffer.reserve(missing.clamp(*ROOM.start(), trusted));
        if self.half.read_buf(&mut self.buffer).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    async fn preamble(&mut self) -> Result<(), ConnectError> {
        while self.buffer.len() < PREAMBLE.len() {
            if !PREAMBLE.starts_with(&self.buffer) {
                return Err(garbage(
                    "what answers does not speak Coterie's internal protocol",
                ));
            }
            self.fill(PREAMBLE.len() - self.buffer.len()).await?;
        }
        if self.buffer.split_to(PREAMBLE.len()) == PREAMBLE[..] {
            Ok(())
        } else {
            Err(garbage(
                "what answers does not speak Coterie's internal protocol",
            ))
        }
    }

    /// The next frame and its body.
    pub(crate) async fn next(&mut self) -> Result<(Frame, Bytes), ConnectError> {
        loop {
            match frame::scan(&self.buffer, self.body_limit)? {
                Scan::Complete(frame) => {
                    let body = self.buffer.split_to(frame.length).freeze();
                    if frame.kind == Kind::Refuse {
                        let refusal = Refusal::decode(&body[frame::HEADER..]);
                        return Err(ConnectError::Refused(refusal));
                    }
                    return Ok((frame, body.slice(frame::HEADER..)));
                }
                Scan::Incomplete(missing) => self.fill(missing).await?,
            }
        }
    }
}

fn garbage(detail: impl Into<String>) -> ConnectError {
    ConnectError::Refusing(Refusal::new(Reason::Garbage, detail))
}

/// Connects to a node and shakes hands.
pub(crate) async fn dial(address: SocketAddr, options: &Options) -> Result<Opened, ConnectError> {
    if options.secret.is_none() && !address.ip().to_canonical().is_loopback() {
        let detail = "without a cluster secret a client speaks to nodes over loopback only";
        return Err(ConnectError::Refusing(Refusal::new(
            Reason::Loopback,
            detail,
        )));
    }
    let limit = options.connect_timeout;
    let connected = timeout(limit, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| ConnectError::Timeout)??;
    stream.set_nodelay(true)?;
    let (read, writer) = stream.into_split();
    let reader = FrameReader {
        half: read,
        buffer: BytesMut::new(),
        body_limit: frame::HANDSHAKE_BODY_LIMIT,
    };
    let shaken = timeout(limit, shake(reader, writer, options)).await;
    shaken.map_err(|_| ConnectError::Timeout)?
}

async fn shake(
    mut reader: FrameReader,
    mut writer: OwnedWriteHalf,
    options: &Options,
) -> Result<Opened, ConnectError> {
    let hello = Hello {
        oldest: OLDEST_VERSION,
        newest: NEWEST_VERSION,
        nonce: rand::random(),
    }
    .encode();
    let mut bytes = PREAMBLE.to_vec();
    frame::encode(Kind::Hello, 0, 0, &hello, &mut bytes);
    writer.write_all(&bytes).await?;
    reader.preamble().await?;
    let challenge = hear(&mut reader, Kind::Challenge).await?;
    let version = Challenge::decode(&challenge)
        .ok_or(ConnectError::Malformed)?
        .version;
    if !(OLDEST_VERSION..=NEWEST_VERSION).contains(&version) {
        let detail = format!("version {version} of the internal protocol is not known here");
        return Err(ConnectError::Refusing(Refusal::new(
            Reason::Version,
            detail,
        )));
    }
    let transcript = Transcript {
        hello: &hello,
        challenge: &challenge,
    };
    let key = options.secret.clone().unwrap_or_default();
    let me = Introduction::client(rand::random());
    bytes.clear();
    let proof = transcript.introduce(Side::Dialler, &me, &key);
    frame::encode(Kind::Proof, 0, 0, &proof, &mut bytes);
    writer.write_all(&bytes).await?;
    let welcome = hear(&mut reader, Kind::Welcome).await?;
    let who = transcript
        .verify(Side::Acceptor, &welcome, &key)
        .map_err(|error| match error {
            IntroductionError::Secret => {
                ConnectError::Refusing(Refusal::new(Reason::Secret, error.to_string()))
            }
            IntroductionError::Malformed => ConnectError::Malformed,
        })?;
    reader.body_limit = options.body_limit;
    Ok(Opened {
        reader,
        writer,
        who,
    })
}

async fn hear(reader: &mut FrameReader, kind: Kind) -> Result<Bytes, ConnectError> {
    let (frame, body) = reader.next().await?;
    if frame.kind == kind {
        Ok(body)
    } else {
        Err(garbage(format!("{:?} instead of {kind:?}", frame.kind)))
    }
}
