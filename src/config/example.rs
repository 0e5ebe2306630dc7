//! Texts made from the table: `--help`, `--version` and the example file.

use super::file::toml_value;
use super::kind::Kind;
use super::parameter::{self, Change, Parameter};

/// Columns of the texts.
const WIDTH: usize = 100;

/// The text of `--version`.
pub(super) fn version() -> String {
    format!("coterie {}\n", env!("CARGO_PKG_VERSION"))
}

/// The text of `--help`.
pub(super) fn help() -> String {
    let mut text = String::from(
        "A Redis-compatible, durable, distributed key-value database.\n\n\
         Usage: coterie [FILE] [--name value]...\n\n\
         Settings come from, each overriding the one before: the defaults, a TOML file, environment\n\
         variables (COTERIE_TCP_BACKLOG for --tcp-backlog), these flags, and CONFIG SET.\n\n\
         \x20 --config FILE\n\
         \x20       The TOML file to read; also as the first argument, or in COTERIE_CONFIG.\n\
         \x20 --print-default-config\n\
         \x20       Print a TOML file with all settings, their documentation and defaults.\n\
         \x20 --version, -v\n\
         \x20       Print the version.\n\
         \x20 --help, -h\n\
         \x20       Print this help.\n\n\
         COTERIE_LOG holds a filter of log messages that stands in for --loglevel (\"info,coterie=debug\").\n",
    );
    for_each_group(|group, parameters| {
        text += &format!("\n{group}\n");
        for parameter in parameters {
            text += &format!("  --{} VALUE\n", parameter.name);
            let mut body = format!(
                "{} Accepts {}. Default: {:?}.",
                parameter.summary(),
                parameter.kind.accepted(),
                parameter.default
            );
            for alias in parameter.aliases {
                body += &format!(" Also as --{}.", alias.name);
            }
            text += &wrapped(&body, "        ");
        }
    });
    text
}

/// The text of the example file.
pub(super) fn text() -> String {
    let mut text = String::from(
        "# Settings of a Coterie server, with their defaults.\n\
         #\n\
         # Start the server with `coterie --config coterie.toml`. Environment variables (COTERIE_TCP_BACKLOG)\n\
         # and flags (--tcp-backlog) override this file. A setting that is left out has its default.\n\
         # `coterie --print-default-config` prints this file anew.\n",
    );
    for_each_group(|group, parameters| {
        let rule = "#".repeat(8);
        text += &format!("\n{rule} {group} {rule}\n");
        for parameter in parameters {
            text += "\n";
            text += &wrapped(&parameter.summary(), "# ");
            let change = match parameter.change {
                Change::AtStart => "Read at start.",
                Change::Live => "CONFIG SET changes it at run time.",
            };
            let mut accepted = match parameter.kind {
                Kind::Bool => "true or false".to_owned(),
                kind => kind.accepted(),
            };
            if let Some(first) = accepted.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            text += &wrapped(&format!("{accepted}. {change}"), "# ");
            let value = toml_value(&parameter.kind, parameter.default);
            text += &format!("{} = {value}\n", parameter.name);
        }
    });
    text
}

/// Calls `visit` with each group and its parameters, in the order of the table; what can't be changed or is there for
/// tests is left out.
fn for_each_group(mut visit: impl FnMut(&str, &[&'static Parameter])) {
    let parameters: Vec<&Parameter> = parameter::all()
        .filter(|parameter| parameter.is_documented())
        .collect();
    for group in parameters.chunk_by(|left, right| left.group == right.group) {
        visit(group[0].group, group);
    }
}

/// Breaks a text into lines of at most `WIDTH` columns, each after `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
            lines += &format!("{indent}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &format!("{indent}{line}\n")
}
