//! `CLIENT KILL`.

use std::sync::Arc;

use coterie_protocol::text::parse_i64;

use super::ClientType;
use crate::acl::Account;
use crate::clients::Client;
use crate::commands::{CommandError, CommandResult, Control};
use crate::node::Node;

/// Which clients to end: those that meet every condition.
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientType>,
    user: Option<Arc<Account>>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    skip_me: bool,
}

impl<'a> Filter<'a> {
    const NONE: Filter<'static> = Filter {
        id: None,
        kind: None,
        user: None,
        address: None,
        local_address: None,
        skip_me: true,
    };

    /// The old form names an address, and may end the caller itself.
    fn of_address(address: &'a [u8]) -> Self {
        Filter {
            address: Some(address),
            skip_me: false,
            ..Filter::NONE
        }
    }

    fn parse(
        node: &Node,
        mut options: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, CommandError> {
        let mut filter = Filter::NONE;
        while let Some(option) = options.next() {
            let value = options.next().ok_or(CommandError::Syntax)?;
            match option.to_ascii_lowercase().as_slice() {
                b"id" => filter.id = Some(parse_id(value)?),
                b"type" => filter.kind = Some(ClientType::parse(value)?),
                b"addr" => filter.address = Some(value),
                b"laddr" => filter.local_address = Some(value),
                b"user" => filter.user = Some(account(node, value)?),
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.skip_me = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.skip_me = false,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(filter)
    }

    fn matches(&self, client: &Client, me: u64) -> bool {
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == ClientType::of(client))
            && self.user.as_ref().is_none_or(|user| client.is_user(user))
            && self
                .address
                .is_none_or(|address| address == client.address.as_bytes())
            && self
                .local_address
                .is_none_or(|address| address == client.local_address.as_bytes())
            && !(self.skip_me && client.id == me)
    }
}

fn account(node: &Node, name: &[u8]) -> Result<Arc<Account>, CommandError> {
    let account = node.acl.get(name);
    account.ok_or_else(|| CommandError::quoting("ERR No such user '", name, "'"))
}

fn parse_id(text: &[u8]) -> Result<u64, CommandError> {
    parse_i64(text)
        .and_then(|id| u64::try_from(id).ok())
        .filter(|&id| id > 0)
        .ok_or_else(|| CommandError::err("client-id should be greater than 0"))
}

pub fn kill(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    if request.len() == 3 {
        let filter = Filter::of_address(request.arg(2));
        if end_clients(call, &filter) == 0 {
            return Err(CommandError::err("No such client"));
        }
        call.reply.ok();
        return Ok(());
    }
    let filter = Filter::parse(call.node, request.iter().skip(2))?;
    let count = end_clients(call, &filter);
    call.reply.integer(count);
    Ok(())
}

fn end_clients(call: &mut Control<'_, '_>, filter: &Filter<'_>) -> i64 {
    let me = call.session.client.id;
    let clients = match filter.id {
        Some(id) => call.node.clients.get(id).into_iter().collect(),
        None => call.node.clients.all(),
    };
    let mut count = 0;
    for client in clients.iter().filter(|client| filter.matches(client, me)) {
        count += 1;
        if client.id == me {
            // The answer leaves first.
            call.session.close_after_reply = true;
        } else {
            call.node.clients.kill(client);
        }
    }
    count
}
