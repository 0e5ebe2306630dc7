//! Members of a range, in order: `ZRANGE` and its older forms, `ZRANGESTORE`.

use std::ops::Range;

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use super::bounds::{By, Span};
use super::{Form, Scored, replace};
use crate::commands::value::{is_compact_sorted_set, sorted_set_of};
use crate::commands::{Call, CommandError, CommandResult};
use crate::store::SortedSetView;

/// What the name of a command says already; the rest are its options.
#[derive(Clone, Copy)]
struct Preset {
    by: Option<By>,
    reverse: Option<bool>,
}

impl Preset {
    const fn new(by: By, reverse: bool) -> Self {
        Preset {
            by: Some(by),
            reverse: Some(reverse),
        }
    }
}

/// `ZRANGE` and `ZRANGESTORE` say it all in their options.
const NOTHING: Preset = Preset {
    by: None,
    reverse: None,
};

/// `ZRANGE`
pub fn zrange(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, NOTHING)
}

/// `ZREVRANGE`
pub fn zrevrange(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Preset::new(By::Rank, true))
}

/// `ZRANGEBYSCORE`
pub fn zrangebyscore(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Preset::new(By::Score, false))
}

/// `ZREVRANGEBYSCORE`
pub fn zrevrangebyscore(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Preset::new(By::Score, true))
}

/// `ZRANGEBYLEX`
pub fn zrangebylex(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Preset::new(By::Member, false))
}

/// `ZREVRANGEBYLEX`
pub fn zrevrangebylex(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, Preset::new(By::Member, true))
}

fn answer(call: &mut Call<'_, '_>, preset: Preset) -> CommandResult {
    let query = Query::parse(call.request.skip(1), preset, false)?;
    let config = call.node.config.load();
    let set = sorted_set_of(call.transaction.get(call.database, query.key))?;
    let Some(set) = set else {
        call.reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(set, is_compact_sorted_set(set, &config));
    let form = Form::new(query.with_scores, call.reply.version());
    let (count, members) = (ranks.len(), set.range(ranks));
    if query.reverse {
        form.write(call.reply, count, members.rev());
    } else {
        form.write(call.reply, count, members);
    }
    Ok(())
}

/// `ZRANGESTORE`
pub fn zrangestore(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let query = Query::parse(request.skip(2), NOTHING, true)?;
    let config = call.node.config.load();
    call.transaction.count_lookups();
    let set = sorted_set_of(call.transaction.get(call.database, query.key))?;
    let members: Vec<Scored> = set.map_or_else(Vec::new, |set| {
        let ranks = query.ranks(set, is_compact_sorted_set(set, &config));
        let members = set.range(ranks);
        members
            .map(|(member, score)| (member.to_vec(), score))
            .collect()
    });
    replace(call, "zrangestore", request.arg(1), &members)
}

/// A range that was asked for, and what of it.
struct Query<'a> {
    key: &'a [u8],
    span: Span<'a>,
    reverse: bool,
    /// How many members are left out; a negative number leaves out all.
    offset: i64,
    /// How many are answered at most; a negative number is no limit.
    limit: i64,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads a key, both ends of the range, and options.
    fn parse(request: Request<'a>, preset: Preset, stores: bool) -> Result<Self, CommandError> {
        let Preset {
            mut by,
            mut reverse,
        } = preset;
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let options = request.skip(3);
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let integer = |at| parse_i64(options.arg(at)).ok_or(CommandError::NotInteger);
            match () {
                () if is(b"withscores") && !stores => with_scores = true,
                () if is(b"limit") && index + 2 < options.len() => {
                    offset = integer(index + 1)?;
                    limit = integer(index + 2)?;
                    index += 2;
                }
                () if is(b"rev") && reverse.is_none() => reverse = Some(true),
                () if is(b"bylex") && by.is_none() => by = Some(By::Member),
                () if is(b"byscore") && by.is_none() => by = Some(By::Score),
                () => return Err(CommandError::Syntax),
            }
            index += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::line(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Member {
            return Err(CommandError::line(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (mut min, mut max) = (request.arg(1), request.arg(2));
        if reverse && by != By::Rank {
            std::mem::swap(&mut min, &mut max);
        }
        Ok(Query {
            key: request.arg(0),
            span: Span::parse(by, min, max)?,
            reverse,
            offset,
            limit,
            with_scores,
        })
    }

    /// The ranks of what is answered, from the lowest.
    fn ranks(&self, set: SortedSetView<'_>, is_compact: bool) -> Range<usize> {
        let Range { start, end } = self.span.ranks(set, is_compact, self.reverse);
        if matches!(self.span, Span::Ranks(..)) {
            return start..end;
        }
        let length = end - start;
        let skipped = usize::try_from(self.offset).map_or(length, |offset| offset.min(length));
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let taken = limit.min(length - skipped);
        if self.reverse {
            end - skipped - taken..end - skipped
        } else {
            start + skipped..start + skipped + taken
        }
    }
}
