//! `HRANDFIELD`: fields taken at random.

use std::borrow::Cow;
use std::collections::HashSet;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{ReplyWriter, RespVersion};

use super::hash_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::store::HashView;

/// A hash with more fields is sampled where listing its fields would take longer than the choice.
const LISTED_MAX: usize = 512;
/// A hash is sampled when it has this many times the fields that are asked for.
const SAMPLED_SHARE: usize = 3;

/// Length of an empty bulk string in a reply.
const ELEMENT_BYTES_MIN: u64 = 6;

/// A field and its value.
type Pair<'h> = (Cow<'h, [u8]>, Cow<'h, [u8]>);

/// `HRANDFIELD`
pub fn hrandfield(call: &mut Call<'_, '_>) -> CommandResult {
    let options = Options::parse(call)?;
    let limit = call.node.config.load().proto_max_bulk_len;
    let entry = call.transaction.get(call.database, call.request.arg(1));
    let hash = hash_of(entry)?;
    let Some(Options { count, with_values }) = options else {
        match hash.and_then(|hash| Urn::new(hash, 1).draw()) {
            Some((field, _)) => call.reply.bulk(&field),
            None => call.reply.null(),
        }
        return Ok(());
    };
    let Some(hash) = hash.filter(|_| count != 0) else {
        call.reply.array(0);
        return Ok(());
    };
    let mut answer = Answer {
        reply: call.reply,
        with_values,
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count > 0 {
        let chosen = distinct(hash, wanted);
        answer.begin(chosen.len());
        chosen.into_iter().for_each(|pair| answer.write(pair));
        return Ok(());
    }
    // A number of a few digits must not fill the memory.
    if wanted as u64 > limit / ELEMENT_BYTES_MIN {
        return Err(too_long());
    }
    let urn = Urn::new(hash, wanted);
    answer.begin(wanted);
    for pair in (0..wanted).map_while(|_| urn.draw()) {
        answer.write(pair);
        if answer.reply.len() as u64 > limit {
            return Err(too_long());
        }
    }
    Ok(())
}

fn too_long() -> CommandError {
    CommandError::line("ERR the reply would be longer than proto-max-bulk-len")
}

/// What follows the key, if anything does.
struct Options {
    /// A negative one may choose a field more than once.
    count: i64,
    with_values: bool,
}

impl Options {
    fn parse(call: &Call<'_, '_>) -> Result<Option<Options>, CommandError> {
        let Some(count) = call.request.get(2) else {
            return Ok(None);
        };
        let count = parse_i64(count).ok_or(CommandError::NotInteger)?;
        if count == i64::MIN {
            return Err(CommandError::line(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ));
        }
        let with_values = match call.request.get(3) {
            None => false,
            Some(word) if call.request.len() == 4 && word.eq_ignore_ascii_case(b"withvalues") => {
                true
            }
            Some(_) => return Err(CommandError::Syntax),
        };
        // Redis counts the elements of the reply in the same type.
        if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
            return Err(CommandError::OutOfRange);
        }
        Ok(Some(Options { count, with_values }))
    }
}

/// Fields with or without their values: pairs in RESP3, one after the other in RESP2.
struct Answer<'r, 'x> {
    reply: &'r mut ReplyWriter<'x>,
    with_values: bool,
}

impl Answer<'_, '_> {
    fn nests(&self) -> bool {
        self.with_values && self.reply.version() == RespVersion::Resp3
    }

    fn begin(&mut self, fields: usize) {
        let flat = self.with_values && !self.nests();
        self.reply.array(if flat { 2 * fields } else { fields });
    }

    fn write(&mut self, (field, value): Pair<'_>) {
        if self.nests() {
            self.reply.array(2);
        }
        self.reply.bulk(&field);
        if self.with_values {
            self.reply.bulk(&value);
        }
    }
}

/// Draws fields with replacement.
enum Urn<'h> {
    /// All of them: every one has the same chance.
    Listed(Vec<Pair<'h>>),
    /// A large hash, of which a field near a random point is taken.
    Sampled(HashView<'h>),
}

impl<'h> Urn<'h> {
    /// One to draw about `count` fields from.
    fn new(hash: HashView<'h>, count: usize) -> Self {
        if hash.len() <= LISTED_MAX || hash.len() / SAMPLED_SHARE <= count {
            let pairs = hash.iter();
            Urn::Listed(pairs.map(|(f, v)| (f.into(), v.into())).collect())
        } else {
            Urn::Sampled(hash)
        }
    }

    fn draw(&self) -> Option<Pair<'h>> {
        match self {
            Urn::Listed(pairs) if pairs.is_empty() => None,
            Urn::Listed(pairs) => Some(pairs[rand::random_range(0..pairs.len())].clone()),
            Urn::Sampled(hash) => {
                let mut drawn = None;
                hash.sample(rand::random(), 1, |field, value| {
                    drawn = Some((field.to_vec().into(), value.to_vec().into()));
                });
                drawn
            }
        }
    }
}

/// As many different fields as there are, at most `count`.
fn distinct(hash: HashView<'_>, count: usize) -> Vec<Pair<'_>> {
    if count < hash.len()
        && let urn @ Urn::Sampled(_) = Urn::new(hash, count)
    {
        // The hash has far more fields than are asked for: few are drawn twice.
        let mut chosen = HashSet::with_capacity(count);
        while chosen.len() < count
            && let Some(pair) = urn.draw()
        {
            chosen.insert(pair);
        }
        return chosen.into_iter().collect();
    }
    let all: Vec<_> = hash.iter().collect();
    let chosen = rand::seq::index::sample(&mut rand::rng(), all.len(), count.min(all.len()));
    let pairs = chosen.into_iter().map(|index| all[index]);
    pairs.map(|(f, v)| (f.into(), v.into())).collect()
}
