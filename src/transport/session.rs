//! One connection that this node opened, after its handshake.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coterie_protocol::internal::handshake::clock_offset_ms;
use coterie_protocol::internal::{Frame, Kind, Reason, Refusal, Service};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::error::{CallError, Ended, SendError};
use super::handshake::{Opened, Peer, check_clock};
use super::output::Output;
use super::stream::{FrameReader, Silence, farewell, write_queued};
use super::traffic::Traffic;
use super::{CallId, Options, Shared};
use crate::clock;

/// A link that nothing was sent on, and no answer is awaited on, pings on every so manieth tick only.
const IDLE_TICKS: u32 = 5;

/// What callers and the tasks of the connection share.
pub(super) struct Session {
    pub(super) peer: Peer,
    pub(super) output: Output,
    pub(super) silence: Silence,
    pub(super) since: Instant,
    calls: Mutex<HashMap<CallId, oneshot::Sender<Bytes>>>,
    call_limit: usize,
    next_call: AtomicU64,
    round_trip_us: AtomicU64,
    clock_offset_ms: AtomicI64,
}

impl Session {
    pub(super) fn new(peer: Peer, options: &Options) -> Session {
        Session {
            clock_offset_ms: AtomicI64::new(peer.clock_offset_ms),
            output: Output::new(
                options.output_limit,
                options.body_limit_of(peer.who.is_client()),
            ),
            peer,
            silence: Silence::default(),
            since: Instant::now(),
            calls: Mutex::default(),
            call_limit: options.call_limit,
            next_call: AtomicU64::new(1),
            round_trip_us: AtomicU64::new(0),
        }
    }

    pub(super) fn send(&self, service: Service, body: &[u8]) -> Result<(), SendError> {
        self.output.push(Kind::Send, service as u8, 0, body)
    }

    /// Queues a call at once.
    pub(super) fn call(
        self: Arc<Self>,
        service: Service,
        body: &[u8],
    ) -> Result<Pending, SendError> {
        let id = self.next_call.fetch_add(1, Relaxed);
        let (sender, reply) = oneshot::channel();
        {
            let mut calls = self.calls.lock();
            if calls.len() >= self.call_limit {
                return Err(SendError::Busy);
            }
            calls.insert(id, sender);
        }
        let pending = Pending {
            session: self,
            id,
            reply,
        };
        let session = &pending.session;
        session.output.push(Kind::Call, service as u8, id, body)?;
        Ok(pending)
    }

    /// Nothing more is sent, and nobody waits any longer.
    pub(super) fn close(&self) {
        self.output.close();
        self.calls.lock().clear();
    }

    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip_us.load(Relaxed))
    }

    pub(super) fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms.load(Relaxed)
    }

    /// Until the connection breaks or is closed.
    pub(super) async fn run(&self, shared: &Shared, opened: Opened, traffic: &Traffic) -> Ended {
        let Opened {
            mut reader,
            mut writer,
            ..
        } = opened;
        let stuck_after = shared.options.broken_after;
        let mut writing = std::pin::pin!(write_queued(
            &self.output,
            &mut writer,
            traffic,
            stuck_after
        ));
        let ended = tokio::select! {
            ended = self.read(shared, &mut reader, traffic) => ended,
            ended = self.ping(shared) => ended,
            ended = &mut writing => return ended,
        };
        if let Ended::Refusing(refusal) = &ended {
            shared.refusing(self.peer.who.address, refusal);
            self.output.push_control(Kind::Refuse, 0, &refusal.encode());
            farewell(&self.output, writing, &mut reader).await;
        }
        ended
    }

    async fn read(&self, shared: &Shared, reader: &mut FrameReader, traffic: &Traffic) -> Ended {
        loop {
            let handled = match reader.next(traffic, &self.silence).await {
                Ok((frame, body)) => self.handle(shared, frame, body),
                Err(ended) => Err(ended),
            };
            if let Err(ended) = handled {
                return ended;
            }
        }
    }

    fn handle(&self, shared: &Shared, frame: Frame, body: Bytes) -> Result<(), Ended> {
        match (frame.kind, Service::new(frame.service)) {
            (Kind::Reply, _) => {
                let caller = self.calls.lock().remove(&frame.call);
                if let Some(caller) = caller {
                    // A caller that is gone needs no reply.
                    let _ = caller.send(body);
                }
            }
            (Kind::Push, Some(service)) => {
                shared.handler.pushed(self.peer.who.node, service, body);
            }
            (Kind::Pong, _) => self.pong(shared, frame.call, &body)?,
            (Kind::Refuse, _) => return Err(Ended::Refused(Refusal::decode(&body))),
            _ => {
                return Err(Ended::Refusing(Refusal::new(
                    Reason::Garbage,
                    format!("a frame {:?} of service {}", frame.kind, frame.service),
                )));
            }
        }
        Ok(())
    }

    /// Looks on every tick whether the peer is heard; ends when it was not for too many.
    async fn ping(&self, shared: &Shared) -> Ended {
        let interval = shared.options.ping_interval;
        let most = ticks(shared.options.broken_after, interval);
        let mut timer = clock::ticks(interval);
        let mut idle = IDLE_TICKS;
        loop {
            timer.tick().await;
            // Counted first: what is sent from here on is asked about on the next tick.
            let is_awaited = self.output.take_activity()
                || self.silence.ticks() > 0
                || !self.calls.lock().is_empty();
            idle += 1;
            if !is_awaited && idle < IDLE_TICKS {
                continue;
            }
            idle = 0;
            if self.silence.tick() > most {
                return Ended::Silent;
            }
            // The number is when it was sent, so that nothing has to be remembered.
            let now = shared.started.elapsed().as_micros() as u64;
            self.output.push_control(Kind::Ping, now, &[]);
        }
    }

    fn pong(&self, shared: &Shared, sent_us: u64, body: &[u8]) -> Result<(), Ended> {
        let now_us = shared.started.elapsed().as_micros() as u64;
        let (Some(round_trip), Ok(theirs_ms)) = (now_us.checked_sub(sent_us), body.try_into())
        else {
            return Err(Ended::Refusing(Refusal::new(
                Reason::Garbage,
                "a malformed pong",
            )));
        };
        self.round_trip_us.store(round_trip, Relaxed);
        let now_ms = shared.options.clock.now_ms();
        let sent_ms = now_ms.saturating_sub(round_trip.div_ceil(1000));
        let offset = clock_offset_ms(sent_ms, now_ms, u64::from_le_bytes(theirs_ms));
        self.clock_offset_ms.store(offset, Relaxed);
        check_clock(shared, self.peer.who.node, offset).map_err(Ended::Refusing)
    }
}

/// How many ticks fit into a time, at least one.
pub(super) fn ticks(time: Duration, interval: Duration) -> u32 {
    let ticks = time.as_nanos() / interval.as_nanos().max(1);
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// A call whose reply has not come yet. Dropping it forgets the call.
pub(super) struct Pending {
    session: Arc<Session>,
    id: CallId,
    reply: oneshot::Receiver<Bytes>,
}

impl Pending {
    pub(super) async fn wait(mut self) -> Result<Bytes, CallError> {
        (&mut self.reply).await.map_err(|_| CallError::Broken)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.session.calls.lock().remove(&self.id);
    }
}
