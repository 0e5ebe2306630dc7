//! What a search is asked for: where, how far, what of it, and what is done with it.

use coterie_protocol::Request;
use coterie_protocol::text::{parse_f64, parse_i64};

use super::grid::Place;
use super::shape::{Extent, Shape};
use super::{place, unit};
use crate::commands::CommandError;
use crate::store::SortedSetView;

/// Which command it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `GEORADIUS`, `GEORADIUS_RO`: centre and radius come first.
    Radius { stores: bool },
    /// `GEORADIUSBYMEMBER`, `GEORADIUSBYMEMBER_RO`: a member and the radius come first.
    RadiusByMember { stores: bool },
    /// `GEOSEARCH`, `GEOSEARCHSTORE`: options say it all.
    Search { stores: bool },
}

/// How the centre of a search is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Member,
    Place,
}

/// The order of the places that are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The nearest first.
    Ascending,
    Descending,
}

/// See the module.
pub struct Selection<'a> {
    center: Option<Place>,
    extent: Option<Extent>,
    /// How an option named the centre.
    origin: Option<Origin>,
    /// Metres of the unit in which distances are answered.
    pub unit: f64,
    pub with_distance: bool,
    pub with_score: bool,
    pub with_place: bool,
    pub order: Option<Order>,
    /// How many places are answered at most.
    pub count: Option<usize>,
    /// Whether any will do, not only the nearest.
    pub any: bool,
    /// Where the result is kept, instead of being answered.
    pub destination: Option<&'a [u8]>,
    /// Whether distances become the scores.
    pub stores_distances: bool,
}

impl<'a> Selection<'a> {
    /// Reads the arguments. A `set` that is not there makes a difference only to members, which are not looked for then.
    pub fn parse(
        request: Request<'a>,
        form: Form,
        set: Option<SortedSetView<'_>>,
    ) -> Result<Self, CommandError> {
        let mut selection = Selection {
            center: None,
            extent: None,
            origin: None,
            unit: 1.0,
            with_distance: false,
            with_score: false,
            with_place: false,
            order: None,
            count: None,
            any: false,
            destination: None,
            stores_distances: false,
        };
        let options = match form {
            Form::Radius { .. } => {
                selection.center = Some(place(request.arg(2), request.arg(3))?);
                selection.read_radius(request.arg(4), request.arg(5))?;
                request.skip(6)
            }
            Form::RadiusByMember { .. } => {
                if set.is_some() {
                    selection.read_member(set, request.arg(2))?;
                    selection.read_radius(request.arg(3), request.arg(4))?;
                }
                request.skip(5)
            }
            Form::Search { stores: false } => request.skip(2),
            Form::Search { stores: true } => {
                selection.destination = Some(request.arg(1));
                request.skip(3)
            }
        };
        let mut index = 0;
        while index < options.len() {
            let rest = options.skip(index);
            let taken = match selection.read_common(rest)? {
                0 => selection.read_particular(rest, form, set)?,
                taken => taken,
            };
            if taken == 0 {
                return Err(CommandError::Syntax);
            }
            index += taken;
        }
        selection.check(request.name(), form)?;
        Ok(selection)
    }

    /// What is searched; `None` if that depends on a set that is not there.
    pub fn shape(&self) -> Option<Shape> {
        let (center, extent) = self.center.zip(self.extent)?;
        Some(Shape { center, extent })
    }

    /// Reads one of the options that every form takes, and returns how many arguments it took.
    fn read_common(&mut self, rest: Request<'a>) -> Result<usize, CommandError> {
        let word = rest.name();
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"withdist") => self.with_distance = true,
            () if is(b"withhash") => self.with_score = true,
            () if is(b"withcoord") => self.with_place = true,
            () if is(b"any") => self.any = true,
            () if is(b"asc") => self.order = Some(Order::Ascending),
            () if is(b"desc") => self.order = Some(Order::Descending),
            () if is(b"count") && rest.len() > 1 => {
                let count = parse_i64(rest.arg(1)).ok_or(CommandError::NotInteger)?;
                if count <= 0 {
                    return Err(CommandError::line("ERR COUNT must be > 0"));
                }
                self.count = Some(usize::try_from(count).unwrap_or(usize::MAX));
                return Ok(2);
            }
            () => return Ok(0),
        }
        Ok(1)
    }

    /// Reads an option that only some forms take, and returns how many arguments it took.
    fn read_particular(
        &mut self,
        rest: Request<'a>,
        form: Form,
        set: Option<SortedSetView<'_>>,
    ) -> Result<usize, CommandError> {
        let word = rest.name();
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match form {
            Form::Search { stores: true } if is(b"storedist") => {
                self.stores_distances = true;
                Ok(1)
            }
            Form::Search { .. } => self.read_shape(rest, set),
            Form::Radius { stores: true } | Form::RadiusByMember { stores: true }
                if rest.len() > 1 && (is(b"store") || is(b"storedist")) =>
            {
                self.destination = Some(rest.arg(1));
                self.stores_distances = is(b"storedist");
                Ok(2)
            }
            _ => Ok(0),
        }
    }

    /// Reads a centre or an extent, and returns how many arguments it took.
    fn read_shape(
        &mut self,
        rest: Request<'a>,
        set: Option<SortedSetView<'_>>,
    ) -> Result<usize, CommandError> {
        let word = rest.name();
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let is_box = matches!(self.extent, Some(Extent::Box { .. }));
        let is_circle = matches!(self.extent, Some(Extent::Circle { .. }));
        match rest.len() {
            2.. if is(b"frommember") && self.origin != Some(Origin::Place) => {
                self.origin = Some(Origin::Member);
                self.read_member(set, rest.arg(1))?;
                Ok(2)
            }
            3.. if is(b"fromlonlat") && self.origin != Some(Origin::Member) => {
                self.origin = Some(Origin::Place);
                self.center = Some(place(rest.arg(1), rest.arg(2))?);
                Ok(3)
            }
            3.. if is(b"byradius") && !is_box => {
                self.read_radius(rest.arg(1), rest.arg(2))?;
                Ok(3)
            }
            4.. if is(b"bybox") && !is_circle => {
                self.read_box(rest.arg(1), rest.arg(2), rest.arg(3))?;
                Ok(4)
            }
            _ => Ok(0),
        }
    }

    fn read_member(
        &mut self,
        set: Option<SortedSetView<'_>>,
        member: &[u8],
    ) -> Result<(), CommandError> {
        if let Some(set) = set {
            let error = CommandError::line("ERR could not decode requested zset member");
            self.center = Some(Place::from_score(set.score(member).ok_or(error)?));
        }
        Ok(())
    }

    fn read_radius(&mut self, radius: &[u8], word: &[u8]) -> Result<(), CommandError> {
        let error = CommandError::line("ERR need numeric radius");
        let radius = parse_f64(radius).ok_or(error)?;
        if radius < 0.0 {
            return Err(CommandError::line("ERR radius cannot be negative"));
        }
        self.unit = unit(word)?;
        let radius = radius * self.unit;
        self.extent = Some(Extent::Circle { radius });
        Ok(())
    }

    fn read_box(&mut self, width: &[u8], height: &[u8], word: &[u8]) -> Result<(), CommandError> {
        let error = CommandError::line("ERR need numeric width");
        let width = parse_f64(width).ok_or(error)?;
        let error = CommandError::line("ERR need numeric height");
        let height = parse_f64(height).ok_or(error)?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::line("ERR height or width cannot be negative"));
        }
        self.unit = unit(word)?;
        let (width, height) = (width * self.unit, height * self.unit);
        self.extent = Some(Extent::Box { width, height });
        Ok(())
    }

    /// Whether the options go together, and none is missing.
    fn check(&self, name: &[u8], form: Form) -> Result<(), CommandError> {
        let is_detailed = self.with_distance || self.with_score || self.with_place;
        if self.destination.is_some() && is_detailed {
            return Err(CommandError::line(match form {
                Form::Search { .. } => {
                    "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
                _ => {
                    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
            }));
        }
        if matches!(form, Form::Search { .. }) {
            if self.origin.is_none() {
                let text = "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ";
                return Err(CommandError::quoting(text, name, ""));
            }
            if self.extent.is_none() {
                let text = "ERR exactly one of BYRADIUS and BYBOX can be specified for ";
                return Err(CommandError::quoting(text, name, ""));
            }
        }
        if self.any && self.count.is_none() {
            return Err(CommandError::line(
                "ERR the ANY argument requires COUNT argument",
            ));
        }
        Ok(())
    }
}
