//! Setting and getting one string as a whole, with or without an expiry.

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;
use crate::store::Entry;

/// When `SET` sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfMissing,
    IfPresent,
}

/// How a time is given: as a duration or a point in time, in seconds or milliseconds.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TimeForm {
    absolute: bool,
    seconds: bool,
}

impl TimeForm {
    const EX: TimeForm = TimeForm::new(false, true);
    const PX: TimeForm = TimeForm::new(false, false);
    const EXAT: TimeForm = TimeForm::new(true, true);
    const PXAT: TimeForm = TimeForm::new(true, false);

    const fn new(absolute: bool, seconds: bool) -> TimeForm {
        TimeForm { absolute, seconds }
    }

    /// The form an option announces.
    fn of(word: &[u8]) -> Option<TimeForm> {
        let forms: [(&[u8], TimeForm); 4] = [
            (b"EX", TimeForm::EX),
            (b"PX", TimeForm::PX),
            (b"EXAT", TimeForm::EXAT),
            (b"PXAT", TimeForm::PXAT),
        ];
        forms
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))
            .map(|(_, form)| form)
    }

    /// The point in time that `text` means, in Unix milliseconds. `command` is named in the error.
    fn resolve(self, text: &[u8], now_ms: u64, command: &str) -> Result<u64, CommandError> {
        let number = parse_i64(text).ok_or(CommandError::NotInteger)?;
        let unit = if self.seconds { 1000 } else { 1 };
        let base = if self.absolute { 0 } else { now_ms as i64 };
        Some(number)
            .filter(|number| *number > 0)
            .and_then(|number| number.checked_mul(unit)?.checked_add(base))
            .map(|at| at as u64)
            .ok_or_else(|| {
                CommandError::err(format_args!("invalid expire time in '{command}' command"))
            })
    }
}

/// What an option says about the expiry.
#[derive(Clone, Copy)]
enum Expiry<'a> {
    /// Nothing: `SET` removes it, `GETEX` leaves it.
    Unsaid,
    /// `KEEPTTL`
    Keep,
    /// `PERSIST`
    Remove,
    /// `EX` and the like, with the time as it was written.
    At(TimeForm, &'a [u8]),
}

impl Expiry<'_> {
    fn is_unsaid(&self) -> bool {
        matches!(self, Expiry::Unsaid)
    }
}

/// Reads the option at `index`, if it is one of `EX`, `PX`, `EXAT` and `PXAT` that may follow what was said so far, which is
/// nothing or the same option. Returns how many arguments it takes.
fn read_time<'a>(request: Request<'a>, index: usize, expiry: &mut Expiry<'a>) -> Option<usize> {
    let form = TimeForm::of(request.arg(index))?;
    let time = request.get(index + 1)?;
    let allowed = match *expiry {
        Expiry::Unsaid => true,
        Expiry::At(earlier, _) => earlier == form,
        Expiry::Keep | Expiry::Remove => false,
    };
    *expiry = Expiry::At(form, time);
    allowed.then_some(2)
}

/// The options of `SET`.
struct SetOptions<'a> {
    condition: Condition,
    get: bool,
    expiry: Expiry<'a>,
}

impl<'a> SetOptions<'a> {
    fn parse(request: Request<'a>) -> Result<Self, CommandError> {
        let mut options = SetOptions {
            condition: Condition::Always,
            get: false,
            expiry: Expiry::Unsaid,
        };
        let mut index = 3;
        while index < request.len() {
            index += options.read(request, index).ok_or(CommandError::Syntax)?;
        }
        Ok(options)
    }

    /// Reads one option. Returns how many arguments it takes; `None` if it makes no sense there.
    fn read(&mut self, request: Request<'a>, index: usize) -> Option<usize> {
        let word = request.arg(index);
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"NX") && self.condition != Condition::IfPresent {
            self.condition = Condition::IfMissing;
        } else if is(b"XX") && self.condition != Condition::IfMissing {
            self.condition = Condition::IfPresent;
        } else if is(b"GET") {
            self.get = true;
        } else if is(b"KEEPTTL") && matches!(self.expiry, Expiry::Unsaid | Expiry::Keep) {
            self.expiry = Expiry::Keep;
        } else {
            return read_time(request, index, &mut self.expiry);
        }
        Some(1)
    }
}

/// `GET`
pub fn get(call: &mut Call<'_, '_>) -> CommandResult {
    let entry = call.transaction.get(call.database, call.request.arg(1));
    match string_of(entry)? {
        Some(entry) => call.reply.bulk(entry.value()),
        None => call.reply.null(),
    }
    Ok(())
}

/// `SET`
pub fn set(call: &mut Call<'_, '_>) -> CommandResult {
    if call.request.len() == 3 {
        store(call, call.request.arg(2), None);
        call.reply.ok();
        return Ok(());
    }
    set_with_options(call)
}

fn set_with_options(call: &mut Call<'_, '_>) -> CommandResult {
    let options = SetOptions::parse(call.request)?;
    let time = match options.expiry {
        Expiry::At(form, text) => Some(form.resolve(text, call.transaction.now_ms(), "set")?),
        _ => None,
    };
    if options.get {
        call.transaction.count_lookups();
    }
    let old = call.transaction.get(call.database, call.request.arg(1));
    let exists = old.is_some();
    let expire_at = match options.expiry {
        Expiry::Keep => old.and_then(Entry::expire_at),
        _ => time,
    };
    if options.get {
        match string_of(old)? {
            Some(old) => call.reply.bulk(old.value()),
            None => call.reply.null(),
        }
    }
    let sets = match options.condition {
        Condition::Always => true,
        Condition::IfMissing => !exists,
        Condition::IfPresent => exists,
    };
    if sets {
        store(call, call.request.arg(2), expire_at);
        if time.is_some() {
            call.notify(EventClasses::GENERIC, "expire", call.request.arg(1));
        }
    }
    match (options.get, sets) {
        (true, _) => {}
        (false, true) => call.reply.ok(),
        (false, false) => call.reply.null(),
    }
    Ok(())
}

/// The call's key holds this value from now on.
fn store(call: &mut Call<'_, '_>, value: &[u8], expire_at: Option<u64>) {
    let effect = Effect::Put {
        key: call.request.arg(1),
        value,
        encoding: StringEncoding::of(value),
        expire_at,
    };
    call.transaction.apply(call.database, &effect);
    call.notify(EventClasses::STRING, "set", call.request.arg(1));
}

/// `SETNX`
pub fn setnx(call: &mut Call<'_, '_>) -> CommandResult {
    let missing = call
        .transaction
        .get(call.database, call.request.arg(1))
        .is_none();
    if missing {
        store(call, call.request.arg(2), None);
    }
    call.reply.integer(missing.into());
    Ok(())
}

/// `SETEX`
pub fn setex(call: &mut Call<'_, '_>) -> CommandResult {
    set_for(call, TimeForm::EX, "setex")
}

/// `PSETEX`
pub fn psetex(call: &mut Call<'_, '_>) -> CommandResult {
    set_for(call, TimeForm::PX, "psetex")
}

fn set_for(call: &mut Call<'_, '_>, form: TimeForm, command: &str) -> CommandResult {
    let expire_at = form.resolve(call.request.arg(2), call.transaction.now_ms(), command)?;
    store(call, call.request.arg(3), Some(expire_at));
    call.notify(EventClasses::GENERIC, "expire", call.request.arg(1));
    call.reply.ok();
    Ok(())
}

/// `GETSET`
pub fn getset(call: &mut Call<'_, '_>) -> CommandResult {
    call.transaction.count_lookups();
    get(call)?;
    store(call, call.request.arg(2), None);
    Ok(())
}

/// `GETDEL`
pub fn getdel(call: &mut Call<'_, '_>) -> CommandResult {
    call.transaction.count_lookups();
    let key = call.request.arg(1);
    let Some(entry) = string_of(call.transaction.get(call.database, key))? else {
        call.reply.null();
        return Ok(());
    };
    call.reply.bulk(entry.value());
    call.transaction
        .apply(call.database, &Effect::Delete { key });
    call.notify(EventClasses::GENERIC, "del", key);
    Ok(())
}

/// `GETEX`
pub fn getex(call: &mut Call<'_, '_>) -> CommandResult {
    let expiry = parse_getex(call.request)?;
    call.transaction.count_lookups();
    let now_ms = call.transaction.now_ms();
    let key = call.request.arg(1);
    let Some(entry) = string_of(call.transaction.get(call.database, key))? else {
        call.reply.null();
        return Ok(());
    };
    let effect = match expiry {
        Expiry::Unsaid | Expiry::Keep => None,
        Expiry::Remove => entry
            .expire_at()
            .map(|_| Effect::ExpireAt { key, at: None }),
        Expiry::At(form, text) => Some(match form.resolve(text, now_ms, "getex")? {
            at if at <= now_ms => Effect::Delete { key },
            at => Effect::ExpireAt { key, at: Some(at) },
        }),
    };
    call.reply.bulk(entry.value());
    if let Some(effect) = effect {
        call.transaction.apply(call.database, &effect);
        let name = match effect {
            Effect::Delete { .. } => "del",
            Effect::ExpireAt { at: None, .. } => "persist",
            _ => "expire",
        };
        call.notify(EventClasses::GENERIC, name, key);
    }
    Ok(())
}

fn parse_getex<'a>(request: Request<'a>) -> Result<Expiry<'a>, CommandError> {
    let mut expiry = Expiry::Unsaid;
    let mut index = 2;
    while index < request.len() {
        let persists = request.arg(index).eq_ignore_ascii_case(b"PERSIST");
        if persists && (expiry.is_unsaid() || matches!(expiry, Expiry::Remove)) {
            expiry = Expiry::Remove;
            index += 1;
        } else {
            index += read_time(request, index, &mut expiry).ok_or(CommandError::Syntax)?;
        }
    }
    Ok(expiry)
}
