//! A change of a stream: all of its effects, made at once.

use crate::commands::{Call, CommandResult};
use crate::effect::Effect;
use crate::store::{
    Attribute, ConsumerState, GroupState, Kind, PendingState, StreamId, StreamMark,
};

enum Part {
    Set(Vec<u8>, Vec<u8>),
    Unset(Vec<u8>),
    Add([u8; 16], Vec<u8>),
    Delete([u8; 16]),
    Trim([u8; 16]),
}

/// See the module. Before entries are taken out the mark is set, which tells what they would tell.
#[derive(Default)]
pub struct Change(Vec<Part>);

impl Change {
    fn set(&mut self, attribute: Attribute<'_>, value: Vec<u8>) {
        self.0.push(Part::Set(attribute.encode(), value));
    }

    /// Sets what is remembered of entries that are gone.
    pub fn mark(&mut self, mark: &StreamMark) {
        self.set(Attribute::Mark, mark.encode());
    }

    /// Sets what a group is at, and makes the group.
    pub fn group(&mut self, group: &[u8], state: &GroupState) {
        self.set(Attribute::Group(group), state.encode());
    }

    /// Sets when a consumer was there, and makes the consumer.
    pub fn consumer(&mut self, group: &[u8], consumer: &[u8], state: &ConsumerState) {
        self.set(Attribute::Consumer(group, consumer), state.encode());
    }

    /// Sets who has an entry.
    pub fn pending(&mut self, group: &[u8], id: StreamId, state: &PendingState<'_>) {
        self.set(Attribute::Pending(group, id), state.encode());
    }

    /// Nobody has an entry any more.
    pub fn settle(&mut self, group: &[u8], id: StreamId) {
        self.unset(Attribute::Pending(group, id).encode());
    }

    /// An attribute of this encoded name is gone.
    pub fn unset(&mut self, name: Vec<u8>) {
        self.0.push(Part::Unset(name));
    }

    /// Adds an entry.
    pub fn add(&mut self, id: StreamId, fields: Vec<u8>) {
        self.0.push(Part::Add(id.to_bytes(), fields));
    }

    /// Takes an entry out.
    pub fn delete(&mut self, id: StreamId) {
        self.0.push(Part::Delete(id.to_bytes()));
    }

    /// Takes out all entries with lower ids.
    pub fn trim(&mut self, below: StreamId) {
        self.0.push(Part::Trim(below.to_bytes()));
    }

    /// Makes the change to the stream at a key; nothing, if there is none.
    ///
    /// # Errors
    /// The log has no room for it.
    pub fn make(self, call: &mut Call<'_, '_>, key: &[u8]) -> CommandResult {
        if self.0.is_empty() {
            return Ok(());
        }
        let kind = Kind::Stream;
        let effects = self.0.iter().map(|part| match part {
            Part::Set(name, value) => Effect::AttributeSet { key, name, value },
            Part::Unset(name) => Effect::AttributeDelete { key, name },
            Part::Add(id, fields) => Effect::ElementSet {
                kind,
                key,
                element: id,
                value: fields,
            },
            Part::Delete(id) => Effect::ElementDelete {
                kind,
                key,
                element: id,
            },
            Part::Trim(below) => Effect::StreamTrim { key, below: *below },
        });
        let effects: Vec<Effect<'_>> = effects.collect();
        call.reserve(&effects, 0)?;
        call.transaction.apply_all(call.database, &effects);
        Ok(())
    }
}
