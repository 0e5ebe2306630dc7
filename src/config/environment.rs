//! Settings from environment variables: `COTERIE_TCP_BACKLOG=511`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::{ConfigError, Place};
use super::parameter::{Assignment, SERVICE_LINKS, lookup, unknown_error};

const PREFIX: &str = "COTERIE_";

/// Prefixes and names that belong to tests and tools, not to the server.
const IGNORED: [&str; 2] = ["COTERIE_TEST_", "COTERIE_WRITE_EXAMPLE"];

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub file: Option<PathBuf>,
    pub log_filter: Option<String>,
    pub assignments: Vec<Assignment>,
}

/// The variable of a parameter.
pub(super) fn variable(parameter: &str) -> String {
    PREFIX.to_owned() + &parameter.to_ascii_uppercase().replace('-', "_")
}

/// Reads all variables with the prefix; one that means nothing is an error, so that a typo does not go unnoticed.
pub(super) fn parse(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, ConfigError> {
    let mut ours: Vec<(OsString, OsString)> = variables
        .into_iter()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        .filter(|(name, _)| {
            let name = name.as_encoded_bytes();
            !IGNORED
                .iter()
                .any(|ignored| name.starts_with(ignored.as_bytes()))
        })
        .collect();
    ours.sort();
    let mut environment = Environment::default();
    for (name, value) in ours {
        let name = name.into_string().map_err(|name| {
            ConfigError::NotText(format!("environment variable {}", name.display()))
        })?;
        if name == "COTERIE_CONFIG" {
            environment.file = Some(PathBuf::from(value));
            continue;
        }
        let text = value
            .into_string()
            .map_err(|_| ConfigError::NotText(format!("environment variable {name}")))?;
        if name == "COTERIE_LOG" {
            environment.log_filter = Some(text);
        } else {
            let assignment = assignment(name, text)?;
            add(&mut environment.assignments, assignment)?;
        }
    }
    Ok(environment)
}

fn assignment(name: String, text: String) -> Result<Assignment, ConfigError> {
    let parameter = name[PREFIX.len()..].replace('_', "-");
    let place = Place::Environment(name.clone());
    match lookup(&parameter).filter(|entry| variable(entry.name()) == name) {
        Some(entry) => Ok(Assignment { entry, text, place }),
        None => {
            let mut error = unknown_error(place, &name, variable);
            let injected = parameter == "SERVICE-HOST" || parameter.starts_with("SERVICE-PORT");
            if let ConfigError::Unknown { hint, .. } = &mut error
                && (injected || text.starts_with("tcp://"))
            {
                *hint = SERVICE_LINKS.to_owned();
            }
            Err(error)
        }
    }
}

/// Adds an assignment, unless another one sets the same parameter under another name.
fn add(assignments: &mut Vec<Assignment>, new: Assignment) -> Result<(), ConfigError> {
    for old in &*assignments {
        if std::ptr::eq(old.entry.parameter, new.entry.parameter) {
            return Err(ConfigError::Twice {
                place: new.place,
                first: old.entry.name(),
                second: new.entry.name(),
            });
        }
    }
    assignments.push(new);
    Ok(())
}
