//! Shows how far something is: a bar on a terminal, lines elsewhere.

use std::io::{self, IsTerminal, Write};

/// Columns of the bar.
const WIDTH: usize = 40;

/// See the module. Writes to the standard error.
pub struct Progress {
    is_terminal: bool,
    last: Option<(usize, usize)>,
}

impl Progress {
    pub fn new() -> Progress {
        Progress {
            is_terminal: io::stderr().is_terminal(),
            last: None,
        }
    }

    /// So many are done, of so many.
    pub fn show(&mut self, done: usize, total: usize) {
        if self.last.replace((done, total)) == Some((done, total)) {
            return;
        }
        let text = format!("{} {done} of {total} partitions", bar(done, total));
        // Whether anyone sees it changes nothing.
        let _ = match self.is_terminal {
            true => write!(io::stderr(), "\r{text}"),
            false => writeln!(io::stderr(), "{text}"),
        };
    }

    /// Nothing follows on this line.
    pub fn end(&mut self) {
        if self.is_terminal && self.last.take().is_some() {
            eprintln!();
        }
    }
}

fn bar(done: usize, total: usize) -> String {
    let filled = (WIDTH * done.min(total))
        .checked_div(total)
        .unwrap_or(WIDTH);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(WIDTH - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_up() {
        let filled = |done, total| bar(done, total).matches('#').count();
        assert_eq!([filled(0, 8), filled(1, 8), filled(8, 8)], [0, 5, 40]);
        assert_eq!([filled(0, 0), filled(9, 8)], [40, 40]);
        assert_eq!(bar(3, 8).len(), WIDTH + 2);
    }
}
