//! `SLOWLOG`: the last commands that took long.

use std::collections::VecDeque;

use coterie_protocol::Request;
use parking_lot::Mutex;

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
    /// Adds a command, keeping at most `max`.
    pub fn push(
        &self,
        request: Request<'_>,
        microseconds: u64,
        now_ms: u64,
        address: &str,
        name: &[u8],
        max: usize,
    ) {
        let arguments = shorten(request);
        let mut entries = self.entries.lock();
        let (next_id, list) = &mut *entries;
        let id = *next_id;
        *next_id += 1;
        let (address, name) = (address.to_owned(), name.to_vec());
        list.push_front(SlowCommand {
            id,
            at: now_ms / 1000,
            microseconds,
            arguments,
            address,
            name,
        });
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

fn shorten(request: Request<'_>) -> Vec<Vec<u8>> {
    let kept = if request.len() > ARGUMENTS_MAX {
        ARGUMENTS_MAX - 1
    } else {
        request.len()
    };
    let mut arguments: Vec<Vec<u8>> = request
        .iter()
        .take(kept)
        .map(|argument| {
            if argument.len() <= ARGUMENT_BYTES_MAX {
                return argument.to_vec();
            }
            let mut short = argument[..ARGUMENT_BYTES_MAX].to_vec();
            short.extend_from_slice(
                format!("... ({} more bytes)", argument.len() - ARGUMENT_BYTES_MAX).as_bytes(),
            );
            short
        })
        .collect();
    if request.len() > kept {
        arguments.push(format!("... ({} more arguments)", request.len() - kept).into_bytes());
    }
    arguments
}
