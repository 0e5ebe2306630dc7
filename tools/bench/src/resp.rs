//! RESP2 as a client sees it: requests written, replies measured without copying them.

use crate::error::{Error, Result};

/// One reply, or the head of an array whose elements follow it.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Reply<'a> {
    Status(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    Array(usize),
}

impl Reply<'_> {
    /// A short rendering for error messages.
    pub fn describe(&self) -> String {
        match self {
            Reply::Status(text) => format!("status {:?}", String::from_utf8_lossy(text)),
            Reply::Error(text) => format!("error {:?}", String::from_utf8_lossy(text)),
            Reply::Integer(n) => format!("integer {n}"),
            Reply::Bulk(bytes) => format!("string of {} bytes", bytes.len()),
            Reply::Null => "null".into(),
            Reply::Array(n) => format!("array of {n}"),
        }
    }
}

/// Appends a request, as an array of bulk strings.
pub fn write_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first complete reply in `buf` and its length in bytes (of an array: with all its elements);
/// `None` while more bytes are needed.
pub fn scan(buf: &[u8]) -> Result<Option<(Reply<'_>, usize)>> {
    let Some((first, mut end)) = element(buf)? else {
        return Ok(None);
    };
    let mut missing = elements_of(&first);
    while missing > 0 {
        let Some((reply, len)) = element(&buf[end..])? else {
            return Ok(None);
        };
        end += len;
        missing = missing - 1 + elements_of(&reply);
    }
    Ok(Some((first, end)))
}

fn elements_of(reply: &Reply<'_>) -> usize {
    match reply {
        Reply::Array(n) => *n,
        _ => 0,
    }
}

fn element(buf: &[u8]) -> Result<Option<(Reply<'_>, usize)>> {
    let Some(cr) = buf.iter().position(|&b| b == b'\r') else {
        return Ok(None);
    };
    let after = cr + 2;
    if buf.len() < after {
        return Ok(None);
    }
    let line = &buf[1..cr];
    let reply = match buf[0] {
        b'+' => Reply::Status(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(number(line)?),
        b'*' => usize::try_from(number(line)?).map_or(Reply::Null, Reply::Array),
        b'$' => match usize::try_from(number(line)?) {
            Err(_) => Reply::Null,
            Ok(len) => {
                let end = after.saturating_add(len);
                return Ok((buf.len() >= end.saturating_add(2))
                    .then(|| (Reply::Bulk(&buf[after..end]), end + 2)));
            }
        },
        other => {
            return Err(Error::WrongReply(format!(
                "{:?} starts no RESP2 reply",
                char::from(other)
            )));
        }
    };
    Ok(Some((reply, after)))
}

fn number(line: &[u8]) -> Result<i64> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Error::WrongReply(format!("{:?} is no number", String::from_utf8_lossy(line)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_incomplete_and_the_whole_is_measured() {
        let stream = b"*3\r\n$3\r\nabc\r\n*2\r\n:-7\r\n$-1\r\n+OK\r\n-ERR no\r\n";
        let array = stream.len() - b"-ERR no\r\n".len();
        for cut in 0..array {
            assert_eq!(scan(&stream[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(scan(stream).unwrap(), Some((Reply::Array(3), array)));
        assert_eq!(
            scan(&stream[array..]).unwrap(),
            Some((Reply::Error(b"ERR no"), 9))
        );
    }

    #[test]
    fn bulk_strings_and_nulls() {
        assert_eq!(scan(b"$0\r\n\r\n").unwrap(), Some((Reply::Bulk(b""), 6)));
        assert_eq!(
            scan(b"$2\r\n\r\n\r\nrest").unwrap(),
            Some((Reply::Bulk(b"\r\n"), 8))
        );
        assert_eq!(scan(b"*-1\r\n").unwrap(), Some((Reply::Null, 5)));
        assert!(scan(b"?what\r\n").is_err());
        assert!(scan(b"$x\r\n").is_err());
    }

    #[test]
    fn requests() {
        let mut out = Vec::new();
        write_command(&mut out, &[b"GET", b"key"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    }
}
