//! `CONFIG REWRITE`: the running settings into the file they were loaded from, with its comments and order kept.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::error::RewriteError;
use super::file::{self, toml_value};
use super::parameter::{self, lookup};
use super::table::Config;

/// Stands before settings that the file did not have.
const MARK: &str = "# Written by CONFIG REWRITE";

/// Replaces the file by one that holds the settings of `config`.
pub(super) fn rewrite(config: &Config) -> Result<(), RewriteError> {
    let path = config.file().ok_or(RewriteError::NoFile)?;
    // A symbolic link stays one: its target is replaced.
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error.into()),
    };
    let old = match file::read_bytes(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let new = rewritten(config, &path, file::decode(&path, &old)?)?;
    if new.as_bytes() != old {
        replace(&path, new.as_bytes())?;
    }
    Ok(())
}

/// The new text of a file: values that differ are replaced in place, settings that the file does not have and that
/// differ from their defaults are added at the end, and all else stays.
pub(super) fn rewritten(config: &Config, path: &Path, old: &str) -> Result<String, RewriteError> {
    let defaults = Config::default();
    let mut new = String::with_capacity(old.len());
    let mut copied = 0;
    let mut present = Vec::new();
    for item in file::items(path, old)? {
        let Some(entry) = lookup(&item.name).filter(|entry| entry.name() == item.name) else {
            continue;
        };
        present.push(entry.parameter.name);
        let mut said = Config::default();
        let unchanged =
            item.assign(entry, &mut said).is_ok() && entry.get(&said) == entry.get(config);
        if !unchanged {
            new += &old[copied..item.value_span.start];
            new += &toml_value(&entry.parameter.kind, &entry.get(config));
            copied = item.value_span.end;
        }
    }
    new += &old[copied..];
    let mut added = String::new();
    for parameter in parameter::all() {
        let value = (parameter.get)(config);
        if !present.contains(&parameter.name) && value != (parameter.get)(&defaults) {
            added += &format!(
                "{} = {}\n",
                parameter.name,
                toml_value(&parameter.kind, &value)
            );
        }
    }
    if !added.is_empty() {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        if !new.contains(MARK) {
            new += &format!("{}{MARK}\n", if new.is_empty() { "" } else { "\n" });
        }
        new += &added;
    }
    check(config, path, &new)?;
    Ok(new)
}

/// Checks that a text reads back as these settings.
fn check(config: &Config, path: &Path, text: &str) -> Result<(), RewriteError> {
    let mut said = Config::default();
    for item in file::items(path, text)? {
        if let Some(entry) = lookup(&item.name).filter(|entry| entry.name() == item.name)
            && item.assign(entry, &mut said).is_err()
        {
            return Err(RewriteError::Structure(entry.name()));
        }
    }
    match config.changed(&said).first() {
        Some(name) => Err(RewriteError::Structure(name)),
        None => Ok(()),
    }
}

/// Replaces a file atomically: a reader, or a start after a crash, sees the old text or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "the path has no file name",
        ));
    };
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(temporary);
    let written =
        write_synced(path, &temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: the error that counts is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    File::open(directory)?.sync_all()
}

/// Writes a new file with the permissions of the one it will replace.
fn write_synced(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // The file may hold a password, so it is nobody else's until it has the old one's mode.
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)?;
    match std::fs::metadata(path) {
        Ok(metadata) => file.set_permissions(metadata.permissions())?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(bytes)?;
    file.sync_all()
}
