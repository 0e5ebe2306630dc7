//! Sorted sets: members with scores below one key, in order of score and then of bytes.

mod add;
mod algebra;
mod blocking;
mod bounds;
mod members;
mod pop;
mod random;
mod range;
mod span;
mod table;

use coterie_protocol::{ReplyWriter, RespVersion};

pub use add::{Options, add};
pub use table::{ALGEBRA_COMMANDS, BLOCKING_COMMANDS, MEMBER_COMMANDS, RANGE_COMMANDS};

use super::value::{is_compact_sorted_set, sorted_set_of};
use super::{Call, CommandError, CommandResult};
use crate::config::Config;
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::{Kind, Score, SortedSetView};

/// A member and its score.
pub type Scored = (Vec<u8>, f64);

/// The sorted set at the call's key, which counts as used.
fn sorted_set<'t>(call: &'t mut Call<'_, '_>) -> Result<Option<SortedSetView<'t>>, CommandError> {
    sorted_set_of(call.transaction.get(call.database, call.request.arg(1)))
}

/// The effect that a member of the sorted set at a key has this encoded score.
fn scored<'a>(key: &'a [u8], member: &'a [u8], score: &'a [u8]) -> Effect<'a> {
    Effect::ElementSet {
        kind: Kind::SortedSet,
        key,
        element: member,
        value: score,
    }
}

/// The effect that a member is not in it.
fn removed<'a>(key: &'a [u8], member: &'a [u8]) -> Effect<'a> {
    Effect::ElementDelete {
        kind: Kind::SortedSet,
        key,
        element: member,
    }
}

/// Makes changes to one key, if there are any.
fn change(call: &mut Call<'_, '_>, effects: &[Effect<'_>]) -> CommandResult {
    if !effects.is_empty() {
        call.reserve(effects, 0)?;
        call.transaction.apply_all(call.database, effects);
    }
    Ok(())
}

/// Whether Redis would hold a sorted set as a list pack, while members are added to it.
struct Packing {
    is_compact: bool,
    length: u64,
    length_max: u64,
    member_bytes_max: u64,
}

impl Packing {
    /// That of a sorted set before there are more members.
    fn of(set: Option<SortedSetView<'_>>, config: &Config) -> Self {
        Packing {
            is_compact: set.is_none_or(|set| is_compact_sorted_set(set, config)),
            length: set.map_or(0, SortedSetView::len) as u64,
            length_max: config.zset_max_listpack_entries,
            member_bytes_max: config.zset_max_listpack_value,
        }
    }

    fn add(&mut self, member: &[u8]) {
        self.length += 1;
        self.is_compact &=
            self.length <= self.length_max && member.len() as u64 <= self.member_bytes_max;
    }

    /// A score as it is kept: list packs have no negative zero.
    fn kept(&self, score: f64) -> f64 {
        // The sum of the two zeros is the positive one.
        if self.is_compact { score + 0.0 } else { score }
    }
}

/// Makes these the members of a key, whatever it held, and answers how many they are.
pub fn replace(
    call: &mut Call<'_, '_>,
    event: &'static str,
    key: &[u8],
    members: &[Scored],
) -> CommandResult {
    let mut packing = Packing::of(None, &call.node.config.load());
    members.iter().for_each(|(member, _)| packing.add(member));
    let encoded = |(_, score): &Scored| Score::encode(packing.kept(*score));
    let scores: Vec<[u8; 8]> = members.iter().map(encoded).collect();
    let mut effects = Vec::with_capacity(members.len() + 1);
    let is_there = call.transaction.is_there(call.database, key);
    if is_there || call.transaction.is_replicated() {
        effects.push(Effect::Delete { key });
    }
    let pairs = members.iter().zip(&scores);
    effects.extend(pairs.map(|((member, _), score)| scored(key, member, score)));
    change(call, &effects)?;
    call.notify_stored(EventClasses::SORTED_SET, event, key, is_there);
    call.reply.integer(members.len() as i64);
    Ok(())
}

/// How members are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Without their scores.
    Members,
    /// Each followed by its score.
    Flat,
    /// Each in an array with its score.
    Pairs,
}

impl Form {
    /// The form most commands have: scores only if asked for, in arrays of two in RESP3.
    fn new(with_scores: bool, version: RespVersion) -> Self {
        match (with_scores, version) {
            (false, _) => Form::Members,
            (true, RespVersion::Resp2) => Form::Flat,
            (true, RespVersion::Resp3) => Form::Pairs,
        }
    }

    /// Answers with `count` members.
    fn write<'a>(
        self,
        reply: &mut ReplyWriter<'_>,
        count: usize,
        members: impl Iterator<Item = (&'a [u8], f64)>,
    ) {
        reply.array(if self == Form::Flat { 2 * count } else { count });
        for (member, score) in members {
            if self == Form::Pairs {
                reply.array(2);
            }
            reply.bulk(member);
            if self != Form::Members {
                reply.double(score);
            }
        }
    }
}

/// Members that are kept, as [`Form::write`] takes them.
fn borrowed(members: &[Scored]) -> impl Iterator<Item = (&[u8], f64)> {
    members.iter().map(|(member, score)| (&**member, *score))
}
