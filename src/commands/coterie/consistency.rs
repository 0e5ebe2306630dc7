//! `COTERIE.CONSISTENCY`: how many replicas the requests of one connection wait for.

use crate::commands::{CommandError, CommandResult, Control};
use crate::session::Consistency;
use crate::topology::{InvalidQuorum, Quorum};

pub fn consistency(call: &mut Control<'_, '_>) -> CommandResult {
    if call.request.len() == 1 {
        show(call);
        return Ok(());
    }
    let words: Vec<&[u8]> = call.request.iter().skip(1).collect();
    call.session.consistency = chosen(call.session.consistency, &words)?;
    call.reply.ok();
    Ok(())
}

/// What a connection has after these words.
pub(super) fn chosen(mut now: Consistency, words: &[&[u8]]) -> Result<Consistency, CommandError> {
    if let [word] = words
        && word.eq_ignore_ascii_case(b"default")
    {
        (now.read, now.write) = (None, None);
        return Ok(now);
    }
    let (pairs, []) = words.as_chunks::<2>() else {
        return Err(CommandError::Syntax);
    };
    for [kind, level] in pairs {
        let level = quorum(level)?;
        match kind.to_ascii_lowercase().as_slice() {
            b"read" => now.read = Some(level),
            b"write" => now.write = Some(level),
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(now)
}

/// A number of replicas, as a client writes it.
pub(super) fn quorum(word: &[u8]) -> Result<Quorum, CommandError> {
    let word = str::from_utf8(word).map_err(|_| CommandError::err(InvalidQuorum))?;
    word.parse().map_err(CommandError::err)
}

fn show(call: &mut Control<'_, '_>) {
    let chosen = call.session.consistency;
    let text = |level: Option<Quorum>| level.map_or("default".to_owned(), |it| it.to_string());
    call.reply.map(3);
    call.reply.bulk(b"read");
    call.reply.bulk(text(chosen.read).as_bytes());
    call.reply.bulk(b"write");
    call.reply.bulk(text(chosen.write).as_bytes());
    call.reply.bulk(b"local-reads");
    let local_reads = super::yes_or_no(chosen.local_reads);
    call.reply.bulk(local_reads.as_bytes());
}
