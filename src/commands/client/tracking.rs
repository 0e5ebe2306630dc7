//! `CLIENT TRACKING` and what belongs to it.

use std::collections::BTreeSet;

use coterie_protocol::text::parse_i64;

use crate::commands::{CommandError, CommandResult, Control};
use crate::tracking::{Mode, Tracked};

const SWITCHED_BROADCAST: &str = "You can't switch BCAST mode on/off before disabling tracking for this client, \
    and then re-enabling it with a different mode.";
const SWITCHED_OPTION: &str = "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
    and then re-enabling it with a different mode.";
const NOT_TRACKING: &str = "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
    OPTOUT mode enabled";

/// What `CLIENT TRACKING` is told.
#[derive(Default)]
struct Options<'a> {
    mode: Mode,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(call: &Control<'a, '_>) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut words = call.request.iter().skip(3).peekable();
        while let Some(word) = words.next() {
            let has_value = words.peek().is_some();
            match &word.to_ascii_lowercase()[..] {
                b"redirect" if has_value => {
                    if options.mode.redirect != 0 {
                        return Err(CommandError::err(
                            "A client can only redirect to a single other client",
                        ));
                    }
                    let id = words.next().and_then(parse_i64);
                    let id = id.ok_or(CommandError::NotInteger)?;
                    let client = u64::try_from(id).ok();
                    let client = client.and_then(|id| call.node.clients.get(id));
                    options.mode.redirect = client.map(|client| client.id).ok_or_else(|| {
                        CommandError::err("The client ID you want redirect to does not exist")
                    })?;
                }
                b"bcast" => options.mode.broadcast = true,
                b"optin" => options.mode.opt_in = true,
                b"optout" => options.mode.opt_out = true,
                b"noloop" => options.mode.no_loop = true,
                b"prefix" if has_value => options.prefixes.extend(words.next()),
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// Whether they make sense, with each other and with how the client tracks keys by now.
    fn check(&self, present: Option<&Mode>) -> CommandResult {
        let mode = &self.mode;
        let wrong = if !mode.broadcast && !self.prefixes.is_empty() {
            "PREFIX option requires BCAST mode to be enabled"
        } else if present.is_some_and(|present| present.broadcast != mode.broadcast) {
            SWITCHED_BROADCAST
        } else if mode.broadcast && (mode.opt_in || mode.opt_out) {
            "OPTIN and OPTOUT are not compatible with BCAST"
        } else if mode.opt_in && mode.opt_out {
            "You can't specify both OPTIN mode and OPTOUT mode"
        } else if present
            .is_some_and(|present| mode.opt_in && present.opt_out || mode.opt_out && present.opt_in)
        {
            SWITCHED_OPTION
        } else {
            return self.check_prefixes(present);
        };
        Err(CommandError::err(wrong))
    }

    /// No prefix may be the beginning of another one, so that a key is told once.
    fn check_prefixes(&self, present: Option<&Mode>) -> CommandResult {
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let error = |prefix: &[u8], which: &str, other: &[u8]| {
            let parts: [&[u8]; 7] = [
                b"ERR Prefix '",
                prefix,
                b"' overlaps with ",
                which.as_bytes(),
                b" prefix '",
                other,
                b"'. Prefixes for a single client must not overlap.",
            ];
            Err(CommandError::Bytes(parts.concat()))
        };
        for (index, prefix) in self.prefixes.iter().enumerate() {
            let mut known = present.iter().flat_map(|present| &present.prefixes);
            if let Some(other) = known.find(|other| overlap(prefix, other)) {
                return error(prefix, "an existing", other);
            }
            let mut others = self.prefixes[index + 1..].iter();
            if let Some(other) = others.find(|other| overlap(prefix, other)) {
                return error(prefix, "another provided", other);
            }
        }
        Ok(())
    }
}

/// `CLIENT TRACKING`
pub fn tracking(call: &mut Control<'_, '_>) -> CommandResult {
    let mut options = Options::parse(call)?;
    let word = call.request.arg(2);
    if word.eq_ignore_ascii_case(b"off") {
        call.session.tracking = None;
    } else if word.eq_ignore_ascii_case(b"on") {
        let present = call.session.tracking.as_ref().map(|tracked| tracked.mode());
        options.check(present.as_ref())?;
        if options.mode.broadcast {
            if options.prefixes.is_empty() {
                // All keys.
                options.prefixes.push(b"");
            }
            let prefixes = options.prefixes.iter().map(|prefix| Box::from(*prefix));
            options.mode.prefixes = prefixes.collect::<BTreeSet<_>>();
        }
        let session = &mut *call.session;
        let tracked = session.tracking.get_or_insert_with(|| {
            Box::new(Tracked::new(call.node.clone(), session.client.clone()))
        });
        tracked.set_mode(options.mode);
    } else {
        return Err(CommandError::Syntax);
    }
    call.reply.ok();
    Ok(())
}

/// `CLIENT CACHING`
pub fn caching(call: &mut Control<'_, '_>) -> CommandResult {
    let Some(tracked) = &mut call.session.tracking else {
        return Err(CommandError::err(NOT_TRACKING));
    };
    let mode = tracked.mode();
    match &call.request.arg(2).to_ascii_lowercase()[..] {
        b"yes" if !mode.opt_in => {
            return Err(CommandError::err(
                "CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        b"no" if !mode.opt_out => {
            return Err(CommandError::err(
                "CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
        b"yes" | b"no" => tracked.begin_caching(),
        _ => return Err(CommandError::Syntax),
    }
    call.reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`
pub fn redirection(call: &mut Control<'_, '_>) -> CommandResult {
    let tracked = call.session.tracking.as_ref();
    let redirect = tracked.map_or(-1, |tracked| tracked.mode().redirect as i64);
    call.reply.integer(redirect);
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub fn info(call: &mut Control<'_, '_>) -> CommandResult {
    let tracked = call.session.tracking.as_ref();
    let caching = tracked.is_some_and(|tracked| tracked.is_caching());
    let mode = tracked.map(|tracked| tracked.mode());
    let has = |flag: fn(&Mode) -> bool| mode.as_ref().is_some_and(flag);
    let flags = [
        ("on", mode.is_some()),
        ("off", mode.is_none()),
        ("bcast", has(|mode| mode.broadcast)),
        ("optin", has(|mode| mode.opt_in)),
        ("caching-yes", caching && has(|mode| mode.opt_in)),
        ("optout", has(|mode| mode.opt_out)),
        ("caching-no", caching && has(|mode| mode.opt_out)),
        ("noloop", has(|mode| mode.no_loop)),
        ("broken_redirect", has(|mode| mode.is_broken)),
    ];
    let reply = &mut *call.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.iter().filter(|(_, is_set)| *is_set).count());
    for (name, _) in flags.iter().filter(|(_, is_set)| *is_set) {
        reply.bulk(name.as_bytes());
    }
    reply.bulk(b"redirect");
    reply.integer(mode.as_ref().map_or(-1, |mode| mode.redirect as i64));
    reply.bulk(b"prefixes");
    let prefixes = mode.map(|mode| mode.prefixes).unwrap_or_default();
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
