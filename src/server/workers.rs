//! The threads that serve connections: one single-threaded runtime each.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How often a worker looks at its sockets while tasks are ready: after this many task polls.
const EVENT_INTERVAL: u32 = 31;

/// See the module. Connections are dealt out in turn and stay where they are.
pub struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

struct Worker {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts this many threads.
    pub fn start(threads: usize) -> io::Result<Self> {
        let workers = (0..threads.max(1))
            .map(start_worker)
            .collect::<io::Result<_>>()?;
        Ok(Workers {
            workers,
            next: AtomicUsize::new(0),
        })
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Runs a task on the next thread in turn.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        self.workers[turn].handle.spawn(task);
    }

    /// Ends all tasks where they wait, and the threads.
    pub fn stop(self) {
        let threads: Vec<_> = self
            .workers
            .into_iter()
            .map(|worker| {
                // A thread that ended already has no use for the message.
                let _ = worker.stop.send(());
                worker.thread
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

fn start_worker(number: usize) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            // Ends when the sender is dropped, too.
            let _ = runtime.block_on(stopped);
        })?;
    Ok(Worker {
        handle,
        stop,
        thread,
    })
}
