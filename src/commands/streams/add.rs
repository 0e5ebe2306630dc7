//! `XADD`

use super::change::Change;
use super::id::GivenId;
use super::reply::write_id;
use super::stream;
use super::trim::{Options, Whole};
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;
use crate::store::{Kind, StreamId, StreamMark, StreamView, encode_fields};

/// Most bytes of an entry's fields and values together.
const ENTRY_BYTES_MAX: usize = 1 << 30;
/// Bits of a sequence that tell who made the id, where several might at once.
const ACTOR_BITS: u32 = 16;

/// `XADD`
pub fn xadd(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let options = Options::parse(request, true)?;
    let fields = request.skip(options.id_at + 1);
    if fields.len() < 2 || !fields.len().is_multiple_of(2) {
        return Err(CommandError::Arity("xadd".into()));
    }
    if options.id == Some(GivenId::Whole(StreamId::MIN)) {
        return Err(CommandError::line(
            "ERR The ID specified in XADD must be greater than 0-0",
        ));
    }
    let now_ms = call.transaction.now_ms();
    let actor = call.transaction.is_replicated();
    let actor = actor.then(|| call.transaction.actor().0);
    let key = request.arg(1);
    let stream = stream(call.transaction, call.database, key)?;
    if stream.is_none() && options.must_exist {
        call.reply.null();
        return Ok(());
    }
    let mut mark = stream.map_or(StreamMark::default(), StreamView::mark);
    let id = id_of(options.id, mark.last_id, now_ms, actor)?;
    if fields.iter().map(<[u8]>::len).sum::<usize>() > ENTRY_BYTES_MAX {
        return Err(CommandError::line(
            "ERR Elements are too large to be stored",
        ));
    }
    let mut value = Vec::new();
    encode_fields(fields.iter(), &mut value);
    mark.last_id = id;
    mark.entries_added = mark.entries_added.wrapping_add(1);
    let whole = Whole {
        stream,
        added: Some(id),
        mark,
    };
    let trimmed = options
        .trim
        .map_or(0, |trim| whole.count(&trim, &call.node.config.load()));
    if trimmed == 0 {
        // There is room for this: it is what the arguments are.
        let set = Effect::ElementSet {
            kind: Kind::Stream,
            key,
            element: &id.to_bytes(),
            value: &value,
        };
        call.transaction.apply(call.database, &set);
    } else {
        let mut change = Change::default();
        change.mark(&mark);
        change.add(id, value);
        whole.trim(trimmed, &mut change);
        change.make(call, key)?;
    }
    write_id(call.reply, id);
    call.notify(EventClasses::STREAM, "xadd", key);
    if trimmed > 0 {
        call.notify(EventClasses::STREAM, "xtrim", key);
    }
    Ok(())
}

/// The id of a new entry, above all there ever were.
fn id_of(
    given: Option<GivenId>,
    last: StreamId,
    now_ms: u64,
    actor: Option<u16>,
) -> Result<StreamId, CommandError> {
    if last == StreamId::MAX {
        return Err(CommandError::line(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = match given {
        None => made_id(last, now_ms, actor),
        Some(GivenId::Whole(id)) => Some(id),
        Some(GivenId::Milliseconds(ms)) if ms == last.ms => last
            .sequence
            .checked_add(1)
            .map(|sequence| StreamId { ms, sequence }),
        Some(GivenId::Milliseconds(ms)) => Some(StreamId::new(ms, 0)),
    };
    id.filter(|id| *id > last).ok_or(CommandError::line(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    ))
}

/// The id for `*`. Where changes are merged its lowest bits tell who made it: should two nodes add an entry at once,
/// neither takes the place of the other.
fn made_id(last: StreamId, now_ms: u64, actor: Option<u16>) -> Option<StreamId> {
    let Some(actor) = actor else {
        let is_new = now_ms > last.ms;
        return if is_new {
            Some(StreamId::new(now_ms, 0))
        } else {
            last.next()
        };
    };
    let of = |ms: u64, number: u64| {
        let sequence = number << ACTOR_BITS | u64::from(actor);
        StreamId { ms, sequence }
    };
    let number = (last.sequence >> ACTOR_BITS) + 1;
    match () {
        () if now_ms > last.ms => Some(of(now_ms, 0)),
        () if number >> (u64::BITS - ACTOR_BITS) == 0 => Some(of(last.ms, number)),
        () => last.ms.checked_add(1).map(|ms| of(ms, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_rise_and_tell_who_made_them() {
        let id = StreamId::new;
        assert_eq!(made_id(id(5, 3), 7, None), Some(id(7, 0)));
        assert_eq!(made_id(id(5, 3), 4, None), Some(id(5, 4)));
        assert_eq!(made_id(id(5, u64::MAX), 4, None), Some(id(6, 0)));
        let mut last = id(5, u64::MAX - 1);
        for (now_ms, actor) in [(4, 1), (4, 9), (4, 2), (6, 3), (7, 3), (7, 2)] {
            let made = made_id(last, now_ms, Some(actor)).expect("an id");
            assert!(made > last, "{last:?} {made:?}");
            assert_eq!(made.sequence & 0xffff, u64::from(actor));
            last = made;
        }
        assert_eq!(last.ms, 7);
    }
}
