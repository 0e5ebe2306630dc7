//! The server as a running script sees it: commands are executed in the script's unit.

use coterie_protocol::{ReplyWriter, Request, RespVersion};

use super::declaration::Declaration;
use crate::commands::acl;
use crate::commands::error::CommandError;
use crate::commands::spec::{Categories, Flags, Handler};
use crate::commands::streams;
use crate::commands::table;
use crate::commands::unit::Unit;
use crate::scripting::{Host, LogLevel, MayGoOn};
use crate::wal::NoRoom;

/// Why a unit is given up, and has to be begun anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenUp {
    /// The script needs a key that is not locked.
    NotLocked,
    /// The log has to prepare room for this many bytes first.
    NoRoom(usize),
}

/// See the module.
pub struct UnitHost<'a, 'u> {
    unit: &'a mut Unit<'u>,
    declared: Declaration,
    is_read_only: bool,
    is_out_of_memory: bool,
    may_go_on: MayGoOn,
    /// Set when the rest of the script does not count any more.
    pub given_up: Option<GivenUp>,
}

impl<'a, 'u> UnitHost<'a, 'u> {
    /// For a script that declares this.
    pub fn new(
        unit: &'a mut Unit<'u>,
        declared: Declaration,
        is_read_only: bool,
        is_out_of_memory: bool,
        may_go_on: MayGoOn,
    ) -> Self {
        UnitHost {
            unit,
            declared,
            is_read_only: is_read_only || declared.no_writes,
            is_out_of_memory,
            may_go_on,
            given_up: None,
        }
    }

    /// Why a command can't be called; `None` if it can.
    fn refusal(&self, flags: Flags) -> Option<&'static str> {
        if flags.intersects(Flags::NOSCRIPT | Flags::INTERNAL) {
            return Some("ERR This Redis command is not allowed from script");
        }
        if self.is_read_only && flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE) {
            return Some("ERR Write commands are not allowed from read-only scripts.");
        }
        // A script that has begun to write goes on to its end.
        let is_limited = self.is_out_of_memory && !self.declared.allow_oom;
        if is_limited && flags.contains(Flags::DENYOOM) && !self.unit.has_changes() {
            return Some("OOM command not allowed when used memory > 'maxmemory'.");
        }
        None
    }
}

impl Host for UnitHost<'_, '_> {
    fn call(&mut self, request: Request<'_>, resp: RespVersion, out: &mut Vec<u8>) {
        let mut refuse = |text: &str| ReplyWriter::new(out, resp).error(text);
        if self.given_up.is_some() {
            return refuse("ERR the script is given up");
        }
        let Some(command) = table::lookup(request).ok() else {
            return refuse("ERR Unknown Redis command called from script");
        };
        let spec = command.spec;
        if !spec.accepts(request.len()) {
            return refuse("ERR Wrong number of args calling Redis command from script");
        }
        if let Some(text) = self.refusal(spec.flags) {
            return refuse(text);
        }
        let node = self.unit.node();
        if let Err(text) = acl::admit_in_script(node, self.unit.session(), command, request) {
            return refuse(text);
        }
        if spec.categories.contains(Categories::STREAM)
            && spec.flags.contains(Flags::BLOCKING)
            && streams::waits(request)
        {
            let name = String::from_utf8_lossy(request.name());
            return refuse(&format!(
                "ERR {name} command is not allowed with BLOCK option from scripts"
            ));
        }
        // What comes later is waited for in place: only what needs nothing but its time.
        let is_late = matches!(spec.handler, Handler::Deferred(_))
            && !spec.locks.is_all()
            && !spec.flags.contains(Flags::READONLY)
            && !spec.name.starts_with("memory|");
        if is_late || matches!(spec.handler, Handler::Unit(_) | Handler::Script(_)) {
            return refuse("ERR This Redis command is not allowed from script");
        }
        if !self.unit.covers(spec, request) {
            self.given_up = Some(GivenUp::NotLocked);
            return refuse("ERR Script attempted to access a non local key in a cluster node");
        }
        match self.unit.reserve(spec, request) {
            Ok(()) => {}
            Err(CommandError::NoRoom(NoRoom::Preparing, bytes)) => {
                self.given_up = Some(GivenUp::NoRoom(bytes));
                return refuse("ERR the log has no room yet");
            }
            Err(error) => return ReplyWriter::new(out, resp).error(error.to_line()),
        }
        let before = std::mem::replace(&mut self.unit.session().resp, resp);
        let may_go_on = || (self.may_go_on)().is_ok();
        let ran = self.unit.run_to_end(command, request, &may_go_on, out);
        self.unit.session().resp = before;
        if let Err(error) = ran {
            // Nothing else ends a unit with a command that is no script.
            debug_assert!(matches!(&error, CommandError::NoRoom(NoRoom::Preparing, _)));
            if let CommandError::NoRoom(_, bytes) = error {
                self.given_up = Some(GivenUp::NoRoom(bytes));
            }
            ReplyWriter::new(out, resp).error("ERR the log has no room yet");
        }
    }

    fn may_call(&mut self, request: Request<'_>) -> Option<bool> {
        let command = table::lookup(request).ok()?;
        Some(acl::is_allowed(self.unit.session(), command, request))
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log(level, text);
    }
}

/// `redis.log`
pub fn log(level: LogLevel, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match level {
        LogLevel::Debug => tracing::trace!("script: {text}"),
        LogLevel::Verbose => tracing::debug!("script: {text}"),
        LogLevel::Notice => tracing::info!("script: {text}"),
        LogLevel::Warning => tracing::warn!("script: {text}"),
    }
}
