//! What the generator sends: requests made from a template, each with the reply it must get.
//!
//! Another command is another [`Template`], e.g. `Template::new(&[b"APPEND", KEY, b"x"])`, with the
//! [`Expected`] that recognises its reply.

use crate::resp::{Reply, write_command};

/// The place of the key in a template: 16 bytes, of which the 12 digits are the key's number.
pub const KEY: &[u8] = b"key:000000000000";
const DIGITS: usize = 12;

/// What a correct reply looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Ok,
    /// A string of this many bytes.
    Bulk(usize),
    Integer,
    /// Anything but an error.
    Answer,
    /// A command that is executed later, and counts as a part of that.
    Queued,
    /// A write that counts only once it is confirmed.
    Unconfirmed,
    /// The number of replicas that confirm this many writes: one at least.
    Confirmation(u64),
}

impl Expected {
    pub fn accepts(self, reply: &Reply<'_>) -> bool {
        match (self, reply) {
            (Expected::Ok | Expected::Unconfirmed, Reply::Status(text)) => *text == b"OK",
            (Expected::Integer, Reply::Integer(_)) => true,
            (Expected::Answer, reply) => !matches!(reply, Reply::Error(_)),
            (Expected::Queued, Reply::Status(text)) => *text == b"QUEUED",
            (Expected::Confirmation(_), Reply::Integer(replicas)) => *replicas > 0,
            (Expected::Bulk(len), Reply::Bulk(bytes)) => bytes.len() == len,
            _ => false,
        }
    }

    /// How many operations are done with this reply.
    pub fn operations(self) -> u64 {
        match self {
            Expected::Ok | Expected::Bulk(_) | Expected::Integer | Expected::Answer => 1,
            Expected::Unconfirmed | Expected::Queued => 0,
            Expected::Confirmation(writes) => writes,
        }
    }
}

/// A source of requests.
pub trait Workload {
    /// Appends the next request to `out`; `None` (and nothing appended) when there are no more.
    fn next(&mut self, out: &mut Vec<u8>) -> Option<Expected>;
}

/// A prebuilt request in which only the key's digits change.
#[derive(Debug, Clone)]
pub struct Template {
    frame: Vec<u8>,
    digits_at: Option<usize>,
}

impl Template {
    /// `args` may contain [`KEY`] once.
    pub fn new(args: &[&[u8]]) -> Self {
        let mut frame = Vec::new();
        write_command(&mut frame, args);
        let key_at = frame.windows(KEY.len()).position(|w| w == KEY);
        Self {
            digits_at: key_at.map(|at| at + KEY.len() - DIGITS),
            frame,
        }
    }

    pub fn set(value_len: usize) -> Self {
        Self::new(&[b"SET", KEY, &value(value_len)])
    }

    pub fn get() -> Self {
        Self::new(&[b"GET", KEY])
    }

    pub fn write(&self, out: &mut Vec<u8>, key: u64) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        if let Some(at) = self.digits_at {
            write_digits(&mut out[start + at..start + at + DIGITS], key);
        }
    }
}

fn write_digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The name of key number `key`.
pub fn key_name(key: u64) -> Vec<u8> {
    let mut name = KEY.to_vec();
    write_digits(&mut name[KEY.len() - DIGITS..], key);
    name
}

/// `len` letters that do not compress well (Redis compresses strings in its snapshots).
pub fn value(len: usize) -> Vec<u8> {
    let mut rng = Rng(0x9E37_79B9_7F4A_7C15);
    (0..len).map(|_| b'0' + rng.below(75) as u8).collect()
}

/// xorshift64* (Vigna 2016, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
pub struct Rng(u64);

impl Rng {
    /// Different numbers for each seed.
    pub fn new(seed: u64) -> Self {
        // Not 0, of which nothing else comes.
        Self(seed.wrapping_add(1).wrapping_mul(0xD1B5_4A32_D192_ED03) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(random) * u128::from(bound)) >> 64) as u64
    }
}

/// One request for uniformly random keys, without end.
pub struct Random {
    template: Template,
    keys: u64,
    expected: Expected,
    rng: Rng,
}

impl Random {
    pub fn new(template: Template, keys: u64, expected: Expected) -> Self {
        let rng = Rng(0xD1B5_4A32_D192_ED03);
        Self {
            template,
            keys,
            expected,
            rng,
        }
    }

    pub fn set(keys: u64, value_len: usize) -> Self {
        Self::new(Template::set(value_len), keys, Expected::Ok)
    }

    pub fn get(keys: u64, value_len: usize) -> Self {
        Self::new(Template::get(), keys, Expected::Bulk(value_len))
    }
}

impl Workload for Random {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<Expected> {
        self.template.write(out, self.rng.below(self.keys));
        Some(self.expected)
    }
}

/// A `WAIT` for one replica, after each so many writes.
pub struct Wait {
    frame: Vec<u8>,
    writes: u64,
}

impl Wait {
    pub fn after(writes: u64) -> Self {
        let mut frame = Vec::new();
        write_command(&mut frame, &[b"WAIT", b"1", b"0"]);
        Self { frame, writes }
    }
}

impl Workload for Wait {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<Expected> {
        out.extend_from_slice(&self.frame);
        Some(Expected::Confirmation(self.writes))
    }
}

/// One request for each key from 0 up, then the end: fills a data set.
pub struct Sequence {
    template: Template,
    next: u64,
    keys: u64,
}

impl Sequence {
    pub fn set(keys: u64, value_len: usize) -> Self {
        Self {
            template: Template::set(value_len),
            next: 0,
            keys,
        }
    }
}

impl Workload for Sequence {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<Expected> {
        if self.next == self.keys {
            return None;
        }
        self.template.write(out, self.next);
        self.next += 1;
        Some(Expected::Ok)
    }
}

/// Requests of several kinds, one after the other.
pub struct Turns {
    all: Vec<Random>,
    turn: usize,
}

impl Turns {
    pub fn new(all: Vec<Random>) -> Self {
        Self { all, turn: 0 }
    }
}

impl Workload for Turns {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<Expected> {
        let turn = self.turn;
        self.turn = (turn + 1) % self.all.len();
        self.all[turn].next(out)
    }
}

/// `often` requests of the one, then one of the other, and so on.
pub struct Mix<A, B> {
    pub many: A,
    pub one: B,
    often: u32,
    turn: u32,
}

impl<A, B> Mix<A, B> {
    pub fn new(often: u32, many: A, one: B) -> Self {
        Self {
            many,
            one,
            often,
            turn: 0,
        }
    }
}

impl<A: Workload, B: Workload> Workload for Mix<A, B> {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<Expected> {
        if self.turn == self.often {
            self.turn = 0;
            return self.one.next(out);
        }
        self.turn += 1;
        self.many.next(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_names_every_key_once_and_ends() {
        let mut sequence = Sequence::set(3, 2);
        let mut out = Vec::new();
        while sequence.next(&mut out).is_some() {}
        let text = String::from_utf8(out).unwrap();
        for key in 0..3 {
            let name = String::from_utf8(key_name(key)).unwrap();
            assert_eq!(text.matches(&name).count(), 1, "{name}");
        }
        assert_eq!(text.matches("SET").count(), 3);
        assert!(text.starts_with("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$2\r\n"));
    }

    #[test]
    fn random_keys_stay_in_range_and_spread() {
        let mut rng = Rng(1);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[rng.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }

    #[test]
    fn a_mix_keeps_its_ratio() {
        let mut mix = Mix::new(10, Random::get(5, 64), Random::set(5, 64));
        let mut out = Vec::new();
        let replies: Vec<_> = (0..22).map(|_| mix.next(&mut out).unwrap()).collect();
        assert_eq!(replies.iter().filter(|&&e| e == Expected::Ok).count(), 2);
        assert_eq!(replies[10], Expected::Ok);
    }

    #[test]
    fn expectations() {
        assert!(Expected::Ok.accepts(&Reply::Status(b"OK")));
        assert!(!Expected::Ok.accepts(&Reply::Status(b"QUEUED")));
        assert!(Expected::Bulk(2).accepts(&Reply::Bulk(b"ab")));
        assert!(!Expected::Bulk(2).accepts(&Reply::Bulk(b"abc")));
        assert!(!Expected::Bulk(2).accepts(&Reply::Null));
        assert!(!Expected::Ok.accepts(&Reply::Error(b"ERR")));
        assert!(Expected::Confirmation(1).accepts(&Reply::Integer(2)));
        assert!(!Expected::Confirmation(1).accepts(&Reply::Integer(0)));
    }

    #[test]
    fn writes_count_once_they_are_confirmed() {
        let writes = Random::new(Template::set(8), 5, Expected::Unconfirmed);
        let mut mix = Mix::new(3, writes, Wait::after(3));
        let mut out = Vec::new();
        let counts = (0..8).map(|_| mix.next(&mut out).unwrap().operations());
        assert_eq!(counts.collect::<Vec<_>>(), [0, 0, 0, 3, 0, 0, 0, 3]);
        assert!(out.ends_with(b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n"));
    }
}
