//! Readers that follow the log while it is written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;

const ALL: [Durability; 3] = [Durability::Always, Durability::Everysec, Durability::Os];
const WRITERS: u64 = 3;
const RECORDS: u64 = 2500;

/// What a test expects of a record, and what a reader saw.
type Seen = (LogOffset, u64, Vec<u8>);

fn payload(version: u64) -> Vec<u8> {
    // A few are larger than what a reader copies at a time, or than a segment.
    let length = match version % 1000 {
        500 => 300_000,
        n => n % 350,
    };
    (0..length).map(|at| (at ^ version) as u8).collect()
}

fn seen(record: &Record<'_>) -> Seen {
    let RecordHeader {
        partition,
        database,
        kind,
        ..
    } = header(record.version.to_bits());
    assert_eq!(
        (record.partition, record.database, record.kind),
        (partition, database, kind)
    );
    (
        record.end(),
        record.version.to_bits(),
        record.payload.to_vec(),
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Follows the log from `reader` until it has seen `count` records.
fn follow(log: &Log, reader: &mut TailReader, count: u64, mut visit: impl FnMut(Seen)) {
    let runtime = runtime();
    let mut left = count;
    while left > 0 {
        let end = reader
            .read(|record| {
                visit(seen(record));
                left -= 1;
                // Also stop in the middle now and then.
                left > 0 && !left.is_multiple_of(97)
            })
            .unwrap();
        if left > 0 && end >= log.appended() {
            assert!(runtime.block_on(log.wait_for_growth(end)));
        }
    }
}

/// Appends from several threads while `meanwhile` runs; returns what was appended, in order of the log.
fn write_all(log: &Log, meanwhile: impl FnOnce(&AtomicBool) + Send) -> Vec<Seen> {
    let appended = Mutex::new(BTreeMap::new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let appended = &appended;
                scope.spawn(move || {
                    for n in 0..RECORDS {
                        let version = (writer << 32) | n;
                        let payload = payload(version);
                        let end = append(log, version, &payload);
                        if n % 128 == 127 {
                            acknowledged(log, end);
                        }
                        appended.lock().insert(end, (version, payload));
                    }
                })
            })
            .collect();
        let meanwhile = scope.spawn(|| meanwhile(&done));
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        meanwhile.join().unwrap();
    });
    let appended = appended.into_inner();
    assert_eq!(appended.len() as u64, WRITERS * RECORDS);
    appended
        .into_iter()
        .map(|(end, (version, payload))| (end, version, payload))
        .collect()
}

fn same(expected: &[Seen], found: &[Seen]) {
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected.0, found.0, "end of a record");
        assert_eq!(expected.1, found.1, "version");
        assert!(expected.2 == found.2, "payload of {}", found.1);
    }
    assert_eq!(expected.len(), found.len());
}

#[test]
fn a_reader_sees_what_several_threads_append() {
    for durability in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(options(directory.path(), durability), LogOffset::ZERO).unwrap();
        let mut found = Vec::new();
        let mut reader = log.tail(LogOffset::ZERO).unwrap();
        let expected = write_all(&log, |_| {
            follow(&log, &mut reader, WRITERS * RECORDS, |seen| {
                found.push(seen)
            });
        });
        same(&expected, &found);
        assert!(expected.last().unwrap().0.segment() > 10);
    }
}

#[test]
fn a_reader_follows_through_changes_of_durability() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
    let mut found = Vec::new();
    let mut reader = log.tail(log.oldest()).unwrap();
    let expected = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            follow(&log, &mut reader, WRITERS * RECORDS, |seen| {
                found.push(seen)
            });
        });
        let expected = write_all(&log, |done| {
            while !done.load(Ordering::SeqCst) {
                for durability in ALL {
                    log.set_durability(durability);
                    std::thread::yield_now();
                }
            }
        });
        reading.join().unwrap();
        expected
    });
    same(&expected, &found);
}

#[test]
fn what_is_held_stays_and_the_rest_is_recycled() {
    for durability in [Durability::Always, Durability::Os] {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(options(directory.path(), durability), LogOffset::ZERO).unwrap();
        let mut found = Vec::new();
        let mut reader = log.tail(LogOffset::ZERO).unwrap();
        let hold = log.hold(LogOffset::ZERO);
        let removed = AtomicU64::new(0);
        let expected = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                follow(&log, &mut reader, WRITERS * RECORDS, |seen| {
                    hold.set(seen.0);
                    found.push(seen);
                });
            });
            let expected = write_all(&log, |done| {
                while !done.load(Ordering::SeqCst) {
                    let gone = log.remove_before(LogOffset::MAX).unwrap();
                    removed.fetch_add(gone as u64, Ordering::SeqCst);
                    std::thread::yield_now();
                }
            });
            reading.join().unwrap();
            expected
        });
        same(&expected, &found);
        log.wait_until_durable(log.appended()).unwrap();
        let gone = log.remove_before(LogOffset::MAX).unwrap() as u64;
        assert!(removed.load(Ordering::SeqCst) + gone > 10);
        assert_eq!(log.oldest().segment(), log.appended().segment());
        assert!(matches!(
            log.tail(LogOffset::ZERO),
            Err(TailError::Removed { oldest }) if oldest == log.oldest()
        ));
    }
}

/// Reads from the oldest segment on, unless that goes meanwhile.
fn read_without_hold(log: &Log, mut visit: impl FnMut(Seen) -> bool) {
    let read = log
        .tail(log.oldest())
        .and_then(|mut reader| reader.read(|record| visit(seen(record))));
    if let Err(error) = read {
        assert!(matches!(error, TailError::Removed { .. }), "{error}");
    }
}

#[test]
fn without_a_hold_a_reader_sees_the_right_records_or_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
    let found = Mutex::new(Vec::new());
    let expected = write_all(&log, |done| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    read_without_hold(&log, |seen| {
                        found.lock().push(seen);
                        std::thread::yield_now();
                        !done.load(Ordering::SeqCst)
                    });
                }
            });
            while !done.load(Ordering::SeqCst) {
                log.remove_before(LogOffset::MAX).unwrap();
                std::thread::yield_now();
            }
        });
    });
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(end, version, payload)| (end, (version, payload)))
        .collect();
    let found = found.into_inner();
    assert!(!found.is_empty());
    for (end, version, payload) in found {
        assert!(expected[&end] == (version, payload), "record {version}");
    }
}

#[test]
fn a_reader_goes_on_where_another_run_of_the_log_stood() {
    for durability in ALL {
        let directory = tempfile::tempdir().unwrap();
        let open = |start| {
            Log::open(options(directory.path(), durability), start)
                .unwrap()
                .0
        };
        let log = open(LogOffset::ZERO);
        let ends: Vec<_> = (0..3000)
            .map(|n| append(&log, n, &payload(n % 400)))
            .collect();
        log.close().unwrap();
        drop(log);
        // What is before the start of replay is not checked when the log is opened.
        let log = open(ends[2500]);
        let more = append(&log, 3000, b"more");
        for from in [0, 1, 700, 1999, 2999] {
            let mut reader = log.tail(ends[from]).unwrap();
            let mut found = Vec::new();
            let end = reader
                .read(|record| {
                    found.push(seen(record).1);
                    true
                })
                .unwrap();
            assert_eq!(found, (from as u64 + 1..3001).collect::<Vec<_>>());
            assert_eq!((end, reader.position()), (more, more));
        }
        // From where this run started, there is only what it appended.
        let mut reader = log.tail(log.started_at()).unwrap();
        let mut found = Vec::new();
        reader
            .read(|record| {
                found.push(seen(record).0);
                true
            })
            .unwrap();
        assert_eq!(found, [more]);
    }
}

#[test]
fn offsets_that_are_no_end_of_a_record_are_refused() {
    for durability in ALL {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(options(directory.path(), durability), LogOffset::ZERO).unwrap();
        let end = append(&log, 1, &[1; 100]);
        append(&log, 2, &[2; 100]);
        let inside = LogOffset::new(end.segment(), end.position() - 8);
        let mut reader = log.tail(inside).unwrap();
        assert!(matches!(
            reader.read(|_| panic!("there is no record")),
            Err(TailError::NoRecord(at)) if at == inside
        ));
        let later = LogOffset::new(end.segment() + 5, 64);
        assert!(matches!(log.tail(later), Err(TailError::Beyond { .. })));
    }
}

#[test]
fn waiting_for_growth_ends_with_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
    let end = append(&log, 1, b"x");
    let runtime = runtime();
    assert!(runtime.block_on(log.wait_for_growth(LogOffset::ZERO)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| self::runtime().block_on(log.wait_for_growth(end)));
        log.close().unwrap();
        assert!(!waiting.join().unwrap());
    });
    assert!(runtime.block_on(log.wait_for_growth(LogOffset::ZERO)));
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Read(usize),
    Durability(usize),
    Sync,
    Remove,
    NewReader,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6000_usize).prop_map(Step::Append),
        1 => Just(Step::Append(100_000)),
        4 => (0..30_usize).prop_map(Step::Read),
        2 => (0..3_usize).prop_map(Step::Durability),
        1 => Just(Step::Sync),
        1 => Just(Step::Remove),
        1 => Just(Step::NewReader),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, a reader has seen exactly what was appended before.
    #[test]
    fn any_order_of_steps(steps in proptest::collection::vec(step(), 1..120)) {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
        let mut reader = log.tail(LogOffset::ZERO).unwrap();
        let hold = log.hold(LogOffset::ZERO);
        let (mut appended, mut read) = (Vec::new(), 0_usize);
        for step in steps.into_iter().chain([Step::NewReader, Step::Read(usize::MAX)]) {
            match step {
                Step::Append(size) => {
                    let n = appended.len() as u64;
                    let payload = vec![n as u8; size];
                    appended.push((append(&log, n, &payload), n, payload));
                }
                Step::Read(most) => {
                    let expected = &appended[read..(read.saturating_add(most)).min(appended.len())];
                    let mut found = Vec::new();
                    if most > 0 {
                        reader.read(|record| {
                            found.push(seen(record));
                            found.len() < most
                        }).unwrap();
                    }
                    same(expected, &found);
                    read += found.len();
                    hold.set(reader.position());
                }
                Step::Durability(which) => log.set_durability(ALL[which]),
                Step::Sync => log.wait_until_durable(log.appended()).unwrap(),
                Step::Remove => {
                    log.remove_before(LogOffset::MAX).unwrap();
                }
                Step::NewReader => {
                    let end = read.checked_sub(1).map_or(LogOffset::ZERO, |last| appended[last].0);
                    hold.set(end);
                    // Its segment may have gone when the position was in the next one already.
                    match log.tail(end) {
                        Ok(new) => reader = new,
                        Err(TailError::Removed { oldest }) => prop_assert!(oldest <= reader.position()),
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        }
        prop_assert_eq!(read, appended.len());
    }
}
