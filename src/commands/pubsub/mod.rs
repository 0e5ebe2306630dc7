//! Publishing, and listening to what is published.

mod table;

use super::help::wrong_subcommand;
use super::routing::Router;
use super::{CommandResult, Control};
use crate::pubsub::{Subscriptions, Topic};
use crate::session::ReplyMode;

pub use table::COMMANDS;

/// Messages of its own that a connection gets before the reply to `PUBLISH`, in bytes; more come after it.
const OWN_BYTES: usize = 1 << 20;

fn subscriptions<'c>(call: &'c mut Control<'_, '_>) -> &'c mut Subscriptions {
    let session = &mut *call.session;
    session.subscriptions.get_or_insert_with(|| {
        Box::new(Subscriptions::new(
            call.node.clone(),
            session.client.clone(),
        ))
    })
}

fn listen(call: &mut Control<'_, '_>, topic: Topic) -> CommandResult {
    let request = call.request;
    let mut reply = call.session.queue.is_some().then(Vec::new);
    let subscriptions = subscriptions(call);
    for name in request.iter().skip(1) {
        subscriptions.subscribe(topic, name, reply.as_mut());
    }
    call.reply.raw(&reply.unwrap_or_default());
    Ok(())
}

fn listen_no_more(call: &mut Control<'_, '_>, topic: Topic) -> CommandResult {
    let request = call.request;
    let mut reply = call.session.queue.is_some().then(Vec::new);
    let subscriptions = subscriptions(call);
    if request.len() == 1 {
        subscriptions.unsubscribe_all(topic, reply.as_mut());
    }
    for name in request.iter().skip(1) {
        subscriptions.unsubscribe(topic, name, reply.as_mut());
    }
    call.reply.raw(&reply.unwrap_or_default());
    Ok(())
}

/// In a cluster that clients find their way in by themselves, shard channels are used at their replicas.
fn check_slots(call: &Control<'_, '_>) -> CommandResult {
    let Some(replication) = call.node.others() else {
        return Ok(());
    };
    let channels = match call.request.len() {
        // `SPUBLISH`, whose last argument is the message.
        3 if call.request.name().eq_ignore_ascii_case(b"spublish") => 1,
        count => count - 1,
    };
    let router = Router {
        node: call.node,
        replication,
        routes: &replication.routes(),
        session: call.session,
    };
    router.check_channels(call.request.iter().skip(1).take(channels))
}

fn subscribe(call: &mut Control<'_, '_>) -> CommandResult {
    listen(call, Topic::Channel)
}

fn unsubscribe(call: &mut Control<'_, '_>) -> CommandResult {
    listen_no_more(call, Topic::Channel)
}

fn psubscribe(call: &mut Control<'_, '_>) -> CommandResult {
    listen(call, Topic::Pattern)
}

fn punsubscribe(call: &mut Control<'_, '_>) -> CommandResult {
    listen_no_more(call, Topic::Pattern)
}

fn ssubscribe(call: &mut Control<'_, '_>) -> CommandResult {
    check_slots(call)?;
    listen(call, Topic::Shard)
}

fn sunsubscribe(call: &mut Control<'_, '_>) -> CommandResult {
    listen_no_more(call, Topic::Shard)
}

fn publish(call: &mut Control<'_, '_>) -> CommandResult {
    let (channel, message) = (call.request.arg(1), call.request.arg(2));
    let receivers = call.node.publish(false, channel, message);
    answer(call, receivers);
    Ok(())
}

fn spublish(call: &mut Control<'_, '_>) -> CommandResult {
    let (channel, message) = (call.request.arg(1), call.request.arg(2));
    check_slots(call)?;
    let receivers = call.node.publish(true, channel, message);
    answer(call, receivers);
    Ok(())
}

/// Who publishes and listens itself gets the message before the reply, but not in the middle of a transaction's.
fn answer(call: &mut Control<'_, '_>, receivers: usize) {
    let outbox = &call.session.client.outbox;
    let is_between = call.session.queue.is_none() && call.session.reply_mode == ReplyMode::On;
    if outbox.is_busy() && is_between {
        let mut messages = Vec::new();
        outbox.take(&mut messages, OWN_BYTES);
        call.reply.raw(&messages);
    }
    call.reply.integer(receivers as i64);
}

fn channels(call: &mut Control<'_, '_>) -> CommandResult {
    names(call, Topic::Channel)
}

fn shard_channels(call: &mut Control<'_, '_>) -> CommandResult {
    names(call, Topic::Shard)
}

fn names(call: &mut Control<'_, '_>, topic: Topic) -> CommandResult {
    let request = call.request;
    if request.len() > 3 {
        return Err(wrong_subcommand("PUBSUB", request.arg(1)));
    }
    let names = call.node.pubsub.names(topic, request.get(2));
    call.reply.array(names.len());
    for name in names {
        call.reply.bulk(&name);
    }
    Ok(())
}

fn numsub(call: &mut Control<'_, '_>) -> CommandResult {
    numbers(call, Topic::Channel)
}

fn shard_numsub(call: &mut Control<'_, '_>) -> CommandResult {
    numbers(call, Topic::Shard)
}

fn numbers(call: &mut Control<'_, '_>, topic: Topic) -> CommandResult {
    let request = call.request;
    call.reply.array(2 * (request.len() - 2));
    for name in request.iter().skip(2) {
        call.reply.bulk(name);
        let count = call.node.pubsub.listeners(topic, name);
        call.reply.integer(count as i64);
    }
    Ok(())
}

fn numpat(call: &mut Control<'_, '_>) -> CommandResult {
    let count = call.node.pubsub.count(Topic::Pattern);
    call.reply.integer(count as i64);
    Ok(())
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    super::help::help(
        call.reply,
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    List the channels that anyone listens to, or those of them that match.",
            "NUMPAT",
            "    Count the patterns that anyone listens to.",
            "NUMSUB [<channel> ...]",
            "    Count the clients that listen to each channel by its name.",
            "SHARDCHANNELS [<pattern>]",
            "    List the shard channels that anyone listens to, or those of them that match.",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Count the clients that listen to each shard channel.",
        ],
    );
    Ok(())
}
