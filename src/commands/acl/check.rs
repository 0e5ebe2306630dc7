//! The check of a command against what its user may do, and what is kept of refusals.

use std::sync::Arc;

use coterie_protocol::Request;

use crate::acl::log::{Context, Entry, Reason};
use crate::acl::{Account, Denied, User, merge_selectors};
use crate::commands::client::list::describe;
use crate::commands::table::{self, Command};
use crate::commands::transactions::UNIT;
use crate::commands::{CommandError, CommandResult, Control, Handler};
use crate::node::Node;
use crate::session::Session;

const WRONG_PASSWORD: CommandError =
    CommandError::line("WRONGPASS invalid username-password pair or user is disabled.");

/// Whether a request is allowed; nothing is kept of it.
pub fn is_allowed(session: &Session, command: &Command, request: Request<'_>) -> bool {
    check(session, command, request).is_ok()
}

/// What a client asks for; not what a node asks for, which has checked its client's requests itself.
#[inline]
fn check_client(session: &Session, command: &Command, request: Request<'_>) -> Result<(), Denied> {
    if session.internal {
        return Ok(());
    }
    check(session, command, request)
}

/// What most commands pass at the cost of one load.
#[inline]
fn check(session: &Session, command: &Command, request: Request<'_>) -> Result<(), Denied> {
    match &session.user {
        Some(account) if !account.is_unrestricted() => account.user().check(command, request),
        _ => Ok(()),
    }
}

/// Lets a client's request pass, or tells why not.
#[inline]
pub fn admit(
    node: &Node,
    session: &Session,
    command: &Command,
    request: Request<'_>,
) -> CommandResult {
    check_client(session, command, request).map_err(|denied| {
        note(node, session, command, request, denied, context(session));
        no_permission(command, denied)
    })
}

fn no_permission(command: &Command, denied: Denied) -> CommandError {
    let what = match denied {
        Denied::Command => format!("run the '{}' command", command.spec.name),
        Denied::Key(_) => "access one of the keys used as arguments".to_owned(),
        Denied::Channel(_) => "access one of the channels used as arguments".to_owned(),
    };
    let line = format!("NOPERM this user has no permissions to {what}");
    CommandError::Line(line.into())
}

/// Lets a queued command pass, whose user may have lost a right since.
pub fn admit_queued(
    node: &Node,
    session: &Session,
    command: &Command,
    request: Request<'_>,
) -> CommandResult {
    check_client(session, command, request).map_err(|denied| {
        note(node, session, command, request, denied, Context::Multi);
        let reason = text_about(
            denied,
            "no permission to execute the command or subcommand",
            "no permission to touch the specified keys",
            "no permission to access one of the channels used as arguments",
        );
        let line = format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
             This command is no longer allowed for the following reason: {reason}"
        );
        CommandError::Line(line.into())
    })
}

/// Lets a script's command pass, or tells why not.
pub fn admit_in_script(
    node: &Node,
    session: &Session,
    command: &Command,
    request: Request<'_>,
) -> Result<(), &'static str> {
    check(session, command, request).map_err(|denied| {
        note(node, session, command, request, denied, Context::Lua);
        text_about(
            denied,
            "ERR The user executing the script can't run this command or subcommand",
            "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
            "ERR The user executing the script can't publish to the channel mentioned in the command",
        )
    })
}

/// The one of these texts that is about what was denied.
fn text_about(
    denied: Denied,
    command: &'static str,
    key: &'static str,
    channel: &'static str,
) -> &'static str {
    match denied {
        Denied::Command => command,
        Denied::Key(_) => key,
        Denied::Channel(_) => channel,
    }
}

/// What another node has to hold the commands of a script to, if this is one whose user may not do everything, or a
/// transaction that may have one in it. Other commands are checked here alone.
pub fn rights_of_script(session: &Session, request: Request<'_>) -> Vec<u8> {
    let is_script = |command: &Command| {
        matches!(command.spec.handler, Handler::Script(_)) || command.spec.name == UNIT
    };
    match &session.user {
        Some(account)
            if !account.is_unrestricted() && table::lookup(request).is_ok_and(is_script) =>
        {
            account.user().permissions()
        }
        _ => Vec::new(),
    }
}

/// The account of a user of another node, from rules that it sent along.
///
/// # Errors
/// They can't be read.
pub fn account_of_rights(rights: &[u8]) -> Result<Arc<Account>, CommandError> {
    let unreadable = || CommandError::line("NOPERM the rights of the script's user can't be read");
    let words: Vec<&[u8]> = rights.split(|&byte| byte == b' ').collect();
    let mut user = User::new(false);
    for rule in merge_selectors(&words).map_err(|_| unreadable())? {
        user.apply(&rule, false).map_err(|_| unreadable())?;
    }
    Ok(Arc::new(Account::new(b"(of another node)", user)))
}

/// Logs in.
///
/// # Errors
/// The name or the password is wrong.
pub fn authenticate(call: &mut Control<'_, '_>, name: &[u8], password: &[u8]) -> CommandResult {
    if let Some(account) = call.node.acl.authenticate(name, password) {
        call.session.log_in(&account);
        return Ok(());
    }
    let entry = Entry {
        reason: Reason::Authentication,
        object: call.request.name().to_vec(),
        username: name.to_vec(),
        ..entry(call.node, call.session, call.request, context(call.session))
    };
    keep(call.node, entry);
    Err(WRONG_PASSWORD)
}

/// Where a request of a client stands.
fn context(session: &Session) -> Context {
    if session.queue.is_some() {
        Context::Multi
    } else {
        Context::TopLevel
    }
}

#[cold]
fn note(
    node: &Node,
    session: &Session,
    command: &Command,
    request: Request<'_>,
    denied: Denied,
    context: Context,
) {
    let (reason, object) = match denied {
        Denied::Command => (Reason::Command, command.spec.name.as_bytes()),
        Denied::Key(place) => (Reason::Key, request.arg(place)),
        Denied::Channel(place) => (Reason::Channel, request.arg(place)),
    };
    let entry = Entry {
        reason,
        object: object.to_vec(),
        ..entry(node, session, request, context)
    };
    keep(node, entry);
}

fn entry(node: &Node, session: &Session, request: Request<'_>, context: Context) -> Entry {
    let now_ms = node.now_ms();
    let name = session.user.as_ref().map(|account| account.name().to_vec());
    let mut client = describe(session, request, now_ms);
    client.truncate(client.trim_end().len());
    Entry {
        count: 1,
        reason: Reason::Command,
        context,
        object: Vec::new(),
        username: name.unwrap_or_default(),
        time_ms: now_ms,
        client,
    }
}

fn keep(node: &Node, entry: Entry) {
    let max = node.config.load().acllog_max_len;
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    node.acl.log.lock().add(entry, max);
}
