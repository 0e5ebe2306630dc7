//! The threads that serve connections: one single-threaded runtime each.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How often a worker looks at its sockets while tasks are ready: after this many task polls.
const EVENT_INTERVAL: u32 = 31;
/// Within this time a worker answers that is not held up.
const ANSWERS_WITHIN: Duration = Duration::from_millis(20);
/// Spare workers at most. Clients that stay on one may be held up there by the next script.
const SPARES_MAX: usize = 4;

/// See the module. Connections are dealt out in turn and stay where they are.
pub struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
    /// Started when all others are held up, and kept for the next time.
    spares: Mutex<Vec<Worker>>,
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
            spares: Mutex::default(),
        })
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Runs a task on the next thread in turn. If some may be held up, on the first that answers.
    pub async fn spawn(
        &self,
        may_be_held_up: bool,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let free = match may_be_held_up {
            true => self.free_one().await,
            false => None,
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        let in_turn = &self.workers[turn].handle;
        free.as_ref().unwrap_or(in_turn).spawn(task);
    }

    async fn free_one(&self) -> Option<Handle> {
        let (answer, mut answers) = mpsc::channel(self.workers.len() + SPARES_MAX);
        for worker in self.workers.iter().chain(self.spares.lock().iter()) {
            let (answer, handle) = (answer.clone(), worker.handle.clone());
            // Nobody waits for an answer that comes late.
            worker
                .handle
                .spawn(async move { drop(answer.try_send(handle)) });
        }
        if let Ok(Some(first)) = timeout(ANSWERS_WITHIN, answers.recv()).await {
            return Some(first);
        }
        let mut spares = self.spares.lock();
        if spares.len() == SPARES_MAX {
            return None;
        }
        match Worker::start(format!("spare-{}", spares.len())) {
            Ok(worker) => {
                let handle = worker.handle.clone();
                spares.push(worker);
                Some(handle)
            }
            Err(error) => {
                tracing::warn!(%error, "no thread for a connection while scripts run");
                None
            }
        }
    }

    /// Ends all tasks where they wait, and the threads.
    pub fn stop(self) {
        let workers = self.workers.into_iter().chain(self.spares.into_inner());
        let threads: Vec<_> = workers.map(Worker::end).collect();
        threads.into_iter().for_each(join);
    }
}

impl Worker {
    /// Starts a thread with this name.
    pub fn start(name: String) -> io::Result<Worker> {
        let (stop, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name).spawn(move || {
            // Made here: a runtime can't be dropped where another runs, which is where this may be called.
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            if started.send(Ok(runtime.handle().clone())).is_ok() {
                // Ends when the sender is dropped, too.
                let _ = runtime.block_on(stopped);
            }
        })?;
        let handle = start.recv().map_err(io::Error::other)??;
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
