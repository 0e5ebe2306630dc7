//! What is left after a crash: torn tails are cut, damage in the middle is refused.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::wal::record::HEADER_BYTES;

const START: LogOffset = LogOffset::ZERO;

/// What `kill -9` would leave: the page cache's view of a log that goes on running.
fn snapshot(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn segment(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("segment-{number:020}.log"))
}

/// A log of one segment with records of different sizes, each in the page cache, without a mark
/// after the last: its directory, and where the records end.
fn written(durability: Durability, records: u64) -> (tempfile::TempDir, Vec<LogOffset>) {
    // A sync that comes between two records leaves its mark between them; these tests want none.
    (0..1000)
        .map(|_| write_once(durability, records))
        .find(|(_, ends)| {
            (0..records as usize).all(|n| {
                let size = crate::wal::record::padded(length_of(n));
                start_of(ends, n) + size == ends[n].position() as usize
            })
        })
        .expect("not every time a sync comes between")
}

fn write_once(durability: Durability, records: u64) -> (tempfile::TempDir, Vec<LogOffset>) {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), durability), START).unwrap();
    let ends: Vec<_> = (0..records)
        .map(|n| append(&log, n, &vec![b'x'; 3 + 11 * n as usize]))
        .collect();
    acknowledged(&log, ends[records as usize - 1]);
    let copy = snapshot(directory.path());
    // A mark that follows the records proves more than these tests want to be known.
    let path = segment(copy.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[ends[records as usize - 1].position() as usize..].fill(0);
    fs::write(&path, bytes).unwrap();
    (copy, ends)
}

fn start_of(ends: &[LogOffset], n: usize) -> usize {
    if n == 0 {
        64
    } else {
        ends[n - 1].position() as usize
    }
}

fn length_of(n: usize) -> usize {
    HEADER_BYTES + 3 + 11 * n
}

fn versions(recovery: &Recovery) -> Vec<u64> {
    recovery
        .records()
        .map(|record| record.version.to_bits())
        .collect()
}

/// Opens the log, expects the first `count` records, and that appending afterwards works.
fn expect_records(directory: &Path, count: u64) -> Option<TornTail> {
    let (log, recovery) = Log::open(options(directory, Durability::Os), START).unwrap();
    assert_eq!(versions(&recovery), (0..count).collect::<Vec<_>>());
    let torn = recovery.torn_tail().cloned();
    append(&log, count, b"after the crash");
    drop((log, recovery));
    let (_log, recovery) = Log::open(options(directory, Durability::Os), START).unwrap();
    assert_eq!(versions(&recovery), (0..=count).collect::<Vec<_>>());
    assert_eq!(recovery.torn_tail(), None);
    torn
}

#[test]
fn a_log_cut_at_every_byte_of_its_last_records() {
    for durability in [Durability::Os, Durability::Always] {
        let (directory, ends) = written(durability, 4);
        let path = segment(directory.path(), 1);
        let whole = fs::read(&path).unwrap();
        for cut in start_of(&ends, 2)..=start_of(&ends, 3) + length_of(3) {
            fs::write(&path, &whole[..cut]).unwrap();
            let complete = (0..4)
                .filter(|&n| start_of(&ends, n) + length_of(n) <= cut)
                .count();
            let torn = expect_records(directory.path(), complete as u64);
            // Up to 7 bytes of padding may remain; they are no record.
            let end = start_of(&ends, complete);
            assert_eq!(
                torn.is_some(),
                cut > end,
                "cut at {cut}, end at {end}: {torn:?}"
            );
        }
    }
}

#[test]
fn any_byte_of_the_last_record_mutated() {
    for durability in [Durability::Os, Durability::Always] {
        let (directory, ends) = written(durability, 3);
        let path = segment(directory.path(), 1);
        let whole = fs::read(&path).unwrap();
        for at in start_of(&ends, 2)..start_of(&ends, 2) + length_of(2) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x81;
            fs::write(&path, bytes).unwrap();
            let torn = expect_records(directory.path(), 2).expect("it is reported");
            assert_eq!(torn.offset, ends[1]);
            assert_eq!(torn.later_records, 0);
        }
    }
}

fn expect_corrupt(directory: &Path, offset: LogOffset) {
    let before = fs::read(segment(directory, 1)).ok();
    match Log::open(options(directory, Durability::Os), START) {
        Err(error @ OpenError::Corrupt { .. }) => {
            let text = error.to_string();
            assert!(text.contains("coterie-ctl wal repair"), "{text}");
            let OpenError::Corrupt { offset: found, .. } = error else {
                unreachable!()
            };
            assert_eq!(found, offset);
        }
        other => panic!("expected damage at {offset}, got {:?}", other.map(|_| ())),
    }
    assert_eq!(
        fs::read(segment(directory, 1)).ok(),
        before,
        "a refused log must stay as it is"
    );
}

#[test]
fn a_bad_record_before_good_ones_is_refused() {
    let (directory, ends) = written(Durability::Os, 4);
    let path = segment(directory.path(), 1);
    let whole = fs::read(&path).unwrap();
    for n in 0..3 {
        for at in start_of(&ends, n)..start_of(&ends, n) + length_of(n) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            expect_corrupt(
                directory.path(),
                LogOffset::new(1, start_of(&ends, n) as u32),
            );
        }
        let mut bytes = whole.clone();
        bytes[start_of(&ends, n)..start_of(&ends, n + 1)].fill(0);
        fs::write(&path, bytes).unwrap();
        expect_corrupt(
            directory.path(),
            LogOffset::new(1, start_of(&ends, n) as u32),
        );
    }
    fs::write(&path, &whole).unwrap();
    expect_records(directory.path(), 4);
}

/// A log of four segments and more, closed.
fn long_log() -> (tempfile::TempDir, Vec<LogOffset>) {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    let ends: Vec<_> = (0..2500).map(|n| append(&log, n, &[9; 100])).collect();
    assert!(ends[2499].segment() >= 4);
    drop(log);
    (directory, ends)
}

#[test]
fn damage_to_a_segment_in_the_middle_is_refused() {
    let (directory, ends) = long_log();
    let path = segment(directory.path(), 2);
    let whole = fs::read(&path).unwrap();
    let last = ends.iter().rfind(|end| end.segment() == 2).unwrap();

    // The seal is gone: the rest of the segment could have held more.
    let mut bytes = whole.clone();
    bytes[last.position() as usize..].fill(0);
    fs::write(&path, &bytes).unwrap();
    expect_corrupt(directory.path(), *last);

    fs::write(&path, &whole[..last.position() as usize - 10]).unwrap();
    let start = ends[ends.iter().position(|end| end == last).unwrap() - 1];
    expect_corrupt(directory.path(), start);

    let mut bytes = whole.clone();
    bytes[3] ^= 1;
    fs::write(&path, &bytes).unwrap();
    expect_corrupt(directory.path(), LogOffset::new(2, 0));

    fs::remove_file(&path).unwrap();
    expect_corrupt(directory.path(), LogOffset::new(2, 64));

    fs::write(&path, &whole).unwrap();
    expect_records(directory.path(), 2500);
}

#[test]
fn a_missing_first_segment_is_refused() {
    let (directory, ends) = long_log();
    fs::remove_file(segment(directory.path(), 1)).unwrap();
    let error = Log::open(options(directory.path(), Durability::Os), START).unwrap_err();
    assert!(
        matches!(error, OpenError::MissingSegment { segment: 1, .. }),
        "{error}"
    );
    // A checkpoint that covers it makes it unnecessary.
    let n = ends.iter().position(|end| end.segment() == 2).unwrap();
    let (_log, recovery) = Log::open(options(directory.path(), Durability::Os), ends[n]).unwrap();
    assert_eq!(recovery.record_count(), 2499 - n as u64);
}

#[test]
fn a_whole_log_that_vanished_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let start = LogOffset::new(3, 4096);
    let error = Log::open(options(directory.path(), Durability::Os), start).unwrap_err();
    assert!(
        matches!(error, OpenError::MissingSegment { segment: 3, .. }),
        "{error}"
    );
}

fn booted(directory: &Path, boot: &str) -> Options {
    let mut options = options(directory, Durability::Os);
    options.boot = Some(boot.to_owned());
    options
}

#[test]
fn pages_lost_in_a_power_failure_are_cut_but_synced_ones_are_missed() {
    for synced in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(booted(directory.path(), "first"), START).unwrap();
        let ends: Vec<_> = (0..10).map(|n| append(&log, n, b"payload")).collect();
        if synced {
            log.request_sync();
            wait_until("the records are durable", || log.durable() >= ends[9]);
        }
        // The mark follows the sync; here it has to be before the next record.
        wait_until("the sync is marked", || {
            let mark = log.tail_end();
            !synced || mark > ends[9]
        });
        for n in 10..15 {
            append(&log, n, b"payload");
        }
        let copy = snapshot(directory.path());
        let path = segment(copy.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[start_of(&ends, 5)..start_of(&ends, 6)].fill(0);
        fs::write(&path, bytes).unwrap();

        let same_boot = Log::open(booted(copy.path(), "first"), START);
        assert!(matches!(same_boot, Err(OpenError::Corrupt { .. })));
        match Log::open(booted(copy.path(), "second"), START) {
            Err(OpenError::Corrupt { .. }) => assert!(synced),
            Err(error) => panic!("{error}"),
            Ok((_log, recovery)) => {
                assert!(!synced);
                assert_eq!(versions(&recovery), [0, 1, 2, 3, 4]);
                let torn = recovery.torn_tail().unwrap();
                assert_eq!((torn.offset, torn.later_records), (ends[4], 9));
            }
        }
        if !synced {
            let (_log, recovery) = Log::open(booted(copy.path(), "second"), START).unwrap();
            assert_eq!(versions(&recovery), [0, 1, 2, 3, 4]);
            assert_eq!(recovery.torn_tail(), None);
        }
    }
}

#[test]
fn recycled_segments_resurrect_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (log, recovery) = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    drop(recovery);
    let mut kept = Vec::new();
    for round in 0..12_u64 {
        for n in 0..400 {
            let version = round * 400 + n;
            let end = append(
                &log,
                version,
                &vec![version as u8; 150 + round as usize * 8],
            );
            kept.push((end, version));
        }
        let end = log.appended();
        log.wait_until_durable(end).unwrap();
        assert!(log.durable() >= end);
        log.remove_before(end).unwrap();
        kept.retain(|(offset, _)| offset.segment() >= end.segment());
        // The record that starts in the current segment's first bytes may have been cut off `kept`.
        let copy = snapshot(directory.path());
        let start = LogOffset::new(end.segment(), 0);
        let (_log, recovery) = Log::open(options(copy.path(), Durability::Os), start).unwrap();
        let expected: Vec<_> = kept.iter().map(|(_, version)| *version).collect();
        assert_eq!(versions(&recovery), expected);
        assert_eq!(recovery.torn_tail(), None);
    }
    assert!(log.appended().segment() > 8, "{}", log.appended());
    assert!(log.status().segments <= 4, "{:?}", log.status());
    let recycled = (1..=log.appended().segment()).filter(|&number| {
        fs::read(segment(directory.path(), number)).is_ok_and(|bytes| bytes[32] == 1)
    });
    assert!(recycled.count() > 0);
}
