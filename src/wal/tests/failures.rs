//! Full disks, failing syncs, locks, formats and large records.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::faults::{Faults, FaultyFiles};
use super::*;

const START: LogOffset = LogOffset::ZERO;

fn faulty(directory: &std::path::Path, durability: Durability) -> (Options, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let mut options = options(directory, durability);
    options.files = Arc::new(FaultyFiles(faults.clone()));
    (options, faults)
}

fn spare_is_ready(log: &Log) {
    wait_until("the spare is ready", || log.status().segments >= 2);
}

#[test]
fn a_full_disk_is_refused_before_writing_and_passes() {
    for durability in [Durability::Always, Durability::Everysec] {
        let directory = tempfile::tempdir().unwrap();
        let (options_, faults) = faulty(directory.path(), durability);
        let (log, _) = Log::open(options_, START).unwrap();
        spare_is_ready(&log);
        // Buffered writes into a prepared segment find no new block to allocate, in truth; here
        // every write fails, so only mapped appending can go on.
        if durability == Durability::Everysec {
            faults.no_space.store(true, Ordering::SeqCst);
        }
        let mut count = 0_u64;
        let failure = loop {
            match log.room(100) {
                Ok(()) => {
                    let end = log.append(header(count), &[7; 100]);
                    count += 1;
                    if durability == Durability::Always {
                        acknowledged(&log, end);
                        faults.no_space.store(count >= 300, Ordering::SeqCst);
                        if count >= 300 {
                            log.append(header(count), &[7; 100]);
                            count += 1;
                            wait_until("it fails", || log.status().room_failure.is_some());
                            break log.status().room_failure.unwrap();
                        }
                    } else {
                        assert!(log.acknowledged_when(end));
                    }
                }
                Err(NoRoom::Failed(text)) => break text,
                Err(NoRoom::Preparing) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        assert!(failure.contains("space"), "{failure}");
        assert!(count > 300);
        faults.no_space.store(false, Ordering::SeqCst);
        let end = append(&log, count, &[7; 100]);
        acknowledged(&log, end);
        log.close().unwrap();
        drop(log);
        let (log, recovery) = Log::open(options(directory.path(), durability), START).unwrap();
        assert_eq!(recovery.record_count(), count + 1);
        assert_eq!(log.status().room_failure, None);
    }
}

#[test]
fn appending_beyond_the_room_loses_and_acknowledges_nothing_early() {
    let directory = tempfile::tempdir().unwrap();
    let (options_, faults) = faulty(directory.path(), Durability::Os);
    let (log, _) = Log::open(options_, START).unwrap();
    spare_is_ready(&log);
    faults.no_space.store(true, Ordering::SeqCst);
    // Five segments' worth, of which two are there.
    let ends: Vec<_> = (0..2000_u64)
        .map(|n| log.append(header(n), &[n as u8; 130]))
        .collect();
    assert!(log.acknowledged_when(ends[100]));
    assert!(!log.acknowledged_when(ends[1999]));
    wait_until("it is noticed", || {
        matches!(log.room(1), Err(NoRoom::Failed(_)))
    });
    faults.no_space.store(false, Ordering::SeqCst);
    acknowledged(&log, ends[1999]);
    wait_until("there is room", || log.room(1).is_ok());
    log.close().unwrap();
    drop(log);
    let (_log, recovery) = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    let expected: Vec<_> = (0..2000_u64).map(|n| (n, vec![n as u8; 130])).collect();
    assert_eq!(contents(&recovery), expected);
}

#[test]
fn closing_with_a_full_disk_reports_what_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (options_, faults) = faulty(directory.path(), Durability::Os);
    let (log, _) = Log::open(options_, START).unwrap();
    spare_is_ready(&log);
    faults.no_space.store(true, Ordering::SeqCst);
    let ends: Vec<_> = (0..2000_u64)
        .map(|n| log.append(header(n), &[1; 130]))
        .collect();
    log.close().unwrap_err();
    let acknowledged = ends
        .iter()
        .filter(|end| log.acknowledged_when(**end))
        .count();
    assert!(acknowledged < 2000);
    drop(log);
    let (_log, recovery) = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    assert!(recovery.record_count() >= acknowledged as u64);
}

#[test]
fn short_writes_are_continued() {
    let directory = tempfile::tempdir().unwrap();
    let (options_, faults) = faulty(directory.path(), Durability::Always);
    let (log, _) = Log::open(options_, START).unwrap();
    spare_is_ready(&log);
    faults.write_limit.store(7, Ordering::SeqCst);
    let ends: Vec<_> = (0..50).map(|n| append(&log, n, &[3; 100])).collect();
    acknowledged(&log, ends[49]);
    drop(log);
    let (_log, recovery) = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    assert_eq!(recovery.record_count(), 50);
}

#[test]
fn a_failed_sync_stops_the_log() {
    for durability in [Durability::Always, Durability::Everysec] {
        let directory = tempfile::tempdir().unwrap();
        let (mut options_, faults) = faulty(directory.path(), durability);
        let (sender, receiver) = mpsc::channel::<io::Error>();
        options_.on_sync_failure = Box::new(move |error| sender.send(error).unwrap());
        let (log, _) = Log::open(options_, START).unwrap();
        spare_is_ready(&log);
        let good = append(&log, 1, b"good");
        wait_until("it is durable", || log.durable() >= good);
        faults.sync_fails.store(true, Ordering::SeqCst);
        let bad = append(&log, 2, b"bad");
        let error = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(error.to_string().contains("injected"));
        assert!(matches!(log.room(1), Err(NoRoom::Failed(_))));
        assert!(log.status().stopped.is_some());
        assert_eq!(log.durable(), good);
        if durability == Durability::Always {
            assert!(!log.acknowledged_when(bad));
        }
        let late = log.append(header(3), b"too late");
        assert!(!log.acknowledged_when(late));
        log.close().unwrap_err();
    }
}

#[test]
fn one_owner_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    let error = Log::open(options(directory.path(), Durability::Os), START).unwrap_err();
    match &error {
        OpenError::Locked { pid, .. } => assert_eq!(*pid, Some(std::process::id())),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains(&std::process::id().to_string()));
    drop(opened);
    Log::open(options(directory.path(), Durability::Os), START).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(Log::open(options(directory.path(), Durability::Os), START).unwrap());
    let path = directory.path().join("FORMAT");
    let format = fs::read_to_string(&path).unwrap();
    fs::write(&path, format.replace("version 1", "version 2\nnew: things")).unwrap();
    let error = Log::open(options(directory.path(), Durability::Os), START).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::NewerFormat {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    fs::write(&path, "something else").unwrap();
    let error = Log::open(options(directory.path(), Durability::Os), START).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    fs::remove_file(&path).unwrap();
    let error = Log::open(options(directory.path(), Durability::Os), START).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    fs::write(&path, format).unwrap();
    Log::open(options(directory.path(), Durability::Os), START).unwrap();
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(Log::open(options(directory.path(), Durability::Os), START).unwrap());
    let other = tempfile::tempdir().unwrap();
    let mut options_ = options(other.path(), Durability::Os);
    options_.log_id = Some(8);
    drop(Log::open(options_, START).unwrap());
    let name = "segment-00000000000000000001.log";
    fs::copy(other.path().join(name), directory.path().join(name)).unwrap();
    let error = Log::open(options(directory.path(), Durability::Os), START).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
}

#[test]
fn a_read_only_directory_is_told_clearly() {
    let directory = tempfile::tempdir().unwrap();
    let (options, faults) = faulty(directory.path(), Durability::Os);
    faults.read_only.store(true, Ordering::SeqCst);
    let error = Log::open(options, START).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("can't be written"), "{error}");
}

#[test]
fn records_larger_than_a_segment() {
    for durability in [Durability::Always, Durability::Os] {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(options(directory.path(), durability), START).unwrap();
        let large = 3 * MIN_SEGMENT_BYTES as usize + 5;
        assert_eq!(log.room(large), Err(NoRoom::Preparing));
        let mut expected = Vec::new();
        for n in 0..20_u64 {
            let size = if n % 4 == 1 { large } else { 40 };
            let end = append(&log, n, &vec![n as u8; size]);
            acknowledged(&log, end);
            expected.push((n, vec![n as u8; size]));
        }
        drop(log);
        let (log, recovery) = Log::open(options(directory.path(), durability), START).unwrap();
        assert_eq!(contents(&recovery), expected);
        assert_eq!(
            log.room(MAX_PAYLOAD + 1),
            Err(NoRoom::TooLarge {
                bytes: MAX_PAYLOAD + 1
            })
        );
    }
}

#[test]
fn room_for_a_large_record_fails_without_harm_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let (options, faults) = faulty(directory.path(), Durability::Os);
    let (log, _) = Log::open(options, START).unwrap();
    spare_is_ready(&log);
    faults.no_space.store(true, Ordering::SeqCst);
    let large = 10 * MIN_SEGMENT_BYTES as usize;
    log.make_room(large);
    wait_until("it fails", || {
        matches!(log.room(large), Err(NoRoom::Failed(_)))
    });
    assert_eq!(log.room(100), Ok(()));
    faults.no_space.store(false, Ordering::SeqCst);
    let end = append(&log, 1, &vec![1; large]);
    assert!(log.acknowledged_when(end));
}

#[test]
fn what_is_still_read_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    for n in 0..1500 {
        append(&log, n, &[n as u8; 100]);
    }
    drop(log);
    let (log, recovery) = Log::open(options(directory.path(), Durability::Os), START).unwrap();
    let before = contents(&recovery);
    assert!(log.remove_before(recovery.end()).unwrap() > 1);
    for n in 0..3000 {
        append(&log, n, &[0xff; 100]);
    }
    assert_eq!(contents(&recovery), before);
}

#[test]
fn a_large_record_refused_for_lack_of_space_is_tried_again_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (options, faults) = faulty(directory.path(), Durability::Os);
    let (log, _) = Log::open(options, START).unwrap();
    spare_is_ready(&log);
    faults.no_space.store(true, Ordering::SeqCst);
    let large = 10 * MIN_SEGMENT_BYTES as usize;
    log.make_room(large);
    wait_until("it fails", || {
        matches!(log.room(large), Err(NoRoom::Failed(_)))
    });
    faults.no_space.store(false, Ordering::SeqCst);
    // A writer that is refused does not ask for room beyond this.
    wait_until("there is room again", || log.room(large).is_ok());
}

/// What has to be on the disk is waited for until it is, at whichever durability the log itself is.
#[tokio::test]
async fn a_record_is_waited_for_until_it_is_synced() {
    for durability in [Durability::Always, Durability::Everysec, Durability::Os] {
        let directory = tempfile::tempdir().unwrap();
        let (options, faults) = faulty(directory.path(), durability);
        let (log, _) = Log::open(options, START).unwrap();
        spare_is_ready(&log);
        faults.syncs_hang.store(true, Ordering::SeqCst);
        let end = log.append(header(1), b"payload");
        let mut synced = std::pin::pin!(log.wait_until_synced(end));
        let early = tokio::time::timeout(Duration::from_millis(30), &mut synced).await;
        assert!(early.is_err() && log.durable() < end, "{durability:?}");
        assert_eq!(
            log.acknowledged_when(end),
            durability != Durability::Always,
            "{durability:?}"
        );
        faults.syncs_hang.store(false, Ordering::SeqCst);
        let late = tokio::time::timeout(Duration::from_secs(30), synced).await;
        assert!(late.is_ok() && log.durable() >= end, "{durability:?}");
    }
}
