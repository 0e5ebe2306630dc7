//! Adding members and changing scores: `ZADD`, `ZINCRBY`.

use std::collections::HashMap;

use coterie_protocol::Request;
use coterie_protocol::text::parse_f64;
use smallvec::SmallVec;

use super::{Packing, change, scored, sorted_set};
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::Score;

/// What `ZADD` is told besides scores and members.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// `NX`: members that are there stay as they are.
    pub only_new: bool,
    /// `XX`: no member is added.
    pub only_existing: bool,
    /// `GT`: no score falls.
    only_greater: bool,
    /// `LT`: no score rises.
    only_less: bool,
    /// `CH`: the answer counts members whose score changed too.
    pub counts_changes: bool,
    /// `INCR`: the score is added to the one that is there, and the sum answered.
    increments: bool,
}

/// `ZADD`
pub fn zadd(call: &mut Call<'_, '_>) -> CommandResult {
    parse_and_add(call, Options::default())
}

/// `ZINCRBY`
pub fn zincrby(call: &mut Call<'_, '_>) -> CommandResult {
    let increments = true;
    parse_and_add(
        call,
        Options {
            increments,
            ..Options::default()
        },
    )
}

fn parse_and_add(call: &mut Call<'_, '_>, mut options: Options) -> CommandResult {
    let pairs = options.parse(call.request.skip(2));
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    options.check(pairs.len() / 2)?;
    let pair = |index| {
        let score = parse_f64(pairs.arg(index)).ok_or(CommandError::NotFloat)?;
        Ok((score, pairs.arg(index + 1)))
    };
    let members: Result<SmallVec<[_; 1]>, CommandError> =
        (0..pairs.len()).step_by(2).map(pair).collect();
    add(call, options, &members?)
}

impl Options {
    /// Takes the options in front of a request, and returns the rest.
    fn parse<'a>(&mut self, request: Request<'a>) -> Request<'a> {
        for (index, word) in request.iter().enumerate() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            match () {
                () if is(b"nx") => self.only_new = true,
                () if is(b"xx") => self.only_existing = true,
                () if is(b"gt") => self.only_greater = true,
                () if is(b"lt") => self.only_less = true,
                () if is(b"ch") => self.counts_changes = true,
                () if is(b"incr") => self.increments = true,
                () => return request.skip(index),
            }
        }
        Request::EMPTY
    }

    /// Whether they go together.
    fn check(&self, members: usize) -> CommandResult {
        if self.only_new && self.only_existing {
            return Err(CommandError::line(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        let orders = usize::from(self.only_greater) + usize::from(self.only_less);
        if orders + usize::from(self.only_new) > 1 {
            return Err(CommandError::line(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.increments && members > 1 {
            return Err(CommandError::line(
                "ERR INCR option supports a single increment-element pair",
            ));
        }
        Ok(())
    }

    /// The score that a member comes to have; `None` if nothing is done with it.
    fn decide(&self, old: Option<f64>, score: f64) -> Result<Option<f64>, CommandError> {
        let Some(old) = old else {
            return Ok((!self.only_existing).then_some(score));
        };
        if self.only_new {
            return Ok(None);
        }
        let new = if self.increments { old + score } else { score };
        if new.is_nan() {
            return Err(CommandError::line(
                "ERR resulting score is not a number (NaN)",
            ));
        }
        let is_refused = self.only_less && new >= old || self.only_greater && new <= old;
        Ok((!is_refused).then_some(new))
    }
}

/// Adds members with their scores to the call's key, or changes those they have, and answers what `ZADD` does.
pub fn add(call: &mut Call<'_, '_>, options: Options, members: &[(f64, &[u8])]) -> CommandResult {
    let (node, key) = (call.node, call.request.arg(1));
    // Another replica may know another score: there it counts even if it is none here.
    let is_replicated = call.transaction.is_replicated();
    let set = sorted_set(call)?;
    let mut packing = Packing::of(set, &node.config.load());
    let mut writes: SmallVec<[(&[u8], f64); 1]> = SmallVec::new();
    // Where among the writes a member is that may be named again.
    let mut written: HashMap<&[u8], usize> = HashMap::new();
    let (mut added, mut updated, mut latest) = (0, 0, None);
    for &(score, member) in members {
        let earlier = written.get(member).copied();
        let old = match earlier {
            Some(index) => Some(writes[index].1),
            None => set.and_then(|set| set.score(member)),
        };
        let Some(new) = options.decide(old, score)? else {
            continue;
        };
        latest = Some(new);
        let is_changed = old.is_some_and(|old| old != new);
        added += i64::from(old.is_none());
        updated += i64::from(is_changed);
        if old.is_none() {
            packing.add(member);
        }
        let kept = packing.kept(new);
        match earlier {
            Some(index) if is_changed => writes[index].1 = kept,
            None if is_changed || old.is_none() || is_replicated => {
                if members.len() > 1 {
                    written.insert(member, writes.len());
                }
                writes.push((member, kept));
            }
            _ => {}
        }
    }
    write(call, key, &writes)?;
    if added + updated > 0 {
        let event = if options.increments { "zincr" } else { "zadd" };
        call.notify(EventClasses::SORTED_SET, event, key);
    }
    match (options.increments, latest) {
        (true, Some(score)) => call.reply.double(score),
        (true, None) => call.reply.null(),
        (false, _) if options.counts_changes => call.reply.integer(added + updated),
        (false, _) => call.reply.integer(added),
    }
    Ok(())
}

fn write(call: &mut Call<'_, '_>, key: &[u8], writes: &[(&[u8], f64)]) -> CommandResult {
    let encoded = |(_, score): &(&[u8], f64)| Score::encode(*score);
    let scores: SmallVec<[[u8; 8]; 1]> = writes.iter().map(encoded).collect();
    let effects: SmallVec<[Effect<'_>; 1]> = writes
        .iter()
        .zip(&scores)
        .map(|((member, _), score)| scored(key, member, score))
        .collect();
    change(call, &effects)
}
