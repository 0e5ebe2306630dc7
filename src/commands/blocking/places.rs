//! Places in this node's queues for clients of other nodes.
//!
//! What other nodes send is a request of service `Execute` whose first argument is a verb, the second the number of a
//! place (0 for a new one): `TRY` with the arguments of the client's request executes it, `AWAIT` answers when it is
//! that place's turn, or after a moment anyway, `LEAVE` gives it up. Answers other than replies to the client are
//! errors that no command makes: `-PARKED number milliseconds` (0 for however long), `-TURN`, `-PATIENCE`, `-GONE`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::text::parse_u64;
use coterie_protocol::{OwnedRequest, ReplyWriter, RespVersion};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::Patience;
use super::attempt::{Attempt, attempt};
use crate::blocking::{Waiting, Wake};
use crate::commands::execute::Batch;
use crate::commands::perform::settle;
use crate::node::Node;
use crate::session::Session;

/// How long a turn is waited for before that is said.
pub const AWAIT_MAX: Duration = Duration::from_secs(1);
/// A place that nobody asks about for so long is given up.
const KEPT: Duration = Duration::from_secs(3);

/// What another node asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// To execute the request.
    Try,
    /// To say when it is its turn.
    Await,
    /// To give up the place.
    Leave,
}

const VERBS: [(Verb, &[u8]); 3] = [
    (Verb::Try, b"\0TRY"),
    (Verb::Await, b"\0AWAIT"),
    (Verb::Leave, b"\0LEAVE"),
];

impl Verb {
    /// The request that is sent.
    pub fn request(self, place: u64, request: &OwnedRequest) -> OwnedRequest {
        let name = VERBS.iter().find(|(verb, _)| *verb == self);
        let mut digits = itoa::Buffer::new();
        let mut words: Vec<&[u8]> = vec![
            name.map_or(b"", |(_, name)| name),
            digits.format(place).as_bytes(),
        ];
        let request = request.request();
        if self == Verb::Try {
            words.extend(request.iter());
        }
        OwnedRequest::new(&words)
    }

    /// Reads a request: the verb, the place and the client's request.
    pub fn read(request: &OwnedRequest) -> Option<(Verb, u64, OwnedRequest)> {
        let request = request.request();
        let (verb, _) = VERBS.iter().find(|(_, name)| *name == request.name())?;
        let place = parse_u64(request.get(1)?)?;
        Some((*verb, place, OwnedRequest::from(request.skip(2))))
    }
}

/// An answer that is no reply to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// There was nothing; it has this place, at most so long.
    Parked(u64, Option<Duration>),
    /// It is its turn.
    Turn,
    /// Not yet.
    Patience,
    /// There is no such place.
    Gone,
}

impl Answer {
    /// Reads what was answered.
    pub fn read(reply: &[u8]) -> Option<Answer> {
        let line = reply.strip_prefix(b"-")?.strip_suffix(b"\r\n")?;
        let mut words = line.split(|byte| *byte == b' ');
        match (words.next()?, words.next(), words.next()) {
            (b"TURN", None, _) => Some(Answer::Turn),
            (b"PATIENCE", None, _) => Some(Answer::Patience),
            (b"GONE", None, _) => Some(Answer::Gone),
            (b"PARKED", Some(place), Some(milliseconds)) => {
                let milliseconds = parse_u64(milliseconds)?;
                let timeout = (milliseconds > 0).then(|| Duration::from_millis(milliseconds));
                Some(Answer::Parked(parse_u64(place)?, timeout))
            }
            _ => None,
        }
    }

    /// As it is sent.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp2);
        match self {
            Answer::Turn => reply.error("TURN"),
            Answer::Patience => reply.error("PATIENCE"),
            Answer::Gone => reply.error("GONE"),
            Answer::Parked(place, timeout) => {
                let milliseconds = timeout.map_or(0, |timeout| timeout.as_millis());
                reply.error_display(format_args!("PARKED {place} {milliseconds}"));
            }
        }
        out
    }
}

/// A place of another node's client.
struct Place {
    waiting: Waiting,
    timeout: Option<Duration>,
    /// The key its turn is for.
    turn: Mutex<Option<Vec<u8>>>,
    touched: Mutex<Instant>,
}

/// See the module.
#[derive(Default)]
pub struct Places(Mutex<HashMap<u64, Arc<Place>>>);

impl Places {
    fn get(&self, id: u64) -> Option<Arc<Place>> {
        let place = self.0.lock().get(&id).cloned()?;
        *place.touched.lock() = Instant::now();
        Some(place)
    }

    /// Gives a place up.
    pub fn leave(&self, id: u64) {
        let place = self.0.lock().remove(&id);
        drop(place);
    }

    fn add(self: &Arc<Self>, waiting: Waiting, timeout: Option<Duration>) -> u64 {
        let id = waiting.waiter().id;
        let place = Place {
            waiting,
            timeout,
            turn: Mutex::default(),
            touched: Mutex::new(Instant::now()),
        };
        self.0.lock().insert(id, Arc::new(place));
        tokio::spawn(keep(self.clone(), id));
        id
    }

    /// Executes a client's request. Returns what is to be answered if there was nothing, else the reply is in `out`.
    pub async fn execute(
        self: &Arc<Self>,
        node: &Arc<Node>,
        session: &mut Session,
        id: u64,
        request: &OwnedRequest,
        out: &mut Vec<u8>,
    ) -> Option<Answer> {
        let place = self.get(id);
        let key = place.as_ref().and_then(|place| place.turn.lock().take());
        let patience = match (&place, &key) {
            (Some(place), Some(key)) => Patience::Used(place.waiting.interest().kind, key),
            // Without a turn it stands in the queue anew.
            _ => {
                self.leave(id);
                Patience::Allowed
            }
        };
        let request = match (&place, &key) {
            (Some(place), Some(_)) => place.waiting.interest().request.request(),
            _ => request.request(),
        };
        loop {
            let mut batch = Batch::begin(node);
            let attempt = attempt(node, session, request, patience, out, &mut batch);
            batch.tally.flush(&node.statistics);
            drop(batch);
            match (attempt, &place) {
                (Attempt::Later(outcome), _) => {
                    settle(node, session, outcome, out).await;
                }
                (Attempt::Nothing, Some(place)) => {
                    place.waiting.tried();
                    return Some(Answer::Parked(id, place.timeout));
                }
                (Attempt::Parked(waiting, timeout), _) => {
                    return Some(Answer::Parked(self.add(waiting, timeout), timeout));
                }
                (Attempt::Nothing | Attempt::Elsewhere(..), _) => {
                    self.leave(id);
                    return Some(Answer::Gone);
                }
                (Attempt::Done, _) => {
                    self.leave(id);
                    return None;
                }
            }
        }
    }

    /// Waits for a place's turn.
    pub async fn wait(&self, id: u64) -> Answer {
        let Some(place) = self.get(id) else {
            return Answer::Gone;
        };
        let woken = timeout(AWAIT_MAX, place.waiting.woken()).await;
        *place.touched.lock() = Instant::now();
        match woken {
            Ok(Wake::Turn(key)) => {
                *place.turn.lock() = Some(key);
                Answer::Turn
            }
            Ok(Wake::Ended(_)) => Answer::Gone,
            Err(_) => Answer::Patience,
        }
    }
}

/// Gives a place up when nobody asks about it any more.
async fn keep(places: Arc<Places>, id: u64) {
    loop {
        let touched = places.0.lock().get(&id).map(|place| *place.touched.lock());
        let Some(until) = touched.map(|touched| touched + KEPT) else {
            return;
        };
        if Instant::now() >= until {
            return places.leave(id);
        }
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read() {
        let request = OwnedRequest::new(&["BLPOP", "k", "0"]);
        for verb in [Verb::Try, Verb::Await, Verb::Leave] {
            let (read, place, rest) = Verb::read(&verb.request(7, &request)).expect("a verb");
            assert_eq!((read, place), (verb, 7));
            let expected = if verb == Verb::Try { 3 } else { 0 };
            assert_eq!(rest.request().len(), expected);
        }
        assert!(Verb::read(&request).is_none());
        let timeout = Some(Duration::from_millis(1500));
        for answer in [
            Answer::Parked(3, timeout),
            Answer::Parked(4, None),
            Answer::Turn,
            Answer::Patience,
            Answer::Gone,
        ] {
            assert_eq!(Answer::read(&answer.encode()), Some(answer));
        }
        assert_eq!(Answer::read(b"-ERR no\r\n"), None);
        assert_eq!(Answer::read(b"*-1\r\n"), None);
    }
}
