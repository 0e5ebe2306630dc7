//! What a search covers.

use super::grid::{EARTH_RADIUS, Place, Rectangle, to_degrees, to_radians};

/// How far a search goes from its centre, in metres.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    Circle {
        radius: f64,
    },
    /// Its sides follow longitudes and latitudes.
    Box {
        width: f64,
        height: f64,
    },
}

/// A circle or box around a place.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub center: Place,
    pub extent: Extent,
}

impl Shape {
    /// Distance of a place from the centre, in metres; `None` for one that is outside.
    pub fn distance_within(&self, place: Place) -> Option<f64> {
        match self.extent {
            Extent::Circle { radius } => {
                let distance = self.center.distance(place);
                (distance <= radius).then_some(distance)
            }
            Extent::Box { width, height } => {
                let beside = Place {
                    longitude: self.center.longitude,
                    latitude: place.latitude,
                };
                let is_within = place.distance_of_latitudes(self.center) <= height / 2.0
                    && place.distance(beside) <= width / 2.0;
                is_within.then(|| self.center.distance(place))
            }
        }
    }

    /// Distance of its farthest point from the centre, in metres.
    pub fn reach(&self) -> f64 {
        match self.extent {
            Extent::Circle { radius } => radius,
            Extent::Box { width, height } => {
                let (x, y) = (width / 2.0, height / 2.0);
                (x * x + y * y).sqrt()
            }
        }
    }

    /// A rectangle of degrees around it, which is not cut off where the grid ends.
    pub fn bounds(&self) -> Rectangle {
        let (width, height) = match self.extent {
            Extent::Circle { radius } => (radius, radius),
            Extent::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let Place {
            longitude,
            latitude,
        } = self.center;
        let latitudes = to_degrees(height / EARTH_RADIUS);
        // Where circles of latitude are shorter.
        let narrow = if latitude < 0.0 {
            latitude - latitudes
        } else {
            latitude + latitudes
        };
        let longitudes = to_degrees(width / EARTH_RADIUS / to_radians(narrow).cos());
        Rectangle {
            min: Place {
                longitude: longitude - longitudes,
                latitude: latitude - latitudes,
            },
            max: Place {
                longitude: longitude + longitudes,
                latitude: latitude + latitudes,
            },
        }
    }
}
