//! Settings from the command line, in the manner of `redis-server`: `--name value` for every parameter.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::{ConfigError, Place};
use super::example;
use super::parameter::{Assignment, Entry, lookup, unknown_error};

/// What the command line says.
#[derive(Debug)]
pub(super) enum Parsed {
    Run(Flags),
    /// Print this and stop.
    Print(String),
}

/// The settings on the command line, in their order; the last one of a parameter wins.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub file: Option<PathBuf>,
    pub assignments: Vec<Assignment>,
}

/// Reads the arguments after the program's name. Values follow their flag up to the next argument that starts with
/// `--`; `--name=value` takes any value. A first argument that is no flag is the configuration file.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ConfigError> {
    let mut args = args.into_iter().peekable();
    let mut flags = Flags::default();
    if let Some(file) = args.next_if(|arg| !arg.as_encoded_bytes().starts_with(b"-")) {
        flags.file = Some(PathBuf::from(file));
    }
    while let Some(arg) = args.next() {
        let arg = arg
            .into_string()
            .map_err(|arg| ConfigError::NotText(format!("argument {}", arg.display())))?;
        match arg.as_str() {
            "--help" | "-h" => return Ok(Parsed::Print(example::help())),
            "--version" | "-v" | "-V" => return Ok(Parsed::Print(example::version())),
            "--print-default-config" => return Ok(Parsed::Print(example::text())),
            _ => {}
        }
        let Some(flag) = arg.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            return Err(ConfigError::UnexpectedArgument(arg));
        };
        let (name, values) = match flag.split_once('=') {
            Some((name, value)) => (name, vec![OsString::from(value)]),
            None => {
                let mut values = Vec::new();
                while let Some(value) = args.next_if(is_value) {
                    values.push(value);
                }
                (flag, values)
            }
        };
        if name == "config" {
            let [path] =
                <[OsString; 1]>::try_from(values).map_err(|_| ConfigError::FlagValues {
                    name: name.to_owned(),
                    expected: "one value, the path of a TOML file",
                })?;
            flags.file = Some(PathBuf::from(path));
        } else {
            flags.assignments.push(assignment(name, values)?);
        }
    }
    Ok(Parsed::Run(flags))
}

/// Whether an argument is a value rather than a flag. A single dash starts a value: `-::1`, `-1`.
fn is_value(arg: &OsString) -> bool {
    !arg.as_encoded_bytes().starts_with(b"--") && arg != "-h" && arg != "-v" && arg != "-V"
}

fn assignment(name: &str, values: Vec<OsString>) -> Result<Assignment, ConfigError> {
    let place = Place::Flag(name.to_owned());
    let Some(entry) = lookup(name) else {
        return Err(unknown_error(place, name, str::to_owned));
    };
    let text = joined(entry, name, values)?;
    Ok(Assignment { entry, text, place })
}

/// The values of one flag as one text.
fn joined(entry: Entry, name: &str, values: Vec<OsString>) -> Result<String, ConfigError> {
    let several = entry.parameter.kind.takes_several();
    if values.is_empty() || (values.len() > 1 && !several) {
        return Err(ConfigError::FlagValues {
            name: name.to_owned(),
            expected: if several {
                "at least one value"
            } else {
                "one value"
            },
        });
    }
    let words: Result<Vec<String>, OsString> =
        values.into_iter().map(OsString::into_string).collect();
    match words {
        Ok(words) => Ok(words.join(" ")),
        Err(_) => Err(ConfigError::NotText(format!("the value of flag --{name}"))),
    }
}
