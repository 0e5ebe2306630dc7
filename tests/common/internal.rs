//! The internal protocol by hand, for saying what no proper node or client would say.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;

use coterie_protocol::internal::handshake::{Hello, Introduction, NONCE, Side, Transcript};
use coterie_protocol::internal::{Kind, PREAMBLE, Refusal, Scan, Secret, frame};

use super::wait::DEADLINE;

/// The largest body that a test is told.
const BODY_LIMIT: usize = 1 << 20;

/// A connection to the internal port of a node.
pub struct Dialler {
    stream: TcpStream,
}

impl Dialler {
    /// Connects, and exchanges preambles.
    pub fn connect(address: SocketAddr) -> io::Result<Dialler> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(&PREAMBLE)?;
        let mut preamble = [0; PREAMBLE.len()];
        stream.read_exact(&mut preamble)?;
        assert_eq!(preamble, PREAMBLE);
        Ok(Dialler { stream })
    }

    /// Shakes hands; the second is who answered.
    ///
    /// # Errors
    /// The node refuses.
    pub fn shake(
        address: SocketAddr,
        versions: RangeInclusive<u16>,
        who: &Introduction,
        secret: &Secret,
    ) -> Result<(Dialler, Introduction), Refusal> {
        let mut dialler = Dialler::connect(address).expect("the port listens");
        let hello = Hello {
            oldest: *versions.start(),
            newest: *versions.end(),
            nonce: [7; NONCE],
        };
        let hello = hello.encode();
        dialler.say(Kind::Hello, 0, 0, &hello);
        let challenge = dialler.hear_unless_refused(Kind::Challenge)?;
        let transcript = Transcript {
            hello: &hello,
            challenge: &challenge,
        };
        let proof = transcript.introduce(Side::Dialler, who, secret);
        dialler.say(Kind::Proof, 0, 0, &proof);
        let welcome = dialler.hear_unless_refused(Kind::Welcome)?;
        let host = transcript.verify(Side::Acceptor, &welcome, secret);
        Ok((dialler, host.expect("a node that knows the secret")))
    }

    /// Sends a frame. The node may have hung up already.
    pub fn say(&mut self, kind: Kind, service: u8, call: u64, body: &[u8]) {
        let mut bytes = Vec::new();
        frame::encode(kind, service, call, body, &mut bytes);
        self.send(&bytes);
    }

    /// Sends bytes as they are. The node may have hung up already.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame; `None` if the node has hung up.
    pub fn hear(&mut self) -> Option<(Kind, Vec<u8>)> {
        let mut bytes = Vec::new();
        loop {
            match frame::scan(&bytes, BODY_LIMIT).expect("proper frames") {
                Scan::Complete(found) => return Some((found.kind, bytes.split_off(frame::HEADER))),
                Scan::Incomplete(missing) => {
                    let start = bytes.len();
                    bytes.resize(start + missing, 0);
                    match self.stream.read_exact(&mut bytes[start..]) {
                        Ok(()) => {}
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => panic!("no answer"),
                        Err(_) => return None,
                    }
                }
            }
        }
    }

    /// Why the node refuses what was said last; it hangs up then.
    pub fn hear_refusal(&mut self) -> Refusal {
        loop {
            match self.hear() {
                Some((Kind::Refuse, body)) => {
                    assert_eq!(self.hear(), None, "after a refusal");
                    return Refusal::decode(&body);
                }
                Some(_) => {}
                None => panic!("hung up without a word"),
            }
        }
    }

    fn hear_unless_refused(&mut self, kind: Kind) -> Result<Vec<u8>, Refusal> {
        match self.hear() {
            Some((Kind::Refuse, body)) => Err(Refusal::decode(&body)),
            Some((heard, body)) if heard == kind => Ok(body),
            other => panic!("{other:?} instead of {kind:?}"),
        }
    }
}
