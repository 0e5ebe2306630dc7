//! Many appenders, rotation, and changes of durability.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const WRITERS: u64 = 4;
const RECORDS: u64 = 3000;

fn write(log: &Log, writer: u64) {
    for n in 0..RECORDS {
        let version = (writer << 32) | n;
        let end = append(log, version, &vec![n as u8; (n % 200) as usize]);
        if n % 64 == 63 {
            acknowledged(log, end);
        }
    }
}

/// Every record is there once, and each writer's in order.
fn check(recovery: &Recovery) {
    let mut next = BTreeMap::new();
    for record in recovery.records() {
        let (writer, n) = (
            record.version.to_bits() >> 32,
            record.version.to_bits() & 0xffff_ffff,
        );
        let expected = next.entry(writer).or_insert(0);
        assert_eq!(n, *expected, "writer {writer}");
        assert_eq!(record.payload, vec![n as u8; (n % 200) as usize]);
        *expected += 1;
    }
    assert_eq!(next, (0..WRITERS).map(|writer| (writer, RECORDS)).collect());
}

#[test]
fn appenders_share_many_small_segments() {
    for durability in [Durability::Always, Durability::Everysec] {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(options(directory.path(), durability), LogOffset::ZERO).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let log = &log;
                scope.spawn(move || write(log, writer));
            }
        });
        drop(log);
        let (_log, recovery) =
            Log::open(options(directory.path(), durability), LogOffset::ZERO).unwrap();
        assert!(recovery.segments().len() > 10);
        check(&recovery);
    }
}

#[test]
fn durability_changes_while_writing() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(
        options(directory.path(), Durability::Always),
        LogOffset::ZERO,
    )
    .unwrap();
    let log = Arc::new(log);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let log = log.clone();
                scope.spawn(move || write(&log, writer))
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for durability in [Durability::Os, Durability::Always, Durability::Everysec] {
                    log.set_durability(durability);
                    std::thread::yield_now();
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    log.close().unwrap();
    drop(log);
    let (_log, recovery) =
        Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
    check(&recovery);
}

#[test]
fn switching_to_always_makes_earlier_records_durable() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), LogOffset::ZERO).unwrap();
    let end = append(&log, 1, b"written at ease");
    assert!(log.acknowledged_when(end));
    log.set_durability(Durability::Always);
    wait_until("it is durable", || log.durable() >= end);
    let end = append(&log, 2, b"written with care");
    acknowledged(&log, end);
    assert!(log.durable() >= end);
}

#[test]
fn everysec_syncs_without_being_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(
        options(directory.path(), Durability::Everysec),
        LogOffset::ZERO,
    )
    .unwrap();
    for n in 0..3 {
        let end = append(&log, n, b"x");
        assert!(log.acknowledged_when(end));
        wait_until("it is durable", || log.durable() >= end);
    }
}
