//! Elements of a collection taken at random (`HRANDFIELD`, `SRANDMEMBER`, `SPOP`, `ZRANDMEMBER`).

use std::borrow::Cow;
use std::collections::HashSet;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{ReplyWriter, Request, RespVersion};

use super::{CommandError, CommandResult};
use crate::store::{HashView, Score, SetView, SortedSetView};

/// A collection with more elements is sampled where listing them would take longer than the choice.
const LISTED_MAX: usize = 512;
/// It is sampled when it has this many times the elements that are asked for.
const SAMPLED_SHARE: usize = 3;

/// Length of an empty bulk string in a reply.
const ELEMENT_BYTES_MIN: u64 = 6;

/// An element and its value, which is empty in a set.
pub type Pair<'h> = (Cow<'h, [u8]>, Cow<'h, [u8]>);

/// What elements can be drawn from.
pub trait Sampled<'h>: Copy {
    /// How many there are.
    fn len(self) -> usize;
    /// All of them.
    fn list(self) -> Vec<Pair<'h>>;
    /// One near a random point.
    fn near(self, random: u64) -> Option<Pair<'h>>;
}

impl<'h> Sampled<'h> for HashView<'h> {
    fn len(self) -> usize {
        self.len()
    }

    fn list(self) -> Vec<Pair<'h>> {
        self.iter().map(|(f, v)| (f.into(), v.into())).collect()
    }

    fn near(self, random: u64) -> Option<Pair<'h>> {
        let mut drawn = None;
        self.sample(random, 1, |field, value| {
            drawn = Some((field.to_vec().into(), value.to_vec().into()));
        });
        drawn
    }
}

impl<'h> Sampled<'h> for SetView<'h> {
    fn len(self) -> usize {
        self.len()
    }

    fn list(self) -> Vec<Pair<'h>> {
        self.iter()
            .map(|member| (member.into(), Cow::default()))
            .collect()
    }

    fn near(self, random: u64) -> Option<Pair<'h>> {
        let mut drawn = None;
        self.sample(random, 1, |member| {
            drawn = Some((member.to_vec().into(), Cow::default()));
        });
        drawn
    }
}

impl<'h> Sampled<'h> for SortedSetView<'h> {
    fn len(self) -> usize {
        self.len()
    }

    fn list(self) -> Vec<Pair<'h>> {
        let encoded = |score| Score::encode(score).to_vec().into();
        self.iter()
            .map(|(member, score)| (member.into(), encoded(score)))
            .collect()
    }

    fn near(self, random: u64) -> Option<Pair<'h>> {
        let mut drawn = None;
        self.sample(random, 1, |member, score| {
            let score = Score::encode(score).to_vec();
            drawn = Some((member.to_vec().into(), score.into()));
        });
        drawn
    }
}

/// Draws elements with replacement.
pub enum Urn<'h, E> {
    /// All of them: every one has the same chance.
    Listed(Vec<Pair<'h>>),
    /// A large collection, of which an element near a random point is taken.
    Sampled(E),
}

impl<'h, E: Sampled<'h>> Urn<'h, E> {
    /// One to draw about `count` elements from.
    pub fn new(elements: E, count: usize) -> Self {
        if elements.len() <= LISTED_MAX || elements.len() / SAMPLED_SHARE <= count {
            Urn::Listed(elements.list())
        } else {
            Urn::Sampled(elements)
        }
    }

    /// One of them; `None` if there is none.
    pub fn draw(&self) -> Option<Pair<'h>> {
        match self {
            Urn::Listed(pairs) if pairs.is_empty() => None,
            Urn::Listed(pairs) => Some(pairs[rand::random_range(0..pairs.len())].clone()),
            Urn::Sampled(elements) => elements.near(rand::random()),
        }
    }
}

/// As many different elements as there are, at most `count`.
pub fn distinct<'h, E: Sampled<'h>>(elements: E, count: usize) -> Vec<Pair<'h>> {
    if count < elements.len()
        && let urn @ Urn::Sampled(_) = Urn::new(elements, count)
    {
        // There are far more than are asked for: few are drawn twice.
        let mut chosen = HashSet::with_capacity(count);
        while chosen.len() < count
            && let Some(pair) = urn.draw()
        {
            chosen.insert(pair);
        }
        return chosen.into_iter().collect();
    }
    let mut all = elements.list();
    let count = count.min(all.len());
    let chosen = rand::seq::index::sample(&mut rand::rng(), all.len(), count);
    chosen
        .into_iter()
        .map(|index| std::mem::take(&mut all[index]))
        .collect()
}

/// What follows the key of `HRANDFIELD` and `ZRANDMEMBER`, if anything does.
#[derive(Clone, Copy)]
pub struct Choice {
    /// A negative one may choose an element more than once.
    count: i64,
    with_values: bool,
}

impl Choice {
    /// Reads it; `word` asks for values.
    pub fn parse(request: Request<'_>, word: &[u8]) -> Result<Option<Choice>, CommandError> {
        let Some(count) = request.get(2) else {
            return Ok(None);
        };
        let count = parse_i64(count).ok_or(CommandError::NotInteger)?;
        if count == i64::MIN {
            return Err(CommandError::line(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ));
        }
        let with_values = match request.get(3) {
            None => false,
            Some(last) if request.len() == 4 && last.eq_ignore_ascii_case(word) => true,
            Some(_) => return Err(CommandError::Syntax),
        };
        // Redis counts the elements of the reply in the same type.
        if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
            return Err(CommandError::OutOfRange);
        }
        Ok(Some(Choice { count, with_values }))
    }
}

/// Answers with elements chosen at random; the reply may have `limit` bytes.
pub fn answer<'h>(
    reply: &mut ReplyWriter<'_>,
    limit: u64,
    elements: Option<impl Sampled<'h>>,
    choice: Option<Choice>,
    write_value: fn(&mut ReplyWriter<'_>, &[u8]),
) -> CommandResult {
    let Some(Choice { count, with_values }) = choice else {
        match elements.and_then(|elements| Urn::new(elements, 1).draw()) {
            Some((element, _)) => reply.bulk(&element),
            None => reply.null(),
        }
        return Ok(());
    };
    let Some(elements) = elements.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    let mut answer = Answer {
        reply,
        write_value: with_values.then_some(write_value),
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count > 0 {
        let chosen = distinct(elements, wanted);
        answer.begin(chosen.len());
        chosen.into_iter().for_each(|pair| answer.write(pair));
        return Ok(());
    }
    let too_long = || CommandError::line("ERR the reply would be longer than proto-max-bulk-len");
    // A number of a few digits must not fill the memory.
    if wanted as u64 > limit / ELEMENT_BYTES_MIN {
        return Err(too_long());
    }
    let urn = Urn::new(elements, wanted);
    answer.begin(wanted);
    for pair in (0..wanted).map_while(|_| urn.draw()) {
        answer.write(pair);
        if answer.reply.len() as u64 > limit {
            return Err(too_long());
        }
    }
    Ok(())
}

/// Elements with or without their values: pairs in RESP3, one after the other in RESP2.
struct Answer<'r, 'x> {
    reply: &'r mut ReplyWriter<'x>,
    /// `None` without values.
    write_value: Option<fn(&mut ReplyWriter<'_>, &[u8])>,
}

impl Answer<'_, '_> {
    fn nests(&self) -> bool {
        self.write_value.is_some() && self.reply.version() == RespVersion::Resp3
    }

    fn begin(&mut self, elements: usize) {
        let is_flat = self.write_value.is_some() && !self.nests();
        self.reply
            .array(if is_flat { 2 * elements } else { elements });
    }

    fn write(&mut self, (element, value): Pair<'_>) {
        if self.nests() {
            self.reply.array(2);
        }
        self.reply.bulk(&element);
        if let Some(write_value) = self.write_value {
            write_value(self.reply, &value);
        }
    }
}
