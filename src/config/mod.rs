//! The settings of a server: one typed struct, filled from defaults, a TOML file, the environment, flags and `CONFIG SET`.
//!
//! Each source overrides the one before it:
//!
//! 1. the defaults in the table of parameters,
//! 2. a TOML file (`--config FILE`, a first argument that is no flag, or `COTERIE_CONFIG`),
//! 3. environment variables (`COTERIE_TCP_BACKLOG=511`),
//! 4. flags (`--tcp-backlog 511` or `--tcp-backlog=511`),
//! 5. `CONFIG SET` while the server runs.
//!
//! One static table (the `table` module) names every parameter once; the fields of [`Config`], the file, the environment,
//! the flags, `--help`, the example file and `CONFIG GET|SET|REWRITE` all come from it. Names, ranges and
//! error texts are those of Redis 7.0 wherever it has the same parameter.

mod environment;
mod error;
mod example;
mod file;
mod flags;
mod kind;
pub mod logging;
mod parameter;
mod rewrite;
mod suggest;
mod table;
mod values;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use error::{ConfigError, Place, RewriteError, SetError, ValueError};
pub use table::Config;
pub use values::{
    ChannelDefault, DebugCommand, Durability, LogFormat, LogLevel, MaxmemoryPolicy, MemoryLimit,
    OutputBufferLimit, OutputBufferLimits, Redirect, Secret,
};

pub(crate) use rewrite::replace as replace_file;

use parameter::{Change, Entry, entries, lookup};

use crate::glob::{self, Case};

/// What the command line asked for.
#[derive(Debug)]
pub enum Loaded {
    /// Start a server with these settings.
    Run(Box<Config>),
    /// Print this text and exit with success (`--help`, `--version`, `--print-default-config`).
    Print(String),
}

/// Where a configuration came from, besides its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
struct Origin {
    /// The file that was loaded, as an absolute path.
    file: Option<PathBuf>,
    /// The value of `COTERIE_LOG`, a filter that stands in for `loglevel` at start.
    log_filter: Option<String>,
}

impl Config {
    /// Reads all sources: `args` are the arguments after the program's name, `environment` all variables
    /// of the process (`std::env::vars_os()`); those without the prefix `COTERIE_` are not looked at.
    ///
    /// # Errors
    ///
    /// An unknown name or a bad value in any source, with its place; a file that can't be read.
    pub fn load(
        args: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let flags = match flags::parse(args)? {
            flags::Parsed::Print(text) => return Ok(Loaded::Print(text)),
            flags::Parsed::Run(flags) => flags,
        };
        let environment = environment::parse(environment)?;
        let mut config = Config::default();
        if let Some(path) = flags.file.or(environment.file) {
            file::load(&path, &mut config)?;
            config.origin.file = Some(std::path::absolute(&path).unwrap_or(path));
        }
        config.origin.log_filter = environment.log_filter;
        for assignment in environment.assignments.iter().chain(&flags.assignments) {
            assignment.apply(&mut config)?;
        }
        Ok(Loaded::Run(Box::new(config)))
    }

    /// The parameters that match `pattern`, as `CONFIG GET` answers them (memory in bytes, switches as `yes` or
    /// `no`), in the order of the table. Case doesn't matter. As in Redis, a name without wildcards is
    /// given back in the caller's spelling, and aliases are listed as parameters of their own.
    #[must_use]
    pub fn get(&self, pattern: &[u8]) -> Vec<(Cow<'static, str>, String)> {
        if !glob::has_wildcard(pattern) {
            let Ok(name) = str::from_utf8(pattern) else {
                return Vec::new();
            };
            return lookup(name)
                .filter(Entry::is_shown)
                .map(|entry| (Cow::Owned(name.to_owned()), entry.get(self)))
                .into_iter()
                .collect();
        }
        entries()
            .filter(Entry::is_shown)
            .filter(|entry| glob::matches(pattern, entry.name().as_bytes(), Case::Insensitive))
            .map(|entry| (Cow::Borrowed(entry.name()), entry.get(self)))
            .collect()
    }

    /// A copy of these settings with all `pairs` of name and value applied, as `CONFIG SET` does: all or nothing.
    ///
    /// # Errors
    ///
    /// The first pair that can't be set. The error's text is Redis' own, without the leading `ERR `. As in Redis,
    /// every name is checked before any value is.
    pub fn set(&self, pairs: &[(&[u8], &[u8])]) -> Result<Config, SetError> {
        let mut found: Vec<(Entry, &[u8], &[u8])> = Vec::with_capacity(pairs.len().min(64));
        for &(name, value) in pairs {
            let entry = str::from_utf8(name)
                .ok()
                .and_then(lookup)
                .filter(Entry::is_shown)
                .ok_or_else(|| SetError::unknown(name))?;
            if entry.parameter.change == Change::AtStart {
                return Err(SetError::failed(name, ValueError::IMMUTABLE));
            }
            // Only distinct parameters get this far, so the scan is bounded by the table.
            let given = |(other, ..): &(Entry, &[u8], &[u8])| {
                std::ptr::eq(other.parameter, entry.parameter)
            };
            if found.iter().any(given) {
                return Err(SetError::failed(name, ValueError::DUPLICATE));
            }
            found.push((entry, name, value));
        }
        let mut config = self.clone();
        for (entry, name, value) in found {
            entry
                .assign_bytes(&mut config, value)
                .map_err(|reason| SetError::failed(name, reason))?;
        }
        Ok(config)
    }

    /// The names of the parameters in which `self` and `other` differ, without aliases.
    #[must_use]
    pub fn changed(&self, other: &Config) -> Vec<&'static str> {
        parameter::all()
            .filter(|parameter| (parameter.get)(self) != (parameter.get)(other))
            .map(|parameter| parameter.name)
            .collect()
    }

    /// Writes the settings back to the file that was loaded, as `CONFIG REWRITE` does: comments, order and unknown lines
    /// stay, values that differ are replaced in place, and what is new goes to the end. The file is replaced
    /// atomically and synced. This blocks on the disk.
    ///
    /// # Errors
    ///
    /// No file was loaded, it can't be read or written, or it is no TOML any more.
    pub fn rewrite(&self) -> Result<(), RewriteError> {
        rewrite::rewrite(self)
    }

    /// The file the settings were read from, as an absolute path.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.origin.file.as_deref()
    }

    /// The text of the example file `coterie.toml`: every parameter with its documentation and default.
    #[must_use]
    pub fn example() -> String {
        example::text()
    }

    /// The secret of the cluster, from `cluster-secret` or the file that `cluster-secret-file` names; `None` if
    /// there is none. This blocks on the disk.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is empty but for white space.
    pub fn read_cluster_secret(&self) -> std::io::Result<Option<Secret>> {
        let Some(path) = &self.cluster_secret_file else {
            return Ok((!self.cluster_secret.is_empty()).then(|| self.cluster_secret.clone()));
        };
        let secret = Secret::new(std::fs::read_to_string(path)?.trim());
        if secret.is_empty() {
            let error = format!("{} holds no secret", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        }
        Ok(Some(secret))
    }

    /// Whether the value of this parameter is a secret, which logs (`SLOWLOG`, `MONITOR`) must not show.
    #[must_use]
    pub fn is_secret(name: &[u8]) -> bool {
        str::from_utf8(name)
            .ok()
            .and_then(lookup)
            .is_some_and(|entry| entry.parameter.secret)
    }
}
