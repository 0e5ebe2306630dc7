//! Loads libraries: reads the line that names them, and has them register their functions.

use std::io;
use std::sync::Arc;

use coterie_protocol::{Request, RespVersion};

use crate::commands::error::CommandError;
use crate::commands::scripts::{log, with_interpreter};
use crate::functions::{FLAGS, Function, FunctionFlags, Library, decode};
use crate::node::Node;
use crate::scripting::{BAD_NAME, Host, Interpreter, LogLevel, Registered, is_name};

/// The server, as a library sees it while it is loaded: it can log.
struct Silent;

impl Host for Silent {
    fn call(&mut self, _: Request<'_>, _: RespVersion, _: &mut Vec<u8>) {
        debug_assert!(false, "hidden from libraries");
    }

    fn may_call(&mut self, _: Request<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log(level, text);
    }
}

/// Loads a library, to see what it registers.
///
/// # Errors
/// It can't be loaded.
pub fn compile(code: &[u8]) -> Result<Library, CommandError> {
    let name = name_of(code)?;
    let mut library = Library::new(name, code, Vec::new());
    library.functions = with_interpreter(|interpreter| load(interpreter, &library))??;
    if library.functions.is_empty() {
        return Err(CommandError::line("ERR No functions registered"));
    }
    Ok(library)
}

/// Lets an interpreter know a library.
///
/// # Errors
/// It can't be loaded.
pub fn load(
    interpreter: &mut Interpreter,
    library: &Library,
) -> Result<Vec<Function>, CommandError> {
    let is_flag = |word: &[u8]| FLAGS.iter().any(|(name, _)| name.as_bytes() == word);
    let registered = interpreter
        .load(library.id, &library.code, is_flag, &mut Silent)
        .map_err(CommandError::err)?;
    Ok(registered.into_iter().map(function).collect())
}

fn function(registered: Registered) -> Function {
    let has = |flag: &str| registered.flags.iter().any(|word| word == flag.as_bytes());
    let flags = FLAGS.iter().filter(|(name, _)| has(name));
    Function {
        flags: flags.fold(FunctionFlags::empty(), |flags, (_, flag)| flags | *flag),
        name: registered.name,
        description: registered.description,
    }
}

/// The name in the first line of a library's code: `#!lua name=…`.
fn name_of(code: &[u8]) -> Result<&[u8], CommandError> {
    let line = code
        .strip_prefix(b"#!")
        .ok_or(CommandError::line("ERR Missing library metadata"))?;
    let end = line.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(CommandError::line("ERR Invalid library metadata"))?;
    let mut words = line[..end]
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    let mut name = None;
    for word in words {
        match word.split_at_checked(5) {
            Some((key, _)) if key.eq_ignore_ascii_case(b"name=") && name.is_some() => {
                return Err(CommandError::line(
                    "ERR Invalid metadata value, name argument was given multiple times",
                ));
            }
            Some((key, value)) if key.eq_ignore_ascii_case(b"name=") => name = Some(value),
            _ => {
                let text = "ERR Invalid metadata value given: ";
                return Err(CommandError::quoting(text, word, ""));
            }
        }
    }
    let name = name.ok_or(CommandError::line("ERR Library name was not given"))?;
    if !is_name(name) {
        return Err(CommandError::err(BAD_NAME));
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(CommandError::quoting("ERR Engine '", engine, "' not found"));
    }
    Ok(name)
}

/// The libraries of a payload, none of which get in each other's way.
///
/// # Errors
/// It is damaged, or one of them can't be loaded.
pub fn libraries_of(payload: &[u8]) -> Result<Vec<Library>, CommandError> {
    let codes = decode(payload).map_err(CommandError::err)?;
    codes.iter().map(|code| compile(code)).collect()
}

/// Loads what is kept in the data directory.
///
/// # Errors
/// The file can't be read, or what it keeps can't be loaded: then the node must not start, because it would forget it.
pub fn open(node: &Arc<Node>) -> io::Result<()> {
    let directory = node.config.load().dir.clone();
    let unreadable = |error: CommandError| {
        let text = format!("the file `functions` of the data directory: {error}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    for change in node.functions.open(&directory)? {
        let library = change.code.as_deref().map(compile).transpose();
        node.functions
            .take_in(&change, library.map_err(unreadable)?);
    }
    Ok(())
}
