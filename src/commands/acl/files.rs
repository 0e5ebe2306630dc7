//! Users in files: `aclfile`, which `ACL LOAD` reads and `ACL SAVE` writes, and the setting `user`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coterie_protocol::{ReplyWriter, RespVersion};

use super::users::{all_channels, end_clients};
use crate::acl::file::parse;
use crate::acl::{DEFAULT_USER, User};
use crate::commands::{CommandError, Control, Deferred};
use crate::config::replace_file;
use crate::node::Node;

const NO_FILE: CommandError = CommandError::line(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
     command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users \
     in the Redis configuration.",
);
const NOT_SAVED: &str =
    "There was an error trying to save the ACLs. Please check the server logs for more information";
const BOTH: &str =
    "users are given by the setting 'user' and by 'aclfile': it has to be one of them";

/// Gives a node that starts the users of its file, or of its settings.
///
/// # Errors
/// They can't be read: what is wrong.
pub fn load_at_start(node: &Node) -> Result<(), String> {
    let config = node.config.load();
    match &config.aclfile {
        Some(_) if !config.user.is_empty() => Err(BOTH.to_owned()),
        Some(path) => {
            if !config.requirepass.is_empty() {
                tracing::warn!("aclfile is set: requirepass has no effect, unless it is set again");
            }
            load(node, path)
        }
        None if config.user.is_empty() => Ok(()),
        None => {
            let lines = config.user.iter().map(|line| format!("user {line}\n"));
            let text: String = lines.collect();
            let mut users = parse("setting 'user'", text.as_bytes(), all_channels(node))?;
            let default = || User::clone(&node.acl.default_account().user());
            users.entry(DEFAULT_USER.to_vec()).or_insert_with(default);
            node.acl.replace(users);
            Ok(())
        }
    }
}

/// Replaces all users by those of a file, or none. Blocks on the disk.
fn load(node: &Node, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| {
        format!(
            "Error loading ACLs, opening file '{shown}': {}",
            Plain(error)
        )
    })?;
    let users = parse(&shown.to_string(), &text, all_channels(node)).map_err(|errors| {
        format!("{errors}WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
    })?;
    let gone = node.acl.replace(users);
    end_clients(node, &gone);
    Ok(())
}

/// An error in the system's words, without its number.
struct Plain(io::Error);

impl std::fmt::Display for Plain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string();
        formatter.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

fn save(node: &Node, path: &Path) -> Result<(), String> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = std::path::absolute(&path).unwrap_or(path);
    replace_file(&path, &node.acl.text()).map_err(|error| {
        tracing::error!(path = %path.display(), %error, "users could not be saved");
        NOT_SAVED.to_owned()
    })
}

pub fn load_command(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    with_file(call, load)
}

pub fn save_command(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    with_file(call, save)
}

/// Does something with the file, on a thread that may wait for the disk.
fn with_file(
    call: &mut Control<'_, '_>,
    work: fn(&Node, &Path) -> Result<(), String>,
) -> Result<Deferred, CommandError> {
    let path = call.node.config.load().aclfile.clone().ok_or(NO_FILE)?;
    let (node, resp) = (call.node.clone(), call.session.resp);
    Ok(Box::pin(done(node, path, resp, work)))
}

async fn done(
    node: Arc<Node>,
    path: PathBuf,
    resp: RespVersion,
    work: fn(&Node, &Path) -> Result<(), String>,
) -> Vec<u8> {
    let worked = tokio::task::spawn_blocking(move || work(&node, &path)).await;
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, resp);
    match worked {
        Ok(Ok(())) => reply.ok(),
        Ok(Err(error)) => reply.error_display(format_args!("ERR {error}")),
        Err(error) => reply.error_display(format_args!("ERR {error}")),
    }
    out
}
