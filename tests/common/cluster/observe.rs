//! What a cluster says of itself: state, digests, logs; and what an operator tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::Cluster;
use crate::common::quoting::encode_command;
use crate::common::reply::Reply;
use crate::common::wait::DEADLINE;

/// Partitions of a cluster by default.
const PARTITIONS: usize = 256;
/// Slots of a partition.
const SLOTS: usize = 16384 / PARTITIONS;

impl Cluster {
    /// The id that a node has in the cluster.
    pub fn node_id(&self, index: usize) -> String {
        self.client(index).run("CLUSTER MYID").text()
    }

    /// A field of `CLUSTER INFO`, if the node answers.
    pub fn cluster_info(&self, index: usize, field: &str) -> Option<String> {
        let mut client = self.try_client(index).ok()?;
        let reply = client.try_call(&["CLUSTER", "INFO"]).ok()?;
        let text = String::from_utf8_lossy(reply.bytes()?).into_owned();
        let prefix = format!("{field}:");
        let value = text.lines().find_map(|line| line.strip_prefix(&prefix))?;
        Some(value.to_owned())
    }

    /// Waits until every running node knows `members` nodes, all of them alive, finds the cluster in order, and no
    /// partition moves.
    pub fn wait_until_settled(&self, members: usize) {
        let members = members.to_string();
        for index in self.running() {
            for (field, wanted) in [
                ("cluster_known_nodes", members.as_str()),
                ("cluster_state", "ok"),
                ("cluster_moving_partitions", "0"),
            ] {
                self.eventually(|| match self.cluster_info(index, field) {
                    Some(value) if value == wanted => Ok(()),
                    other => Err(format!("node {index}: {field} is {other:?}, not {wanted}")),
                });
            }
            self.eventually(|| match self.nodes_of(index) {
                Some(nodes) if !nodes.contains("fail") => Ok(()),
                other => Err(format!("node {index} thinks that some are down: {other:?}")),
            });
        }
    }

    /// Waits until every other running node takes this one for down.
    pub fn wait_until_seen_down(&self, down: usize) {
        for index in self.running().into_iter().filter(|&at| at != down) {
            self.eventually(|| match self.sees_down(index, down) {
                Some(true) => Ok(()),
                _ => Err(format!("node {index} thinks that node {down} is up")),
            });
        }
    }

    /// Whether a node takes another for down; `None` if it doesn't say.
    pub fn sees_down(&self, index: usize, other: usize) -> Option<bool> {
        let nodes = self.nodes_of(index)?;
        let line = self.line_of(&nodes, other)?;
        // Not `fail?`, which is a suspicion.
        let flags = line.split(' ').nth(2)?;
        Some(flags.split(',').any(|flag| flag == "fail"))
    }

    /// The id of a node, dead or alive, as another knows it.
    pub fn id_of(&self, node: usize, through: usize) -> String {
        let nodes = self.nodes_of(through).expect("it answers");
        let line = self.line_of(&nodes, node);
        let line = line.unwrap_or_else(|| panic!("node {node} isn't in CLUSTER NODES:\n{nodes}"));
        line.split(' ').next().unwrap_or_default().to_owned()
    }

    fn nodes_of(&self, index: usize) -> Option<String> {
        let mut client = self.try_client(index).ok()?;
        let reply = client.try_call(&["CLUSTER", "NODES"]).ok()?;
        Some(String::from_utf8_lossy(reply.bytes()?).into_owned())
    }

    fn line_of<'a>(&self, nodes: &'a str, node: usize) -> Option<&'a str> {
        let address = format!(" {}@", self.address(node));
        nodes.lines().find(|line| line.contains(&address))
    }

    /// Polls `check` until it succeeds; panics with its last error when that takes too long.
    pub fn eventually(&self, mut check: impl FnMut() -> Result<(), String>) {
        let started = Instant::now();
        while let Err(why) = check() {
            assert!(started.elapsed() < DEADLINE, "gave up waiting: {why}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The digest of each partition on a node; of no use for those it has no replica of.
    ///
    /// # Errors
    /// The node doesn't answer, or not with digests.
    pub fn try_digests(&self, index: usize) -> io::Result<Vec<String>> {
        let mut client = self.try_client(index)?;
        let mut requests = Vec::new();
        for partition in 0..PARTITIONS {
            let number = partition.to_string();
            requests.extend(encode_command(&["DEBUG", "CLUSTER-DIGEST", &number]));
        }
        client.send(&requests)?;
        let digest = |reply| match reply {
            Reply::Bulk(digest) => Ok(String::from_utf8_lossy(&digest).into_owned()),
            other => Err(io::Error::other(format!("DEBUG CLUSTER-DIGEST: {other}"))),
        };
        (0..PARTITIONS)
            .map(|_| client.read_raw().and_then(|(reply, _)| digest(reply)))
            .collect()
    }

    /// The nodes that hold each partition, as a node tells its clients.
    ///
    /// # Errors
    /// The node doesn't answer, or names nodes that this cluster doesn't have.
    pub fn try_holders(&self, through: usize) -> io::Result<Vec<BTreeSet<usize>>> {
        let slots = self.try_client(through)?.try_call(&["CLUSTER", "SLOTS"])?;
        let unexpected = || io::Error::other(format!("CLUSTER SLOTS: {slots}"));
        let mut holders = vec![BTreeSet::new(); PARTITIONS];
        for range in slots.items() {
            let range = range.items();
            let number = |at: usize| range.get(at).and_then(Reply::integer);
            let (first, last) = number(0).zip(number(1)).ok_or_else(unexpected)?;
            for node in &range[2..] {
                let port = node.items().get(1).and_then(Reply::integer);
                let ip = node.items().first().map(Reply::text);
                let found = (0..self.len()).find(|&index| {
                    let address = self.address(index);
                    Some(address.ip().to_string()) == ip && Some(address.port().into()) == port
                });
                let found = found.ok_or_else(unexpected)?;
                let partitions = first as usize / SLOTS..=last as usize / SLOTS;
                for held in holders.get_mut(partitions).ok_or_else(unexpected)? {
                    held.insert(found);
                }
            }
        }
        Ok(holders)
    }

    /// Waits until every partition has its replicas among the running nodes, and they agree.
    pub fn wait_until_replicas_agree(&self, members: usize) {
        let replicas = self.setup.replicas.min(members);
        self.eventually(|| self.agreement(replicas));
    }

    fn agreement(&self, replicas: usize) -> Result<(), String> {
        let mut digests = BTreeMap::new();
        for index in self.running() {
            let all = self.try_digests(index);
            digests.insert(index, all.map_err(|e| format!("node {index}: {e}"))?);
        }
        let first = self.running()[0];
        let holders = self.try_holders(first);
        let holders = holders.map_err(|e| format!("node {first}: {e}"))?;
        for (partition, holders) in holders.iter().enumerate() {
            let held: Vec<_> = holders
                .iter()
                .filter_map(|holder| Some((holder, &digests.get(holder)?[partition])))
                .collect();
            let equal = held.iter().all(|(_, digest)| *digest == held[0].1);
            if held.len() != replicas || !equal {
                return Err(format!(
                    "partition {partition} of {holders:?} should have {replicas} equal replicas: {held:?}"
                ));
            }
        }
        Ok(())
    }

    /// Runs `coterie-ctl` on the host of a node, with the node's client address as the one to talk to.
    pub fn ctl(&self, index: usize, words: &[&str]) -> Output {
        let program = std::env::var_os("COTERIE_TEST_CTL").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_coterie")).with_file_name("coterie-ctl"),
            PathBuf::from,
        );
        assert!(
            program.exists(),
            "{} isn't there: cargo build --workspace makes it",
            program.display()
        );
        let mut command = Command::new(program);
        command.args(words);
        command.args(["--address", &self.address(index).to_string()]);
        command.stdin(Stdio::null());
        self.run_beside(index, move || command.output())
            .expect("coterie-ctl runs")
    }

    /// As [`ctl`](Self::ctl); it has to succeed.
    pub fn operate(&self, index: usize, words: &[&str]) -> String {
        let output = self.ctl(index, words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "coterie-ctl {}: {}\n{text}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    pub(super) fn log_path(&self, index: usize) -> PathBuf {
        self.temporary.path().join(format!("node{index}.log"))
    }

    /// What a node has logged so far, in all its lives.
    pub fn log(&self, index: usize) -> String {
        let log = fs::read(self.log_path(index)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until a node has logged a line with all of these words, in any case.
    pub fn wait_for_log(&self, index: usize, words: &[&str]) {
        self.eventually(|| {
            let found = self.log(index).lines().any(|line| {
                let line = line.to_lowercase();
                words.iter().all(|word| line.contains(word))
            });
            let missing = || format!("node {index} has logged nothing with {words:?}");
            if found { Ok(()) } else { Err(missing()) }
        });
    }

    /// The last lines of a node's log.
    pub fn log_tail(&self, index: usize) -> String {
        const LINES: usize = 30;
        let log = self.log(index);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("--- log of node {index}\n{tail}\n---")
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        let tails: Vec<_> = (0..self.len()).map(|index| self.log_tail(index)).collect();
        tails.join("\n")
    }
}
