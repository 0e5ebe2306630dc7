//! One connection: reads requests, executes them in batches, sends their replies in order.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use coterie_protocol::{Limits, ProtocolError, ReplyWriter, Scanner};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::output::{Output, RETAINED_BYTES, over_limit};
use crate::commands::{Batch, Outcome, Pending, conclude, execute, prefetch, settle};
use crate::config::OutputBufferLimit;
use crate::node::Node;
use crate::outstanding::Outstanding;
use crate::session::{ReplyMode, Session};

/// Free space a read is offered, in bytes.
const READ_BYTES: usize = 16 * 1024;
/// Replies are flushed when they grow past this, in the middle of a pipeline too.
const FLUSH_BYTES: usize = 256 * 1024;
/// Requests executed before other connections of the thread get their turn.
const BATCH_REQUESTS: usize = 1024;

/// A byte stream to a client: TCP or a Unix socket.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Why a connection ends.
enum End {
    /// The client closed it, or it was asked to (`QUIT`, `CLIENT KILL`, idle too long).
    Closed,
    /// It broke, or the client does not read.
    Failed(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Failed(error)
    }
}

/// A connection and all its state.
pub struct Connection<S> {
    stream: S,
    node: Arc<Node>,
    session: Session,
    scanner: Scanner,
    /// Scans the request after the one that is executed, to bring its data near.
    ahead: Scanner,
    input: BytesMut,
    output: Output,
    /// Whether replies in the output are still being completed.
    incomplete: bool,
}

impl<S: Stream> Connection<S> {
    /// A fresh connection.
    pub fn new(stream: S, node: Arc<Node>, session: Session) -> Self {
        Connection {
            stream,
            node,
            session,
            scanner: Scanner::new(),
            ahead: Scanner::new(),
            input: BytesMut::new(),
            output: Output::default(),
            incomplete: false,
        }
    }

    /// Serves the client until it leaves.
    pub async fn serve(mut self) {
        let client = self.session.client.clone();
        let end = tokio::select! {
            biased;
            end = self.run() => end.err(),
            () = client.killed() => None,
        };
        if let Some(End::Failed(error)) = end {
            tracing::debug!(client = client.id, address = client.address, %error, "connection ended");
        }
        // What `CLIENT KILL` of the own connection or `QUIT` answered may still have to leave.
        if self.output.unsent() > 0 {
            let deadline = Instant::now() + Duration::from_secs(1);
            let _ = timeout_at(deadline, self.flush()).await;
        }
    }

    async fn run(&mut self) -> Result<(), End> {
        loop {
            self.execute_input().await?;
            if self.session.close_after_reply {
                return Err(End::Closed);
            }
            if self.session.monitor {
                self.monitor().await?;
            }
            self.fill().await?;
        }
    }

    /// Executes every whole request in the input buffer and flushes the replies.
    async fn execute_input(&mut self) -> Result<(), End> {
        while !self.input.is_empty() {
            let mut batch = Batch::begin(&self.node);
            self.show_buffers();
            let progress = self.execute_batch(&mut batch);
            batch.tally.flush(&self.node.statistics);
            self.session.publish(batch.moment.now_ms);
            // What was routed is held by what its replies wait for; the epoch is not to last as long as the client takes.
            drop(batch);
            self.show_buffers();
            match progress {
                Progress::NeedInput => break,
                Progress::Flush => self.flush().await?,
                Progress::Yield => {
                    self.flush().await?;
                    tokio::task::yield_now().await;
                }
                Progress::Suspended(outcome) => {
                    self.flush().await?;
                    self.resume(outcome).await?;
                }
                Progress::Close => {
                    self.flush().await?;
                    return Err(End::Closed);
                }
            }
        }
        self.flush().await
    }

    fn show_buffers(&self) {
        let buffers = &self.session.client.buffers;
        buffers.set_query(self.input.len(), self.input.capacity());
        buffers.set_output(self.output.unsent(), self.output.bytes.capacity());
    }

    fn execute_batch(&mut self, batch: &mut Batch) -> Progress {
        let mut scanned = None;
        for _ in 0..BATCH_REQUESTS {
            if self.session.client.is_killed() {
                return Progress::Close;
            }
            let limits = self.limits(batch);
            let consumed = match scanned
                .take()
                .unwrap_or_else(|| self.scanner.scan(&self.input, &limits))
            {
                Ok(Some(consumed)) => consumed,
                Ok(None) => return Progress::NeedInput,
                Err(error) => {
                    self.refuse(&error);
                    return Progress::Close;
                }
            };
            // Logging in changes the limits of what follows.
            if limits.authenticated {
                let rest = &self.input[consumed..];
                let next = self.ahead.scan(rest, &limits);
                if let Ok(Some(_)) = next {
                    prefetch(&self.node, &self.session, self.ahead.request(rest));
                }
                scanned = Some(next);
            }
            let request = self.scanner.request(&self.input);
            if request.is_empty() {
                // It counts for CLIENT REPLY SKIP all the same.
                self.session.end_command();
            } else {
                let outcome = execute(
                    &self.node,
                    &mut self.session,
                    request,
                    &mut self.output.bytes,
                    batch,
                );
                self.take_messages();
                match outcome {
                    Outcome::Replied => {}
                    Outcome::NoRoom(_)
                    | Outcome::Paused(_)
                    | Outcome::Conclude
                    | Outcome::Moving
                    | Outcome::Refresh(_)
                    | Outcome::Settle(..) => {
                        // The request stays in the buffer and is scanned again.
                        self.scanner = Scanner::new();
                        self.ahead = Scanner::new();
                        return Progress::Suspended(outcome);
                    }
                    Outcome::Deferred(_) => {
                        self.step(consumed, &scanned);
                        return Progress::Suspended(outcome);
                    }
                }
            }
            self.step(consumed, &scanned);
            if self.session.close_after_reply {
                return Progress::Close;
            }
            if self.session.monitor {
                return Progress::Flush;
            }
            if self.output.unsent() > FLUSH_BYTES {
                return Progress::Flush;
            }
            if self.input.is_empty() {
                return Progress::NeedInput;
            }
        }
        Progress::Yield
    }

    /// Goes on to the next request, which may have been scanned already.
    fn step(&mut self, consumed: usize, next: &Option<Result<Option<usize>, ProtocolError>>) {
        self.input.advance(consumed);
        std::mem::swap(&mut self.scanner, &mut self.ahead);
        if !matches!(next, Some(Ok(_))) {
            // It was not scanned, or failed: whoever scans it begins at its start.
            self.scanner = Scanner::new();
        }
    }

    fn limits(&self, batch: &Batch) -> Limits {
        Limits {
            bulk_bytes: batch.config.proto_max_bulk_len as usize,
            authenticated: !self.session.needs_password(),
            ..Limits::default()
        }
    }

    fn refuse(&mut self, error: &ProtocolError) {
        self.node.statistics.protocol_errors.fetch_add(1, Relaxed);
        tracing::debug!(client = self.session.client.id, %error, "protocol error");
        if self.session.reply_mode == ReplyMode::On {
            ReplyWriter::new(&mut self.output.bytes, self.session.resp).protocol_error(error);
        }
    }

    /// Waits for what a request needs before it can be executed or answered.
    async fn resume(&mut self, outcome: Outcome) -> Result<(), End> {
        self.session.set_blocked(true);
        match outcome {
            Outcome::Deferred(pending) if pending.waits_for_data() => {
                self.wait_for_data(pending).await?;
            }
            outcome => {
                settle(
                    &self.node,
                    &mut self.session,
                    outcome,
                    &mut self.output.bytes,
                )
                .await;
            }
        }
        self.session.set_blocked(false);
        Ok(())
    }

    /// Waits for the reply of a command that waits for data, and sees whether the client leaves.
    async fn wait_for_data(&mut self, pending: Pending) -> Result<(), End> {
        let node = self.node.clone();
        let mut reply = pin!(pending.wait(&node));
        let reply = loop {
            // Who sends that much without waiting for an answer has not left.
            if self.input.len() >= FLUSH_BYTES {
                break reply.await;
            }
            tokio::select! {
                biased;
                reply = &mut reply => break reply,
                filled = self.fill() => filled?,
            }
        };
        self.output.bytes.extend_from_slice(&reply);
        Ok(())
    }

    /// Sends all replies, once what they tell is safe.
    async fn flush(&mut self) -> Result<(), End> {
        if let Some(local) = self.session.outstanding.only_local() {
            // Taken down only when it is reached: a connection that is killed while it waits flushes once more.
            local.reached(self.node.engine.log()).await;
            self.session.outstanding = Outstanding::default();
        } else if !self.session.outstanding.is_empty() {
            let outstanding = std::mem::take(&mut self.session.outstanding);
            let origin = self.session.origin();
            // Replies that are not completed never leave: a connection that is killed meanwhile sends no more.
            self.incomplete = true;
            conclude(outstanding, &self.node, &origin, &mut self.output.bytes).await;
            self.incomplete = false;
        } else {
            // Reads of this node alone: nothing is waited for, and their epoch may be over.
            self.session.outstanding.release();
        }
        if self.incomplete {
            return Ok(());
        }
        self.take_messages();
        let unsent = self.output.unsent();
        if unsent == 0 {
            return Ok(());
        }
        let limits = self.node.config.load().client_output_buffer_limit.normal;
        self.output.send(&mut self.stream, &limits).await?;
        self.count_sent(unsent);
        Ok(())
    }

    /// Puts messages that no request asked for behind the replies so far, some of them if there are many.
    #[inline]
    fn take_messages(&mut self) {
        let outbox = &self.session.client.outbox;
        if outbox.is_busy() {
            outbox.take(&mut self.output.bytes, FLUSH_BYTES);
        }
    }

    /// Counts what was sent since this many bytes were unsent.
    fn count_sent(&self, unsent_before: usize) {
        let sent = unsent_before - self.output.unsent();
        self.node
            .statistics
            .output_bytes
            .fetch_add(sent as u64, Relaxed);
        self.show_buffers();
    }

    /// Reads more input, or returns without because there are messages to send.
    async fn fill(&mut self) -> Result<(), End> {
        let query_limit = self.node.config.load().client_query_buffer_limit;
        if (self.input.len() + self.session.queued_bytes()) as u64 > query_limit {
            self.node.statistics.protocol_errors.fetch_add(1, Relaxed);
            tracing::warn!(
                client = self.session.client.id,
                "closed: input exceeds client-query-buffer-limit"
            );
            return Err(End::Closed);
        }
        if self.input.is_empty() && self.input.capacity() > RETAINED_BYTES {
            self.input = BytesMut::new();
        }
        // A large bulk on its way gets a buffer that grows with what has arrived, never with what is announced.
        let wanted = self.scanner.wanted().saturating_sub(self.input.len());
        self.input
            .reserve(wanted.clamp(READ_BYTES, self.input.len().max(READ_BYTES)));
        let unsent = self.output.unsent();
        let read = self.read_while_sending().await?;
        if unsent > 0 {
            self.count_sent(unsent);
        }
        let Some(read) = read else {
            return Ok(());
        };
        if read == 0 {
            return Err(End::Closed);
        }
        self.node
            .statistics
            .input_bytes
            .fetch_add(read as u64, Relaxed);
        Ok(())
    }

    /// Reads more input, going on to send what the client has not read. `None` when everything is sent and there are
    /// messages to send.
    async fn read_while_sending(&mut self) -> Result<Option<usize>, End> {
        let mut limits = OutputBufferLimit::default();
        let mut deadline = None;
        if self.output.unsent() > 0 {
            limits = self.node.config.load().client_output_buffer_limit.normal;
            deadline = self.output.deadline(&limits);
        }
        let Connection {
            stream,
            output,
            input,
            session,
            ..
        } = self;
        let outbox = &session.client.outbox;
        let progress = poll_fn(|context| {
            match output.poll_send(stream, context) {
                // Messages wait until the client has read what was sent before.
                Poll::Ready(Ok(())) if outbox.poll_busy(context).is_ready() => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            let mut read = pin!(stream.read_buf(input));
            read.as_mut().poll(context).map_ok(Some)
        });
        match deadline {
            None => Ok(progress.await?),
            Some(deadline) => match timeout_at(deadline, progress).await {
                Ok(read) => Ok(read?),
                Err(_) if output.unsent() as u64 > limits.soft => Err(over_limit("soft").into()),
                // It has read enough in time.
                Err(_) => Ok(Some(stream.read_buf(input).await?)),
            },
        }
    }

    /// Sends a line for every command on the server, until the client leaves or resets.
    async fn monitor(&mut self) -> Result<(), End> {
        let Some(mut monitor) = self.session.monitoring.take() else {
            return Ok(());
        };
        while self.session.monitor {
            tokio::select! {
                line = monitor.next() => {
                    let Some(line) = line else { return Err(End::Closed) };
                    ReplyWriter::new(&mut self.output.bytes, self.session.resp).simple(line.as_bytes());
                    self.flush().await?;
                }
                filled = self.fill() => {
                    filled?;
                    self.execute_input().await?;
                    if self.session.close_after_reply {
                        return Err(End::Closed);
                    }
                    // It was reset, and began again.
                    if let Some(next) = self.session.monitoring.take() {
                        monitor = next;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a batch of requests ended with.
enum Progress {
    NeedInput,
    Flush,
    Yield,
    Suspended(Outcome),
    Close,
}
