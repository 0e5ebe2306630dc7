//! What the containers of collections cost: a sorted set and a sequence of a million, small packed collections.
//!
//! Times are those of one operation; memory is printed first.

use coterie::effect::StringEncoding;
use coterie::store::containers::{
    Bound, Element, Keyed, Packed, ScoreIndex, Scored, Sequence, SortedSet,
};
use coterie::store::{Entry, Hashed, Parts};
use coterie_protocol::{Actor, Version};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MILLION: u64 = 1_000_000;
const BATCH: u64 = 1000;

fn main() {
    print_memory();
    divan::main();
}

/// A member with its score, as a replicated database holds it.
struct Member(Entry);

impl Hashed for Member {
    fn hash_with(&self, seed: u64) -> u64 {
        xxh3_64_with_seed(self.0.key(), seed)
    }
}

impl Scored for Member {
    fn member(&self) -> &[u8] {
        self.0.key()
    }

    fn score(&self) -> f64 {
        self.0
            .value()
            .try_into()
            .map_or(0.0, |bits| f64::from_bits(u64::from_le_bytes(bits)))
    }
}

fn name(n: u64) -> Vec<u8> {
    format!("member:{n:09}").into_bytes()
}

fn shuffled(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 1_000_000_007
}

fn member(n: u64, score: f64) -> Member {
    Member(Entry::new(&Parts {
        key: &name(n),
        value: &score.to_bits().to_le_bytes(),
        encoding: StringEncoding::Raw,
        expire_at: None,
        version: Version::from_bits(1),
        actor: Actor(1),
        access: 0,
    }))
}

fn insert(set: &mut SortedSet<Member>, n: u64, score: f64) {
    let member = member(n, score);
    set.insert(member.hash_with(1), member);
}

fn sorted_set(score: impl Fn(u64) -> f64) -> SortedSet<Member> {
    let mut set = SortedSet::new(1);
    (0..MILLION).for_each(|n| insert(&mut set, n, score(n)));
    set
}

fn print_memory() {
    let report = |what: &str, score: fn(u64) -> f64| {
        let set = sorted_set(score);
        let entries: usize = set.iter().map(|member| member.0.allocated_bytes()).sum();
        let own = set.allocated_bytes();
        println!(
            "sorted set, {what}: {:.1} bytes an element, of which {:.1} are its entry",
            (own + entries) as f64 / MILLION as f64,
            entries as f64 / MILLION as f64
        );
    };
    report("random scores", |n| shuffled(n) as f64);
    report("ascending scores", |n| n as f64);
    let mut sequence = Sequence::new();
    (0..MILLION).for_each(|n| sequence.insert(Placed(n as i64)));
    let bytes = sequence.allocated_bytes() as f64 / MILLION as f64;
    println!("sequence, pushed at the end: {bytes:.2} bytes an element of 8");
    println!(
        "packed, 5 fields of 15 bytes: {} bytes",
        packed(5).allocated_bytes()
    );
}

/// Numbers of elements to operate on, spread over the set.
fn picks() -> impl Iterator<Item = u64> {
    (0..BATCH).map(|n| shuffled(n * 7919) % MILLION)
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn sorted_set_build(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(MILLION))
        .bench_local(|| sorted_set(|n| shuffled(n) as f64));
}

#[divan::bench(sample_count = 100, sample_size = 1, args = ["random", "equal"])]
fn sorted_set_rank(bencher: Bencher<'_, '_>, scores: &str) {
    let is_equal = scores == "equal";
    let set = sorted_set(|n| if is_equal { 1.0 } else { shuffled(n) as f64 });
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for n in picks() {
            let name = name(n);
            black_box(set.rank(xxh3_64_with_seed(&name, 1), &name));
        }
    });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn sorted_set_find(bencher: Bencher<'_, '_>) {
    let set = sorted_set(|n| shuffled(n) as f64);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for n in picks() {
            let name = name(n);
            black_box(set.find(xxh3_64_with_seed(&name, 1), &name));
        }
    });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn sorted_set_change_score(bencher: Bencher<'_, '_>) {
    let mut set = sorted_set(|n| shuffled(n) as f64);
    let mut round = 0;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        round += 1;
        for n in picks() {
            let name = name(n);
            let hash = xxh3_64_with_seed(&name, 1);
            let score = shuffled(n + round) as f64;
            set.update(hash, &name, |element| *element = member(n, score));
        }
    });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn sorted_set_remove(bencher: Bencher<'_, '_>) {
    let mut set = sorted_set(|n| shuffled(n) as f64);
    let mut next = 0;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            let name = name(shuffled(next) % MILLION);
            next += 1;
            black_box(set.remove(xxh3_64_with_seed(&name, 1), &name));
        }
    });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn sorted_set_pop_first(bencher: Bencher<'_, '_>) {
    let mut set = sorted_set(|n| shuffled(n) as f64);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            black_box(set.remove_nth(0));
        }
    });
}

/// Ten elements from a score on.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn sorted_set_range_of_10(bencher: Bencher<'_, '_>) {
    let set = sorted_set(|n| shuffled(n) as f64);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for n in picks() {
            let rank = set.rank_at(Bound::FromScore(shuffled(n) as f64));
            for element in set.range(rank..rank + 10) {
                black_box(element.member()[0]);
            }
        }
    });
}

/// The order alone, without members.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn index_build(bencher: Bencher<'_, '_>) {
    struct Nobody;
    impl coterie::store::containers::Members for Nobody {
        fn member(&self, _: u32) -> &[u8] {
            &[]
        }
    }
    bencher.counter(ItemsCount::new(MILLION)).bench_local(|| {
        let mut index = ScoreIndex::new();
        for n in 0..MILLION {
            index.insert(shuffled(n) as f64, &[], n as u32, &Nobody);
        }
        index
    });
}

#[derive(Clone, Copy)]
struct Placed(i64);

impl Keyed for Placed {
    type Key = i64;

    fn key(&self) -> i64 {
        self.0
    }
}

fn sequence() -> Sequence<Placed> {
    let mut sequence = Sequence::new();
    (0..MILLION as i64).for_each(|n| sequence.insert(Placed(n << 20)));
    sequence
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn sequence_push_last(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(MILLION))
        .bench_local(sequence);
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn sequence_push_last_pop_first(bencher: Bencher<'_, '_>) {
    let mut sequence = sequence();
    let mut next = (MILLION as i64) << 20;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            sequence.insert(Placed(next));
            next += 1 << 20;
            black_box(sequence.pop_first());
        }
    });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn sequence_get(bencher: Bencher<'_, '_>) {
    let sequence = sequence();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for n in picks() {
            black_box(sequence.get(n as usize));
        }
    });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn sequence_search(bencher: Bencher<'_, '_>) {
    let sequence = sequence();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for n in picks() {
            black_box(sequence.find((n as i64) << 20));
        }
    });
}

fn field(n: usize) -> String {
    format!("field{n:03}")
}

fn packed(length: usize) -> Packed {
    let mut packed = Packed::new(false);
    for n in 0..length {
        packed.set(Element {
            name: field(n).as_bytes(),
            value: b"a value",
            stamp: (0, 0),
        });
    }
    packed
}

#[divan::bench(args = [5, 32, 128])]
fn packed_find(bencher: Bencher<'_, '_>, length: usize) {
    let packed = packed(length);
    let fields: Vec<_> = (0..length).map(field).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7) % length;
        packed
            .view()
            .find(fields[n].as_bytes())
            .map(|e| e.value.len())
    });
}

#[divan::bench(args = [5, 32, 128])]
fn packed_set_longer_and_back(bencher: Bencher<'_, '_>, length: usize) {
    let mut packed = packed(length);
    let fields: Vec<_> = (0..length).map(field).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7) % length;
        for value in [&b"a longer value"[..], b"a value"] {
            packed.set(Element {
                name: fields[n].as_bytes(),
                value,
                stamp: (0, 0),
            });
        }
    });
}
