//! Reading a stream of requests the way a connection does.

use coterie_protocol::{Limits, ProtocolError, Scanner};

/// The arguments of one request.
pub type Arguments = Vec<Vec<u8>>;

/// What a connection made of its input.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    pub requests: Vec<Arguments>,
    /// How many bytes are left of a request that is not whole.
    pub rest: usize,
    pub error: Option<ProtocolError>,
}

/// Scans bytes that arrive in pieces. Checks on the way what must hold at any time.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let mut scanner = Scanner::new();
    let mut outcome = Outcome::default();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match scanner.scan(&buffer, limits) {
                Ok(Some(length)) => {
                    assert!(length > 0 && length <= buffer.len());
                    let request = scanner.request(&buffer);
                    assert_eq!(request.len(), request.iter().len());
                    outcome
                        .requests
                        .push(request.iter().map(<[u8]>::to_vec).collect());
                    buffer.drain(..length);
                }
                Ok(None) => {
                    assert!(scanner.request(&buffer).is_empty());
                    assert!(scanner.wanted() > buffer.len());
                    assert!(scanner.wanted() <= (buffer.len() * 2).max(16 * 1024));
                    break;
                }
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
            check_memory(&scanner, buffer.capacity());
        }
        check_memory(&scanner, buffer.len());
    }
    outcome.rest = buffer.len();
    outcome
}

/// An argument takes at least 6 bytes on the wire and 8 in the scanner, whose arrays at most double.
fn check_memory(scanner: &Scanner, input: usize) {
    let retained = 16 * 1024;
    let allocated = scanner.allocated_bytes();
    assert!(
        allocated <= retained + input * 3,
        "{allocated} bytes for {input} bytes of input"
    );
}

/// A request as clients send it.
pub fn encode(arguments: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
