//! Executes scripts: `EVAL`, `EVALSHA` and their read-only forms.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{OwnedRequest, ReplyWriter, Request};

use super::declaration::{Declaration, declaration_of};
use super::host::{GivenUp, UnitHost};
use crate::commands::error::CommandError;
use crate::commands::unit::Unit;
use crate::node::Node;
use crate::scripting::{Digest, Ended, Interpreter, MayGoOn, Run, digest_of};
use crate::wal::NoRoom;

/// Said of a script that is not known by this name.
const NO_SCRIPT: CommandError = CommandError::line("NOSCRIPT No matching script. Please use EVAL.");

thread_local! {
    /// The interpreter of a thread, unless it is in use.
    static INTERPRETER: RefCell<Option<Box<Interpreter>>> = const { RefCell::new(None) };

    /// The last script that was not given by name, and its name.
    static LAST: RefCell<Option<(Arc<[u8]>, Digest)>> = const { RefCell::new(None) };
}

/// A script with its name.
struct Script {
    name: Digest,
    text: Arc<[u8]>,
    /// The node knows it by its name.
    is_known: bool,
}

/// `EVAL`
pub fn eval(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    execute(unit, request, false, false, out)
}

/// `EVAL_RO`
pub fn eval_ro(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    execute(unit, request, false, true, out)
}

/// `EVALSHA`
pub fn evalsha(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    execute(unit, request, true, false, out)
}

/// `EVALSHA_RO`
pub fn evalsha_ro(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    execute(unit, request, true, true, out)
}

/// The number of keys that a request says.
fn count_of_keys(request: Request<'_>) -> Result<usize, CommandError> {
    checked_count(request, CommandError::NotInteger)
}

/// The same, and what is said if it is no number.
pub fn checked_count(request: Request<'_>, no_number: CommandError) -> Result<usize, CommandError> {
    let count = parse_i64(request.arg(2)).ok_or(no_number)?;
    if count > request.len() as i64 - 3 {
        return Err(CommandError::line(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    usize::try_from(count).map_err(|_| CommandError::line("ERR Number of keys can't be negative"))
}

/// The name of a script. Whoever sends whole texts mostly sends the same one again.
fn name_of(text: &[u8]) -> Digest {
    LAST.with_borrow(|last| match last {
        Some((known, name)) if known[..] == *text => *name,
        _ => digest_of(text),
    })
}

fn find(node: &Node, request: Request<'_>, is_by_name: bool) -> Result<Script, CommandError> {
    if is_by_name {
        let name = Digest::parse(request.arg(1)).ok_or(NO_SCRIPT)?;
        let text = node.scripts.get(name).ok_or(NO_SCRIPT)?;
        return Ok(Script {
            name,
            text,
            is_known: true,
        });
    }
    let name = name_of(request.arg(1));
    let known = node.scripts.get(name);
    let is_known = known.is_some();
    let text = known.unwrap_or_else(|| request.arg(1).into());
    LAST.set(Some((text.clone(), name)));
    Ok(Script {
        name,
        text,
        is_known,
    })
}

/// Gets to know the script that another node is asked to execute, as if it were executed here: the client may go on to
/// use its name.
pub fn remember(node: &Node, request: Request<'_>) {
    let name = request.name();
    let has_text = name.eq_ignore_ascii_case(b"eval") || name.eq_ignore_ascii_case(b"eval_ro");
    if let Some(text) = request.get(1).filter(|_| has_text) {
        node.scripts.add(digest_of(text), text, false);
    }
}

/// The same request with the script's text in place of its name: another node may not know it by that.
pub fn spelled_out(node: &Node, request: Request<'_>) -> Option<OwnedRequest> {
    let name = request.name();
    let with_text: &[u8] = if name.eq_ignore_ascii_case(b"evalsha") {
        b"EVAL"
    } else if name.eq_ignore_ascii_case(b"evalsha_ro") {
        b"EVAL_RO"
    } else {
        return None;
    };
    let text = node.scripts.get(Digest::parse(request.get(1)?)?)?;
    let mut words: Vec<&[u8]> = vec![with_text, &text[..]];
    words.extend(request.iter().skip(2));
    Some(OwnedRequest::new(&words))
}

fn execute(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    is_by_name: bool,
    is_read_only: bool,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let node = unit.node();
    let count = count_of_keys(request)?;
    let Script {
        name,
        text,
        is_known,
    } = find(node, request, is_by_name)?;
    let declared = declaration_of(&text)?;
    let words: Vec<&[u8]> = request.iter().skip(3).collect();
    let (keys, arguments) = words.split_at(count);
    run_in(
        unit,
        (declared, is_read_only),
        out,
        |interpreter, may_go_on, host, reply| {
            let run = Run {
                text: &text,
                name,
                keys,
                arguments,
                may_go_on,
            };
            interpreter.run(run, host, reply)
        },
    )?;
    if !is_known {
        node.scripts.add(name, &text, false);
    }
    Ok(())
}

/// Runs something of Lua in a unit, by this thread's interpreter. What it may do is what it declares, and less if it is
/// to be read-only. Its error is a reply.
///
/// # Errors
/// It is taken back, because it was stopped or has to be begun anew.
pub fn run_in(
    unit: &mut Unit<'_>,
    (declared, is_read_only): (Declaration, bool),
    out: &mut Vec<u8>,
    run: impl FnOnce(
        &mut Interpreter,
        MayGoOn,
        &mut UnitHost<'_, '_>,
        &mut ReplyWriter<'_>,
    ) -> Result<(), Ended>,
) -> Result<(), CommandError> {
    let (node, config) = (unit.node(), unit.config());
    let is_out_of_memory = node.is_out_of_memory(config);
    let limit = Duration::from_millis(config.lua_time_limit.max(1));
    let watched = node.scripts.watch(limit);
    let may_go_on: MayGoOn = std::rc::Rc::new(move || watched.may_go_on());
    let mut interpreter = interpreter()?;
    let (database, resp) = (unit.session().database, unit.session().resp);
    let watch = may_go_on.clone();
    let mut host = UnitHost::new(unit, declared, is_read_only, is_out_of_memory, watch);
    let mut reply = ReplyWriter::new(out, resp);
    let ended = run(&mut interpreter, may_go_on, &mut host, &mut reply);
    let given_up = host.given_up;
    put_back(interpreter);
    // `SELECT` in a script is about the rest of the script.
    unit.session().database = database;
    match (given_up, ended) {
        (Some(GivenUp::NoRoom(bytes)), _) => Err(CommandError::NoRoom(NoRoom::Preparing, bytes)),
        (Some(GivenUp::NotLocked), _) => Err(CommandError::NotLocked),
        (None, Err(ended)) if ended.is_stopped => Err(CommandError::Stopped(ended.text)),
        (None, Err(ended)) => {
            // What it has changed until then stays, as in Redis.
            ReplyWriter::new(out, resp).error(ended.text);
            Ok(())
        }
        (None, Ok(())) => Ok(()),
    }
}

/// This thread's interpreter, or a new one.
fn interpreter() -> Result<Box<Interpreter>, CommandError> {
    match INTERPRETER.take() {
        Some(interpreter) => Ok(interpreter),
        None => Interpreter::new().map(Box::new).map_err(CommandError::err),
    }
}

fn put_back(interpreter: Box<Interpreter>) {
    if !interpreter.is_spent() {
        INTERPRETER.set(Some(interpreter));
    }
}

/// Does something with this thread's interpreter that is no unit.
///
/// # Errors
/// No memory.
pub fn with_interpreter<R>(use_it: impl FnOnce(&mut Interpreter) -> R) -> Result<R, CommandError> {
    let mut interpreter = interpreter()?;
    let result = use_it(&mut interpreter);
    put_back(interpreter);
    Ok(result)
}

/// Compiles a script, to see whether it is one.
///
/// # Errors
/// It isn't Lua.
pub fn compile(text: &[u8], name: Digest) -> Result<(), CommandError> {
    declaration_of(text)?;
    let compiled = with_interpreter(|interpreter| interpreter.compile(text, name))?;
    compiled.map_err(CommandError::Bytes)
}
