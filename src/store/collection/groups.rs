//! The consumer groups of a stream, as its attributes tell of them.

use std::collections::{BTreeMap, BTreeSet};

use super::stream::{Attribute, ConsumerState, GroupState, PendingState, StreamId};
use crate::store::size_class::size_class;

/// What a tree takes for an element besides the element itself, about, in bytes.
const NODE_SHARE: usize = 16;

/// All groups of a stream.
#[derive(Default)]
pub struct Groups {
    groups: BTreeMap<Box<[u8]>, Group>,
    bytes: usize,
}

/// A consumer group.
#[derive(Default)]
pub struct Group {
    /// `None` if only consumers or pending entries are known of it, which clients do not see then.
    state: Option<GroupState>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: BTreeMap<Box<[u8]>, Consumer>,
}

/// An entry that is not acknowledged.
pub struct Pending {
    consumer: Box<[u8]>,
    /// When it was last given out, Unix milliseconds.
    pub delivered_ms: u64,
    /// How often it was given out.
    pub deliveries: u64,
}

/// One who reads in a group.
#[derive(Default)]
pub struct Consumer {
    /// `None` if only pending entries are known of it.
    state: Option<ConsumerState>,
    pending: BTreeSet<StreamId>,
}

impl Pending {
    /// Who has it.
    pub fn consumer(&self) -> &[u8] {
        &self.consumer
    }
}

impl Consumer {
    /// When it was last there.
    pub fn state(&self) -> ConsumerState {
        self.state.unwrap_or_default()
    }

    /// The ids of what it has not acknowledged, in order.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }

    fn is_unknown(&self) -> bool {
        self.state.is_none() && self.pending.is_empty()
    }
}

impl Group {
    /// What it is at.
    pub fn state(&self) -> GroupState {
        self.state.unwrap_or_default()
    }

    /// What is not acknowledged, in order of ids.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// Its consumers, in order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = (&[u8], &Consumer)> {
        let all = self.consumers.iter();
        all.filter(|(_, consumer)| consumer.state.is_some())
            .map(|(name, consumer)| (&**name, consumer))
    }

    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        let found = self.consumers.get(name);
        found.filter(|consumer| consumer.state.is_some())
    }

    /// Names of all attributes of it: to delete, when the group is destroyed. `group` is its name.
    pub fn attributes(&self, group: &[u8]) -> Vec<Vec<u8>> {
        let consumers = self.consumers.iter();
        let of_consumers = consumers
            .filter(|(_, consumer)| consumer.state.is_some())
            .map(|(name, _)| Attribute::Consumer(group, name).encode());
        let pending = self.pending.keys();
        let of_pending = pending.map(|id| Attribute::Pending(group, *id).encode());
        let own = std::iter::once(Attribute::Group(group).encode());
        own.chain(of_consumers).chain(of_pending).collect()
    }

    fn is_unknown(&self) -> bool {
        self.state.is_none() && self.pending.is_empty() && self.consumers.is_empty()
    }
}

fn bytes_of<T>(name: usize) -> usize {
    size_of::<T>() + NODE_SHARE + size_of::<Box<[u8]>>() + size_class(name)
}

fn bytes_of_pending(consumer: usize) -> usize {
    bytes_of::<Pending>(consumer) + 2 * size_of::<StreamId>() + NODE_SHARE
}

impl Groups {
    /// The groups that clients see, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        let all = self
            .groups
            .iter()
            .filter(|(_, group)| group.state.is_some());
        all.map(|(name, group)| (&**name, group))
    }

    /// A group that clients see.
    pub fn get(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).filter(|group| group.state.is_some())
    }

    /// Follows the attribute of this name, which was not there before. One of which nothing can be told is ignored.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match Attribute::decode(name) {
            Some(Attribute::Group(group)) => {
                self.group(group).state = GroupState::decode(value);
            }
            Some(Attribute::Consumer(group, consumer)) => {
                let state = ConsumerState::decode(value);
                self.consumer(group, consumer).state = state;
            }
            Some(Attribute::Pending(group, id)) => {
                let Some(state) = PendingState::decode(value) else {
                    return;
                };
                let consumer = state.consumer;
                self.consumer(group, consumer).pending.insert(id);
                let pending = Pending {
                    consumer: consumer.into(),
                    delivered_ms: state.delivered_ms,
                    deliveries: state.deliveries,
                };
                self.bytes += bytes_of_pending(consumer.len());
                self.group(group).pending.insert(id, pending);
            }
            Some(Attribute::Mark) | None => {}
        }
        self.forget_unknown(name);
    }

    /// Follows the end of an attribute.
    pub fn remove(&mut self, name: &[u8]) {
        match Attribute::decode(name) {
            Some(Attribute::Group(group)) => self.group(group).state = None,
            Some(Attribute::Consumer(group, consumer)) => {
                self.consumer(group, consumer).state = None;
            }
            Some(Attribute::Pending(group, id)) => {
                if let Some(pending) = self.group(group).pending.remove(&id) {
                    self.bytes -= bytes_of_pending(pending.consumer.len());
                    let consumer = self.consumer(group, &pending.consumer);
                    consumer.pending.remove(&id);
                    if consumer.is_unknown() {
                        self.forget_consumer(group, &pending.consumer);
                    }
                }
            }
            Some(Attribute::Mark) | None => {}
        }
        self.forget_unknown(name);
    }

    fn group(&mut self, name: &[u8]) -> &mut Group {
        if !self.groups.contains_key(name) {
            self.bytes += bytes_of::<Group>(name.len());
            self.groups.insert(name.into(), Group::default());
        }
        self.groups.entry(name.into()).or_default()
    }

    fn consumer(&mut self, group: &[u8], name: &[u8]) -> &mut Consumer {
        if !self.group(group).consumers.contains_key(name) {
            self.bytes += bytes_of::<Consumer>(name.len());
        }
        let consumers = &mut self.group(group).consumers;
        consumers.entry(name.into()).or_default()
    }

    fn forget_consumer(&mut self, group: &[u8], name: &[u8]) {
        let consumers = &mut self.group(group).consumers;
        if consumers.get(name).is_some_and(Consumer::is_unknown) {
            consumers.remove(name);
            self.bytes -= bytes_of::<Consumer>(name.len());
        }
    }

    /// Forgets what an attribute was the last to tell of.
    fn forget_unknown(&mut self, name: &[u8]) {
        let group = match Attribute::decode(name) {
            Some(Attribute::Consumer(group, consumer)) => {
                self.forget_consumer(group, consumer);
                group
            }
            Some(Attribute::Group(group) | Attribute::Pending(group, _)) => group,
            Some(Attribute::Mark) | None => return,
        };
        if self.groups.get(group).is_some_and(Group::is_unknown) {
            self.groups.remove(group);
            self.bytes -= bytes_of::<Group>(group.len());
        }
    }

    /// Memory of it, about, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        self.bytes
    }
}
