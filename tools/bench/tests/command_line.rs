//! The bench as a user runs it, with redis-server on both sides. No figure is checked, only that
//! each is there, and that nothing is left behind.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

fn bench(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coterie-bench"));
    command
        .args(["--quick", "--no-pin", "--rounds", "2", "--dir"])
        .arg(dir);
    command.args(args).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{out}\n{err}")
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// The cells of every Markdown row, rules left out.
fn rows(markdown: &str) -> Vec<Vec<&str>> {
    markdown
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(str::trim).collect::<Vec<_>>())
        .filter(|cells| !cells[0].starts_with("---"))
        .collect()
}

fn number(cell: &str) -> f64 {
    cell.replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("{cell:?} is no number"))
}

#[test]
fn every_kind_of_case_prints_a_table_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path(), &["--subject", "redis", "--markdown"]);
    command.args(["--seconds", "0.2", "--keys", "2000"]);
    let cases = [
        "mixed-p30",
        "set-always-1",
        "memory",
        "restart-log",
        "restart-checkpoint",
        "checkpoint",
    ];
    for case in cases {
        command.args(["--case", case]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let markdown = String::from_utf8(output.stdout).unwrap();
    let rows = rows(&markdown);
    for case in cases {
        let at = rows.iter().position(|row| row[0] == case);
        let at = at.unwrap_or_else(|| panic!("no row of {case} in {markdown}"));
        let header = rows[..at]
            .iter()
            .rev()
            .find(|row| row[0] == "case")
            .unwrap();
        let mine = 1 + rows[at + 1..]
            .iter()
            .take_while(|row| row[0].is_empty())
            .count();
        let (ratios, figures): (Vec<_>, Vec<_>) = rows[at..at + mine]
            .iter()
            .partition(|row| row[1].starts_with("ratio "));
        let references = if case == "mixed-p30" { 2 } else { 1 };
        assert_eq!(
            (figures.len(), ratios.len()),
            (references + 1, references),
            "{markdown}"
        );
        for row in figures {
            assert_eq!(row.len(), header.len(), "{markdown}");
            assert!(
                row[2..].iter().all(|cell| number(cell) >= 0.0),
                "{markdown}"
            );
            assert!(number(row[2]) > 0.0, "{markdown}");
        }
        for row in ratios {
            assert!(row[2..].iter().any(|cell| !cell.is_empty()), "{markdown}");
        }
    }
    assert!(is_empty(dir.path()));
}

#[test]
fn servers_with_the_same_data_are_measured_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path(), &["--subject", "redis", "--markdown"]);
    command.args(["--seconds", "0.2"]);
    let cases = [("cluster-set-p30", 3), ("cluster-get-one-p1", 1)];
    for (case, _) in cases {
        command.args(["--case", case]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let markdown = String::from_utf8(output.stdout).unwrap();
    let rows = rows(&markdown);
    for (case, references) in cases {
        let at = rows.iter().position(|row| row[0] == case).unwrap();
        let (figures, rest) = rows[at..].split_at(references + 1);
        assert!(figures.iter().all(|row| number(row[2]) > 0.0), "{markdown}");
        assert_eq!(
            rest.iter()
                .take_while(|row| row[1].starts_with("ratio "))
                .count(),
            references,
            "{markdown}"
        );
        // Each of the two replicas gets each 64-byte value (where there is `ss` to tell).
        let sent = figures.iter().map(|row| number(row[7]));
        if case.contains("set") {
            assert!(
                sent.into_iter()
                    .all(|bytes| bytes.is_nan() || bytes >= 128.0),
                "{markdown}"
            );
        }
    }
    assert!(is_empty(dir.path()));
}

#[test]
fn the_timeline_is_drawn_with_the_killed_node_apart() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = tempfile::tempdir().unwrap();
    let picture = pictures.path().join("timeline.svg");
    let mut command = bench(dir.path(), &["--subject", "redis", "--case", "timeline"]);
    command.args(["--seconds", "0.5", "--timeline-rate", "600"]);
    let output = command.arg("--picture").arg(&picture).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let svg = fs::read_to_string(&picture).unwrap();
    assert!(svg.contains("kill -9") && svg.contains("started again"));
    let csv = fs::read_to_string(picture.with_extension("csv")).unwrap();
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name| header.iter().position(|it| *it == name).unwrap();
    let steps: Vec<Vec<f64>> = lines
        .map(|line| line.split(',').map(number).collect())
        .collect();
    assert_eq!(steps.len(), 30, "{csv}");
    let sum = |name| steps.iter().map(|step| step[column(name)]).sum::<f64>();
    // Two of three clients are with nodes that live.
    let asked = sum("living_operations") + sum("living_errors");
    assert!((1100.0..=1250.0).contains(&asked), "{asked} in {csv}");
    assert_eq!(sum("living_errors"), 0.0, "{}", text(&output));
    assert!(sum("killed_errors") > 0.0, "{csv}");
    assert!(sum("killed_operations") > 0.0, "{csv}");
    assert!(is_empty(dir.path()));
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (args, message) in [
        (
            &["--coterie", "/no/such/coterie"][..],
            "no Coterie binary at \"/no/such/coterie\"",
        ),
        (
            &["--redis-server", "/no/such/redis"],
            "redis-server not found as \"/no/such/redis\"",
        ),
        (&["--case", "nonsense"], "no case is named \"nonsense\""),
        (
            &["--coterie", "/bin/false", "--case", "get-p1"],
            "ended with exit status: 1 before it was ready",
        ),
    ] {
        let output = bench(dir.path(), args).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output).contains(message), "{}", text(&output));
    }
    assert!(is_empty(dir.path()));
}

#[test]
fn an_interrupt_stops_the_servers_and_removes_their_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(
        dir.path(),
        &["--subject", "redis", "--case", "set-p1", "--seconds", "600"],
    );
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_empty(dir.path()) {
        assert!(child.try_wait().unwrap().is_none(), "ended by itself");
        assert!(Instant::now() < deadline, "no server was started");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(is_empty(dir.path()));
    let servers = servers_in(dir.path());
    assert!(servers.is_empty(), "still running: {servers:?}");
}

/// The working directories of processes that are in this directory, even a removed one: both
/// servers go to the one given with --dir.
fn servers_in(dir: &Path) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok())
        .filter(|cwd| cwd.starts_with(dir))
        .map(|cwd| cwd.to_string_lossy().into_owned())
        .collect()
}
