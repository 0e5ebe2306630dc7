//! Expiry times of keys.

mod table;

use coterie_protocol::text::parse_i64;

use super::{Call, CommandError, CommandResult};
use crate::effect::Effect;
use crate::events::EventClasses;

pub use table::COMMANDS;

/// How a command gives or tells a time.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// Milliseconds of its unit.
    unit_ms: u16,
    /// Counted from now, or from the Unix epoch.
    is_relative: bool,
}

pub(super) const SECONDS: Form = Form {
    unit_ms: 1000,
    is_relative: true,
};
pub(super) const MILLISECONDS: Form = Form {
    unit_ms: 1,
    is_relative: true,
};
pub(super) const UNIX_SECONDS: Form = Form {
    unit_ms: 1000,
    is_relative: false,
};
pub(super) const UNIX_MILLISECONDS: Form = Form {
    unit_ms: 1,
    is_relative: false,
};

impl Form {
    /// The Unix milliseconds that an argument means; `None` if that is more than a 64-bit number. May lie
    /// before the epoch.
    pub(super) fn resolve(self, time: i64, now_ms: u64) -> Option<i64> {
        let base = if self.is_relative { now_ms as i64 } else { 0 };
        time.checked_mul(self.unit_ms.into())?.checked_add(base)
    }

    /// What to tell of a field's expiry, rounded up.
    pub(super) fn tell_rounded_up(self, expire_at: u64, now_ms: u64) -> i64 {
        let base = if self.is_relative { now_ms } else { 0 };
        let left = expire_at.saturating_sub(base);
        left.div_ceil(self.unit_ms.into()) as i64
    }

    /// What to tell of an expiry, rounded to the nearest unit.
    fn tell(self, expire_at: u64, now_ms: u64) -> i64 {
        let base = if self.is_relative { now_ms } else { 0 };
        let unit = u64::from(self.unit_ms);
        ((expire_at.saturating_sub(base) + unit / 2) / unit) as i64
    }
}

/// Under which conditions a new expiry replaces the present one. A key without expiry lives for ever.
#[derive(Clone, Copy, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Self, CommandError> {
        let mut conditions = Conditions::default();
        for word in words {
            let condition = match &word.to_ascii_lowercase()[..] {
                b"nx" => &mut conditions.nx,
                b"xx" => &mut conditions.xx,
                b"gt" => &mut conditions.gt,
                b"lt" => &mut conditions.lt,
                _ => return Err(CommandError::quoting("ERR Unsupported option ", word, "")),
            };
            *condition = true;
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(CommandError::line(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(CommandError::line(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    fn hold(self, present: Option<u64>, next: i64) -> bool {
        let present = present.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        let forbidden = self.nx && present.is_some()
            || self.xx && present.is_none()
            || self.gt && present.is_none_or(|at| next <= at)
            || self.lt && present.is_some_and(|at| next >= at);
        !forbidden
    }
}

fn expire(call: &mut Call<'_, '_>) -> CommandResult {
    set_expiry(call, SECONDS, "expire")
}

fn pexpire(call: &mut Call<'_, '_>) -> CommandResult {
    set_expiry(call, MILLISECONDS, "pexpire")
}

fn expireat(call: &mut Call<'_, '_>) -> CommandResult {
    set_expiry(call, UNIX_SECONDS, "expireat")
}

fn pexpireat(call: &mut Call<'_, '_>) -> CommandResult {
    set_expiry(call, UNIX_MILLISECONDS, "pexpireat")
}

fn set_expiry(call: &mut Call<'_, '_>, form: Form, command: &str) -> CommandResult {
    let key = call.request.arg(1);
    let conditions = Conditions::parse(call.request.iter().skip(3))?;
    let time = parse_i64(call.request.arg(2)).ok_or(CommandError::NotInteger)?;
    let now_ms = call.transaction.now_ms();
    let at = form.resolve(time, now_ms).ok_or_else(|| {
        CommandError::err(format_args!("invalid expire time in '{command}' command"))
    })?;
    let holds = call
        .transaction
        .get(call.database, key)
        .is_some_and(|entry| conditions.hold(entry.expire_at(), at));
    if holds {
        let effect = match u64::try_from(at).ok().filter(|at| *at > now_ms) {
            None => Effect::Delete { key },
            at => Effect::ExpireAt { key, at },
        };
        call.transaction.apply(call.database, &effect);
        let name = match effect {
            Effect::Delete { .. } => "del",
            _ => "expire",
        };
        call.notify(EventClasses::GENERIC, name, key);
    }
    call.reply.integer(holds.into());
    Ok(())
}

fn persist(call: &mut Call<'_, '_>) -> CommandResult {
    let key = call.request.arg(1);
    let expires = call
        .transaction
        .get(call.database, key)
        .is_some_and(|entry| entry.expire_at().is_some());
    if expires {
        let effect = Effect::ExpireAt { key, at: None };
        call.transaction.apply(call.database, &effect);
        call.notify(EventClasses::GENERIC, "persist", key);
    }
    call.reply.integer(expires.into());
    Ok(())
}

fn ttl(call: &mut Call<'_, '_>) -> CommandResult {
    tell_expiry(call, SECONDS)
}

fn pttl(call: &mut Call<'_, '_>) -> CommandResult {
    tell_expiry(call, MILLISECONDS)
}

fn expiretime(call: &mut Call<'_, '_>) -> CommandResult {
    tell_expiry(call, UNIX_SECONDS)
}

fn pexpiretime(call: &mut Call<'_, '_>) -> CommandResult {
    tell_expiry(call, UNIX_MILLISECONDS)
}

/// -2 without the key, -1 without an expiry.
fn tell_expiry(call: &mut Call<'_, '_>, form: Form) -> CommandResult {
    let now_ms = call.transaction.now_ms();
    let found = call.transaction.peek(call.database, call.request.arg(1));
    let time = match found.map(|entry| entry.expire_at()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => form.tell(at, now_ms),
    };
    call.reply.integer(time);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_expiry_lives_longest() {
        let conditions = |words: &[&str]| {
            Conditions::parse(words.iter().map(|word| word.as_bytes())).expect("good words")
        };
        assert!(!conditions(&["gt"]).hold(None, i64::MAX));
        assert!(conditions(&["LT"]).hold(None, i64::MAX));
        assert!(!conditions(&["xx", "lt"]).hold(None, 1));
        assert!(!conditions(&["gt"]).hold(Some(5), 5));
        assert!(conditions(&["gt"]).hold(Some(5), 6));
        assert!(!conditions(&["lt"]).hold(Some(5), 5));
        assert!(conditions(&["nx"]).hold(None, 5) && !conditions(&["nx"]).hold(Some(1), 5));
    }

    #[test]
    fn times_at_the_limits() {
        let now_ms = 1_700_000_000_000;
        let most = i64::MAX - now_ms as i64;
        assert_eq!(MILLISECONDS.resolve(most, now_ms), Some(i64::MAX));
        assert_eq!(MILLISECONDS.resolve(most + 1, now_ms), None);
        assert_eq!(SECONDS.resolve(i64::MIN / 1000 - 1, now_ms), None);
        assert!(MILLISECONDS.resolve(i64::MIN, now_ms).is_some());
        assert_eq!(
            UNIX_SECONDS.tell(i64::MAX as u64, now_ms),
            9_223_372_036_854_776
        );
        assert_eq!(SECONDS.tell(now_ms + 1499, now_ms), 1);
        assert_eq!(SECONDS.tell(now_ms + 1500, now_ms), 2);
    }
}
