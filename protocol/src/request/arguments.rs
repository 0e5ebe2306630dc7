//! The arguments of a request, borrowed or owned.

use std::fmt;
use std::ops::Index;

/// Where an argument lies in its buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// The caller has made sure that `start + length` fits into 32 bits.
    #[inline]
    pub(super) fn new(start: usize, length: usize) -> Self {
        debug_assert!(start + length <= u32::MAX as usize);
        Span {
            start: start as u32,
            length: length as u32,
        }
    }

    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &bytes[start..start + self.length as usize]
    }
}

/// A command and its arguments, as byte strings that borrow from the connection's buffer.
///
/// Argument 0 is the command's name. A request may be empty, and is to be ignored then.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Request<'a> {
    /// A request without even a name.
    pub const EMPTY: Request<'static> = Request {
        bytes: &[],
        spans: &[],
    };

    #[inline]
    pub(super) fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Request { bytes, spans }
    }

    /// The number of arguments, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is nothing to do.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        Some(self.spans.get(index)?.of(self.bytes))
    }

    /// Argument `index`.
    ///
    /// # Panics
    /// If there are not that many. For a command whose number of arguments has been checked.
    #[inline]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.spans[index].of(self.bytes)
    }

    /// The name of the command as the client wrote it; empty if the request is.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        self.get(0).unwrap_or_default()
    }

    /// The request that begins at argument `index`: empty if there are not more arguments than that.
    pub fn skip(&self, index: usize) -> Request<'a> {
        Request {
            bytes: self.bytes,
            spans: self.spans.get(index..).unwrap_or_default(),
        }
    }

    /// All arguments in order, the command's name first.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| span.of(bytes))
    }
}

impl Index<usize> for Request<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.arg(index)
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.iter()
                    .map(|argument| argument.escape_ascii().to_string()),
            )
            .finish()
    }
}

/// A request that owns its arguments, for callers that have no connection (and for queued commands).
#[derive(Clone, Debug, Default)]
pub struct OwnedRequest {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedRequest {
    /// A request of these arguments, the command's name first.
    ///
    /// # Panics
    /// If the arguments are 4 GiB or more altogether.
    pub fn new(arguments: &[impl AsRef<[u8]>]) -> Self {
        let total: usize = arguments
            .iter()
            .map(|argument| argument.as_ref().len())
            .sum();
        assert!(u32::try_from(total).is_ok(), "a request of {total} bytes");
        let mut request = OwnedRequest {
            bytes: Vec::with_capacity(total),
            spans: Vec::with_capacity(arguments.len()),
        };
        for argument in arguments {
            let argument = argument.as_ref();
            request
                .spans
                .push(Span::new(request.bytes.len(), argument.len()));
            request.bytes.extend_from_slice(argument);
        }
        request
    }

    /// Adds an argument.
    ///
    /// # Panics
    /// If the arguments are 4 GiB or more altogether.
    pub fn push(&mut self, argument: &[u8]) {
        let total = self.bytes.len() + argument.len();
        assert!(u32::try_from(total).is_ok(), "a request of {total} bytes");
        self.spans.push(Span::new(self.bytes.len(), argument.len()));
        self.bytes.extend_from_slice(argument);
    }

    /// Takes all arguments away; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// The arguments.
    pub fn request(&self) -> Request<'_> {
        Request::new(&self.bytes, &self.spans)
    }

    /// The heap memory of this request, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl From<Request<'_>> for OwnedRequest {
    /// Copies the arguments, and nothing around them.
    fn from(request: Request<'_>) -> Self {
        let total = request.iter().map(<[u8]>::len).sum();
        let mut owned = OwnedRequest {
            bytes: Vec::with_capacity(total),
            spans: Vec::with_capacity(request.len()),
        };
        for argument in request.iter() {
            owned
                .spans
                .push(Span::new(owned.bytes.len(), argument.len()));
            owned.bytes.extend_from_slice(argument);
        }
        owned
    }
}
