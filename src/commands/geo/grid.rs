//! The grid that places are kept in: geohashes of 52 bits, as Redis has them
//! (<https://redis.io/docs/latest/commands/geoadd/>), and distances on a sphere.

use std::f64::consts::PI;

/// Places are at most this many degrees east or west.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Places are at most this many degrees north or south: as far as the Mercator projection of EPSG:900913 goes.
pub const LATITUDE_MAX: f64 = 85.05112878;
/// Standard geohashes go to the poles.
const STANDARD_LATITUDE_MAX: f64 = 90.0;
/// Halvings of both directions that make the finest grid.
pub const STEPS_MAX: u32 = 26;
/// The radius that Redis gives the earth, in metres.
pub const EARTH_RADIUS: f64 = 6_372_797.560856;
const RADIANS: f64 = PI / 180.0;
/// The digits of standard geohashes.
const DIGITS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// Digits of a geohash that Redis writes; the last one is always 0, as there are bits for 10 only.
const HASH_DIGITS: usize = 11;

/// A point on earth, in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Place {
    pub longitude: f64,
    pub latitude: f64,
}

/// From an angle in degrees.
pub fn to_radians(degrees: f64) -> f64 {
    degrees * RADIANS
}

/// To an angle in degrees.
pub fn to_degrees(radians: f64) -> f64 {
    radians / RADIANS
}

impl Place {
    /// Distance in metres, by the haversine formula.
    pub fn distance(self, other: Place) -> f64 {
        let [start, end] = [self, other].map(|place| to_radians(place.longitude));
        let half_longitude = ((end - start) / 2.0).sin();
        if half_longitude == 0.0 {
            return self.distance_of_latitudes(other);
        }
        let [start, end] = [self, other].map(|place| to_radians(place.latitude));
        let half_latitude = ((end - start) / 2.0).sin();
        let chord = half_latitude * half_latitude
            + start.cos() * end.cos() * half_longitude * half_longitude;
        2.0 * EARTH_RADIUS * chord.sqrt().asin()
    }

    /// Distance of the two circles of latitude, in metres.
    pub fn distance_of_latitudes(self, other: Place) -> f64 {
        EARTH_RADIUS * (to_radians(other.latitude) - to_radians(self.latitude)).abs()
    }

    /// The place in the middle of the cell that a score says.
    pub fn from_score(score: f64) -> Place {
        Cell::from_bits(bits_of(score)).middle()
    }

    /// The score of a member at this place.
    pub fn to_score(self) -> f64 {
        Cell::at(self, STEPS_MAX).bits() as f64
    }

    /// The standard geohash.
    pub fn to_hash(self) -> [u8; HASH_DIGITS] {
        let bits = Cell::within(self, STANDARD_LATITUDE_MAX, STEPS_MAX).bits();
        std::array::from_fn(|index| {
            let shift = (2 * STEPS_MAX).checked_sub(5 * (index as u32 + 1));
            let digit = shift.map_or(0, |shift| bits >> shift & 31);
            DIGITS[digit as usize]
        })
    }
}

/// A score as unsigned integer: what the processors that Redis runs on make of those that are no cell.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let signed = |value: f64| {
        if (-HALF..HALF).contains(&value) {
            value as i64 as u64
        } else {
            1 << 63
        }
    };
    if score < HALF {
        signed(score)
    } else {
        signed(score - HALF) ^ 1 << 63
    }
}

/// A cell of one of the grids, the finest or a coarser one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Column, from the west.
    x: u32,
    /// Row, from the south.
    y: u32,
    /// How often both directions are halved.
    steps: u32,
}

/// A rectangle of a cell, in degrees.
pub struct Rectangle {
    /// South west.
    pub min: Place,
    /// North east.
    pub max: Place,
}

impl Cell {
    /// The cell that a place is in.
    pub fn at(place: Place, steps: u32) -> Self {
        Cell::within(place, LATITUDE_MAX, steps)
    }

    fn within(place: Place, latitude_max: f64, steps: u32) -> Self {
        debug_assert!((1..=STEPS_MAX).contains(&steps));
        // At the end of the range the index is one too large, as it is in Redis.
        let index = |degrees: f64, max: f64| {
            let share = (degrees + max) / (max + max);
            (share * f64::from(1u32 << steps)) as u32
        };
        Cell {
            x: index(place.longitude, LONGITUDE_MAX),
            y: index(place.latitude, latitude_max),
            steps,
        }
    }

    fn from_bits(bits: u64) -> Self {
        Cell {
            x: every_second(bits >> 1),
            y: every_second(bits),
            steps: STEPS_MAX,
        }
    }

    /// Column and row, bit by bit.
    fn bits(self) -> u64 {
        spread(self.x) << 1 | spread(self.y)
    }

    /// Scores of the places in it: from the first, up to but without the second.
    pub fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        let start = self.bits() << shift;
        let end = (self.bits() + 1) << shift;
        (start as f64, end as f64)
    }

    /// Where it is.
    pub fn rectangle(self) -> Rectangle {
        let degrees = |index: u32, max: f64| {
            -max + f64::from(index) / f64::from(1u32 << self.steps) * (max + max)
        };
        let corner = |x, y| Place {
            longitude: degrees(x, LONGITUDE_MAX),
            latitude: degrees(y, LATITUDE_MAX),
        };
        Rectangle {
            min: corner(self.x, self.y),
            max: corner(self.x.wrapping_add(1), self.y.wrapping_add(1)),
        }
    }

    fn middle(self) -> Place {
        let Rectangle { min, max } = self.rectangle();
        let middle = |min: f64, max: f64, limit: f64| ((min + max) / 2.0).clamp(-limit, limit);
        Place {
            longitude: middle(min.longitude, max.longitude, LONGITUDE_MAX),
            latitude: middle(min.latitude, max.latitude, LATITUDE_MAX),
        }
    }

    /// The cell this many columns to the east and rows to the north, around the earth.
    pub fn neighbor(self, east: i32, north: i32) -> Self {
        let mask = (1 << self.steps) - 1;
        let moved = |index: u32, by: i32| match by {
            0 => index,
            by => index.wrapping_add_signed(by) & mask,
        };
        Cell {
            x: moved(self.x, east),
            y: moved(self.y, north),
            ..self
        }
    }
}

/// The bits of a number at every second place.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & 0x5555_5555_5555_5555
}

/// The number whose bits are at every second place.
fn every_second(bits: u64) -> u32 {
    let mut number = bits & 0x5555_5555_5555_5555;
    number = (number | number >> 1) & 0x3333_3333_3333_3333;
    number = (number | number >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    number = (number | number >> 4) & 0x00ff_00ff_00ff_00ff;
    number = (number | number >> 8) & 0x0000_ffff_0000_ffff;
    (number | number >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_known_place() {
        let palermo = Place {
            longitude: 13.361389,
            latitude: 38.115556,
        };
        assert_eq!(palermo.to_score(), 3479099956230698.0);
        let kept = Place::from_score(palermo.to_score());
        assert_eq!(&kept.to_hash(), b"sqc8b49rny0");
        assert!(palermo.distance(kept) < 1.0);
    }

    proptest! {
        #[test]
        fn bits_come_back(number: u32) {
            prop_assert_eq!(every_second(spread(number)), number);
            prop_assert_eq!(spread(number) & 0xaaaa_aaaa_aaaa_aaaa, 0);
        }

        #[test]
        fn a_place_is_in_its_cell(
            longitude in -180.0..180.0,
            latitude in -85.0..85.0,
            steps in 1..=STEPS_MAX,
        ) {
            let place = Place { longitude, latitude };
            let cell = Cell::at(place, steps);
            let (start, end) = cell.scores();
            prop_assert!((start..end).contains(&place.to_score()));
            prop_assert_eq!(cell.neighbor(1, -1).neighbor(-1, 1), cell);
            prop_assert!(place.distance(Place::from_score(place.to_score())) < 1.0);
        }
    }
}
