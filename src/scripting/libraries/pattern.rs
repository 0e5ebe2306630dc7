//! Matching by Lua's patterns (Lua 5.1 manual, §5.4.1), so that it can be stopped: some patterns take longer than
//! anybody waits.

use super::super::watch::Budget;
use super::Failure;

/// Captures of a pattern.
const CAPTURES_MAX: usize = 32;
/// Items of a pattern that may be tried inside of one another.
const DEPTH_MAX: usize = 400;

/// What a pattern captures, by places in the subject.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Capture {
    /// Began here, and has no end yet.
    Open(usize),
    /// A part of the subject.
    Part(usize, usize),
    /// A place.
    Place(usize),
}

/// A pattern and what it is tried on.
pub(super) struct Matcher<'s> {
    subject: &'s [u8],
    pattern: &'s [u8],
    /// What was captured by the last attempt.
    pub captures: Vec<Capture>,
    budget: Budget,
    depth: usize,
}

/// The end of the match, if there is one.
type Found = Result<Option<usize>, Failure>;

/// The part of a text that is a pattern: to Lua 5.1 it ends at a zero.
pub(super) fn pattern_of(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == 0);
    &text[..end.unwrap_or(text.len())]
}

/// Whether a pattern is just the text it matches.
pub(super) fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

/// Where a text begins in another, from a place on.
pub(super) fn find_plain(
    subject: &[u8],
    text: &[u8],
    from: usize,
    budget: &mut Budget,
) -> Result<Option<usize>, Failure> {
    let Some(last) = subject.len().checked_sub(text.len()) else {
        return Ok(None);
    };
    for at in from..=last {
        let same = subject[at..].iter().zip(text).take_while(|(a, b)| a == b);
        let same = same.count();
        budget.steps(same)?;
        if same == text.len() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

impl<'s> Matcher<'s> {
    /// Of a pattern, to be tried on this.
    pub fn new(subject: &'s [u8], pattern: &'s [u8], budget: Budget) -> Self {
        Matcher {
            subject,
            pattern,
            captures: Vec::new(),
            budget,
            depth: 0,
        }
    }

    /// The first match from a place on, or only there: its begin and its end.
    ///
    /// # Errors
    /// This is no pattern; or the script is stopped.
    pub fn find(
        &mut self,
        from: usize,
        only_there: bool,
    ) -> Result<Option<(usize, usize)>, Failure> {
        for start in from..=self.subject.len() {
            self.captures.clear();
            if let Some(end) = self.at(start, 0)? {
                return Ok(Some((start, end)));
            }
            if only_there {
                break;
            }
        }
        Ok(None)
    }

    /// A capture of the match that begins and ends there; the first one is the whole if nothing was captured.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn capture(&self, number: usize, (start, end): (usize, usize)) -> Result<Capture, Failure> {
        match self.captures.get(number) {
            Some(Capture::Open(_)) => Err("unfinished capture".into()),
            Some(capture) => Ok(*capture),
            None if number == 0 => Ok(Capture::Part(start, end)),
            None => Err("invalid capture index".into()),
        }
    }

    /// Tries the rest of the pattern, from inside an item of it.
    fn rest(&mut self, s: usize, p: usize) -> Found {
        if self.depth == DEPTH_MAX {
            return Err("pattern too complex".into());
        }
        self.depth += 1;
        let found = self.at(s, p);
        self.depth -= 1;
        found
    }

    /// Whether the pattern from `p` on matches the subject from `s` on.
    fn at(&mut self, mut s: usize, mut p: usize) -> Found {
        loop {
            self.budget.steps(1)?;
            let next = self.pattern.get(p + 1).copied();
            match self.pattern.get(p) {
                None => return Ok(Some(s)),
                Some(b'(') if next == Some(b')') => {
                    return self.begin_capture(Capture::Place(s), s, p + 2);
                }
                Some(b'(') => return self.begin_capture(Capture::Open(s), s, p + 1),
                Some(b')') => return self.end_capture(s, p + 1),
                Some(b'$') if next.is_none() => {
                    return Ok((s == self.subject.len()).then_some(s));
                }
                Some(b'%') => {
                    let (length, after) = match next {
                        Some(b'b') => (4, self.balanced(s, p + 2)?),
                        Some(b'f') => {
                            let end = self.frontier_end(p + 2)?;
                            (end - p, self.is_frontier(s, p + 2, end).then_some(s))
                        }
                        Some(digit @ b'0'..=b'9') => (2, self.repeated(s, digit)?),
                        _ => match self.item(s, p)? {
                            Next::On(after, rest) => {
                                (s, p) = (after, rest);
                                continue;
                            }
                            Next::Decided(found) => return Ok(found),
                        },
                    };
                    match after {
                        Some(after) => (s, p) = (after, p + length),
                        None => return Ok(None),
                    }
                }
                Some(_) => match self.item(s, p)? {
                    Next::On(after, rest) => (s, p) = (after, rest),
                    Next::Decided(found) => return Ok(found),
                },
            }
        }
    }

    /// A class of characters with what says how often.
    fn item(&mut self, s: usize, p: usize) -> Result<Next, Failure> {
        let end = self.class_end(p)?;
        let is_one = self.is_one(s, p, end);
        Ok(match self.pattern.get(end) {
            Some(b'?') => {
                if is_one && let Some(found) = self.rest(s + 1, end + 1)? {
                    return Ok(Next::Decided(Some(found)));
                }
                Next::On(s, end + 1)
            }
            Some(b'*') => Next::Decided(self.longest(s, p, end)?),
            Some(b'+') if is_one => Next::Decided(self.longest(s + 1, p, end)?),
            Some(b'-') => Next::Decided(self.shortest(s, p, end)?),
            Some(b'+') => Next::Decided(None),
            _ if is_one => Next::On(s + 1, end),
            _ => Next::Decided(None),
        })
    }

    fn longest(&mut self, s: usize, p: usize, end: usize) -> Found {
        let mut count = 0;
        while self.is_one(s + count, p, end) {
            self.budget.steps(1)?;
            count += 1;
        }
        for count in (0..=count).rev() {
            if let Some(found) = self.rest(s + count, end + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn shortest(&mut self, mut s: usize, p: usize, end: usize) -> Found {
        loop {
            if let Some(found) = self.rest(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.is_one(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn begin_capture(&mut self, capture: Capture, s: usize, p: usize) -> Found {
        let level = self.captures.len();
        if level >= CAPTURES_MAX {
            return Err("too many captures".into());
        }
        self.captures.push(capture);
        let found = self.rest(s, p)?;
        if found.is_none() {
            self.captures.truncate(level);
        }
        Ok(found)
    }

    fn end_capture(&mut self, s: usize, p: usize) -> Found {
        let open = |capture: &Capture| matches!(capture, Capture::Open(_));
        let Some(number) = self.captures.iter().rposition(open) else {
            return Err("invalid pattern capture".into());
        };
        let before = self.captures[number];
        if let Capture::Open(start) = before {
            self.captures[number] = Capture::Part(start, s);
        }
        let found = self.rest(s, p)?;
        if found.is_none() {
            self.captures[number] = before;
        }
        Ok(found)
    }

    /// The same text again that a capture has.
    fn repeated(&mut self, s: usize, digit: u8) -> Found {
        let number = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let (start, end) = match self.captures.get(number) {
            None | Some(Capture::Open(_)) => return Err("invalid capture index".into()),
            Some(Capture::Place(_)) => return Ok(None),
            Some(Capture::Part(start, end)) => (*start, *end),
        };
        self.budget.steps(end - start)?;
        let is_same = self.subject[s..].starts_with(&self.subject[start..end]);
        Ok(is_same.then_some(s + end - start))
    }

    /// What is between two characters that come in pairs.
    fn balanced(&mut self, s: usize, p: usize) -> Found {
        let Some([open, close, ..]) = self.pattern.get(p..) else {
            return Err("unbalanced pattern".into());
        };
        if self.subject.get(s) != Some(open) {
            return Ok(None);
        }
        let mut depth = 1_usize;
        for (number, byte) in self.subject.iter().enumerate().skip(s + 1) {
            self.budget.steps(1)?;
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(number + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// Where the set of a frontier ends.
    fn frontier_end(&self, p: usize) -> Result<usize, Failure> {
        if self.pattern.get(p) != Some(&b'[') {
            return Err("missing '[' after '%f' in pattern".into());
        }
        self.class_end(p)
    }

    /// Whether the set begins here: to it, the ends of the subject are zeros.
    fn is_frontier(&self, s: usize, p: usize, end: usize) -> bool {
        let at = |place: Option<usize>| place.and_then(|place| self.subject.get(place));
        let before = at(s.checked_sub(1)).copied().unwrap_or(0);
        let here = at(Some(s)).copied().unwrap_or(0);
        !self.is_in_set(before, p, end - 1) && self.is_in_set(here, p, end - 1)
    }

    /// Where the class of characters that begins here ends.
    fn class_end(&self, p: usize) -> Result<usize, Failure> {
        match self.pattern[p] {
            b'%' if p + 1 == self.pattern.len() => Err("malformed pattern (ends with '%')".into()),
            b'%' => Ok(p + 2),
            b'[' => {
                let mut end = p + 1;
                if self.pattern.get(end) == Some(&b'^') {
                    end += 1;
                }
                loop {
                    // The first one is of the set, even if it is a bracket.
                    let Some(&byte) = self.pattern.get(end) else {
                        return Err("malformed pattern (missing ']')".into());
                    };
                    end += 1;
                    if byte == b'%' && end < self.pattern.len() {
                        end += 1;
                    }
                    if self.pattern.get(end) == Some(&b']') {
                        return Ok(end + 1);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether the character there is of the class.
    fn is_one(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(&byte) = self.subject.get(s) else {
            return false;
        };
        match self.pattern[p] {
            b'.' => true,
            b'%' => is_of_class(byte, self.pattern[p + 1]),
            b'[' => self.is_in_set(byte, p, end - 1),
            other => other == byte,
        }
    }

    /// Whether a character is in the set between these brackets.
    fn is_in_set(&self, byte: u8, open: usize, close: usize) -> bool {
        let mut set = &self.pattern[open + 1..close];
        let mut is_wanted = true;
        if let [b'^', rest @ ..] = set {
            (set, is_wanted) = (rest, false);
        }
        loop {
            let (is_in, rest) = match set {
                [] => return !is_wanted,
                [b'%', class, rest @ ..] => (is_of_class(byte, *class), rest),
                [low, b'-', high, rest @ ..] => ((*low..=*high).contains(&byte), rest),
                [one, rest @ ..] => (*one == byte, rest),
            };
            if is_in {
                return is_wanted;
            }
            set = rest;
        }
    }
}

/// How it goes on behind an item.
enum Next {
    /// At this place, with this part of the pattern.
    On(usize, usize),
    Decided(Option<usize>),
}

/// Whether a character is of the class that a letter stands for; other characters stand for themselves.
fn is_of_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | 9..=13),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}
