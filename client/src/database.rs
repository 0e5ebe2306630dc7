//! The client and its databases: commands grouped by node, sent, and sent again where that is safe.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use coterie_protocol::api::{Batch, CallError, Commands, Level};
use coterie_protocol::internal::client::{add_request, begin_execute, read_executed};
use coterie_protocol::internal::execute::ExecuteHead;
use coterie_protocol::{DatabaseId, Frame, Slot, frame};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::command::{Command, Repeat};
use crate::connection::Connection;
use crate::error::Error;
use crate::link::Backoff;
use crate::options::Options;
use crate::pool::Pool;
use crate::queue::Lost;

/// A client of a cluster. Cheap to clone; its connections end with its last clone and database.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
}

impl Client {
    /// Finds the cluster through any of the seeds. Call within a tokio runtime, which then has the client's tasks.
    ///
    /// # Errors
    /// [`Error::Refused`] if all of them refuse, [`Error::Deadline`] if none of them answers in time.
    pub async fn connect(options: Options) -> Result<Client, Error> {
        let pool = Pool::connect(options).await?.into();
        Ok(Client { pool })
    }

    /// One of its databases.
    pub fn database(&self, number: u16) -> Database {
        let head = ExecuteHead {
            database: DatabaseId(number),
            resp3: true,
            touch: true,
            ..ExecuteHead::default()
        };
        Database {
            pool: self.pool.clone(),
            head,
        }
    }
}

/// A database of the cluster; [`Commands`] has its methods. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: Arc<Pool>,
    head: ExecuteHead,
}

impl Commands for Database {
    type Error = Error;

    fn reading(&self, level: Level) -> Self {
        let mut database = self.clone();
        database.head.read = Some(level.into());
        database
    }

    fn writing(&self, level: Level) -> Self {
        let mut database = self.clone();
        database.head.write = Some(level.into());
        database
    }

    async fn batch(&self, batch: Batch) -> Vec<Result<Frame, Error>> {
        let requests = batch.into_requests();
        let commands: Vec<_> = requests.into_iter().map(Command::new).collect();
        let mut run = Run {
            pool: self.pool.clone(),
            head: self.head.clone(),
            deadline: Instant::now() + self.pool.options.deadline,
            results: commands.iter().map(|_| None).collect(),
            touched: vec![false; commands.len()],
            commands: commands.into(),
        };
        run.run().await;
        let results = run.results.into_iter();
        // Every command has a result when the run is over.
        results
            .map(|result| result.unwrap_or_else(|| Err(Error::Unknown(String::new()))))
            .collect()
    }
}

/// A batch on its way.
struct Run {
    pool: Arc<Pool>,
    head: ExecuteHead,
    deadline: Instant,
    commands: Arc<[Command]>,
    results: Vec<Option<Result<Frame, Error>>>,
    /// Which commands may have been executed without an answer.
    touched: Vec<bool>,
}

/// What came of sending a command.
enum Sent {
    Answered(Frame),
    Lost(Lost, String),
}

impl Run {
    async fn run(&mut self) {
        let mut waiting: Vec<usize> = Vec::new();
        for (index, command) in self.commands.iter().enumerate() {
            if command.bytes + self.call_overhead() > self.pool.options.body_limit {
                self.results[index] = Some(Err(Error::TooLarge));
            } else {
                waiting.push(index);
            }
        }
        let mut pause = Backoff::new(&self.pool.options);
        loop {
            let changes = self.pool.changes();
            let sent = self.send(&waiting).await;
            waiting = self.judge(sent);
            if waiting.is_empty() {
                return;
            }
            let next = (Instant::now() + pause.next()).min(self.deadline);
            if self.pool.pick(None).is_none() {
                // Not before some node is there.
                let _ = timeout_at(self.deadline, changes).await;
            }
            sleep_until(next).await;
        }
    }

    fn call_overhead(&self) -> usize {
        begin_execute(&self.head).len()
    }

    /// Sends commands, to all nodes at once.
    async fn send(&self, waiting: &[usize]) -> Vec<(usize, Sent)> {
        let slots = waiting
            .iter()
            .map(|&index| (index, self.commands[index].slot));
        let (groups, stranded) = deal(slots, |slot| self.pool.pick(slot));
        let mut sent = Vec::with_capacity(waiting.len());
        if !stranded.is_empty() {
            let why = self.pool.error();
            let lost = |index| (index, Sent::Lost(Lost::NotSent, why.clone()));
            sent.extend(stranded.into_iter().map(lost));
        }
        if groups.len() <= 1 {
            for (connection, indexes) in groups {
                sent.extend(self.group(connection, indexes).send().await);
            }
            return sent;
        }
        let mut tasks = JoinSet::new();
        for (connection, indexes) in groups {
            let group = self.group(connection, indexes);
            tasks.spawn(group.send());
        }
        sent.extend(tasks.join_all().await.into_iter().flatten());
        sent
    }

    fn group(&self, connection: Arc<Connection>, indexes: Vec<usize>) -> Group {
        Group {
            pool: self.pool.clone(),
            head: ExecuteHead {
                epoch: self.pool.epoch(),
                ..self.head.clone()
            },
            deadline: self.deadline,
            commands: self.commands.clone(),
            connection,
            indexes,
        }
    }

    /// Decides what is done, and returns what is to be sent again.
    fn judge(&mut self, mut sent: Vec<(usize, Sent)>) -> Vec<usize> {
        sent.sort_by_key(|(index, _)| *index);
        let is_over = Instant::now() >= self.deadline;
        let mut settled = HashSet::new();
        let mut again = Vec::new();
        for (index, sent) in sent.into_iter().rev() {
            let command = &self.commands[index];
            let verdict = judge(command.repeat, &mut self.touched[index], sent);
            let overtaken = command.repeat != Repeat::Read
                && command.slot.is_some_and(|slot| settled.contains(&slot));
            let result = match verdict {
                Verdict::Done(result) => result,
                Verdict::Again(error) if is_over || overtaken => Err(error),
                Verdict::Again(_) => {
                    again.push(index);
                    continue;
                }
            };
            settled.extend(command.slot);
            self.results[index] = Some(result);
        }
        if !again.is_empty() {
            self.pool.outdated();
        }
        again.reverse();
        again
    }
}

/// Connections, and the numbers of the commands that go there.
type Groups<C> = Vec<(Arc<C>, Vec<usize>)>;

/// Deals commands out to connections, in their order; the second are those for which there is none. Connections come and
/// go meanwhile: all commands of a slot go where the first of them does, and once there is no connection nothing more is
/// sent, so that no command overtakes an earlier one.
fn deal<C>(
    commands: impl Iterator<Item = (usize, Option<Slot>)>,
    pick: impl Fn(Option<Slot>) -> Option<Arc<C>>,
) -> (Groups<C>, Vec<usize>) {
    let mut groups = Groups::<C>::new();
    let mut places = HashMap::new();
    let mut stranded = Vec::new();
    for (index, slot) in commands {
        let known = places.get(&slot).copied();
        let place = known.or_else(|| {
            let connection = pick(slot).filter(|_| stranded.is_empty())?;
            let is_it = |(other, _): &(Arc<C>, _)| Arc::ptr_eq(other, &connection);
            let place = groups.iter().position(is_it).unwrap_or(groups.len());
            if place == groups.len() {
                groups.push((connection, Vec::new()));
            }
            places.insert(slot, place);
            Some(place)
        });
        match place {
            Some(place) => groups[place].1.push(index),
            None => stranded.push(index),
        }
    }
    (groups, stranded)
}

enum Verdict {
    Done(Result<Frame, Error>),
    /// To be sent again, or else this.
    Again(Error),
}

/// Errors that say that nothing was done, which may pass.
const NOT_DONE: [&str; 6] = [
    "NOREPLICAS",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "LOADING",
    "CLUSTERDOWN",
];
/// The error that says that a command may have been executed.
const UNKNOWN: &str = "NOQUORUM";

/// What becomes of a command that was sent; `touched` is whether it may have been executed before.
fn judge(repeat: Repeat, touched: &mut bool, sent: Sent) -> Verdict {
    let (lost, why, error) = match sent {
        Sent::Lost(lost, why) => (lost, why.clone(), Error::Deadline(why)),
        Sent::Answered(reply) => match CallError::check(reply) {
            Err(CallError::Command(text)) => {
                let word = text.split(' ').next().unwrap_or_default();
                let lost = if NOT_DONE.contains(&word) {
                    Lost::NotSent
                } else if word == UNKNOWN {
                    Lost::Broken
                } else {
                    return Verdict::Done(Err(CallError::Command(text).into()));
                };
                (lost, text.clone(), CallError::Command(text).into())
            }
            reply => return Verdict::Done(reply.map_err(Error::from)),
        },
    };
    *touched |= lost == Lost::Broken && repeat != Repeat::Read;
    match (*touched, repeat) {
        (true, Repeat::Never) => Verdict::Done(Err(Error::Unknown(why))),
        (true, _) => Verdict::Again(Error::Unknown(why)),
        (false, _) => Verdict::Again(error),
    }
}

/// Commands of a batch that go to the same node.
struct Group {
    pool: Arc<Pool>,
    head: ExecuteHead,
    deadline: Instant,
    commands: Arc<[Command]>,
    connection: Arc<Connection>,
    indexes: Vec<usize>,
}

impl Group {
    /// Sends them, in calls of a limited size.
    async fn send(self) -> Vec<(usize, Sent)> {
        let mut sent = Vec::with_capacity(self.indexes.len());
        let mut rest = &self.indexes[..];
        let mut broken = None;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(self.part(rest));
            rest = later;
            // What comes after a part that was lost is not sent: it must not overtake it.
            let lost = match broken.clone() {
                Some(why) => Err((Lost::NotSent, why)),
                None => self.call(part).await,
            };
            match lost {
                Ok(replies) => {
                    let replies = replies.into_iter().map(Sent::Answered);
                    sent.extend(part.iter().copied().zip(replies));
                }
                Err((lost, why)) => {
                    sent.extend(
                        part.iter()
                            .map(|index| (*index, Sent::Lost(lost, why.clone()))),
                    );
                    broken = Some(why);
                }
            }
        }
        sent
    }

    /// How many of these go into one call, one at least.
    fn part(&self, rest: &[usize]) -> usize {
        let mut bytes = 0;
        let fits = |index: &&usize| {
            bytes += self.commands[**index].bytes;
            bytes <= self.pool.options.call_bytes
        };
        rest.iter().take_while(fits).count().max(1)
    }

    /// One call. As many replies as commands, or why there are none.
    async fn call(&self, part: &[usize]) -> Result<Vec<Frame>, (Lost, String)> {
        let mut body = begin_execute(&self.head);
        for &index in part {
            add_request(self.commands[index].request.request(), &mut body);
        }
        let queued = match timeout_at(self.deadline, self.connection.call(&body)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(lost)) => return Err((lost, "the connection broke".to_owned())),
            Err(_) => return Err((Lost::NotSent, "the node takes no more".to_owned())),
        };
        let may_repeat = part
            .iter()
            .all(|index| self.commands[*index].repeat != Repeat::Never);
        let answer = tokio::select! {
            biased;
            answer = timeout_at(self.deadline, queued) => answer,
            () = self.silent(part), if may_repeat => {
                return Err((Lost::Broken, "the node is silent".to_owned()));
            }
        };
        let body = match answer {
            Ok(Ok(Ok(body))) => body,
            Ok(Ok(Err(lost))) => return Err((lost, "the connection broke".to_owned())),
            Ok(Err(_)) => return Err((Lost::Broken, "the connection broke".to_owned())),
            Err(_) => return Err((Lost::Broken, "no answer in time".to_owned())),
        };
        let malformed = || (Lost::Broken, "the node said what can't be read".to_owned());
        let (epoch, mut rest) = read_executed(&body).map_err(|_| malformed())?;
        self.pool.seen(epoch);
        let mut replies = Vec::with_capacity(part.len());
        for _ in part {
            let decoded = frame::decode(rest).ok().flatten();
            let (reply, length) = decoded.ok_or_else(malformed)?;
            rest = &rest[length..];
            replies.push(reply);
        }
        Ok(replies)
    }

    /// Until the node is silent while another could be asked.
    async fn silent(&self, part: &[usize]) {
        self.connection.fallen_silent().await;
        let slot = part.first().and_then(|index| self.commands[*index].slot);
        let other = self.pool.pick(slot);
        if other.is_none_or(|other| !other.is_responsive()) {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Sent {
        Sent::Answered(Frame::SimpleError {
            data: text.to_owned(),
            attributes: None,
        })
    }

    fn lost(lost: Lost) -> Sent {
        Sent::Lost(lost, "why".to_owned())
    }

    /// What a history of answers leads to: whether it is sent again, and the error otherwise.
    fn last(repeat: Repeat, history: Vec<Sent>) -> (bool, Option<Error>) {
        let mut touched = false;
        let verdicts = history
            .into_iter()
            .map(|sent| judge(repeat, &mut touched, sent));
        match verdicts.last().unwrap() {
            Verdict::Done(result) => (false, result.err()),
            Verdict::Again(error) => (true, Some(error)),
        }
    }

    #[test]
    fn commands_of_a_slot_stay_together_whatever_comes_and_goes() {
        let (here, there) = (Arc::new('h'), Arc::new('t'));
        let (a, b) = (Some(Slot::of(b"a")), Some(Slot::of(b"b")));
        let commands = [(0, a), (1, b), (2, a), (3, None), (4, b), (5, a)];
        let run = |answers: &[Option<&Arc<char>>]| {
            let next = std::cell::Cell::new(0);
            deal(commands.into_iter(), |_| {
                let answer = answers[next.replace(next.get() + 1)];
                answer.cloned()
            })
        };
        let (groups, stranded) = run(&[Some(&here), Some(&there), Some(&here)]);
        assert_eq!(
            groups,
            [
                (here.clone(), vec![0, 2, 3, 5]),
                (there.clone(), vec![1, 4])
            ]
        );
        assert!(stranded.is_empty());
        // One comes when the first commands have found none.
        let (groups, stranded) = run(&[&[None][..], &[Some(&here); 5]].concat());
        assert!(groups.is_empty(), "{groups:?}");
        assert_eq!(stranded, [0, 1, 2, 3, 4, 5]);
        // One goes: what is in the same slot as something that is sent is sent there.
        let (groups, stranded) = run(&[&[Some(&here)][..], &[None; 5]].concat());
        assert_eq!(groups, [(here, vec![0, 2, 5])]);
        assert_eq!(stranded, [1, 3, 4]);
    }

    #[test]
    fn what_was_surely_not_done_is_sent_again() {
        for repeat in [Repeat::Read, Repeat::PlainWrite, Repeat::Never] {
            let (again, error_) = last(repeat, vec![lost(Lost::NotSent)]);
            assert!(again && matches!(error_, Some(Error::Deadline(_))));
            let (again, error_) = last(repeat, vec![error("NOREPLICAS x")]);
            assert!(again && matches!(error_, Some(Error::Call(_))));
            let (again, error_) = last(repeat, vec![error("WRONGTYPE x")]);
            assert!(!again && matches!(error_, Some(Error::Call(_))));
        }
    }

    #[test]
    fn what_may_have_been_done_is_sent_again_only_if_that_is_safe() {
        for sent in [|| lost(Lost::Broken), || error("NOQUORUM x")] {
            let (again, error) = last(Repeat::Read, vec![sent()]);
            assert!(again && !matches!(error, Some(Error::Unknown(_))));
            let (again, error) = last(Repeat::PlainWrite, vec![sent()]);
            assert!(again && matches!(error, Some(Error::Unknown(_))));
            let (again, error) = last(Repeat::Never, vec![sent()]);
            assert!(!again && matches!(error, Some(Error::Unknown(_))));
        }
        // It stays unknown.
        let history = vec![lost(Lost::Broken), lost(Lost::NotSent)];
        let (again, error) = last(Repeat::PlainWrite, history);
        assert!(again && matches!(error, Some(Error::Unknown(_))));
    }
}
