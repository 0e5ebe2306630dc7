//! The reply of `HELP` subcommands, and the error that points to it.

use coterie_protocol::ReplyWriter;

use super::error::CommandError;

/// Writes what a container's subcommands do: `lines` holds each with its arguments, its description after it
/// on lines of their own, indented by four spaces.
pub fn help(reply: &mut ReplyWriter<'_>, container: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(format!(
        "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Show this list.");
}

/// The error for a subcommand whose arguments make no sense.
pub fn wrong_subcommand(container: &str, word: &[u8]) -> CommandError {
    CommandError::quoting(
        "ERR unknown subcommand or wrong number of arguments for '",
        &word[..word.len().min(128)],
        &format!("'. Try {container} HELP."),
    )
}
