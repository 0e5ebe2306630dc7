//! Trimming: the options of `XADD` and `XTRIM`, what they come to, and `XTRIM` itself.

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use super::change::Change;
use super::id::{GivenId, id, new_id};
use super::stream;
use crate::commands::{Call, CommandError, CommandResult};
use crate::config::Config;
use crate::events::EventClasses;
use crate::store::{StreamId, StreamMark, StreamView};

/// Nodes that one command may free at most if it does not say otherwise.
const NODES_FREED_MAX: u64 = 100;
/// Entries that one command may trim if nodes are not limited.
const LIMIT_WITHOUT_NODES: u64 = 10_000;
const LIMIT_MAX: u64 = 1_000_000;

/// What is to stay.
#[derive(Clone, Copy)]
pub enum Keep {
    /// The last ones, so many.
    Length(u64),
    /// Those from this one on.
    From(StreamId),
}

/// How a stream is to be trimmed.
#[derive(Clone, Copy)]
pub struct Trim {
    keep: Keep,
    /// Only whole nodes are to be freed, and no more entries than the limit says.
    is_approximate: bool,
    limit: Option<u64>,
}

/// The options of `XADD` and `XTRIM`.
#[derive(Default)]
pub struct Options {
    /// How it is to be trimmed.
    pub trim: Option<Trim>,
    /// `NOMKSTREAM`
    pub must_exist: bool,
    /// The id of the new entry; `None` for `*`.
    pub id: Option<GivenId>,
    /// Where the id is among the arguments; behind the last if it is missing.
    pub id_at: usize,
}

impl Options {
    /// Reads what comes behind the key: of `XTRIM` to the end, of `XADD` up to the id.
    ///
    /// # Errors
    /// As Redis.
    pub fn parse(request: Request<'_>, is_add: bool) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut limit = None;
        let mut at = 2;
        while at < request.len() {
            let word = request.arg(at);
            let has_more = at + 1 < request.len();
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is_add && word.first() == Some(&b'*') && matches!(word.get(1), None | Some(0)) {
                break;
            } else if has_more && (is("maxlen") || is("minid")) {
                if options.trim.is_some() {
                    return Err(CommandError::line(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    ));
                }
                let (trim, next) = parse_trim(request, at)?;
                options.trim = Some(trim);
                at = next;
            } else if has_more && is("limit") {
                limit = Some(parse_limit(request.arg(at + 1))?);
                at += 2;
            } else if is_add && is("nomkstream") {
                options.must_exist = true;
                at += 1;
            } else if is_add {
                options.id = Some(new_id(word)?);
                break;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        options.id_at = at;
        options.set_limit(limit, is_add)?;
        Ok(options)
    }

    fn set_limit(&mut self, limit: Option<u64>, is_add: bool) -> Result<(), CommandError> {
        let Some(trim) = &mut self.trim else {
            if limit.is_some_and(|limit| limit > 0) {
                return Err(CommandError::line(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                ));
            }
            if !is_add {
                return Err(CommandError::line(
                    "ERR syntax error, XTRIM must be called with a trimming strategy",
                ));
            }
            return match limit {
                Some(_) => Err(LIMIT_WITHOUT_TILDE),
                None => Ok(()),
            };
        };
        if limit.is_some() && !trim.is_approximate {
            return Err(LIMIT_WITHOUT_TILDE);
        }
        trim.limit = limit;
        Ok(())
    }
}

const LIMIT_WITHOUT_TILDE: CommandError =
    CommandError::line("ERR syntax error, LIMIT cannot be used without the special ~ option");

fn parse_limit(text: &[u8]) -> Result<u64, CommandError> {
    let limit = parse_i64(text).ok_or(CommandError::NotInteger)?;
    u64::try_from(limit).map_err(|_| CommandError::line("ERR The LIMIT argument must be >= 0."))
}

/// Reads `MAXLEN` or `MINID` at this index with what belongs to it; also returns where the next argument is.
fn parse_trim(request: Request<'_>, at: usize) -> Result<(Trim, usize), CommandError> {
    let mut value_at = at + 1;
    let mut is_approximate = false;
    if at + 2 < request.len() {
        let operator = super::c_text(request.arg(value_at));
        is_approximate = operator == b"~";
        value_at += usize::from(operator == b"~" || operator == b"=");
    }
    let value = request.arg(value_at);
    let keep = if request.arg(at).eq_ignore_ascii_case(b"maxlen") {
        let length = parse_i64(value).ok_or(CommandError::NotInteger)?;
        let length = u64::try_from(length)
            .map_err(|_| CommandError::line("ERR The MAXLEN argument must be >= 0."))?;
        Keep::Length(length)
    } else {
        Keep::From(id(value)?)
    };
    let trim = Trim {
        keep,
        is_approximate,
        limit: None,
    };
    Ok((trim, value_at + 1))
}

/// A stream as it is to be trimmed: its entries, and behind them one that is about to be added.
pub struct Whole<'a> {
    /// What is there.
    pub stream: Option<StreamView<'a>>,
    /// What is about to be added.
    pub added: Option<StreamId>,
    /// The mark of both.
    pub mark: StreamMark,
}

impl Whole<'_> {
    fn len(&self) -> usize {
        self.stream.map_or(0, StreamView::len) + usize::from(self.added.is_some())
    }

    fn id(&self, index: usize) -> Option<StreamId> {
        let mut entries = self.stream.map(|stream| stream.range(index..index + 1));
        let there = entries.as_mut().and_then(Iterator::next);
        there.map(|(id, _)| id).or(self.added)
    }

    /// How many entries are to go, the first ones.
    pub fn count(&self, trim: &Trim, config: &Config) -> usize {
        if trim.is_approximate {
            return self.count_of_nodes(trim, config);
        }
        match trim.keep {
            Keep::Length(length) => (self.len() as u64).saturating_sub(length) as usize,
            Keep::From(id) => {
                let below = std::ops::Bound::Excluded(id);
                let there = self
                    .stream
                    .map_or(0..0, |s| s.indices(std::ops::Bound::Unbounded, below));
                there.len() + usize::from(self.added.is_some_and(|added| added < id))
            }
        }
    }

    /// The same in whole nodes. Redis holds entries in nodes of so many; here they are where they would be there if
    /// nothing was ever deleted: from one multiple of that number to the next, counted from the first ever added.
    fn count_of_nodes(&self, trim: &Trim, config: &Config) -> usize {
        let node = config.stream_node_max_entries;
        let limit = trim.limit.unwrap_or_else(|| match node {
            0 => LIMIT_WITHOUT_NODES,
            node => node.saturating_mul(NODES_FREED_MAX).min(LIMIT_MAX),
        });
        let node = if node == 0 { u64::MAX } else { node };
        let total = self.len() as u64;
        let mut number = self.mark.entries_added.saturating_sub(total);
        let mut removed = 0;
        while removed < total {
            let left = total - removed;
            let size = (node - number % node).min(left);
            let is_wanted = match trim.keep {
                Keep::Length(length) => left > length && left - size >= length,
                Keep::From(id) => {
                    let last = self.id((removed + size - 1) as usize);
                    last.is_some_and(|last| last < id)
                }
            };
            if !is_wanted || limit > 0 && removed + size > limit {
                break;
            }
            removed += size;
            number += size;
        }
        removed as usize
    }

    /// Takes the first entries out.
    pub fn trim(&self, count: usize, change: &mut Change) {
        if count < self.len() {
            change.trim(self.id(count).unwrap_or_default());
            return;
        }
        // All of them.
        let last = self.len().checked_sub(1).and_then(|last| self.id(last));
        let Some(last) = last else {
            return;
        };
        change.trim(last.next().unwrap_or(last));
        if last == StreamId::MAX {
            change.delete(last);
        }
    }
}

/// `XTRIM`
pub fn xtrim(call: &mut Call<'_, '_>) -> CommandResult {
    let options = Options::parse(call.request, false)?;
    let key = call.request.arg(1);
    let config = call.node.config.load();
    let found = stream(call.transaction, call.database, key)?;
    let (Some(stream), Some(trim)) = (found, options.trim) else {
        call.reply.integer(0);
        return Ok(());
    };
    let whole = Whole {
        stream: Some(stream),
        added: None,
        mark: stream.mark(),
    };
    let count = whole.count(&trim, &config);
    if count > 0 {
        let mut change = Change::default();
        change.mark(&whole.mark);
        whole.trim(count, &mut change);
        change.make(call, key)?;
        call.notify(EventClasses::STREAM, "xtrim", key);
    }
    call.reply.integer(count as i64);
    Ok(())
}
