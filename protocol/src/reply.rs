//! Encoding of replies, straight into a connection's output buffer.

use std::fmt::{self, Display, Write};

use crate::error::ProtocolError;
use crate::text::format_double;

/// The version of the protocol that replies are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RespVersion {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// A place in the output, before or within a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Mark(usize);

/// Appends replies to a buffer, in the form that Redis 7.0 gives them in either protocol version.
///
/// Nothing is allocated but room in the buffer. What RESP2 has no type for is written as Redis writes it there:
/// maps as flat arrays, doubles and big numbers as bulk strings, booleans as integers.
///
/// ```
/// use coterie_protocol::{ReplyWriter, RespVersion};
///
/// let mut out = Vec::new();
/// let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp3);
/// let mark = reply.begin_array();
/// reply.bulk(b"score");
/// reply.double(1.5);
/// reply.end_array(mark, 2);
/// assert_eq!(out, b"*2\r\n$5\r\nscore\r\n,1.5\r\n");
/// ```
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    version: RespVersion,
}

impl<'a> ReplyWriter<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, version: RespVersion) -> Self {
        ReplyWriter {
            start: out.len(),
            out,
            version,
        }
    }

    /// The version this writer writes.
    #[inline]
    pub fn version(&self) -> RespVersion {
        self.version
    }

    /// Goes on in another version (`HELLO` answers in the one it has switched to).
    pub fn set_version(&mut self, version: RespVersion) {
        self.version = version;
    }

    /// How many bytes this writer has written and not taken back.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether there is no reply yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What this writer has written.
    pub fn written(&self) -> &[u8] {
        &self.out[self.start..]
    }

    /// The end of what is written so far.
    pub fn mark(&self) -> Mark {
        Mark(self.out.len())
    }

    /// Takes back everything after `mark`: a reply that turned out to be an error half-way.
    pub fn truncate_to(&mut self, mark: Mark) {
        debug_assert!(
            mark.0 >= self.start && mark.0 <= self.out.len(),
            "a mark of something else"
        );
        self.out.truncate(mark.0);
    }

    /// A simple string, as in `+OK`. Line ends in it become spaces.
    pub fn simple(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'+', text.as_ref());
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// An error: its code and text, without the leading `-`. Line ends in it become spaces, those at its end go.
    pub fn error(&mut self, message: impl AsRef<[u8]>) {
        self.line(b'-', trim_line_ends(message.as_ref()));
    }

    /// An error that is not text yet; otherwise as [`error`](ReplyWriter::error).
    pub fn error_display(&mut self, message: impl Display) {
        self.out.push(b'-');
        let start = self.out.len();
        self.display(message);
        let length = trim_line_ends(&self.out[start..]).len();
        self.out.truncate(start + length);
        blank_line_ends(&mut self.out[start..]);
        self.raw(b"\r\n");
    }

    /// What a client is told before its connection is closed.
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        match error {
            // The one message with a byte of the client in it, which need not be text.
            ProtocolError::ExpectedBulk(byte) => {
                let mut message = *b"ERR Protocol error: expected '$', got '?'";
                message[message.len() - 2] = *byte;
                self.error(message);
            }
            other => self.error_display(format_args!("ERR {other}")),
        }
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 24);
        self.length_header(b'$', bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// A bulk string of an integer's digits.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A bulk string of a value's text.
    pub fn bulk_display(&mut self, value: impl Display) {
        let mark = self.mark();
        self.display(value);
        self.end_bulk(mark);
    }

    /// A bulk string of a double's digits, in either version.
    pub fn bulk_double(&mut self, value: f64) {
        let mark = self.mark();
        format_double(value, self.out);
        self.end_bulk(mark);
    }

    /// The absence of a value: `$-1`, `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        match self.version {
            RespVersion::Resp2 => self.raw(b"$-1\r\n"),
            RespVersion::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// The absence of an array: `*-1`, `_` in RESP3.
    pub fn null_array(&mut self) {
        match self.version {
            RespVersion::Resp2 => self.raw(b"*-1\r\n"),
            RespVersion::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// A floating-point number. In RESP2 a bulk string.
    pub fn double(&mut self, value: f64) {
        match self.version {
            RespVersion::Resp2 => self.bulk_double(value),
            RespVersion::Resp3 => {
                self.out.push(b',');
                format_double(value, self.out);
                self.raw(b"\r\n");
            }
        }
    }

    /// A truth value. In RESP2 the integer 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        self.raw(match (self.version, value) {
            (RespVersion::Resp2, false) => b":0\r\n",
            (RespVersion::Resp2, true) => b":1\r\n",
            (RespVersion::Resp3, false) => b"#f\r\n",
            (RespVersion::Resp3, true) => b"#t\r\n",
        });
    }

    /// Text to be shown as it is, in a format of three letters (`txt`, `mkd`). In RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, bytes: &[u8]) {
        debug_assert_eq!(format.len(), 3);
        match self.version {
            RespVersion::Resp2 => self.bulk(bytes),
            RespVersion::Resp3 => {
                self.length_header(b'=', format.len() + 1 + bytes.len());
                self.raw(format.as_bytes());
                self.raw(b":");
                self.raw(bytes);
                self.raw(b"\r\n");
            }
        }
    }

    /// An integer of any size, in digits. In RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &str) {
        match self.version {
            RespVersion::Resp2 => self.bulk(digits.as_bytes()),
            RespVersion::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// The start of an array of `length` replies.
    #[inline]
    pub fn array(&mut self, length: usize) {
        self.length_header(b'*', length);
    }

    /// The start of a map of `length` pairs. In RESP2 an array, twice as long.
    pub fn map(&mut self, length: usize) {
        let (marker, length) = self.map_header(length);
        self.length_header(marker, length);
    }

    /// The start of a set. In RESP2 an array.
    pub fn set(&mut self, length: usize) {
        self.length_header(self.set_marker(), length);
    }

    /// The start of a message that no request asked for. In RESP2 an array.
    pub fn push(&mut self, length: usize) {
        self.length_header(
            if self.version == RespVersion::Resp2 {
                b'*'
            } else {
                b'>'
            },
            length,
        );
    }

    /// Starts an array whose length is not known yet. Its elements follow, then [`end_array`](ReplyWriter::end_array).
    pub fn begin_array(&mut self) -> Mark {
        self.mark()
    }

    /// Ends an array of `length` replies: its header goes in front of them.
    pub fn end_array(&mut self, mark: Mark, length: usize) {
        self.insert_header(mark, b'*', length);
    }

    /// Starts a map whose length is not known yet.
    pub fn begin_map(&mut self) -> Mark {
        self.mark()
    }

    /// Ends a map of `length` pairs.
    pub fn end_map(&mut self, mark: Mark, length: usize) {
        let (marker, length) = self.map_header(length);
        self.insert_header(mark, marker, length);
    }

    /// Starts a set whose length is not known yet.
    pub fn begin_set(&mut self) -> Mark {
        self.mark()
    }

    /// Ends a set of `length` replies.
    pub fn end_set(&mut self, mark: Mark, length: usize) {
        self.insert_header(mark, self.set_marker(), length);
    }

    /// Bytes that are encoded already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn map_header(&self, pairs: usize) -> (u8, usize) {
        match self.version {
            RespVersion::Resp2 => (b'*', pairs * 2),
            RespVersion::Resp3 => (b'%', pairs),
        }
    }

    fn set_marker(&self) -> u8 {
        if self.version == RespVersion::Resp2 {
            b'*'
        } else {
            b'~'
        }
    }

    /// Puts the header of a bulk string in front of what follows `mark`, and a line end after it.
    fn end_bulk(&mut self, mark: Mark) {
        self.insert_header(mark, b'$', self.out.len() - mark.0);
        self.raw(b"\r\n");
    }

    /// A line of a marker and a number.
    #[inline]
    fn header(&mut self, marker: u8, number: i64) {
        if (0..10).contains(&number) {
            self.raw(&[marker, b'0' + number as u8, b'\r', b'\n']);
            return;
        }
        self.out.push(marker);
        self.raw(itoa::Buffer::new().format(number).as_bytes());
        self.raw(b"\r\n");
    }

    #[inline]
    fn length_header(&mut self, marker: u8, length: usize) {
        debug_assert!(i64::try_from(length).is_ok());
        self.header(marker, length as i64);
    }

    /// Moves what follows `mark` to make room for a header, and writes it there.
    fn insert_header(&mut self, mark: Mark, marker: u8, length: usize) {
        debug_assert!(
            mark.0 >= self.start && mark.0 <= self.out.len(),
            "a mark of something else"
        );
        let end = self.out.len();
        self.length_header(marker, length);
        let mut header = [0; 24];
        let width = self.out.len() - end;
        header[..width].copy_from_slice(&self.out[end..]);
        self.out.copy_within(mark.0..end, mark.0 + width);
        self.out[mark.0..mark.0 + width].copy_from_slice(&header[..width]);
    }

    /// A line of a marker and a text, whose line ends become spaces.
    fn line(&mut self, marker: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(marker);
        let start = self.out.len();
        self.raw(text);
        blank_line_ends(&mut self.out[start..]);
        self.raw(b"\r\n");
    }

    /// The text of a value. One that fails to write itself leaves what it has written.
    fn display(&mut self, value: impl Display) {
        struct Text<'a>(&'a mut Vec<u8>);
        impl Write for Text<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
        let _ = write!(Text(self.out), "{value}");
    }
}

/// A text without the line ends at its end.
fn trim_line_ends(text: &[u8]) -> &[u8] {
    let length = text
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'))
        .map_or(0, |last| last + 1);
    &text[..length]
}

/// Spaces for line ends: a client takes the first as the end of the reply.
fn blank_line_ends(text: &mut [u8]) {
    for byte in text {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}
