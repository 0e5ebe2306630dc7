//! The cells of the grid in which a search looks: the one of its centre and those around that.

use super::grid::{Cell, Place, Rectangle, STEPS_MAX};
use super::shape::Shape;

/// Half of the earth's girth in the Mercator projection, in metres.
const HALF_GIRTH: f64 = 20_037_726.37;
/// Beyond these latitudes, in degrees, cells are so narrow that coarser ones are needed.
const NARROW_LATITUDES: [f64; 2] = [66.0, 80.0];

/// Columns and rows from the centre, in the order in which cells are searched: it is the order of what is found.
const ORDER: [(i32, i32); 9] = [
    (0, 0),
    (0, 1),
    (0, -1),
    (1, 0),
    (-1, 0),
    (1, 1),
    (-1, 1),
    (1, -1),
    (-1, -1),
];

/// The cells in which places within a shape can be, in the order they are to be searched.
pub fn cells(shape: &Shape) -> Vec<Cell> {
    let bounds = shape.bounds();
    let mut steps = steps_for(shape.reach(), shape.center);
    let mut center = Cell::at(shape.center, steps);
    if steps > 1 && !is_covered(center, &bounds) {
        steps -= 1;
        center = Cell::at(shape.center, steps);
    }
    let around = center.rectangle();
    let is_needed = |east: i32, north: i32| {
        // Of the coarsest grid all cells are.
        steps < 2
            || !(north < 0 && around.min.latitude < bounds.min.latitude
                || north > 0 && around.max.latitude > bounds.max.latitude
                || east < 0 && around.min.longitude < bounds.min.longitude
                || east > 0 && around.max.longitude > bounds.max.longitude)
    };
    let mut cells: Vec<Cell> = Vec::with_capacity(ORDER.len());
    for (east, north) in ORDER {
        let cell = center.neighbor(east, north);
        // Around the earth a neighbour may be the same cell as another. Redis looks only at the last one it searched, and
        // not at the centre: it finds some places twice, and so do we.
        let is_repeated = cells.len() > 1 && cells.last() == Some(&cell);
        if is_needed(east, north) && !is_repeated {
            cells.push(cell);
        }
    }
    cells
}

/// How fine a grid may be whose cells reach this far, in metres.
fn steps_for(reach: f64, center: Place) -> u32 {
    if reach == 0.0 {
        return STEPS_MAX;
    }
    let mut steps = 1;
    let mut doubled = reach;
    while doubled < HALF_GIRTH {
        doubled *= 2.0;
        steps += 1;
    }
    steps -= 2;
    let is_beyond = |limit: &&f64| center.latitude.abs() > **limit;
    steps -= NARROW_LATITUDES.iter().filter(is_beyond).count() as i32;
    steps.clamp(1, STEPS_MAX as i32) as u32
}

/// Whether the neighbours of a cell reach as far as a rectangle.
fn is_covered(center: Cell, bounds: &Rectangle) -> bool {
    let neighbor = |east, north| center.neighbor(east, north).rectangle();
    !(neighbor(0, 1).max.latitude < bounds.max.latitude
        || neighbor(0, -1).min.latitude > bounds.min.latitude
        || neighbor(1, 0).max.longitude < bounds.max.longitude
        || neighbor(-1, 0).min.longitude > bounds.min.longitude)
}
