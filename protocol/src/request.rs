//! The incremental scanner of RESP requests: flat arrays of bulk strings, and inline commands.
//!
//! A [`Scanner`] looks at the bytes a connection has received and tells where the first request ends.
//! It keeps its place when a request is not whole yet, so a request that arrives in many pieces costs
//! no more than one that arrives at once. It allocates for arguments that have arrived, never for ones
//! that are merely announced, and copies nothing but inline commands (their quoting has to be undone).
//!
//! The rules, limits and error texts are those of Redis 7.0 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>),
//! including its leniency: the line end after a bulk string is skipped without a look, and so is the byte after
//! the CR of a length line.

mod arguments;
mod inline;

pub use arguments::{OwnedRequest, Request};

use crate::error::ProtocolError;
use crate::text::parse_i64;
use arguments::Span;

/// The most arguments a client may announce before it has authenticated.
const UNAUTHENTICATED_ARGUMENTS: usize = 10;
/// The longest argument, in bytes, that a client may announce before it has authenticated.
const UNAUTHENTICATED_BULK_BYTES: usize = 16 * 1024;
/// No line that announces a reasonable length is longer, in bytes.
const MIN_LINE_BYTES: usize = 64;
/// Room for arguments that is kept from one request to the next.
const RETAINED_ARGUMENTS: usize = 1024;
/// Room for the text of inline commands that is kept from one request to the next, in bytes.
const RETAINED_INLINE_BYTES: usize = 4 * 1024;
/// The longest request: offsets are kept in 32 bits.
const MAX_BYTES: usize = u32::MAX as usize;
/// Up to this many bytes [`Scanner::wanted`] takes a client's word for what will come.
const TRUSTED_BYTES: usize = 16 * 1024;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest argument in bytes (`proto-max-bulk-len`).
    pub bulk_bytes: usize,
    /// The most arguments in one request.
    pub arguments: usize,
    /// The longest inline command, and the longest line that announces a length, in bytes. Less than 64 counts as 64.
    pub inline_bytes: usize,
    /// Whether the client has authenticated, or need not. If not, it may send 10 arguments of 16 KiB.
    pub authenticated: bool,
}

impl Default for Limits {
    /// The limits of Redis 7.0: 512 MiB an argument, 2^31 - 1 arguments, 64 KiB inline.
    fn default() -> Self {
        Limits {
            bulk_bytes: 512 * 1024 * 1024,
            arguments: i32::MAX as usize,
            inline_bytes: 64 * 1024,
            authenticated: true,
        }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The first byte of a request, or the rest of its first line.
    #[default]
    Start,
    /// The line that announces the length of an argument.
    Length,
    /// An argument of this many bytes, and its line end.
    Bulk(usize),
    /// Nothing: an array is whole.
    Array,
    /// Nothing: an inline command is whole.
    Inline,
}

/// Finds the requests in a stream of bytes. One for each connection.
///
/// ```
/// use coterie_protocol::{Limits, Scanner};
///
/// let (mut scanner, limits) = (Scanner::new(), Limits::default());
/// let bytes = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nPING\r\n";
/// assert_eq!(scanner.scan(&bytes[..10], &limits), Ok(None));
/// assert_eq!(scanner.scan(bytes, &limits), Ok(Some(22)));
/// assert_eq!(scanner.request(bytes).name(), b"GET");
/// assert_eq!(&scanner.request(bytes)[1], b"key");
/// assert_eq!(scanner.scan(&bytes[22..], &limits), Ok(Some(6)));
/// assert_eq!(scanner.request(&bytes[22..]).name(), b"PING");
/// ```
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    /// The first byte that is not parsed yet.
    position: usize,
    /// Before this the line at `position` has no end. Behind `position` until it has been looked for.
    searched: usize,
    /// Arguments that are announced and not complete.
    remaining: usize,
    /// See [`Scanner::wanted`].
    wanted: usize,
    arguments: Vec<Span>,
    /// The unquoted arguments of an inline command.
    inline: Vec<u8>,
}

impl Scanner {
    /// A scanner at the start of a request.
    pub fn new() -> Self {
        Scanner::default()
    }

    /// Looks for the end of the request that starts at `buffer[0]`.
    ///
    /// While the answer is `None`, the next call must pass the same bytes and any that have arrived since. When it is
    /// `Some(n)`, the request is `buffer[..n]`, [`request`](Scanner::request) gives its arguments, and the next
    /// call starts with the bytes from `n` on. A request can be empty (`*0`, an empty line): to be ignored.
    ///
    /// # Errors
    /// The bytes are not a request or break a limit. The connection can't be used any more: it is unknown
    /// where the next request would start.
    pub fn scan(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        debug_assert!(
            matches!(self.state, State::Array | State::Inline) || self.position <= buffer.len(),
            "bytes of an unfinished request were taken away"
        );
        if matches!(self.state, State::Array | State::Inline) {
            self.reset();
        }
        if self.state == State::Start {
            match buffer.first() {
                None => return Ok(self.more(0, 1)),
                Some(b'*') => {}
                Some(_) => return self.scan_inline(buffer, limits),
            }
            let Some((count, next)) = self.announced_arguments(buffer, limits)? else {
                return Ok(None);
            };
            self.remaining = count;
            self.position = next;
            self.state = State::Length;
        }
        self.scan_arguments(buffer, limits)
    }

    /// The request that the last call of [`scan`](Scanner::scan) found, in the buffer it was given.
    /// Empty if it found none.
    pub fn request<'a>(&'a self, buffer: &'a [u8]) -> Request<'a> {
        match self.state {
            State::Array => Request::new(buffer, &self.arguments),
            State::Inline => Request::new(&self.inline, &self.arguments),
            _ => Request::EMPTY,
        }
    }

    /// How many bytes the buffer should be able to hold when [`scan`](Scanner::scan) is called again.
    ///
    /// While a long argument is on its way this is where it ends, but never more than double of what has arrived
    /// (and 16 KiB): a reader can reserve it without trusting the client.
    pub fn wanted(&self) -> usize {
        match self.state {
            State::Array | State::Inline => 1,
            _ => self.wanted.max(1),
        }
    }

    /// The heap memory this scanner keeps, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.arguments.capacity() * size_of::<Span>() + self.inline.capacity()
    }

    /// Gets ready for the next request, and gives back the room an unusually large one took.
    fn reset(&mut self) {
        self.state = State::Start;
        self.position = 0;
        self.searched = 0;
        self.remaining = 0;
        self.arguments.clear();
        if self.arguments.capacity() > RETAINED_ARGUMENTS {
            self.arguments.shrink_to(RETAINED_ARGUMENTS);
        }
        self.inline.clear();
        if self.inline.capacity() > RETAINED_INLINE_BYTES {
            self.inline.shrink_to(RETAINED_INLINE_BYTES);
        }
    }

    /// Notes that `available` bytes are too few, and that nothing will come of it below `needed`.
    fn more<T>(&mut self, available: usize, needed: usize) -> Option<T> {
        debug_assert!(needed > available);
        self.wanted = needed
            .min((available * 2).max(TRUSTED_BYTES))
            .max(available + 1);
        None
    }

    /// The arguments of an array, from where the last call stopped.
    fn scan_arguments(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        self.take_short_arguments(buffer, limits);
        while self.remaining > 0 {
            let length = match self.state {
                State::Bulk(length) => length,
                _ => match self.announced_length(buffer, limits)? {
                    None => return Ok(None),
                    Some((length, next)) => {
                        self.position = next;
                        length
                    }
                },
            };
            let start = self.position;
            let Some(end) = start
                .checked_add(length)
                .filter(|end| *end <= MAX_BYTES - 2)
            else {
                return Err(ProtocolError::TooBigRequest);
            };
            let next = end + 2;
            if buffer.len() < next {
                self.state = State::Bulk(length);
                return Ok(self.more(buffer.len(), next));
            }
            self.arguments.push(Span::new(start, length));
            self.state = State::Length;
            self.position = next;
            self.remaining -= 1;
            self.take_short_arguments(buffer, limits);
        }
        self.state = State::Array;
        Ok(Some(self.position))
    }

    /// Takes arguments of at most 999 bytes for as long as they are whole and without fault. This only makes
    /// [`scan_arguments`](Scanner::scan_arguments) fast, which deals with all that stops here.
    #[inline]
    fn take_short_arguments(&mut self, buffer: &[u8], limits: &Limits) {
        if self.state != State::Length {
            return;
        }
        let buffer = &buffer[..buffer.len().min(MAX_BYTES)];
        let (mut position, mut remaining) = (self.position, self.remaining);
        while remaining > 0
            && let Some(line @ [b'$', ..]) = buffer.get(position..)
            && let Some((length, width)) = short_number(line)
            && length <= limits.bulk_bytes
            && width + length + 2 <= line.len()
        {
            self.arguments.push(Span::new(position + width, length));
            position += width + length + 2;
            remaining -= 1;
        }
        self.position = position;
        self.remaining = remaining;
    }

    /// The number of arguments, and where the first starts.
    #[inline]
    fn announced_arguments(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let (count, next) = match short_number(buffer) {
            Some(short) => short,
            None => match self.length_line(buffer, limits, ProtocolError::TooBigMultibulkCount)? {
                None => return Ok(None),
                Some((number, next)) => {
                    let count = number.ok_or(ProtocolError::InvalidMultibulkLength)?;
                    // A negative count makes an empty request.
                    (usize::try_from(count.max(0)).unwrap_or(usize::MAX), next)
                }
            },
        };
        if count > limits.arguments {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGUMENTS && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(Some((count, next)))
    }

    /// The length of the argument announced at `position`, and where the argument starts.
    fn announced_length(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let Some((number, next)) =
            self.length_line(buffer, limits, ProtocolError::TooBigBulkCount)?
        else {
            return Ok(None);
        };
        if buffer[self.position] != b'$' {
            return Err(ProtocolError::ExpectedBulk(buffer[self.position]));
        }
        let length = number
            .and_then(|number| usize::try_from(number).ok())
            .filter(|length| *length <= limits.bulk_bytes)
            .ok_or(ProtocolError::InvalidBulkLength)?;
        if length > UNAUTHENTICATED_BULK_BYTES && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        Ok(Some((length, next)))
    }

    /// What follows the marker on the line at `position`, if it is a number, and where the next line starts.
    #[cold]
    fn length_line(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
        let end = self.line_end(buffer, b'\r', limits, too_big)?;
        // A line can be empty, without even a marker.
        Ok(end.map(|end| {
            (
                buffer.get(self.position + 1..end).and_then(parse_i64),
                end + 2,
            )
        }))
    }

    /// An inline command: words on a line.
    fn scan_inline(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = self.line_end(buffer, b'\n', limits, ProtocolError::TooBigInline)? else {
            return Ok(None);
        };
        let line = &buffer[..end];
        inline::split(
            line.strip_suffix(b"\r").unwrap_or(line),
            &mut self.inline,
            &mut self.arguments,
        )?;
        self.state = State::Inline;
        Ok(Some(end + 1))
    }

    /// Where the line that starts at `position` ends: at the first `terminator`, which for a CR must be followed
    /// by another byte. `None` if that has not arrived.
    ///
    /// As in Redis, a NUL byte hides the rest of the line: it has no end then, and will become too long. The limit counts
    /// from the start of the line to its end, however the line was cut into packets.
    fn line_end(
        &mut self,
        buffer: &[u8],
        terminator: u8,
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let line_bytes = limits.inline_bytes.max(MIN_LINE_BYTES);
        let limit = self.position.saturating_add(line_bytes).min(MAX_BYTES - 2);
        let searchable = &buffer[..buffer.len().min(limit.saturating_add(1))];
        let from = self.searched.max(self.position).min(searchable.len());
        let found = searchable[from..]
            .iter()
            .position(|byte| *byte == terminator || *byte == 0);
        let at = found.map_or(searchable.len(), |offset| from + offset);
        self.searched = at;
        match searchable.get(at) {
            Some(byte) if *byte == terminator => {
                let needed = at + 1 + usize::from(terminator == b'\r');
                if buffer.len() < needed {
                    return Ok(self.more(buffer.len(), needed));
                }
                Ok(Some(at))
            }
            _ if buffer.len() > limit => Err(too_big),
            _ => Ok(self.more(buffer.len(), buffer.len() + 1)),
        }
    }
}

/// The number on a line of a marker and one to three digits, and the line's width with its end: what
/// nearly every line is that announces a length. `None` says nothing.
#[inline(always)]
fn short_number(line: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    match *line {
        [_, a @ b'0'..=b'9', b'\r', _, ..] => Some((digit(a), 4)),
        [_, a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..] => Some((digit(a) * 10 + digit(b), 5)),
        [
            _,
            a @ b'1'..=b'9',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            b'\r',
            _,
            ..,
        ] => Some((digit(a) * 100 + digit(b) * 10 + digit(c), 6)),
        _ => None,
    }
}
