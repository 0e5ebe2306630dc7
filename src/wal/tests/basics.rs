//! Appending, closing, and reading back.

use super::*;

const ALL: [Durability; 3] = [Durability::Always, Durability::Everysec, Durability::Os];

#[test]
fn reads_back_what_was_appended() {
    for durability in ALL {
        let directory = tempfile::tempdir().unwrap();
        let mut ends = Vec::new();
        {
            let (log, recovery) =
                Log::open(options(directory.path(), durability), LogOffset::ZERO).unwrap();
            assert_eq!(recovery.record_count(), 0);
            for n in 0..1000_u64 {
                ends.push(append(&log, n, &vec![n as u8; n as usize % 300]));
            }
            acknowledged(&log, ends[999]);
            log.close().unwrap();
            assert_eq!(log.durable(), ends[999]);
        }
        let (log, recovery) =
            Log::open(options(directory.path(), durability), LogOffset::ZERO).unwrap();
        assert_eq!(recovery.torn_tail(), None);
        assert!(recovery.segments().len() > 1);
        let mut count = 0;
        for (record, n) in recovery.records().zip(0..) {
            assert_eq!(record.end(), ends[n as usize]);
            assert_eq!(record.payload, vec![n as u8; n as usize % 300]);
            let RecordHeader {
                version,
                partition,
                database,
                kind,
            } = header(n);
            assert_eq!(record.version, version);
            assert_eq!((record.partition, record.database), (partition, database));
            assert_eq!(record.kind, kind);
            count += 1;
        }
        assert_eq!(count, 1000);
        assert!(log.append(header(1), b"more") > ends[999]);
    }
}

#[test]
fn replay_starts_where_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
    for n in 0..2000 {
        ends.push(append(&log, n, &[1; 100]));
    }
    drop(log);
    for start in [0, 1, 700, 1999] {
        let (_log, recovery) =
            Log::open(options(directory.path(), Durability::Os), ends[start]).unwrap();
        let found: Vec<_> = recovery.records().map(|r| r.version.to_bits()).collect();
        assert_eq!(found, (start as u64 + 1..2000).collect::<Vec<_>>());
    }
}

#[test]
fn the_segment_size_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut count = 0;
    for factor in [1, 4, 1, 2] {
        let mut options = options(directory.path(), Durability::Always);
        options.segment_bytes = MIN_SEGMENT_BYTES * factor;
        let (log, recovery) = Log::open(options, LogOffset::ZERO).unwrap();
        assert_eq!(recovery.record_count(), count);
        for _ in 0..1000 {
            append(&log, count, &[5; 200]);
            count += 1;
        }
    }
    let (_log, recovery) = Log::open(
        options(directory.path(), Durability::Always),
        LogOffset::ZERO,
    )
    .unwrap();
    let versions: Vec<_> = recovery
        .records()
        .map(|record| record.version.to_bits())
        .collect();
    assert_eq!(versions, (0..count).collect::<Vec<_>>());
}

#[test]
fn waiting_ends_when_the_log_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
    let end = append(&log, 1, b"x");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| log.wait_until_durable(LogOffset::MAX));
        log.wait_until_durable(end).unwrap();
        log.close().unwrap();
        assert!(waiting.join().unwrap().is_err());
    });
}
