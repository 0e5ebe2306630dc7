//! The handshake of both sides: who is there, and whether to speak with it.

use std::net::SocketAddr;

use bytes::Bytes;
use coterie_protocol::internal::handshake::{
    Challenge, Hello, Introduction, IntroductionError, Purpose, Side, Transcript, clock_offset_ms,
};
use coterie_protocol::internal::{Kind, PREAMBLE, Reason, Refusal, frame};
use coterie_protocol::{ClusterId, NodeId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

use super::Shared;
use super::error::Ended;
use super::stream::{FrameReader, Silence};
use super::traffic::Traffic;

/// A peer whose handshake succeeded.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) who: Introduction,
    pub(super) version: u16,
    /// How far its clock is ahead, in milliseconds.
    pub(super) clock_offset_ms: i64,
    /// It has not joined our cluster yet and may only ask to.
    pub(super) joining: bool,
}

/// A connection after its handshake.
pub(super) struct Opened {
    pub(super) peer: Peer,
    pub(super) reader: FrameReader,
    pub(super) writer: OwnedWriteHalf,
}

/// Connects to an address and shakes hands; `expected` is the node that should be there.
pub(super) async fn dial(
    shared: &Shared,
    address: SocketAddr,
    expected: Option<NodeId>,
    purpose: Purpose,
    traffic: &Traffic,
) -> Result<Opened, Ended> {
    if !shared.options.permits(address) {
        return Err(Ended::Refusing(loopback_only()));
    }
    let limit = shared.options.handshake_timeout;
    let stream = timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| Ended::Handshake)??;
    shake(shared, stream, address, traffic, async |line| {
        line.dial(shared, expected, purpose).await
    })
    .await
}

/// Shakes hands with a peer that connected; nothing is registered yet.
pub(super) async fn accept(
    shared: &Shared,
    stream: TcpStream,
    address: SocketAddr,
    traffic: &Traffic,
    admit: impl AsyncFnOnce(&Peer) -> Result<(), Refusal>,
) -> Result<Opened, Ended> {
    shake(shared, stream, address, traffic, async |line| {
        if !shared.options.permits(address) {
            return Err(Ended::Refusing(loopback_only()));
        }
        line.accept(shared, address, admit).await
    })
    .await
}

fn loopback_only() -> Refusal {
    Refusal::new(
        Reason::Loopback,
        "without a cluster secret a node speaks to others over loopback only",
    )
}

/// Runs one side's steps within the time limit and tells the peer if they end in a refusal.
async fn shake(
    shared: &Shared,
    stream: TcpStream,
    address: SocketAddr,
    traffic: &Traffic,
    steps: impl AsyncFnOnce(&mut Line) -> Result<Peer, Ended>,
) -> Result<Opened, Ended> {
    stream.set_nodelay(true)?;
    let (read, writer) = stream.into_split();
    let mut line = Line {
        reader: FrameReader::new(read),
        writer,
        traffic,
        silence: Silence::default(),
    };
    let result = timeout(shared.options.handshake_timeout, steps(&mut line)).await;
    match result {
        Ok(Ok(peer)) => {
            line.reader.body_limit = shared.options.body_limit_of(peer.who.is_client());
            if !peer.who.is_client() {
                shared.datagrams.introduced(&peer);
            }
            Ok(Opened {
                peer,
                reader: line.reader,
                writer: line.writer,
            })
        }
        Ok(Err(ended)) => {
            if let Ended::Refusing(refusal) = &ended {
                shared.refusing(address, refusal);
                let body = refusal.encode();
                let told = line.say(Kind::Refuse, &body);
                if let Ok(Ok(())) = timeout(shared.options.handshake_timeout, told).await {
                    let _ = line.writer.shutdown().await;
                    line.reader.linger().await;
                }
            }
            Err(ended)
        }
        Err(_) => Err(Ended::Handshake),
    }
}

/// A connection before the handshake is over.
struct Line<'a> {
    reader: FrameReader,
    writer: OwnedWriteHalf,
    traffic: &'a Traffic,
    silence: Silence,
}

impl Line<'_> {
    async fn say(&mut self, kind: Kind, body: &[u8]) -> Result<(), Ended> {
        let mut bytes = Vec::new();
        if matches!(kind, Kind::Hello) {
            bytes.extend_from_slice(&PREAMBLE);
        }
        frame::encode(kind, 0, 0, body, &mut bytes);
        self.writer.write_all(&bytes).await?;
        self.traffic.add_sent(bytes.len());
        Ok(())
    }

    async fn hear(&mut self, kind: Kind) -> Result<Bytes, Ended> {
        let (frame, body) = self.reader.next(self.traffic, &self.silence).await?;
        if frame.kind == Kind::Refuse {
            return Err(Ended::Refused(Refusal::decode(&body)));
        }
        if frame.kind != kind {
            return Err(garbage(format!("{:?} instead of {kind:?}", frame.kind)));
        }
        Ok(body)
    }

    async fn dial(
        &mut self,
        shared: &Shared,
        expected: Option<NodeId>,
        purpose: Purpose,
    ) -> Result<Peer, Ended> {
        let versions = &shared.options.versions;
        let hello = Hello {
            oldest: *versions.start(),
            newest: *versions.end(),
            nonce: rand::random(),
        }
        .encode();
        self.say(Kind::Hello, &hello).await?;
        self.reader.preamble(self.traffic, &self.silence).await?;
        let challenge = self.hear(Kind::Challenge).await?;
        let version = Challenge::decode(&challenge)
            .ok_or_else(|| garbage("a malformed challenge"))?
            .version;
        if !versions.contains(&version) {
            return Err(Ended::Refusing(Refusal::new(
                Reason::Version,
                format!(
                    "version {version} of the internal protocol was chosen, this node speaks {versions:?}"
                ),
            )));
        }
        let transcript = Transcript {
            hello: &hello,
            challenge: &challenge,
        };
        let key = shared.options.key();
        let sent_ms = shared.options.clock.now_ms();
        let me = shared.introduction(purpose);
        self.say(Kind::Proof, &transcript.introduce(Side::Dialler, &me, &key))
            .await?;
        let body = self.hear(Kind::Welcome).await?;
        let who = transcript
            .verify(Side::Acceptor, &body, &key)
            .map_err(unproven)?;
        let clock_offset_ms =
            examine(shared, &who, sent_ms, Side::Acceptor).map_err(Ended::Refusing)?;
        if let Some(expected) = expected.filter(|expected| *expected != who.node) {
            return Err(Ended::Refusing(Refusal::new(
                Reason::Unexpected,
                format!("node {} answers where {expected} was expected", who.node),
            )));
        }
        Ok(Peer {
            who,
            version,
            clock_offset_ms,
            joining: false,
        })
    }

    async fn accept(
        &mut self,
        shared: &Shared,
        address: SocketAddr,
        admit: impl AsyncFnOnce(&Peer) -> Result<(), Refusal>,
    ) -> Result<Peer, Ended> {
        // Said first, so that whatever is refused is refused in this protocol.
        self.writer.write_all(&PREAMBLE).await?;
        self.traffic.add_sent(PREAMBLE.len());
        self.reader.preamble(self.traffic, &self.silence).await?;
        let hello = self.hear(Kind::Hello).await?;
        let versions = &shared.options.versions;
        let said = Hello::decode(&hello).ok_or_else(|| garbage("a malformed hello"))?;
        let Some(version) = said.negotiate(versions) else {
            return Err(Ended::Refusing(Refusal::new(
                Reason::Version,
                format!(
                    "no common version of the internal protocol: the dialler speaks {:?}, this node {versions:?}",
                    said.oldest..=said.newest
                ),
            )));
        };
        let challenge = Challenge {
            version,
            nonce: rand::random(),
        }
        .encode();
        let sent_ms = shared.options.clock.now_ms();
        self.say(Kind::Challenge, &challenge).await?;
        let body = self.hear(Kind::Proof).await?;
        let transcript = Transcript {
            hello: &hello,
            challenge: &challenge,
        };
        let key = shared.options.key();
        let mut who = transcript
            .verify(Side::Dialler, &body, &key)
            .map_err(unproven)?;
        let is_client = who.is_client();
        let clock_offset_ms = if is_client {
            // It tells nothing that could differ. Others see where it comes from.
            who.address = address;
            0
        } else {
            examine(shared, &who, sent_ms, Side::Dialler).map_err(Ended::Refusing)?
        };
        let peer = Peer {
            joining: !is_client && who.cluster == ClusterId(0),
            who,
            version,
            clock_offset_ms,
        };
        admit(&peer).await.map_err(Ended::Refusing)?;
        let me = shared.introduction(Purpose::Link);
        self.say(
            Kind::Welcome,
            &transcript.introduce(Side::Acceptor, &me, &key),
        )
        .await?;
        Ok(peer)
    }
}

fn garbage(detail: impl Into<String>) -> Ended {
    Ended::Refusing(Refusal::new(Reason::Garbage, detail))
}

fn unproven(error: IntroductionError) -> Ended {
    Ended::Refusing(Refusal::new(
        match error {
            IntroductionError::Secret => Reason::Secret,
            IntroductionError::Malformed => Reason::Garbage,
        },
        error.to_string(),
    ))
}

/// Whether the node that `side` introduced suits this one. Returns how far its clock is ahead.
fn examine(shared: &Shared, who: &Introduction, sent_ms: u64, side: Side) -> Result<i64, Refusal> {
    let options = &shared.options;
    if who.node == options.node {
        let detail = if who.life == shared.life {
            format!("node {} dialled itself", who.node)
        } else {
            format!(
                "two processes say they are node {}, at {} and {}: is a data directory copied?",
                who.node, who.address, shared.advertised
            )
        };
        return Err(Refusal::new(Reason::Duplicate, detail));
    }
    let ours = shared.cluster();
    let stranger = match side {
        Side::Dialler => who.cluster == ClusterId(0),
        Side::Acceptor => ours == ClusterId(0),
    };
    if who.cluster != ours && !stranger {
        return Err(Refusal::new(
            Reason::Cluster,
            format!(
                "node {} belongs to cluster {}, node {} to {ours}",
                who.node, who.cluster, options.node
            ),
        ));
    }
    if who.partitions != options.partitions.count() {
        return Err(Refusal::new(
            Reason::Partitions,
            format!(
                "node {} has {} partitions, node {} has {}",
                who.node,
                who.partitions,
                options.node,
                options.partitions.count()
            ),
        ));
    }
    let offset = clock_offset_ms(sent_ms, options.clock.now_ms(), who.clock_ms);
    check_clock(shared, who.node, offset)?;
    Ok(offset)
}

/// Refuses a clock that is too far off.
pub(super) fn check_clock(shared: &Shared, node: NodeId, offset_ms: i64) -> Result<(), Refusal> {
    let limit = shared.options.max_drift.as_millis();
    if u128::from(offset_ms.unsigned_abs()) <= limit {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::Clock,
        format!(
            "the clock of node {node} is {} ms {} that of node {}, the limit is {limit} ms",
            offset_ms.unsigned_abs(),
            if offset_ms > 0 { "ahead of" } else { "behind" },
            shared.options.node,
        ),
    ))
}
