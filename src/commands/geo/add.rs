//! `GEOADD`: places put into a sorted set.

use super::place;
use crate::commands::sorted_sets::{Options, add};
use crate::commands::{Call, CommandError, CommandResult};

/// `GEOADD`
pub fn geoadd(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let mut options = Options::default();
    let mut first = 2;
    while let Some(word) = request.get(first) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"nx") => options.only_new = true,
            () if is(b"xx") => options.only_existing = true,
            () if is(b"ch") => options.counts_changes = true,
            () => break,
        }
        first += 1;
    }
    let places = request.skip(first);
    let is_whole = !places.is_empty() && places.len().is_multiple_of(3);
    if !is_whole || options.only_new && options.only_existing {
        return Err(CommandError::Syntax);
    }
    let member = |index| {
        let place = place(places.arg(index), places.arg(index + 1))?;
        Ok((place.to_score(), places.arg(index + 2)))
    };
    let members: Result<Vec<_>, CommandError> = (0..places.len()).step_by(3).map(member).collect();
    add(call, options, &members?)
}
