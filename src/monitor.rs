//! `MONITOR`: a copy of every command to those who watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coterie_protocol::DatabaseId;
use tokio::sync::broadcast;

/// Lines a monitor may lag behind before it loses some.
const QUEUE_LINES: usize = 4096;

/// See the module.
pub struct Monitors {
    watching: AtomicUsize,
    lines: broadcast::Sender<Arc<str>>,
}

/// One who watches; stops on drop.
pub struct Monitor {
    monitors: Arc<crate::node::Node>,
    lines: broadcast::Receiver<Arc<str>>,
}

impl Default for Monitors {
    fn default() -> Self {
        Monitors {
            watching: AtomicUsize::new(0),
            lines: broadcast::Sender::new(QUEUE_LINES),
        }
    }
}

impl Monitors {
    /// Whether anyone watches: the only cost when nobody does.
    #[inline]
    pub fn any(&self) -> bool {
        self.watching.load(Ordering::Relaxed) > 0
    }

    /// Shows a command, in Redis' form. `arguments` are without secrets.
    pub fn show<'a>(
        &self,
        now_micros: u64,
        database: DatabaseId,
        address: &str,
        arguments: impl Iterator<Item = &'a [u8]>,
    ) {
        // Port 0 stands for a Unix socket, which Redis marks here and only here.
        let (unix, address) = match address.strip_suffix(":0") {
            Some(path) => ("unix:", path),
            None => ("", address),
        };
        let mut line = format!(
            "{}.{:06} [{database} {unix}{address}]",
            now_micros / 1_000_000,
            now_micros % 1_000_000
        );
        for argument in arguments {
            line.push_str(" \"");
            for &byte in argument {
                match byte {
                    b'\\' | b'"' => line.extend(['\\', byte as char]),
                    b'\n' => line.push_str("\\n"),
                    b'\r' => line.push_str("\\r"),
                    b'\t' => line.push_str("\\t"),
                    0x07 => line.push_str("\\a"),
                    0x08 => line.push_str("\\b"),
                    0x20..=0x7e => line.push(byte as char),
                    _ => line.push_str(&format!("\\x{byte:02x}")),
                }
            }
            line.push('"');
        }
        // Nobody left to read it is fine.
        let _ = self.lines.send(line.into());
    }
}

impl Monitor {
    /// Starts watching.
    pub fn start(node: &Arc<crate::node::Node>) -> Self {
        node.monitors.watching.fetch_add(1, Ordering::Relaxed);
        Monitor {
            lines: node.monitors.lines.subscribe(),
            monitors: node.clone(),
        }
    }

    /// The next line. A monitor that was too slow misses some.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            match self.lines.recv().await {
                Ok(line) => return Some(line),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.monitors
            .monitors
            .watching
            .fetch_sub(1, Ordering::Relaxed);
    }
}
