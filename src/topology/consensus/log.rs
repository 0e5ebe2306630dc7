//! The log of the consensus, its votes and its marks, in one file.
//!
//! The file is an 8-byte head (`COTTOPL` and a version) and frames of `{length: u32, crc32: u32, records}`, little-endian,
//! the checksum covering length and records. Each batch is one frame, appended and synced by one thread, which joins what
//! has queued up into one sync. What is in memory always is the whole log: it is cut after each snapshot, by writing the
//! file anew and renaming it. A frame that is incomplete at the end of the file was never reported as written and is cut
//! off; a damaged one before the end stops the start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::files;
use super::types::{Entry, LogId, StorageError, TypeConfig, Vote};
use crate::topology::join::encode;

const HEAD: &[u8; 8] = b"COTTOPL\x02";
const FRAME_HEAD: usize = 8;
/// The most bytes a frame can announce.
const MAX_FRAME: usize = 256 << 20;
/// The most batches that wait to be written.
const QUEUE: usize = 256;

#[derive(Clone, Serialize, Deserialize)]
enum Record {
    Vote(Vote),
    Entry(Entry),
    /// From this index on, entries are gone.
    Truncate(u64),
    Committed(Option<LogId>),
    /// Up to this one, entries are gone.
    Purged(LogId),
}

/// All that the file says.
#[derive(Default)]
struct State {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl State {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Entry(entry) => {
                self.entries.insert(entry.log_id.index, entry);
            }
            Record::Truncate(index) => {
                self.entries.split_off(&index);
            }
            Record::Committed(committed) => self.committed = committed,
            Record::Purged(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(upto);
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.entries.len() + 3);
        records.extend(self.vote.map(Record::Vote));
        records.extend(self.purged.map(Record::Purged));
        records.extend(self.entries.values().cloned().map(Record::Entry));
        records.push(Record::Committed(self.committed));
        records
    }
}

fn frame(records: &[Record]) -> Vec<u8> {
    let body = encode(&records);
    let length = (body.len() as u32).to_le_bytes();
    let mut frame = Vec::with_capacity(FRAME_HEAD + body.len());
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&files::checksum(&[&length, &body]).to_le_bytes());
    frame.extend_from_slice(&body);
    frame
}

/// Reads all frames, and returns where the last good one ends.
fn replay(bytes: &[u8], state: &mut State) -> io::Result<usize> {
    let mut at = HEAD.len();
    loop {
        let rest = &bytes[at..];
        let Some((head, body)) = rest.split_first_chunk::<FRAME_HEAD>() else {
            return Ok(at);
        };
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let Some(body) = body.get(..length) else {
            // A length that can't be is damage, unless nothing was written after it.
            return if length <= MAX_FRAME {
                Ok(at)
            } else {
                Err(damaged(at))
            };
        };
        if files::checksum(&[&head[..4], body]) != checksum {
            let last = rest.len() == FRAME_HEAD + length;
            let unwritten = rest.iter().all(|&byte| byte == 0);
            return if last || unwritten {
                Ok(at)
            } else {
                Err(damaged(at))
            };
        }
        let records: Vec<Record> = postcard::from_bytes(body).map_err(|_| damaged(at))?;
        records.into_iter().for_each(|record| state.apply(record));
        at += FRAME_HEAD + length;
    }
}

fn damaged(at: usize) -> io::Error {
    let message = format!("the topology's log is damaged at byte {at}, before its end");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Told when a batch is on the disk.
type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Job {
    bytes: Vec<u8>,
    /// Whether these bytes are the whole new file.
    anew: bool,
    done: Done,
}

/// Writes what it is sent, in order, on a thread of its own.
struct Writer {
    path: PathBuf,
    file: File,
    /// After a failure nobody knows what is on the disk: nothing more is written.
    failed: Option<io::ErrorKind>,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(QUEUE);
        while jobs.blocking_recv_many(&mut waiting, QUEUE) > 0 {
            let result = match self.failed {
                Some(kind) => Err(kind.into()),
                None => self.write(&waiting),
            };
            let kind = result.err().map(|error| {
                tracing::error!(path = %self.path.display(), %error, "the topology's log can't be written");
                error.kind()
            });
            self.failed = kind;
            for job in waiting.drain(..) {
                (job.done)(kind.map_or(Ok(()), |kind| Err(kind.into())));
            }
        }
    }

    fn write(&mut self, jobs: &[Job]) -> io::Result<()> {
        for job in jobs {
            if job.anew {
                files::replace(&self.path, &job.bytes)?;
                self.file = File::options().append(true).open(&self.path)?;
            } else {
                self.file.write_all(&job.bytes)?;
            }
        }
        self.file.sync_data()
    }
}

/// Where the log is kept. Clones are the same log.
#[derive(Clone)]
pub(super) struct LogStore {
    state: Arc<Mutex<State>>,
    writer: mpsc::Sender<Job>,
}

/// Ends when the last clone of the log is gone and all is written.
pub(super) type WriterThread = JoinHandle<()>;

impl LogStore {
    /// Opens or creates the log in a directory.
    pub(super) fn open(directory: &Path) -> io::Result<(LogStore, WriterThread)> {
        let path = directory.join("log");
        if !path.exists() {
            files::replace(&path, HEAD)?;
        }
        let mut file = File::options().read(true).write(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if !bytes.starts_with(HEAD) {
            let message = format!("{} is no log of this version", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut state = State::default();
        let end = replay(&bytes, &mut state)?;
        if end < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - end, "an incomplete record is cut off the topology's log");
            file.set_len(end as u64)?;
            file.sync_all()?;
        }
        file.seek(io::SeekFrom::End(0))?;
        let (sender, jobs) = mpsc::channel(QUEUE);
        let writer = Writer {
            path,
            file,
            failed: None,
        };
        let thread = std::thread::Builder::new()
            .name("topology-log".to_owned())
            .spawn(move || writer.run(jobs))?;
        let store = LogStore {
            state: Arc::new(Mutex::new(state)),
            writer: sender,
        };
        Ok((store, thread))
    }

    /// Whether there is nothing yet.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.vote.is_none() && state.entries.is_empty() && state.purged.is_none()
    }

    async fn send(&self, bytes: Vec<u8>, anew: bool, done: Done) -> io::Result<()> {
        let job = Job { bytes, anew, done };
        let sent = self.writer.send(job).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Applies records and waits until they are on the disk.
    async fn save(&self, record: Record, anew: bool) -> io::Result<()> {
        let bytes = {
            let mut state = self.state.lock();
            state.apply(record.clone());
            if anew {
                [HEAD.as_slice(), &frame(&state.records())].concat()
            } else {
                frame(&[record])
            }
        };
        let (sender, receiver) = oneshot::channel();
        // The receiver is there until the end of this function, or nobody wants to know.
        let done = Box::new(move |result| drop(sender.send(result)));
        self.send(bytes, anew, done).await?;
        (receiver.await).unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let state = self.state.lock();
        Ok(state
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let state = self.state.lock();
        let last = state.entries.values().next_back().map(|entry| entry.log_id);
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: last.or(state.purged),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let saved = self.save(Record::Vote(*vote), false).await;
        saved.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.state.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Synced too: a node that has told others of an epoch must not go back behind it.
        let saved = self.save(Record::Committed(committed), false).await;
        saved.map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.state.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<Record> = entries.into_iter().map(Record::Entry).collect();
        let bytes = frame(&records);
        {
            let mut state = self.state.lock();
            records.into_iter().for_each(|record| state.apply(record));
        }
        let done = Box::new(move |result| callback.log_io_completed(result));
        let sent = self.send(bytes, false, done).await;
        sent.map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let saved = self.save(Record::Truncate(log_id.index), false).await;
        saved.map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let saved = self.save(Record::Purged(log_id), true).await;
        saved.map_err(|error| StorageIOError::write_logs(&error).into())
    }
}

#[cfg(test)]
mod tests {
    use coterie_protocol::NodeId;
    use openraft::{CommittedLeaderId, EntryPayload};
    use proptest::prelude::*;

    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, NodeId::default()), index)
    }

    fn entry(index: u64) -> Record {
        Record::Entry(Entry {
            log_id: id(index),
            payload: EntryPayload::Blank,
        })
    }

    /// What can be seen of a state.
    fn seen(state: &State) -> (Option<Vote>, Option<LogId>, Option<LogId>, Vec<u64>) {
        let entries = state.entries.keys().copied().collect();
        (state.vote, state.committed, state.purged, entries)
    }

    /// Frames as they are written by a node that votes, appends, commits, truncates and appends again.
    fn frames() -> Vec<Vec<Record>> {
        vec![
            vec![Record::Vote(Vote::new(1, NodeId::default()))],
            vec![entry(1), entry(2), entry(3)],
            vec![Record::Committed(Some(id(2)))],
            vec![Record::Truncate(3)],
            vec![entry(3)],
            vec![Record::Vote(Vote::new(2, NodeId::default()))],
            vec![Record::Purged(id(1))],
        ]
    }

    fn file(frames: &[Vec<Record>]) -> Vec<u8> {
        let frames: Vec<u8> = frames.iter().flat_map(|records| frame(records)).collect();
        [HEAD.as_slice(), &frames].concat()
    }

    fn state_of(frames: &[Vec<Record>]) -> State {
        let mut state = State::default();
        let records = frames.iter().flatten().cloned();
        records.for_each(|record| state.apply(record));
        state
    }

    #[test]
    fn a_file_cut_anywhere_has_all_whole_frames_before_the_cut() {
        let frames = frames();
        let whole = file(&frames);
        for cut in HEAD.len()..=whole.len() {
            let complete = (0..=frames.len())
                .rfind(|&count| file(&frames[..count]).len() <= cut)
                .unwrap();
            let mut state = State::default();
            let end = replay(&whole[..cut], &mut state).unwrap();
            assert_eq!(end, file(&frames[..complete]).len());
            assert_eq!(seen(&state), seen(&state_of(&frames[..complete])));
        }
    }

    proptest! {
        #[test]
        fn damage_before_the_end_is_found(at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let frames = frames();
            let mut bytes = file(&frames);
            let last = file(&frames[..frames.len() - 1]).len();
            let at = HEAD.len() + at.index(last - HEAD.len());
            bytes[at] ^= 1 << bit;
            let mut state = State::default();
            // A length that was damaged may reach past the end; then what follows is taken for a torn frame.
            if let Ok(end) = replay(&bytes, &mut state) {
                let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap());
                let reaches = end + FRAME_HEAD + length as usize;
                prop_assert!((end..end + 4).contains(&at) && reaches >= bytes.len());
            }
        }
    }

    #[tokio::test]
    async fn what_was_saved_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let expected = state_of(&frames());
        let (log, thread) = LogStore::open(directory.path()).unwrap();
        assert!(log.is_empty());
        for record in frames().into_iter().flatten() {
            let anew = matches!(record, Record::Purged(_));
            log.save(record, anew).await.unwrap();
        }
        drop(log);
        thread.join().unwrap();
        // An incomplete frame at the end is cut off, and what is written next comes in its place.
        let path = directory.path().join("log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&frame(&[entry(9)])[..20]);
        std::fs::write(&path, bytes).unwrap();
        for turn in 0..2 {
            let (log, thread) = LogStore::open(directory.path()).unwrap();
            let entries = (2..4 + turn).collect::<Vec<_>>();
            assert_eq!(seen(&log.state.lock()).3, entries);
            assert_eq!(seen(&log.state.lock()).0, expected.vote);
            log.save(entry(4 + turn), false).await.unwrap();
            drop(log);
            thread.join().unwrap();
        }
    }
}
