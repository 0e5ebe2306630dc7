//! Users as clients see and change them: `ACL SETUSER`, `DELUSER`, `GETUSER`, `LIST`, `USERS`.

use std::sync::Arc;

use coterie_protocol::ReplyWriter;

use crate::acl::{Account, DEFAULT_USER, Selector, User, has_spaces, merge_selectors};
use crate::commands::{CommandError, CommandResult, Control};
use crate::config::ChannelDefault;
use crate::node::Node;
use crate::pubsub::Topic;

/// Whether new users may use every channel.
pub fn all_channels(node: &Node) -> bool {
    node.config.load().acl_pubsub_default == ChannelDefault::All
}

pub fn setuser(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    let name = request.arg(2);
    if has_spaces(name) {
        return Err(CommandError::err(
            "Usernames can't contain spaces or null characters",
        ));
    }
    let words: Vec<&[u8]> = request.iter().skip(3).collect();
    let rules = merge_selectors(&words).map_err(|index| {
        let before = "ERR Unmatched parenthesis in acl selector starting at '";
        CommandError::quoting(before, words[index], "'.")
    })?;
    let all_channels = all_channels(call.node);
    let mut accounts = call.node.acl.accounts();
    let account = accounts.get(name).cloned();
    let mut user = match &account {
        Some(account) => User::clone(&account.user()),
        None => User::new(all_channels),
    };
    for rule in &rules {
        user.apply(rule, all_channels).map_err(|error| {
            let before = "ERR Error in ACL SETUSER modifier '";
            CommandError::quoting(before, rule, &format!("': {error}"))
        })?;
    }
    match &account {
        Some(account) => account.set(user),
        None => {
            let account = Account::new(name, user);
            accounts.insert(name.to_vec(), Arc::new(account));
        }
    }
    drop(accounts);
    if let Some(account) = account {
        end_listeners(call.node, &account);
    }
    call.reply.ok();
    Ok(())
}

/// Ends the connections of a user that listen to what it may not use any more.
fn end_listeners(node: &Node, account: &Arc<Account>) {
    let user = account.user();
    let is_allowed = |topic: Topic, name: &[u8]| user.allows_channel(name, topic == Topic::Pattern);
    for client in node.pubsub.listeners_unless(is_allowed) {
        if client.is_user(account) {
            node.clients.kill(&client);
        }
    }
}

pub fn deluser(call: &mut Control<'_, '_>) -> CommandResult {
    let names = call.request.skip(2);
    if names.iter().any(|name| name == DEFAULT_USER) {
        return Err(CommandError::err("The 'default' user cannot be removed"));
    }
    let gone: Vec<_> = names
        .iter()
        .filter_map(|name| call.node.acl.remove(name))
        .collect();
    end_clients(call.node, &gone);
    call.reply.integer(gone.len() as i64);
    Ok(())
}

/// Ends the connections that are logged in as accounts that are gone. The one that asked for it gets its answer first.
pub fn end_clients(node: &Node, gone: &[Arc<Account>]) {
    if gone.is_empty() {
        return;
    }
    for client in node.clients.all() {
        if gone.iter().any(|account| client.is_user(account)) {
            node.clients.kill(&client);
        }
    }
}

pub fn users(call: &mut Control<'_, '_>) -> CommandResult {
    let accounts = call.node.acl.accounts();
    call.reply.array(accounts.len());
    accounts.keys().for_each(|name| call.reply.bulk(name));
    Ok(())
}

pub fn list(call: &mut Control<'_, '_>) -> CommandResult {
    let accounts = call.node.acl.accounts();
    call.reply.array(accounts.len());
    for (name, account) in accounts.iter() {
        call.reply.bulk(&account.user().line(name));
    }
    Ok(())
}

pub fn getuser(call: &mut Control<'_, '_>) -> CommandResult {
    let reply = &mut *call.reply;
    let Some(account) = call.node.acl.get(call.request.arg(2)) else {
        reply.null();
        return Ok(());
    };
    let user = account.user();
    reply.map(6);
    reply.bulk(b"flags");
    let flags: Vec<_> = user.flags().collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    user.passwords().for_each(|hash| reply.bulk_display(hash));
    write_selector(reply, user.root());
    reply.bulk(b"selectors");
    reply.array(user.selectors().len());
    for selector in user.selectors() {
        reply.map(3);
        write_selector(reply, selector);
    }
    Ok(())
}

fn write_selector(reply: &mut ReplyWriter<'_>, selector: &Selector) {
    reply.bulk(b"commands");
    reply.bulk(selector.command_rules().as_bytes());
    reply.bulk(b"keys");
    reply.bulk(&selector.key_rules());
    reply.bulk(b"channels");
    reply.bulk(&selector.channel_rules());
}
