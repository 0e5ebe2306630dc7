//! How a cluster of a test is to be.

use std::collections::BTreeMap;

/// How the nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// All over loopback, each with ports of its own, and without a secret.
    Loopback,
    /// Each has a host of its own, see `Network`.
    Network,
}

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Setup {
    pub nodes: usize,
    pub link: Link,
    /// Replicas of each key once there are enough nodes.
    pub replicas: usize,
    /// Flags of all nodes.
    pub flags: Vec<(String, String)>,
    /// Further flags of single nodes.
    pub node_flags: BTreeMap<usize, Vec<(String, String)>>,
    /// Of the network's losses.
    pub seed: u64,
}

impl Setup {
    pub fn new(nodes: usize, link: Link) -> Self {
        let mut flags = Vec::new();
        if link == Link::Network {
            flags.push(("cluster-secret".to_owned(), "one for all".to_owned()));
            flags.push(("protected-mode".to_owned(), "no".to_owned()));
        }
        Self {
            nodes,
            link,
            replicas: 3,
            flags,
            node_flags: BTreeMap::new(),
            seed: 0,
        }
    }

    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.retain(|(old, _)| old != name);
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn node_flag(mut self, node: usize, name: &str, value: &str) -> Self {
        let flags = self.node_flags.entry(node).or_default();
        flags.push((name.to_owned(), value.to_owned()));
        self
    }
}
