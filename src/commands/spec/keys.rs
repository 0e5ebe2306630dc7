//! Where the keys of a command are among its arguments, and what it does with them.

use bitflags::bitflags;
use coterie_protocol::Request;

/// Where a command's keys are among its arguments (argument 0 is the command's name).
#[derive(Clone, Copy)]
pub enum Keys {
    /// No keys.
    None,
    /// From `first` to `last` (negative counts from the end, -1 is the last argument), each `step`.
    Range {
        /// Index of the first key.
        first: usize,
        /// Index of the last key.
        last: isize,
        /// Distance of two keys.
        step: usize,
    },
    /// Where their number or a word among the arguments says.
    Found(fn(Request<'_>) -> Positions),
}

/// Where the keys of a request are: at most one by itself, and a range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Positions {
    /// One that stands before the others.
    pub first: Option<usize>,
    /// The others.
    pub range: std::ops::Range<usize>,
    /// Distance of two keys of the range; 0 counts as 1.
    pub step: usize,
}

impl Positions {
    /// As many as the argument at `index` says, right behind it; none if it says no such number.
    pub fn counted(request: Request<'_>, index: usize) -> Self {
        let counted = request
            .get(index)
            .and_then(coterie_protocol::text::parse_u64);
        let first = index + 1;
        let left = request.len().saturating_sub(first) as u64;
        let count = counted.filter(|count| *count <= left).unwrap_or(0);
        Positions {
            range: first..first + count as usize,
            ..Positions::default()
        }
    }

    /// The first argument, and what follows the last word that names a place to store at. Words are looked for from
    /// `index` on; `values` tells how many values follow one, and whether the first of them is such a place.
    pub fn first_and_stored(
        request: Request<'_>,
        mut index: usize,
        values: impl Fn(&[u8]) -> (usize, bool),
    ) -> Self {
        let mut stored = 0..0;
        while index + 1 < request.len() {
            let (count, stores) = values(request.arg(index));
            if stores {
                stored = index + 1..index + 2;
            }
            index += 1 + count;
        }
        Positions {
            first: Some(1),
            range: stored,
            ..Positions::default()
        }
    }

    /// The same, with one more before the others.
    pub fn after(self, first: usize) -> Self {
        Positions {
            first: Some(first),
            ..self
        }
    }

    /// Their number.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.range.len().div_ceil(self.step.max(1))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for Positions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let next = self.range.start;
        if next >= self.range.end {
            return None;
        }
        self.range.start += self.step.max(1);
        Some(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Positions {}

impl Keys {
    /// Exactly one key, the first argument.
    pub const FIRST: Keys = Keys::Range {
        first: 1,
        last: 1,
        step: 1,
    };
    /// One key, the second argument: of a subcommand.
    pub const SECOND: Keys = Keys::Range {
        first: 2,
        last: 2,
        step: 1,
    };
    /// All arguments.
    pub const ALL: Keys = Keys::Range {
        first: 1,
        last: -1,
        step: 1,
    };

    /// Where the key is, if there is exactly one whatever the arguments.
    #[inline]
    pub fn single(self) -> Option<usize> {
        match self {
            Keys::Range { first, last, .. } if last == first as isize => Some(first),
            _ => None,
        }
    }

    /// The keys of a request.
    #[inline]
    pub fn of<'a>(self, request: Request<'a>) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.positions(request).map(move |index| request.arg(index))
    }

    /// Where they are among its arguments.
    #[inline]
    pub fn positions(self, request: Request<'_>) -> Positions {
        let count = request.len();
        match self {
            Keys::None => Positions::default(),
            Keys::Range { first, last, step } => {
                let end = if last < 0 {
                    count as isize + last + 1
                } else {
                    last + 1
                };
                Positions {
                    first: None,
                    range: first
                        ..end.clamp(first as isize, (count as isize).max(first as isize)) as usize,
                    step,
                }
            }
            Keys::Found(find) => find(request),
        }
    }
}

bitflags! {
    /// What a command does with the keys of a key specification (<https://redis.io/docs/latest/develop/reference/key-specs/>).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct KeyFlags: u32 {
        /// Reads the value.
        const RO = 1 << 0;
        /// Reads and writes the value.
        const RW = 1 << 1;
        /// Overwrites the value.
        const OW = 1 << 2;
        /// Removes the key.
        const RM = 1 << 3;
        /// Returns or copies the value.
        const ACCESS = 1 << 4;
        /// Writes something that depends on the value.
        const UPDATE = 1 << 5;
        /// Adds to the value without removing or looking.
        const INSERT = 1 << 6;
        /// Removes some of the value's content.
        const DELETE = 1 << 7;
        /// It is not a key, but routed like one.
        const NOT_KEY = 1 << 8;
        /// The specification may not find all keys.
        const INCOMPLETE = 1 << 9;
        /// The flags depend on the arguments.
        const VARIABLE_FLAGS = 1 << 10;
    }
}

/// Where the keys of a specification begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// At this argument.
    Index(usize),
    /// Behind this word, looked for from this argument on (negative: backwards, from the end).
    Keyword(&'static str, isize),
    /// Only the server knows.
    Unknown,
}

/// Which arguments are keys, from where they begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Find {
    /// A range.
    Range {
        /// Relative index of the last key; negative counts from the end.
        last: isize,
        /// Distance of two keys.
        step: usize,
        /// For a negative `last`: the fraction of the rest that are keys (0 and 1: all).
        limit: usize,
    },
    /// As many as the argument at `index` says, from `first` on, both relative.
    Count {
        /// Relative index of the number.
        index: usize,
        /// Relative index of the first key.
        first: usize,
        /// Distance of two keys.
        step: usize,
    },
    /// Only the server knows.
    Unknown,
}

/// One key specification (<https://redis.io/docs/latest/develop/reference/key-specs/>).
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// See [`KeyFlags`].
    pub flags: KeyFlags,
    /// Where its keys begin.
    pub begin: Begin,
    /// Which they are.
    pub find: Find,
    /// A remark, or empty.
    pub notes: &'static str,
}

impl KeySpec {
    /// One key, the first argument.
    pub const fn first(flags: KeyFlags) -> KeySpec {
        KeySpec::range(flags, 1, 0, 1)
    }

    /// Keys from `index` to `last` (relative to it, or negative from the end), each `step`.
    pub const fn range(flags: KeyFlags, index: usize, last: isize, step: usize) -> KeySpec {
        let limit = 0;
        KeySpec {
            flags,
            begin: Begin::Index(index),
            find: Find::Range { last, step, limit },
            notes: "",
        }
    }

    /// As many keys as the argument at `index` says, right behind it.
    pub const fn counted(flags: KeyFlags, index: usize) -> KeySpec {
        KeySpec {
            flags,
            begin: Begin::Index(index),
            find: Find::Count {
                index: 0,
                first: 1,
                step: 1,
            },
            notes: "",
        }
    }

    /// The same keys, behind a word.
    pub const fn behind(self, word: &'static str, from: isize) -> KeySpec {
        KeySpec {
            begin: Begin::Keyword(word, from),
            ..self
        }
    }

    /// Keys that only the server finds.
    pub const fn unknown(flags: KeyFlags) -> KeySpec {
        KeySpec {
            flags,
            begin: Begin::Unknown,
            find: Find::Unknown,
            notes: "",
        }
    }

    /// With a remark.
    pub const fn noted(self, notes: &'static str) -> KeySpec {
        KeySpec { notes, ..self }
    }
}
