//! Questions about lists: `LLEN`, `LRANGE`, `LINDEX`, `LPOS`.

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use super::{index_of, indices, integer, list};
use crate::commands::value::list_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::store::ListView;

/// `LLEN`
pub fn llen(call: &mut Call<'_, '_>) -> CommandResult {
    let length = list(call)?.map_or(0, ListView::len);
    call.reply.integer(length as i64);
    Ok(())
}

/// `LRANGE`
pub fn lrange(call: &mut Call<'_, '_>) -> CommandResult {
    let (first, last) = (integer(call, 2)?, integer(call, 3)?);
    let entry = call.transaction.get(call.database, call.request.arg(1));
    let Some(list) = list_of(entry)? else {
        call.reply.array(0);
        return Ok(());
    };
    let range = indices(first, last, list.len());
    call.reply.array(range.len());
    list.range(range).for_each(|value| call.reply.bulk(value));
    Ok(())
}

/// `LINDEX`
pub fn lindex(call: &mut Call<'_, '_>) -> CommandResult {
    let index = integer(call, 2);
    let entry = call.transaction.get(call.database, call.request.arg(1));
    // The index is looked at only if there is a list.
    let value = match list_of(entry)? {
        Some(list) => index_of(index?, list.len()).and_then(|index| list.get(index)),
        None => None,
    };
    match value {
        Some(value) => call.reply.bulk(value),
        None => call.reply.null(),
    }
    Ok(())
}

/// What `LPOS` looks for besides the value.
struct Search {
    /// From the last element on.
    backwards: bool,
    /// Matches that are passed over.
    skipped: u64,
    /// Most matches answered; `None` for one that is not in an array.
    count: Option<usize>,
    /// Most elements looked at.
    looked_at: usize,
}

impl Search {
    fn parse(options: Request<'_>) -> Result<Self, CommandError> {
        let mut search = Search {
            backwards: false,
            skipped: 0,
            count: None,
            looked_at: usize::MAX,
        };
        let mut words = options.iter();
        while let Some(option) = words.next() {
            let value = words.next().ok_or(CommandError::Syntax)?;
            let at_most = |error: &'static str| -> Result<usize, CommandError> {
                let number = parse_i64(value).and_then(|number| usize::try_from(number).ok());
                let number = number.ok_or(CommandError::line(error))?;
                Ok(if number == 0 { usize::MAX } else { number })
            };
            if option.eq_ignore_ascii_case(b"rank") {
                let rank = parse_i64(value).ok_or(CommandError::NotInteger)?;
                search.backwards = rank < 0;
                search.skipped = match rank {
                    0 => {
                        return Err(CommandError::line(
                            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
                        ));
                    }
                    // Redis can't negate it, and takes it for less than one.
                    i64::MIN => 0,
                    rank => rank.unsigned_abs() - 1,
                };
            } else if option.eq_ignore_ascii_case(b"count") {
                search.count = Some(at_most("ERR COUNT can't be negative")?);
            } else if option.eq_ignore_ascii_case(b"maxlen") {
                search.looked_at = at_most("ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }

    /// The indices of the elements found.
    fn run(&self, list: ListView<'_>, wanted: &[u8]) -> Vec<usize> {
        if !self.backwards {
            return self.matching(list.iter(), wanted);
        }
        let mut indices = self.matching(list.iter().rev(), wanted);
        for index in &mut indices {
            *index = list.len() - 1 - *index;
        }
        indices
    }

    /// How many values precede each that is wanted.
    fn matching<'a>(&self, values: impl Iterator<Item = &'a [u8]>, wanted: &[u8]) -> Vec<usize> {
        let looked_at = values.take(self.looked_at).enumerate();
        let matching = looked_at.filter(|(_, value)| *value == wanted);
        let skipped = usize::try_from(self.skipped).unwrap_or(usize::MAX);
        let matching = matching.skip(skipped).take(self.count.unwrap_or(1));
        matching.map(|(index, _)| index).collect()
    }
}

/// `LPOS`
pub fn lpos(call: &mut Call<'_, '_>) -> CommandResult {
    let wanted = call.request.arg(2);
    let search = Search::parse(call.request.skip(3))?;
    let found = match list(call)? {
        Some(list) => search.run(list, wanted),
        None => Vec::new(),
    };
    match (search.count, found.first()) {
        (Some(_), _) => {
            call.reply.array(found.len());
            found
                .iter()
                .for_each(|&index| call.reply.integer(index as i64));
        }
        (None, Some(&index)) => call.reply.integer(index as i64),
        (None, None) => call.reply.null(),
    }
    Ok(())
}
