//! A plain RESP3 decoder for the replies that `redis-protocol` can't represent: sets and map keys of aggregates.

use super::reply::Reply;

/// Decodes one reply from the start of `buffer`: the reply and its length, or `None` when it is cut short.
///
/// # Errors
/// Bytes that are no RESP3.
pub fn decode(buffer: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    let mut input = Input { buffer, at: 0 };
    match input.reply() {
        Ok(reply) => Ok(Some((reply, input.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed(why)) => Err(why),
    }
}

enum Stop {
    Incomplete,
    Malformed(String),
}

struct Input<'a> {
    buffer: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn reply(&mut self) -> Result<Reply, Stop> {
        let line = self.line()?;
        let (kind, rest) = line
            .split_first()
            .ok_or_else(|| Stop::Malformed("an empty line".into()))?;
        let text = String::from_utf8_lossy(rest).into_owned();
        Ok(match kind {
            b'+' => Reply::Simple(rest.to_vec()),
            b'-' => Reply::Error(rest.to_vec()),
            b':' => Reply::Integer(parse(&text)?),
            b',' => Reply::Double(parse(&text)?),
            b'#' => Reply::Boolean(text == "t"),
            b'(' => Reply::BigNumber(rest.to_vec()),
            b'_' => Reply::Null,
            b'$' => Reply::Bulk(self.blob(parse(&text)?)?),
            b'!' => Reply::Error(self.blob(parse(&text)?)?),
            b'=' => {
                let blob = self.blob(parse(&text)?)?;
                let format = if blob.starts_with(b"mkd:") {
                    "mkd"
                } else {
                    "txt"
                };
                Reply::Verbatim(format, blob.get(4..).unwrap_or_default().to_vec())
            }
            b'*' => Reply::Array(self.replies(parse(&text)?)?),
            b'>' => Reply::Push(self.replies(parse(&text)?)?),
            b'~' => Reply::Set(self.replies(parse(&text)?)?).sorted(),
            b'%' => {
                let pairs: usize = parse(&text)?;
                let mut items = self.replies(pairs * 2)?.into_iter();
                let pairs = std::iter::from_fn(|| items.next().zip(items.next()));
                let mut pairs: Vec<_> = pairs.collect();
                pairs.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
                Reply::Map(pairs)
            }
            other => return Err(Stop::Malformed(format!("unknown type byte {other:#x}"))),
        })
    }

    fn replies(&mut self, count: usize) -> Result<Vec<Reply>, Stop> {
        (0..count).map(|_| self.reply()).collect()
    }

    fn line(&mut self) -> Result<Vec<u8>, Stop> {
        let rest = &self.buffer[self.at..];
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or(Stop::Incomplete)?;
        self.at += end + 2;
        Ok(rest[..end].to_vec())
    }

    fn blob(&mut self, length: usize) -> Result<Vec<u8>, Stop> {
        let end = self.at + length;
        let blob = self
            .buffer
            .get(self.at..end)
            .ok_or(Stop::Incomplete)?
            .to_vec();
        match self.buffer.get(end..end + 2) {
            None => Err(Stop::Incomplete),
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(blob)
            }
            Some(_) => Err(Stop::Malformed("a blob doesn't end in a line break".into())),
        }
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Stop> {
    text.parse()
        .map_err(|_| Stop::Malformed(format!("not a number: {text}")))
}
