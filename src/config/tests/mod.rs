//! Tests of the whole module. Error texts and edge cases of parameters that Redis has were tried on Redis 7.0.15.

mod file;
mod properties;
mod set_and_get;
mod sources;
mod table;

use std::ffi::OsString;
use std::path::Path;

use super::kind::Kind;
use super::parameter::{self, Change, entries, lookup};
use super::*;

/// Loads from flags (split at spaces) and environment variables.
fn load(args: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
    match load_args(args, variables)? {
        Loaded::Run(config) => Ok(*config),
        Loaded::Print(text) => panic!("printed: {text}"),
    }
}

fn load_args(args: Vec<OsString>, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(args, variables)
}

fn load_error(args: &str, variables: &[(&str, &str)]) -> String {
    load(args, variables).unwrap_err().to_string()
}

/// Reads the text of a file.
fn from_file(text: impl AsRef<[u8]>) -> Result<Config, String> {
    let mut config = Config::default();
    super::file::apply(Path::new("coterie.toml"), text.as_ref(), &mut config)
        .map(|()| config)
        .map_err(|error| error.to_string())
}

fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<Config, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    config.set(&pairs).map_err(|error| error.to_string())
}

fn get(config: &Config, name: &str) -> String {
    let mut found = config.get(name.as_bytes());
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0).1
}
