//! What the README shows is what happens.

mod common;

use std::process::Command;

use common::Server;

const README: &str = include_str!("../README.md");

/// The lines of the blocks of this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in README.lines() {
        if let Some(after) = line.strip_prefix("```") {
            inside = !inside && after == language;
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

#[test]
fn the_redis_cli_session() {
    let server = Server::subject();
    let mut expected: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in blocks("redis-cli") {
        match line.strip_prefix("127.0.0.1:6379> ") {
            Some(command) => expected.push((command, Vec::new())),
            None => expected.last_mut().expect("a command first").1.push(line),
        }
    }
    assert!(expected.len() > 5);
    for (command, lines) in expected {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("redis-cli --no-raw -p {} {command}", server.port()))
            .output()
            .expect("redis-cli is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{command}");
    }
}

#[test]
fn shell_commands_name_what_is_there() {
    let lines = blocks("sh");
    assert!(lines.contains(&"cargo run --release"));
    assert!(
        include_str!("../.ci/run").contains("\ncargo test --workspace\n"),
        "the test command is what CI runs"
    );
    assert!(lines.contains(&"cargo test --workspace"));
    let local = "cargo build --release && cargo run --release -p coterie-ctl -- local --nodes 3";
    assert!(lines.contains(&local), "one command starts a cluster");
    let help = Command::new(env!("CARGO_BIN_EXE_coterie"))
        .arg("--help")
        .output()
        .expect("the server binary");
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout);
    let (_, configure) = README.split_once("## Configure").expect("the section");
    let (configure, _) = configure.split_once("## ").expect("another one");
    let settings = configure
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    assert!(settings.clone().count() > 5);
    for setting in settings {
        let name = setting.split('`').next().unwrap_or_default();
        assert!(help.contains(&format!("--{name}")), "{name}");
    }
}
