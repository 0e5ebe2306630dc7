//! `SLOWLOG`: the last commands that took long.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::clients::Client;

/// Most arguments of a command that are kept, and most bytes of one.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowCommand {
    /// Grows by one with each.
    pub id: u64,
    /// Unix seconds.
    pub at: u64,
    /// How long it took, in microseconds.
    pub microseconds: u64,
    /// Its arguments, shortened as Redis does.
    pub arguments: Vec<Vec<u8>>,
    /// Address of the client.
    pub address: String,
    /// Name of the client.
    pub name: Vec<u8>,
}

/// See the module.
#[derive(Default)]
pub struct SlowLog {
    entries: Mutex<(u64, VecDeque<SlowCommand>)>,
}

impl SlowLog {
    /// Adds a command, keeping at most `max`. `arguments` are [`shorten`]ed, without secrets.
    pub fn push(
        &self,
        arguments: Vec<Vec<u8>>,
        microseconds: u64,
        now_ms: u64,
        client: &Client,
        max: usize,
    ) {
        let name = client.details.lock().name.clone();
        let mut entries = self.entries.lock();
        let (next_id, list) = &mut *entries;
        list.push_front(SlowCommand {
            id: *next_id,
            at: now_ms / 1000,
            microseconds,
            arguments,
            address: client.address.clone(),
            name,
        });
        *next_id += 1;
        list.truncate(max);
    }

    /// The newest `count`, newest first.
    pub fn newest(&self, count: usize) -> Vec<SlowCommand> {
        self.entries.lock().1.iter().take(count).cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.lock().1.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets them all.
    pub fn clear(&self) {
        self.entries.lock().1.clear();
    }
}

/// The first arguments of a command, and of each the first bytes, with a remark on what is left out.
pub fn shorten<'a>(arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let count = arguments.len();
    let kept = if count > ARGUMENTS_MAX {
        ARGUMENTS_MAX - 1
    } else {
        count
    };
    let mut short: Vec<Vec<u8>> = arguments.take(kept).map(shorten_one).collect();
    if count > kept {
        short.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    short
}

fn shorten_one(argument: &[u8]) -> Vec<u8> {
    let left_out = argument.len().saturating_sub(ARGUMENT_BYTES_MAX);
    let mut short = argument[..argument.len() - left_out].to_vec();
    if left_out > 0 {
        short.extend_from_slice(format!("... ({left_out} more bytes)").as_bytes());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_shortened() {
        let long = [b'x'; ARGUMENT_BYTES_MAX + 72];
        let many: Vec<&[u8]> = std::iter::repeat_n(&long[..], 42).collect();
        let short = shorten(many.into_iter());
        assert_eq!(short.len(), ARGUMENTS_MAX);
        assert!(short[0].ends_with(b"x... (72 more bytes)"));
        assert_eq!(short[31], b"... (11 more arguments)");
        let exact: Vec<&[u8]> = vec![b"a"; ARGUMENTS_MAX];
        assert_eq!(shorten(exact.into_iter()), vec![b"a"; ARGUMENTS_MAX]);
    }
}
