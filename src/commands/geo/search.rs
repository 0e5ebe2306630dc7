//! Places in a circle or a box: `GEOSEARCH`, `GEORADIUS` and their variants.

use std::ops::Bound;

use coterie_protocol::{ReplyWriter, Request};

use super::area::cells;
use super::grid::Place;
use super::selection::{Form, Order, Selection};
use super::shape::Shape;
use super::{write_distance, write_place};
use crate::commands::sorted_sets::{Scored, replace};
use crate::commands::spec::Positions;
use crate::commands::value::sorted_set_of;
use crate::commands::{Call, CommandResult};
use crate::store::SortedSetView;

/// `GEORADIUS`
pub fn georadius(call: &mut Call<'_, '_>) -> CommandResult {
    search(call, Form::Radius { stores: true })
}

/// `GEORADIUS_RO`
pub fn georadius_ro(call: &mut Call<'_, '_>) -> CommandResult {
    search(call, Form::Radius { stores: false })
}

/// `GEORADIUSBYMEMBER`
pub fn georadiusbymember(call: &mut Call<'_, '_>) -> CommandResult {
    search(call, Form::RadiusByMember { stores: true })
}

/// `GEORADIUSBYMEMBER_RO`
pub fn georadiusbymember_ro(call: &mut Call<'_, '_>) -> CommandResult {
    search(call, Form::RadiusByMember { stores: false })
}

/// `GEOSEARCH`
pub fn geosearch(call: &mut Call<'_, '_>) -> CommandResult {
    search(call, Form::Search { stores: false })
}

/// `GEOSEARCHSTORE`
pub fn geosearchstore(call: &mut Call<'_, '_>) -> CommandResult {
    search(call, Form::Search { stores: true })
}

/// Where the keys of `GEORADIUS` and `GEORADIUSBYMEMBER` are: the first argument, and what follows the last `STORE` or
/// `STOREDIST`.
pub fn keys_of_georadius(request: Request<'_>) -> Positions {
    Positions::first_and_stored(request, 5, |word| {
        let stores = word.eq_ignore_ascii_case(b"store") || word.eq_ignore_ascii_case(b"storedist");
        (stores.into(), stores)
    })
}

/// A place within the shape.
struct Found<'a> {
    member: &'a [u8],
    score: f64,
    place: Place,
    /// From the centre, in metres.
    distance: f64,
}

fn search(call: &mut Call<'_, '_>, form: Form) -> CommandResult {
    let request = call.request;
    // Whatever it may store, it answers with what it reads.
    call.transaction.count_lookups();
    let source = match form {
        Form::Search { stores: true } => 2,
        _ => 1,
    };
    let set = sorted_set_of(call.transaction.get(call.database, request.arg(source)))?;
    let selection = Selection::parse(request, form, set)?;
    let mut found = match (set, selection.shape()) {
        (Some(set), Some(shape)) => find(set, &shape, selection.count.filter(|_| selection.any)),
        _ => Vec::new(),
    };
    let is_limited = selection.count.is_some() && !selection.any;
    let order = selection.order.or(is_limited.then_some(Order::Ascending));
    match order {
        None => {}
        Some(Order::Ascending) => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Some(Order::Descending) => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    found.truncate(selection.count.unwrap_or(usize::MAX));
    let Some(destination) = selection.destination else {
        write(call.reply, &selection, &found);
        return Ok(());
    };
    let kept = |found: &Found<'_>| {
        let distance = found.distance / selection.unit;
        let score = if selection.stores_distances {
            distance
        } else {
            found.score
        };
        (found.member.to_vec(), score)
    };
    let members: Vec<Scored> = found.iter().map(kept).collect();
    let event = match form {
        Form::Search { .. } => "geosearchstore",
        _ => "georadiusstore",
    };
    replace(call, event, destination, &members)
}

/// The places within a shape, at most `limit`, cell by cell.
fn find<'a>(set: SortedSetView<'a>, shape: &Shape, limit: Option<usize>) -> Vec<Found<'a>> {
    let members = cells(shape).into_iter().flat_map(|cell| {
        let (start, end) = cell.scores();
        set.range(set.ranks_by_score(Bound::Included(start), Bound::Excluded(end)))
    });
    let within = members.filter_map(|(member, score)| {
        let place = Place::from_score(score);
        let distance = shape.distance_within(place)?;
        Some(Found {
            member,
            score,
            place,
            distance,
        })
    });
    within.take(limit.unwrap_or(usize::MAX)).collect()
}

fn write(reply: &mut ReplyWriter<'_>, selection: &Selection<'_>, found: &[Found<'_>]) {
    let details = [
        selection.with_distance,
        selection.with_score,
        selection.with_place,
    ];
    let details = details.into_iter().filter(|is_wanted| *is_wanted).count();
    reply.array(found.len());
    for found in found {
        if details > 0 {
            reply.array(details + 1);
        }
        reply.bulk(found.member);
        if selection.with_distance {
            write_distance(reply, found.distance / selection.unit);
        }
        if selection.with_score {
            reply.integer(found.score as i64);
        }
        if selection.with_place {
            write_place(reply, found.place);
        }
    }
}
