//! Single places: `GEOPOS`, `GEODIST`, `GEOHASH`.

use super::grid::Place;
use super::{unit, write_distance, write_place};
use crate::commands::value::sorted_set_of;
use crate::commands::{Call, CommandError, CommandResult};

/// `GEOPOS`
pub fn geopos(call: &mut Call<'_, '_>) -> CommandResult {
    let set = sorted_set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    call.reply.array(call.request.len() - 2);
    for member in call.request.iter().skip(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => write_place(call.reply, Place::from_score(score)),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

/// `GEOHASH`
pub fn geohash(call: &mut Call<'_, '_>) -> CommandResult {
    let set = sorted_set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    call.reply.array(call.request.len() - 2);
    for member in call.request.iter().skip(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => call.reply.bulk(&Place::from_score(score).to_hash()),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// `GEODIST`
pub fn geodist(call: &mut Call<'_, '_>) -> CommandResult {
    let metres = match call.request.len() {
        4 => 1.0,
        5 => unit(call.request.arg(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let set = sorted_set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    let places = set.and_then(|set| {
        let place = |index| set.score(call.request.arg(index)).map(Place::from_score);
        place(2).zip(place(3))
    });
    match places {
        Some((start, end)) => write_distance(call.reply, start.distance(end) / metres),
        None => call.reply.null(),
    }
    Ok(())
}
