//! Places on earth: members of sorted sets whose scores are cells of a fine grid.

mod add;
mod area;
mod grid;
mod lookup;
mod search;
mod selection;
mod shape;
mod table;

use coterie_protocol::text::parse_f64;
use coterie_protocol::{ReplyWriter, RespVersion};

pub use table::COMMANDS;

use super::CommandError;
use grid::{LATITUDE_MAX, LONGITUDE_MAX, Place};

/// How many metres the unit has that an argument names.
fn unit(word: &[u8]) -> Result<f64, CommandError> {
    match () {
        () if word.eq_ignore_ascii_case(b"m") => Ok(1.0),
        () if word.eq_ignore_ascii_case(b"km") => Ok(1000.0),
        () if word.eq_ignore_ascii_case(b"ft") => Ok(0.3048),
        () if word.eq_ignore_ascii_case(b"mi") => Ok(1609.34),
        () => Err(CommandError::line(
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        )),
    }
}

/// The place that two arguments name.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, CommandError> {
    let place = Place {
        longitude: parse_f64(longitude).ok_or(CommandError::NotFloat)?,
        latitude: parse_f64(latitude).ok_or(CommandError::NotFloat)?,
    };
    if place.longitude.abs() > LONGITUDE_MAX || place.latitude.abs() > LATITUDE_MAX {
        return Err(CommandError::err(format_args!(
            "invalid longitude,latitude pair {:.6},{:.6}",
            place.longitude, place.latitude
        )));
    }
    Ok(place)
}

/// Longitude and latitude.
fn write_place(reply: &mut ReplyWriter<'_>, place: Place) {
    reply.array(2);
    write_degrees(reply, place.longitude);
    write_degrees(reply, place.latitude);
}

/// A number with up to 17 digits behind the point, without zeros at the end.
fn write_degrees(reply: &mut ReplyWriter<'_>, degrees: f64) {
    let digits = format!("{degrees:.17}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    let digits = if digits == "-0" { "0" } else { digits };
    match reply.version() {
        RespVersion::Resp2 => reply.bulk(digits.as_bytes()),
        RespVersion::Resp3 => {
            reply.raw(b",");
            reply.raw(digits.as_bytes());
            reply.raw(b"\r\n");
        }
    }
}

/// A distance with four digits behind the point, in either version a bulk string.
fn write_distance(reply: &mut ReplyWriter<'_>, distance: f64) {
    reply.bulk_display(format_args!("{distance:.4}"));
}
