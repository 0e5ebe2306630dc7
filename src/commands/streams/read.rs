//! `XREAD` and the arguments that it shares with `XREADGROUP`.

use std::ops::{Bound, Range};
use std::time::Duration;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{OwnedRequest, Request};

use super::id::id;
use super::reply::{write_entries, write_streams};
use super::stream;
use crate::commands::blocking::{Patience, Wait};
use crate::commands::spec::Positions;
use crate::commands::value::stream_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::store::{Kind, StreamId, StreamView};

/// Entries that a client is served with who has waited without saying how many it wants.
const COUNT_AFTER_WAITING: usize = 1000;

/// The arguments of `XREAD` and `XREADGROUP`.
pub struct Reading<'a> {
    /// How long to wait; `Some(None)` for ever.
    pub block: Option<Option<Duration>>,
    /// At most so many entries of each stream; 0 for all.
    pub count: usize,
    /// `NOACK`
    pub no_ack: bool,
    /// Group and consumer.
    pub group: Option<(&'a [u8], &'a [u8])>,
    /// Where the keys are among the arguments; as many ids follow.
    pub keys: Range<usize>,
}

impl<'a> Reading<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// As Redis.
    pub fn parse(request: Request<'a>, is_group: bool) -> Result<Self, CommandError> {
        let mut reading = Reading {
            block: None,
            count: 0,
            no_ack: false,
            group: None,
            keys: 0..0,
        };
        let mut at = 1;
        while at < request.len() {
            let more = request.len() - at - 1;
            let is = |name: &str| request.arg(at).eq_ignore_ascii_case(name.as_bytes());
            if is("block") && more > 0 {
                reading.block = Some(timeout(request.arg(at + 1))?);
                at += 2;
            } else if is("count") && more > 0 {
                let count = parse_i64(request.arg(at + 1)).ok_or(CommandError::NotInteger)?;
                reading.count = usize::try_from(count).unwrap_or(0);
                at += 2;
            } else if is("streams") && more > 0 {
                reading.keys = streams(request, at + 1)?;
                break;
            } else if is("group") && more >= 2 {
                only_in_group(is_group, "GROUP")?;
                reading.group = Some((request.arg(at + 1), request.arg(at + 2)));
                at += 3;
            } else if is("noack") {
                only_in_group(is_group, "NOACK")?;
                reading.no_ack = true;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if reading.keys.is_empty() {
            return Err(CommandError::Syntax);
        }
        Ok(reading)
    }

    /// The id that is given for a stream, by its place among the streams.
    pub fn id(&self, request: Request<'a>, index: usize) -> &'a [u8] {
        request.arg(self.keys.end + index)
    }

    /// The key of a stream, by its place among the streams.
    pub fn key(&self, request: Request<'a>, index: usize) -> &'a [u8] {
        request.arg(self.keys.start + index)
    }

    /// At most so many entries of each stream.
    pub fn limit(&self, patience: Patience<'_>) -> usize {
        match (self.count, patience) {
            (0, Patience::Used(..)) => COUNT_AFTER_WAITING,
            (0, Patience::Allowed) => usize::MAX,
            (count, _) => count,
        }
    }

    /// The answer where there is nothing.
    pub fn nothing(self, call: &mut Call<'_, '_>, repeated: Option<OwnedRequest>) -> CommandResult {
        let Some(timeout) = self.block else {
            call.reply.null_array();
            return Ok(());
        };
        let wait = Wait::new(Kind::Stream, timeout, self.keys);
        call.wait(match repeated {
            Some(request) => wait.repeating(request),
            None => wait,
        })
    }
}

/// Milliseconds to wait; `None` for ever.
fn timeout(text: &[u8]) -> Result<Option<Duration>, CommandError> {
    let timeout = parse_i64(text).ok_or(CommandError::line(
        "ERR timeout is not an integer or out of range",
    ))?;
    let timeout =
        u64::try_from(timeout).map_err(|_| CommandError::line("ERR timeout is negative"))?;
    Ok((timeout > 0).then(|| Duration::from_millis(timeout)))
}

/// Where the keys are, of what follows `STREAMS`.
fn streams(request: Request<'_>, first: usize) -> Result<Range<usize>, CommandError> {
    let rest = request.len() - first;
    if rest.is_multiple_of(2) {
        return Ok(first..first + rest / 2);
    }
    Err(CommandError::line(
        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
    ))
}

fn only_in_group(is_group: bool, option: &str) -> Result<(), CommandError> {
    if is_group {
        return Ok(());
    }
    Err(CommandError::err(format_args!(
        "The {option} option is only supported by XREADGROUP. You called XREAD instead."
    )))
}

/// Where the keys of `XREAD` and `XREADGROUP` are.
pub fn keys(request: Request<'_>) -> Positions {
    let mut at = 1;
    while let Some(word) = request.get(at) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        at += match () {
            () if is("block") || is("count") => 2,
            () if is("group") => 3,
            () if is("noack") => 1,
            () if is("streams") => {
                let rest = request.len() - at - 1;
                let first = at + 1;
                let count = if rest.is_multiple_of(2) { rest / 2 } else { 0 };
                return Positions {
                    range: first..first + count,
                    ..Positions::default()
                };
            }
            () => break,
        };
    }
    Positions::default()
}

/// Whether a request asks for waiting, which scripts can't.
pub fn waits(request: Request<'_>) -> bool {
    let end = keys(request).range.start;
    let mut at = 1;
    while at + 1 < request.len().min(end.max(1)) {
        let is = |name: &str| request.arg(at).eq_ignore_ascii_case(name.as_bytes());
        at += match () {
            () if is("block") => return true,
            () if is("count") => 2,
            () if is("group") => 3,
            () => 1,
        };
    }
    false
}

/// `XREAD`
pub fn xread(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let reading = Reading::parse(request, false)?;
    let mut after = Vec::new();
    for index in 0..reading.keys.len() {
        let key = reading.key(request, index);
        let entry = call.transaction.get(call.database, key);
        // Who waits for a stream twice is served from it once.
        let is_used = matches!(call.patience, Patience::Used(..));
        let is_again = is_used && after.iter().any(|after| *after != StreamId::MAX);
        if is_again || call.patience.ignores(key, entry) {
            // Above it there is nothing.
            after.push(StreamId::MAX);
            continue;
        }
        let stream = stream_of(entry)?;
        after.push(match super::c_text(reading.id(request, index)) {
            b"$" => stream.map_or(StreamId::MIN, StreamView::last_id),
            b">" => {
                return Err(CommandError::line(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                ));
            }
            _ => id(reading.id(request, index))?,
        });
    }
    let limit = reading.limit(call.patience);
    let (transaction, database) = (&mut *call.transaction, call.database);
    let served = write_streams(call.reply, 0..after.len(), |reply, index| {
        let key = reading.key(request, index);
        if after[index] == StreamId::MAX {
            return Ok(false);
        }
        let Some(stream) = stream(transaction, database, key)? else {
            return Ok(false);
        };
        let new = stream.indices(Bound::Excluded(after[index]), Bound::Unbounded);
        if new.is_empty() {
            return Ok(false);
        }
        reply.bulk(key);
        write_entries(reply, stream.range(new).take(limit));
        Ok::<bool, CommandError>(true)
    })?;
    if served {
        return Ok(());
    }
    let repeated = spelled_out(request, &reading, &after);
    reading.nothing(call, repeated)
}

/// The request with ids where it has `$`, if it has any: what is last at this moment.
fn spelled_out(
    request: Request<'_>,
    reading: &Reading<'_>,
    after: &[StreamId],
) -> Option<OwnedRequest> {
    let ids_at = reading.keys.end;
    let mut ids = request.iter().skip(ids_at);
    if !ids.any(|id| super::c_text(id) == b"$") {
        return None;
    }
    let mut words: Vec<Vec<u8>> = request.iter().take(ids_at).map(<[u8]>::to_vec).collect();
    for id in after {
        words.push(format!("{}-{}", id.ms, id.sequence).into_bytes());
    }
    Some(OwnedRequest::new(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> OwnedRequest {
        OwnedRequest::new(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn keys_are_found_behind_options_that_look_like_them() {
        let found = |line: &str| keys(words(line).request()).range;
        assert_eq!(found("XREAD STREAMS a b 0 0"), 2..4);
        assert_eq!(found("XREAD COUNT streams STREAMS streams 0"), 4..5);
        assert_eq!(
            found("XREADGROUP GROUP streams block NOACK STREAMS a >"),
            6..7
        );
        assert!(found("XREAD STREAMS a b 0").is_empty());
        assert!(found("XREAD FOO STREAMS a 0").is_empty());
        assert!(found("XREAD COUNT 1 STREAMS").is_empty());
    }

    #[test]
    fn only_the_option_block_is_one() {
        let waits = |line: &str| waits(words(line).request());
        assert!(waits("XREAD block 0 STREAMS a $"));
        assert!(waits("XREADGROUP GROUP g c COUNT 1 BLOCK 0 STREAMS a >"));
        assert!(!waits("XREADGROUP GROUP block c STREAMS a >"));
        assert!(!waits("XREAD STREAMS block 0"));
        assert!(!waits("XREAD COUNT 1 STREAMS block 0"));
    }
}
