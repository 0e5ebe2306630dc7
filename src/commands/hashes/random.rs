//! `HRANDFIELD`: fields taken at random.

use coterie_protocol::text::parse_i64;
use coterie_protocol::{ReplyWriter, RespVersion};

use super::hash_of;
use crate::commands::sampling::{Pair, Urn, distinct};
use crate::commands::{Call, CommandError, CommandResult};

/// Length of an empty bulk string in a reply.
const ELEMENT_BYTES_MIN: u64 = 6;

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
