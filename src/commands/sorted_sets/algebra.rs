//! Several sorted sets, or sets, at once: unions, intersections, differences.

use std::collections::HashMap;
use std::ops::Range;

use coterie_protocol::Request;
use coterie_protocol::text::{parse_f64, parse_i64};

use super::{Form, Scored, borrowed, replace};
use crate::commands::spec::Positions;
use crate::commands::{Call, CommandError, CommandResult};
use crate::store::{Entry, Kind, SetView, SortedSetView};

/// How sets are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What is done with the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Answer,
    Store,
    Count,
}

/// How two scores become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            // Opposite infinities make nothing.
            Aggregate::Sum => or_zero(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// Zero for no number.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// `ZUNION`
pub fn zunion(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, "zunion", Operation::Union)
}

/// `ZINTER`
pub fn zinter(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, "zinter", Operation::Intersection)
}

/// `ZDIFF`
pub fn zdiff(call: &mut Call<'_, '_>) -> CommandResult {
    answer(call, "zdiff", Operation::Difference)
}

/// `ZUNIONSTORE`
pub fn zunionstore(call: &mut Call<'_, '_>) -> CommandResult {
    store(call, "zunionstore", Operation::Union)
}

/// `ZINTERSTORE`
pub fn zinterstore(call: &mut Call<'_, '_>) -> CommandResult {
    store(call, "zinterstore", Operation::Intersection)
}

/// `ZDIFFSTORE`
pub fn zdiffstore(call: &mut Call<'_, '_>) -> CommandResult {
    store(call, "zdiffstore", Operation::Difference)
}

/// `ZINTERCARD`
pub fn zintercard(call: &mut Call<'_, '_>) -> CommandResult {
    let operation = Operation::Intersection;
    let query = Query::parse(call, "zintercard", operation, Purpose::Count)?;
    let count = query.combine(call).len();
    call.reply.integer(count as i64);
    Ok(())
}

fn answer(call: &mut Call<'_, '_>, name: &str, operation: Operation) -> CommandResult {
    let query = Query::parse(call, name, operation, Purpose::Answer)?;
    let members = query.combine(call);
    let form = Form::new(query.with_scores, call.reply.version());
    form.write(call.reply, members.len(), borrowed(&members));
    Ok(())
}

fn store(call: &mut Call<'_, '_>, name: &'static str, operation: Operation) -> CommandResult {
    call.transaction.count_lookups();
    let query = Query::parse(call, name, operation, Purpose::Store)?;
    let (key, members) = (call.request.arg(1), query.combine(call));
    replace(call, name, key, &members)
}

/// Where the keys are of commands that only read.
pub fn keys_to_read(request: Request<'_>) -> Positions {
    Positions::counted(request, 1)
}

/// Where they are of commands that store the result.
pub fn keys_to_store(request: Request<'_>) -> Positions {
    Positions::counted(request, 2).after(1)
}

/// What such a command is asked for.
struct Query {
    operation: Operation,
    /// Which arguments are keys.
    keys: Range<usize>,
    /// One for each key.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Most members that are looked for.
    limit: usize,
}

impl Query {
    fn parse(
        call: &mut Call<'_, '_>,
        name: &str,
        operation: Operation,
        purpose: Purpose,
    ) -> Result<Self, CommandError> {
        let request = call.request;
        let first = if purpose == Purpose::Store { 3 } else { 2 };
        let count = parse_i64(request.arg(first - 1)).ok_or(CommandError::NotInteger)?;
        if count < 1 {
            return Err(CommandError::err(format_args!(
                "at least 1 input key is needed for '{name}' command"
            )));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > request.len() - first {
            return Err(CommandError::Syntax);
        }
        let keys = first..first + count;
        // Before the options are looked at.
        for index in keys.clone() {
            let entry = call.transaction.get(call.database, request.arg(index));
            let is_fit = |entry: &Entry| matches!(entry.kind(), Kind::Set | Kind::SortedSet);
            if !entry.is_none_or(is_fit) {
                return Err(CommandError::WrongType);
            }
        }
        let options = request.skip(keys.end);
        let mut query = Query {
            operation,
            weights: vec![1.0; count],
            keys,
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: usize::MAX,
        };
        query.parse_options(options, purpose)?;
        Ok(query)
    }

    fn parse_options(&mut self, options: Request<'_>, purpose: Purpose) -> CommandResult {
        let aggregates = self.operation != Operation::Difference && purpose != Purpose::Count;
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let value = options.get(index + 1);
            index += 1;
            match value {
                Some(_)
                    if aggregates
                        && is(b"weights")
                        && self.weights.len() <= options.len() - index =>
                {
                    for weight in &mut self.weights {
                        let error = CommandError::line("ERR weight value is not a float");
                        *weight = parse_f64(options.arg(index)).ok_or(error)?;
                        index += 1;
                    }
                }
                Some(value) if aggregates && is(b"aggregate") => {
                    self.aggregate = aggregate(value)?;
                    index += 1;
                }
                _ if purpose == Purpose::Answer && is(b"withscores") => self.with_scores = true,
                Some(value) if purpose == Purpose::Count && is(b"limit") => {
                    self.limit = limit(value)?;
                    index += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(())
    }

    /// The members that come of it, in order.
    fn combine(&self, call: &Call<'_, '_>) -> Vec<Scored> {
        let source = |(index, weight): (usize, &f64)| {
            let entry = call
                .transaction
                .find(call.database, call.request.arg(index));
            Source::new(entry, *weight)
        };
        let mut sources: Vec<Source<'_>> =
            self.keys.clone().zip(&self.weights).map(source).collect();
        if self.operation != Operation::Difference {
            // Sums of scores depend on the order.
            sources.sort_by_key(|source| source.len());
        }
        let Some((first, others)) = sources.split_first() else {
            return Vec::new();
        };
        let members = match self.operation {
            Operation::Union => union(&sources, self.aggregate),
            Operation::Intersection => intersection(first, others, self.aggregate, self.limit),
            Operation::Difference => difference(first, others),
        };
        let mut members: Vec<Scored> = members
            .into_iter()
            .map(|(member, score)| (member.to_vec(), score))
            .collect();
        // The sum makes the two zeros equal.
        let order = |(a, x): &Scored, (b, y): &Scored| {
            (x + 0.0).total_cmp(&(y + 0.0)).then_with(|| a.cmp(b))
        };
        members.sort_unstable_by(order);
        members
    }
}

fn aggregate(word: &[u8]) -> Result<Aggregate, CommandError> {
    match () {
        () if word.eq_ignore_ascii_case(b"sum") => Ok(Aggregate::Sum),
        () if word.eq_ignore_ascii_case(b"min") => Ok(Aggregate::Min),
        () if word.eq_ignore_ascii_case(b"max") => Ok(Aggregate::Max),
        () => Err(CommandError::Syntax),
    }
}

fn limit(text: &[u8]) -> Result<usize, CommandError> {
    match parse_i64(text).filter(|limit| *limit >= 0) {
        Some(0) => Ok(usize::MAX),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        None => Err(CommandError::line("ERR LIMIT can't be negative")),
    }
}

/// A set or sorted set, or nothing, and what its scores are multiplied by.
struct Source<'a> {
    set: Option<SetView<'a>>,
    sorted: Option<SortedSetView<'a>>,
    weight: f64,
}

impl<'a> Source<'a> {
    fn new(entry: Option<&'a Entry>, weight: f64) -> Self {
        Source {
            set: entry.and_then(Entry::set),
            sorted: entry.and_then(Entry::sorted_set),
            weight,
        }
    }

    fn len(&self) -> usize {
        self.set.map_or(0, SetView::len) + self.sorted.map_or(0, SortedSetView::len)
    }

    /// The score of a member, before it is weighed; 1 in a set.
    fn score(&self, member: &[u8]) -> Option<f64> {
        let in_set = self.set.filter(|set| set.contains(member)).map(|_| 1.0);
        in_set.or_else(|| self.sorted?.score(member))
    }

    fn iter(&self) -> impl Iterator<Item = (&'a [u8], f64)> + use<'a> {
        let members = self.set.into_iter().flat_map(SetView::iter);
        let scored = self.sorted.into_iter().flat_map(SortedSetView::iter);
        members.map(|member| (member, 1.0)).chain(scored)
    }
}

fn union<'a>(sources: &[Source<'a>], aggregate: Aggregate) -> Vec<(&'a [u8], f64)> {
    let mut scores: HashMap<&[u8], f64> = HashMap::new();
    for source in sources {
        for (member, score) in source.iter() {
            let weighed = or_zero(source.weight * score);
            scores
                .entry(member)
                .and_modify(|score| *score = aggregate.apply(*score, weighed))
                .or_insert(weighed);
        }
    }
    scores.into_iter().collect()
}

fn intersection<'a>(
    first: &Source<'a>,
    others: &[Source<'a>],
    aggregate: Aggregate,
    limit: usize,
) -> Vec<(&'a [u8], f64)> {
    let common = first.iter().filter_map(|(member, score)| {
        let weighed = or_zero(first.weight * score);
        let score = others.iter().try_fold(weighed, |sum, other| {
            Some(aggregate.apply(sum, other.score(member)? * other.weight))
        })?;
        Some((member, score))
    });
    common.take(limit).collect()
}

fn difference<'a>(first: &Source<'a>, others: &[Source<'a>]) -> Vec<(&'a [u8], f64)> {
    let is_left =
        |(member, _): &(&[u8], f64)| others.iter().all(|other| other.score(member).is_none());
    first.iter().filter(is_left).collect()
}
