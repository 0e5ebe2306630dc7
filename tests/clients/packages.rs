//! Installs what the scripts in `python/` and `node/` run on, and runs them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::common::Server;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs a command to its end; panics with its output when it fails, and with `hint` when it isn't there.
pub fn run(command: &mut Command, hint: &str) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("can't run {command:?}: {e}: {hint}"));
    assert!(
        output.status.success(),
        "{command:?}: {}: {hint}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Makes `directory` by `install` unless it is there for the same `pins`.
fn install_once(directory: &Path, pins: &str, install: impl FnOnce()) {
    let done = directory.join("installed");
    if fs::read_to_string(&done).is_ok_and(|found| found == pins) {
        return;
    }
    // What an interrupted or older installation left behind.
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("a directory below target/");
    install();
    fs::write(done, pins).expect("the mark of a complete installation");
}

/// Runs a script that prints `done` at its end. When it prints another word, it waits until `answer` has done what that
/// asks for; a line that `answer` doesn't know is shown.
pub fn run_script(command: &mut Command, mut answer: impl FnMut(&str) -> bool) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("can't run {command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stderr = child.stderr.take().expect("a pipe");
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut done = false;
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        if line == "done" {
            done = true;
        } else if answer(&line) {
            stdin.write_all(b"\n").expect("the script waits");
        } else {
            println!("{line}");
        }
    }
    let status = child.wait().expect("the script's end");
    let errors = errors.join().expect("the reader of errors");
    assert!(status.success() && done, "{command:?}: {status}\n{errors}");
}

/// Runs a script that prints `restart` when the server is to be killed and started again.
pub fn run_application(server: &mut Server, command: &mut Command) {
    run_script(command, |line| {
        let is_restart = line == "restart";
        if is_restart {
            server.kill();
            server.restart();
        }
        is_restart
    });
}

/// A script in `python/`.
pub fn python_script(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg("-B").arg(scripts().join("python").join(name));
    command
}

/// A script in `node/`.
pub fn node_script(name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(node_packages().join(name));
    command
}

/// A Python with the packages.
fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let requirements = scripts().join("python/requirements.txt");
        let pins = fs::read_to_string(&requirements).expect("requirements.txt");
        let python = directory.join("environment/bin/python");
        install_once(&directory, &pins, || {
            let environment = directory.join("environment");
            run(
                Command::new("python3")
                    .args(["-m", "venv"])
                    .arg(&environment),
                "python3 with venv is needed",
            );
            let install = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ];
            run(
                Command::new(&python).args(install).arg(&requirements),
                "the packages must be installable by pip",
            );
        });
        python
    };
    PYTHON.get_or_init(install).clone()
}

/// A directory with the packages and the scripts.
fn node_packages() -> PathBuf {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
        let scripts = scripts().join("node");
        let lock = scripts.join("package-lock.json");
        let pins = fs::read_to_string(lock).expect("package-lock.json");
        install_once(&directory, &pins, || {
            for file in ["package.json", "package-lock.json"] {
                fs::copy(scripts.join(file), directory.join(file)).expect("a copy below target/");
            }
            // What is optional is code for single platforms, which scripts would build where it isn't there.
            let install = ["install", "--omit=optional", "--ignore-scripts"];
            let quietly = ["--no-audit", "--no-fund", "--loglevel=error"];
            run(
                Command::new("npm")
                    .args(install)
                    .args(quietly)
                    .current_dir(&directory),
                "npm is needed, and the packages must be installable",
            );
        });
        // Node looks for packages beside the script.
        for file in fs::read_dir(scripts).expect("the scripts") {
            let script = file.expect("a file").path();
            if script
                .extension()
                .is_some_and(|extension| extension == "mjs")
            {
                let name = script.file_name().expect("a name");
                fs::copy(&script, directory.join(name)).expect("a copy below target/");
            }
        }
        directory
    };
    PACKAGES.get_or_init(install).clone()
}
