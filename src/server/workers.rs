//! The threads that serve connections: one single-threaded runtime each.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, ThreadId};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How often a worker looks at its sockets while tasks are ready: after this many task polls.
const EVENT_INTERVAL: u32 = 31;

/// See the module. Connections are dealt out in turn and stay where they are.
pub struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
    /// Started when all others are held up, and kept for the next time.
    spare: OnceLock<Worker>,
}

/// A thread with a runtime of its own.
pub struct Worker {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts this many threads.
    pub fn start(threads: usize) -> io::Result<Self> {
        let workers = (0..threads.max(1))
            .map(|number| Worker::start(format!("worker-{number}")))
            .collect::<io::Result<_>>()?;
        Ok(Workers {
            workers,
            next: AtomicUsize::new(0),
            spare: OnceLock::new(),
        })
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Runs a task on the next thread in turn that is not held up.
    pub fn spawn(
        &self,
        is_held_up: impl Fn(ThreadId) -> bool,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let count = self.workers.len();
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let mut in_turn = (turn..turn + count).map(|turn| &self.workers[turn % count]);
        let free = in_turn.find(|worker| !is_held_up(worker.thread.thread().id()));
        let worker = free.or_else(|| self.spare());
        worker.unwrap_or(&self.workers[turn]).handle.spawn(task);
    }

    fn spare(&self) -> Option<&Worker> {
        if self.spare.get().is_none() {
            match Worker::start(format!("worker-{}", self.workers.len())) {
                // Only the acceptors come here, and a second one that is too many ends when it is dropped.
                Ok(worker) => drop(self.spare.set(worker)),
                Err(error) => {
                    tracing::warn!(%error, "no thread for a connection while scripts run")
                }
            }
        }
        self.spare.get()
    }

    /// Ends all tasks where they wait, and the threads.
    pub fn stop(self) {
        let workers = self.workers.into_iter().chain(self.spare.into_inner());
        let threads: Vec<_> = workers.map(Worker::end).collect();
        threads.into_iter().for_each(join);
    }
}

impl Worker {
    /// Starts a thread with this name.
    pub fn start(name: String) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name).spawn(move || {
            // Ends when the sender is dropped, too.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Worker {
            handle,
            stop,
            thread,
        })
    }

    /// Its runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends all tasks where they wait, and the thread.
    pub fn stop(self) {
        join(self.end());
    }

    fn end(self) -> JoinHandle<()> {
        // A thread that ended already has no use for the message.
        let _ = self.stop.send(());
        self.thread
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a worker thread panicked");
    }
}
