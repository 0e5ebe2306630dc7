//! A connection's own state: protocol, login, database.

mod table;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{DatabaseId, RespVersion};

use super::acl::authenticate;
use super::client::{set_name, valid_name};
use super::{CommandError, CommandResult, Control};
use crate::REDIS_VERSION;
use crate::acl::DEFAULT_USER;

pub use table::COMMANDS;

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
    Are you sure your configuration is correct?";
const HELLO_UNAUTHENTICATED: &str = "NOAUTH HELLO must be called with the client already authenticated, \
    otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
    protocol version at the same time";

fn ping(call: &mut Control<'_, '_>) -> CommandResult {
    let as_message = call.session.is_subscriber() && call.session.resp == RespVersion::Resp2;
    match call.request.len() {
        1 | 2 if as_message => {
            call.reply.array(2);
            call.reply.bulk(b"pong");
            call.reply.bulk(call.request.get(1).unwrap_or_default());
        }
        1 => call.reply.simple("PONG"),
        2 => call.reply.bulk(call.request.arg(1)),
        _ => return Err(CommandError::Arity("ping".into())),
    }
    Ok(())
}

fn echo(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.bulk(call.request.arg(1));
    Ok(())
}

fn select(call: &mut Control<'_, '_>) -> CommandResult {
    let index = parse_i64(call.request.arg(1)).ok_or(CommandError::NotInteger)?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::line(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let database = u16::try_from(index)
        .ok()
        .filter(|&index| u32::from(index) < call.node.engine.store().databases())
        .ok_or(CommandError::DatabaseOutOfRange)?;
    call.session.database = DatabaseId(database);
    call.reply.ok();
    Ok(())
}

fn quit(call: &mut Control<'_, '_>) -> CommandResult {
    call.session.close_after_reply = true;
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Control<'_, '_>) -> CommandResult {
    call.session.reset();
    call.session.begin_as(call.node.acl.default_account());
    call.reply.set_version(RespVersion::Resp2);
    call.reply.simple("RESET");
    Ok(())
}

fn auth(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    match request.len() {
        2 if call.node.acl.default_account().user().no_password => {
            return Err(CommandError::line(NO_PASSWORD));
        }
        2 => authenticate(call, DEFAULT_USER, request.arg(1))?,
        3 => authenticate(call, request.arg(1), request.arg(2))?,
        _ => return Err(CommandError::Syntax),
    }
    call.reply.ok();
    Ok(())
}

fn hello(call: &mut Control<'_, '_>) -> CommandResult {
    let version = match call.request.get(1) {
        Some(version) => Some(parse_version(version)?),
        None => None,
    };
    let mut options = call.request.skip(2).iter();
    // Options act one by one, as in Redis: those before a wrong one count.
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"auth")
            && let (Some(user), Some(password)) = (options.next(), options.next())
        {
            authenticate(call, user, password)?;
        } else if option.eq_ignore_ascii_case(b"setname")
            && let Some(name) = options.next()
        {
            set_name(&call.session.client, valid_name(name)?);
        } else {
            let before = "ERR Syntax error in HELLO option '";
            return Err(CommandError::quoting(before, option, "'"));
        }
    }
    if !call.session.authenticated {
        return Err(CommandError::line(HELLO_UNAUTHENTICATED));
    }
    if let Some(version) = version {
        call.session.set_resp(version);
        call.reply.set_version(version);
    }
    greet(call);
    Ok(())
}

fn parse_version(text: &[u8]) -> Result<RespVersion, CommandError> {
    match parse_i64(text) {
        Some(2) => Ok(RespVersion::Resp2),
        Some(3) => Ok(RespVersion::Resp3),
        Some(_) => Err(CommandError::line("NOPROTO unsupported protocol version")),
        None => Err(CommandError::err(
            "Protocol version is not an integer or out of range",
        )),
    }
}

fn greet(call: &mut Control<'_, '_>) {
    let reply = &mut *call.reply;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(match call.session.resp {
        RespVersion::Resp2 => 2,
        RespVersion::Resp3 => 3,
    });
    reply.bulk(b"id");
    reply.integer(call.session.client.id as i64);
    reply.bulk(b"mode");
    reply.bulk(crate::report::mode(call.node).as_bytes());
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}
