//! A register that is also a counter: the last value written, and what each actor has added to it since.
//!
//! A join semilattice: the higher stamp wins, and of each actor's parts the higher pair of base and stamp.
//! The *base* of a part is the stamp of the value it is added to. A part on an older base is gone with it; one
//! on a newer base waits until that arrives. Where there is no value, the base is a mark behind which there is
//! none: the latest that the coordinator knew of, with the actor [`NOBODY`]. Marks are forgotten in time, so
//! for such a base it is enough to be as late as the mark that is known, unless that is one of [`behind`]: how late it
//! is only tells how late its coordinator learnt of a horizon.

use coterie_protocol::{Actor, Stamp, Version, text::parse_i64};

use super::Merged;
use super::digest::{Item, Sums, item, plain_item};
use super::entry::Entry;
use super::sketch::Sketch;
use crate::effect::StringEncoding;

/// The actor of a base that is no value's stamp. No node is ever this actor.
pub(super) const NOBODY: Actor = Actor(u16::MAX);

/// What one actor has added to a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub base: Stamp,
    pub stamp: Stamp,
    pub total: i64,
}

/// What the last write left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Text(Vec<u8>, StringEncoding),
    /// The text of the entry that the register belongs to, which holds it.
    Shown,
    /// An element that was deleted.
    Tombstone,
    /// The value of a key that expired at this time, dropped since then.
    Dropped {
        at: u64,
    },
}

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Register {
    /// Stamp and content of the last write.
    pub last: Option<(Stamp, Content)>,
    /// When a field expires that holds what the last write left.
    pub expire_at: Option<u64>,
    /// By actor.
    pub parts: Vec<Part>,
    /// By base.
    pub sketches: Vec<Sketch>,
}

/// The last actor there can be.
const LAST: Actor = Actor(u16::MAX - 1);

/// The stamp right before another.
pub(super) fn before(stamp: Stamp) -> Stamp {
    match stamp.actor.0.checked_sub(1) {
        Some(actor) => Stamp::new(stamp.version, Actor(actor)),
        None => {
            let version = stamp.version.to_bits().saturating_sub(1);
            Stamp::new(Version::from_bits(version), LAST)
        }
    }
}

/// The mark behind which everything of earlier versions is gone, because all replicas had the same by then and nothing
/// was left of it.
pub(super) fn behind(settled: Version) -> Stamp {
    let version = settled.to_bits().saturating_sub(1);
    Stamp::new(Version::from_bits(version), NOBODY)
}

impl Register {
    /// One that holds a text.
    pub fn of_text(stamp: Stamp, text: Vec<u8>, encoding: StringEncoding) -> Self {
        Register {
            last: Some((stamp, Content::Text(text, encoding))),
            ..Register::default()
        }
    }

    /// Stamp of the last write, zero if there is none.
    pub fn stamp(&self) -> Stamp {
        self.last.as_ref().map_or(Stamp::ZERO, |(stamp, _)| *stamp)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.last.is_none() && self.parts.is_empty() && self.sketches.is_empty()
    }

    /// The highest stamp in it.
    pub fn highest(&self) -> Stamp {
        let parts = self.parts.iter().map(|part| part.stamp);
        let sketches = self.sketches.iter().map(|sketch| sketch.stamp);
        parts.chain(sketches).fold(self.stamp(), Stamp::max)
    }

    /// Whether the last write left a value, even if it was dropped since.
    pub fn has_value(&self) -> bool {
        matches!(
            self.last,
            Some((
                _,
                Content::Text(..) | Content::Shown | Content::Dropped { .. }
            ))
        )
    }

    /// What is added to now: the last write, or a mark after it.
    pub fn base(&self, mark: Stamp) -> Stamp {
        self.stamp().max(mark)
    }

    /// Whether what was added to this base counts.
    pub fn is_current(&self, base: Stamp, mark: Stamp) -> bool {
        let present = self.base(mark);
        let is_after_all = base.actor == NOBODY && (base > present || present.actor == NOBODY);
        // A value of the same version came just then: who added goes on with it, whichever was first.
        let goes_on = !self.has_value() || base.version == present.version;
        base == present || is_after_all && goes_on
    }

    /// Whether what was added to this base is gone.
    pub fn is_gone(&self, base: Stamp, stamp: Stamp, mark: Stamp) -> bool {
        let present = self.base(mark);
        let is_after_all = base.actor == NOBODY && present.actor == NOBODY;
        stamp <= mark || base < present && !is_after_all
    }

    /// Something was added to this base. Where there was nothing, whatever is older is gone, expired and forgotten.
    pub fn begin_at(&mut self, base: Stamp) {
        if base.actor == NOBODY {
            self.raise(behind(base.version));
        }
    }

    fn counts(&self, part: &Part, mark: Stamp) -> bool {
        self.is_current(part.base, mark)
    }

    /// Merges a write; its stamp is after the mark.
    pub fn write(&mut self, stamp: Stamp, content: Content, mark: Stamp) -> Merged {
        self.write_until(stamp, content, None, mark)
    }

    /// The same of a value that expires.
    pub fn write_until(
        &mut self,
        stamp: Stamp,
        content: Content,
        expire_at: Option<u64>,
        mark: Stamp,
    ) -> Merged {
        let bases = self.parts.iter().map(|part| part.base);
        let bases = bases.chain(self.sketches.iter().map(|sketch| sketch.base));
        let began = bases.filter(|base| base.actor == NOBODY).max();
        if let Some(began) = began.filter(|began| stamp.version < began.version) {
            return Merged::Superseded(began);
        }
        if let Some((present, old)) = &mut self.last {
            if *present > stamp {
                return Merged::Superseded(*present);
            }
            if *present == stamp {
                let fills =
                    matches!(old, Content::Dropped { .. }) && matches!(content, Content::Text(..));
                if fills {
                    *old = content;
                    return Merged::New;
                }
                return Merged::Known;
            }
        }
        self.last = Some((stamp, content));
        self.expire_at = expire_at;
        self.raise(mark);
        Merged::New
    }

    /// Merges a part.
    pub fn count(&mut self, part: Part, mark: Stamp) -> Merged {
        if self.is_gone(part.base, part.stamp, mark) {
            return Merged::Superseded(self.base(mark));
        }
        self.begin_at(part.base);
        match self
            .parts
            .binary_search_by_key(&part.stamp.actor, |part| part.stamp.actor)
        {
            Ok(at) => {
                let present = &mut self.parts[at];
                if (present.base, present.stamp) >= (part.base, part.stamp) {
                    return Merged::Known;
                }
                *present = part;
            }
            Err(at) => self.parts.insert(at, part),
        }
        Merged::New
    }

    /// The part that an actor has to emit to add `delta`. `settled` is a version up to which everything is known.
    pub fn next_part(
        &self,
        actor: Actor,
        delta: i64,
        mark: Stamp,
        settled: Version,
    ) -> (Stamp, i64) {
        let own = self.parts.iter().find(|part| part.stamp.actor == actor);
        if let Some(own) = own.filter(|own| self.counts(own, mark)) {
            return (own.base, own.total.saturating_add(delta));
        }
        let others = self.parts.iter().filter(|part| self.counts(part, mark));
        let base = match others.map(|part| part.base).max() {
            _ if self.has_value() => self.stamp(),
            Some(base) => base,
            None => Stamp::new(self.base(mark).version.max(settled), NOBODY),
        };
        match own {
            // It began from nothing just before a value of the same version came: what it adds stays with it.
            Some(own) if own.base > base => (own.base, own.total.saturating_add(delta)),
            _ => (base, delta),
        }
    }

    /// Forgets what is at or below a mark, and parts on bases that are gone.
    pub fn raise(&mut self, mark: Stamp) {
        if self.stamp() <= mark {
            self.last = None;
            self.expire_at = None;
        }
        let mut parts = std::mem::take(&mut self.parts);
        parts.retain(|part| !self.is_gone(part.base, part.stamp, mark));
        self.parts = parts;
        let mut sketches = std::mem::take(&mut self.sketches);
        sketches.retain(|sketch| !self.is_gone(sketch.base, sketch.stamp, mark));
        self.sketches = sketches;
    }

    /// What clients see, if that is not simply the content: the sum of base and parts.
    pub fn sum(&self, shown: &[u8], mark: Stamp) -> Option<i64> {
        let base = match &self.last {
            Some((_, Content::Text(text, _))) => parse_i64(text)?,
            Some((_, Content::Shown)) => parse_i64(shown)?,
            Some((_, Content::Dropped { .. })) => return None,
            Some((_, Content::Tombstone)) | None => 0,
        };
        let mut counting = self
            .parts
            .iter()
            .filter(|part| self.counts(part, mark))
            .peekable();
        counting.peek()?;
        let sum = counting.fold(i128::from(base), |sum, part| sum + i128::from(part.total));
        Some(sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// Parts what clients see of it from the rest, which then says `Shown` where the text was.
    pub fn show(mut self, mark: Stamp) -> (Option<(Vec<u8>, StringEncoding)>, Register) {
        if let Some(sketch) = self.sketched(mark) {
            self.leave_out_shown(&sketch);
            return (Some((sketch, StringEncoding::Raw)), self);
        }
        if let Some(sum) = self.sum(&[], mark) {
            let text = itoa::Buffer::new().format(sum).as_bytes().to_vec();
            return (Some((text, StringEncoding::Int)), self);
        }
        match self.last.take() {
            Some((stamp, Content::Text(text, encoding))) => {
                self.last = Some((stamp, Content::Shown));
                (Some((text, encoding)), self)
            }
            last => (None, Register { last, ..self }),
        }
    }

    /// The register of an entry that has metadata: the inverse of [`Register::show`].
    pub fn hide(mut self, entry: Entry) -> Register {
        self.put_shown_back(entry.value());
        if let Some((_, content @ Content::Shown)) = &mut self.last {
            let encoding = entry.encoding();
            *content = Content::Text(entry.into_text(), encoding);
        }
        self
    }

    /// Its items in digests.
    pub fn sums(&self, name: u64, mark: Stamp) -> Sums {
        let mut sums = Sums::default();
        match &self.last {
            Some((stamp, Content::Tombstone)) => {
                sums.add_to(false, plain_item(Item::Tombstone, name, *stamp));
            }
            Some((stamp, _)) => sums.add_to(true, plain_item(Item::Register, name, *stamp)),
            None => {}
        }
        for part in &self.parts {
            let hash = item(Item::Part, name, part.stamp, part.base, part.total);
            sums.add_to(self.counts(part, mark), hash);
        }
        for sketch in &self.sketches {
            let total = sketch.hash as i64;
            let hash = item(Item::Sketch, name, sketch.stamp, sketch.base, total);
            sums.add_to(self.is_current(sketch.base, mark), hash);
        }
        sums
    }

    /// Memory behind it, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        use super::size_class::size_class;
        let text = match &self.last {
            Some((_, Content::Text(text, _))) => size_class(text.capacity()),
            _ => 0,
        };
        let sketches = self.sketches.iter();
        let values = sketches.map(|sketch| size_class(sketch.value.capacity()));
        text + size_class(self.parts.capacity() * size_of::<Part>())
            + size_class(self.sketches.capacity() * size_of::<Sketch>())
            + values.sum::<usize>()
    }
}
