//! `coterie-ctl wal` on real directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use coterie::wal::checkpoint::CheckpointWriter;
use coterie::wal::{
    Durability, Log, LogOffset, MIN_SEGMENT_BYTES, OpenError, Options, RecordHeader,
};
use coterie_protocol::{DatabaseId, PartitionId, Version};
use tempfile::TempDir;

fn options(directory: &Path) -> Options {
    let mut options = Options::new(directory);
    options.segment_bytes = MIN_SEGMENT_BYTES;
    options.durability = Durability::Os;
    options
}

fn header(n: u64) -> RecordHeader {
    RecordHeader {
        version: Version::from_bits(n),
        partition: PartitionId(7),
        database: DatabaseId(2),
        kind: 200,
    }
}

/// A closed log of some segments: its directory, and where its records end.
fn log(records: u64) -> (TempDir, Vec<LogOffset>) {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path()), LogOffset::ZERO).unwrap();
    let ends = (0..records)
        .map(|n| log.append(header(n), format!("payload \"{n}\" and more").as_bytes()))
        .collect();
    log.close().unwrap();
    (directory, ends)
}

fn ctl(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coterie-ctl"));
    command
        .arg("wal")
        .args(arguments)
        .arg(directory)
        .output()
        .unwrap()
}

/// Standard output of a command that must end well or not.
fn expect(success: bool, output: Output) -> String {
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), success, "{stdout}\n{stderr}");
    if success { stdout } else { stdout + &stderr }
}

fn segment(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("segment-{number:020}.log"))
}

fn damage(directory: &Path, at: LogOffset) {
    let path = segment(directory, at.segment());
    let mut bytes = fs::read(&path).unwrap();
    bytes[at.position() as usize + 40] ^= 1;
    fs::write(&path, bytes).unwrap();
}

fn count(directory: &Path) -> usize {
    let (_log, recovery) = Log::open(options(directory), LogOffset::ZERO).unwrap();
    assert_eq!(recovery.torn_tail(), None);
    recovery.records().count()
}

#[test]
fn a_sound_log_checks_out() {
    let (directory, ends) = log(3000);
    let mut writer = CheckpointWriter::create(directory.path(), 1, ends[9], b"metadata").unwrap();
    writer
        .begin_partition(PartitionId(1), Version::from_bits(5))
        .unwrap();
    writer.block(b"block").unwrap();
    writer.end_partition().unwrap();
    let (path, _) = writer.finish().unwrap();
    let text = expect(true, ctl(&["check"], directory.path()));
    assert!(text.contains("2990 records, the log ends at"), "{text}");
    assert!(text.contains("1 partitions, 1 blocks"), "{text}");

    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let text = expect(false, ctl(&["check"], directory.path()));
    assert!(text.contains("DAMAGED"), "{text}");
}

#[test]
fn records_are_dumped_one_a_line() {
    let (directory, ends) = log(50);
    let text = expect(true, ctl(&["dump"], directory.path()));
    assert_eq!(text.lines().count(), 50);
    assert_eq!(
        text.lines().next().unwrap(),
        "1:64 version=0.0 partition=7 database=2 kind=200 bytes=20 \"payload \\\"0\\\" and more\""
    );
    let from = ends[9].to_string();
    let arguments = ["dump", "--from", &from, "--limit", "2", "--payload", "4"];
    let text = expect(true, ctl(&arguments, directory.path()));
    assert_eq!(text.lines().count(), 2);
    assert!(text.starts_with(&format!("{from} version=0.10 ")), "{text}");
    assert!(text.contains("\"payl\"…"), "{text}");
}

#[test]
fn a_damaged_log_is_repaired_only_when_told_so() {
    let (directory, ends) = log(3000);
    let directory = directory.path();
    let bad = 1000;
    assert!(ends[2999].segment() > ends[bad].segment() + 1);
    damage(directory, ends[bad - 1]);
    let text = expect(false, ctl(&["check"], directory));
    assert!(text.contains("is damaged at byte"), "{text}");
    let text = expect(false, ctl(&["dump"], directory));
    assert!(text.lines().count() >= bad, "what is readable is printed");

    let text = expect(false, ctl(&["repair"], directory));
    assert!(text.contains("--yes"), "{text}");
    let error = Log::open(options(directory), LogOffset::ZERO).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");

    let original = fs::read(segment(directory, ends[bad].segment())).unwrap();
    let text = expect(true, ctl(&["repair", "--yes"], directory));
    assert!(text.contains("cut"), "{text}");
    let mut kept = segment(directory, ends[bad].segment()).into_os_string();
    kept.push(".removed");
    assert_eq!(
        fs::read(kept).unwrap(),
        &original[ends[bad - 1].position() as usize..]
    );
    assert_eq!(count(directory), bad);
    expect(true, ctl(&["check"], directory));
    let text = expect(true, ctl(&["repair", "--yes"], directory));
    assert!(text.contains("needs no repair"), "{text}");
}

#[test]
fn a_damaged_header_and_a_missing_format_cost_no_record() {
    let (directory, _) = log(3000);
    let directory = directory.path();
    let path = segment(directory, 2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(directory.join("FORMAT")).unwrap();
    let text = expect(true, ctl(&["repair", "--yes"], directory));
    assert!(text.contains("FORMAT") && text.contains("header"), "{text}");
    assert_eq!(count(directory), 3000);
}

#[test]
fn a_missing_segment_ends_the_log_before_it() {
    let (directory, ends) = log(3000);
    let directory = directory.path();
    fs::remove_file(segment(directory, 2)).unwrap();
    expect(false, ctl(&["check"], directory));
    let text = expect(true, ctl(&["repair", "--yes"], directory));
    assert!(text.contains("moved"), "{text}");
    let first = ends.iter().filter(|end| end.segment() == 1).count();
    assert_eq!(count(directory), first);
}

#[test]
fn a_log_in_use_is_checked_but_not_repaired() {
    let (directory, _) = log(10);
    let (_log, _) = Log::open(options(directory.path()), LogOffset::ZERO).unwrap();
    let text = expect(true, ctl(&["check"], directory.path()));
    assert!(text.contains("in use"), "{text}");
    let text = expect(false, ctl(&["repair", "--yes"], directory.path()));
    assert!(text.contains(&std::process::id().to_string()), "{text}");
}

#[test]
fn something_else_is_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let text = expect(false, ctl(&["check"], directory.path()));
    assert!(text.contains("neither"), "{text}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
