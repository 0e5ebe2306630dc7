//! The longest common subsequence of two strings.
//!
//! Redis fills a table of 32-bit lengths, a cell for each pair of positions. Here a row of the table is a row of
//! bits, computed 64 cells at a time (H. Hyyrö, "Bit-Parallel LCS-length Computation Revisited", 2004): a bit is
//! clear where the length grows by one from the cell to the left. The same bits tell which way Redis would walk
//! back through its table, so of several longest subsequences the answer is the same one.

use std::sync::atomic::Ordering::Relaxed;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{DatabaseId, ReplyWriter, Request};

use crate::commands::value::string_of;
use crate::commands::{CommandError, Control, Deferred};
use crate::engine::{Scope, Transaction};
use crate::node::Node;
use crate::store::Entry;

/// Longest string, in bytes.
const BYTES_MAX: usize = u32::MAX as usize - 2;
/// Bytes of a cell of Redis' table, which its memory limit counts.
const CELL_BYTES: u128 = 4;
/// Words computed at a stretch: some ten microseconds.
const CHUNK_WORDS: usize = 8 * 1024;
/// Steps of other kinds made at a stretch: some hundred microseconds.
const STRETCH: usize = 64 * 1024;

/// What is asked for.
#[derive(Default)]
struct Options {
    length: bool,
    indexes: bool,
    match_lengths: bool,
    shortest_match: usize,
}

impl Options {
    fn parse(request: Request<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut words = request.iter().skip(3);
        while let Some(word) = words.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"IDX") {
                options.indexes = true;
            } else if is(b"LEN") {
                options.length = true;
            } else if is(b"WITHMATCHLEN") {
                options.match_lengths = true;
            } else if is(b"MINMATCHLEN") {
                let number = words.next().ok_or(CommandError::Syntax)?;
                let number = parse_i64(number).ok_or(CommandError::NotInteger)?;
                options.shortest_match = number.max(0) as usize;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.indexes && options.length {
            return Err(CommandError::line(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// `LCS`: copies the strings, and compares them with no lock held.
pub fn lcs(control: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let (options, a, b) = read(control)?;
    let version = control.session.resp;
    Ok(Box::pin(async move {
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, version);
        let table = Table::compute(&a, &b, !options.length).await;
        if options.length {
            reply.integer(table.length as i64);
        } else {
            let runs = table.runs(&a, &b).await;
            if options.indexes {
                write_indexes(&mut reply, &runs, table.length, &options);
            } else {
                let common = runs.iter().rev().flat_map(|run| &a[run.in_a()]);
                reply.bulk(&common.copied().collect::<Vec<u8>>());
            }
        }
        out
    }))
}

/// The options and both values, if comparing those takes no more memory than Redis allows.
fn read(control: &mut Control<'_, '_>) -> Result<(Options, Vec<u8>, Vec<u8>), CommandError> {
    let keys = [control.request.arg(1), control.request.arg(2)];
    let database = control.session.database;
    if let Some(transaction) = control.transaction.as_deref_mut() {
        return read_in(transaction, control.node, database, control.request);
    }
    let mut moment = control.node.moment(&control.node.config.load());
    moment.touch = !control.session.no_touch;
    let mut names = keys.into_iter();
    let mut transaction = control.node.engine.begin(
        Scope::Keys(&mut names),
        moment,
        &mut control.session.payload,
    );
    read_in(&mut transaction, control.node, database, control.request)
}

fn read_in(
    transaction: &mut Transaction<'_>,
    node: &Node,
    database: DatabaseId,
    request: Request<'_>,
) -> Result<(Options, Vec<u8>, Vec<u8>), CommandError> {
    let keys = [request.arg(1), request.arg(2)];
    transaction.count_lookups();
    let mut length = |key| {
        let entry = string_of(transaction.get(database, key))
            .map_err(|_| CommandError::line("ERR The specified keys must contain string values"))?;
        Ok(entry.map_or(0, |entry: &Entry| entry.value().len()))
    };
    let lengths = [length(keys[0])?, length(keys[1])?];
    // As in Redis the keys are looked up first, so that expired ones go even if the options are wrong.
    let options = Options::parse(request)?;
    if lengths.iter().any(|length| *length > BYTES_MAX) {
        return Err(CommandError::line("ERR String too long for LCS"));
    }
    let cells = lengths
        .iter()
        .map(|length| *length as u128 + 1)
        .product::<u128>();
    if cells * CELL_BYTES > u128::from(node.config.load().proto_max_bulk_len) {
        return Err(CommandError::line(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let (hits, misses) = transaction.lookups();
    let statistics = &node.statistics;
    statistics.keyspace_hits.fetch_add(hits, Relaxed);
    statistics.keyspace_misses.fetch_add(misses, Relaxed);
    if lengths.contains(&0) {
        // Nothing in common, so the other one is not worth a copy.
        return Ok((options, Vec::new(), Vec::new()));
    }
    let mut copy = |key| {
        let entry = transaction.peek(database, key);
        entry.map_or_else(Vec::new, |entry| entry.value().to_vec())
    };
    Ok((options, copy(keys[0]), copy(keys[1])))
}

fn write_indexes(reply: &mut ReplyWriter<'_>, runs: &[Run], length: usize, options: &Options) {
    reply.map(2);
    reply.bulk(b"matches");
    let shown = || {
        runs.iter()
            .filter(|run| run.length >= options.shortest_match)
    };
    reply.array(shown().count());
    for run in shown() {
        reply.array(if options.match_lengths { 3 } else { 2 });
        for start in [run.a, run.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + run.length - 1) as i64);
        }
        if options.match_lengths {
            reply.integer(run.length as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(length as i64);
}

/// Bytes that are next to each other in both strings and in their common subsequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// Where it starts in the first string.
    a: usize,
    /// Where it starts in the second string.
    b: usize,
    /// How many bytes.
    length: usize,
}

impl Run {
    fn in_a(&self) -> std::ops::Range<usize> {
        self.a..self.a + self.length
    }
}

/// For each byte of the first string, in which places of the second it is.
struct Matches {
    words: usize,
    /// Index of each byte's row in `bits`; `None` for bytes that are not in the first string.
    rows: [Option<usize>; 256],
    bits: Vec<u64>,
}

impl Matches {
    async fn new(a: &[u8], b: &[u8]) -> Matches {
        let words = b.len().div_ceil(64);
        let mut rows = [None; 256];
        let mut count = 0;
        for bytes in a.chunks(STRETCH) {
            for byte in bytes {
                rows[usize::from(*byte)].get_or_insert_with(|| {
                    count += 1;
                    count - 1
                });
            }
            tokio::task::yield_now().await;
        }
        let mut bits = vec![0; count * words];
        for (chunk, bytes) in b.chunks(STRETCH).enumerate() {
            for (index, byte) in bytes.iter().enumerate() {
                if let Some(row) = rows[usize::from(*byte)] {
                    let at = chunk * STRETCH + index;
                    bits[row * words + at / 64] |= 1 << (at % 64);
                }
            }
            tokio::task::yield_now().await;
        }
        Matches { words, rows, bits }
    }

    fn row(&self, byte: u8) -> &[u64] {
        let row = self.rows[usize::from(byte)].unwrap_or(0);
        &self.bits[row * self.words..][..self.words]
    }
}

/// See the module.
struct Table {
    /// Length of the longest common subsequence.
    length: usize,
    /// Words in a row.
    words: usize,
    /// A row for each byte of the first string, if they were to be kept.
    rows: Vec<u64>,
}

impl Table {
    async fn compute(a: &[u8], b: &[u8], keep_rows: bool) -> Table {
        let matches = Matches::new(a, b).await;
        let words = matches.words;
        let mut row = vec![u64::MAX; words];
        let mut rows = Vec::with_capacity(if keep_rows { a.len() * words } else { 0 });
        let mut done = 0;
        for byte in a {
            let mut carry = false;
            let places = matches.row(*byte).chunks(CHUNK_WORDS);
            for (chunk, places) in row.chunks_mut(CHUNK_WORDS).zip(places) {
                carry = next_row(chunk, places, carry);
                if keep_rows {
                    rows.extend_from_slice(chunk);
                }
                // An empty row takes time too.
                done += chunk.len() + 8;
                if done >= CHUNK_WORDS * 8 {
                    done = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        // Bits beyond the second string's end stay set.
        let length = row.iter().map(|word| word.count_zeros() as usize).sum();
        Table {
            length,
            words,
            rows,
        }
    }

    /// Whether the length for the first `i` bytes of one string and `j` of the other is more than that for `j - 1`.
    fn grows(&self, i: usize, j: usize) -> bool {
        let word = self.rows[(i - 1) * self.words + (j - 1) / 64];
        word >> ((j - 1) % 64) & 1 == 0
    }

    /// The runs of the common subsequence, from the last to the first.
    async fn runs(&self, a: &[u8], b: &[u8]) -> Vec<Run> {
        let (mut i, mut j) = (a.len(), b.len());
        let mut runs: Vec<Run> = Vec::new();
        let mut steps = 0;
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match runs.last_mut() {
                    Some(run) if run.a == i + 1 && run.b == j + 1 => {
                        (run.a, run.b, run.length) = (i, j, run.length + 1);
                    }
                    _ => runs.push(Run {
                        a: i,
                        b: j,
                        length: 1,
                    }),
                }
            } else if self.grows(i, j) {
                i -= 1;
            } else {
                j -= 1;
            }
            steps += 1;
            if steps % STRETCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        runs
    }
}

/// Computes a part of a row from the row before it, which it replaces. Takes and returns the carry of the addition that goes
/// through the whole row.
fn next_row(row: &mut [u64], matches: &[u64], carry: bool) -> bool {
    row.iter_mut()
        .zip(matches)
        .fold(carry, |carry, (word, matches)| {
            let (sum, first) = word.overflowing_add(*word & matches);
            let (sum, second) = sum.overflowing_add(carry.into());
            *word = sum | (*word & !matches);
            first | second
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Redis' way: a table of lengths, and its choice at every step back.
    fn plainly(a: &[u8], b: &[u8]) -> (usize, Vec<Run>) {
        let mut lengths = vec![vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                lengths[i][j] = if a[i - 1] == b[j - 1] {
                    lengths[i - 1][j - 1] + 1
                } else {
                    lengths[i - 1][j].max(lengths[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut runs) = (a.len(), b.len(), Vec::<Run>::new());
        let mut joined = false;
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match runs.last_mut() {
                    Some(run) if joined => (run.a, run.b, run.length) = (i, j, run.length + 1),
                    _ => runs.push(Run {
                        a: i,
                        b: j,
                        length: 1,
                    }),
                }
                joined = true;
            } else {
                joined = false;
                if lengths[i - 1][j] > lengths[i][j - 1] {
                    i -= 1;
                } else {
                    j -= 1;
                }
            }
        }
        (lengths[a.len()][b.len()], runs)
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_table(
            a in prop::collection::vec(0u8..4, 0..300),
            b in prop::collection::vec(0u8..5, 0..300),
        ) {
            let (length, runs) = plainly(&a, &b);
            let (table, ours) = run(async {
                let table = Table::compute(&a, &b, true).await;
                let runs = table.runs(&a, &b).await;
                (table, runs)
            });
            prop_assert_eq!(table.length, length);
            prop_assert_eq!(ours, runs);
        }

        #[test]
        fn a_carry_goes_from_chunk_to_chunk(
            row in prop::collection::vec(any::<u64>(), 1..20),
            seed in prop::collection::vec(any::<u64>(), 20),
            split in 0usize..20,
            carry: bool,
        ) {
            let matches = &seed[..row.len()];
            let mut whole = row.clone();
            let expected = next_row(&mut whole, matches, carry);
            let mut parts = row.clone();
            let split = split.min(row.len());
            let between = next_row(&mut parts[..split], &matches[..split], carry);
            let end = next_row(&mut parts[split..], &matches[split..], between);
            prop_assert_eq!((parts, end), (whole, expected));
        }
    }
}
